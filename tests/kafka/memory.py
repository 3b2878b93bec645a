"""Decides how a Kafka cluster behaves that exists only in memory: for fast, deterministic tests of what uses the log.

The contract suite (`log_contract`) holds it to the same behaviours as a real broker. Nothing happens by itself:
retention, outages, lost sessions and lost acknowledgements happen when a test says so, and a rebalance proceeds only in
the members' `poll`. With `wait_seconds=0` nothing waits; otherwise `poll` returns as soon as there is something.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from monitor.adapters.kafka.port import (
    Change,
    LogProblem,
    LogRefused,
    LogUnreachable,
    Partition,
    RecordRefused,
    TopicFacts,
)

BATCH_OVERHEAD_BYTES = 70
"""What Kafka counts beside key, value and headers of a single record, about."""


class MemoryRecord(NamedTuple):
    """One `LogRecord`."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class _Queued(NamedTuple):
    partition: Partition
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class MemoryBroker:
    """A cluster. All clients of one broker may be used from different threads, each from its own."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now`: monotonic seconds, for `reachable_at`."""
        self._now = now
        self._changed = threading.Condition(threading.RLock())
        self._topics: dict[str, _Topic] = {}
        self._groups: dict[str, _Group] = {}
        self._up = True
        self._next_flush_appends: int | None = None

    # ----------------------------------------------------------------------------------------------------------- topics
    def create_topic(self, name: str, partitions: int = 1, *, batch_bytes_max: int = 1_048_588) -> None:
        with self._changed:
            assert name not in self._topics, name
            logs = [_Log() for _ in range(partitions)]
            self._topics[name] = _Topic(topic_id=uuid.uuid4().hex, logs=logs, batch_bytes_max=batch_bytes_max)
            self._rearrange()

    def delete_topic(self, name: str) -> None:
        with self._changed:
            del self._topics[name]
            self._rearrange()

    def add_partitions(self, name: str, total: int) -> None:
        with self._changed:
            logs = self._topics[name].logs
            logs.extend(_Log() for _ in range(total - len(logs)))
            self._rearrange()

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """What retention does: the log begins at `before` from now on."""
        with self._changed:
            log = self._topics[topic].logs[partition]
            log.records = [record for record in log.records if record.offset >= before]
            log.first = max(log.first, before)

    def skip_offsets(self, topic: str, partition: int, number: int) -> None:
        """As an aborted transaction, a control record or compaction leave behind: offsets without readable records."""
        with self._changed:
            self._topics[topic].logs[partition].end += number

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> int:
        """Without a producer; the record's offset."""
        with self._changed:
            return self._append(_Queued(Partition(topic, partition), key, value, ()))

    def records(self, topic: str, partition: int) -> list[MemoryRecord]:
        with self._changed:
            return list(self._topics[topic].logs[partition].records)

    # ---------------------------------------------------------------------------------------------------------- clients
    def consumer(self, group: str, topics: Sequence[str], group_instance_id: str | None = None) -> MemoryConsumer:
        with self._changed:
            self._require_up()
            member = MemoryConsumer(self, self._groups.setdefault(group, _Group()), topics, group_instance_id)
        return member

    def producer(self) -> MemoryProducer:
        return MemoryProducer(self)

    # ----------------------------------------------------------------------------------------------------------- faults
    def stop(self) -> None:
        """Nobody answers any more."""
        with self._changed:
            self._up = False

    def start(self) -> None:
        with self._changed:
            self._up = True
            self._changed.notify_all()

    def cut_next_flush(self, after: int) -> None:
        """The next flush appends only its first `after` records, and its caller hears nothing: LogUnreachable."""
        with self._changed:
            self._next_flush_appends = after

    def expire(self, member: MemoryConsumer) -> None:
        """The member's session times out: its partitions get other owners before it knows."""
        with self._changed:
            member._expire()

    # ----------------------------------------------------------------------------------------- for the clients, locked
    def _require_up(self) -> None:
        if not self._up:
            raise LogUnreachable("memory: no answer")

    def _topic(self, name: str) -> _Topic:
        self._require_up()
        if name not in self._topics:
            raise LogRefused(f"{name}: there is no such topic")
        return self._topics[name]

    def _log(self, partition: Partition) -> _Log:
        logs = self._topic(partition.topic).logs
        if partition.number >= len(logs):
            raise LogRefused(f"{partition}: there is no such partition")
        return logs[partition.number]

    def _append(self, queued: _Queued) -> int:
        log = self._log(queued.partition)
        log.records.append(MemoryRecord(log.end, queued.key, queued.value, queued.headers))
        log.end += 1
        self._changed.notify_all()
        return log.end - 1

    def _rearrange(self) -> None:
        """Every group shares out anew."""
        for group in self._groups.values():
            group.share(self._topics)
        self._changed.notify_all()


