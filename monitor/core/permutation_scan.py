"""Decides how surprising a slice's last days would be if its units could as well have come in any other order.

Intuition. With about 100 labels a slice's own past is so uncertain that bets against it allow for half as much again;
the order of its units needs no past. Log error rates are centred within strata; each window of days is a contrast; the
largest, in its own spread, is compared with the largest after shuffling the units of each stratum.
Guarantee. If the units of each stratum are exchangeable, the chance of a result of at most p is at most p, whatever the
distribution of rates and sizes and however windows overlap; stopping early only ever raises p. Paging at p <= the money
of the look costs that money.
Not covered. Strata in which all units come from one window (they are mix, and say nothing); a slow trend or a roster
that returns: its units are not exchangeable. Small changes: that is what bets are for, with more labels.
Source. Fisher 1935; Monte Carlo tests that stop early (Besag and Clifford 1991).
"""

from __future__ import annotations

import math

import numpy as np

from monitor.core.cells import FloatArray, IntArray

WINDOWS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0)
"""Days, as of explanations: at half as many, a fault of a week is judged with some of the week before."""
CHANCE_MIN = 2e-4
"""Least money of a look: 30,000 shufflings tell p = 2e-4 to a sixth of itself. At a tenth, a look costs seconds; at ten
times, a slice of many waits for weeks until a look."""
_DRAWS_EACH = 6.0
"""Shufflings for each one that may exceed the result, on the average, at the limit."""
_FIRST_DRAWS = 1_000
_DRAWS = 5_000
_RESULT_MIN = 2.3
"""Smallest contrast, in its own spread, worth shuffling: one that small has p above .01 in one window alone."""
UNITS_INSIDE_MIN = 2
UNITS_BEFORE_MIN = 6
LEVEL_SPREAD = 0.25
"""Variance of a unit's own log level, which weights reckon with, so that long sessions do not drown the others. Any
value is valid."""


def excess_chance(
    errors: FloatArray, words: FloatArray, stratum: IntArray, age_days: FloatArray, enough: float, seed: int
) -> float:
    """p of the slice's largest excess over its windows; 1 once it is clear that p is above `enough`.

    errors, words, stratum, age_days  (n,) of the units; stratum numbered 0.. without holes, words > 0
    """
    pull = _pull(errors, words, stratum)
    size = np.bincount(stratum)
    spread = np.bincount(stratum, pull**2) / np.maximum(size - 1, 1)
    contrasts, scales = [], []
    for days in WINDOWS:
        inside = age_days <= days
        if inside.sum() < UNITS_INSIDE_MIN or (~inside).sum() < UNITS_BEFORE_MIN:
            continue
        members = np.bincount(stratum, inside, len(size))
        variance = float((members * (1.0 - members / size) * spread).sum())
        if variance > 1e-12:
            contrasts.append(inside.astype(np.float64))
            scales.append(math.sqrt(variance))
    if not contrasts:
        return 1.0
    contrast = np.array(contrasts) / np.array(scales)[:, None]
    result = float((contrast @ pull).max())
    if result < _RESULT_MIN:
        return 1.0
    return _shuffled(pull, stratum, contrast, result, enough, seed)


def _pull(errors: FloatArray, words: FloatArray, stratum: IntArray) -> FloatArray:
    """What each unit pulls its windows up by: its weighted log rate, centred within its stratum."""
    rate = np.bincount(stratum, errors) / np.bincount(stratum, words)
    expected = rate[stratum] * words
    weight = 1.0 / (1.0 / np.maximum(expected, 0.5) + LEVEL_SPREAD)
    logs = np.log((errors + 0.5) / words)
    centre = np.bincount(stratum, weight * logs) / np.bincount(stratum, weight)
    pull = weight * (logs - centre[stratum])
    return np.asarray(pull - (np.bincount(stratum, pull) / np.bincount(stratum))[stratum])


def _shuffled(
    pull: FloatArray, stratum: IntArray, contrast: FloatArray, result: float, enough: float, seed: int
) -> float:
    generator, exceeding, drawn = np.random.default_rng(seed), 0, 0
    places = [np.flatnonzero(stratum == number) for number in range(int(stratum.max()) + 1)]
    most = math.ceil(_DRAWS_EACH / enough)
    while drawn < most:
        count = min(_DRAWS if drawn else _FIRST_DRAWS, most - drawn)
        shuffled = np.empty((len(pull), count))
        for rows in places:
            order = generator.random((len(rows), count)).argsort(axis=0)
            shuffled[rows] = pull[rows][order]
        # A tie up to rounding counts against the result.
        exceeding += int(((contrast @ shuffled).max(axis=0) >= result - 1e-9).sum())
        drawn += count
        if 1 + exceeding > enough * (1 + most):
            return 1.0
    return (1 + exceeding) / (1 + drawn)
