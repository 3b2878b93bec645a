"""Decides what every implementation of the log must do, in memory or on a real broker: what the agent relies on.

A test module subclasses LogContract and gives it a `world`. Members that share a group run in threads of their own
(`Member`), as a group only goes on when all of its members poll.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Protocol, TypeVar

import pytest

from monitor.adapters.kafka.port import (
    Change,
    LogConsumer,
    LogProblem,
    LogProducer,
    LogRecord,
    LogRefused,
    LogUnreachable,
    Partition,
    RecordRefused,
)

PATIENCE_SECONDS = 30.0
"""How long a test waits for what must happen; it takes well under a second on an idle machine."""

Answer = TypeVar("Answer")


class World(Protocol):
    """A cluster, and clients of it by one implementation."""

    def topic(self, partitions: int = 1) -> str:
        """A new one; it takes batches of at most 1,048,588 bytes."""

    def group(self) -> str:
        """A name that nobody uses."""

    def consumer(self, group: str, topics: Sequence[str], group_instance_id: str | None = None) -> LogConsumer: ...
    def producer(self) -> LogProducer: ...
    def delete_records(self, topic: str, partition: int, before: int) -> None: ...
    def recreate_topic(self, topic: str, records: int) -> None:
        """Delete it and create it again with one partition and so many records."""

    def add_partitions(self, topic: str, total: int) -> None: ...
    def abort(self, topic: str, partition: int) -> None:
        """Write a few records in a transaction, and abort it: at least one offset without a readable record."""

    def stop(self) -> None:
        """As a crash of the only broker."""

    def start(self) -> None: ...


def wait_until(look: Callable[[], object], why: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < deadline, why
        time.sleep(0.005)


def join(consumer: LogConsumer, partitions: int) -> list[Partition]:
    """Poll a group's only member until it has so many partitions; they are not begun."""
    came: list[Partition] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(came) < partitions:
        assert time.monotonic() < deadline, f"got only {came}"
        assert consumer.poll(100, 0.1) == {}
        came += [change.partition for change in consumer.changes() if change.assigned]
    return sorted(came)


def begin(consumer: LogConsumer, partitions: int = 1) -> list[Partition]:
    came = join(consumer, partitions)
    for partition in came:
        consumer.begin(partition, None)
    return came


def read(consumer: LogConsumer, number: int) -> dict[Partition, list[LogRecord]]:
    """Poll until there were so many records."""
    found: dict[Partition, list[LogRecord]] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sum(map(len, found.values())) < number:
        assert time.monotonic() < deadline, f"got { ({str(p): len(r) for p, r in found.items()}) }, want {number}"
        for partition, records in consumer.poll(100, 0.1).items():
            found.setdefault(partition, []).extend(records)
    return found


def nothing_comes(consumer: LogConsumer) -> bool:
    """Over enough polls for a fetch that is under way to arrive."""
    return all(consumer.poll(100, 0.1) == {} for _ in range(4))


def offsets(records: Sequence[LogRecord]) -> list[int]:
    return [record.offset for record in records]


def refused(consumer: LogConsumer) -> LogRefused:
    """Poll until the log refuses to go on."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with pytest.raises(LogRefused) as refusal:
        while time.monotonic() < deadline:
            consumer.poll(100, 0.1)
    return refusal.value


def fill(world: World, topic: str, records: int, partition: int = 0) -> None:
    """Values are the numbers from 0, as text."""
    producer = world.producer()
    for number in range(records):
        producer.send(topic, partition, None, str(number).encode())
    producer.flush(PATIENCE_SECONDS)
    producer.close()


class Member:
    """A member of a group, in its own thread, which owns the consumer. It begins what comes, from the first record."""

    wait_seconds = 0.1

    def __init__(self, make: Callable[[], LogConsumer], *, begins: bool = True, commits: bool = False) -> None:
        self.mine: set[Partition] = set()
        self.changes: list[Change] = []
        self.records: dict[Partition, list[LogRecord]] = {}
        self.refusal: LogRefused | None = None
        self._make = make
        self._begins = begins
        self._commits = commits
        self._orders: queue.SimpleQueue[Callable[[LogConsumer], None]] = queue.SimpleQueue()
        self._ends = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ask(self, question: Callable[[LogConsumer], Answer]) -> Answer:
        """On the member's thread, between two polls."""
        answer: Future[Answer] = Future()

        def settle(consumer: LogConsumer) -> None:
            try:
                answer.set_result(question(consumer))
            except (LogRefused, LogUnreachable, AssertionError) as error:
                answer.set_exception(error)

        self._orders.put(settle)
        return answer.result(PATIENCE_SECONDS)

    def leave(self) -> None:
        self._ends = True
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        consumer = self._make()
        try:
            while not self._ends:
                self._turn(consumer)
        except LogRefused as refusal:
            self.refusal = refusal
        finally:
            consumer.close()

    def _turn(self, consumer: LogConsumer) -> None:
        found = consumer.poll(100, self.wait_seconds)
        for change in consumer.changes():
            self.changes.append(change)
            if not change.assigned:
                self.mine.discard(change.partition)
            else:
                self.mine.add(change.partition)
                if self._begins:
                    consumer.begin(change.partition, None)
        for partition, records in found.items():
            self.records.setdefault(partition, []).extend(records)
        if self._commits:
            consumer.commit({partition: consumer.position(partition) or 0 for partition in self.mine})
        while not self._orders.empty():
            self._orders.get()(consumer)


