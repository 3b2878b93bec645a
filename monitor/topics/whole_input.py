"""Decides how the partitions of the input topics become one input for one process that runs every stage.

Pairing needs both sides of an utterance, and the two topics are not partitioned alike: such a process works only while
it holds every partition. While another member of its group has some of them it waits, with its state closed, and says
so; when all are here, the state is opened, and each partition goes on where the state says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import NamedTuple

from monitor.adapters.jsonl import InputProblem, Line
from monitor.adapters.kafka.port import LogConsumer, LogRecord, LogRefused, Partition
from monitor.core.records import Kind, Mark
from monitor.core.routing import Router
from monitor.topics.following import Followed
from monitor.topics.skimming import Skimmed, skim

POLL_SECONDS = 0.1
"""How long a poll waits for something new: a stop or a lost partition is noticed after it at the latest."""
RECORDS_AT_ONCE = 2_000


class Interrupted(Exception):
    """Partitions came or went: what is in memory is not ours any more, or not all there is."""


class Read(NamedTuple):
    """How far one source was read."""

    source: str
    next_position: int
    passed_over: int
    event_at: float | None
    """Of the last message that was passed over."""


class TopicInput:
    """A `LineSource` over every partition of the input topics; sources are named `topic-3@` and the topic's id."""

    def __init__(
        self,
        consumer: LogConsumer,
        transcripts: Sequence[str],
        references: Sequence[str],
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._consumer = consumer
        self._kinds = {
            **dict.fromkeys(transcripts, Kind.TRANSCRIPT),
            **dict.fromkeys(references, Kind.REFERENCE),
        }
        self._wall_clock = wall_clock
        self._assigned: set[Partition] = set()
        self._names: dict[Partition, str] = {}
        self._followed = Followed(consumer)
        self._floor: dict[str, int] = {}
        self._passed_floor = False
        self._router: Router | None = None
        self._mapped: frozenset[str] = frozenset()
        self._read: list[Read] = []

    @property
    def exhausted(self) -> bool:
        return False

    @property
    def sources(self) -> Collection[str]:
        """All there are, every one of them ours while this is in use."""
        return self._names.values()

    # ------------------------------------------------------------------------------------------------------- members
    def whole(self) -> bool:
        """Whether every partition of every topic is ours now; call it until it is. LogRefused, LogUnreachable."""
        self._consumer.poll(1, POLL_SECONDS)
        self._take_changes()
        if {partition.topic for partition in self._assigned} != set(self._kinds):
            return False
        return len(self._assigned) == sum(self._consumer.facts(topic).partitions for topic in self._kinds)

    @property
    def held(self) -> int:
        """Partitions that are ours now."""
        return len(self._assigned)

    def _take_changes(self) -> bool:
        changes = self._consumer.changes()
        for change in changes:
            (self._assigned.add if change.assigned else self._assigned.discard)(change.partition)
        return bool(changes)

    # -------------------------------------------------------------------------------------------------------- source
    def seek(self, offsets: Mapping[str, int]) -> None:
        """Go on at these positions; partitions not named start at their beginning. Call it when `whole`.

        Raises LogRefused if a topic was deleted and made again since the positions were stored, and Interrupted if
        partitions went in the meantime.
        """
        self._names = {
            partition: f"{partition}@{self._consumer.facts(partition.topic).topic_id[:8]}"
            for partition in sorted(self._assigned)
        }
        ids = {name.partition("@")[0]: name for name in self._names.values()}
        for stored in offsets:
            printed = stored.partition("@")[0]
            if ids.get(printed, stored) != stored:
                raise made_again(printed)
        committed = self._consumer.committed(list(self._names))
        beginnings = self._consumer.beginnings(list(self._names))
        self._floor = {  # what the log has lost cannot be caught up with
            self._names[partition]: offset for partition, offset in committed.items() if beginnings[partition] < offset
        }
        self._passed_floor = False
        self._followed.clear()
        for partition, name in self._names.items():
            self._consumer.begin(partition, offsets.get(name))
            self._followed.start(partition, offsets.get(name))

    def poll(self, limit: int) -> list[Line]:
        """At most about `limit` records, waiting a moment for the first. Raises Interrupted, LogRefused."""
        polled = self._consumer.poll(max(limit, RECORDS_AT_ONCE), POLL_SECONDS)
        if self._take_changes():
            raise Interrupted
        now = self._wall_clock()
        self._read = []
        lines: list[Line] = []
        for partition, records in polled.items():
            if records:
                self._take(partition, records, lines, now)
        return lines

    def _take(self, partition: Partition, records: Sequence[LogRecord], lines: list[Line], now: float) -> None:
        name, topic, number = self._names[partition], partition.topic, partition.number
        kind = self._kinds[topic]
        end = records[-1].offset + 1
        skimmed = Skimmed(records, 0, None)
        if self._router is not None and topic not in self._mapped:
            skimmed = skim(self._router, kind, records, now)
        for record in skimmed.records:
            at, key, headers = record.offset, record.key, record.headers
            stands_for = skimmed.stands_for if at in skimmed.plain else 1.0
            lines.append(Line(name, at, at + 1, kind, record.value, None, topic, at, key, headers, number, stands_for))
        self._read.append(Read(name, end, skimmed.passed_over, skimmed.event_at))
        self._followed.read(partition, end)

    def read(self) -> list[Read]:
        """How far the last poll came in each source, with what it passed over: lines come before it."""
        return self._read

    def skim_by(self, router: Router, mapped: Set[str]) -> None:
        """Pass over what this router's coin rules out, but for topics whose ids a mapping finds."""
        self._router = router
        self._mapped = frozenset(mapped)

    def problems(self) -> list[InputProblem]:
        found = []
        for partition, problem, position, lost in self._consumer.problems():
            name = self._names.get(partition)
            if name is not None:
                found.append(InputProblem(name, problem, position, 0, lost))
                self._followed.read(partition, position + lost)
        return found

    def close(self) -> None:
        self._consumer.close()

    # ---------------------------------------------------------------------------------------------------- upstreams
    def marks(self) -> list[Mark]:
        """Now and then, what each partition's reader knows; else nothing."""
        if not self._followed.look():
            return []
        now = self._wall_clock()
        return [
            Mark(
                upstream=name,
                of=len(self._names),
                reached_at=None,
                current=self._followed.current(partition),
                at=now,
                read_at=now - self._followed.age_seconds,
            )
            for partition, name in self._names.items()
        ]

    def hold(self, ahead: Set[str]) -> None:
        """Hold the sources that are too far ahead of the others, and let go of those held before."""
        self._followed.hold({partition for partition, name in self._names.items() if name in ahead})

    def durable(self, offsets: Mapping[str, int]) -> None:
        """Tell the group what is durable. Raises LogRefused if this member was fenced."""
        self._consumer.commit(
            {
                partition: offsets[name]
                for partition, name in self._names.items()
                if offsets.get(name, -1) >= self._floor.get(name, 0)
            }
        )

    def past_floor(self, offsets: Mapping[str, int]) -> bool:
        """Whether the state is as far as what was published before: an older one was recovered otherwise."""
        if not self._passed_floor:
            self._passed_floor = all(offsets.get(name, 0) >= floor for name, floor in self._floor.items())
        return self._passed_floor

    def gauges(self, offsets: Mapping[str, int]) -> dict[str, float]:
        """How far the partitions are."""
        behind = sum(max(0, floor - offsets.get(name, 0)) for name, floor in self._floor.items())
        return {
            'partitions_assigned{stage="all"}': float(len(self._assigned)),
            'state_behind_records{stage="all"}': float(behind),
            "broker_reachable": float(self._followed.reachable),
            **{f'consumer_lag_records{{topic="{topic}"}}': float(lag) for topic, lag in self._followed.lag.items()},
        }


def made_again(partition: str) -> LogRefused:
    """The topic has another id than the state was made from."""
    return LogRefused(
        f"{partition}: the topic was deleted and made again since the state was written, so that its positions mean "
        "nothing now; choose another state.path to begin anew"
    )
