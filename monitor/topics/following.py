"""Decides whether a partition's reader is at its end: everything that was there at the last look has been read."""

from __future__ import annotations

import time
from collections.abc import Callable, Set

from monitor.adapters.kafka.port import LogConsumer, LogUnreachable, Partition

LOOK_SECONDS = 3.0
"""Between two looks at the ends of partitions. A partition is current once all that was there one look ago is read, so
event time can run ahead of a topic that falls silent this long while its producer still has more: at half, a slow
producer's pause suffices; at double, a page comes that much later."""


class Followed:
    """The partitions that one process reads, and how far each is."""

    def __init__(self, consumer: LogConsumer, clock: Callable[[], float] = time.monotonic) -> None:
        self._consumer = consumer
        self._clock = clock
        self._positions: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._current: dict[Partition, bool] = {}
        self._held: frozenset[Partition] = frozenset()
        self._looked_at: float | None = None
        self._answered_at: float | None = None
        self.age_seconds = 0.0
        """Time between the last two answers: what `current` is said of lies so long ago."""
        self.reachable = True
        """Whether a broker answered at the last look."""

    def clear(self) -> None:
        """Follow nothing."""
        self._positions.clear()
        self._ends.clear()
        self._current.clear()
        self._held = frozenset()
        self._looked_at = self._answered_at = None

    def start(self, partition: Partition, position: int | None) -> None:
        """Follow a partition from here; None: from its beginning."""
        self._positions[partition] = position or 0
        self._current[partition] = False
        self._ends.pop(partition, None)
        self._held -= {partition}

    def stop(self, partition: Partition) -> None:
        for known in (self._positions, self._ends, self._current):
            known.pop(partition, None)

    def read(self, partition: Partition, position: int) -> None:
        """It was read up to here."""
        self._positions[partition] = position

    def look(self) -> bool:
        """Look at the ends if it is time; whether that was so. With no broker in reach nobody is at any end."""
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        try:
            ends = self._consumer.ends(list(self._positions))
        except LogUnreachable:
            self.reachable = False
            self._current = dict.fromkeys(self._positions, False)
            return True
        self.reachable = True
        self.age_seconds = 0.0 if self._answered_at is None else now - self._answered_at
        self._answered_at = now
        for partition in self._positions:
            position = self._consumer.position(partition) or self._positions[partition]
            self._positions[partition] = position
            before = self._ends.get(partition)
            self._current[partition] = before is not None and position >= before
            if partition in ends:
                self._ends[partition] = ends[partition]
        return True

    def current(self, partition: Partition) -> bool:
        """Whether all of it that was there one look ago has been read."""
        return self._current.get(partition, False)

    def hold(self, ahead: Set[Partition]) -> None:
        """Hold these partitions, and let go of those held before."""
        if ahead == self._held:
            return
        self._consumer.go_on(sorted(self._held - ahead))
        self._consumer.hold(sorted(ahead - self._held))
        self._held = frozenset(ahead)

    def remaining(self, partition: Partition) -> int:
        """Records of this partition that were there at the last look and are not read."""
        return max(0, self._ends.get(partition, 0) - self._positions.get(partition, 0))

    @property
    def lag(self) -> dict[str, int]:
        """The same by topic."""
        lag: dict[str, int] = {}
        for partition in self._positions:
            lag[partition.topic] = lag.get(partition.topic, 0) + self.remaining(partition)
        return lag
