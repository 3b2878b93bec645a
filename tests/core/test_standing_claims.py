"""A verified claim is a slice: it learns, bets, pages and is shown, though its attribute is no dimension."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from monitor.core.deciding import Decider
from monitor.core.predicates import PredicateError
from monitor.core.records import Direction, IncidentKind
from monitor.core.slicing import SliceSettings
from monitor.core.standing_claims import StandingClaims
from tests.core.deciding_streams import Documents, Message, Rate, decider, feed, messages, save

SLICES = SliceSettings(dimensions=("deployment",), intersections=(), strata=("accent", "deployment"))
VERIFIED = {"acme": (("c1", "accent=indian"),)}
CLAIM = (("claim-c1", "accent=indian"),)


def watching(standing: object = VERIFIED) -> Decider:
    return decider(SLICES, standing=standing)


def spoken(rate: Rate, days: float, a_day: int = 60) -> list[Message]:
    """Labels in the order of SLICES.names: deployment, accent."""
    return [replace(one, labels=one.labels[::-1]) for one in messages(rate, days=days, a_day=a_day)]


def worse(accent: str, day: float) -> float:
    return 0.6 if accent == "indian" and day > 9 else 0.1


def test_what_only_a_claim_tells_apart_pages_as_that_claim() -> None:
    """Its attribute is no dimension: without the claim nobody would hear who it is."""
    told = feed(watching(), spoken(worse, days=16.0, a_day=120))
    drift = [one for one in told if one.kind == IncidentKind.DRIFT and one.direction == Direction.WORSE]
    assert [one.slices for one in drift][-1] == ("claim-c1=accent%3Dindian",)


def test_nobody_s_claim_changes_nothing() -> None:
    """Another customer's claims are no slices here."""
    made = spoken(worse, days=14.0)
    assert feed(watching({"other": VERIFIED["acme"]}), made) == feed(watching({}), made)


def test_its_wer_and_gap_are_shown() -> None:
    watched = watching()
    feed(watched, spoken(lambda accent, day: 0.4 if accent == "indian" else 0.1, days=20.0))
    (sums,), standing = watched.claimed(), watched.standing(CLAIM)
    assert standing is not None and standing.gap == pytest.approx(0.3, abs=0.05)
    assert sums.slice == CLAIM and sums.moments.ratio() == pytest.approx(0.4, abs=0.04)


def test_a_restored_decider_goes_on_with_it() -> None:
    """Bit for bit, like every slice."""
    made = spoken(worse, days=14.0)
    whole, documents = watching(), Documents()
    told = feed(whole, made)
    first, half = watching(), len(made) // 2
    early = feed(first, made[:half], until=0.0)
    save(first, documents)
    second = watching()
    for (table, key), value in documents.items():
        second.restore(table, key, value)
    assert [one.summary for one in early + feed(second, made[half:])] == [one.summary for one in told]


def test_a_claim_whose_file_is_lost_ends_with_a_note_and_draws_nothing() -> None:
    """Its slice can never meet a unit again: what it drew was lost to all others."""
    made = spoken(worse, days=16.0, a_day=120)
    half = len(made) * 14 // 16
    first, documents = watching(), Documents()
    paged = [one for one in feed(first, made[:half]) if one.slices == ("claim-c1=accent%3Dindian",)][-1]
    save(first, documents)
    before = {one.slice: one for one in first.account().spenders}["claim-c1=accent%3Dindian"].worse.spent
    second = watching({})
    for (table, key), value in documents.items():
        second.restore(table, key, value)
    ended, noted, *_ = feed(second, made[half:])
    assert (ended.incident, ended.state, ended.reason) == (paged.incident, "resolved", "claim_gone")
    assert (noted.level, noted.reason, noted.slices) == ("digest", "claim_gone", paged.slices)
    assert "no longer in claims.json" in noted.summary and before > 0
    spenders = {one.slice: one for one in second.account().spenders} | {
        one.by: one for one in second.account().spenders
    }
    assert "claim-c1=accent%3Dindian" not in spenders and spenders["ended claims"].worse.spent == before
    save(second, documents)
    assert not [key for table, key in documents if table == "watches" and key.startswith("claim-")]


def test_a_claim_about_what_is_not_declared_is_refused() -> None:
    with pytest.raises(PredicateError):
        StandingClaims(("accent",), (("c1", "device=phone"),))
