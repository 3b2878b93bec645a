"""The budget is the customer's: however many slices there are, together they may take what time has granted."""

from __future__ import annotations

import pytest

from monitor.core.budget import DAY, Ledger
from monitor.core.drift import LearnSettings
from monitor.core.watching import Watches
from tests.statistics.streams import START, slicing, stream


@pytest.mark.parametrize("watched", [(1, 1, 1), (1, 27, 231), (1, 200, 4_800)])
def test_slices_earn_together_what_time_grants(watched: tuple[int, int, int]) -> None:
    """Counted by slice, 259 slices would cost 259 pages, or the first to bet would leave the rest nothing."""
    ledger = Ledger(pages=1.0, days=90.0)
    ledger.since = ledger.until = ledger.started = 0.0
    for day in range(1, 31):
        ledger.advance(day * DAY, watched)
    earned = sum(count * ledger.earned(depth, 30 * DAY) for depth, count in enumerate(watched))
    assert earned == pytest.approx(ledger.granted()) == pytest.approx(1 / 3)


def test_slices_that_only_learn_take_nothing_from_the_others() -> None:
    """A share for every declared slice cost .13 of the power (statistics.md): most never have the labels to bet."""
    watches, ledger = Watches(slicing(), LearnSettings()), Ledger(pages=1.0, days=90.0)
    ledger.since = ledger.until = ledger.started = START
    rows = stream(1, units=100, days=2.0)
    watches.take(rows, [], START, rows[-1].ended_at, ledger)
    assert len(watches) > 20
    assert watches.drawing() == (0, 0, 0)
