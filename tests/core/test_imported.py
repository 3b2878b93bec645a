"""Imported baselines: they close at once, never overrule what was learned later, and a restart needs no file."""

from __future__ import annotations

import pytest

from monitor.core.deciding import Decider
from monitor.core.drift import Baseline
from monitor.core.imported import Offered
from monitor.core.records import Level, Slice
from tests.builders import DAY, MARCH_2
from tests.core.deciding_streams import Documents, Message, Rate, decider, feed, messages, save, steady

BEFORE = MARCH_2 - 30 * DAY


def learned(made: Decider) -> dict[Slice, Baseline]:
    return {slice_: baseline for slice_, baseline, _ in made.baselines()[1]}


@pytest.fixture(scope="module")
def offered() -> Offered:
    """What two quiet weeks taught, dated back by a month."""
    taught = decider()
    feed(taught, messages())
    moved = [
        (slice_, Baseline(one.rates, one.rho, one.scale, BEFORE, BEFORE + 6 * DAY))
        for slice_, one in learned(taught).items()
    ]
    return Offered(tuple(moved), DAY)


def worse_from(day: float) -> Rate:
    return lambda accent, at: steady(accent, at) * (3 if at >= day and accent == "england" else 1)


def told(made: list[Message], offered: Offered | None = None) -> list[tuple[float, tuple[str, ...]]]:
    """(day, slices) of each page."""
    watched = decider(offered={} if offered is None else {"acme": offered})
    return [((t.at - MARCH_2) / DAY, t.slices) for t in feed(watched, made) if t.level == Level.PAGE]


def test_a_fault_of_the_first_days_pages_only_with_an_import(offered: Offered) -> None:
    """Without one the slices learn the fault as their norm."""
    made = messages(worse_from(0.0), days=12.0, a_day=120)
    with_it = told(made, offered)
    assert with_it and with_it[0][0] < 8 and any("england" in name for name in with_it[0][1])
    assert told(made) == []


def test_an_import_is_of_its_customer(offered: Offered) -> None:
    """Another customer's level says nothing."""
    watched = decider(offered={"globex": offered})
    feed(watched, messages(days=3.0))
    assert learned(watched) == {}


def test_maturity_comes_along(offered: Offered) -> None:
    """Else a week passes before the first unit is closed, whatever was imported."""
    watched = decider(offered={"acme": offered}, maturity_seconds=None)
    feed(watched, messages(days=3.0), until=MARCH_2 + 4 * DAY)
    assert learned(watched) == dict(offered.baselines)


def test_what_was_learned_later_stays(offered: Offered) -> None:
    """An old file must not overrule a state that knows better."""
    watched, documents = decider(), Documents()
    feed(watched, messages(days=9.0))
    before = learned(watched)
    save(watched, documents)
    again = decider(offered={"acme": offered})
    for (table, key), value in documents.items():
        again.restore(table, key, value)
    again.look(MARCH_2 + 30 * DAY)
    assert before and learned(again) == before
    newer = Offered(
        tuple(
            (slice_, Baseline(one.rates, one.rho, one.scale, BEFORE, MARCH_2 + 20 * DAY))
            for slice_, one in offered.baselines
        )
    )
    again = decider(offered={"acme": newer})
    for (table, key), value in documents.items():
        again.restore(table, key, value)
    again.look(MARCH_2 + 30 * DAY)
    assert learned(again) == dict(newer.baselines)


def test_a_restart_without_the_file_goes_on_the_same(offered: Offered) -> None:
    """Bit for bit, slices included that come only after the restart."""
    made = messages(days=8.0, declared=lambda accent, day: "us" if accent == "england" and day < 4 else accent)
    early = [one for one in made if one.event_at < MARCH_2 + 3 * DAY]
    late = [one for one in made if one.event_at >= MARCH_2 + 3 * DAY]
    through, documents, again = decider(offered={"acme": offered}), Documents(), decider()
    first = feed(through, early, until=MARCH_2 + 3 * DAY)
    save(through, documents)
    for (table, key), value in reversed(documents.items()):
        again.restore(table, key, value)
    assert feed(through, late) == feed(again, late) and first == []
    kept = dict(documents)
    save(through, documents)
    save(again, kept)
    assert documents == kept and (("accent", "england"),) in learned(again)


def test_a_slice_whose_level_changed_since_does_not_go_back(offered: Offered) -> None:
    """An improvement re-opens learning: the imported level is the old one."""
    made = messages(lambda accent, day: steady(accent, day) * (0.2 if day >= 2 else 1), days=20.0, a_day=150, seed=3)
    watched = decider(offered={"acme": offered}, page_budget=20.0)
    feed(watched, made)
    assert learned(watched)[()] != dict(offered.baselines)[()]
    assert learned(watched)[()].learned_from > MARCH_2


def test_imports_cost_what_time_grants(offered: Offered) -> None:
    """Closing at once must not bet money that nobody granted."""
    watched = decider(offered={"acme": offered})
    feed(watched, messages(days=10.0))
    granted, spent = watched.budget()
    assert 0.0 < spent <= granted
