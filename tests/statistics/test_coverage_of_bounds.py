"""Bounds: an interval that may be looked at any time covers at every look, not only at a planned one."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.estimators import WEIGHT_ONE, Moments


def misses(seed: int, sessions: int, spread: float) -> bool:
    """Whether the true rate leaves the 95 % sequence at any look from 50 sessions on."""
    random = np.random.default_rng(seed)
    own = 0.12 * random.gamma(1 / spread, spread, sessions)
    words = random.poisson(8, sessions) + 4
    errors = random.poisson(own * words)
    total = Moments()
    for k in range(sessions):
        total.replace(0, 0, int(errors[k]) * WEIGHT_ONE, int(words[k]) * WEIGHT_ONE)
        if total.clusters >= 50 and total.clusters % 10 == 0:
            low, high = total.interval()
            assert low is not None and high is not None
            if not low <= 0.12 <= high:
                return True
    return False


def test_bounds_cover_at_every_look() -> None:
    """60 streams of 500 sessions: 5 % of them are 3 misses; 9 or more have probability .004."""
    assert sum(misses(seed, 500, 1.0) for seed in range(60)) <= 8


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.2, 1.0, 2.0])
def test_bounds_cover_at_every_look_at_length(spread: float) -> None:
    """300 streams of 3,000 sessions: 5 % of them are 15 misses, 27 are 3 standard deviations above."""
    assert sum(misses(1_000 + seed, 3_000, spread) for seed in range(300)) <= 27
