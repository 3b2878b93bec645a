"""`page_on_gap`: a group that is worse off than others of the same tasks wakes somebody, once, and only where asked."""

from __future__ import annotations

import random
from collections.abc import Sequence

from monitor.core.deciding import Decider
from monitor.core.records import IncidentKind, IncidentState, Level, Transition
from monitor.core.slicing import SliceSettings
from tests.builders import HOUR, MARCH_2
from tests.core.deciding_streams import (
    SLICES,
    Documents,
    Message,
    arrival,
    decider,
    feed,
    look_on,
    messages,
    save,
    steady,
    take,
)


def wide_gap(accent: str, day: float) -> float:
    """Indian is 20 points worse than everybody from the first day."""
    return 0.3 if accent == "indian" else 0.1


def closing_gap(accent: str, day: float) -> float:
    return wide_gap(accent, day) if day < 14 else 0.1


def on_gap(slices: SliceSettings = SLICES, **settings: object) -> Decider:
    return decider(slices, page_on_gap=True, **settings)


def gist(told: Sequence[Transition]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(t.state.value, t.level.value, t.slices) for t in told if t.kind == IncidentKind.DISPARITY]


def test_a_gap_pages_once_and_says_against_whom() -> None:
    """A signed parity objective that is broken; the page has the numbers of both sides."""
    told = feed(on_gap(), messages(wide_gap, days=20))
    pages = [t for t in told if t.level == Level.PAGE]
    assert [(t.kind, t.slices) for t in pages] == [(IncidentKind.DISPARITY, ("accent=indian",))]
    assert pages[0].reason == "gap_beyond_margin" and pages[0].evidence >= 1.0
    assert pages[0].wer is not None and pages[0].wer_rest is not None and pages[0].wer - pages[0].wer_rest > 0.1
    assert "points above the rest of the same tasks" in pages[0].summary


def test_a_gap_that_has_a_ticket_pages_under_the_same_name() -> None:
    """The ticket comes from a quarter of the persons here; a second incident would be a second cause."""
    told = [t for t in feed(on_gap(page_budget=0.01), messages(wide_gap, days=20)) if t.kind == IncidentKind.DISPARITY]
    assert gist(told) == [("firing", "ticket", ("accent=indian",)), ("firing", "page", ("accent=indian",))]
    assert told[0].incident == told[1].incident


def test_without_the_setting_it_is_a_ticket() -> None:
    """A gap of the first day is no news at 3 a.m."""
    assert gist(feed(decider(), messages(wide_gap, days=20))) == [("firing", "ticket", ("accent=indian",))]


def test_a_fault_of_the_group_has_its_own_page() -> None:
    """One cause, one page: drift says since when, and that is what can be rolled back."""
    told = feed(on_gap(), messages(lambda accent, day: 0.4 if accent == "england" and day > 8 else 0.1, days=20))
    assert [(t.kind, t.slices) for t in told if t.level == Level.PAGE] == [(IncidentKind.DRIFT, ("accent=england",))]


def test_who_declared_nothing_is_never_paged_for() -> None:
    """`unknown` is no group of people, and a harder site is no disparity."""
    worse = messages(wide_gap, days=16, declared=lambda accent, day: "unknown" if accent == "indian" else accent)
    assert not [t for t in feed(on_gap(), worse) if t.level == Level.PAGE]


def test_the_page_is_over_when_the_gap_is() -> None:
    """On-call must see that the fix worked, although the month before it was bad."""
    told = feed(on_gap(), messages(closing_gap, days=44, a_day=160))
    assert gist(told)[-1] == (IncidentState.RESOLVED, Level.PAGE, ("accent=indian",))
    assert [state for state, level, _ in gist(told) if level == "page"] == ["firing", "resolved"]


def run(made: Sequence[Message], cuts: Sequence[int] = ()) -> tuple[list[Transition], Documents]:
    """Fed in the order of arrival; at each cut a new decider restores the documents in any order."""
    watched, documents, told = on_gap(), Documents(), []
    hour = MARCH_2 + HOUR
    for position, message in enumerate(sorted(made, key=arrival)):
        if position in cuts:
            save(watched, documents)
            watched = on_gap()
            for table, key in random.Random(position).sample(sorted(documents), len(documents)):
                watched.restore(table, key, documents[table, key])
        while hour <= arrival(message) - HOUR:
            told += watched.look(hour)
            hour += HOUR
        take(watched, message)
    told += look_on(watched, hour)
    save(watched, documents)
    return told, documents


def test_cut_anywhere_and_restored_it_bets_on_bit_for_bit() -> None:
    """A restart must neither lose a page nor make one, nor spend a coin twice."""
    made = messages(wide_gap, days=12)
    told, documents = run(made, sorted(random.Random(5).sample(range(len(made)), 12)))
    assert (told, documents) == run(made)
    assert any(table == "gap_groups" for table, _ in documents)


def test_switched_off_it_lets_go_of_what_it_knew() -> None:
    """Switched on again, units of months ago would be compared with today's."""
    watched, documents = on_gap(), Documents()
    feed(watched, messages(wide_gap, days=4))
    save(watched, documents)
    again = decider()
    for (table, key), value in documents.items():
        again.restore(table, key, value)
    save(again, documents)
    assert not [table for table, _ in documents if table.startswith("gap_")]


def test_gaps_and_drift_share_one_budget() -> None:
    """The setting buys no pages beyond the promise."""
    watched = on_gap(page_budget=3.0, margin=0.2)
    feed(watched, messages(steady, days=16))
    granted, spent = watched.budget()
    assert 0.0 < spent <= granted <= 3.0 * 17 / 90
    assert sum(group.spent for group in watched._gap_bets) > 0.0
