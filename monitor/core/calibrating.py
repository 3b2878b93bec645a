"""Decides which threshold keeps a detector's false alarms within a share of the budget, from the baselines' own units.

Intuition. Speakers of the time that baselines were learned from are drawn again, with replacement and with all of their
units, until 90 days are full: traffic with everything that makes real traffic clustered, in which nothing ever changes.
Each replicate learns its baselines from a draw of its own, so that a baseline's error is priced in. Whatever a detector
alarms on is false.
Guarantee. The expected number of false alarms in 90 days like those, over all slices, is below `upper` with 95 %
confidence, as far as the speakers of the baseline's days stand for those to come.
Not covered. Speakers, sites and seasons that the baseline's days have not seen; slices that have too few units for a
baseline in some replicate: they are left out, and may not page (`audible`). Alarms that would have joined one incident
are counted one by one, which is too many rather than too few.
Source. Cluster bootstrap (Davison and Hinkley 1997, 3.8); square-root approximation of the Poisson bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from monitor.core.cells import IntArray
from monitor.core.detectors import LADDERS, MEMORY_DAYS, TURN_DAYS, Anchored, Make, excess, reading, standing_for
from monitor.core.drift import LearnSettings, UnitSums, learn
from monitor.core.records import Slice

DAY = 86400.0
DAYS = 90.0
"""What a page budget is stated for."""
Z95 = 1.645


class Clustered(NamedTuple):
    """A closed unit of the baseline's days.

    person  whom it is of; at: seconds since those days began
    """

    person: str
    at: float
    sums: Mapping[Slice, UnitSums]


class Course(NamedTuple):
    """One slice in one replicate: what stands for its norm, and what follows it. rho: of its baseline."""

    slice: Slice
    norm: tuple[float, ...]
    rho: float
    at: tuple[float, ...]
    values: tuple[float, ...]


class Rung(NamedTuple):
    """False alarms of one threshold. `replicates` is fewer than asked for where it was clear before."""

    parameter: float
    replicates: int
    alarms: int
    mean: float
    upper: float


Replicate = tuple[Course, ...]


def replicates(
    units: Sequence[Clustered], span: float, slices: Sequence[Slice], settings: LearnSettings, seed: int, count: int
) -> Iterator[Replicate]:
    """`count` times 90 days in which nothing changes.

    span  seconds that the units are from
    """
    persons: dict[str, list[Clustered]] = {}
    for unit in units:
        persons.setdefault(unit.person, []).append(unit)
    clusters = list(persons.values())
    rounds = math.ceil(DAYS * DAY / span)
    for number in range(count):
        chance = np.random.default_rng((seed, number))
        drawn = chance.integers(0, len(clusters), (rounds + 1, len(clusters)))
        learned = _units(clusters, drawn[0])
        days = [(turn * span, _units(clusters, which)) for turn, which in enumerate(drawn[1:])]
        yield tuple(course for slice_ in slices if (course := _course(slice_, learned, days, settings)) is not None)


def audible(made: Sequence[Replicate], slices: Sequence[Slice]) -> tuple[list[Replicate], list[Slice]]:
    """(replicates of the slices that learned a baseline in each of them, the slices that did not).

    A slice that did not learn in a replicate was silent there, and may well alarm in use: its alarms are not known.
    """
    learned = set(slices).intersection(*({course.slice for course in replicate} for replicate in made))
    kept = [tuple(course for course in replicate if course.slice in learned) for replicate in made]
    return kept, [slice_ for slice_ in slices if slice_ not in learned]


def _units(clusters: Sequence[Sequence[Clustered]], which: IntArray) -> list[Clustered]:
    drawn = [unit for cluster in which for unit in clusters[cluster]]
    return sorted(drawn, key=lambda unit: unit.at)


def _course(
    slice_: Slice,
    learned: Sequence[Clustered],
    days: Sequence[tuple[float, Sequence[Clustered]]],
    settings: LearnSettings,
) -> Course | None:
    own = [unit.sums[slice_] for unit in learned if slice_ in unit.sums]
    baseline = learn(own, settings)
    if baseline is None:
        return None
    norm = [value for value in (excess(baseline, unit) for unit in own) if value is not None]
    found = [
        (begin + unit.at, value)
        for begin, drawn in days
        for unit in drawn
        if begin + unit.at < DAYS * DAY
        and slice_ in unit.sums
        and (value := excess(baseline, unit.sums[slice_])) is not None
    ]
    at, values = (tuple(column) for column in zip(*found, strict=True)) if found else ((), ())
    return Course(slice_, standing_for(norm), baseline.rho, at, values)


def false_alarms(detector: str, make: Make, course: Course) -> int:
    """How often a detector alarms on a slice that never changes, begun anew each week as it is in use."""
    norm = [reading(detector, value, course.rho) for value in course.norm]
    values = [reading(detector, value, course.rho) for value in course.values]
    watched = Anchored(make, norm)
    turn, alarms = TURN_DAYS * DAY, 0
    for place, (at, value) in enumerate(zip(course.at, values, strict=True)):
        if at >= turn:
            while at >= turn:
                turn += TURN_DAYS * DAY
            watched = Anchored(make, norm)
            since = turn - (TURN_DAYS + MEMORY_DAYS) * DAY
            for earlier, known in zip(course.at[:place], values[:place], strict=True):
                if earlier >= since:
                    watched.update(known)
        watched.update(value)
        alarms += watched.drift_detected
    return alarms


def upper_bound(counts: Sequence[int], replicates: int) -> float:
    """One-sided 95 % bound on the mean of counts; those that are missing were 0. Spread beyond Poisson's widens it.

    >>> round(upper_bound([0] * 60, 60), 3), round(upper_bound([1, 0, 0, 2], 4), 2)
    (0.055, 2.2)
    """
    total = sum(counts)
    mean = total / replicates
    squares = sum((count - mean) ** 2 for count in counts) + (replicates - len(counts)) * mean * mean
    spread = max(1.0, squares / (replicates - 1) / mean) if total and replicates > 1 else 1.0
    return spread * (math.sqrt(total / spread + 1.0) + Z95 / 2) ** 2 / replicates


def calibrate(
    detector: str,
    maker: Callable[[str, float | None], Make],
    made: Sequence[Replicate],
    allowed: float,
    progress: Callable[[Rung], None] = lambda rung: None,
) -> tuple[Rung | None, Rung]:
    """The most eager threshold whose bound is at most `allowed`, if there is one; and the last one tried.

    A stricter threshold alarms less: the ladder is searched by halves.
    """
    ladder = LADDERS[detector]
    low, high = 0, len(ladder)
    found: Rung | None = None
    last = Rung(ladder[-1], 0, 0, 0.0, math.inf)
    while low < high:
        middle = (low + high) // 2
        last = _rung(detector, maker(detector, ladder[middle]), ladder[middle], made, allowed)
        progress(last)
        if last.upper <= allowed:
            found, high = last, middle
        else:
            low = middle + 1
    return found, last


def _rung(detector: str, make: Make, parameter: float, made: Sequence[Replicate], allowed: float) -> Rung:
    counts: list[int] = []
    for replicate in made:
        counts.append(sum(false_alarms(detector, make, course) for course in replicate))
        if upper_bound([sum(counts)], len(made)) > allowed and sum(counts) > allowed * len(made):
            return Rung(parameter, len(counts), sum(counts), sum(counts) / len(counts), math.inf)
    return Rung(parameter, len(counts), sum(counts), sum(counts) / len(made), upper_bound(counts, len(made)))
