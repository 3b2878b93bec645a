"""90 days of 259 overlapping slices with whom nothing changes: the promise as it is made to the person on call."""

from __future__ import annotations

import math

import pytest

from tests.statistics.quiet_customers import NULLS, counted


def test_a_quiet_customer_pages_within_its_budget() -> None:
    """Two customers whose sessions vary by .6: 1.9 expected pages at the most, 8 or more with probability .001."""
    found = counted(range(40, 42), NULLS["session effect .6"])
    assert found.alarms <= 7


@pytest.mark.slow
@pytest.mark.parametrize("null", NULLS)
def test_quiet_customers_page_within_their_budget(null: str) -> None:
    """25 customers of each kind, 20 million utterances over all kinds: 3.1 standard deviations above the money."""
    seeds = range(10_000, 10_025)
    found = counted(seeds, NULLS[null])
    print(null, found)  # the counts of docs/benchmarks.md
    assert found.alarms <= found.money + 3.1 * math.sqrt(found.money)
