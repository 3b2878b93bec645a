"""Decides how each slice stands between incidents: WER in windows and by day, its gap to the rest, and a verdict.

All slices of one axis are disjoint, so one pass over the cells serves them all; the table is made when somebody looks,
and again only after units have closed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import numpy as np

from monitor.core.cells import Cells, FloatArray, IntArray
from monitor.core.drift import Watch
from monitor.core.estimators import t_quantile
from monitor.core.evidence import mean
from monitor.core.groupings import Grouping, groupings, unit_pairs
from monitor.core.records import Record, Slice, SliceStanding, Verdict
from monitor.core.standing_gaps import GapRow, GapSettings, gaps, margin_of, verdict

HOUR = 3600.0
DAY = 86400.0

WINDOWS = (("6h", 6 * HOUR), ("24h", DAY), ("72h", 3 * DAY), ("7d", 7 * DAY), ("28d", 28 * DAY))
"""As exported (observability.md): from a shift to the horizon."""


class Course(Record, frozen=True):
    """Windows as (name, WER, standard error, units); days as (start, WER, low, high), with how many units each has."""

    windows: tuple[tuple[str, float, float, int], ...]
    history: tuple[tuple[float, float, float, float], ...]
    history_units: tuple[int, ...]


class Gap(Record, frozen=True):
    """A gap with what it means."""

    row: GapRow
    verdict: Verdict
    words_missing: int
    detectable_gap: float | None


class Standings(Record, frozen=True):
    """Every slice with a cell, and every group with somebody to compare it with, at one look."""

    courses: Mapping[Slice, Course]
    gaps: Mapping[Slice, Gap]


def standings(
    cells: Cells,
    axes: Sequence[tuple[str, ...]],
    now: float,
    dimensions: Sequence[str],
    strata: Sequence[str],
    settings: GapSettings,
    margin: float,
    demographics: Collection[str],
) -> Standings:
    """All that is known at `now`, event time by which units are closed.

    dimensions  those whose groups are compared; margin: a gap known to lie within is parity
    """
    if not len(cells):
        return Standings(courses={}, gaps={})
    rows = gaps(cells, dimensions, strata, settings, demographics)
    return Standings(courses=courses(cells, axes, now), gaps={row.slice: judged(row, settings, margin) for row in rows})


def judged(row: GapRow, settings: GapSettings, margin: float) -> Gap:
    """`disparity` when the gap is worth a ticket, `parity` when it lies within the configured margin, else neither."""
    found = verdict(row, margin)
    decided = found.verdict
    if row.low is not None and row.low > margin_of(row, settings):
        decided = Verdict.DISPARITY
    elif decided == Verdict.DISPARITY:
        decided = Verdict.INSUFFICIENT
    missing = 0 if decided != Verdict.INSUFFICIENT else max(found.words_missing, 1)
    return Gap(row=row, verdict=decided, words_missing=missing, detectable_gap=found.detectable_gap)


def slice_standing(
    found: Standings, slice_: Slice, watch: Watch | None, last_reference_at: float | None, few: bool
) -> SliceStanding:
    """One slice's row for page and metrics. `few`: calls are compared daily, and nothing has to be learned."""
    gap, course = found.gaps.get(slice_), found.courses.get(slice_)
    baseline = None if watch is None else watch.baseline
    return SliceStanding(
        verdict=Verdict.INSUFFICIENT if gap is None else gap.verdict,
        learning=not few and (watch is None or watch.baseline is None),
        gap=None if gap is None else gap.row.gap,
        gap_low=None if gap is None else gap.row.low,
        gap_high=None if gap is None else gap.row.high,
        evidence=0.0 if watch is None else mean(watch.evidence),
        detectable_gap=None if gap is None else gap.detectable_gap,
        words_missing=0 if gap is None else gap.words_missing,
        budget_spent=0.0 if watch is None else watch.spent,
        last_reference_at=last_reference_at,
        windows=() if course is None else course.windows,
        history=() if course is None else course.history,
        rest_wer=None if gap is None else gap.row.rest_wer,
        learned_from=None if baseline is None else baseline.learned_from or None,
        learned_until=None if baseline is None else baseline.learned_until or None,
        baseline_ratio=None if watch is None or baseline is None else _since_baseline(watch),
        history_units=() if course is None else course.history_units,
    )


