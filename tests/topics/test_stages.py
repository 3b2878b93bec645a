"""Stages over topics: whatever fails, moves or is sent twice, every pair counts once."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from monitor.adapters.kafka.port import LogRefused, Partition
from monitor.adapters.store import StateRefused, StorageFailed, Store
from monitor.ending import TooManyRejected
from monitor.topics import roles, workers
from monitor.topics.workers import RouteWorker
from tests.topics.cluster import Cluster, MakeCluster, Process, counted_by, expected, line, publish, settled
from tests.traffic import Traffic


# -------------------------------------------------------------------------------------------------------- counting once
def test_one_process_counts_what_a_recount_does(cluster: Cluster, traffics: dict[str, Traffic]) -> None:
    """The whole way over three logs, duplicates and revisions included."""
    publish(cluster, traffics)
    settled(cluster, traffics, cluster.process())


def test_processes_share_the_work(make_cluster: MakeCluster, traffics: dict[str, Traffic]) -> None:
    """Two of each stage on nodes of their own: each has some partitions, and together they count every pair."""
    cluster = make_cluster(partitions=4)
    publish(cluster, traffics)
    several = [
        cluster.process(stage, node=f"{stage}-{number}") for stage in ("route", "score", "decide") for number in "ab"
    ]
    settled(cluster, traffics, *several)
    assert [len(process.workers()) for process in several] == [4, 4, 2, 2, 2, 2]


def test_partitions_that_come_and_go_count_once(make_cluster: MakeCluster, traffics: dict[str, Traffic]) -> None:
    """A deployment rolls through all nodes while records flow: states are elsewhere, older, or not there at all."""
    cluster = make_cluster(partitions=3)
    first, second = cluster.process(node="a"), cluster.process(node="b")
    for number, traffic in enumerate(traffics.values()):
        cluster.publish_traffic(traffic)
        cluster.go_round(first, second)
        leaving = (first, second)[number % 2]
        leaving.step()
        leaving.stop()
        back = cluster.process(node="ab"[number % 2])
        first, second = (back, second) if number % 2 == 0 else (first, back)
    settled(cluster, traffics, first, second)


def test_killed_between_any_two_steps_it_goes_on_where_its_state_says(
    cluster: Cluster, traffics: dict[str, Traffic]
) -> None:
    """What was read and not made durable is read again; what was sent and not noted is sent again, and seen once."""
    process = cluster.process()
    for traffic in traffics.values():
        cluster.publish_traffic(traffic)
        process.step()
        process.kill()
        process = cluster.process()
        cluster.go_round(process)
        process.step()
        process.kill()
        process = cluster.process()
    settled(cluster, traffics, process)


def test_a_lost_disk_is_made_again_from_the_logs(cluster: Cluster, traffics: dict[str, Traffic]) -> None:
    """The logs are the system of record; the group's floor alone would leave out everything before it."""
    publish(cluster, traffics)
    process = cluster.process(node="a")
    settled(cluster, traffics, process)
    process.kill()
    settled(cluster, traffics, cluster.process(node="b"))


# -------------------------------------------------------------------------------------------------------------- sending
@pytest.mark.parametrize("appended", [0, 1, 37])
@pytest.mark.parametrize("stage", ["route", "score"])
def test_a_lost_acknowledgement_sends_everything_again_and_counts_nothing_twice(
    make_cluster: MakeCluster, traffics: dict[str, Traffic], stage: str, appended: int
) -> None:
    """What arrived of the first try is unknown: all of it follows again, in the same order."""
    cluster = make_cluster(privacy__reviews=False)
    publish(cluster, traffics)
    route, others = cluster.process("route", node="a"), cluster.process("score", "decide", node="b")
    failing = route if stage == "route" else others
    if failing is others:
        cluster.go_round(route)
    failing.step()
    cluster.broker.cut_next_flush(appended)
    cluster.go_round(failing)
    assert not failing.ready
    settled(cluster, traffics, route, others)
    log = "pairs" if stage == "route" else "outcomes"
    repeated = others.counted(f'log_records_total{{topic="{log}",outcome="repeated"}}')
    assert appended // 3 <= repeated <= appended


