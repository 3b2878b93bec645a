"""Evidence: bets that are fair under the null, and never ruin nor owe."""

from __future__ import annotations

import pytest

from monitor.core.cells import ERRORS_CAP
from monitor.core.evidence import NO_EVIDENCE, Evidence, bet_better, bet_worse, mean

RICH: Evidence = (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("expected", [0.2, 1.0, 5.0, 40.0])
def test_at_the_border_of_the_null_a_bet_is_fair(expected: float) -> None:
    """Two units, one without errors and one with twice what is allowed: the average factor is exactly 1."""
    rho = 1.1
    factors = [bet_worse(RICH, 0.0, e, expected, rho, 1.0) for e in (0.0, 2 * rho * expected)]
    assert mean(factors[0]) / 2 + mean(factors[1]) / 2 == pytest.approx(1.0)


@pytest.mark.parametrize("words", [2.0, 10.0, 5000.0])
def test_no_unit_ruins_a_bet(words: float) -> None:
    """After one call without errors (or one loop) a slice must still be able to win."""
    clean = bet_worse(RICH, 0.0, 0.0, 0.1 * words, 1.1, 1.0)
    looping = bet_better(RICH, 0.0, ERRORS_CAP * words, 0.1 * words, words, 1.1, 1.0)
    assert min(clean) > 0.04 and min(looping) > 0.04


def test_money_is_what_makes_evidence_possible() -> None:
    """Without budget nothing ever alarms: zero times anything is zero."""
    assert bet_worse(NO_EVIDENCE, 0.0, 30.0, 1.0, 1.1, 1.0) == NO_EVIDENCE


def test_evidence_grows_with_errors_and_falls_without() -> None:
    """The sign of it all."""
    assert mean(bet_worse(RICH, 0.0, 3.0, 1.0, 1.1, 1.0)) > 1.0 > mean(bet_worse(RICH, 0.0, 0.0, 1.0, 1.1, 1.0))
    better = [mean(bet_better(RICH, 0.0, e, 1.0, 10.0, 1.1, 1.0)) for e in (0.0, 3.0)]
    assert better[0] > 1.0 > better[1]
