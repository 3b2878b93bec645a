"""Whether intervals hold when somebody stops at the worst moment: the product's formulas for many streams at once.

A stream is looked at after every tenth cluster from 50 on (from there the sequences claim to hold), up to `longest`.
Rules of stopping that depend on what was seen: the first moment at which the interval leaves out the truth (the worst
there is, and what `at any moment` means); when it is narrow; when it first leaves out what somebody else claims.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor.core.cells import BoolArray, FloatArray, IntArray
from monitor.core.estimators import CLUSTERS_FOR_ASYMPTOTICS, sequence_radius
from monitor.core.standing_gaps import radius
from tests.statistics.unit_sums import Sums, Traffic, draw

LOOKS_EVERY = 10
TRUTH = 0.12
CLAIMED = 0.15
"""What somebody else says the rate is: a quarter more."""
NARROW = 0.015
"""Half width at which one would stop collecting."""
ALPHA = 0.05


class Misses(NamedTuple):
    """Streams whose interval leaves out the truth, by rule of stopping, of `streams`."""

    streams: int
    ever: int
    when_narrow: int
    against_a_claim: int


def looks(longest: int) -> list[int]:
    return list(range(CLUSTERS_FOR_ASYMPTOTICS, longest + 1, LOOKS_EVERY))


def sequences(sums: Sums, longest: int) -> tuple[FloatArray, FloatArray]:
    """`Moments.interval` at each look; shape (streams, looks)."""
    ratio, error = _rates(sums, longest)
    relative = error * np.array([sequence_radius(1.0, count, ALPHA) for count in looks(longest)]) / ratio
    return ratio * np.exp(-relative), ratio * np.exp(np.minimum(relative, 5.0))


def misses(seed: int, effect: float, streams: int, longest: int) -> Misses:
    """95 % sequences of the WER of sessions whose levels vary by `effect`."""
    sums = draw(np.random.default_rng(seed), Traffic(TRUTH, effect, 3.0), (streams, longest))
    low, high = sequences(sums, longest)
    wrong = (low > TRUTH) | (high < TRUTH)
    narrow = _first((high - low) / 2 <= NARROW)
    decided = _first((low > CLAIMED) | (high < CLAIMED))
    rows = np.arange(streams)
    return Misses(
        streams, int(wrong.any(axis=1).sum()), int(wrong[rows, narrow].sum()), int(wrong[rows, decided].sum())
    )


def gap_misses(seed: int, effect: float, streams: int, longest: int, alpha: float) -> int:
    """Streams in which a group's gap to a rest of ten times its persons is ever said to be too large (truth: none)."""
    random = np.random.default_rng(seed)
    group = draw(random, Traffic(TRUTH, effect, 10.0), (streams, longest))
    ratio, error = _rates(group, longest)
    rest = draw(random, Traffic(TRUTH, effect, 100.0), (streams, longest))
    rest_ratio, rest_error = _rates(rest, longest)
    spread = np.sqrt(error**2 + rest_error**2)
    reach = spread * np.array([radius(1.0, count, alpha) for count in looks(longest)])
    return int((ratio - rest_ratio - reach > 0.0).any(axis=1).sum())


def _rates(sums: Sums, longest: int) -> tuple[FloatArray, FloatArray]:
    """Ratio and cluster-robust error at each look, as `Moments` has them of its clusters."""
    at = np.array(looks(longest)) - 1
    errors, words = sums.errors.astype(float), sums.words.astype(float)
    columns = (errors, words, errors * errors, errors * words, words * words)
    e, w, ee, ew, ww = (np.cumsum(column, axis=1)[:, at] for column in columns)
    ratio, n = e / w, at + 1.0
    return ratio, np.sqrt(np.maximum(ee - 2 * ratio * ew + ratio**2 * ww, 0.0) * n / (n - 1)) / w


def _first(stop: BoolArray) -> IntArray:
    """Number of the first look at which it stops; the last if it never does."""
    return np.asarray(np.where(stop.any(axis=1), stop.argmax(axis=1), stop.shape[1] - 1))
