"""Forty calls, and five of them bad: what can be said, and how often it is said of nothing."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.cells import Cells
from monitor.core.explaining import ExplainSettings, most_general
from monitor.core.few_units import FewLook, scan_few
from monitor.core.groupings import DAY
from monitor.core.slicing import slice_name
from tests.builders import cells_of

NOW = 20 * DAY
SETTINGS = ExplainSettings()


def calls(*, units: int = 40, words: float = 3000.0, factor: float = 1.0, spread: float = 0.3, seed: int = 0) -> Cells:
    """Calls of sectors a to e over 20 days; sector a has `factor` times its errors in the last 4 days."""
    random = np.random.default_rng(seed)
    sector = np.array([*"abcde"], object)[np.arange(units) % 5]
    ended_at = np.linspace(0.2, 19.9, units) * DAY
    bad = (sector == "a") & (ended_at > NOW - 4 * DAY)
    rate = 0.15 * np.exp(random.normal(0.0, spread, units)) * np.where(bad, factor, 1.0)
    return cells_of(
        unit=np.arange(units),
        errors=random.poisson(rate * words).astype(float),
        words=np.full(units, words),
        ended_at=ended_at,
        utterances=np.full(units, 300),
        labels={"sector": sector},
        person=np.arange(units),
    )


def look(cells: Cells, seed: int | None = 1, sign: float = 1.0) -> FewLook:
    epoch = np.zeros(len(cells), np.int64)
    return scan_few(cells, (("sector",),), ("sector",), epoch, NOW, SETTINGS, seed, sign)


def test_a_sector_whose_calls_became_far_worse_is_paged_and_named() -> None:
    """Two bad calls of one sector are all that a week brings: they must be enough when they are five times as bad."""
    found = look(calls(factor=5.0))
    assert found.p <= 1 / 90
    row = most_general(found.explanation)
    assert row is not None and slice_name(row.slice) == "sector=a"
    # Two calls against six, log spread .3: the log ratio is off by .3 x sqrt(1/2 + 1/6) = .24; twice is a factor 1.6.
    assert 5.0 / 1.6 < row.ratio < 5.0 * 1.6


def test_p_values_of_nothing_are_uniform_where_pages_are_decided() -> None:
    """A page at p <= B / 90 is only worth its budget if p is what it says."""
    # Binomial(200, .1) is within 8 and 35 but for .1 % on each side.
    small = sum(look(calls(seed=seed), seed=1000 + seed).p <= 0.1 for seed in range(200))
    assert 8 <= small <= 35


def test_the_same_seed_gives_the_same_p_and_another_one_nearly() -> None:
    """Randomness is data: a replay must page exactly where the first run did."""
    cells = calls(factor=2.0)
    first, again, other = look(cells, 1).p, look(cells, 1).p, look(cells, 2).p
    assert first == again != other
    # Two counts of 1,999 draws: 4 standard errors of their difference.
    assert abs(first - other) < 4 * np.sqrt(2 * first * (1 - first) / 1999)


def test_without_a_seed_there_is_an_explanation_and_no_page() -> None:
    """An open incident is explained again without buying another look."""
    found = look(calls(factor=5.0), seed=None)
    assert found.p == 1.0 and found.explanation.ranked


def test_calls_that_became_better_are_found_by_the_other_sign_only() -> None:
    """The same contrast, reversed: it resolves an incident and pages nobody."""
    cells = calls(factor=0.2)
    better = look(cells, sign=-1.0)
    assert better.p <= 1 / 90 and slice_name(better.explanation.ranked[0].slice) == "sector=a"
    assert look(cells).p > 1 / 90


@pytest.mark.parametrize(("units", "words"), [(5, 3000.0), (40, 150.0), (9, 3000.0)])
def test_too_few_or_too_short_calls_say_nothing(units: int, words: float) -> None:
    """Under 8 cells of 200 words, or with a sector to each call, no spread can be told."""
    assert look(calls(units=units, words=words)).p == 1.0


def test_the_contrast_is_the_regression_on_the_centred_window() -> None:
    """The formula of the design restated with dense vectors, for one slice and window."""
    cells = calls(factor=3.0)
    row = look(cells, seed=None).explanation.table[(("sector", "a"),), 4]
    logs = np.log((cells.errors + 0.5) / cells.words)
    window = ((cells.labels["sector"] == "a") & (cells.ended_at > NOW - 4 * DAY)).astype(float)
    for sector in "abcde":
        inside = cells.labels["sector"] == sector
        logs[inside] -= logs[inside].mean()
        window[inside] -= window[inside].mean()
    slope = (window @ logs) / (window @ window)
    freedom = 40 - 5 - 1
    gain = -(freedom + 1) / 2 * np.log(1 - slope**2 * (window @ window) / (logs @ logs))
    assert row.ratio == pytest.approx(np.exp(slope))
    assert row.llr == pytest.approx(gain)
    assert row.score == pytest.approx(gain - np.log(5 / 0.5) + np.log(1 / 0.2))


def test_p_is_the_chance_of_so_good_a_score_among_normal_draws() -> None:
    """The whole look restated with dense vectors: every slice and window, tolls included, other draws."""
    cells = calls(factor=1.7, seed=2)
    found = look(cells)
    centring = np.eye(40) - (cells.labels["sector"][:, None] == cells.labels["sector"]) / 8
    contrasts, tolls = [], []
    for slice_, days in found.explanation.table:
        inside = np.array([not slice_ or slice_[0][1] == value for value in cells.labels["sector"]])
        contrasts.append(centring @ (inside & (cells.ended_at > NOW - days * DAY)))
        tolls.append(np.log(2.0) if slice_ else 0.0)
    z = np.array(contrasts)
    draws = centring @ np.random.default_rng(99).standard_normal((40, 4000))
    explained = (z @ draws) ** 2 / (z**2).sum(axis=1)[:, None] / (draws**2).sum(axis=0)
    scores = np.where(z @ draws > 0, -17.5 * np.log(1 - explained), 0.0) - np.array(tolls)[:, None]
    p = float((scores.max(axis=0) >= found.explanation.ranked[0].score).mean())
    # Counts of 1,999 and of 4,000 draws: 4 standard errors of their difference.
    assert found.p == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) * (1 / 1999 + 1 / 4000)))
    assert 0.01 < p < 0.5, "the fixture is neither sure nor nothing"
