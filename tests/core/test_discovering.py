"""Discovering: what one half guesses, the other half must confirm."""

from __future__ import annotations

import numpy as np

from monitor.core.discovering import Search, discover
from tests.statistics.persons import persons

NAMES = ("accent", "deployment", "device", "age")
TRACKED = (("accent",), ("deployment",), ("accent", "deployment"))
PHONE = (("accent", "yoruba"), ("device", "phone"))


def search(seed: int, depth: int = 2, **world: float) -> Search:
    cells, whose = persons(seed, count=1000, accent_gap=world.get("accent_gap", 0), pair_gap=world.get("pair_gap", 0))
    return discover(cells, whose, NAMES, TRACKED, ("accent", "deployment"), ("age",), depth)


def test_a_combination_that_nobody_tracks_is_found() -> None:
    """Yoruba speakers on phones have three times the WER, and no slice shows them alone."""
    found = search(2, pair_gap=0.24).found
    assert PHONE in [one.slice for one in found]
    assert found[0].gap.low(0.05) > 0.05


def test_what_a_tracked_slice_explains_is_not_found() -> None:
    """A bad accent makes every combination with it look bad: that slice has its ticket already."""
    assert not any(search(seed, accent_gap=0.2).found for seed in range(3))


def test_few_persons_are_no_evidence() -> None:
    """Nothing found among too few would read as nothing there."""
    cells, whose = persons(1, count=30)
    found = discover(cells, whose, NAMES, TRACKED, ("deployment",), (), 3)
    assert (found.combinations > 0, found.large_enough, found.tested) == (True, 0, ())


def test_asking_again_gives_the_same_answer() -> None:
    """A split by chance anew would let somebody ask until it says what they want, and row order must not matter."""
    cells, whose = persons(5, count=400, pair_gap=0.3)
    order = np.random.default_rng(0).permutation(len(cells))
    again = discover(
        cells.select(order), [whose[row] for row in order], NAMES, TRACKED, ("accent", "deployment"), ("age",), 2
    )
    first = discover(cells, whose, NAMES, TRACKED, ("accent", "deployment"), ("age",), 2)
    assert [(one.slice, one.found) for one in again.tested] == [(one.slice, one.found) for one in first.tested]


def test_unknown_is_part_of_no_combination() -> None:
    """Who did not say has nothing in common with the others who did not."""
    cells, whose = persons(3, count=400)
    cells.labels["device"][:] = "unknown"
    names = ("device", "age")
    assert discover(cells, whose, names, (("age",),), (), (), 2).combinations == 0
