"""Parity: a spelling must not cost a dialect words that nobody got wrong."""

from __future__ import annotations

from monitor.core.parity import EQUIVALENT, failures, parity
from monitor.core.scoring import Scorer, ScoringSettings


def test_spellings_that_the_profile_levels_agree() -> None:
    """British and American, contractions, digits and words: what OpenAI's rules are for."""
    rows = {row.one: row for row in parity(Scorer(ScoringSettings()))}
    assert len(rows) == len(EQUIVALENT)
    for one in ("what colour is it", "at five o'clock", "don’t worry", "gonna be late", "twenty-five milligrams"):
        assert rows[one].agrees, one


def test_spellings_that_it_punishes_are_counted() -> None:
    """The library knows "gonna" and not "finna": the table says so before a dialect is blamed for it."""
    rows = parity(Scorer(ScoringSettings()))
    punished = {row.one for row in rows if not row.agrees}
    assert "we finna leave" in punished and failures(rows) == len(punished)


def test_a_replacement_mends_one() -> None:
    """What a customer does about it, on both sides."""
    mended = Scorer(ScoringSettings(replacements=(("finna", "fixing to"), ("tryna", "trying to"))))
    before, after = failures(parity(Scorer(ScoringSettings()))), failures(parity(mended))
    assert after == before - 2
