"""Decides what page-budget and the matched-stake bet conclude when they are fed one value at a time, as river's are.

The value is how many times its expected errors a unit holds: a number to any other detector, a unit to these two, who
ask for its words and its time as well. The bets themselves are the core's own, with a budget of their own.
"""

from __future__ import annotations

import math

from monitor.core.budget import Ledger
from monitor.core.closed_units import CellRow
from monitor.core.detectors import excess
from monitor.core.drift import Alarm, Baseline, UnitSums, Watch
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.gap_bets import GapBets
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.standing_gaps import GapSettings

_SLICING = Slicing(SliceSettings(dimensions=("accent",), strata=("accent", "task"), intersections=()), "compared")
"""Of two groups, by any trait: `accent` stands for it, as for every trait of a speaker."""


class UnitValue(float):
    """Errors of a unit / errors that its baseline expects of it: an ordinary number, that knows its unit.

    sums   by stratum, weighted; task: whom it is compared with does the same
    own    whether it is of the group; others only serve the matched-stake bet, and may have no expectation (nan)
    """

    sums: UnitSums
    at: float
    person: str
    task: str
    own: bool

    @classmethod
    def of(
        cls, baseline: Baseline, sums: UnitSums, at: float, *, person: str = "", task: str = "", own: bool = True
    ) -> UnitValue:
        """
        at  event time of its end: units are told in this order
        """
        value = excess(baseline, sums)
        made = cls(math.nan if value is None else value)
        made.sums, made.at, made.person, made.task, made.own = sums, at, person, task, own
        return made


class PageBudget:
    """A slice's bet against its baseline, which stays outside: an alarm changes nothing about it."""

    def __init__(
        self, baseline: Baseline, since: float, *, pages: float = 1.0, days: float = 90.0, slices: int = 1
    ) -> None:
        """
        since   event time from which money is earned; pages in days: the budget of which `overall` has its share
        slices  that share that money
        """
        self._baseline, self._since = baseline, since
        self._budget, self._slices = (pages, days), slices
        self.reset()

    @property
    def drift_detected(self) -> bool:
        """Whether the last unit's bet concluded that the slice has become worse."""
        return self._worse

    def update(self, x: float) -> None:
        """Bet on a unit's value. Raises TypeError for a number that has none."""
        unit = _unit(x)
        self._ledger.advance(unit.at, (self._slices, 0, 0))
        concluded = self._watch.bet(unit.sums, unit.at, self._ledger)
        self._worse = concluded is not None and concluded[0] is Alarm.WORSE

    def reset(self) -> None:
        """Forget evidence and money."""
        self._ledger = _ledger(self._budget, self._since)
        self._watch = Watch(slice=(), learning_since=self._since, baseline=self._baseline, closed_at=self._since)
        self._worse = False


class MatchedStakes:
    """A group's bet on its gap to others at the same tasks. Fed with the units of both."""

    def __init__(
        self,
        since: float,
        *,
        margin: float = 0.02,
        pages: float = 1.0,
        days: float = 90.0,
        groups: int = 2,
        persons_min: int = 50,
    ) -> None:
        """
        margin  gap that does not matter; groups: that share the money; persons_min: on either side, before any bet
        """
        self._since, self._margin, self._persons_min = since, margin, persons_min
        self._budget, self._groups = (pages, days), groups
        self.reset()

    @property
    def drift_detected(self) -> bool:
        """Whether the last unit's bet concluded that the group is worse off than the others."""
        return self._worse

    def update(self, x: float) -> None:
        """Bet on a unit of the group, or meet one of the others. Raises TypeError for a number that is none."""
        unit = _unit(x)
        self._ledger.advance(unit.at, (1, 0, 0), self._groups if self._bets.betting() else 0)
        self._number += 1
        found = self._bets.take([_row(unit, self._number)], self._ledger)
        self._worse = any(one.slice == (("accent", "own"),) for one in found)

    def reset(self) -> None:
        """Forget everybody."""
        self._ledger = _ledger(self._budget, self._since)
        settings = GapSettings(margin=self._margin, persons_min=self._persons_min)
        self._bets = GapBets(_SLICING, settings, self._margin, on=True)
        self._number, self._worse = 0, False


def _unit(x: float) -> UnitValue:
    if not isinstance(x, UnitValue):
        raise TypeError("want a UnitValue: bets ask for a unit's words and time, not only for its excess")
    return x


def _ledger(budget: tuple[float, float], since: float) -> Ledger:
    ledger = Ledger(*budget)
    ledger.since = ledger.until = ledger.started = since
    return ledger


def _row(unit: UnitValue, number: int) -> CellRow:
    errors, words = sum(part.errors for part in unit.sums), sum(part.words for part in unit.sums)
    corrected = sum(part.corrected for part in unit.sums) or words // WEIGHT_ONE
    labels = ("own" if unit.own else "others", unit.task)
    return CellRow(unit.at, str(number), labels, unit.person or str(number), 1, errors, words, corrected, unit.at)
