"""Decides what a drift detector is to us, and what it is fed: how many times its baseline's errors a unit holds.

Intuition. Every detector of the literature asks one thing of a series of numbers: has it changed? Here a number is
(errors of a unit) / (errors its strata are expected to make): 1 is the norm, whatever the mix of traffic. The norm lies
outside of the detector: it begins with the values of the units that the baseline was learned from, and after an alarm
with the same values again, so that a degraded level never becomes what it compares with.
Guarantee. None. Their thresholds were made for independent values; see `wervane calibrate` for what they keep here.
Not covered. Improvements: an alarm whose newest values lie below the norm is dropped. Slices without a baseline.
Source. The shape of `river.base.DriftDetector`, with a public `reset`; Bifet and Gavalda 2007 (ADWIN), Page 1954,
Raab, Heusinger and Schleif 2020 (KSWIN), Frias-Blanco et al. 2015 (HDDM), Gama et al. 2004 (DDM).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from monitor.core.drift import Baseline, UnitSums
from monitor.core.records import Record

PAGE_BUDGET = "page-budget"
BINARY = frozenset({"ddm", "hddm-a", "hddm-w"})
"""They read yes or no: whether a unit held more errors than its baseline allows."""

TURN_DAYS = 7
MEMORY_DAYS = 14
"""A detector remembers 14 to 21 days: within the log's 28 with a week to spare. At half, two units a day never add up;
at double, the log has forgotten what a restart needs."""

NORM_UNITS_MAX = 200
"""Values that stand for the norm: twice KSWIN's window. At half, KSWIN's window is filled by what is to be judged; at
double, each reset costs twice as much and ADWIN looks at the past for longer than at the present."""
NORM_UNITS_MIN = 12
"""With fewer a detector would learn its norm from what it is to judge; as few as a baseline can close with."""
_STRIDE = 61
"""Without a factor in common with NORM_UNITS_MAX; of all such numbers the one whose runs of 20 to 100 values of an
exponential distribution have the most equal means."""
RECENT = 30
"""Newest values whose mean says whether an alarm is about worse or better: KSWIN's statistic window."""

LADDERS: Mapping[str, tuple[float, ...]] = {
    "adwin": (0.5, 0.2, 0.05, 0.02, 2e-3, 2e-4, 2e-5, 2e-6, 2e-8, 2e-10, 2e-14, 2e-20),
    "page-hinkley": (5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 40.0, 50.0, 70.0, 100.0, 140.0, 200.0, 300.0, 500.0, 1000.0),
    "kswin": (5e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-14),
    "hddm-a": (0.5, 0.1, 0.02, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-14, 1e-20),
    "hddm-w": (0.5, 0.1, 0.02, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-14, 1e-20),
    "ddm": (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0),
}
"""Values of the threshold parameter, the most eager first. Each holds river's default (`DEFAULTS`)."""

PARAMETERS = {
    "adwin": "delta",
    "page-hinkley": "threshold",
    "kswin": "alpha",
    "hddm-a": "drift_confidence",
    "hddm-w": "drift_confidence",
    "ddm": "drift_threshold",
}
DEFAULTS = {"adwin": 2e-3, "page-hinkley": 50.0, "kswin": 5e-3, "hddm-a": 1e-3, "hddm-w": 1e-3, "ddm": 3.0}
"""River's own, which hold without a calibration record."""


class DriftDetector(Protocol):
    """A detector of change in a series of numbers."""

    @property
    def drift_detected(self) -> bool:
        """Whether the last update concluded that the series has changed."""
        ...

    def update(self, x: float) -> None:
        """Take the next value."""
        ...

    def reset(self) -> None:
        """Forget everything but what it was made with."""
        ...


Make = Callable[[], DriftDetector]


class Calibration(Record, frozen=True):
    """What `wervane calibrate` found: with this parameter, a detector's false alarms stay within a share of the budget.

    share      part of the customer's page budget that pays for them
    baselines  slice name -> version of the baseline that it holds for
    """

    customer: str
    detector: str
    parameter: float
    share: float
    baselines: dict[str, str]


def excess(baseline: Baseline, unit: UnitSums) -> float | None:
    """Errors of a unit / expected errors; None if its strata have no rate: mix, not drift."""
    expected, errors, _ = baseline.expectation(unit)
    return errors / expected if expected > 0 else None


def standing_for(values: Sequence[float]) -> tuple[float, ...]:
    """At most NORM_UNITS_MAX values that are spread like all of these, and have their mean.

    Each n-th by size, strewn over the norm. The first ones would be a day's mood: of a slice with 300 units a day they
    lie 7 % beside its baseline, and two weeks of units then know that for sure.
    """
    if len(values) <= NORM_UNITS_MAX:
        return tuple(values)
    by_size = sorted(values)
    chosen = [by_size[(2 * place + 1) * len(values) // (2 * NORM_UNITS_MAX)] for place in range(NORM_UNITS_MAX)]
    return tuple(chosen[place * _STRIDE % NORM_UNITS_MAX] for place in range(NORM_UNITS_MAX))


def reading(detector: str, value: float, rho: float) -> float:
    """What a detector is fed of an excess.

    >>> reading("adwin", 1.3, 1.2), reading("ddm", 1.3, 1.2), reading("ddm", 1.1, 1.2)
    (1.3, 1.0, 0.0)
    """
    return float(value > rho) if detector in BINARY else value


class Anchored:
    """A detector that begins, and begins anew after each alarm, with the values that stand for the norm."""

    def __init__(self, make: Make, norm: Sequence[float]) -> None:
        self._make = make
        self._norm = norm
        self._level = sum(norm) / len(norm) if norm else 1.0
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._worse = False
        self.reset()

    @property
    def drift_detected(self) -> bool:
        """Whether the last update concluded that the series has become worse."""
        return self._worse

    def update(self, x: float) -> None:
        """Take the next value; an alarm is followed by a reset."""
        self._recent.append(x)
        self._detector.update(x)
        self._worse = False
        if self._detector.drift_detected:
            self._worse = sum(self._recent) > self._level * len(self._recent)
            self.reset()

    def reset(self) -> None:
        """Begin anew with the norm."""
        self._detector = self._make()
        for value in self._norm:
            self._detector.update(value)
        self._recent.clear()
