"""Power: what a page budget of 1 in 90 days leaves of the speed of an oracle.

Tolerances: with 40 streams a share of .8 has a standard error of .063; each bound is 3 of them below what statistics.md
reports for the same rules, so a fixed seed fails only if the detector got worse.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from monitor.core.records import Slice
from tests.statistics.streams import ACCENTS, DAY, START, pages, stream, watched

ENGLAND: Slice = (("accent", "england"),)


def found_share(seeds: range, units: int, factors: Mapping[str, float], slices: tuple[Slice, ...]) -> float:
    """Share of streams in which one of the slices alarms within the 7 days after the change."""
    hits = 0
    for seed in seeds:
        found, _ = watched(stream(seed, units=units, factors=factors))
        hits += any(alarm.slice in slices and alarm.ended_at > START + 7 * DAY for alarm in pages(found))
    return hits / len(seeds)


def test_a_doubled_accent_is_found_with_two_hundred_labels_a_week() -> None:
    """England has a fifth of 2,000 units in 14 days. The design reports .80; 10 streams, so 6 of them are enough."""
    assert found_share(range(10), 2000, {"england": 2.0}, (ENGLAND,)) >= 0.6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "factor", "share"), [(2000, 2.0, 0.61), (2000, 3.0, 0.90), (5000, 1.5, 0.45), (1000, 3.0, 0.25)]
)
def test_power_of_an_accent_by_labels_and_size(units: int, factor: float, share: float) -> None:
    """statistics.md: 200 labels x2 .80, x3 .98; 500 x1.5 .65; 100 x3 .42."""
    assert found_share(range(300, 340), units, {"england": factor}, (ENGLAND,)) >= share


@pytest.mark.slow
def test_a_fault_of_everybody_is_found_sooner_than_any_accents() -> None:
    """x1.5 of all traffic within a week: the large slices have the evidence."""
    factors = dict.fromkeys(ACCENTS, 1.5)
    assert found_share(range(400, 420), 2000, factors, ((),)) >= 0.8
