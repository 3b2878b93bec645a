"""Delay: how much later than somebody who knows the answer, with as many false alarms."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.budget import DAY, Ledger
from monitor.core.drift import Alarm, Watch
from monitor.core.drift import StratumSums as Part
from tests.statistics.delays import Streams, bets, changed, compare, money_for, streams
from tests.statistics.unit_sums import Sums, Traffic

LENGTH = 20_000.0
"""Utterances between false alarms, as in statistics.md."""
GOALS = {0.16: 1.35, 0.18: 1.35, 0.24: 1.7}


def alarms_of_watch(of: Streams, sums: Sums, number: int, money: float) -> list[int]:
    """Units at which the product's own Watch and Ledger alarm, a unit each second."""
    ledger = Ledger(pages=money * 5 * DAY, days=1.0)  # a fifth of it is for `overall`
    ledger.since = ledger.until = ledger.started = 0.0
    watch = Watch(slice=(), learning_since=0.0, baseline=of.baselines[number])
    found = []
    errors, words = sums.errors[number].tolist(), sums.words[number].tolist()
    for unit, (e, w) in enumerate(zip(errors, words, strict=True)):
        ledger.advance(unit + 1.0, (1, 0, 0))
        conclusion = watch.bet((Part("", e, w),), unit + 1.0, ledger)
        if conclusion is not None and conclusion[0] is Alarm.WORSE:
            found.append(unit)
    return found


def test_the_simulated_bets_are_the_products() -> None:
    """Else the figures would be those of another detector."""
    of = streams(1, Traffic(0.12, 0.6), 6, 400)
    sums, money = changed(of, 0.18, 2), 1e-3
    simulated = bets(of, sums, money)
    for number in range(6):
        assert alarms_of_watch(of, sums, number, money) == np.flatnonzero(simulated[number]).tolist()
    assert simulated.sum() > 6


@pytest.mark.parametrize("level", [0.18, 0.24])
def test_delay_is_near_the_oracles(level: float) -> None:
    """The goal of the issue on 150 streams, with 3 standard errors of a ratio of means that each know theirs to 5 %."""
    of = streams(3, Traffic(0.12, 0.6), 150, 600)
    found = compare(of, level, LENGTH, money_for(of, LENGTH), 4)
    assert found.ratio <= GOALS[level] * 1.2
    assert found.oracle.missed == 0


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.3, 0.6])
@pytest.mark.parametrize("level", GOALS)
def test_delay_is_near_the_oracles_at_length(level: float, effect: float) -> None:
    """1,000 streams: means are known to 2 to 3 %, limits to 3 % (1,000 alarms): the goal, and 8 % for chance."""
    of = streams(5, Traffic(0.12, effect), 1_000, 2_000)
    found = compare(of, level, LENGTH, money_for(of, LENGTH), 6)
    assert found.ratio <= GOALS[level] * 1.08
