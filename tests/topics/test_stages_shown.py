"""Stages over topics, seen from outside: what is shown and when, how far event time is, and where text goes."""

from __future__ import annotations

import pytest

from monitor.adapters.kafka.port import Partition
from monitor.core.records import IncidentKind
from monitor.topics import roles
from monitor.topics.workers import RouteWorker
from tests.builders import HOUR, MARCH_2
from tests.topics.cluster import CUSTOMERS, Cluster, MakeCluster, line, publish, settled, told_by
from tests.traffic import Traffic


# -------------------------------------------------------------------------------------------------------------- showing
def test_nothing_is_shown_before_it_is_as_far_as_what_was_shown(cluster: Cluster, traffics: dict[str, Traffic]) -> None:
    """Counters that run backwards look like a reset, and a rate over them is nonsense."""
    publish(cluster, traffics)
    process = cluster.process("route", "score", node="a")
    decide = cluster.process("decide", node="a")
    settled(cluster, traffics, process, decide)
    decide.kill()
    again = cluster.process("decide", node="b")
    again.step(times=2)
    shown = again.stages.snapshot().view
    assert again.gauge('state_behind_records{stage="decide"}') == 0.0 and shown.slices == (), "read, but not durable"
    again.checkpoint()
    assert again.stages.snapshot().view.slices != ()


def test_a_state_that_is_being_made_again_says_how_far_it_is(
    cluster: Cluster, traffics: dict[str, Traffic], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not ready, with a figure that falls: the operator sees that it works."""
    publish(cluster, traffics)
    process = cluster.process("route", "score", "decide", node="a")
    settled(cluster, traffics, process)
    floors = sum(worker.state.position or 0 for worker in process.deciders())
    process.kill()
    monkeypatch.setattr(roles, "RECORDS_AT_ONCE", 20)
    again = cluster.process("decide", node="b")
    behind = []
    for _ in range(4):
        cluster.go_round(again)
        behind.append(again.gauge('state_behind_records{stage="decide"}'))
        assert not again.ready and again.stages.snapshot().view.slices == ()
    assert behind == sorted(behind, reverse=True) and 0 < behind[-1] < behind[0] < floors


def test_lag_and_partitions_are_told_by_stage(cluster: Cluster) -> None:
    """Which stage is behind is the first question when event time stands."""
    cluster.publish("transcripts", [line(f"u{number}") for number in range(30)])
    process = cluster.process("route")
    process.step(times=1)
    process.stages.checkpoint()
    assert process.gauge('partitions_assigned{stage="route"}') == 4.0
    assert process.gauge('consumer_lag_records{topic="transcripts"}') == 30.0
    cluster.go_round(process)
    assert process.gauge('consumer_lag_records{topic="transcripts"}') == 0.0


# ----------------------------------------------------------------------------------------------------------- event time
def test_what_is_far_ahead_is_held_while_another_has_a_backlog(
    make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month of transcripts must not wait in memory and on disk for references that are read a day later."""
    monkeypatch.setattr(roles, "RECORDS_AT_ONCE", 10)
    cluster = make_cluster(partitions=1)
    ids = [f"u{number}" for number in range(200)]
    cluster.publish("transcripts", [line(id_, hours=number) for number, id_ in enumerate(ids)])
    cluster.publish("references", [line(id_, hours=number / 10) for number, id_ in enumerate(ids)])
    process = cluster.process("route")
    ahead: list[float] = []
    for _ in range(60):
        cluster.go_round(process)
        reached = {
            partition.topic: worker.reached_at or MARCH_2
            for partition, worker in process.workers().items()
            if isinstance(worker, RouteWorker)
        }
        if process.gauge('consumer_lag_records{topic="references"}') > 0:
            ahead.append(reached["transcripts"] - reached["references"])
    read_between_looks = 30 * HOUR
    assert HOUR < max(ahead) <= roles.AHEAD_SECONDS_MAX + read_between_looks
    assert process.gauge('consumer_lag_records{topic="transcripts"}') == 0.0, "let go of when the other was at its end"


def test_a_quiet_partition_holds_nobody_back(make_cluster: MakeCluster) -> None:
    """One input partition without a single record: event time comes to the newest message all the same."""
    cluster = make_cluster(partitions=3)
    cluster.publish("transcripts", [line("u1"), line("u2", hours=50.0)])
    process = cluster.process()
    cluster.settle(process, newest_at=MARCH_2 + 50 * HOUR)
    assert process.gauge("event_watermark_timestamp_seconds") == MARCH_2 + 49 * HOUR


def test_records_that_retention_deleted_are_told_to_every_customer(
    cluster: Cluster, traffics: dict[str, Traffic]
) -> None:
    """Lost input shows as missing traffic of nobody in particular: each must learn that some may have been theirs."""
    publish(cluster, traffics)
    process = cluster.process()
    settled(cluster, traffics, process)
    cluster.publish("transcripts", [line(f"late{number}", hours=100.0) for number in range(60)])
    partition = Partition("transcripts", 0)
    position = process.workers()[partition].position or 0
    cluster.broker.delete_records("transcripts", 0, position + 7)
    for _ in range(8):
        cluster.go_round(process)
    told = [one for one in told_by(process) if one.kind == IncidentKind.COVERAGE and "transcripts-0" in one.summary]
    assert sorted(one.customer for one in told) == sorted(CUSTOMERS)
    assert process.counted('input_lost_records_total{topic="transcripts",problem="retention"}') == 7


def test_text_is_on_pairs_and_reviews_alone(cluster: Cluster) -> None:
    """The two topics that are to be guarded; every other log may be read by more people."""
    canary = "purple elephants"
    cluster.publish("transcripts", [line("u1", text=canary), line("u2", text=canary, deployment=canary)])
    cluster.publish("references", [line("u1", text=canary + " recite")])
    process = cluster.process()
    for _ in range(6):
        cluster.go_round(process)
    with_text = {
        topic
        for topic in ("pairs", "outcomes", "reviews", "dead-letters")
        for partition in cluster.broker_partitions(topic)
        for record in cluster.broker.records(*partition)
        if canary.encode() in (record.value or b"") + (record.key or b"")
    }
    assert with_text == {"pairs", "reviews"}
    assert cluster.sent("outcomes") > 2 and cluster.sent("dead-letters") == 1
