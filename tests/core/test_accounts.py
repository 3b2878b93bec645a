"""The account: whoever asks sees where each part of a promised false page went, and nothing makes money."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest

from monitor.core.budget import DAY as BUDGET_DAY
from monitor.core.deciding import Decider
from monitor.core.records import Account
from monitor.core.slicing import SliceSettings
from tests.builders import DAY, HOUR, MARCH_2
from tests.core.deciding_streams import (
    CALLS,
    SLICES,
    Documents,
    Message,
    arrival,
    calls,
    decider,
    feed,
    messages,
    save,
    take,
)

EXACT = 1e-12
"""A thousandth of the rounding of a million bets: the sums are of numbers below 1, added in another order."""


def audited(
    made: Iterable[Message], budgets: Sequence[tuple[float, float]], seed: int, slices: SliceSettings = SLICES
) -> tuple[list[Account], Decider]:
    """The account at every look; on about every fourth day the decider restarts with another of the budgets."""
    chance = random.Random(seed)
    documents: Documents = {}
    watched = decider(slices, page_budget=budgets[0][0], page_budget_days=budgets[0][1])
    seen: list[Account] = []
    hour = MARCH_2 + HOUR
    for message in sorted(made, key=arrival):
        while hour <= arrival(message) - HOUR:
            watched.look(hour)
            seen.append(watched.account())
            hour += HOUR
            if chance.random() < 1 / 96:
                save(watched, documents)
                pages, days = chance.choice(budgets)
                watched = decider(slices, page_budget=pages, page_budget_days=days)
                for (table, key), value in documents.items():
                    watched.restore(table, key, value)
        take(watched, message)
    return seen, watched


def check(seen: Sequence[Account], budgets: Sequence[tuple[float, float]]) -> None:
    """Spent is what slices and looks spent, within what was granted; time grants at a configured rate at the most."""
    fastest = max(pages / days for pages, days in budgets) / BUDGET_DAY
    before: Account | None = None
    for account in seen:
        spent = sum(spender.worse.spent for spender in account.spenders)
        mirrored = sum(spender.better.spent for spender in account.spenders)
        assert abs(spent - account.worse.spent) <= EXACT and abs(mirrored - account.better.spent) <= EXACT
        # Looks at small slices and bets on gaps have no mirror image.
        assert account.better.spent <= account.worse.spent / 10 + EXACT
        assert account.worse.spent <= account.worse.granted
        assert sum(spender.worse.granted for spender in account.spenders) <= account.worse.granted + EXACT
        if before is not None:
            assert before.worse.spent <= account.worse.spent
            passed = account.until - (before.until or MARCH_2)
            assert 0.0 <= account.worse.granted - before.worse.granted <= fastest * max(passed, 0.0) + EXACT
        before = account


@pytest.mark.parametrize("seed", range(3))
def test_no_stream_restart_or_setting_overspends(seed: int) -> None:
    """At every look, with accents that come later and a level that jumps to and fro (re-openings included)."""
    chance = random.Random(seed)
    levels = [chance.choice((0.03, 0.1, 0.25)) for _ in range(30)]
    made = messages(
        lambda accent, day: levels[int(day)] * (2 if accent == "indian" else 1),
        days=24.0,
        a_day=70,
        seed=seed,
        accents=("us", "us", "england", "indian", "scottish"),
        declared=lambda accent, day: "us" if accent == "scottish" and day < 6 else accent,
    )
    budgets = ((1.0, 90.0), (30.0, 90.0), (0.2, 90.0), (1.0, 10.0))
    seen, watched = audited(made, budgets, seed)
    check(seen, budgets)
    assert watched.budget()[1] > 0.0
    assert any(spender.slice == "accent=scottish" for spender in watched.account().spenders)


def test_calls_spend_the_same_budget() -> None:
    """The daily look at few long units is a spender like any other, and has a name."""
    budgets = ((1.0, 90.0), (4.0, 90.0))
    seen, watched = audited(calls(3), budgets, 3, CALLS)
    check(seen, budgets)
    assert [spender.by for spender in watched.account().spenders] == ["calls"]


def test_up_down_up_and_back_makes_no_money() -> None:
    """Settings that come and go between two looks leave the account as if they had never been."""
    made = messages(days=12.0, seed=5)
    undisturbed, other = decider(), decider()
    last = MARCH_2 + 12 * DAY
    feed(undisturbed, made, until=last), feed(other, made, until=last)
    documents: Documents = {}
    for pages, days in ((9.0, 90.0), (0.1, 90.0), (9.0, 1.0), (1.0, 90.0)):
        save(other, documents)
        other = decider(page_budget=pages, page_budget_days=days)
        for (table, key), value in documents.items():
            other.restore(table, key, value)
        assert other.budget() == pytest.approx(undisturbed.budget())
    undisturbed.look(last + 2 * DAY), other.look(last + 2 * DAY)
    assert other.budget() == pytest.approx(undisturbed.budget())
    assert undisturbed.budget()[1] > 0.0