@dataclass(slots=True)
class _Log:
    first: int = 0
    end: int = 0
    records: list[MemoryRecord] = field(default_factory=list)

    def since(self, offset: int, number: int) -> list[MemoryRecord]:
        """By bisection: offsets may have holes."""
        low, high = 0, len(self.records)
        while low < high:
            middle = (low + high) // 2
            if self.records[middle].offset < offset:
                low = middle + 1
            else:
                high = middle
        return self.records[low : low + number]


@dataclass(slots=True)
class _Topic:
    topic_id: str
    logs: list[_Log]
    batch_bytes_max: int


@dataclass(slots=True)
class _Group:
    """`wanted` is who shall have a partition, `owned` who has it: a partition moves when its owner has let go of it."""

    members: list[MemoryConsumer] = field(default_factory=list)
    wanted: dict[Partition, MemoryConsumer] = field(default_factory=dict)
    owned: dict[Partition, MemoryConsumer] = field(default_factory=dict)
    floors: dict[Partition, int] = field(default_factory=dict)

    def share(self, topics: Mapping[str, _Topic]) -> None:
        """Range assignment: of each topic, each member gets a run of partitions; the first members one more."""
        self.wanted.clear()
        for name in sorted({name for member in self.members for name in member.topics}):
            members = [member for member in self.members if name in member.topics]
            number = len(topics[name].logs) if name in topics else 0
            least, more = divmod(number, len(members))
            start = 0
            for index, member in enumerate(members):
                stop = start + least + (index < more)
                self.wanted.update({Partition(name, each): member for each in range(start, stop)})
                start = stop

    def of(self, member: MemoryConsumer) -> Iterator[Partition]:
        return (partition for partition, owner in sorted(self.owned.items()) if owner is member)


