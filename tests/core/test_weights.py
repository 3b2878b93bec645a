"""Unequal sampling: weights correct shares, and never make few corrections look like many or chance like a change."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from monitor.core.cells import Cells
from monitor.core.explaining import ExplainSettings, expected, explain
from monitor.core.few_units import scan_few
from monitor.core.standing_gaps import GapSettings, gaps, margin_of, verdict
from tests.builders import DAY, HOUR, MARCH_2, cells_of, observation
from tests.core.deciding_streams import decider

ACCENTS = ("us", "indian")


def weighted(cells: Cells, weight: np.ndarray) -> Cells:
    """The same corrections when each cell stands for so many: scaled like those of a decider."""
    scale = weight * cells.words.sum() / (weight * cells.words).sum()
    return dataclasses.replace(
        cells,
        errors=cells.errors * scale,
        words=cells.words * scale,
        kinds=cells.kinds * scale[:, None],
        spoken=cells.words,
    )


def calls(seed: int, words_least: float = 200.0) -> Cells:
    """Four calls a day for 16 days, of two accents, with 4 to 8 errors each."""
    random = np.random.default_rng(seed)
    rate = 4.0 / words_least
    words = words_least * (1.0 + random.random(64))
    accent = np.array([ACCENTS[k % 2] for k in range(64)], object)
    errors = random.poisson(rate * words * random.gamma(8.0, 1 / 8.0, 64)).astype(float)
    ended_at = MARCH_2 + np.arange(64) * DAY / 4
    return cells_of(np.arange(64), errors, words, ended_at, np.full(64, 30), {"accent": accent}, np.arange(64))


def test_a_sampling_rate_that_moves_is_no_change_of_calls() -> None:
    """Log rates add half an error: were it half of a weighted one, the calls of a busier week would all look better."""
    any_size = ExplainSettings(relative_change_min=0.0, absolute_change_min=0.0)
    chances = []
    for seed in range(40):
        cells = calls(seed, 4_000.0)
        moved = weighted(cells, np.where(cells.ended_at > MARCH_2 + 8 * DAY, 20.0, 1.0))
        look = scan_few(
            moved, [("accent",)], ("accent",), np.zeros(64, np.int64), MARCH_2 + 16 * DAY, any_size, seed, -1.0
        )
        chances.append(look.p)
    # 40 chances of .05: 2 in the mean, 8 or more once in 1,000.
    assert sum(chance <= 0.05 for chance in chances) <= 7


SETTINGS = ExplainSettings()


def test_calls_count_by_what_was_said_in_them() -> None:
    """200 words of a call are 200 words, whatever share of such calls is corrected."""
    cells = weighted(calls(1), np.where(np.arange(64) % 2, 20.0, 1.0))
    parts = ([("accent",)], ("accent",), np.zeros(64, np.int64), MARCH_2 + 16 * DAY, SETTINGS, None)
    judged = {slice_ for slice_, _ in scan_few(cells, *parts).explanation.table}
    assert {(("accent", "us"),), (("accent", "indian"),)} <= judged


def people(weight: float) -> Cells:
    """120 persons of each accent, each with 40 corrected words; `a` stands for `weight` times as many utterances."""
    random = np.random.default_rng(2)
    accent = np.repeat(np.array(["a", "b"], object), 120)
    cells = cells_of(
        np.arange(240),
        random.poisson(np.where(accent == "a", 5.2, 4.0) * random.gamma(4.0, 0.25, 240)).astype(float),
        np.full(240, 40.0),
        np.arange(240.0),
        np.full(240, 4),
        {"accent": accent, "sector": np.full(240, "x", object)},
        np.arange(240),
    )
    return weighted(cells, np.where(accent == "a", weight, 1.0))


@pytest.mark.parametrize("weight", [0.02, 1.0, 50.0])
def test_missing_words_are_words_that_people_must_correct(weight: float) -> None:
    """Not words of traffic that they stand for: a group that is sampled generously would be promised too little."""
    row, rest = gaps(people(weight), ("accent",), ("accent", "sector"), GapSettings())
    assert row.words == pytest.approx(4_800) and rest.gap is not None
    plain = gaps(people(1.0), ("accent",), ("accent", "sector"), GapSettings())[0]
    assert row.gap == pytest.approx(plain.gap)
    found, same = (verdict(each, margin_of(each, GapSettings())) for each in (row, plain))
    assert found.words_missing == pytest.approx(same.words_missing)


def test_a_stratum_is_drawn_to_others_by_its_corrections_not_by_what_they_stand_for() -> None:
    """Yoruba is corrected 50 times as often as us: 2,000 words of its own say what its rate is."""
    words, spoken = np.array([40.0, 10_000.0]), np.array([2_000.0, 10_000.0])
    found = expected(np.array([8.0, 1_000.0]), words, np.array([0, 1]), np.zeros(2, np.int64), spoken)
    # Its own rate is .2, the customer's .1004: 200 words of 2,200 draw it a tenth of the way.
    assert found[0] / words[0] == pytest.approx((0.2 * 2_000 + 0.1004 * 200) / 2_200, rel=0.01)


def test_a_slice_is_judged_by_its_corrections() -> None:
    """A group that is corrected generously has weights far below 1, and is named all the same."""
    random = np.random.default_rng(3)
    accent = np.array([ACCENTS[k % 2] for k in range(600)], object)
    ended_at = MARCH_2 + np.arange(600) * 12 * DAY / 600
    rate = np.where((accent == "indian") & (ended_at > MARCH_2 + 8 * DAY), 0.5, 0.1)
    errors = random.poisson(rate * 10.0).astype(float)
    parts = (ended_at, np.ones(600, np.int64), {"accent": accent}, np.arange(600))
    cells = weighted(
        cells_of(np.arange(600), errors, np.full(600, 10.0), *parts), np.where(accent == "indian", 0.02, 1.0)
    )
    found = explain(cells, [("accent",)], ("accent",), np.zeros(600, np.int64), MARCH_2 + 12 * DAY, SETTINGS)
    assert found.ranked and found.ranked[0].slice == (("accent", "indian"),)


def test_the_share_without_a_label_is_of_the_traffic_not_of_the_sample() -> None:
    """1,000 utterances, half without accent, of which one in ten is sampled: half of the traffic is unlabelled."""
    watched = decider()
    for key in range(550):
        unknown = key >= 500
        watched.observe(
            observation(
                key,
                event_at=MARCH_2 + key,
                labels=("unknown" if unknown else "us", "wards"),
                inclusion_probability=0.1 if unknown else 1.0,
            )
        )
    watched.look(MARCH_2 + 2 * HOUR)
    assert watched.coverage().unlabelled["accent"] == pytest.approx(0.5, abs=0.001)