@contextmanager
def members(world: World, topics: Sequence[str], number: int) -> Iterator[list[Member]]:
    """So many members of a new group, one after the other."""
    group = world.group()
    those = [Member(lambda: world.consumer(group, topics)) for _ in range(number)]
    yield those
    for member in those:
        member.leave()


def everything(those: Sequence[Member]) -> set[Partition]:
    return {partition for member in those for partition in member.mine}


class LogContract:
    # ---------------------------------------------------------------------------------------------------------- reading
    def test_records_come_in_order_as_they_were_sent(self, world: World) -> None:
        """Scores are computed from these bytes, and duplicates are told by these offsets."""
        topic, producer = world.topic(), world.producer()
        producer.send(topic, 0, b"key", b"\x00value", [("kind", b"reference"), ("epoch", b"")])
        producer.send(topic, 0, None, b"")
        producer.flush(PATIENCE_SECONDS)
        consumer = world.consumer(world.group(), [topic])
        (partition,) = begin(consumer)
        first, second = read(consumer, 2)[partition]
        assert str(partition) == f"{topic}-0"
        assert (first.offset, first.key, first.value) == (0, b"key", b"\x00value")
        assert list(first.headers) == [("kind", b"reference"), ("epoch", b"")]
        assert (second.offset, second.key, second.value, list(second.headers)) == (1, None, b"", [])
        consumer.close()
        producer.close()

    def test_a_tombstone_comes_without_a_value(self, world: World) -> None:
        """An erasure is a record with a key and no value; taken for an empty text, it would erase nothing."""
        topic, producer = world.topic(), world.producer()
        producer.send(topic, 0, b"gone", None)
        producer.flush(PATIENCE_SECONDS)
        consumer = world.consumer(world.group(), [topic])
        (partition,) = begin(consumer)
        assert [(record.key, record.value) for record in read(consumer, 1)[partition]] == [(b"gone", None)]
        consumer.close()
        producer.close()

    def test_nothing_comes_before_it_was_begun(self, world: World) -> None:
        """Where to begin is in the state, which has to be opened first; the group's own offset is only a floor."""
        topic = world.topic(partitions=2)
        fill(world, topic, 3, partition=0)
        fill(world, topic, 3, partition=1)
        consumer = world.consumer(world.group(), [topic])
        first, second = join(consumer, 2)
        assert nothing_comes(consumer)
        assert consumer.position(second) is None
        consumer.begin(second, 1)
        assert consumer.position(second) == 1
        assert {partition: offsets(records) for partition, records in read(consumer, 2).items()} == {second: [1, 2]}
        assert nothing_comes(consumer)
        consumer.begin(first, None)
        assert offsets(read(consumer, 3)[first]) == [0, 1, 2]
        consumer.close()

    def test_a_poll_gives_at_most_what_was_asked_for(self, world: World) -> None:
        """Records of one poll are in memory together, and in one transaction of the state."""
        topic = world.topic()
        fill(world, topic, 25)
        consumer = world.consumer(world.group(), [topic])
        (partition,) = begin(consumer)
        polls = [consumer.poll(10, 1.0) for _ in range(3)]
        assert [offsets(found[partition]) for found in polls] == [
            list(range(10)), list(range(10, 20)), list(range(20, 25)),
        ]  # fmt: skip
        consumer.close()

    def test_what_is_held_waits_where_it_was(self, world: World) -> None:
        """One input is held while the other catches up; heartbeats go on, and nothing may be lost or come twice."""
        topic = world.topic(partitions=2)
        fill(world, topic, 30, partition=0)
        fill(world, topic, 5, partition=1)
        consumer = world.consumer(world.group(), [topic])
        first, second = join(consumer, 2)
        consumer.begin(first, None)
        got = list(consumer.poll(10, 2.0)[first])
        consumer.hold([first, Partition(topic, 77)])
        consumer.begin(second, None)
        assert set(read(consumer, 5)) == {second}
        assert nothing_comes(consumer)
        consumer.go_on([first])
        got += read(consumer, 20)[first]
        assert offsets(got) == list(range(30))
        consumer.close()

    def test_records_of_an_aborted_transaction_are_hidden(self, world: World) -> None:
        """Its producer took them back: counting them would count what never was."""
        topic = world.topic()
        fill(world, topic, 2)
        world.abort(topic, 0)
        fill(world, topic, 2)
        consumer = world.consumer(world.group(), [topic])
        (partition,) = begin(consumer)
        records = read(consumer, 4)[partition]
        assert [record.value for record in records] == [b"0", b"1", b"0", b"1"]
        assert offsets(records)[:2] == [0, 1]
        assert offsets(records)[2] > 2
        world.abort(topic, 0)
        # The coordinator answers before its markers are in the log.
        wait_until(lambda: consumer.ends([partition])[partition] > offsets(records)[3] + 1, "it was never aborted")
        end = consumer.ends([partition])[partition]
        wait_until(
            lambda: consumer.poll(100, 0.1) == {} and consumer.position(partition) == end, "it never got past them"
        )
        consumer.close()

    def test_partitions_that_are_added_appear(self, world: World) -> None:
        """A topic grows while we run; what is written to the new partitions must not wait for a restart."""
        topic = world.topic()
        consumer = world.consumer(world.group(), [topic])
        begin(consumer)
        world.add_partitions(topic, 3)
        came = join(consumer, 2)
        assert came == [Partition(topic, 1), Partition(topic, 2)]
        assert consumer.facts(topic).partitions == 3
        consumer.close()

    # -------------------------------------------------------------------------------------------------------- the group
    def test_members_share_and_the_last_has_all(self, world: World) -> None:
        """Every partition has exactly one reader, and `changes` is how the agent knows which states are its own."""
        topic = world.topic(partitions=4)
        with members(world, [topic], 2) as (one, other):
            wait_until(lambda: len(one.mine) == len(other.mine) == 2, "they never shared")
            assert one.mine | other.mine == {Partition(topic, number) for number in range(4)}
            one.leave()
            wait_until(lambda: len(other.mine) == 4, "what was left never came")
            assert not any(change.lost for change in other.changes)

    def test_what_is_held_stays_held_through_a_rebalance(self, world: World) -> None:
        """Others come and go all day; an input that is ahead of the other must not start again because of that."""
        topic = world.topic(partitions=4)
        for number in range(4):
            fill(world, topic, 3, partition=number)
        group = world.group()
        one = Member(lambda: world.consumer(group, [topic]))
        wait_until(lambda: sum(map(len, one.records.values())) == 12, "the records never came")
        one.ask(lambda consumer: consumer.hold([Partition(topic, number) for number in range(4)]))
        other = Member(lambda: world.consumer(group, [topic]), begins=False)
        wait_until(lambda: len(one.mine) == len(other.mine) == 2, "they never shared")
        kept = set(one.mine) - {change.partition for change in one.changes[4:]}
        for number in range(4):
            fill(world, topic, 1, partition=number)
        other.leave()
        wait_until(lambda: len(one.mine) == 4, "what was left never came")
        assert all(len(one.records[partition]) == 3 for partition in kept)
        one.ask(lambda consumer: consumer.go_on(sorted(kept)))
        wait_until(lambda: all(len(one.records[partition]) == 4 for partition in kept), "it never went on")
        one.leave()

    def test_a_partition_that_comes_back_waits_for_its_beginning(self, world: World) -> None:
        """Another member has counted meanwhile: our old position in it means nothing."""
        topic = world.topic(partitions=2)
        fill(world, topic, 1, partition=0)
        fill(world, topic, 1, partition=1)
        group = world.group()
        consumer = world.consumer(group, [topic])
        begin(consumer, 2)
        read(consumer, 2)
        one, other = Member(lambda: consumer, begins=False), Member(lambda: world.consumer(group, [topic]))
        wait_until(lambda: len(other.mine) == 1, "they never shared")
        (moved,) = other.mine
        other.leave()
        wait_until(lambda: Change(moved, assigned=True) in one.changes, "it never came back")
        fill(world, topic, 1, partition=moved.number)
        assert one.ask(nothing_comes)
        one.ask(lambda consumer: consumer.begin(moved, 1))
        wait_until(lambda: one.records.get(moved), "it never went on")
        assert offsets(one.records[moved]) == [1]
        one.leave()

    def test_a_commit_is_a_floor_for_the_next_member(self, world: World) -> None:
        """Lag is measured by others from this; a member without state may not serve counts below it."""
        topic, group = world.topic(partitions=2), world.group()
        fill(world, topic, 5)
        consumer = world.consumer(group, [topic])
        first, second = begin(consumer, 2)
        assert consumer.committed([first, second]) == {}
        assert consumer.commit({first: 3, Partition(topic, 77): 1}) is True
        consumer.close()
        successor = world.consumer(group, [topic])
        assert successor.committed([first, second]) == {first: 3}
        successor.close()

    def test_leaving_commits_nothing(self, world: World) -> None:
        """What was read last is not yet durable; a commit on the way out would hide that from everybody."""
        topic, group = world.topic(), world.group()
        fill(world, topic, 5)
        consumer = world.consumer(group, [topic])
        (partition,) = begin(consumer)
        read(consumer, 5)
        consumer.close()
        successor = world.consumer(group, [topic])
        assert successor.committed([partition]) == {}
        successor.close()

    def test_a_member_whose_name_is_taken_is_refused(self, world: World) -> None:
        """Two agents with one name would both count; the older one must notice and end."""
        topic, group = world.topic(), world.group()
        fill(world, topic, 1)
        older = Member(lambda: world.consumer(group, [topic], "agent-1"), commits=True)
        wait_until(lambda: older.mine, "it never joined")
        younger = Member(lambda: world.consumer(group, [topic], "agent-1"))
        wait_until(lambda: younger.mine, "it never joined")
        wait_until(lambda: older.refusal is not None, "it went on reading")
        assert younger.ask(lambda consumer: consumer.commit({Partition(topic, 0): 1})) is True
        younger.leave()
        older.leave()

    # ---------------------------------------------------------------------------------------------------- what is there
    def test_the_ends_of_a_partition(self, world: World) -> None:
        """Lag and progress are computed from them."""
        topic = world.topic(partitions=2)
        fill(world, topic, 5)
        world.delete_records(topic, 0, before=2)
        consumer = world.consumer(world.group(), [topic])
        first, second = Partition(topic, 0), Partition(topic, 1)
        assert consumer.beginnings([first, second]) == {first: 2, second: 0}
        assert consumer.ends([first, second]) == {first: 5, second: 0}
        consumer.close()

    def test_deleted_records_are_an_exact_gap(self, world: World) -> None:
        """Retention that overtakes us loses counts: nobody may have to guess how many."""
        topic = world.topic()
        fill(world, topic, 20)
        consumer = world.consumer(world.group(), [topic])
        (partition,) = join(consumer, 1)
        world.delete_records(topic, 0, before=12)
        consumer.begin(partition, 5)
        assert offsets(read(consumer, 8)[partition]) == list(range(12, 20))
        assert consumer.problems() == [LogProblem(partition, "retention", position=5, lost=7)]
        assert consumer.problems() == []
        consumer.close()

    def test_a_position_beyond_the_end_is_refused(self, world: World) -> None:
        """The log was truncated below what we counted: reading on would count other records under the same offsets."""
        topic = world.topic()
        fill(world, topic, 3)
        consumer = world.consumer(world.group(), [topic])
        (partition,) = join(consumer, 1)
        consumer.begin(partition, 9)
        assert str(partition) in str(refused(consumer))
        consumer.close()

    @pytest.mark.parametrize("records", [1, 9])
    def test_a_topic_that_was_recreated_is_refused(self, world: World, records: int) -> None:
        """Also when it is longer already than what was read of the old one, which Kafka itself does not notice."""
        topic = world.topic()
        fill(world, topic, 5)
        consumer = world.consumer(world.group(), [topic])
        begin(consumer)
        read(consumer, 5)
        before = consumer.facts(topic).topic_id
        world.recreate_topic(topic, records)
        assert consumer.facts(topic).topic_id != before
        assert topic in str(refused(consumer))
        consumer.close()

    def test_an_unknown_topic_is_refused(self, world: World) -> None:
        """A misspelt name is the operator's error, and no topic is created by it."""
        consumer, producer = world.consumer(world.group(), [world.topic()]), world.producer()
        for ask in (consumer.facts, producer.partitions):
            with pytest.raises(LogRefused):
                ask("no-such-topic")
        consumer.close()
        producer.close()

    # -------------------------------------------------------------------------------------------------------- producing
    def test_records_are_appended_in_the_order_of_sending(self, world: World) -> None:
        """Consumers drop what they have seen by comparing positions: disorder would be loss."""
        topic, producer = world.topic(partitions=3), world.producer()
        for number in range(3000):
            producer.send(topic, number % 3, b"k", str(number).encode() * 40)
            if number % 500 == 0:
                producer.flush(PATIENCE_SECONDS)
        producer.flush(PATIENCE_SECONDS)
        producer.flush(0.0)  # there is nothing to wait for
        assert producer.partitions(topic) == 3
        consumer = world.consumer(world.group(), [topic])
        begin(consumer, 3)
        for partition, records in read(consumer, 3000).items():
            sent = [str(number).encode() * 40 for number in range(partition.number, 3000, 3)]
            assert [record.value for record in records] == sent
        consumer.close()
        producer.close()

    def test_a_record_too_large_is_refused_alone(self, world: World) -> None:
        """One message must not stop those behind it, nor make them jump the queue."""
        topic, producer = world.topic(), world.producer()
        producer.send(topic, 0, b"k", b"before")
        with pytest.raises(RecordRefused) as refusal:
            producer.send(topic, 0, b"k", b"secret" * 200_000)
        producer.send(topic, 0, b"k", b"after")
        producer.flush(PATIENCE_SECONDS)
        consumer = world.consumer(world.group(), [topic])
        (partition,) = begin(consumer)
        assert [record.value for record in read(consumer, 2)[partition]] == [b"before", b"after"]
        assert topic in str(refusal.value)
        assert "secret" not in str(refusal.value)
        consumer.close()
        producer.close()

    def test_the_largest_record_is_taken(self, world: World) -> None:
        """Bytes within the limit are the customer's right; the limit counts the batch around them, too."""
        topic, producer = world.topic(), world.producer()
        producer.send(topic, 0, None, bytes(1_048_588 - 200))
        producer.flush(PATIENCE_SECONDS)
        producer.close()

    # ----------------------------------------------------------------------------------------------------------- outage
    def test_an_outage_shows_only_in_what_does_not_come(self, world: World) -> None:
        """A broker dies and comes back: polls are empty meanwhile, and nothing is lost, doubled or out of order."""
        topic = world.topic()
        fill(world, topic, 50)
        consumer, producer = world.consumer(world.group(), [topic]), world.producer()
        (partition,) = begin(consumer)
        got = read(consumer, 50)[partition]
        producer.send(topic, 0, None, b"warm")
        producer.flush(PATIENCE_SECONDS)
        got += read(consumer, 1)[partition]
        world.stop()
        answered_at = consumer.reachable_at
        assert answered_at is not None
        assert nothing_comes(consumer)
        assert consumer.commit({partition: 50}) is False
        with pytest.raises(LogUnreachable):
            consumer.ends([partition])
        sent = [str(number).encode() for number in range(100)]
        for value in sent:
            producer.send(topic, 0, None, value)
        with pytest.raises(LogUnreachable):
            producer.flush(0.5)
        assert consumer.reachable_at == answered_at
        world.start()
        deliver(producer, topic, sent)
        got += read(consumer, 100)[partition]
        wait_until(lambda: consumer.poll(100, 0.1) or consumer.commit({partition: 151}), "it never came back")
        assert offsets(got)[:51] == list(range(51))
        assert without_repetitions([record.value for record in got[51:]]) == sent
        assert consumer.reachable_at > answered_at
        consumer.close()
        producer.close()


def deliver(producer: LogProducer, topic: str, values: Sequence[bytes]) -> None:
    """As the agent does: all of it again, in the same order, until it is acknowledged."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            for value in values:
                producer.send(topic, 0, None, value)
            producer.flush(5.0)
        except LogUnreachable:
            assert time.monotonic() < deadline
        else:
            return


def without_repetitions(values: Sequence[bytes | None]) -> list[bytes | None]:
    """What a reader counts that drops what is not beyond what it has seen; values are numbers."""
    kept: list[bytes | None] = []
    for value in values:
        assert value is not None
        if int(value) == len(kept):
            kept.append(value)
        assert int(value) < len(kept), "something is missing before this one"
    return kept
