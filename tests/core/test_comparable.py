"""page-budget and the matched-stake bet beside river's detectors: one interface, and not a word different."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from river import base

from monitor.analysis.comparable import MatchedStakes, PageBudget, UnitValue
from monitor.core.budget import Ledger
from monitor.core.closed_units import CellRow
from monitor.core.drift import Alarm, Baseline, LearnSettings, StratumSums, Watch, learn
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.gap_bets import GapBets
from monitor.core.river_detectors import as_river
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.standing_gaps import GapSettings
from tests.builders import DAY

LEARNED = 200
ROOT = Path(__file__).parents[2]


def counts(seed: int, worse_from: int, units: int) -> Iterator[tuple[bool, int, int, float]]:
    """(of the group, errors, words, end): thirty units a day, a third of them the group's, which gets twice as bad."""
    chance = random.Random(seed)
    for number in range(units):
        own, words = number % 3 == 0, chance.randint(5, 40)
        wer = 0.24 if own and number >= worse_from else 0.12
        yield own, sum(chance.random() < wer for _ in range(words)), words, number * DAY / 30


def sums(errors: int, words: int) -> tuple[StratumSums, ...]:
    return (StratumSums("", errors * WEIGHT_ONE, words * WEIGHT_ONE, words),)


def values(seed: int, worse_from: int = 1_200, units: int = 2_400) -> tuple[Baseline, list[UnitValue], list[UnitValue]]:
    """Baseline, the units that it was learned from, those that follow."""
    made = list(counts(seed, worse_from, units))
    baseline = learn([sums(errors, words) for own, errors, words, _ in made[: 3 * LEARNED] if own], LearnSettings())
    assert baseline is not None
    every = [
        UnitValue.of(baseline, sums(errors, words), at, person=f"p{place}", own=own)
        for place, (own, errors, words, at) in enumerate(made)
    ]
    return baseline, [one for one in every[: 3 * LEARNED] if one.own], every[3 * LEARNED :]


def ledger(since: float) -> Ledger:
    made = Ledger(1.0, 90.0)
    made.since = made.until = made.started = since
    return made


@pytest.mark.parametrize("seed", range(3))
def test_page_budget_alarms_exactly_when_the_core_does(seed: int) -> None:
    """A comparison with something that is nearly what pages would be one with nothing."""
    baseline, learned, follow = values(seed)
    since = learned[-1].at
    adapted, account = as_river(PageBudget(baseline, since)), ledger(since)
    watch, alarms = Watch(slice=(), learning_since=since, baseline=baseline, closed_at=since), 0
    for value in (one for one in follow if one.own):
        adapted.update(value)
        account.advance(value.at, (1, 0, 0))
        concluded = watch.bet(value.sums, value.at, account)
        assert adapted.drift_detected == (concluded is not None and concluded[0] is Alarm.WORSE)
        alarms += adapted.drift_detected
    assert alarms


@pytest.mark.parametrize("seed", range(3))
def test_the_matched_stake_bet_alarms_exactly_when_the_core_does(seed: int) -> None:
    """By the core's own dimensions and tasks, not by the adapter's."""
    _, _, follow = values(seed)
    since = follow[0].at
    adapted, account = as_river(MatchedStakes(since)), ledger(since)
    slicing = Slicing(SliceSettings(dimensions=(), demographics=("gender",), strata=("site",)), "acme")
    bets, alarms = GapBets(slicing, GapSettings(), 0.02, on=True), 0
    for value in follow:
        adapted.update(value)
        account.advance(value.at, (1, 0, 0), bets.betting())
        ((_, errors, words, corrected),) = value.sums
        labels = ("w" if value.own else "m", "clinic")
        row = CellRow(value.at, f"u{value.at}", labels, value.person, 1, errors, words, corrected)
        found = [one for one in bets.take([row], account) if one.slice == (("gender", "w"),)]
        assert adapted.drift_detected == bool(found)
        alarms += adapted.drift_detected
    assert alarms


def test_the_loop_of_the_documentation_compares_them() -> None:
    """It is what users copy: every detector finds the doubling, none before it, and each is of river's type."""
    (loop,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/detectors.md").read_text(), re.S)
    baseline, learned, follow = values(1)
    names: dict[str, object] = {"baseline": baseline, "learned": learned, "values": follow, "since": learned[-1].at}
    exec(loop, names)
    alarms, detectors = names["alarms"], names["detectors"]
    assert isinstance(alarms, dict) and isinstance(detectors, dict)
    assert set(alarms) == {"page-budget", "matched-stake", "adwin", "hddm-a"}
    assert all(isinstance(one, base.DriftDetector) for one in detectors.values())
    assert all(found and found[0] >= 40 * DAY for found in alarms.values())


def test_a_number_without_its_unit_is_refused() -> None:
    """A bet at a guessed size would be another detector."""
    baseline, _, _ = values(1)
    with pytest.raises(TypeError, match="want a UnitValue"):
        PageBudget(baseline, 0.0).update(1.5)
