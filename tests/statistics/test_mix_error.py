"""A stratum learned from few units that takes half of the traffic: its error is the slice's then, and is priced so."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from monitor.core.mix_error import Mix, prices
from tests.statistics.sparse_strata import AFTER, NULLS, WORLDS, Seen, Shift, streams

LABELS = 1_000
"""In a fortnight: the rare accent's strata are learned from 5 to 13 units."""


def rare_accent_grows(seeds: range, *, interaction: bool, pages: float = 1.0) -> Seen:
    shift = NULLS["the same, interaction .3" if interaction else "rare hard accent takes half"]
    return streams(WORLDS["18"], seeds, LABELS, AFTER, pages=pages, shift=shift)


def at_most(expected: float) -> float:
    """Poisson: passed once in 1,000 runs."""
    return expected + 3.1 * math.sqrt(expected)


def test_the_learned_mix_costs_what_it_did() -> None:
    """Else every slice would pay for a change that there was not: nine of ten units in one stratum, then and now."""
    learned = [[("common" if number % 10 else "rare", 2.0)] for number in range(200)]
    priced, mix = prices(learned), Mix()
    for unit in learned:
        mix.note(unit, priced)
    assert mix.stretch() == pytest.approx(1.0, abs=0.05)


def test_what_grows_costs_its_own_error() -> None:
    """By hand: 20 of 200 units know a rate sqrt(10) times worse than 200 do."""
    learned = [[("common" if number % 10 else "rare", 2.0)] for number in range(200)]
    priced, mix = prices(learned), Mix()
    for _ in range(2_000):
        mix.note([("rare", 2.0)], priced)
    assert mix.stretch() == pytest.approx(math.sqrt(10.0), rel=1e-6)


def test_one_stratum_has_one_mix() -> None:
    """Most slices are one accent at one site: nothing is kept for them."""
    assert prices([[("only", 1.0)], [("only", 3.0)]]) == {}


def test_the_mix_survives_a_restart() -> None:
    """Bit for bit, through the moment at which its numbers are made smaller as well."""
    random, priced = np.random.default_rng(1), {"a": 0.5, "b": 3.0, "c": 9.0}
    whole, restored = Mix(), Mix()
    for _ in range(3_000):
        unit = [(str(random.choice(["a", "b", "c"])), float(random.random()))]
        whole.note(unit, priced)
        restored = msgspec.msgpack.decode(msgspec.msgpack.encode(restored), type=Mix)
        restored.note(unit, priced)
    assert restored == whole and whole.stretch() >= 1.0


def test_an_accent_that_grows_is_neither_worse_nor_better() -> None:
    """60 streams with money for .9 pages: 5 pages and 5 improvements before, 2 and none now."""
    seen = rare_accent_grows(range(60), interaction=True)
    assert seen.spent < 1.0 and seen.better == 0
    assert seen.worse <= at_most(0.93)


@pytest.mark.slow
@pytest.mark.parametrize("interaction", [False, True])
def test_an_accent_that_grows_is_neither_worse_nor_better_at_length(interaction: bool) -> None:
    """800 streams with money for 12.4 pages and 1.2 improvements."""
    seen = rare_accent_grows(range(1_000, 1_800), interaction=interaction)
    print(
        f"interaction {interaction}: {seen.worse} worse of {seen.spent:.1f}, {seen.better} better of {seen.spent / 10}"
    )
    assert seen.worse <= at_most(seen.spent)
    assert seen.better <= at_most(seen.spent / 10)


@pytest.mark.slow
def test_a_fault_of_everybody_is_found_as_often() -> None:
    """x1.5 of all within a week, 1,000 labels: .65 of 60 streams before, .63 now; 3 standard errors of 100 are .14."""
    seen = streams(WORLDS["18"], range(5_000, 5_100), LABELS, AFTER, pages=1.0, shift=Shift(), factor=1.5)
    print(f"x1.5: {seen.paged} of 100")
    assert seen.paged >= 100 * (0.63 - 0.14)
