"""Decides which slice an alarm is about: ranks slices and windows by how well they explain the excess errors.

Intuition     Each cell expects the errors of its stratum. A slice whose observed / expected errors rose d days ago is a
              candidate; a likelihood ratio says how much better that fits than "nothing changed". A finer slice always
              fits a little better, so it pays a toll for how many such slices there are. Among those that fit about
              equally well the most general one is named: it is what a person would look for.
Guarantee     None on false pages, which the bets own. The same cells give the same name.
Not covered   Slices that nobody declared; three-way intersections; several faults at once (one name, the strongest).
Source        Two-sample Poisson scan (Kulldorff 1997), quasi-likelihood dispersion (McCullagh and Nelder 1989).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.cells import BoolArray, Cells, FloatArray, IntArray
from monitor.core.groupings import (
    DAY,
    SHORT_TOLLS,
    WINDOWS,
    Candidate,
    Grouping,
    age_bins,
    candidates,
    dense,
    encode,
    groupings,
    mask_of,
    strata,
    unit_counts,
    unit_pairs,
    window_sums,
)
from monitor.core.records import Record, Slice
from monitor.core.slicing import parents

__all__ = [
    "DAY",
    "NOTHING",
    "WINDOWS",
    "Candidate",
    "ChangePoint",
    "ExplainSettings",
    "Explanation",
    "Grouping",
    "RatioInterval",
    "Row",
    "best_of",
    "better_name",
    "candidates",
    "change_point",
    "dense",
    "encode",
    "expected",
    "explain",
    "groupings",
    "llr",
    "mask_of",
    "most_general",
    "ratio_interval",
    "strata",
    "tolls",
    "unit_weight",
]

_SHRINK_WORDS = 200.0
"""A stratum's rate is drawn to its epoch's by this many words, some 25 utterances. At half, strata of one bad session
explain themselves away; at double, small strata lose their own level and a change of mix looks like drift."""
_SHRINK_UNITS = 30.0
"""A slice's dispersion is drawn to the customer's by this many units: a variance from 30 is itself off by a quarter.
At half, a slice of 8 lucky units looks exact; at double, slices that really are noisier win too often."""
_RATE_MIN = 1e-3
"""Smallest expected WER: the first error of a stratum without any must not be infinitely surprising."""
_DISPERSION_MIN = 1e-3
_RANGE_NATS = 3.0
"""Splits this close to the best one. Over 18 settings (100 to 1,000 units, x1.5 to x3, independent or clustered errors,
200 seeds each) the range held the change in .945 to .99 of the streams; at 2 nats in .85 to .965, at 3.7 in .97 to .99
with a fifth more days. Theory (Siegmund 1988, two maxima of random walks): .90 at 3 nats if no time were discrete."""
_CHANGE_CELLS_MIN = 20
"""With fewer cells in the slice, the best split is noise and the window's edge dates a change as well."""


class ExplainSettings(Record, frozen=True):
    """What a slice needs before it can be named, and the smallest change worth a name.

    shares  belief that a fault is overall, in a one-way slice, in a two-way slice
    long_   few but long units are enough where both sides have `long_words_min` words
    """

    shares: tuple[float, float, float] = (0.2, 0.5, 0.3)
    units_before_min: int = 15
    units_after_min: int = 8
    words_min: float = 150.0
    long_units_before_min: int = 2
    long_units_after_min: int = 1
    long_words_min: float = 3000.0
    relative_change_min: float = 0.10
    absolute_change_min: float = 0.01


