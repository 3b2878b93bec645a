"""One process with all stages: it reads only while every partition is its own, and counts every pair once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from monitor import agent
from monitor.adapters.kafka.port import LogRefused
from monitor.adapters.store import Store
from monitor.agent import Agent
from monitor.building import build_pipeline, build_scorer, state_fingerprint
from monitor.core.pairing_port import MemoryPairTable
from monitor.core.records import IncidentKind, Kind
from monitor.core.rejections import RejectionGuard
from monitor.core.snapshot import MetricsSnapshot
from monitor.ending import TooManyRejected
from monitor.sending import Sender
from monitor.topics import whole_input
from monitor.topics.following import LOOK_SECONDS
from monitor.topics.whole_input import Interrupted, TopicInput
from tests.builders import HOUR, MARCH_2
from tests.kafka.memory import MemoryConsumer
from tests.topics.cluster import (
    CUSTOMERS,
    INPUTS,
    LOG,
    Cluster,
    MakeCluster,
    Totals,
    expected,
    line,
    newest_of,
    publish,
)
from tests.traffic import Traffic


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is there at once."""
    monkeypatch.setattr(whole_input, "POLL_SECONDS", 0.0)


def joined(cluster: Cluster) -> TopicInput:
    return TopicInput(cluster.broker.consumer("wervane", INPUTS), INPUTS[:1], INPUTS[1:], wall_clock=cluster.clock.time)


def source(cluster: Cluster, topic: str, number: int = 0) -> str:
    facts = cluster.broker.consumer("facts", [topic]).facts(topic)
    return f"{topic}-{number}@{facts.topic_id[:8]}"


def consumer_of(topics: TopicInput) -> MemoryConsumer:
    consumer = topics._consumer
    assert isinstance(consumer, MemoryConsumer)
    return consumer


# -------------------------------------------------------------------------------------------------------------- members
def test_it_works_only_while_every_partition_is_its_own(cluster: Cluster) -> None:
    """Half of the references would wait for transcripts that another process counts."""
    first = joined(cluster)
    assert first.whole() and first.held == 4
    first.seek({})
    first.poll(10)
    second = joined(cluster)
    assert not second.whole()
    with pytest.raises(Interrupted):
        first.poll(10)
    assert not first.whole() and first.held < 4
    first.close()
    assert second.whole() and second.held == 4


def test_a_lost_session_interrupts_it(cluster: Cluster) -> None:
    """Somebody else may have read on meanwhile: what is in memory is of no use any more."""
    topics = joined(cluster)
    assert topics.whole()
    topics.seek({})
    cluster.broker.expire(consumer_of(topics))
    with pytest.raises(Interrupted):
        topics.poll(10)
    assert topics.whole(), "and it goes on when all are its own again"


def test_a_partition_that_was_added_interrupts_it_and_is_read_from_its_beginning(cluster: Cluster) -> None:
    """A topic may grow: its keys move, and pairing does not mind."""
    cluster.publish("transcripts", [line("u1")])
    topics = joined(cluster)
    assert topics.whole()
    topics.seek({})
    read = {one.source: one.next_position for _ in range(2) if topics.poll(10) for one in topics.read()}
    cluster.broker.add_partitions("transcripts", 3)
    with pytest.raises(Interrupted):
        topics.poll(10)
    cluster.broker.append("transcripts", 2, None, line("u2").encode())
    assert topics.whole() and topics.held == 5
    topics.seek(read)
    assert [one.source for one in topics.poll(10)] == [source(cluster, "transcripts", 2)]


# -------------------------------------------------------------------------------------------------------------- reading
def test_records_come_in_order_with_their_place(make_cluster: MakeCluster) -> None:
    """The place is what a pointer names, the position what is stored."""
    cluster = make_cluster(partitions=1)
    cluster.publish("references", [line("r0")])
    cluster.publish("transcripts", [line("u0"), line("u1")])
    topics = joined(cluster)
    assert topics.whole()
    topics.seek({})
    lines = topics.poll(10)
    assert [(one.kind, one.file, one.partition, one.place, one.next_position) for one in lines] == [
        (Kind.REFERENCE, "references", 0, 0, 1),
        (Kind.TRANSCRIPT, "transcripts", 0, 0, 1),
        (Kind.TRANSCRIPT, "transcripts", 0, 1, 2),
    ]
    assert {one.source for one in lines} == {source(cluster, topic) for topic in INPUTS}


