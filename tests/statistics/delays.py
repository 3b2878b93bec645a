"""How long a change of one large slice takes to be seen: page-budget bets, an oracle, and what else is in use.

Streams of the same slice in parallel: a baseline of BASELINE units, BEFORE units in which nothing changes, then a new
level. Delay: utterances from the change to the end of the unit at which the first alarm comes after it. An alarm before
the change is false and starts the detector again, as the product does. Run lengths: utterances per alarm where nothing
changes, the baseline's own error included.

The oracle is Page's CUSUM with the likelihood ratio of each unit: it knows both levels, that there is one slice, and
how sessions vary. `bets` is `Watch.bet` for many streams at once; test_delays.py holds it against the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from monitor.core.cells import BoolArray, FloatArray
from monitor.core.drift import Baseline, LearnSettings, StratumSums, learn
from monitor.core.evidence import RUIN, STAKES
from tests.statistics.unit_sums import Sums, Traffic, draw, log_likelihood_ratio

BASELINE = 500
BEFORE = 300
AFTER = 1_000
"""Units: five days of a hundred sessions; a burn-in three times the longest delay of the oracle; the longest wait."""


class Streams(NamedTuple):
    """Of one slice in parallel: what each has learned, and quiet units to count false alarms on."""

    traffic: Traffic
    baselines: list[Baseline]
    quiet: Sums


class Delay(NamedTuple):
    """In utterances; `missed`: streams without an alarm in AFTER units, which count with all of them."""

    mean: float
    error: float
    missed: int


def streams(seed: int, traffic: Traffic, count: int, quiet_units: int) -> Streams:
    random = np.random.default_rng(seed)
    learned = draw(random, traffic, (count, BASELINE))
    baselines = []
    for errors, words in zip(learned.errors.tolist(), learned.words.tolist(), strict=True):
        units = [(StratumSums("", e, w),) for e, w in zip(errors, words, strict=True)]
        baseline = learn(units, LearnSettings())
        assert baseline is not None
        baselines.append(baseline)
    return Streams(traffic, baselines, draw(random, traffic, (count, quiet_units)))


def changed(of: Streams, level: float, seed: int) -> Sums:
    """The streams with another level after BEFORE quiet units."""
    random = np.random.default_rng(seed)
    return of.quiet.before(BEFORE).then(draw(random, of.traffic.at(level), (len(of.baselines), AFTER)))


# ------------------------------------------------------------------------------------------------------- two detectors
def bets(of: Streams, sums: Sums, money: float) -> BoolArray:
    """Where `Watch.bet` alarms with this money for each unit; shape (streams, units)."""
    rates = np.array([baseline.rates[""] for baseline in of.baselines])
    rho = np.array([baseline.rho for baseline in of.baselines])
    scale = np.array([baseline.scale for baseline in of.baselines])
    least = rho[:, None] * rates[:, None] * sums.words
    gain = (sums.errors - least) / scale[:, None]
    largest = RUIN * scale[:, None] / least
    evidence, alarms = np.zeros((len(rho), len(STAKES))), np.zeros(gain.shape, np.bool_)
    for unit in range(gain.shape[1]):
        stakes = np.minimum(np.array(STAKES), largest[:, unit, None])
        evidence = (evidence + money) * (1.0 + stakes * gain[:, unit, None])
        alarm = alarms[:, unit] = evidence.mean(axis=1) >= 1.0
        evidence[alarm] = 0.0
    return alarms


def cusum(ratios: FloatArray, limit: float) -> BoolArray:
    """Where the oracle alarms: the largest sum of log likelihood ratios that ends here reaches the limit."""
    total, alarms = np.zeros(len(ratios)), np.zeros(ratios.shape, np.bool_)
    for unit in range(ratios.shape[1]):
        total = np.maximum(0.0, total + ratios[:, unit])
        alarm = alarms[:, unit] = total >= limit
        total[alarm] = 0.0
    return alarms


def run_length(sums: Sums, alarms: BoolArray) -> float:
    """Utterances per alarm."""
    return float(sums.utterances.sum() / max(int(alarms.sum()), 1))


def delay(sums: Sums, alarms: BoolArray) -> Delay:
    """From unit BEFORE to the first alarm after it."""
    after, utterances = alarms[:, BEFORE:], sums.utterances[:, BEFORE:].cumsum(axis=1)
    found = after.any(axis=1)
    last = np.where(found, after.argmax(axis=1), after.shape[1] - 1)
    waits = utterances[np.arange(len(after)), last]
    return Delay(float(waits.mean()), float(waits.std(ddof=1) / np.sqrt(len(waits))), int((~found).sum()))


# ------------------------------------------------------------------------------------------------------ at equal rates
def money_for(of: Streams, length: float) -> float:
    """Money of a unit with which bets alarm once in `length` quiet utterances, as counted."""
    return _solve(lambda money: run_length(of.quiet, bets(of, of.quiet, money)) - length, 1e-8, 1.0)


def limit_for(of: Streams, level: float, length: float) -> float:
    """The oracle's limit for the same."""
    ratios = log_likelihood_ratio(of.quiet, of.traffic, level)
    return _solve(lambda limit: length - run_length(of.quiet, cusum(ratios, limit)), 0.05, 20.0)


def _solve(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls crosses 0, to 1 in 1,000, by halving the logarithm."""
    for _ in range(15):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if falling(middle) > 0.0 else (low, middle)
    return float(np.sqrt(low * high))


class Comparison(NamedTuple):
    """Bets and the oracle on the same streams."""

    level: float
    bets: Delay
    oracle: Delay

    @property
    def ratio(self) -> float:
        return self.bets.mean / self.oracle.mean


def compare(of: Streams, level: float, length: float, money: float, seed: int) -> Comparison:
    """A change to `level`: bets with this money, the oracle with a limit for this run length."""
    sums = changed(of, level, seed)
    ratios = log_likelihood_ratio(sums, of.traffic, level)
    oracle = cusum(ratios, limit_for(of, level, length))
    return Comparison(level, delay(sums, bets(of, sums, money)), delay(sums, oracle))
