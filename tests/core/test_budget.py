"""Budget: money is earned by time and can be taken once."""

from __future__ import annotations

import random

import pytest

from monitor.core.budget import DAY, Ledger
from monitor.core.drift import Watch

LEAST = 2e-4


def ledger(pages: float = 1.0) -> Ledger:
    account = Ledger(pages=pages, days=90.0)
    account.since = account.until = account.started = 0.0
    return account


def test_a_lonely_slice_of_each_depth_gets_all_of_its_share() -> None:
    """One overall, one one-way and one two-way slice together earn the whole budget in its time."""
    account = ledger()
    account.advance(90 * DAY, (1, 1, 1))
    assert sum(account.earned(depth, 90 * DAY) for depth in range(3)) == pytest.approx(1.0)
    assert account.granted() == pytest.approx(1.0)


def test_nothing_is_earned_while_nobody_bets() -> None:
    """Learning costs no budget."""
    account = ledger()
    account.advance(5 * DAY, (0, 0, 0))
    assert account.earned(1, 5 * DAY) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_no_history_of_slices_overspends(seed: int) -> None:
    """Slices come, learn again and vanish: what they take in all stays within what time has granted."""
    chance = random.Random(seed)
    account, now = ledger(), 0.0
    marks: list[tuple[int, float]] = []
    for _ in range(300):
        counts = [sum(depth == d for depth, _ in marks) for d in range(3)]
        before, now = now, now + chance.random() * DAY
        account.advance(now, counts)
        for k, (depth, mark) in enumerate(marks):
            if chance.random() < 0.5:
                earned = account.earned(depth, before + chance.random() * (now - before))
                account.spend(max(earned - mark, 0.0))
                marks[k] = (depth, max(earned, mark))
        if marks and chance.random() < 0.3:
            marks.pop(chance.randrange(len(marks)))
        if chance.random() < 0.5:
            depth = chance.randrange(3)
            marks.append((depth, account.earned(depth, now)))
        assert account.spent <= account.granted() + 1e-12


@pytest.mark.parametrize("pages", [0.25, 4.0])
def test_a_changed_budget_grants_from_now_on(pages: float) -> None:
    """A lower one must not turn what was spent into too much; a higher one must not make money of the past."""
    account = ledger()
    account.advance(45 * DAY, (1, 1, 1))
    account.spend(account.granted())
    account.allow(pages, 90.0)
    assert account.granted() == account.spent == pytest.approx(0.5)
    account.advance(90 * DAY, (1, 1, 1))
    assert account.granted() == pytest.approx(0.5 + pages / 2)
    assert sum(account.earned(depth, 90 * DAY) for depth in range(3)) == pytest.approx(0.5 + pages / 2)
    assert account.chance(44.5 * DAY, 45.5 * DAY) == pytest.approx(pages / 180)


def test_nobody_is_given_more_than_is_left() -> None:
    """Whatever asks too much, a mistake of ours included, the promise to the person on call holds."""
    account = ledger()
    account.advance(45 * DAY, (1, 1, 1))
    assert account.spend(0.4) == 0.4
    assert account.spend(0.4, by="calls", better=False) == pytest.approx(0.1)
    assert account.spend(0.4) == 0.0
    assert account.spent == account.granted()
    assert account.spent_better == pytest.approx(0.04) and account.others["calls"] == pytest.approx((0.1, 0.0))


def test_a_look_spends_nothing_that_is_not_there() -> None:
    """A slice that earned enough, in a ledger that others have emptied, must not be looked at for a millionth.

    Not only would that money be lost: telling a chance of a millionth takes hours of shuffling.
    """
    account, watch = ledger(), Watch(slice=(), learning_since=0.0)
    account.advance(0.0, (1, 0, 0))
    assert watch.look_money(account, LEAST) == 0.0  # it begins
    account.advance(20 * DAY, (1, 0, 0))
    account.spend(account.granted() - LEAST / 1_000)
    spent = account.spent
    assert watch.look_money(account, LEAST) == 0.0
    assert (account.spent, watch.spent) == (spent, 0.0)
    account.advance(21 * DAY, (1, 0, 0))
    assert watch.look_money(account, LEAST) == watch.spent == pytest.approx(account.spent - spent)
    assert watch.spent >= LEAST and account.spent <= account.granted()


@pytest.mark.parametrize("seed", range(5))
def test_looks_of_any_history_stay_within_the_ledger(seed: int) -> None:
    """Budgets that change, bets that empty the account, skipped days: given is the least or more, or nothing."""
    chance, account, watch, now, looks = random.Random(seed), ledger(), Watch(slice=(), learning_since=0.0), 0.0, 0
    for _ in range(300):
        account.allow(chance.choice([0.1, 1.0, 3.0]), 90.0)
        now += chance.random() * 3 * DAY
        account.advance(now, (1, 0, 0))
        account.spend(chance.random() * account.left())
        money = watch.look_money(account, LEAST)
        assert money == 0.0 or money >= LEAST
        assert account.spent <= account.granted() + 1e-12
        looks += money > 0.0
    assert looks > 10