def test_each_partition_goes_on_where_the_state_says(make_cluster: MakeCluster) -> None:
    """Not where the group is: that is a floor, told after the state was durable."""
    cluster = make_cluster(partitions=1)
    for topic in INPUTS:
        cluster.publish(topic, [line(f"u{number}") for number in range(4)])
    topics = joined(cluster)
    assert topics.whole()
    topics.seek({source(cluster, "transcripts"): 2})
    assert [(one.file, one.place) for one in topics.poll(10)] == [
        *(("references", place) for place in range(4)),
        ("transcripts", 2),
        ("transcripts", 3),
    ]


def test_a_topic_that_was_made_again_is_refused(cluster: Cluster) -> None:
    """Its positions mean nothing now."""
    stored = {source(cluster, "transcripts"): 7}
    cluster.broker.delete_topic("transcripts")
    cluster.broker.create_topic("transcripts", 2)
    topics = joined(cluster)
    assert topics.whole()
    with pytest.raises(LogRefused, match=r"transcripts-0: .* made again .* state\.path"):
        topics.seek(stored)


def test_records_that_retention_deleted_are_a_problem_with_their_number(make_cluster: MakeCluster) -> None:
    """Reading goes on behind the gap, and the gap is told once."""
    cluster = make_cluster(partitions=1)
    cluster.publish("transcripts", [line(f"u{number}") for number in range(9)])
    cluster.broker.delete_records("transcripts", 0, 7)
    topics = joined(cluster)
    assert topics.whole()
    name = source(cluster, "transcripts")
    topics.seek({name: 3})
    assert [one.place for one in topics.poll(10)] == [7, 8]
    (problem,) = topics.problems()
    assert (problem.source, problem.problem, problem.position, problem.lost_records) == (name, "retention", 3, 4)
    assert topics.problems() == []


def test_what_is_passed_over_moves_position_and_event_time(make_cluster: MakeCluster) -> None:
    """At 5 % most polls bring no line at all, and must not be read again after a restart."""
    cluster = make_cluster(partitions=1, sampling__probability=0.05)
    settings = cluster.settings("node")
    router = build_pipeline(settings, MemoryPairTable(), build_scorer(settings)).router
    coin, limit = router.coins() or pytest.fail("some are ruled out")
    passed = [id_ for number in range(99) if coin(id_ := f"u{number}") >= limit]
    cluster.publish("transcripts", [line(id_, hours=number) for number, id_ in enumerate(passed)])
    topics = joined(cluster)
    topics.skim_by(router, set())
    assert topics.whole()
    topics.seek({})
    assert topics.poll(10) == []
    (read,) = topics.read()
    assert (read.next_position, read.passed_over) == (len(passed), len(passed))
    assert read.event_at == MARCH_2 + (len(passed) - 1) * HOUR


def test_what_a_mapping_reads_is_never_passed_over(make_cluster: MakeCluster) -> None:
    """Where the id is, nobody knows at a glance."""
    cluster = make_cluster(partitions=1, sampling__probability=0.05)
    settings = cluster.settings("node")
    cluster.publish("transcripts", [line(f"u{number}") for number in range(40)])
    topics = joined(cluster)
    topics.skim_by(build_pipeline(settings, MemoryPairTable(), build_scorer(settings)).router, {"transcripts"})
    assert topics.whole()
    topics.seek({})
    assert len(topics.poll(10)) == 40


# ----------------------------------------------------------------------------------------------------------- event time
def test_marks_say_who_is_at_the_end(make_cluster: MakeCluster) -> None:
    """Now and then, for every partition."""
    cluster = make_cluster(partitions=1)
    cluster.publish("transcripts", [line("u1")])
    topics = joined(cluster)
    assert topics.whole()
    topics.seek({})
    assert [mark.current for mark in topics.marks()] == [False, False] and topics.marks() == []
    topics.poll(10)
    cluster.publish("references", [line("u1")])
    cluster.clock.go_on(LOOK_SECONDS)
    assert [(mark.upstream, mark.current, mark.of) for mark in topics.marks()] == [
        (source(cluster, "references"), True, 2),
        (source(cluster, "transcripts"), True, 2),
    ]
    cluster.clock.go_on(LOOK_SECONDS)
    assert [mark.current for mark in topics.marks()] == [False, True], "a reference came since"


