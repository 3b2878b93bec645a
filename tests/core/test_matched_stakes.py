"""Bets on a gap: whatever everybody shares cancels, and wealth never grows in the mean without a gap that matters."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest

from monitor.core.evidence import multiplied
from monitor.core.matched_stakes import Counted, Margin, block_factors

POINTS, RATIO = Margin(1.0, 0.05), Margin(1.15, 0.0)


def mean_factors(group_rate: float, others_rate: float, rate: float, margin: Margin) -> list[float]:
    """Exact expectation over a block of one unit of four words and two of six: units err in none or all of them."""
    own_words, others_words = 4.0, (6.0, 6.0)
    total = [0.0] * 4
    for wrong in product((0, 1), repeat=3):
        chances = (group_rate, others_rate, others_rate)
        chance = prod(p if bad else 1 - p for p, bad in zip(chances, wrong, strict=True))
        own = Counted(wrong[0] * own_words, own_words)
        others = [Counted(bad * words, words) for bad, words in zip(wrong[1:], others_words, strict=True)]
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
    own, others = Counted(0.0, 400.0), [Counted(wrong * words, words) for words in (3.0, 900.0)]
    factors = block_factors(own, others, 0.12, 20.0, POINTS)
    assert min(factors) >= 0.05 * 0.05 - 1e-9
    assert multiplied((0.0, 1.0, 0.0, 0.0), 0.5, factors)[1] == 1.5 * factors[1]
