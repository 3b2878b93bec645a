"""Bets on a gap: whatever everybody shares cancels, and wealth never grows in the mean without a gap that matters."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest

from monitor.core.evidence import multiplied
from monitor.core.matched_stakes import Counted, Margin, Weights, block_factors, factors_below

POINTS, RATIO = Margin(1.0, 0.05), Margin(1.15, 0.0)


def mean_factors(group_rate: float, others_rate: float, rate: float, margin: Margin) -> list[float]:
    """Exact expectation over a block of one unit of four words and two of six: units err in none or all of them."""
    own_words, others_words = 4.0, (6.0, 6.0)
    total = [0.0] * 4
    for wrong in product((0, 1), repeat=3):
        chances = (group_rate, others_rate, others_rate)
        chance = prod(p if bad else 1 - p for p, bad in zip(chances, wrong, strict=True))
        own = Counted(wrong[0] * own_words, own_words, own_words)
        others = [Counted(bad * words, words, words) for bad, words in zip(wrong[1:], others_words, strict=True)]
        factors = block_factors(own, others, rate, own_words, margin)
        total = [sum_ + chance * factor for sum_, factor in zip(total, factors, strict=True)]
    return total


@pytest.mark.parametrize("rate", [0.02, 0.12, 0.3, 0.9])
@pytest.mark.parametrize("others_rate", [0.06, 0.12, 0.4])
@pytest.mark.parametrize("margin", [POINTS, RATIO])
def test_wealth_never_grows_without_a_gap_that_matters(margin: Margin, others_rate: float, rate: float) -> None:
    """However wrong the rate that others were thought to have: everybody may have changed since."""
    assert max(mean_factors(margin.allowed(others_rate), others_rate, rate, margin)) <= 1.0 + 1e-12


@pytest.mark.parametrize("margin", [POINTS, RATIO])
def test_wealth_grows_with_a_gap(margin: Margin) -> None:
    """Else it would be valid and useless."""
    assert max(mean_factors(0.35, 0.12, 0.12, margin)) > 1.02


@pytest.mark.parametrize("wrong", [0.0, 1.5])
def test_no_block_ruins(wrong: float) -> None:
    """The worst block of all leaves something, or a bet would be over for ever."""
    own, others = Counted(0.0, 400.0, 400.0), [Counted(wrong * words, words, words) for words in (3.0, 900.0)]
    factors = block_factors(own, others, 0.12, 20.0, POINTS)
    assert min(factors) >= 0.05 * 0.05 - 1e-9
    assert multiplied((0.0, 1.0, 0.0, 0.0), 0.5, factors)[1] == 1.5 * factors[1]


@pytest.mark.parametrize("hard_chance", [0.1, 0.9])
@pytest.mark.parametrize("below", [False, True])
def test_wealth_does_not_grow_by_how_utterances_were_sampled(below: bool, hard_chance: float) -> None:
    """Exactly: units of one utterance, easy (it errs in .1) or hard (.5) and sampled by that; no gap, or 5 points.

    With stakes that follow weights, the mean factor was up to 1.05 a block.
    """
    points, others_rate, words = 0.05, 0.3, 10.0
    chances = (1.0 - hard_chance, hard_chance)
    sampled = sum(chances) / 2  # half are hard
    weights = (Weights(1.0 / sampled, 1.0 / min(chances)),) * 2
    total = [0.0] * 4
    # For the group's unit and two of others: which kind was sampled, and whether it erred.
    for block in product(product((0, 1), repeat=2), repeat=3):
        chance, units = 1.0, []
        for number, (hard, wrong) in enumerate(block):
            level = (0.1, 0.5)[hard] + (points if number == 0 else 0.0)
            chance *= chances[hard] / 2 / sampled * (level if wrong else 1.0 - level)
            units.append(Counted(wrong * words / chances[hard], words / chances[hard], words))
        own, *others = units
        if below:
            factors = factors_below(own, others, others_rate, words / sampled, points, weights)
        else:
            factors = block_factors(own, others, others_rate, words / sampled, Margin(1.0, points), weights)
        total = [sum_ + chance * factor for sum_, factor in zip(total, factors, strict=True)]
    assert max(total) <= 1.0 + 1e-12, max(total)
