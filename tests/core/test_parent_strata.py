"""Small strata: guessed from their dimensions where labels are sparse, and never from what was not seen."""

from __future__ import annotations

import pytest

from monitor.core.drift import LearnSettings, StratumSums, UnitSums, learn
from monitor.core.parent_strata import Cell, fit

LEVELS = {"us": 0.1, "welsh": 0.2}
SITES = {"north": 1.0, "south": 1.5}


def cells(units: int = 20) -> dict[str, Cell]:
    """Every accent at every site, exactly at the product of their levels; Welsh in the south was never heard."""
    return {
        f"{accent}\x1f{site}": Cell(level * factor * 1000, 1000, units)
        for accent, level in LEVELS.items()
        for site, factor in SITES.items()
        if (accent, site) != ("welsh", "south")
    }


def sparse(per_stratum: int, strata: int = 12) -> list[UnitSums]:
    """Accents by sites, all of them with this few units, every other unit with twice the errors."""
    return [(StratumSums(f"a{k % 4}\x1fs{k // 4 % 3}", 1 + k // strata % 2, 10),) for k in range(strata * per_stratum)]


def test_a_product_of_levels_is_met_exactly() -> None:
    """Also of a combination that nobody has heard yet."""
    parents = fit(cells(), 0.0)
    assert parents is not None
    assert parents.rate("us\x1fnorth") == pytest.approx(0.1, rel=1e-3)
    assert parents.rate("welsh\x1fsouth") == pytest.approx(0.3, rel=1e-3)


def test_a_value_that_was_hardly_heard_is_not_guessed() -> None:
    """A new accent that arrives is mix, not drift: it must give no evidence."""
    few = cells()
    few["yoruba\x1fnorth"] = Cell(300, 1000, 11)
    parents = fit(few, 0.0)
    assert parents is not None
    assert parents.rate("yoruba\x1fnorth") is None and parents.rate("new\x1fsouth") is None
    assert fit({"us": Cell(100, 1000, 50)}, 0.0) is None, "one dimension: its levels are the strata themselves"


def test_caution_makes_a_guess_higher() -> None:
    """What is guessed too low looks like drift as soon as its share grows."""
    exact, careful = fit(cells(), 0.0), fit(cells(), 4.0)
    assert exact is not None and careful is not None
    low, high = exact.rate("us\x1fsouth"), careful.rate("us\x1fsouth")
    assert low is not None and high is not None and high > 1.05 * low


def test_a_slice_of_small_strata_is_not_blind() -> None:
    """Seven units in each stratum gave no baseline at all before."""
    assert learn(sparse(7), LearnSettings(learned_share_min=0.0)) is None
    found = learn(sparse(7), LearnSettings())
    assert found is not None and found.rates == {} and found.parents is not None
    assert found.expectation((StratumSums("a0\x1fs0", 3, 10),))[0] == pytest.approx(1.5, rel=0.2)


def test_where_strata_are_known_nothing_is_guessed() -> None:
    """A guess costs power: the baseline is the one it has always been."""
    assert learn(sparse(12), LearnSettings()) == learn(sparse(12), LearnSettings(learned_share_min=0.0))
