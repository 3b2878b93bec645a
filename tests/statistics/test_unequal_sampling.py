"""Unequal sampling: the same traffic, corrected evenly or very unequally, gives the same numbers and no false evidence.

Sessions of six utterances, of two accents at two sites. Utterances are easy (WER .06) or hard (.24), a third of them
hard at one site, two thirds at the other; a session has a level of its own. Every scheme knows the probability
before the errors; in two of them it differs inside a session, by how hard the utterance is: what a sampling
stratum may separate that nobody declared as a slice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
import pytest

from monitor.core import slots, tracking
from monitor.core.budget import Ledger
from monitor.core.cells import Cells
from monitor.core.closed_units import CellRow, cell_of, to_cells
from monitor.core.describing import measure
from monitor.core.drift import Alarm, Baseline, StratumSums, Watch
from monitor.core.e_values import drift_e_values
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.evidence import mean
from monitor.core.groupings import mask_of
from monitor.core.records import Slice
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.standing_gaps import GapSettings, gaps
from monitor.core.tracking import Tracker
from monitor.core.units import Units, UnitSettings
from tests.builders import DAY, HOUR, MARCH_2, observation, outcome

SESSION = 6
EASY, HARD = 0.06, 0.24
HARD_SHARE = {"north": 1 / 3, "south": 2 / 3}
FACTOR = {"us": 1.0, "indian": 1.5}
INDIAN: Slice = (("accent", "indian"),)

# (accent, site, whether it is hard, share of the stream) -> probability
Scheme = Callable[[str, str, bool, float], float]

SCHEMES: dict[str, Scheme] = {
    "everything": lambda accent, site, hard, when: 1.0,
    "evenly": lambda accent, site, hard, when: 0.3,
    "by stratum": lambda accent, site, hard, when: (
        {"us": 0.3, "indian": 0.9}[accent] * (0.6 if site == "north" else 1.0)
    ),
    "a budget whose threshold moves": lambda accent, site, hard, when: (
        0.9 if when < 0.3 else 0.12 if when < 0.7 else 0.4
    ),
    "hard ones rarely": lambda accent, site, hard, when: 0.12 if hard else 0.8,
    "hard ones often": lambda accent, site, hard, when: 0.8 if hard else 0.12,
}


def true_rate(accent: str, site: str) -> float:
    """What is expected of a word of this stratum."""
    return FACTOR[accent] * (HARD_SHARE[site] * HARD + (1 - HARD_SHARE[site]) * EASY)


WER = 0.5 * true_rate("indian", "north") + 0.5 * true_rate("indian", "south")
"""Of the accent indian: half of its words are at either site."""


@dataclass
class Sampled:
    """What a monitor came to know."""

    tracker: Tracker
    rows: list[CellRow]
    cells: Cells


def sampled(scheme: Scheme, seed: int, sessions: int = 240) -> Sampled:
    """Through the totals and the units of the product."""
    random = np.random.default_rng(seed)
    slicing = Slicing(SliceSettings(dimensions=("accent", "site"), intersections=(), strata=("accent", "site")), "acme")
    tracker, units = Tracker(slicing, "acme"), Units(UnitSettings(), slicing)
    for session in range(sessions):
        accent, site = ("us", "indian")[session % 2], ("north", "south")[session // 2 % 2]
        level = random.gamma(5.0, 0.2)
        for turn in range(SESSION):
            hard = bool(random.random() < HARD_SHARE[site])
            words = 5 + int(random.poisson(5))
            errors = int(random.poisson((HARD if hard else EASY) * FACTOR[accent] * level * words))
            probability = scheme(accent, site, hard, session / sessions)
            if random.random() >= probability:
                continue
            said = {
                "event_at": MARCH_2 + session * 600.0 + turn,
                "labels": (accent, site),
                "session": f"{session:04d}",
                "inclusion_probability": probability,
            }
            key = session * SESSION + turn
            units.observe(observation(key, **said))
            # More errors than words are insertions: capped here, with chance below 1e-3, so that counts stay sound.
            scored = outcome(key, words=words, errors=min(errors, words), reference_at=MARCH_2 + HOUR, **said)
            units.score(scored)
            tracker.score(scored)
    end = MARCH_2 + sessions * 600.0 + 2 * DAY
    units.take_in(end, DAY)
    rows = [cell for cell in map(cell_of, units.close(end, DAY)) if cell is not None]
    return Sampled(tracker, rows, to_cells(rows, slicing.names))


def estimates(known: Sampled) -> dict[str, float]:
    """Everything that people read of the accent."""
    moments = dict(known.tracker.rows())[INDIAN].moments
    row = next(row for row in gaps(known.cells, ("accent",), ("accent", "site"), GapSettings()) if row.slice == INDIAN)
    told = measure(known.cells, INDIAN, mask_of(known.cells, INDIAN), MARCH_2 + 120 * 600.0)
    ratio = moments.ratio()
    assert ratio is not None and row.gap is not None
    assert told.wer is not None and told.before is not None and told.gap is not None
    return {
        "totals": ratio,
        "standing gap": row.gap,
        "WER since": told.wer,
        "WER before": told.before,
        "gap since": told.gap,
    }


@cache
def truth(seed: int) -> dict[str, float]:
    """The same of all utterances of a stream."""
    return estimates(sampled(SCHEMES["everything"], seed))


def biases(scheme: Scheme, seeds: range) -> dict[str, tuple[float, float]]:
    """(mean difference to what all utterances say, its standard error) of each estimate."""
    errors = [
        {name: found - truth(seed)[name] for name, found in estimates(sampled(scheme, seed)).items()} for seed in seeds
    ]
    found = {}
    for name in errors[0]:
        values = np.array([each[name] for each in errors])
        found[name] = float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
    return found


@pytest.mark.parametrize("scheme", ["by stratum", "hard ones rarely"])
def test_no_estimate_is_biased_by_how_utterances_were_sampled(scheme: str) -> None:
    """40 streams: 4 standard errors, and .001 for what a ratio of sums is off by with 120 sessions."""
    for name, (bias, error) in biases(SCHEMES[scheme], range(40)).items():
        assert abs(bias) <= 4.0 * error + 0.001, name


@pytest.mark.slow
@pytest.mark.parametrize("scheme", list(SCHEMES)[1:])
def test_no_estimate_is_biased_by_how_utterances_were_sampled_at_length(scheme: str) -> None:
    """200 streams: 3.5 standard errors in 25 comparisons are passed once in 80 suites, and seeds are fixed."""
    for name, (bias, error) in biases(SCHEMES[scheme], range(1_000, 1_200)).items():
        assert abs(bias) <= 3.5 * error + 0.001, name


@pytest.mark.parametrize("scheme", ["by stratum", "hard ones rarely", "hard ones often"])
def test_without_weights_they_are(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant that statistics.md warns of. It must fail, or the tests above say nothing."""
    for module in (slots, tracking):
        monkeypatch.setattr(module, "weight_of", lambda probability: WEIGHT_ONE)
    wrong = [
        name for name, (bias, error) in biases(SCHEMES[scheme], range(40)).items() if abs(bias) > 4.0 * error + 0.001
    ]
    assert "totals" in wrong if scheme != "by stratum" else wrong
    assert len(wrong) >= (1 if scheme == "by stratum" else 3)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_intervals_cover_however_utterances_were_sampled(scheme: str) -> None:
    """200 streams, 95 %: 10 misses in the mean, 20 or more once in 1,000."""
    misses = 0
    for seed in range(2_000, 2_200):
        low, high = dict(sampled(SCHEMES[scheme], seed).tracker.rows())[INDIAN].moments.interval()
        assert low is not None and high is not None
        misses += not low <= WER <= high
    assert misses <= 19


