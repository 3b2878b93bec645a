"""Claims: how often noise is verified, what holds is refused, and how many words an answer takes."""

from __future__ import annotations

from collections import Counter

import pytest

from monitor.core import claims
from monitor.core.claims import ClaimVerdict
from tests.statistics.claimed import after_rows, claim, rows

pytestmark = pytest.mark.slow

SUBMISSIONS = 2_000


def test_noise_is_verified_in_at_most_its_share_of_2000_submissions() -> None:
    """One customer's claims one after the other, each with exactly half of the gap that it claims: the worst noise.

    Together they may verify .05 in expectation; two or more would have a chance of .001.
    """
    verdicts = Counter(
        after_rows(claim(0.1, number=number), rows(number, 400, gap=0.05)).verdict
        for number in range(1, SUBMISSIONS + 1)
    )
    print(f"claims at half the gap, {SUBMISSIONS} submissions, 400 sessions each: {dict(verdicts)}")
    assert verdicts[ClaimVerdict.VERIFIED] <= 1


def test_a_single_bet_keeps_its_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself at .05, never ended by the other bet: 25 of 500 expected at most, 36 have a chance of .02."""
    monkeypatch.setattr(claims, "REFUTED", 1e-300)
    found = 0
    for seed in range(500):
        made = claim(0.1)
        made.share = 0.05
        found += after_rows(made, rows(10_000 + seed, 800, gap=0.05, spread=0.6)).verdict == ClaimVerdict.VERIFIED
    print(f"claims at half the gap, evidence 20 ever reached: {found} of 500")
    assert found <= 36


def test_a_claim_that_holds_is_seldom_refused_and_soon_verified() -> None:
    """REFUTED .05: 10 of 200 expected at most, 17 have a chance of .02."""
    for gap in (0.05, 0.1):
        ended = [after_rows(claim(gap), rows(20_000 + seed, 3_000, gap=gap)) for seed in range(200)]
        verdicts = Counter(one.verdict for one in ended)
        words = sorted(one.words for one in ended)[100]
        print(f"claims that hold, gap {gap}: {dict(verdicts)} of 200, median {words:,.0f} words of the group")
        assert verdicts[ClaimVerdict.NOT_SUPPORTED] <= 17
        assert verdicts[ClaimVerdict.VERIFIED] >= (0 if gap < 0.1 else 160)
