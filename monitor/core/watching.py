"""Decides which slices are watched, and lets each of them bet on the units that closed.

A dimension with a single value so far is not watched: its slice is all traffic under another name, and would only draw
money from the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from monitor.core.budget import Ledger
from monitor.core.changes import Change
from monitor.core.closed_units import CellRow, units_of
from monitor.core.drift import Alarm, LearnSettings, StratumSums, UnitSums, Watch
from monitor.core.records import OTHER, Labels, Slice
from monitor.core.slicing import Slicing, slice_name
from monitor.core.standing_claims import StandingClaims

PLACES_MAX = 10_000
"""Combinations of labels whose slices are remembered (about 1 kB each): at half, traffic of 5,000 slices has more of
them; beyond it they are worked out every time, which costs some 10 us."""


ENDED_CLAIMS = "ended claims"
"""Whom the account names for what such slices have spent."""


class Found(NamedTuple):
    """A slice's bet concluded something at a unit."""

    slice: Slice
    alarm: Alarm
    evidence: float
    ended_at: float


class Watches:
    """The watched slices of one customer."""

    def __init__(self, slicing: Slicing, settings: LearnSettings, claims: StandingClaims | None = None) -> None:
        self._slicing = slicing
        self._claims = claims or StandingClaims(slicing.names, ())
        self._settings = settings
        self._watches: dict[Slice, Watch] = {}
        self._values: dict[str, str] = {}
        """The only value so far of each dimension that has had one."""
        self._active: set[str] = set()
        self._places: dict[Labels, tuple[str, tuple[Slice, ...]]] = {}
        """What `_place` found; it can be found again."""
        self._dirty: set[Slice] = set()
        self._dimensions_dirty = False
        self._restored = False

    def get(self, slice_: Slice) -> Watch | None:
        """The watch of a slice; of a slice that only repeats its parent, the parent's."""
        return self._watches.get(self.meaning(slice_))

    def meaning(self, slice_: Slice) -> Slice:
        """The slice without dimensions that have had one value only."""
        return tuple(pair for pair in slice_ if pair[0] in self._active or pair[0] in self._claims.dimensions)

    def __iter__(self) -> Iterator[Watch]:
        return iter(sorted(self._watches.values(), key=_order))

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

    def drawing(self) -> tuple[int, int, int]:
        """Slices of each depth that draw money: those, and small ones that are looked at while they learn."""
        counts = [0, 0, 0]
        for watch in self._watches.values():
            counts[watch.depth] += watch.baseline is not None or watch.looks
        return counts[0], counts[1], counts[2]

    def sharing(self, depth: int) -> int:
        """Slices of a depth that draw money, or have the units to do so as soon as they have learned long enough."""
        least = self._settings.learn_units_min
        return sum(
            watch.baseline is not None or watch.looks or watch.units >= least
            for watch in self._watches.values()
            if watch.depth == depth
        )

    # ------------------------------------------------------------------------------------------------------- a look
    def end_lost_claims(self, ledger: Ledger) -> list[Slice]:
        """Watch no claim any longer that is gone from its file: it drew money for units that can never come."""
        if not self._restored:
            return []
        self._restored = False
        lost = sorted(self._claims.lost(self._watches))
        for slice_ in lost:
            watch = self._watches.pop(slice_)
            ledger.inherit(watch.spent, watch.spent_better, by=ENDED_CLAIMS)
            self._dirty.add(slice_)
        return lost

    def take(
        self, rows: Sequence[CellRow], past: Iterable[CellRow], first_at: float, now: float, ledger: Ledger
    ) -> list[Found]:
        """Bet on the rows that closed, in order, and tell what was found.

        past      rows that had closed before; read only when a dimension gets its second value
        first_at  the customer's first event; now: event time by which units are closed
        """
        awakened = self._note_values(rows)
        if awakened:
            for unit in units_of(past):
                self._count_new(unit, awakened, first_at)
        found: list[Found] = []
        for unit in units_of(rows):
            for slice_, sums in sorted(self.sums(unit).items()):
                conclusion = self._take_unit(slice_, sums, unit[0].ended_at, first_at, ledger)
                if conclusion is not None:
                    found.append(Found(slice_, *conclusion, unit[0].ended_at))
                    if conclusion[0] == Alarm.BETTER:
                        self._watches[slice_].reopen(math.nextafter(now, math.inf))
        return found

    def close_baselines(self, rows: Iterable[CellRow], now: float, ledger: Ledger) -> list[Slice]:
        """Close the baselines that can be, from all rows closed so far; the slices that did."""
        able = (watch for watch in self._watches.values() if watch.may_close(now, self._settings))
        ready = sorted(able, key=_order)
        if not ready:
            return []
        units = self.units_of([watch.slice for watch in ready], rows)
        self._dirty.update(units)
        return [watch.slice for watch in ready if watch.close(now, units[watch.slice], ledger, self._settings)]

    def units_of(self, wanted: Sequence[Slice], rows: Iterable[CellRow]) -> dict[Slice, list[UnitSums]]:
        """The units of these slices since each began to learn, in order.

        Some slice learns at almost every look, and most rows lie in none that does: labels are asked once each.
        """
        since = {slice_: self._watches[slice_].learning_since for slice_ in wanted}
        units: dict[Slice, list[UnitSums]] = {slice_: [] for slice_ in wanted}
        touched: dict[Labels, list[Slice]] = {}
        open_: dict[Slice, tuple[str, dict[str, tuple[int, int, int]]]] = {}
        for row in rows:
            inside = touched.get(row.labels)
            if inside is None:
                inside = touched[row.labels] = [slice_ for slice_ in self.slices(row) if slice_ in units]
            for slice_ in inside:
                if row.ended_at < since[slice_]:
                    continue
                last = open_.get(slice_)
                if last is None or last[0] != row.unit:
                    if last is not None:
                        units[slice_].append(_by_stratum(last[1]))
                    last = open_[slice_] = (row.unit, {})
                _add(last[1], self.stratum(row), row)
        for slice_, (_, parts) in open_.items():
            units[slice_].append(_by_stratum(parts))
        return units

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
        for slice_ in self.sums(unit):
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
        if awakened:
            self._active |= awakened
            self._places.clear()
        return awakened

    def sums(self, unit: list[CellRow]) -> dict[Slice, UnitSums]:
        """The unit's sums by stratum in each watched slice that it touches."""
        sums: dict[Slice, dict[str, tuple[int, int, int]]] = {}
        for row in unit:
            stratum = self.stratum(row)
            for slice_ in self.slices(row):
                _add(sums.setdefault(slice_, {}), stratum, row)
        return {slice_: _by_stratum(parts) for slice_, parts in sums.items()}

    def slices(self, row: CellRow) -> tuple[Slice, ...]:
        """Watched slices that contain a row; what was folded has no intersections."""
        return self.slices_of(row.labels)

    def slices_of(self, labels: Labels) -> tuple[Slice, ...]:
        """The same by folded labels."""
        return self._place(labels)[1]

    def stratum(self, row: CellRow) -> str:
        """Key of the row's stratum."""
        return self._place(row.labels)[0]

    def _place(self, labels: Labels) -> tuple[str, tuple[Slice, ...]]:
        """Stratum and watched slices of these labels: the same for as long as no dimension awakens."""
        place = self._places.get(labels)
        if place is None:
            watched = tuple(
                slice_
                for slice_ in self._slicing.slices_of(labels)
                if all(name in self._active and (len(slice_) < 2 or value != OTHER) for name, value in slice_)
            )
            watched += self._claims.slices_of(labels)
            place = ("\x1f".join(self._slicing.strata_key(labels)), watched)
            if len(self._places) < PLACES_MAX:
                self._places[labels] = place
        return place

    def touch(self, slice_: Slice) -> None:
        """The slice's watch was changed from outside: it is to be written down."""
        self._dirty.add(slice_)

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        written = [
            Change("watches", slice_name(slice_), msgspec.msgpack.encode(watch) if watch is not None else None)
            for slice_, watch in ((one, self._watches.get(one)) for one in sorted(self._dirty))
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
            self._restored = True
            return
        values, active = msgspec.msgpack.decode(value, type=tuple[list[tuple[str, str]], list[str]])
        self._values, self._active = dict(values), set(active)
        self._places.clear()


def _order(watch: Watch) -> tuple[int, Slice]:
    return watch.depth, watch.slice


def _add(parts: dict[str, tuple[int, int, int]], stratum: str, row: CellRow) -> None:
    errors, words, corrected = parts.get(stratum, (0, 0, 0))
    parts[stratum] = (errors + row.errors, words + row.words, corrected + row.plain_words)


def _by_stratum(parts: Mapping[str, tuple[int, int, int]]) -> UnitSums:
    return tuple(StratumSums(stratum, *parts[stratum]) for stratum in sorted(parts))
