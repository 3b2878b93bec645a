"""Gaps that page: what everybody shares is none, what one group has is found, and false ones stay within the money."""

from __future__ import annotations

import math
from statistics import median

import pytest

from tests.statistics.gap_streams import DAY, START, gaps_found, stream

YORUBA = (("accent", "yoruba"),)

NO_GAP: dict[str, dict[str, float]] = {
    "everybody doubles": {"common_day": 14.0},
    "everybody doubles, half of all": {"common_day": 14.0, "share": 0.5},
    "the mix shifts": {"mix_day": 14.0},
    "nothing happens": {},
}
AT_THE_MARGIN: dict[str, dict[str, float]] = {
    "independent": {"effect": 0.0},
    "clustered": {"effect": 0.3},
    "heavily clustered": {"effect": 0.6},
    "weighted": {"effect": 0.3, "weights": True},
    "everybody doubles": {"effect": 0.3, "common_day": 14.0},
    "half of all": {"effect": 0.3, "share": 0.5},
}


def pages_without_a_gap(null: str, streams: int) -> int:
    streamed = (stream(seed, **NO_GAP[null]) for seed in range(streams))  # type: ignore[arg-type]
    return sum(len(gaps_found(rows)[0]) for rows in streamed)


def false_pages(seeds: range, **changes: float) -> tuple[int, float]:
    """At 30 times the product's budget, with a gap of exactly the margin, which is none: gaps found, money spent."""
    total, spent = 0, 0.0
    for seed in seeds:
        found, money = gaps_found(stream(seed, gap=0.05, **{"share": 0.3, **changes}), pages=30.0)  # type: ignore[arg-type]
        total += len(found)
        spent += money
    return total, spent


def labels_until_paged(seed: int, margin: float, **changes: float) -> int | None:
    """Labelled units of the group from the beginning of its gap to its page; None: not within the stream."""
    rows = stream(seed, **changes)  # type: ignore[arg-type]
    since = START + changes.get("gap_day", 0.0) * DAY
    pages = [gap.ended_at for gap in gaps_found(rows, margin=margin)[0] if gap.slice == YORUBA and gap.ended_at > since]
    return sum(row.labels[0] == "yoruba" and since < row.ended_at <= pages[0] for row in rows) if pages else None


@pytest.mark.parametrize("null", ["everybody doubles", "the mix shifts"])
def test_what_all_groups_share_pages_no_gap(null: str) -> None:
    """.12 to .24 for everybody is drift, a harder mix is neither: 20 streams, whose budget for gaps is 1.1 in all."""
    assert pages_without_a_gap(null, 20) == 0


def test_a_gap_of_12_points_is_paged_within_a_few_hundred_labels() -> None:
    """The team signed 5 points. Measured: 200 of 200 streams, after 125 of the group's units in the median."""
    delays = [labels_until_paged(seed, 0.05, gap=0.12) for seed in range(5)]
    assert all(delay is not None and delay < 300 for delay in delays)


def test_false_pages_stay_within_the_money() -> None:
    """Poisson: 3.1 standard deviations above the money are passed once in 1,000 runs."""
    total, spent = false_pages(range(6))
    assert total <= spent + 3.1 * math.sqrt(spent)


@pytest.mark.slow
@pytest.mark.parametrize("null", NO_GAP)
def test_what_all_groups_share_pages_no_gap_at_length(null: str) -> None:
    """200 streams of 4,000 units in 28 days. Their money for gaps is 11 pages; without a gap hardly any is lost."""
    assert pages_without_a_gap(null, 200) == 0


@pytest.mark.slow
@pytest.mark.parametrize("null", AT_THE_MARGIN)
def test_false_pages_stay_within_the_money_at_length(null: str) -> None:
    """The worst case, a gap of exactly the margin, on 100 streams: as above."""
    total, spent = false_pages(range(1000, 1100), **AT_THE_MARGIN[null])
    assert total <= spent + 3.1 * math.sqrt(spent)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gap", "margin", "paged", "delay"), [(0.05, 0.02, 186, 234), (0.08, 0.05, 183, 244), (0.12, 0.05, 200, 125)]
)
def test_gaps_are_paged_within_a_few_hundred_labels_at_length(
    gap: float, margin: float, paged: int, delay: float
) -> None:
    """Counts of 200 streams and median labels when written; 50 streams are allowed 3 standard errors of the count."""
    delays = [labels_until_paged(seed, margin, gap=gap) for seed in range(50)]
    found = [each for each in delays if each is not None]
    share = paged / 200
    assert len(found) >= 50 * share - 3 * math.sqrt(50 * share * (1 - share))
    # The quartiles lie a quarter of the median around it: the median of 50 has a standard error of 4 % of it.
    assert median(found) <= 1.12 * delay