def test_held_sources_wait(make_cluster: MakeCluster) -> None:
    """By the names that the pipeline knows them by."""
    cluster = make_cluster(partitions=1)
    for topic in INPUTS:
        cluster.publish(topic, [line("u1")])
    topics = joined(cluster)
    assert topics.whole()
    topics.seek({})
    topics.hold({source(cluster, "transcripts")})
    assert {one.file for one in topics.poll(10)} == {"references"}
    topics.hold(set())
    assert {one.file for one in topics.poll(10)} == {"transcripts"}


# ---------------------------------------------------------------------------------------------------- the agent over it
class Turns(threading.Event):
    """Asked to stop after so many turns of the loop."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self._turns = turns

    def is_set(self) -> bool:
        self._turns -= 1
        return self._turns < 0


class Killed(BaseException):
    """As by SIGKILL."""


class Deadly(Turns):
    """The same, with no time to make anything durable."""

    def is_set(self) -> bool:
        if super().is_set():
            raise Killed
        return False


class Embedded:
    """One process with all stages."""

    def __init__(self, cluster: Cluster, node: str = "node", sender: Sender | None = None) -> None:
        self._cluster = cluster
        self._sender = sender
        self._settings = cluster.settings(node)
        self.topics = joined(cluster)
        self.shown: list[MetricsSnapshot] = []
        self.shown_behind: list[MetricsSnapshot] = []

    def open(self) -> Agent:
        assert self.topics.whole()
        folder = Path(self._settings.state.path)
        self.agent = Agent(
            self._settings,
            source=self.topics,
            clock=lambda _line: self._cluster.clock.at,
            store=Store.open(folder / "partition-0.db", config_sha256=state_fingerprint(self._settings)),
            scorer=build_scorer(self._settings),
            folder=folder,
            log=LOG,
            guard=RejectionGuard(),
            topics=self.topics,
            on_publish=lambda snapshot, _restored: self.shown.append(snapshot),
            on_behind=self.shown_behind.append,
            sender=self._sender,
        )
        return self.agent

    def run(self, turns: int = 6) -> None:
        """So many turns, each a look at the ends of partitions apart."""
        for _ in range(turns):
            self._cluster.clock.go_on(LOOK_SECONDS)
            self.agent.run(Turns(1))

    def kill(self, turns: int = 1) -> None:
        with pytest.raises(Killed):
            self.agent.run(Deadly(turns))
        self.agent.close()
        self.topics.close()

    def totals(self) -> dict[str, Totals]:
        found: dict[str, Totals] = {}
        for row in self.agent.pipeline.slice_rows():
            counts = row.counts
            sums = (row.pairs, counts.reference_words, counts.substitutions, counts.deletions, counts.insertions)
            if row.pairs:
                found.setdefault(row.customer, {})[row.slice] = sums
        return found


def test_an_agent_over_topics_counts_what_a_recount_does(cluster: Cluster, traffics: dict[str, Traffic]) -> None:
    """Both topics at their own pace, and event time at the newest message when all is read."""
    publish(cluster, traffics)
    embedded = Embedded(cluster)
    embedded.open()
    embedded.run()
    assert embedded.totals() == expected(traffics)
    assert embedded.agent.pipeline.watermark == newest_of(traffics) - HOUR


def test_killed_at_any_moment_it_goes_on_where_its_state_says(cluster: Cluster, traffics: dict[str, Traffic]) -> None:
    """What was read since the last checkpoint is read again, by a member that has all partitions again."""
    for traffic in traffics.values():
        cluster.publish_traffic(traffic)
        embedded = Embedded(cluster)
        embedded.open()
        embedded.kill()
        embedded = Embedded(cluster)
        embedded.open()
        embedded.run(turns=1)
        cluster.publish("transcripts", [line("u1", hours=-9000.0)])
        embedded.kill()
    embedded = Embedded(cluster)
    embedded.open()
    embedded.run()
    assert embedded.totals() == expected(traffics)


def test_a_second_agent_waits_with_its_state_closed(cluster: Cluster, traffics: dict[str, Traffic]) -> None:
    """It takes over when the first is gone, and until then neither reads: each has only some of the partitions."""
    publish(cluster, traffics)
    first, second = Embedded(cluster, "a"), Embedded(cluster, "b")
    first.open()
    first.run(turns=2)
    assert not second.topics.whole()
    with pytest.raises(Interrupted):
        first.run()
    first.agent.close()
    assert not first.topics.whole()
    first.topics.close()
    second.open()
    second.run()
    assert second.totals() == expected(traffics)


def test_nothing_is_shown_before_it_is_as_far_as_what_was_shown(
    cluster: Cluster, traffics: dict[str, Traffic], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost disk is made again from the topics; until then counters would run backwards."""
    publish(cluster, traffics)
    before = Embedded(cluster, "a")
    before.open()
    before.run()
    before.kill()
    monkeypatch.setattr(whole_input, "RECORDS_AT_ONCE", 100)
    monkeypatch.setattr(agent, "LINES_AT_ONCE", 100)
    again = Embedded(cluster, "b")
    again.open()
    again.run(turns=2)
    assert again.shown == [] and all(not snapshot.view.slices for snapshot in again.shown_behind)
    behind = [snapshot.view.gauges['state_behind_records{stage="all"}'] for snapshot in again.shown_behind]
    assert behind == sorted(behind, reverse=True) and behind[-1] < behind[0]
    floors = consumer_of(again.topics).committed(cluster.broker_partitions("transcripts"))
    again.run(turns=8)
    assert again.shown and again.shown[-1].view.slices == before.shown[-1].view.slices
    assert consumer_of(again.topics).committed(cluster.broker_partitions("transcripts")) == floors, "never below"