class Row(Record, frozen=True):
    """How well it fits that one slice changed `days` ago. Rates are plain WER; `ratio` allows for the mix of strata."""

    slice: Slice
    depth: int
    days: float
    score: float
    """Likelihood ratio in nats, after dispersion and toll: what candidates are ranked by."""
    llr: float
    """The same before the toll."""
    phi: float
    """Dispersion: squared error of a unit over its expectation; 1 for words that err independently."""
    ratio: float
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every slice and window that could be judged, and those that explain a change, best first."""

    table: Mapping[tuple[Slice, float], Row]
    ranked: tuple[Row, ...]
    sign: float = 1.0
    """1: a rise of errors was looked for; -1: a fall."""


NOTHING = Explanation(table={}, ranked=())


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """Event time since when a slice changed, and a 95 % range of it."""

    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RatioInterval:
    """Observed / expected errors after over before, with a 95 % cluster-robust interval."""

    ratio: float
    low: float
    high: float


# ------------------------------------------------------------------------------------------------------------ ranking
def explain(
    cells: Cells,
    axes: Sequence[tuple[str, ...]],
    strata_names: Sequence[str],
    epoch: IntArray,
    now: float,
    settings: ExplainSettings,
    sign: float = 1.0,
) -> Explanation:
    """Rank ALL, the slices of `axes`, and every window by the evidence that errors rose (sign 1) or fell (-1).

    cells  closed cells of the trailing horizon, words > 0
    epoch  (n,) 0, or the number of the incident that already explains the cell
    now    event time up to which units are closed, seconds
    """
    if not cells.words.sum() > 0:
        return NOTHING
    expectation = expected(cells.errors, cells.words, strata(cells, strata_names, epoch), epoch, cells.spoken)
    unit, bins = dense(cells.unit), age_bins(cells.ended_at, now)
    weight = unit_weight(_summed(unit, cells.errors - expectation), _summed(unit, expectation))[unit]
    observed, expectation = cells.errors * weight, expectation * weight
    residual = observed - expectation
    overall = max(float((_summed(unit, residual) ** 2).sum() / expectation.sum()), _DISPERSION_MIN)
    slices: list[Slice] = []
    depths, judged, dispersions, sums = [], [], [], []
    for grouping in groupings(cells, axes):
        counted = window_sums(grouping, bins, (observed, expectation, cells.errors, cells.words, cells.corrected))
        eligible = _eligible(unit_counts(grouping, unit, bins), counted[4], settings)
        kept = np.flatnonzero(eligible.any(axis=1))
        slices += [grouping.slices[number] for number in kept.tolist()]
        depths.append(np.full(len(kept), grouping.depth))
        judged.append(eligible[kept])
        dispersions.append(_dispersion(grouping, unit, residual, counted[1, :, -1], overall)[kept])
        sums.append(counted[:, kept])
    columns = _Columns(
        slices=slices,
        depth=np.concatenate(depths),
        judged=np.concatenate(judged),
        phi=np.concatenate(dispersions),
        sums=np.concatenate(sums, axis=1),
    )
    return _ranked(columns, settings, sign) if slices else NOTHING


@dataclass(frozen=True, slots=True)
class _Columns:
    """Slices (S,) with a judged window (S, windows), and running sums (5, S, bins).

    sums  observed and expected errors as weighted, errors, words, corrected words
    """

    slices: list[Slice]
    depth: IntArray
    judged: BoolArray
    phi: FloatArray
    sums: FloatArray


def _ranked(columns: _Columns, settings: ExplainSettings, sign: float) -> Explanation:
    now, past = columns.sums[:, :, :-1], columns.sums[:, :, -1:] - columns.sums[:, :, :-1]
    gain = llr(now[0], now[1], past[0], past[1], sign) / columns.phi[:, None] - SHORT_TOLLS
    score = gain - tolls(columns.depth, settings)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (now[0] / now[1]) / np.maximum(past[0] / past[1], 1e-9)
        after, before = now[2] / now[3], past[2] / past[3]
        change = np.abs(after * (1.0 - 1.0 / np.maximum(ratio, 1e-9)))
    large = (sign * (ratio - 1.0) >= settings.relative_change_min) & (change >= settings.absolute_change_min)
    table: dict[tuple[Slice, float], Row] = {}
    ranked: list[Row] = []
    for i, j in np.argwhere(columns.judged).tolist():
        row = Row(
            slice=columns.slices[i],
            depth=int(columns.depth[i]),
            days=WINDOWS[j],
            score=float(score[i, j]),
            llr=float(gain[i, j]),
            phi=float(columns.phi[i]),
            ratio=float(ratio[i, j]),
            before=float(before[i, j]),
            after=float(after[i, j]),
        )
        table[row.slice, row.days] = row
        if large[i, j] and row.score > 0:
            ranked.append(row)
    ranked.sort(key=lambda row: -row.score)
    return Explanation(table, tuple(ranked), sign)


def _eligible(units: IntArray, words: FloatArray, settings: ExplainSettings) -> BoolArray:
    """Slices x windows with enough on both sides, from running units and words (S, bins)."""
    after, before = units[:, :-1], units[:, -1:] - units[:, :-1]
    least = np.minimum(words[:, :-1], words[:, -1:] - words[:, :-1])
    many = (before >= settings.units_before_min) & (after >= settings.units_after_min)
    long = (before >= settings.long_units_before_min) & (after >= settings.long_units_after_min)
    return (many & (least >= settings.words_min)) | (long & (least >= settings.long_words_min))


def _dispersion(
    grouping: Grouping, unit: IntArray, residual: FloatArray, expectation: FloatArray, overall: float
) -> FloatArray:
    """phi (S,): sum over units of (E - X)^2 / sum X, shrunk with 30 units to the customer's."""
    size = len(grouping.slices)
    slice_of, _, pair = unit_pairs(grouping, unit)
    squares = np.bincount(pair, residual[grouping.code >= 0], len(slice_of)) ** 2
    pull = _SHRINK_UNITS / np.bincount(slice_of, minlength=size)
    phi = np.bincount(slice_of, squares, size) / np.maximum(expectation, 1e-12)
    return np.asarray(np.maximum((phi + pull * overall) / (1.0 + pull), _DISPERSION_MIN))


