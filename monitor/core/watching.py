"""Decides which slices are watched, and lets each of them bet on the units that closed.

A dimension with a single value so far is not watched: its slice is all traffic under another name, and would only draw
money from the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from monitor.core.budget import Ledger
from monitor.core.changes import Change
from monitor.core.closed_units import CellRow
from monitor.core.drift import Alarm, LearnSettings, StratumSums, UnitSums, Watch
from monitor.core.records import OTHER, Slice
from monitor.core.slicing import Slicing, slice_name


class Found(NamedTuple):
    """A slice's bet concluded something at a unit."""

    slice: Slice
    alarm: Alarm
    evidence: float
    ended_at: float


class Watches:
    """The watched slices of one customer."""

    def __init__(self, slicing: Slicing, settings: LearnSettings) -> None:
        self._slicing = slicing
        self._settings = settings
        self._watches: dict[Slice, Watch] = {}
        self._values: dict[str, str] = {}
        """The only value so far of each dimension that has had one."""
        self._active: set[str] = set()
        self._dirty: set[Slice] = set()
        self._dimensions_dirty = False

    def get(self, slice_: Slice) -> Watch | None:
        """The watch of a slice; of a slice that only repeats its parent, the parent's."""
        return self._watches.get(self.meaning(slice_))

    def meaning(self, slice_: Slice) -> Slice:
        """The slice without dimensions that have had one value only."""
        return tuple(pair for pair in slice_ if pair[0] in self._active)

    def __iter__(self) -> Iterator[Watch]:
        return iter(sorted(self._watches.values(), key=lambda watch: (watch.depth, watch.slice)))

    def __len__(self) -> int:
        return len(self._watches)

    def active_axes(self, axes: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Axes all of whose dimensions have had two values."""
        return [names for names in axes if all(name in self._active for name in names)]

    def betting(self) -> tuple[int, int, int]:
        """Slices of each depth that have a baseline."""
        counts = [0, 0, 0]
        for watch in self._watches.values():
            counts[watch.depth] += watch.baseline is not None
        return counts[0], counts[1], counts[2]

    # ------------------------------------------------------------------------------------------------------- a look
    def take(
        self, rows: Sequence[CellRow], past: Iterable[CellRow], first_at: float, now: float, ledger: Ledger
    ) -> list[Found]:
        """Bet on the rows that closed, in order, and tell what was found.

        past      rows that had closed before; read only when a dimension gets its second value
        first_at  the customer's first event; now: event time by which units are closed
        """
        awakened = self._note_values(rows)
        if awakened:
            for unit in _units(past):
                self._count_new(unit, awakened, first_at)
        found: list[Found] = []
        for unit in _units(rows):
            for slice_, sums in sorted(self._sums(unit).items()):
                conclusion = self._take_unit(slice_, sums, unit[0].ended_at, first_at, ledger)
                if conclusion is not None:
                    found.append(Found(slice_, *conclusion, unit[0].ended_at))
                    if conclusion[0] == Alarm.BETTER:
                        self._watches[slice_].reopen(math.nextafter(now, math.inf))
        return found

    def close_baselines(self, rows: Iterable[CellRow], now: float, ledger: Ledger) -> list[Slice]:
        """Close the baselines that can be, from all rows closed so far; the slices that did."""
        ready = [watch for watch in self if watch.may_close(now, self._settings)]
        if not ready:
            return []
        units: dict[Slice, list[UnitSums]] = {watch.slice: [] for watch in ready}
        for unit in _units(rows):
            for slice_, sums in self._sums(unit).items():
                if slice_ in units and unit[0].ended_at >= self._watches[slice_].learning_since:
                    units[slice_].append(sums)
        self._dirty.update(units)
        return [watch.slice for watch in ready if watch.close(now, units[watch.slice], ledger, self._settings)]

    def _take_unit(
        self, slice_: Slice, sums: UnitSums, ended_at: float, first_at: float, ledger: Ledger
    ) -> tuple[Alarm, float] | None:
        watch = self._watches.get(slice_)
        if watch is None:
            watch = self._watch(slice_, ended_at, first_at)
        self._dirty.add(slice_)
        if watch.baseline is not None:
            return watch.bet(sums, ended_at, ledger)
        watch.units += ended_at >= watch.learning_since
        return None

    def _watch(self, slice_: Slice, ended_at: float, first_at: float) -> Watch:
        # Slices of the first days learn together with their customer; a later one gets its own learning time.
        since = first_at if ended_at < first_at + self._settings.learn_seconds else ended_at
        watch = self._watches[slice_] = Watch(slice=slice_, learning_since=since)
        return watch

    def _count_new(self, unit: list[CellRow], awakened: set[str], first_at: float) -> None:
        for slice_ in self._sums(unit):
            if any(name in awakened for name, _ in slice_):
                watch = self._watches.get(slice_) or self._watch(slice_, unit[0].ended_at, first_at)
                watch.units += 1
                self._dirty.add(slice_)

    def _note_values(self, rows: Sequence[CellRow]) -> set[str]:
        awakened: set[str] = set()
        for row in rows:
            for name, value in zip(self._slicing.names, row.labels, strict=True):
                if name not in self._active and self._values.setdefault(name, value) != value:
                    awakened.add(name)
        if rows:
            self._dimensions_dirty = True
        self._active |= awakened
        return awakened

    def _sums(self, unit: list[CellRow]) -> dict[Slice, UnitSums]:
        """The unit's sums by stratum in each watched slice that it touches."""
        sums: dict[Slice, dict[str, tuple[int, int]]] = {}
        for row in unit:
            stratum = self.stratum(row)
            for slice_ in self.slices(row):
                parts = sums.setdefault(slice_, {})
                errors, words = parts.get(stratum, (0, 0))
                parts[stratum] = (errors + row.errors, words + row.words)
        return {
            slice_: tuple(StratumSums(stratum, *parts[stratum]) for stratum in sorted(parts))
            for slice_, parts in sums.items()
        }

    def slices(self, row: CellRow) -> list[Slice]:
        """Watched slices that contain a row; what was folded has no intersections."""
        return [
            slice_
            for slice_ in self._slicing.slices_of(row.labels)
            if all(name in self._active and (len(slice_) < 2 or value != OTHER) for name, value in slice_)
        ]

    def stratum(self, row: CellRow) -> str:
        """Key of the row's stratum."""
        return "\x1f".join(self._slicing.strata_key(row.labels))

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        written = [
            Change("watches", slice_name(slice_), msgspec.msgpack.encode(self._watches[slice_]))
            for slice_ in sorted(self._dirty)
        ]
        self._dirty.clear()
        if self._dimensions_dirty:
            document = (sorted(self._values.items()), sorted(self._active))
            written.append(Change("dimensions", "", msgspec.msgpack.encode(document)))
            self._dimensions_dirty = False
        return written

    def restore(self, table: str, value: bytes) -> None:
        """Take back one document, in any order."""
        if table == "watches":
            watch = msgspec.msgpack.decode(value, type=Watch)
            self._watches[watch.slice] = watch
            return
        values, active = msgspec.msgpack.decode(value, type=tuple[list[tuple[str, str]], list[str]])
        self._values, self._active = dict(values), set(active)


def _units(rows: Iterable[CellRow]) -> Iterator[list[CellRow]]:
    """Rows of one unit lie together."""
    for _, unit in groupby(rows, key=lambda row: row.unit):
        yield list(unit)
