"""Decides how much worse one set of utterances is than another that does the same tasks, and how sure that is.

Intuition. A group that meets harder tasks has more errors for reasons that are not the group's: it is compared with the
others inside each task, and the gaps are averaged by its own mix of tasks.
Guarantee. The standard error is cluster-robust, the cluster being the person; `tail` is the chance, by Student's t with
the group's persons less one, of a gap that large if the true one were `margin`. Errors are skewed to the right, which
makes that chance too large rather than too small for a group that is worse.
Not covered. Fewer than ten persons on a side (no answer); looking again and again: one look, one chance.
Source. Direct standardisation; Student 1908; see `standing_gaps` for the sequence that may be looked at for ever.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from monitor.core.cells import BoolArray, Cells, FloatArray, IntArray
from monitor.core.estimators import t_quantile
from monitor.core.groupings import dense
from monitor.core.records import Record
from monitor.core.standing_gaps import SPEAKER_DIMENSIONS

PERSONS_MIN = 10
"""On either side, and of others in each task: with half as many, one person's voice is a tenth of the answer, and a t
quantile at one in a thousand is 7."""
COVERED_MIN = 0.5
"""A gap over less than half of the group's words is not the group's gap."""


class MatchedGap(Record, frozen=True):
    """A group against others of the same tasks. WER is weighted by the group's own mix."""

    gap: float
    error: float
    """Standard error of the gap, by persons."""
    persons: int
    words: float
    wer: float
    rest_wer: float

    def low(self, chance: float) -> float:
        """One-sided lower bound that is too high with this chance."""
        return self.gap - t_quantile(1.0 - chance, self.persons - 1) * self.error

    def tail(self, margin: float) -> float:
        """Chance of a gap this large if the true one were `margin`."""
        if self.error <= 0.0:
            return 1.0
        return t_tail((self.gap - margin) / self.error, self.persons - 1)


def fixed_tasks(strata: Sequence[str], compared: Collection[str], demographics: Collection[str]) -> tuple[str, ...]:
    """The dimensions held fixed when these are compared with everybody else.

    Traits of the speaker never excuse a gap. What the group does is held fixed if it also says who speaks: yoruba on
    phones is compared with others on phones. If it only says what is done, nobody else does the same.
    """
    traits = {*SPEAKER_DIMENSIONS, *demographics}
    tasks = [name for name in strata if name not in traits]
    if any(name in traits for name in compared):
        return tuple(tasks)
    return tuple(name for name in tasks if name not in compared)


def matched_gap(cells: Cells, inside: BoolArray, outside: BoolArray, stratum: IntArray) -> MatchedGap | None:
    """The gap of the cells inside against those outside; None with too few persons to compare.

    stratum  (n,) numbered 0.. without holes
    """
    outside = outside & ~inside
    if not inside.any() or not outside.any():
        return None
    count = int(stratum.max()) + 1
    errors, words = _sums(cells, inside, stratum, count)
    rest_errors, rest_words = _sums(cells, outside, stratum, count)
    person = dense(cells.person)
    persons = int(person.max()) + 1
    met = np.unique(stratum[outside] * persons + person[outside]) // persons
    enough = np.bincount(met, minlength=count) >= PERSONS_MIN
    weight = np.where(enough & (rest_words > 0), words / words.sum(), 0.0)
    covered = float(weight.sum())
    used = inside & (weight[stratum] > 0)
    inside_persons = len(np.unique(person[used]))
    if covered < COVERED_MIN or inside_persons < PERSONS_MIN:
        return None
    weight /= covered
    rate = errors / np.maximum(words, 1e-9)
    rest_rate = rest_errors / np.maximum(rest_words, 1e-9)
    # The gap is linear in each person's residuals, as far as rates are close to their expectation.
    pull = _residuals(cells, used, stratum, rate, weight / np.maximum(words, 1e-9), person, persons)
    rest = _residuals(cells, outside, stratum, rest_rate, weight / np.maximum(rest_words, 1e-9), person, persons)
    spread = float(((pull - rest) ** 2).sum()) * inside_persons / (inside_persons - 1)
    wer, rest_wer = float((weight * rate).sum()), float((weight * rest_rate).sum())
    return MatchedGap(
        gap=wer - rest_wer,
        error=math.sqrt(spread),
        persons=inside_persons,
        words=float(words.sum()),
        wer=wer,
        rest_wer=rest_wer,
    )


def _sums(cells: Cells, rows: BoolArray, stratum: IntArray, count: int) -> tuple[FloatArray, FloatArray]:
    where = stratum[rows]
    errors = np.bincount(where, cells.errors[rows], count).astype(np.float64)
    return errors, np.bincount(where, cells.words[rows], count).astype(np.float64)


def _residuals(
    cells: Cells,
    rows: BoolArray,
    stratum: IntArray,
    rate: FloatArray,
    scale: FloatArray,
    person: IntArray,
    persons: int,
) -> FloatArray:
    """Sums over each person of scale x (errors - rate x words)."""
    where = stratum[rows]
    residual = scale[where] * (cells.errors[rows] - rate[where] * cells.words[rows])
    return np.bincount(person[rows], residual, persons).astype(np.float64)


def t_tail(t: float, degrees: int) -> float:
    """P(T > t) for Student's t, by bisection of its quantile; between 1e-12 and 1.

    >>> round(t_tail(1.812, 10), 3), round(t_tail(-1.812, 10), 3)
    (0.05, 0.95)
    """
    if t < 0.0:
        return 1.0 - t_tail(-t, degrees)
    low, high = math.log(1e-12), math.log(0.5)
    for _ in range(50):
        middle = (low + high) / 2
        if t_quantile(1.0 - math.exp(middle), degrees) > t:
            low = middle
        else:
            high = middle
    return math.exp(high)