def tolls(depth: IntArray, settings: ExplainSettings) -> FloatArray:
    """Nats (S,) by which a slice must fit better: log(slices of its depth / share of its depth), the least being 0."""
    count = np.maximum(np.bincount(depth, minlength=len(settings.shares)), 1)
    toll = np.log(count[depth] / np.array(settings.shares)[depth])
    return np.asarray(toll - toll.min())


# ------------------------------------------------------------------------------------------------------- expectations
def expected(
    errors: FloatArray, words: FloatArray, stratum: IntArray, epoch: IntArray, corrected: FloatArray | None = None
) -> FloatArray:
    """Expected errors (n,): words x the rate of the stratum, shrunk with 200 words to the rate of its epoch.

    `corrected`: words counted once, which say how far to shrink; None: all weights are 1.
    A stratum lies in one epoch. What an incident explains is an epoch of its own, so it raises nobody else's rate.
    """
    if not len(errors):
        return np.zeros(0)
    parent = dense(epoch)
    parent_rate = _summed(parent, errors) / np.maximum(_summed(parent, words), 1.0)
    prior = np.zeros(int(stratum.max()) + 1)
    prior[stratum] = parent_rate[parent]
    own, weighted = _summed(stratum, words if corrected is None else corrected), _summed(stratum, words)
    pull = _SHRINK_WORDS * (weighted / np.maximum(own, 1e-12))
    rate = (_summed(stratum, errors) + pull * prior) / np.maximum(weighted + pull, 1e-12)
    return np.asarray(np.maximum(rate[stratum], _RATE_MIN) * words)


def unit_weight(residual: FloatArray, expectation: FloatArray) -> FloatArray:
    """Weight (m,) of each unit, 1 / (1 + X s2 / phi): best when the variance of its errors is phi X + s2 X^2.

    phi and s2 by least squares of the squared residuals on X and X^2; s2 at least 0, phi at least .3 (words that vary
    less than chance are an accident of few units). A long looping session then counts about as a short one.
    """
    if not expectation.sum() > 0:
        return np.ones(len(expectation))
    design = np.stack([expectation, expectation**2], axis=1)
    scale = 1.0 / np.maximum(expectation, expectation.mean() * 0.1)
    (phi, spread), *_ = np.linalg.lstsq(design * scale[:, None], residual**2 * scale, rcond=None)
    return np.asarray(1.0 / (1.0 + expectation * max(float(spread), 0.0) / max(float(phi), 0.3)))


def llr(o1: FloatArray, x1: FloatArray, o0: FloatArray, x0: FloatArray, sign: float = 1.0) -> FloatArray:
    """Two-sample Poisson log-likelihood ratio of observed o over expected x, after (1) against before (0).

    Zero where the change has not the direction of `sign`, or where a side expects nothing.
    """
    o, x = o1 + o0, x1 + x0
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(o1 > 0, o1 * np.log(o1 * x / (x1 * o)), 0.0)
        gain = gain + np.where(o0 > 0, o0 * np.log(o0 * x / (x0 * o)), 0.0)
    return np.where((x1 > 0) & (x0 > 0) & (sign * (o1 * x0 - o0 * x1) > 0), gain, 0.0)


def _summed(index: IntArray, values: FloatArray) -> FloatArray:
    return np.bincount(index, values).astype(np.float64)


# ------------------------------------------------------------------------------------------------------------- naming
def best_of(explanation: Explanation, slice_: Slice) -> Row | None:
    """The window in which a slice fits best, even if it would not be named."""
    rows = [row for (found, _), row in explanation.table.items() if found == slice_]
    return max(rows, key=lambda row: row.score, default=None)