def test_nothing_moves_before_it_is_acknowledged(cluster: Cluster) -> None:
    """A position that is ahead of what was sent is a hole that nobody ever fills."""
    cluster.publish("transcripts", [line(f"u{number}") for number in range(40)])
    process = cluster.process("route")
    process.step()
    cluster.broker.cut_next_flush(5)
    cluster.go_round(process)
    assert {worker.state.position for worker in process.workers().values()} == {None}
    cluster.go_round(process)
    assert sum(worker.state.position or 0 for worker in process.workers().values()) == 40


def test_an_outage_stops_the_reading_and_loses_nothing(
    cluster: Cluster, traffics: dict[str, Traffic], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by what is not read: it is the log that waits."""
    monkeypatch.setattr(roles, "WAITING_MAX", 50)
    monkeypatch.setattr(roles, "RECORDS_AT_ONCE", 40)
    publish(cluster, traffics)
    process = cluster.process("route", node="a")
    others = cluster.process("score", "decide", node="b")
    process.step(times=30)
    waiting = [worker.waiting for worker in process.workers().values() if isinstance(worker, RouteWorker)]
    assert 50 < sum(waiting) <= 50 + 2 * 40, "an entry and a review of each message"
    cluster.broker.stop()
    cluster.go_round(process, others)
    assert health(process) == (False, 0.0)
    assert process.step(times=30) == 0
    cluster.broker.start()
    settled(cluster, traffics, process, others)
    assert health(process) == (True, 1.0)


def health(process: Process) -> tuple[bool, float]:
    return process.ready, process.gauge("broker_reachable")


def test_score_reads_on_only_when_its_outbox_was_taken(cluster: Cluster) -> None:
    """An outcomes log that takes nothing must not fill the disk with what waits for it."""
    cluster.publish("transcripts", [line("u1")])
    route, score = cluster.process("route", node="a"), cluster.process("score", node="b")
    cluster.go_round(route)
    score.step()
    cluster.broker.cut_next_flush(0)
    cluster.go_round(score)
    cluster.publish("transcripts", [line("u2")])
    cluster.go_round(route)
    assert score.step() == 0
    cluster.go_round(score)
    assert score.step() > 0


def test_marks_follow_what_they_vouch_for(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Event time that arrives before its records makes every one of them late."""
    monkeypatch.setattr(workers, "ENTRIES_AT_ONCE", 7)
    cluster = make_cluster(partitions=1)
    cluster.publish("transcripts", [line(f"u{number}", hours=number) for number in range(60)])
    process = cluster.process("route", "score")
    for _ in range(5):
        cluster.go_round(process)
    for topic in ("pairs", "outcomes"):
        records = [json.loads(record.value or b"") for record in cluster.broker.records(topic, 0)]
        own = [fields if topic == "pairs" else fields["wervane"] for fields in records]
        vouching = [number for number, fields in enumerate(own) if (fields.get("mark") or {}).get("reached_at")]
        before = [fields for fields in own[: vouching[0]] if "mark" not in fields]
        assert len(before) == 60, f"{topic}: all of it was read at once, so what vouches for any follows all"


# -------------------------------------------------------------------------------------------------------------- members
def test_a_member_that_lost_its_session_drops_what_it_has(cluster: Cluster, traffics: dict[str, Traffic]) -> None:
    """Its partitions have another owner before it knows: what it still holds in memory is not its own any more."""
    publish(cluster, traffics)
    first = cluster.process(node="a")
    first.step()
    for role in first.stages.roles:
        cluster.broker.expire(role.members.consumer)  # type: ignore[arg-type]
    second = cluster.process(node="b")
    settled(cluster, traffics, first, second)


def test_a_state_that_its_former_owner_still_has_open_is_waited_for(cluster: Cluster) -> None:
    """Two processes of one node: the one that lost its session closes its files when it wakes up."""
    slow = cluster.process("score")
    cluster.go_round(slow)
    (role,) = slow.stages.roles
    cluster.broker.expire(role.members.consumer)  # type: ignore[arg-type]
    next_ = cluster.process("score")
    cluster.go_round(next_)
    assert not next_.workers() and not next_.ready
    slow.step()
    cluster.go_round(next_, slow)
    assert len(next_.workers()) + len(slow.workers()) == 2 and next_.workers()


def test_a_state_that_stays_locked_is_told_to_the_operator(cluster: Cluster) -> None:
    """Two agents with one folder by mistake: after half a minute nobody believes in a former owner any more."""
    stuck = cluster.process("score")
    cluster.go_round(stuck)
    (role,) = stuck.stages.roles
    cluster.broker.expire(role.members.consumer)  # type: ignore[arg-type]
    other = cluster.process("score")
    other.step()
    cluster.clock.go_on(roles.REFUSED_SECONDS_MAX + 1.0)
    with pytest.raises(StateRefused, match="another wervane process uses state"):
        other.step()


def test_a_topic_that_was_made_again_is_refused(cluster: Cluster) -> None:
    """Its positions begin anew: going on would skip what is new, or count something else instead."""
    cluster.publish("transcripts", [line("u1"), line("u2"), line("u3")])
    process = cluster.process("route")
    cluster.go_round(process)
    process.stop()
    cluster.broker.delete_topic("transcripts")
    cluster.broker.create_topic("transcripts", 2)
    with pytest.raises(LogRefused, match=r"transcripts-\d: .* made again .* state.path"):
        cluster.process("route").step()


def test_another_number_of_partitions_is_refused(cluster: Cluster) -> None:
    """What has one key would lie in two places, and be held by two states."""
    cluster.publish("transcripts", [line("u1")])
    process = cluster.process()
    for _ in range(3):
        cluster.go_round(process)
    process.stop()
    cluster.broker.add_partitions("pairs", 3)
    with pytest.raises(LogRefused, match="pairs has 3 partitions and had 2"):
        cluster.process("score").step()


# ---------------------------------------------------------------------------------------------------------------- disks
@pytest.mark.parametrize("moment", ["commit", "feed"])
def test_a_failing_disk_reopens_only_its_own_partition(
    cluster: Cluster, traffics: dict[str, Traffic], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """One bad file must not cost all other partitions their memory; its own is read again."""
    monkeypatch.setattr("monitor.adapters.store_tables.BUFFER_ROWS", 1)
    publish(cluster, traffics)
    route, others = cluster.process("route", node="a"), cluster.process("score", "decide", node="b")
    cluster.go_round(route, others)
    cluster.go_round(route, others)
    before, broken = others.workers(), Partition("pairs", 1)
    more = [line(f"more{number}") for number in range(20)]
    cluster.publish("transcripts", more)
    cluster.publish("references", more)
    cluster.go_round(route)
    others.step(times=1 if moment == "commit" else 0)
    before[broken].state.store._database.broken = "no space left"
    for _ in range(6):
        cluster.go_round(route, others)
    after = others.workers()
    assert {partition for partition in after if after[partition] is not before[partition]} == {broken}
    totals = expected(traffics)
    found = counted_by(others)
    assert (found["beta"], found["city"]) == (totals["beta"], totals["city"])
    assert found["acme"]["all"][0] == totals["acme"]["all"][0] + 20


def test_a_disk_that_goes_on_failing_is_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """`storage_ok` is what the alert watches: a partition that nobody can open is not one that nobody has."""
    process = cluster.process("score")
    cluster.go_round(process)
    assert process.gauge("storage_ok") == 1.0

    def full(*_args: object, **_more: object) -> None:
        raise StorageFailed("state pairs-1.db: SQLITE_FULL")

    broken = process.workers()[Partition("pairs", 1)]
    broken.state.store._database.broken = "SQLITE_FULL"
    broken.state.store.add_outbox("outcomes", b"x")
    broken.position = 1
    monkeypatch.setattr(Store, "open", full)
    for _ in range(3):
        cluster.go_round(process)
    assert process.gauge("storage_ok") == 0.0 and not process.ready
    monkeypatch.undo()
    cluster.clock.go_on(1.0)


def test_a_folder_of_results_that_cannot_be_written_is_waited_for(cluster: Cluster) -> None:
    """Its state must not stay locked by the try: the next one would be refused by ourselves."""
    cluster.publish("transcripts", [line("u1")])
    route = cluster.process("route", "score", node="a")
    for _ in range(3):
        cluster.go_round(route)
    in_the_way = cluster.folder / "b" / "outcomes-0"
    in_the_way.parent.mkdir()
    in_the_way.write_text("not a folder")
    decide = cluster.process("decide", node="b")
    cluster.go_round(decide)
    assert set(decide.workers()) == {Partition("outcomes", 1)} and not decide.ready
    in_the_way.unlink()
    cluster.go_round(decide)
    assert len(decide.workers()) == 2


# ------------------------------------------------------------------------------------------------------------- refusing
def test_a_flood_of_rejects_stops_it_with_nothing_committed(cluster: Cluster) -> None:
    """A bad producer's release must not drain a topic into the dead letters."""
    cluster.publish("transcripts", [f"rubbish {number}" for number in range(600)])
    process = cluster.process()
    with pytest.raises(TooManyRejected):
        for _ in range(5):
            process.stages._step(0.0)
    process.stages.close()
    assert (cluster.sent("dead-letters"), cluster.sent("pairs")) == (0, 0)
    again = cluster.process("route")
    floors = again.stages.roles[0].members.consumer.committed(cluster.broker_partitions("transcripts"))
    assert floors == {}


def test_messages_that_were_passed_over_count_when_rejects_are_weighed(make_cluster: MakeCluster) -> None:
    """At a sampling probability of 5 % the nineteen good messages of twenty would not be held against the bad ones."""
    cluster = make_cluster(sampling__probability=0.05)
    good = [line(f"u{number}") for number in range(10_000)]
    for start in range(0, len(good), 20):
        cluster.publish("transcripts", [*good[start : start + 20], f"rubbish {start} a", f"rubbish {start} b"])
    process = cluster.process("route")
    for _ in range(20):
        process.stages._step(0.0)
    cluster.go_round(process)
    assert cluster.sent("dead-letters") == 1000


def test_a_conflict_s_pointer_names_the_message_in_its_own_topic(make_cluster: MakeCluster) -> None:
    """SCORE finds it two logs later: whoever looks for the message must not have to know that."""
    cluster = make_cluster(partitions=1)
    second = line("u1", deployment="clinic")
    cluster.publish("transcripts", [line("u0"), line("u1"), second])
    process = cluster.process()
    for _ in range(4):
        cluster.go_round(process)
    (pointer,) = [json.loads(record.value or b"") for record in cluster.broker.records("dead-letters", 0)]
    digest = sha256(second.encode()).hexdigest()
    assert pointer == {
        "topic": "transcripts", "partition": 0, "offset": 2, "reason": "id_conflict", "sha256": digest,
    }  # fmt: skip


def test_records_of_strangers_on_our_logs_are_counted_and_passed_by(
    cluster: Cluster, traffics: dict[str, Traffic]
) -> None:
    """One record that nobody can read must not stop a partition for good."""
    for topic in ("pairs", "outcomes"):
        for partition in cluster.broker_partitions(topic):
            for value in (None, b"", b"rubbish", b"[" * 100_000):
                cluster.broker.append(*partition, None, value)
    publish(cluster, traffics)
    process = cluster.process()
    settled(cluster, traffics, process)
    for topic in ("pairs", "outcomes"):
        assert process.counted(f'log_records_total{{topic="{topic}",outcome="refused"}}') == 8
