"""Decides whether a group is worse off than everybody else, and was so all along: worth one ticket, and no page.

Intuition     A group that meets harder tasks has a higher WER for reasons that are not the group's. So it is compared
              with the rest inside each task (deployment, sector), and the gaps are averaged by its own mix of tasks.
Guarantee     A one-sided confidence sequence: with chance 1 - alpha the true gap is never below `low`, however often
              one looks; asymptotic, so from 50 persons on. The cluster is the person: a thousand sessions of one
              speaker say how that speaker is heard, not how an accent is.
Not covered   Traits of the speaker are not held fixed: an accent is not excused by who has it. Nobody is compared with
              `unknown`.
Source        Asymptotic confidence sequences (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024); direct
              standardisation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
import numpy as np

from monitor.core.cells import BoolArray, Cells, FloatArray, IntArray
from monitor.core.groupings import dense, encode, strata
from monitor.core.records import OTHER, UNKNOWN, Record, Slice, Verdict

SPEAKER_DIMENSIONS = ("accent", "age", "dialect", "gender", "sex")
"""Traits of the speaker, never a stratum of a gap; demographics of the configuration are added to them."""
TASK_DIMENSIONS = ("deployment", "model")
"""What is done, not who speaks: a site with harder audio is worse for everybody there, which is no disparity."""

_PERSONS_BEST = 100.0
"""The confidence sequence is tightest near this many persons, the size of group that is in doubt."""
_REST_WORDS_MIN = 300.0
_REST_PERSONS_MIN = 10
"""A stratum with fewer others than this has nobody to compare with, and its part of the group is left out."""
_COVERED_MIN = 0.5
"""A gap over less than half of the group's words is not the group's gap."""
_NO_WORDS = 1e-9
_POWER_80 = 0.8416
"""The 80 % point of the normal distribution."""


class GapSettings(Record, frozen=True):
    """When a gap is worth a ticket.

    alpha      one-sided error of the confidence sequence: .1 over 40 slices
    margin     smallest gap that matters, in WER
    relative   and as a part of the rest's WER; the larger of both counts
    """

    alpha: float = 0.1 / 40
    margin: float = 0.02
    relative: float = 0.15
    persons_min: int = 50


class GapRow(Record, frozen=True):
    """A group against the rest of its strata.

    What is estimated is None when there is nobody to compare with; `low` and `high` also below `persons_min`.
    """

    slice: Slice
    persons: int
    words: float
    """Labelled words of the group."""
    alpha: float
    persons_min: int
    gap: float | None = None
    low: float | None = None
    high: float | None = None
    rest_wer: float | None = None
    radius: float | None = None
    standard_error: float | None = None


class GapVerdict(Record, frozen=True):
    """What a gap means, and what is missing to say it.

    words_missing   labelled words until a verdict, if gap and spread stay as they look now; 0 when there is one
    detectable_gap  smallest gap that would be found with a chance of 80 % with the labels so far; None when no gap
                    would, with too few persons or nobody to compare with
    """

    verdict: Verdict
    words_missing: int
    detectable_gap: float | None


# --------------------------------------------------------------------------------------------------- which comparisons
def gap_dimensions(sliced: Sequence[str]) -> tuple[str, ...]:
    """The sliced dimensions whose groups are compared: all but those that only say which task it was."""
    return tuple(name for name in sliced if name not in TASK_DIMENSIONS)


def speaker_dimensions(sliced: Sequence[str], demographics: Collection[str] = ()) -> tuple[str, ...]:
    """Those of them that say who speaks: only their gaps can page. A harder sector has a ticket, and wakes nobody."""
    return tuple(name for name in gap_dimensions(sliced) if name in SPEAKER_DIMENSIONS or name in demographics)


def task_strata(strata_names: Sequence[str], dimension: str, demographics: Collection[str] = ()) -> tuple[str, ...]:
    """Strata of a dimension's gaps: the stratum dimensions that are neither itself nor a trait of the speaker.

    With accent as a stratum, gender's gap would leave out what falls on the accents that women have, and the other way
    round: who speaks is what is asked about, what is done is what is held fixed.
    """
    traits = {dimension, *SPEAKER_DIMENSIONS, *demographics}
    return tuple(name for name in strata_names if name not in traits)


# --------------------------------------------------------------------------------------------------------------- gaps
def gaps(
    cells: Cells,
    dimensions: Sequence[str],
    strata_names: Sequence[str],
    settings: GapSettings,
    demographics: Collection[str] = (),
) -> list[GapRow]:
    """A row for every group of every dimension but `unknown` and `_other`, whether it passes or not.

    cells  all closed cells, words > 0; a dimension with one value has nobody to compare with and gives no row
    """
    rows = []
    for name in dimensions:
        values, group = encode(cells.labels[name])
        if len(values) < 2:
            continue
        stratum = strata(cells, task_strata(strata_names, name, demographics))
        known = np.array([value != UNKNOWN for value in values])[group]
        comparison = _Comparison(cells, group, stratum, known)
        rows += [
            comparison.row(((name, value),), number, settings)
            for number, value in enumerate(values)
            if value not in (UNKNOWN, OTHER)
        ]
    return rows


class _Comparison:
    """One dimension's groups: sums by (group, stratum), shared by the comparisons of all its groups."""

    def __init__(self, cells: Cells, group: IntArray, stratum: IntArray, known: BoolArray) -> None:
        self._cells, self._group, self._stratum, self._known = cells, group, stratum, known
        self._person = dense(cells.person)
        groups, count, persons = int(group.max()) + 1, int(stratum.max()) + 1, int(self._person.max()) + 1
        place = group * count + stratum
        self._errors = np.bincount(place, cells.errors, groups * count).reshape(groups, count)
        self._words = np.bincount(place, cells.words, groups * count).reshape(groups, count)
        self._corrected = np.bincount(place, cells.corrected, groups * count).reshape(groups, count)
        self._others = np.zeros(groups, np.bool_)
        self._others[group[known]] = True
        member = np.unique(place[known] * persons + self._person[known])
        met, first, times = np.unique(member % (count * persons), return_index=True, return_counts=True)
        self._persons = np.bincount(met // persons, minlength=count)
        """Known persons of each stratum; below, those of each group that no other group of the stratum has."""
        own = np.bincount(member[first[times == 1]] // persons, minlength=groups * count)
        self._own_persons = own.reshape(groups, count)

    def row(self, slice_: Slice, number: int, settings: GapSettings) -> GapRow:
        """The gap of one group: sum over strata of its share of words x (its WER - the rest's WER)."""
        inside = self._group == number
        persons, words = len(np.unique(self._person[inside])), self._words[number]
        rest = self._others.copy()
        rest[number] = False
        rest_words = self._words[rest].sum(axis=0)
        enough = (self._corrected[rest].sum(axis=0) >= _REST_WORDS_MIN) & (
            self._persons - self._own_persons[number] >= _REST_PERSONS_MIN
        )
        weight = np.where(enough, words / words.sum(), 0.0)
        covered = float(weight.sum())
        row = GapRow(
            slice=slice_,
            persons=persons,
            words=float(self._corrected[number].sum()),
            alpha=settings.alpha,
            persons_min=settings.persons_min,
        )
        if covered < _COVERED_MIN:
            return row
        rate = self._errors[number] / np.maximum(words, _NO_WORDS)
        rest_rate = self._errors[rest].sum(axis=0) / np.maximum(rest_words, _NO_WORDS)
        gap = float((weight * (rate - rest_rate)).sum()) / covered
        pull = self._residual(rate, weight / np.maximum(words, _NO_WORDS), inside)
        pull -= self._residual(rest_rate, weight / np.maximum(rest_words, _NO_WORDS), self._known & ~inside)
        spread = float(np.sqrt((pull**2).sum() * persons / max(persons - 1, 1))) / covered
        reach = radius(spread, persons, settings.alpha)
        asymptotic = persons >= settings.persons_min
        return msgspec.structs.replace(
            row,
            gap=gap,
            low=gap - reach if asymptotic else None,
            high=gap + reach if asymptotic else None,
            rest_wer=float((weight * rest_rate).sum()) / covered,
            radius=reach,
            standard_error=spread,
        )

    def _residual(self, rate: FloatArray, scale: FloatArray, rows: BoolArray) -> FloatArray:
        """Sums over each person's `rows` of scale x (errors - rate x words), by the rate and scale of the stratum."""
        stratum, cells = self._stratum[rows], self._cells
        residual = scale[stratum] * (cells.errors[rows] - rate[stratum] * cells.words[rows])
        return np.bincount(self._person[rows], residual, int(self._person.max()) + 1).astype(np.float64)


def radius(standard_error: float, persons: int, alpha: float) -> float:
    """Half-width of the one-sided asymptotic confidence sequence, from the standard error at this many persons."""
    a = 2.0 * alpha
    rho2 = (-2.0 * np.log(a) + np.log(-2.0 * np.log(a) + 1.0)) / _PERSONS_BEST
    n = float(max(persons, 1))
    reach = 2.0 * (n * rho2 + 1.0) / (n**2 * rho2) * np.log(np.sqrt(n * rho2 + 1.0) / a)
    return standard_error * float(np.sqrt(n) * np.sqrt(reach))


# ------------------------------------------------------------------------------------------------------------ verdicts
def margin_of(row: GapRow, settings: GapSettings) -> float:
    """The gap that matters for this group: .02 of WER or 15 % of the rest's, the larger."""
    return max(settings.margin, settings.relative * (row.rest_wer or 0.0))


def verdict(row: GapRow, margin: float) -> GapVerdict:
    """`disparity` when the group is surely worse by more than the margin, `parity` when it surely is not.

    Parity is an interval within the margin on both sides. A group that is surely better than the rest by more than the
    margin reads `parity` too: the question is who is worse off, and those who are have rows of their own.
    """
    if row.gap is None or row.radius is None or row.standard_error is None:
        missing = _words_missing(row, None)
        return GapVerdict(verdict=Verdict.INSUFFICIENT, words_missing=missing, detectable_gap=None)
    found, detectable = Verdict.INSUFFICIENT, None
    if row.low is not None and row.high is not None:
        detectable = margin + row.radius + _POWER_80 * row.standard_error
        if row.low > margin:
            found = Verdict.DISPARITY
        elif (-margin < row.low and row.high < margin) or row.high < -margin:
            found = Verdict.PARITY
    # A gap right at a limit is never settled: a quarter of today's radius, some 16 times the words, ends the plan.
    distance = abs(abs(row.gap) - margin)
    missing = _words_missing(row, max(distance, row.radius / 4.0)) if found is Verdict.INSUFFICIENT else 0
    return GapVerdict(verdict=found, words_missing=missing, detectable_gap=detectable)


def _words_missing(row: GapRow, reach: float | None) -> int:
    """Words of further persons until there are `persons_min`, and the radius is at most `reach`."""
    persons = row.persons_min
    if reach is not None and row.standard_error is not None:
        spread = row.standard_error * float(np.sqrt(max(row.persons, 1)))
        low, high = row.persons, max(row.persons, 1)
        while high < 2**40 and radius(spread / float(np.sqrt(high)), high, row.alpha) > reach:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            wide = radius(spread / float(np.sqrt(middle)), middle, row.alpha) > reach
            low, high = (middle, high) if wide else (low, middle)
        persons = max(persons, high)
    per_person = row.words / max(row.persons, 1)
    return int(np.ceil(max(max(persons - row.persons, 0) * per_person, 1.0)))