class MemoryConsumer:
    """`LogConsumer` of a MemoryBroker."""

    def __init__(
        self, broker: MemoryBroker, group: _Group, topics: Sequence[str], group_instance_id: str | None
    ) -> None:
        self.topics = tuple(topics)
        self._broker = broker
        self._group = group
        self._instance = group_instance_id
        self._positions: dict[Partition, int] = {}
        self._held: set[Partition] = set()
        self._changes: list[Change] = []
        self._problems: list[LogProblem] = []
        self._identities: dict[str, str] = {}
        self._joined = False
        self._closed = False
        self._lost: list[Partition] = []
        self._refused: LogRefused | None = None
        self._reachable_at: float | None = broker._now()

    # ---------------------------------------------------------------------------------------------------------- reading
    def poll(self, records_max: int, wait_seconds: float) -> Mapping[Partition, Sequence[MemoryRecord]]:
        deadline = time.monotonic() + wait_seconds
        with self._broker._changed:
            while True:
                found = self._poll_once(records_max)
                left = deadline - time.monotonic()
                if found or self._changes or left <= 0.0:
                    return found
                self._broker._changed.wait(left)

    def changes(self) -> list[Change]:
        with self._broker._changed:
            changes, self._changes = self._changes, []
        return changes

    def begin(self, partition: Partition, offset: int | None) -> None:
        with self._broker._changed:
            if self._group.owned.get(partition) is self:
                first = self._broker._topics[partition.topic].logs[partition.number].first
                self._positions[partition] = first if offset is None else offset
                self._held.discard(partition)

    def hold(self, partitions: Sequence[Partition]) -> None:
        with self._broker._changed:
            self._held.update(partition for partition in partitions if partition in self._positions)

    def go_on(self, partitions: Sequence[Partition]) -> None:
        with self._broker._changed:
            self._held.difference_update(partitions)

    # -------------------------------------------------------------------------------------------------------- the group
    def commit(self, positions: Mapping[Partition, int]) -> bool:
        with self._broker._changed:
            if self._refused is not None:
                raise self._refused
            if not self._broker._up or not self._joined:
                return False
            self._answered()
            mine = {partition: at for partition, at in positions.items() if self._group.owned.get(partition) is self}
            self._group.floors.update(mine)
            return True

    def committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        with self._broker._changed:
            self._broker._require_up()
            self._answered()
            floors = self._group.floors
            return {partition: floors[partition] for partition in partitions if partition in floors}

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        with self._broker._changed:
            ends = {partition: self._broker._log(partition).end for partition in partitions}
            self._answered()
            return ends

    def beginnings(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        with self._broker._changed:
            beginnings = {partition: self._broker._log(partition).first for partition in partitions}
            self._answered()
            return beginnings

    def position(self, partition: Partition) -> int | None:
        with self._broker._changed:
            return self._positions.get(partition)

    def facts(self, topic: str) -> TopicFacts:
        with self._broker._changed:
            found = self._broker._topic(topic)
            self._answered()
            return TopicFacts(found.topic_id, len(found.logs))

    def problems(self) -> list[LogProblem]:
        with self._broker._changed:
            problems, self._problems = self._problems, []
        return problems

    @property
    def reachable_at(self) -> float | None:
        return self._reachable_at

    def close(self) -> None:
        with self._broker._changed:
            self._closed = True
            if self._joined:
                self._leave()

    # -------------------------------------------------------------------------------------------------- private, locked
    def _poll_once(self, records_max: int) -> dict[Partition, Sequence[MemoryRecord]]:
        assert not self._closed, "poll after close"
        if self._refused is not None:
            raise self._refused
        if not self._broker._up:
            return {}
        self._answered()
        for partition in self._lost:
            self._changes.append(Change(partition, assigned=False, lost=True))
        self._lost.clear()
        if not self._joined:
            self._join()
        self._compare_identities()
        self._take_and_give()
        return self._read(records_max)

    def _join(self) -> None:
        for other in list(self._group.members):
            if self._instance is not None and other._instance == self._instance:
                other._refused = LogRefused(f"another member of the group is {self._instance}")
                other._expire()
        self._joined = True
        self._group.members.append(self)
        self._broker._rearrange()

    def _leave(self) -> None:
        self._joined = False
        self._group.members.remove(self)
        for partition in list(self._group.of(self)):
            del self._group.owned[partition]
        self._positions.clear()
        self._held.clear()
        self._broker._rearrange()

    def _expire(self) -> None:
        assert self._joined, "not in the group"
        self._lost.extend(self._group.of(self))
        self._leave()

    def _compare_identities(self) -> None:
        for name in self.topics:
            topic = self._broker._topics.get(name)
            if topic is not None and self._identities.setdefault(name, topic.topic_id) != topic.topic_id:
                self._refused = LogRefused(f"{name} was deleted and re-created")
                raise self._refused

    def _take_and_give(self) -> None:
        group = self._group
        for partition in list(group.of(self)):
            if group.wanted.get(partition) is not self:
                del group.owned[partition]
                self._positions.pop(partition, None)
                self._held.discard(partition)
                self._changes.append(Change(partition, assigned=False))
                self._broker._changed.notify_all()
        for partition, wanted in sorted(group.wanted.items(), key=lambda item: item[0]):
            if wanted is self and partition not in group.owned:
                group.owned[partition] = self
                self._changes.append(Change(partition, assigned=True))

    def _read(self, records_max: int) -> dict[Partition, Sequence[MemoryRecord]]:
        found: dict[Partition, Sequence[MemoryRecord]] = {}
        for partition, position in list(self._positions.items()):
            if partition in self._held or partition.topic not in self._broker._topics:
                continue
            log = self._broker._log(partition)
            if position > log.end:
                self._refused = LogRefused(f"{partition} ends before {position}: truncated or re-created")
                raise self._refused
            if position < log.first:
                self._problems.append(LogProblem(partition, "retention", position, log.first - position))
                position = log.first
            records = log.since(position, records_max)
            records_max -= len(records)
            self._positions[partition] = records[-1].offset + 1 if records else log.end
            if records:
                found[partition] = records
                # The others first the next time.
                self._positions[partition] = self._positions.pop(partition)
            if records_max <= 0:
                break
        return found

    def _answered(self) -> None:
        self._reachable_at = self._broker._now()


class MemoryProducer:
    """`LogProducer` of a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._queued: list[_Queued] = []

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        with self._broker._changed:
            found = self._broker._topics.get(topic)
            size = len(key or b"") + len(value or b"") + sum(len(name) + len(content) for name, content in headers)
            if found is not None and size + BATCH_OVERHEAD_BYTES > found.batch_bytes_max:
                raise RecordRefused(f"{topic} takes batches of at most {found.batch_bytes_max} bytes")
            self._queued.append(_Queued(Partition(topic, partition), key, value, tuple(headers)))

    def flush(self, wait_seconds: float) -> None:
        with self._broker._changed:
            queued, self._queued = self._queued, []
            if not queued:
                return
            cut, self._broker._next_flush_appends = self._broker._next_flush_appends, None
            for record in queued[:cut]:
                self._broker._append(record)
            if cut is not None:
                raise LogUnreachable("memory: the acknowledgement was lost")

    def partitions(self, topic: str) -> int:
        with self._broker._changed:
            return len(self._broker._topic(topic).logs)

    def close(self) -> None:
        self._queued.clear()
