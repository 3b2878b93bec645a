"""Few calls: one look a day at the customer's whole budget pages as rarely as it says."""

from __future__ import annotations

import math

import pytest

from monitor.core.records import IncidentState, Level
from tests.core.deciding_streams import CALLS, calls, decider, feed


@pytest.mark.slow
def test_calls_page_within_their_budget() -> None:
    """40 customers of 3 calls a day with whom nothing happens: 3.1 standard deviations above the money spent."""
    paged, spent = 0, 0.0
    for seed in range(100, 140):
        watched = decider(CALLS)
        told = feed(watched, calls(seed))
        paged += sum(t.level == Level.PAGE and t.state == IncidentState.FIRING for t in told)
        spent += watched.budget()[1]
    assert paged <= spent + 3.1 * math.sqrt(spent)


@pytest.mark.slow
def test_a_sector_five_times_worse_pages_within_five_days() -> None:
    """44 real calls, one sector x5: paged after 3 corrected calls. Here 10 of 10 when written."""
    named = 0
    for seed in range(200, 210):
        told = feed(decider(CALLS), calls(seed, worse_from=10.0))
        named += any(t.level == Level.PAGE and t.slices == ("sector=tech",) for t in told)
    assert named >= 8
