"""Decides what detectors beside the page budget's bets have to say of each slice, from the same closed units.

A detector's inner state is never stored: it is what the norm and the units since its beginning make of it. So that the
beginning never lies beyond what the log of closed units remembers, each slice's detectors begin anew once a week, with
the units of the last 14 days: an uninterrupted run does the same, and a restored one goes on bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from monitor.core.changes import Change
from monitor.core.closed_units import CellRow, Log, units_of
from monitor.core.detectors import (
    MEMORY_DAYS,
    NORM_UNITS_MIN,
    PAGE_BUDGET,
    TURN_DAYS,
    Anchored,
    Calibration,
    Make,
    excess,
    reading,
    standing_for,
)
from monitor.core.drift import Baseline, UnitSums, Watch
from monitor.core.records import Slice
from monitor.core.slicing import slice_name
from monitor.core.watching import Watches

DAY = 86400.0


class Advice(NamedTuple):
    """A detector alarmed on a slice."""

    slice: Slice
    detector: str
    calibrated: bool


class Norm(msgspec.Struct, frozen=True):
    """What stands for a slice's norm. Stored.

    closed_at  of the baseline: says which one; since: the look after which units are judged
    values     excess of units that the baseline was learned from, as `standing_for` chooses them
    """

    slice: Slice
    closed_at: float
    since: float
    values: tuple[float, ...]


class _Course(NamedTuple):
    """One slice's detectors."""

    baseline: Baseline
    detectors: tuple[tuple[str, bool, Anchored], ...]
    """(name, calibrated, detector)"""

    def take(self, unit: UnitSums) -> list[tuple[str, bool]]:
        value = excess(self.baseline, unit)
        if value is None:
            return []
        alarms = []
        for name, calibrated, detector in self.detectors:
            detector.update(reading(name, value, self.baseline.rho))
            if detector.drift_detected:
                alarms.append((name, calibrated))
        return alarms


Maker = Callable[[str, float | None], Make]