def test_a_flood_of_rejects_stops_it_with_nothing_committed(cluster: Cluster) -> None:
    """Neither in the state nor in the group: the next try begins where this one did."""
    cluster.publish("transcripts", [f"rubbish {number}" for number in range(600)])
    embedded = Embedded(cluster)
    embedded.open()
    with pytest.raises(TooManyRejected):
        embedded.run()
    assert consumer_of(embedded.topics).committed(cluster.broker_partitions("transcripts")) == {}
    embedded.agent.close()
    embedded.topics.close()
    again = Embedded(cluster)
    again.open()
    assert again.agent._store.offsets() == {}


def test_messages_that_were_passed_over_count_when_rejects_are_weighed(make_cluster: MakeCluster) -> None:
    """At a sampling probability of 5 % the nineteen good messages of twenty would not be held against the bad ones."""
    cluster = make_cluster(sampling__probability=0.05)
    for start in range(0, 10_000, 20):
        good = [line(f"u{number}") for number in range(start, start + 20)]
        cluster.publish("transcripts", [*good, f"rubbish {start} a", f"rubbish {start} b"])
    embedded = Embedded(cluster)
    embedded.open()
    embedded.run(turns=12)
    counters = embedded.agent.pipeline.counters
    assert counters['records_rejected_total{topic="transcript",reason="syntax"}'] == 1000
    assert counters['records_consumed_total{topic="transcript",outcome="accepted"}'] == 10_000


def test_a_loss_is_told_to_every_customer_and_once(make_cluster: MakeCluster, traffics: dict[str, Traffic]) -> None:
    """The gap and the position behind it become durable together."""
    cluster = make_cluster(partitions=1)
    publish(cluster, traffics)
    embedded = Embedded(cluster)
    embedded.open()
    embedded.run()
    cluster.publish("transcripts", [line(f"late{number}", hours=150.0) for number in range(20)])
    read = len(cluster.broker.records("transcripts", 0)) - 20
    embedded.kill(turns=0)
    cluster.broker.delete_records("transcripts", 0, read + 7)
    for killed in (True, False):
        embedded = Embedded(cluster)
        embedded.open()
        if killed:
            embedded.kill()
    embedded.run()
    embedded.agent.close()
    embedded.topics.close()
    embedded = Embedded(cluster)
    embedded.open()
    embedded.run(turns=2)
    told = [one for one in embedded.agent.pipeline.transitions if one.kind == IncidentKind.COVERAGE]
    lost = [one.customer for one in told if "transcripts-0" in one.summary and one.state == "firing"]
    assert sorted(lost) == sorted(CUSTOMERS)
    assert embedded.agent.pipeline.counters['input_lost_records_total{topic="transcripts",problem="retention"}'] == 7
