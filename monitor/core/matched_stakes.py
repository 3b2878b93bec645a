"""Decides how much one unit of a group, beside the units of others met meanwhile, changes the evidence of a gap.

Intuition. Who bets that a group's unit holds more errors than others' rate c allows also bets, with matched stakes,
that the others' units hold fewer than c says. If everybody gets worse together, one bet wins what the other loses; only
what the group has beyond the others is left.
Guarantee. H0: the group's rate is at most q(r) = factor r + points, where r is the rate of the block's others. With
stakes lam on the group's W words and lam_R = factor lam W / sum_j W_j on the others', d = r - c and x = factor lam W d,
    E[1 + lam (E - q(c) W)] <= 1 + x   and   E[prod_j (1 + lam_R (c W_j - E_j))] <= exp(-x),
so a block's expected factor is at most (1 + x) exp(-x) <= 1, whatever c was, as long as c and the stakes were fixed
before the block's errors. Money put in little by little then bounds false alarms as in `evidence`: wealth is the sum
of the plain tests begun with each coin, the first one included, and starts anew after an alarm. A gap beyond two
margins at once needs the smaller of two such wealths, which is below that of the margin that holds.
Unequal sampling. Which utterances of a unit were sampled, and so its weights, may tell how hard they are. So no stake
follows a unit's weighted words W: it is limited, and matched, by corrected words times the largest weight of late and
times the usual one (`Weights`). With one weight for each side that is the above; else x cancels in the mean only.
Not covered. A rate of the others that moves between their units and the group's next one (blocks hold the last 24,
which keeps them close); errors above 1.5 a word, which are cut on both sides; speakers that return for years: the
conditional mean is theirs, not the group's.
Source. Shin, Ramdas, Rinaldo 2022 (e-detectors); Waudby-Smith and Ramdas 2023 (betting); the design's statistics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from monitor.core.cells import ERRORS_CAP
from monitor.core.evidence import CAUTIOUS_STAKES, RUIN

OTHERS_MAX = 24
"""Units of others in one block, the last ones: their mean has a fifth of one unit's spread, which the group's own unit
drowns. At half it is a third; at double, the block reaches further back into another hour's traffic."""
RATE_MIN = 0.005
"""Least rate that stakes reckon with: others without a single error so far would ask for infinite ones."""
RATE_MAX = 1.0
"""And the greatest: at ERRORS_CAP nothing could be lost on others, and nothing won."""


class Margin(NamedTuple):
    """A gap that does not matter: the group's rate is at most `factor` x the others' + `points`."""

    factor: float
    points: float

    def allowed(self, rate: float) -> float:
        """The group's greatest rate without a gap that matters."""
        return self.factor * rate + self.points


class Counted(NamedTuple):
    """Errors (capped) and words of one unit, both weighted; corrected: its words counted once."""

    errors: float
    words: float
    corrected: float


class Weights(NamedTuple):
    """Of corrected words: the usual weight, learned before the block, and the largest of late, the block's included."""

    usual: float = 1.0
    most: float = 1.0


def block_factors(
    own: Counted,
    others: Sequence[Counted],
    rate: float,
    mean_words: float,
    margin: Margin,
    weights: tuple[Weights, Weights] = (Weights(), Weights()),
) -> tuple[float, float, float, float]:
    """By what the wealth of each stake is multiplied by one block.

    own         the group's unit; others: units of the same stratum since its last one, at least one, with words
    rate        of the others, from before the block; mean_words of the group's units: with it, the stakes' unit
    weights     the group's and the others'
    """
    rate = min(max(rate, RATE_MIN), RATE_MAX)
    allowed = margin.allowed(rate)
    matched, own_most, others_most = _matched(own, others, weights)
    matched *= margin.factor
    gains = [rate * other.words - other.errors for other in others]
    lambda_max = min(RUIN / (allowed * own_most), RUIN / ((ERRORS_CAP - rate) * others_most * matched))
    excess = own.errors - allowed * own.words
    factors: list[float] = []
    used = 0.0
    for stake in CAUTIOUS_STAKES:  # of 30 groups 5 points worse they find 23, drift's 16; large gaps as soon
        lambda_ = min(stake / (rate * mean_words), lambda_max)
        if lambda_ != used:  # stakes are ascending: beyond the cap they are all the same
            used = lambda_
            factor = 1.0 + lambda_ * excess
            for gain in gains:
                factor *= 1.0 + lambda_ * matched * gain
        factors.append(factor)
    return factors[0], factors[1], factors[2], factors[3]


def factors_below(
    own: Counted,
    others: Sequence[Counted],
    rate: float,
    mean_words: float,
    gap: float,
    weights: tuple[Weights, Weights] = (Weights(), Weights()),
) -> tuple[float, float, float, float]:
    """The mirror of `block_factors`: against "the group's rate is at least the others' + gap".

    With y = lam W (c - r): E[1 + lam ((c + gap) W - E)] <= 1 + y and E[prod_j (1 + lam_R (E_j - c W_j))] <= exp(-y).
    """
    rate = min(max(rate, RATE_MIN), RATE_MAX)
    claimed = rate + gap
    matched, own_most, others_most = _matched(own, others, weights)
    lambda_max = RUIN / (rate * others_most * matched)
    if claimed < ERRORS_CAP:
        lambda_max = min(lambda_max, RUIN / ((ERRORS_CAP - claimed) * own_most))
    factors: list[float] = []
    for stake in CAUTIOUS_STAKES:
        lambda_ = min(stake / (rate * mean_words), lambda_max)
        factor = 1.0 + lambda_ * (claimed * own.words - own.errors)
        for other in others:
            factor *= 1.0 + lambda_ * matched * (other.errors - rate * other.words)
        factors.append(factor)
    return factors[0], factors[1], factors[2], factors[3]


def excess_of(own: Counted, others: Sequence[Counted], rate: float, weights: tuple[Weights, Weights]) -> float:
    """Errors of the group's unit beyond what its words cost others: right in the mean for any rate and weights."""
    matched, _, _ = _matched(own, others, weights)
    return own.errors - rate * own.words - matched * sum(other.errors - rate * other.words for other in others)


def _matched(own: Counted, others: Sequence[Counted], weights: tuple[Weights, Weights]) -> tuple[float, float, float]:
    """The others' stake for one of the group's, and the words that each side's largest unit may stand for."""
    of_group, of_others = weights
    corrected = sum(other.corrected for other in others)
    largest = max(other.corrected for other in others)
    matched = own.corrected * of_group.usual / (corrected * of_others.usual)
    return matched, own.corrected * of_group.most, largest * of_others.most