# ---------------------------------------------------------------------------------------------------------- evidence
def excess(known: Sampled, rho: float, factor: float = 1.0, pages: float = 900.0) -> tuple[float, float, bool]:
    """(alarms + R, money) of a bet of all traffic whose baseline is the truth / factor; whether it paged."""
    rates = {f"{a}\x1f{s}": true_rate(a, s) / factor for a in FACTOR for s in HARD_SHARE}
    units = [list(unit) for _, unit in groupby(known.rows, key=lambda row: row.unit)]
    expected = [sum(rates["\x1f".join(row.labels)] * row.words for row in unit) for unit in units]
    watch = Watch(slice=(), learning_since=0.0)
    watch.baseline = Baseline(rates, rho, float(np.mean(expected)))
    ledger = Ledger(pages=pages, days=90.0, since=MARCH_2, until=MARCH_2, started=MARCH_2)
    for until in (MARCH_2, MARCH_2 + 30 * DAY):
        ledger.advance(until, (1, 0, 0))
    watch.earned = ledger.earned(0, MARCH_2)
    alarms = 0
    for unit in units:
        sums = tuple(StratumSums("\x1f".join(row.labels), row.errors, row.words, row.plain_words) for row in unit)
        found = watch.bet(sums, unit[0].ended_at, ledger)
        alarms += found is not None and found[0] is Alarm.WORSE
    return alarms + mean(watch.evidence), watch.spent, alarms > 0