def most_general(explanation: Explanation) -> Row | None:
    """The most general slice that contains the best one and fits within 1 nat, at the best one's dispersion."""
    if not explanation.ranked:
        return None
    best = explanation.ranked[0]
    for parent in parents(best.slice):
        row = explanation.table.get((parent, best.days))
        if row is None or not explanation.sign * (row.ratio - 1.0) > 0:
            continue
        if row.llr * row.phi / best.phi >= best.score - 1.0:
            return row
    return best


def better_name(explanation: Explanation, current: Slice) -> Row | None:
    """The slice that an open incident should be named after instead: 2 nats better, and above 4 by itself.

    `explanation` is of the cells as if the incident had never been found.
    """
    row = most_general(explanation)
    if row is None or row.slice == current:
        return None
    present = best_of(explanation, current)
    floor = -9.0 if present is None else present.score
    return row if row.score >= floor + 2.0 and row.score > 4.0 else None


# --------------------------------------------------------------------------------------------- since when, how much
def change_point(
    cells: Cells,
    expectation: FloatArray,
    rows: IntArray,
    now: float,
    days: float,
    phi: float = 1.0,
    sign: float = 1.0,
) -> ChangePoint:
    """Since when a slice is worse (sign 1) or better (-1): the best split of its cells, between windows next to `days`.

    expectation  (n,) from `expected`
    rows         (k,) numbers of the slice's cells, in order of their end
    phi          dispersion of the slice, weighted; that of its plain errors around the split may be larger, and counts

    The range is not held between those windows: it is every split that fits about as well. `days` ago, with the
    neighbouring windows as the range, when there are under 20 cells or no split in reach.
    """
    position = WINDOWS.index(days)
    earliest = now - WINDOWS[min(position + 1, len(WINDOWS) - 1)] * DAY
    latest = now - (WINDOWS[position - 1] if position else WINDOWS[0] / 2) * DAY
    otherwise = ChangePoint(now - days * DAY, earliest, latest)
    if len(rows) < _CHANGE_CELLS_MIN:
        return otherwise
    o, x, ended_at = np.cumsum(cells.errors[rows]), np.cumsum(expectation[rows]), cells.ended_at[rows]
    at, before = ended_at[:-1], np.arange(1, len(rows))
    # Cells that end together cannot be split: what is after ended later than `at`.
    splits = (ended_at[1:] > at) & (before >= 3) & (len(rows) - before >= 2)
    possible = splits & (at > earliest) & (at <= latest)
    if not possible.any():
        return otherwise
    gain = llr(o[-1] - o[:-1], x[-1] - x[:-1], o[:-1], x[:-1], sign)
    best = int(np.argmax(np.where(possible, gain, -1.0)))
    after = np.arange(len(rows)) > best
    level = np.where(after, (o[-1] - o[best]) / (x[-1] - x[best]), o[best] / x[best]) * expectation[rows]
    residual = _summed(dense(cells.unit[rows]), cells.errors[rows] - level)
    dispersion = max(float((residual**2).sum()) / max(float(level.sum()), 1.0), phi)
    near = np.flatnonzero(splits & (gain >= gain[best] - _RANGE_NATS * dispersion))
    # Between two cells nothing is known: a split found at one's end may lie anywhere before the next one's.
    return ChangePoint(float(at[best]), float(at[near[0]]), float(ended_at[near[-1] + 1]))


def ratio_interval(
    cells: Cells, expectation: FloatArray, after: IntArray, before: IntArray, z: float = 1.96
) -> RatioInterval | None:
    """Observed / expected errors in rows `after` over rows `before`, on the log scale, units as clusters.

    None when a side expects nothing. A side without an error counts half of one, so that the ratio is finite.
    """
    if not (expectation[after].sum() > 0 and expectation[before].sum() > 0):
        return None
    rate, spread = _rate(cells, expectation, after)
    rate_before, spread_before = _rate(cells, expectation, before)
    ratio, factor = rate / rate_before, float(np.exp(z * np.hypot(spread, spread_before)))
    return RatioInterval(ratio, ratio / factor, ratio * factor)


def _rate(cells: Cells, expectation: FloatArray, rows: IntArray) -> tuple[float, float]:
    """Observed / expected errors of some rows, and the standard error of its logarithm."""
    observed = max(float(cells.errors[rows].sum()), 0.5)
    rate = observed / float(expectation[rows].sum())
    residual = _summed(dense(cells.unit[rows]), cells.errors[rows] - rate * expectation[rows])
    return rate, float(np.sqrt((residual**2).sum())) / max(observed, 1.0)
