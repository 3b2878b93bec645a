"""Decides how much a unit's errors change the evidence: bets at stakes fixed before the errors are known.

Intuition. A slice bets that its unit holds more errors than its baseline allows. Each unit multiplies the stake; a
degraded slice grows rich, a healthy one stays poor. Money that is put in little by little is the price of a page.
Guarantee. If E[errors | past] <= rho X, then (alarms so far) + (mean of R) - (money put in) is a supermartingale:
the expected number of false alarms never exceeds the money, at any moment and however slices depend on each other.
Not covered. rho itself too low (5 % of slices by construction, see `drift`).
Source. Shin, Ramdas, Rinaldo 2022 (e-detectors); Waudby-Smith and Ramdas 2023 (betting for bounded means).
"""

from __future__ import annotations

from monitor.core.cells import ERRORS_CAP

STAKES = (0.5, 1.4, 4.0, 10.0)
"""Fractions, in units of 1 / mean expected errors, 2.6 apart: small ones find small changes of big slices, large
ones find doublings within a few units. Halving the list costs a quarter of the speed for some size of change;
doubling it wins 2 %."""

CAUTIOUS_STAKES = (0.1, 0.25, 0.6, 1.5)
"""The same for the small difference between 1 and 1.25 times a baseline, where the best stake is a quarter of drift's.
With STAKES a recovered slice of short utterances would never grow rich."""

RUIN = 0.95
"""Most of the wealth that one unit may lose. At 1 a single error-free unit would end the bet for ever."""

WEIGHT_KEPT = 0.998
"""Of the largest weight, with each unit: that utterances were four times rarer once is forgotten after 700 units. At
.99 the stake follows what was sampled of late, and recovery, whose stakes weights limit most, is wrong in 31 of 400
streams where hard ones are sampled rarely and 20 are allowed (now 9); doublings are found as soon (58 and 63 units)."""

Evidence = tuple[float, float, float, float]
"""R of each stake. An alarm is a mean of 1 or more."""

NO_EVIDENCE: Evidence = (0.0, 0.0, 0.0, 0.0)


def mean(evidence: Evidence) -> float:
    """What is compared with a threshold: the average over stakes is as valid as each of them.

    >>> mean((0.0, 0.0, 1.0, 3.0))
    1.0
    """
    return (evidence[0] + evidence[1] + evidence[2] + evidence[3]) / len(STAKES)


def reach_of_weight(weight_max: float, weight: float) -> tuple[float, float]:
    """(the largest weight of late with this unit's, how many times the unit's own that is): known before its errors.

    A bet is limited by what a unit of this many corrected words could lose at the largest weight, so that the stake
    does not follow the weight. Else utterances that are sampled rarely, and count much, are bet on with less than those
    that are sampled often; where these are harder (or, for the mirrored bet, easier), mere chance grows rich.
    """
    weight_max = max(weight, WEIGHT_KEPT * weight_max)
    return weight_max, weight_max / weight


def bet_worse(
    evidence: Evidence, money: float, errors: float, expected: float, rho: float, scale: float, reach: float = 1.0
) -> Evidence:
    """Evidence against H0: E[errors | past] <= rho x expected, after one unit.

    money     put in before this unit, fixed before its errors are known
    expected  errors by the baseline, X > 0; scale: the baseline's mean X
    reach     how many times larger X would be at the largest weight of late (`reach_of_weight`)
    """
    gain = (errors - rho * expected) / scale
    lambda_max = RUIN * scale / (rho * expected * reach)
    return _multiplied(evidence, money, gain, lambda_max, STAKES)


def bet_better(
    evidence: Evidence,
    money: float,
    errors: float,
    expected: float,
    words: float,
    rho: float,
    scale: float,
    stakes: tuple[float, float, float, float] = STAKES,
    reach: float = 1.0,
) -> Evidence:
    """Evidence against H0: E[errors | past] >= expected / rho, after one unit of this many words: the mirror image.

    Errors never exceed ERRORS_CAP x words, which bounds what the bet can lose.
    """
    gain = (expected / rho - errors) / scale
    loss_max = ERRORS_CAP * words - expected / rho
    lambda_max = RUIN * scale / (loss_max * reach) if loss_max > 0 else stakes[-1]
    return _multiplied(evidence, money, gain, lambda_max, stakes)


def _multiplied(
    evidence: Evidence, money: float, gain: float, lambda_max: float, stakes: tuple[float, float, float, float]
) -> Evidence:
    a, b, c, d = stakes
    factors = (
        1.0 + min(a, lambda_max) * gain,
        1.0 + min(b, lambda_max) * gain,
        1.0 + min(c, lambda_max) * gain,
        1.0 + min(d, lambda_max) * gain,
    )
    return multiplied(evidence, money, factors)


def multiplied(evidence: Evidence, money: float, factors: tuple[float, float, float, float]) -> Evidence:
    """Evidence into which this money was put before the errors were known, after what multiplied each stake."""
    return (
        (evidence[0] + money) * factors[0],
        (evidence[1] + money) * factors[1],
        (evidence[2] + money) * factors[2],
        (evidence[3] + money) * factors[3],
    )