def bets(scheme: str, seeds: range, rho: float) -> tuple[float, float, float]:
    """(mean of alarms + R, its standard error, money), the latter being what the former may cost."""
    found = [excess(sampled(SCHEMES[scheme], seed), rho) for seed in seeds]
    won = np.array([each[0] for each in found])
    return float(won.mean()), float(won.std(ddof=1) / math.sqrt(len(won))), float(np.mean([each[1] for each in found]))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_evidence_stays_within_the_money_however_utterances_were_sampled(scheme: str) -> None:
    """At no tolerance at all, 100 streams: 3 standard errors above the money. Before stakes were freed of weights, hard
    ones that are sampled often won 7.9 for 3.3, and 5.2 at the tolerance of 1.1."""
    won, error, money = bets(scheme, range(3_000, 3_100), rho=1.0)
    assert won <= money + 3.0 * error


def test_hard_ones_that_are_sampled_often_are_no_evidence() -> None:
    """The worst scheme on 30 streams, where 3 standard errors are 0.7; it won 7.9 for a money of 3.3."""
    won, error, money = bets("hard ones often", range(30), rho=1.0)
    assert won <= money + 3.0 * error


@pytest.mark.parametrize("scheme", ["evenly", "by stratum", "hard ones rarely", "a budget whose threshold moves"])
def test_a_doubling_is_still_found(scheme: str) -> None:
    """Weights cost power, but must not take it away. 20 of 20 streams of 240 sessions with each scheme."""
    found = sum(excess(sampled(SCHEMES[scheme], seed), rho=1.2, factor=2.0, pages=3.0)[2] for seed in range(20))
    assert found >= 17


@pytest.mark.parametrize("scheme", ["evenly", "hard ones rarely", "hard ones often"])
def test_the_list_of_worse_slices_believes_no_evidence_of_sampling(scheme: str) -> None:
    """By Markov one of 25 e-values reaches 5,000 with probability .005 where nothing is worse."""
    values = []
    for seed in range(25):
        rows = sampled(SCHEMES[scheme], seed).rows
        rates = {f"{accent}\x1f{site}": true_rate(accent, site) for accent in FACTOR for site in HARD_SHARE}
        units = [
            (
                unit[0].ended_at,
                tuple(StratumSums("\x1f".join(row.labels), row.errors, row.words, row.plain_words) for row in unit),
            )
            for unit in (list(unit) for _, unit in groupby(rows, key=lambda row: row.unit))
        ]
        scale = float(np.mean([sum(rates[part.stratum] * part.words for part in unit) for _, unit in units]))
        watch = Watch(slice=(), learning_since=0.0, baseline=Baseline(rates, 1.0, scale), closed_at=MARCH_2 - 1)
        told = drift_e_values({(): watch}, [(at, {(): unit}) for at, unit in units], MARCH_2 - 1, units[-1][0] + 1)
        values.append(told[()])
    assert max(values) < 5_000.0
