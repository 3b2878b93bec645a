"""Decides what is said of a customer's budget: granted, spent and left, by slice and direction.

A slice is granted what it has taken and what waits for its next bet. What time granted while nobody bet (days of
learning, depths without a slice, shares given up when learning was re-opened) is nobody's, and is never made up for.
"""

from __future__ import annotations

from collections.abc import Iterable

from monitor.core.budget import BETTER_PART, Ledger
from monitor.core.drift import LOOK_PART, Watch
from monitor.core.records import Account, Money, Spender
from monitor.core.slicing import slice_name

DRIFT = "drift"
CALLS = "calls"
"""The daily look at few long units."""


def account_of(customer: str, ledger: Ledger, watches: Iterable[Watch]) -> Account:
    """The account as the last look left it; spenders from the most general slice on."""
    granted = ledger.granted()
    return Account(
        customer=customer,
        pages=ledger.pages,
        days=ledger.days,
        since=ledger.since,
        until=ledger.until,
        worse=Money(granted, ledger.spent),
        better=Money(granted / BETTER_PART, ledger.spent_better),
        spenders=(
            *(_slice(watch, ledger) for watch in watches if watch.baseline is not None or watch.spent),
            *(
                Spender("all", purpose, Money(worse, worse), Money(better, better))
                for purpose, (worse, better) in sorted(ledger.others.items())
            ),
        ),
    )


def _slice(watch: Watch, ledger: Ledger) -> Spender:
    waiting = looks = 0.0
    earned = ledger.earned(watch.depth, ledger.until)
    if watch.baseline is not None:
        waiting = max(earned - watch.earned, 0.0) * (1.0 - LOOK_PART if watch.looks else 1.0)
    if watch.looks:
        looks = max(earned - watch.looked, 0.0) * LOOK_PART
    return Spender(
        slice_name(watch.slice),
        DRIFT,
        Money(watch.spent + waiting + looks, watch.spent),
        Money(watch.spent_better + waiting / BETTER_PART, watch.spent_better),
    )