def _since_baseline(watch: Watch) -> float | None:
    """Errors over expected errors of the units since the baseline was closed."""
    days = [watch.past, *((expected, errors) for _, expected, errors in watch.recent)]
    expected = math.fsum(expected for expected, _ in days)
    return math.fsum(errors for _, errors in days) / expected if expected > 0.0 else None


def courses(cells: Cells, axes: Sequence[tuple[str, ...]], now: float) -> dict[Slice, Course]:
    """Every slice that has a cell. `now`: event time by which units are closed."""
    found: dict[Slice, Course] = {}
    for grouping in groupings(cells, axes):
        found |= _axis(cells, grouping, now)
    return found


def _axis(cells: Cells, grouping: Grouping, now: float) -> dict[Slice, Course]:
    slice_of, errors, words, ended_at = _units(cells, grouping)
    size = len(grouping.slices)
    windows: list[list[tuple[str, float, float, int]]] = [[] for _ in range(size)]
    for name, seconds in WINDOWS:
        rows = ended_at > now - seconds
        for number, units, wer, error in _rates(slice_of[rows], errors[rows], words[rows], size):
            windows[number].append((name, wer, error, units))
    history: list[list[tuple[float, float, float, float]]] = [[] for _ in range(size)]
    counts: list[list[int]] = [[] for _ in range(size)]
    if len(ended_at):
        first = math.floor(float(ended_at.min()) / DAY)
        day = np.floor(ended_at / DAY).astype(np.int64) - first
        days = int(day.max()) + 1
        for place, units, wer, error in _rates(slice_of * days + day, errors, words, size * days):
            reach = _t95(units - 1) * error if units > 1 else wer
            start = (first + place % days) * DAY
            history[place // days].append((start, wer, max(0.0, wer - reach), wer + reach))
            counts[place // days].append(units)
    return {
        slice_: Course(
            windows=tuple(windows[number]), history=tuple(history[number]), history_units=tuple(counts[number])
        )
        for number, slice_ in enumerate(grouping.slices)
    }


def _units(cells: Cells, grouping: Grouping) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
    """Sums of each (slice, unit): slice, errors, words, end."""
    slice_of, _, place = unit_pairs(grouping, cells.unit)
    inside = grouping.code >= 0
    ended_at = np.zeros(len(slice_of))
    ended_at[place] = cells.ended_at[inside]
    errors = np.bincount(place, cells.errors[inside], len(slice_of)).astype(np.float64)
    words = np.bincount(place, cells.words[inside], len(slice_of)).astype(np.float64)
    return slice_of, errors, words, ended_at


def _rates(place: IntArray, errors: FloatArray, words: FloatArray, size: int) -> list[tuple[int, int, float, float]]:
    """(place, units, WER, standard error) wherever there is a unit; the error of a single unit is its own WER."""
    count = np.bincount(place, minlength=size)
    e, w = np.bincount(place, errors, size), np.bincount(place, words, size)
    filled = np.flatnonzero(count)
    rate = e[filled] / w[filled]
    residual = errors - (e / np.maximum(w, 1e-12))[place] * words
    spread = np.bincount(place, residual**2, size)[filled]
    n = count[filled]
    error = np.where(n > 1, np.sqrt(spread * n / np.maximum(n - 1, 1)) / w[filled], rate)
    return list(zip(filled.tolist(), n.tolist(), rate.tolist(), error.tolist(), strict=True))


@lru_cache(maxsize=4096)
def _t95(degrees: int) -> float:
    return t_quantile(0.975, degrees)
