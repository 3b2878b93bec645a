"""WER and its standard error from PromQL are those of our own estimators: over replicas, restarts, windows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from monitor.alerting.recordings import CLUSTERS_MIN, ERRORS_BELOW
from monitor.core.estimators import WEIGHT_ONE, Moments
from tests.rules.alertmanagers import wait_for
from tests.rules.backfill import Session, exposed, put, sessions
from tests.rules.prometheuses import Value, hurried_rules, prometheus, query

HOUR = 3600.0
STEP = 300.0
"""Between samples: at the usual 15 s the file would be twenty times as long; ends of windows are off by as much."""
WINDOWS = {"6h": 6 * HOUR, "24h": 24 * HOUR, "72h": 72 * HOUR}
RATES = {"yoruba": 0.2, "england": 0.1, "indian": 0.11}


class World:
    """A Prometheus that holds three days of two replicas: one restarted, the other died, and its sessions are known."""

    def __init__(self, address: str, given: Sequence[Session], times: Sequence[float], died_at: float) -> None:
        self.address, self._given, self._times, self._died_at = address, given, times, died_at

    def recorded(self, name: str, group: str, window: str) -> tuple[float, float]:
        """Value, and when it was computed."""
        selector = f'{name}{{group="{group}",window="{window}"}}'

        def both() -> list[list[Value]]:
            # In one query, else an evaluation may come between.
            value = f'label_replace({selector}, "what", "value", "", "")'
            found = query(self.address, f'{value} or label_replace(timestamp({selector}), "what", "at", "", "")')
            return [found] if len(found) == 2 else []

        (found,) = wait_for(both, lambda: f"{selector} is not recorded")
        by_what = {each.labels["what"]: each.value for each in found}
        return by_what["value"], by_what["at"]

    def truth(self, group: str, window: str, at: float, *, rest: bool = False) -> Moments:
        """Moments of the sessions between the first and the last sample that the window holds, of each replica."""
        total = Moments()
        for replica in "ab":
            seen = [when for when in self._times if at - WINDOWS[window] <= when <= at]
            seen = [when for when in seen if replica == "a" or when < self._died_at]
            for one in self._given:
                inside = one.replica == replica and seen[0] < one.at <= seen[-1]
                if inside and (group == "all" or (one.group == group) is not rest):
                    total += Moments.of(one.errors * WEIGHT_ONE, one.words * WEIGHT_ONE)
        return total


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("moments")
    ends = time.time() // STEP * STEP
    begins = ends - 73 * HOUR
    given = sessions(3000, begins=begins, ends=ends, rates=RATES, seed=3)
    times = [begins + STEP * number for number in range(int((ends - begins) / STEP) + 1)]
    died_at = ends - 2 * HOUR
    put(exposed(given, times, gone={"b": died_at}, restarts={"a": ends - 30 * HOUR}), folder)
    rules = hurried_rules(folder, ["wervane-moments"])
    settings = {"global": {"evaluation_interval": "1s"}, "rule_files": [str(rules)]}
    with prometheus(folder, settings) as address:
        yield World(address, given, times, died_at)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("group", ["all", "yoruba"])
def test_wer_and_its_error_are_those_of_the_core(world: World, group: str, window: str) -> None:
    """Sums before ratios, clusters before utterances; a mean of the replicas' ratios would be another number."""
    ratio, at = world.recorded("wervane:slice_wer:ratio", group, window)
    truth = world.truth(group, window, at)
    assert truth.clusters > CLUSTERS_MIN
    # `increase` stretches each replica's sums to the window's ends, by a step at most; what is in them is exact.
    stretch = 2 * STEP / WINDOWS[window]
    assert ratio == pytest.approx(truth.ratio(), rel=stretch / 10)
    error, at = world.recorded("wervane:slice_wer_standard_error:ratio", group, window)
    assert error == pytest.approx(world.truth(group, window, at).standard_error(), rel=stretch)


@pytest.mark.parametrize("window", WINDOWS)
def test_the_rest_and_the_lower_bound_are_those_of_the_core(world: World, window: str) -> None:
    """All traffic minus the slice, by differences of sums; errors of both sides add as squares."""
    lower, at = world.recorded("wervane:slice_wer_gap_lower:ratio", "yoruba", window)
    mine, rest = world.truth("yoruba", window, at), world.truth("yoruba", window, at, rest=True)
    gap, error = _ratio(mine)[0] - _ratio(rest)[0], float(np.hypot(_ratio(mine)[1], _ratio(rest)[1]))
    stretch = 2 * STEP / WINDOWS[window]
    assert lower == pytest.approx(gap - ERRORS_BELOW * error, abs=ERRORS_BELOW * error * stretch + gap * stretch / 10)


def _ratio(moments: Moments) -> tuple[float, float]:
    ratio, error = moments.ratio(), moments.standard_error()
    assert ratio is not None and error is not None
    return ratio, error


Rates = npt.NDArray[np.float64]


def drawn(rng: np.random.Generator, clusters: int, rate: float, spread: float) -> tuple[Rates, Rates, Rates]:
    """WER of samples of sessions, its error by sessions, and as if words were independent."""
    words = np.round(rng.lognormal(np.log(50.0), 0.6, (10_000, clusters))).clip(3)
    rates = (rate * rng.lognormal(-(spread**2) / 2, spread, (10_000, clusters))).clip(0, 0.95)
    errors = rng.binomial(words.astype(np.int64), rates).astype(np.float64)
    n, ratio = words.sum(1), errors.sum(1) / words.sum(1)
    spread_of = (errors**2).sum(1) - 2 * ratio * (errors * words).sum(1) + ratio**2 * (words**2).sum(1)
    return ratio, np.sqrt(np.maximum(spread_of, 0) * clusters / (clusters - 1)) / n, np.sqrt(ratio * (1 - ratio) / n)


@pytest.mark.parametrize("spread", [0.3, 0.6])
def test_the_bound_holds_with_sessions_and_would_not_with_words(spread: float) -> None:
    """At the fewest sessions that are allowed, skewed: 3 errors above the truth happen as seldom as they should."""
    rng = np.random.default_rng(11)
    mine, others = drawn(rng, CLUSTERS_MIN, 0.15, spread), drawn(rng, 500, 0.10, 0.3)
    gap = mine[0] - others[0]
    # A ratio's bias is below a thousandth here; the mean of the draws is the truth to a thirtieth of an error.
    above = gap - gap.mean()
    by_sessions, by_words = (int((above > 3 * np.hypot(mine[k], others[k])).sum()) for k in (1, 2))
    # 13.5 expected of a normal; 5 standard deviations of a Poisson count above it
    assert by_sessions <= 13.5 + 5 * 13.5**0.5
    assert by_words > 5 * 13.5
