"""Decides what a stratum too small to be learned costs: its dimensions' own levels, one multiplied by the other.

Intuition. Welsh calls from the west are few, but Welsh speakers and calls from the west are not: the level of the one
times that of the other is a fair guess. Half a standard error is added: what was guessed too low would look like drift.
Guarantee. None beyond the slice's rho, which is learned on units that were guessed as well. By simulation (`overall`,
18 and 96 strata, 60 to 400 labels a fortnight; docs/baselines.md) false pages stay within the budget when a rare and
harder accent takes half of the traffic, and where accent and site interact (each cell's level off by .3).
Not covered. A value with fewer than 12 units, a new one above all, gives no evidence still: it is mix, not drift.
Left out, as measured: shrinking a small stratum towards the slice's rate, and one rate for all small strata. Both call
the growth of a rare, harder accent drift: up to 668 alarms where 93 were paid for.
Source. Iterative proportional fitting (Deming and Stephan 1940) of a table of errors to its margins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from monitor.core.cells import ERRORS_CAP

SEPARATOR = "\x1f"
"""Between the values of a stratum's key."""

VALUE_UNITS_MIN = 12
"""A value's level needs this many units. In a prototype of tests/statistics/sparse_strata.py (400 streams) with 8 a
site's growth raised 15 alarms where 6.2 were paid for; with 16, `overall` saw a tripling at 100 labels a fortnight in
.27 of streams, with 12 in .40."""

CAUTION = 0.5
"""Standard errors added. Without, 14 alarms where 6.2 were paid for (sites shift, accent and site interact); with a
whole one, the guess hides more than it shows (x2 .46 where no guess at all sees .51)."""

ROUNDS = 8
"""Of fitting: the margins are met to a part in a thousand after 4."""


class Cell(msgspec.Struct):
    """A stratum's sums over units."""

    errors: float
    words: float
    units: int


class Parents(msgspec.Struct, frozen=True):
    """For each dimension of the stratum: value -> (level, its relative variance)."""

    levels: tuple[dict[str, tuple[float, float]], ...]

    def rate(self, stratum: str) -> float | None:
        """What a word of the stratum is expected to cost; None if one of its values is not known well enough."""
        rate, variance = 1.0, 0.0
        for value, known in zip(stratum.split(SEPARATOR), self.levels, strict=True):
            found = known.get(value)
            if found is None:
                return None
            rate *= found[0]
            variance += found[1]
        return min(rate * (1.0 + CAUTION * math.sqrt(variance)), ERRORS_CAP)


def fit(cells: Mapping[str, Cell], dispersion: float) -> Parents | None:
    """Levels of all values that have the units; None if strata have one dimension, whose levels they are themselves.

    dispersion  squared residual over expected errors of the slice's units
    """
    split = {tuple(stratum.split(SEPARATOR)): cell for stratum, cell in sorted(cells.items())}
    dimensions = min(map(len, split), default=0)
    if dimensions < 2:
        return None
    units: list[dict[str, int]] = [{} for _ in range(dimensions)]
    for values, cell in split.items():
        for known, value in zip(units, values, strict=True):
            known[value] = known.get(value, 0) + cell.units
    kept = {
        values: cell
        for values, cell in split.items()
        if all(known[value] >= VALUE_UNITS_MIN for known, value in zip(units, values, strict=True))
    }
    levels: list[dict[str, float]] = [dict.fromkeys(known, 1.0) for known in units]
    for _ in range(ROUNDS):
        for place in range(dimensions):
            levels[place] = {
                value: errors / expected for value, (errors, expected) in _margin(kept, levels, place).items()
            }
    variances = [
        {value: dispersion / errors for value, (errors, _) in _margin(kept, levels, place).items()}
        for place in range(dimensions)
    ]
    return Parents(
        tuple(
            {value: (level, variance[value]) for value, level in known.items() if value in variance}
            for known, variance in zip(levels, variances, strict=True)
        )
    )


def _margin(
    kept: Mapping[tuple[str, ...], Cell], levels: list[dict[str, float]], place: int
) -> dict[str, tuple[float, float]]:
    """Value of the dimension at `place` -> (errors, what the other dimensions' levels would make of its words)."""
    sums: dict[str, tuple[float, float]] = {}
    for values, cell in kept.items():
        others = 1.0
        for other, value in enumerate(values):
            others *= 1.0 if other == place else levels[other].get(value, 0.0)
        if others > 0.0:
            errors, expected = sums.get(values[place], (0.0, 0.0))
            sums[values[place]] = (errors + cell.errors, expected + others * cell.words)
    return {value: found for value, found in sums.items() if found[0] > 0.0}