class Advisers:
    """Detectors of one customer's slices."""

    def __init__(
        self,
        names: Sequence[str],
        maker: Maker,
        watches: Watches,
        cells: Log[CellRow],
        records: Iterable[Calibration] = (),
    ) -> None:
        self._names = tuple(name for name in names if name != PAGE_BUDGET)
        self._maker = maker
        self._watches = watches
        self._cells = cells
        self._records = {record.detector: record for record in records if record.detector in names}
        self._makes: dict[tuple[str, float | None], Make] = {}
        self._norms: dict[Slice, Norm] = {}
        self._courses: dict[Slice, _Course] = {}
        self._versions: dict[Slice, tuple[float, str]] = {}
        self._floor = float("-inf")
        """Look after which everything is still in the log, if the log's bound made it forget what we had begun with."""
        self._seen = float("-inf")
        self._dirty: set[Slice] = set()
        self._floor_dirty = False

    # ------------------------------------------------------------------------------------------------------- a look
    def take(self, rows: Sequence[CellRow], now: float) -> list[Advice]:
        """Feed the rows that close at this look, before they are in the log; what alarmed, each once."""
        if not self._names:
            return []
        self._turn(now)
        self._begin(now)
        found: dict[Advice, None] = {}
        for slice_, unit in self._units(rows):
            course = self._courses.get(slice_)
            if course is not None:
                found.update(dict.fromkeys(Advice(slice_, *alarm) for alarm in course.take(unit)))
        return list(found)

    def settle(self, closed: Sequence[Slice], now: float) -> None:
        """After a look: norms of baselines that closed, and a new beginning where the log forgot the old one."""
        if not self._names:
            return
        if closed or now % DAY == 0.0:
            self._learn_norms(closed, now)
        begins = (
            [self._begins(norm, now) for norm in self._norms.values()]
            if self._cells.forgotten_look > self._seen
            else []
        )
        self._seen = self._cells.forgotten_look
        if begins and self._cells.forgotten_look > min(begins):
            looks = self._cells.looks()
            self._floor, self._floor_dirty = (looks[len(looks) // 2] if looks else now), True
            self._courses.clear()

    def active(self) -> dict[str, float]:
        """Share of the budget of each calibrated detector that may page on some slice."""
        if not self._records:
            return {}
        watches = [watch for watch in map(self._watches.get, sorted(self._norms)) if watch is not None]
        return {
            name: record.share
            for name, record in self._records.items()
            if any(self._holds(record, watch) for watch in watches)
        }

    # ----------------------------------------------------------------------------------------------------- beginnings
    def _turn(self, now: float) -> None:
        """Once a week for each slice, a seventh of them every day."""
        if now % DAY == 0.0:
            for slice_ in [one for one in self._courses if int(now // DAY) % TURN_DAYS == _day_of(one)]:
                del self._courses[slice_]

    def _begins(self, norm: Norm, now: float) -> float:
        """The look after which a slice's units count at `now`."""
        days = int(now // DAY)
        turned = (days - (days - _day_of(norm.slice)) % TURN_DAYS) * DAY
        return max(norm.since, self._floor, turned - MEMORY_DAYS * DAY)

    def _begin(self, now: float) -> None:
        """Bring detectors to where they were, or would have been, before this look."""
        begins: dict[Slice, float] = {}
        for norm in self._norms.values():
            watch = self._watches.get(norm.slice)
            if watch is None or watch.baseline is None or watch.closed_at != norm.closed_at:
                self._courses.pop(norm.slice, None)
            elif norm.slice not in self._courses:
                begins[norm.slice] = self._begins(norm, now)
                self._courses[norm.slice] = self._course(norm, watch)
        if not begins:
            return
        for look, rows in self._cells.after(min(begins.values())):
            for slice_, unit in self._units(rows):
                if look > begins.get(slice_, look):
                    self._courses[slice_].take(unit)

    def _course(self, norm: Norm, watch: Watch) -> _Course:
        assert watch.baseline is not None
        detectors = []
        for name in self._names:
            record = self._records.get(name)
            calibrated = record is not None and self._holds(record, watch)
            parameter = record.parameter if record is not None and calibrated else None
            values = [reading(name, value, watch.baseline.rho) for value in norm.values]
            detectors.append((name, calibrated, Anchored(self._make(name, parameter), values)))
        return _Course(watch.baseline, tuple(detectors))

    def _holds(self, record: Calibration, watch: Watch) -> bool:
        """Whether a record was made for the baseline that a slice has."""
        if watch.baseline is None or watch.closed_at is None:
            return False
        known = self._versions.get(watch.slice)
        if known is None or known[0] != watch.closed_at:
            known = self._versions[watch.slice] = (watch.closed_at, watch.baseline.version)
        return record.baselines.get(slice_name(watch.slice)) == known[1]

    def _make(self, name: str, parameter: float | None) -> Make:
        made = self._makes.get((name, parameter))
        if made is None:
            made = self._makes[name, parameter] = self._maker(name, parameter)
        return made

    def _learn_norms(self, closed: Sequence[Slice], now: float) -> None:
        """Of baselines that have just closed; once a day of all that have none: an imported one's units still come."""
        wanted = []
        for watch in self._watches if now % DAY == 0.0 else map(self._watches.get, closed):
            norm = None if watch is None else self._norms.get(watch.slice)
            if watch is None or watch.baseline is None or (norm is not None and norm.closed_at == watch.closed_at):
                continue
            wanted.append(watch.slice)
        for slice_, units in (self._watches.units_of(wanted, self._cells) if wanted else {}).items():
            watch = self._watches.get(slice_)
            assert watch is not None and watch.baseline is not None and watch.closed_at is not None
            found = [value for value in (excess(watch.baseline, unit) for unit in units) if value is not None]
            if len(found) >= NORM_UNITS_MIN:
                self._norms[slice_] = Norm(slice_, watch.closed_at, now, standing_for(found))
                self._courses.pop(slice_, None)
                self._dirty.add(slice_)

    def _units(self, rows: Iterable[CellRow]) -> Iterable[tuple[Slice, UnitSums]]:
        for unit in units_of(rows):
            yield from self._watches.sums(unit).items()  # slices do not know each other: any order will do

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        written = [
            Change("norms", slice_name(slice_), msgspec.msgpack.encode(self._norms[slice_]))
            for slice_ in sorted(self._dirty)
        ]
        self._dirty.clear()
        if self._floor_dirty:
            written.append(Change("norms_floor", "", msgspec.msgpack.encode(self._floor)))
            self._floor_dirty = False
        return written

    def restore(self, table: str, value: bytes) -> None:
        """Take back one document, in any order."""
        if table == "norms_floor":
            self._floor = msgspec.msgpack.decode(value, type=float)
            return
        norm = msgspec.msgpack.decode(value, type=Norm)
        self._norms[norm.slice] = norm


def _day_of(slice_: Slice) -> int:
    """The day of the week on which a slice's detectors begin anew: spreads the work."""
    return blake2b(slice_name(slice_).encode(), digest_size=1).digest()[0] % TURN_DAYS
