"""Orders to learn anew: nobody is woken by a level that is meant, no budget is gained, a restart goes on the same."""

from __future__ import annotations

import pytest

from monitor.core.deciding import Decider
from monitor.core.records import IncidentState, Level, Slice, Transition
from monitor.core.relearning import Order
from tests.builders import DAY, MARCH_2
from tests.core.deciding_streams import Documents, Message, decider, feed, messages, save, steady

ENGLAND = (("accent", "england"),)
AT = MARCH_2 + 9 * DAY


def worse(accent: str, day: float) -> float:
    """England's new recogniser, from the ninth day on."""
    return steady(accent, day) * (3.0 if accent == "england" and day >= 9 else 1.0)


def ordered(slice_: Slice) -> Decider:
    return decider(relearn={"acme": (Order(id="one", slice=slice_, since=AT),)})


def drift(told: list[Transition]) -> list[Transition]:
    return [one for one in told if one.kind in ("drift", "overall")]


def made(days: float = 22.0) -> list[Message]:
    return messages(worse, days=days, a_day=120)


def test_what_is_meant_pages_nobody_and_is_told_in_the_digest() -> None:
    """A model that is meant to be worse somewhere pages otherwise, and would have to be explained away by hand."""
    assert [one.level for one in drift(feed(decider(), made())) if one.level == Level.PAGE]
    told = drift(feed(ordered(()), made()))
    assert {one.level for one in told} == {Level.DIGEST}
    first, last = told[0], told[-1]
    assert (first.reason, first.slices, first.since) == ("relearn_ordered", ("all",), AT)
    assert "learns a new baseline from 11 March" in first.summary
    assert (last.state, last.reason, last.incident) == (IncidentState.RESOLVED, "relearned", first.incident)


def test_a_slice_learns_anew_with_what_lies_within_and_others_keep_their_baselines() -> None:
    """Another version for those who were ordered, the same for all others."""
    watched, before = ordered(ENGLAND), decider()
    feed(before, made(days=8.5))
    old = {slice_: baseline for slice_, baseline, _ in before.baselines()[1]}
    feed(watched, made())
    new = {slice_: baseline for slice_, baseline, _ in watched.baselines()[1]}
    assert new[ENGLAND].learned_from == AT and new[ENGLAND].version != old[ENGLAND].version
    others = [slice_ for slice_ in old if not set(ENGLAND) <= set(slice_)]
    assert others and all(new[slice_] == old[slice_] for slice_ in others)


def test_an_order_gains_no_budget() -> None:
    """Whoever could order money could page as often as they like: time grants it, and learning spends none."""
    with_it, without = ordered(()), decider()
    feed(with_it, messages(days=22.0))
    feed(without, messages(days=22.0))
    (granted, spent), (same, more) = with_it.budget(), without.budget()
    assert granted == same and 0.0 < spent < more


def test_an_order_ends_what_is_open_about_it() -> None:
    """An incident about a level that is meant would stay open for ever: it never recovers."""
    late = MARCH_2 + 16 * DAY
    watched = decider(relearn={"acme": (Order(id="one", slice=(), since=late),)})
    told = drift(feed(watched, made()))
    paged = next(one for one in told if one.level == Level.PAGE)
    ended = next(one for one in told if one.incident == paged.incident and one.state == IncidentState.RESOLVED)
    assert ended.reason == "relearn_ordered" and ended.at == late
    assert "an operator lets it learn anew" in ended.summary
    assert [one for one in told if one.at > late and one.level == Level.PAGE] == []


@pytest.mark.parametrize("cut", [8.0, 9.5])
def test_a_restart_before_and_after_goes_on_the_same(cut: float) -> None:
    """With the file or without it, an order is done once, to the bit."""
    early = [one for one in made(14.0) if one.event_at < MARCH_2 + cut * DAY]
    late = [one for one in made(14.0) if one.event_at >= MARCH_2 + cut * DAY]
    through, documents = ordered(()), Documents()
    feed(through, early, until=MARCH_2 + cut * DAY)
    save(through, documents)
    rest = feed(through, late)
    kept = dict(documents)
    save(through, documents)
    for again in (decider(), ordered(())):
        mine = Documents(kept)
        for (table, key), value in reversed(kept.items()):
            again.restore(table, key, value)
        assert feed(again, late) == rest
        save(again, mine)
        assert mine == documents
