"""A baseline that was low by chance is forgiven once what follows tells; a change is not."""

from __future__ import annotations

import msgspec
import numpy as np

from monitor import baselines
from monitor.config import load_settings
from monitor.core.budget import DAY, Ledger
from monitor.core.drift import Alarm, Baseline, StratumSums, Watch
from monitor.core.imported import Offered
from tests.builders import MARCH_2
from tests.core.deciding_streams import decider, feed, messages

LOW = Baseline({"": 0.12}, 1.3, 14.4, error=0.17, units=16)
"""Of 16 sessions whose levels vary by .6: a true rate half as high again is 2.4 times its error (in logarithms)."""
SESSIONS = 10
"""A day."""


def alarms(seed: int, watch: Watch, level: float, changed: float, change_day: int, days: int) -> list[float]:
    """Days of the alarms of a slice that has the budget of `overall` to itself."""
    random, found = np.random.default_rng(seed), []
    ledger = Ledger(pages=1.0, days=90.0)
    ledger.since = ledger.until = ledger.started = 0.0
    for unit in range(days * SESSIONS):
        ended_at = unit * DAY / SESSIONS
        ledger.advance(ended_at, (1, 0, 0))
        wer = changed if ended_at >= change_day * DAY else level
        errors = min(int(random.poisson(wer * 120 * random.gamma(1 / 0.36, 0.36))), 180)
        conclusion = watch.bet((StratumSums("", errors, 120),), ended_at, ledger)
        if conclusion is not None and conclusion[0] is Alarm.WORSE:
            found.append(ended_at / DAY)
    return found


def watch_of(baseline: Baseline) -> Watch:
    return Watch(slice=(), learning_since=0.0, baseline=baseline)


def test_a_low_baseline_does_not_page_for_ever() -> None:
    """With 259 slices some are always low: over 90 days such slices paged four times as often as was allowed.

    20 slices whose level is half as high again from the first day on have money for 4 false pages. Without what is
    forgiven they page 60 times.
    """
    unforgiven = msgspec.structs.replace(LOW, error=0.0)
    assert sum(len(alarms(seed, watch_of(unforgiven), 0.18, 0.18, 0, 90)) for seed in range(20)) > 40
    assert sum(len(alarms(seed, watch_of(LOW), 0.18, 0.18, 0, 90)) for seed in range(20)) <= 10


def test_a_change_is_seen_as_soon_as_before() -> None:
    """What is younger than a week forgives nothing: a doubling on day 30 is found at the same unit."""
    unforgiven = msgspec.structs.replace(LOW, error=0.0)
    for seed in range(100, 110):
        later = [day for day in alarms(seed, watch_of(LOW), 0.12, 0.24, 30, 37) if day >= 30]
        before = [day for day in alarms(seed, watch_of(unforgiven), 0.12, 0.24, 30, 37) if day >= 30]
        assert later[:1] == before[:1]


def test_an_imported_baseline_costs_what_it_did_where_it_was_learned() -> None:
    """Without its error in the file, a baseline that was low by chance paged in another agent for ever."""
    taught = decider(offered={"acme": Offered((((), LOW),))})
    feed(taught, messages(days=1.0), until=MARCH_2 + 3 * DAY)
    document = baselines.export(load_settings(None, {}), [("acme", taught)])
    (_, imported), *_ = baselines.offered(document)["acme"].baselines
    for seed in range(5):
        here, there = watch_of(LOW), watch_of(imported)
        assert alarms(seed, here, 0.18, 0.18, 0, 60) == alarms(seed, there, 0.18, 0.18, 0, 60)
        assert here.evidence == there.evidence and here.spent == there.spent


def test_what_is_forgiven_survives_a_restart() -> None:
    """Restored half-way, a watch goes on bit for bit."""
    whole, first = watch_of(LOW), watch_of(LOW)
    alarms(1, whole, 0.15, 0.15, 0, 30)
    alarms(1, first, 0.15, 0.15, 0, 30)
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(first), type=Watch)
    assert restored == whole
    assert restored.past[0] > 0.0 and 1 < len(restored.recent) <= 9
