"""Decides how much less is known of a slice's expectation once its mix of strata is not the one that it learned.

Intuition. A stratum of 8 units hardly moves an expectation that it is a fiftieth of, however badly it was learned. If
it grows to half of the traffic, its error is half of the expectation's. So the error is priced by the mix bet on.
Guarantee. With p_s the strata's shares of what is expected and v_s the relative variance of a stratum's rate, the
relative variance of the expectation is sum p_s^2 v_s. Its ratio to that of the learned mix is known before a unit's
errors: it depends on which strata came. By simulation, a rare accent that takes half of the traffic, 18 strata:
tests/statistics/test_mix_error.py.
Not covered. Strata whose rates are guessed (`parent_strata`) count as one, as their errors come together; strata
without a rate give no evidence at all. Baselines of an earlier version, or another agent's, do not say how they were
learned, and are believed for any mix.
Source. Direct standardisation; the effective number of units: Kish 1965.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

UNITS = 50.0
"""The mix is that of about so many units. 30, 50 and 100 leave the same false pages where a mix turns at once; the
fewer, the more a mix that stays as it was looks like another one."""
UNITS_MIN = 5.0
"""Before as many units nothing is said."""
_GAIN_MAX = 1e9
"""Instead of letting all sums fade with each unit, what comes counts more; then they are made smaller at once."""
_FORGOTTEN = 1e-9
"""Part of all below which a stratum is forgotten: it was last met a thousand units ago."""

Parts = Sequence[tuple[str, float]]
"""(stratum, expected errors) of one unit; "" stands for all strata whose rates are guessed."""


def prices(units: Sequence[Parts]) -> dict[str, float]:
    """What the squared share of each stratum costs; the learned mix costs 1. Nothing where there is one stratum.

    Units vary by a level of their own, so a stratum's relative variance goes with sum x^2 / (sum x)^2.
    """
    sums: dict[str, tuple[float, float]] = {}
    for unit in units:
        for stratum, expected in unit:
            total, squares = sums.get(stratum, (0.0, 0.0))
            sums[stratum] = (total + expected, squares + expected * expected)
    if len(sums) < 2:
        return {}
    # sum (total / all)^2 (squares / total^2) = sum squares / all^2
    learned = sum(squares for _, squares in sums.values()) / sum(total for total, _ in sums.values()) ** 2
    return {stratum: squares / total**2 / learned for stratum, (total, squares) in sums.items()}


class Mix(msgspec.Struct, array_like=True):
    """The mix of the last units. Mutable, part of a watch.

    sums      by stratum, of expected errors, each unit's times the gain of then; total: of all
    squares   of the units' sums; linear, quadratic: sums of price x sum, and of price x sum^2
    """

    sums: dict[str, float] = {}
    gain: float = 1.0
    total: float = 0.0
    squares: float = 0.0
    linear: float = 0.0
    quadratic: float = 0.0

    def note(self, unit: Parts, priced: Mapping[str, float]) -> None:
        """Hear which strata a unit has; its errors are not asked."""
        self.gain /= 1.0 - 1.0 / UNITS
        if self.gain > _GAIN_MAX:
            self._shrink(priced)
        of_unit = 0.0
        for stratum, expected in unit:
            added, before, price = expected * self.gain, self.sums.get(stratum, 0.0), priced.get(stratum, 0.0)
            self.sums[stratum] = before + added
            self.quadratic += price * added * (2.0 * before + added)
            self.linear += price * added
            of_unit += added
        self.total += of_unit
        self.squares += of_unit * of_unit

    def stretch(self) -> float:
        """By how much the expectation's relative error is larger than it was for the learned mix; at least 1.

        That few units never have exactly the learned mix is taken out: of independent units, each of one stratum, the
        squared share exceeds what it stands for by p (1 - p) / n.
        """
        if not self.total > 0.0:
            return 1.0
        units = self.total * self.total / self.squares
        if units < UNITS_MIN:
            return 1.0
        found = self.quadratic / self.total**2 - self.linear / self.total / units
        return math.sqrt(max(found / (1.0 - 1.0 / units), 1.0))

    def _shrink(self, priced: Mapping[str, float]) -> None:
        least = _FORGOTTEN * self.total
        self.sums = {stratum: found / self.gain for stratum, found in self.sums.items() if found > least}
        self.squares /= self.gain * self.gain
        self.gain = 1.0
        self.total = sum(self.sums.values())
        self.linear = sum(priced.get(stratum, 0.0) * found for stratum, found in self.sums.items())
        self.quadratic = sum(priced.get(stratum, 0.0) * found**2 for stratum, found in self.sums.items())
