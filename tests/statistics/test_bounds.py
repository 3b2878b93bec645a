"""Confidence sequences: 95 % of them hold at every moment, so also at the worst one to stop at."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.core.estimators import WEIGHT_ONE, Moments
from tests.statistics.bounds import ALPHA, TRUTH, gap_misses, looks, misses, sequences
from tests.statistics.unit_sums import Traffic, draw

PART = 1_000
"""Streams at a time: 60 MB."""


def most(nominal: float) -> float:
    """Counts of this mean stay below with chance .999."""
    return nominal + 3.1 * math.sqrt(nominal)


def test_the_simulated_intervals_are_the_products() -> None:
    """Else the figures would be those of another interval. Exact sums against floating point: to 1 in 10^9."""
    sums = draw(np.random.default_rng(1), Traffic(TRUTH, 0.6, 3.0), (3, 200))
    low, high = sequences(sums, 200)
    for stream in range(3):
        total = Moments()
        for number, (errors, words) in enumerate(zip(sums.errors[stream], sums.words[stream], strict=True), start=1):
            total.replace(0, 0, int(errors) * WEIGHT_ONE, int(words) * WEIGHT_ONE)
            if number in looks(200):
                found = (low[stream, looks(200).index(number)], high[stream, looks(200).index(number)])
                assert found == pytest.approx(total.interval(ALPHA), rel=1e-9)


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_intervals_hold_at_every_moment(effect: float) -> None:
    """1,000 streams of 500 clusters: 50 may miss."""
    assert misses(2, effect, 1_000, 500).ever <= most(ALPHA * 1_000)


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 0.6, 1.0])
def test_intervals_hold_at_every_moment_at_length(effect: float) -> None:
    """10,000 streams of 1,000 clusters. Nominal is 500; measured 252 to 383 (docs/benchmarks.md)."""
    assert sum(misses(100 + part, effect, PART, 1_000).ever for part in range(10)) <= ALPHA * 10_000


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 0.6, 1.0])
def test_no_gap_is_seen_where_none_is(effect: float) -> None:
    """10,000 groups of up to 500 persons at the alpha of a ticket: 25 may be told of a gap at any time."""
    assert sum(gap_misses(200 + part, effect, PART, 500, 0.1 / 40) for part in range(10)) <= 25
