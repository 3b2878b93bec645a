"""Discovering: how often it finds what is not there, and what is."""

from __future__ import annotations

import pytest

from tests.core.test_discovering import PHONE, search

pytestmark = pytest.mark.slow

RUNS = 200


@pytest.mark.parametrize("accent_gap", [0.0, 0.1])
def test_nothing_is_found_where_nothing_untracked_is_worse(accent_gap: float) -> None:
    """At most .05 of runs, with a bad tracked accent and without; at exactly .05, 16 of 200 have a chance of .03."""
    found = sum(bool(search(1000 + seed, depth=3, accent_gap=accent_gap).found) for seed in range(RUNS))
    print(f"discover, nothing untracked worse, accent gap {accent_gap}: {found} of {RUNS}")
    assert found <= 16


def test_a_doubled_and_a_tripled_pair_are_found() -> None:
    """33 of 1,000 persons have the gap: 17 to propose, 17 to test."""
    for gap, least in ((0.24, 0.5), (0.36, 0.8)):
        runs = [search(2000 + seed, depth=2, pair_gap=gap).found for seed in range(50)]
        named = sum(any(one.slice == PHONE for one in found) for found in runs)
        print(f"discover, .12 -> {0.12 + gap:.2f} for 33 of 1,000 persons: {named} of 50")
        assert named >= least * 50
