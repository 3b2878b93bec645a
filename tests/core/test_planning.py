"""How many labels it takes: the sums that plans are made of."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from monitor.core.planning import (
    DriftCase,
    GapCase,
    Spread,
    Supply,
    drift_power,
    gap_power,
    inflation,
    labels_for,
    learned_rho,
    page_power,
    size_of_clusters,
    spread_of,
)

SLICE = DriftCase(
    wer=0.12, factor=2.0, rho=1.2, spread=Spread(phi=1.2, s2=0.5), sizes=(0.5, 1.0, 1.5), words=12.0, money=0.001
)
GROUP = GapCase(
    gap=0.08,
    margin=0.02,
    error=0.02,
    persons=60.0,
    labels=2.0,
    spread=Spread(phi=1.5, s2=0.3),
    expected=1.5,
    alpha=0.0025,
    persons_min=50,
)


def test_more_units_more_days_and_larger_changes_are_seen_more_surely() -> None:
    """A plan that falls with effort would never be found."""
    by_units = [drift_power(SLICE, units, 1.0, 14.0, 5.0) for units in (2, 5, 15, 60)]
    by_days = [drift_power(SLICE, 10, 1.0, days, 5.0) for days in (1, 4, 14, 40)]
    assert by_units == sorted(by_units) and by_units[-1] > 0.95
    assert by_days == sorted(by_days) and by_days[0] < 0.3


def test_a_small_slice_is_seen_by_its_daily_look_however_long_a_plan_lasts() -> None:
    """Without units for a baseline there is only the look; after four weeks it has nothing left to compare with."""
    small = replace(SLICE, factor=3.0, small_units=120, days_known=14.0)
    by_days = [page_power(small, 1.0, 3.0, days, None) for days in (1.0, 7.0, 14.0, 28.0, 900.0)]
    assert by_days == sorted(by_days) and by_days[0] < 0.1 and by_days[2] > 0.3
    assert page_power(replace(small, small_units=0), 1.0, 3.0, 14.0, 5.0) == drift_power(small, 1.0, 3.0, 14.0, 5.0)
    assert page_power(small, 20.0, 1.0, 14.0, 5.0) == drift_power(small, 20.0, 1.0, 14.0, 5.0)


def test_sessions_are_worth_more_than_utterances_of_one_session() -> None:
    """The same 30 labels a day: from 30 sessions or from 5. What a session shares is learned once."""
    assert drift_power(SLICE, 30, 1.0, 7.0, 5.0) > drift_power(SLICE, 5, 6.0, 7.0, 5.0) + 0.1


def test_a_change_within_the_tolerance_is_never_seen() -> None:
    """H0 covers it: no number of labels helps, and the plan must not name one."""
    within = DriftCase(wer=0.12, factor=1.19, rho=1.2, spread=SLICE.spread, sizes=SLICE.sizes, words=12.0, money=0.001)
    assert drift_power(within, 10_000, 1.0, 30.0, 5.0) == 0.0
    assert labels_for(lambda labels: drift_power(within, labels, 1.0, 14.0, 5.0), 0.8, 100.0) is None


def test_long_calls_do_not_overflow() -> None:
    """A unit that expects hundreds of errors: its chances are built in logarithms."""
    power = drift_power(SLICE, 5, 400.0, 7.0, 5.0)
    assert 0.0 <= power <= 1.0 and np.isfinite(power)


def test_labels_fall_on_sessions_by_chance_until_all_are_labelled() -> None:
    """Few labels meet a session each; all labels are whole sessions; beyond the traffic, more sessions alike."""
    supply = Supply(count=50.0, size=6.0)
    few, each = supply.touched(3.0)
    assert few == pytest.approx(3.0, rel=0.05) and each == pytest.approx(1.0, rel=0.05)
    assert supply.touched(300.0) == (50.0, 6.0)
    assert supply.touched(600.0) == (100.0, 6.0)
    assert Supply(count=50.0, size=6.0, least=6.0).touched(60.0) == (10.0, 6.0)


def test_sessions_are_as_long_as_they_are_though_a_tenth_of_them_is_sampled() -> None:
    """Else ten times too many sessions would be planned with, and recruiting would seem needless."""
    random = np.random.default_rng(3)
    session = np.repeat(np.arange(2_000), 8)
    seen = random.random(len(session)) < 0.1
    size = size_of_clusters(float(seen.sum()) / 0.1, float(len(np.unique(session[seen]))), 0.1)
    # 1,600 of 16,000 are known to 2.4 %, the sessions met to 1.6 %; half the effect of either on the size: 3 of these.
    assert size == pytest.approx(8.0, rel=0.12)


def test_inflation_is_that_of_correlated_utterances() -> None:
    """Ten utterances of a session that differ by their session alone are worth fewer."""
    labels, expected = np.full(50, 10.0), np.full(50, 10.0)
    assert inflation(Spread(phi=1.0, s2=0.0), expected, labels) == 1.0
    assert inflation(Spread(phi=1.0, s2=0.5), expected, labels) == pytest.approx((10 + 50) / (10 + 5))


def test_a_spread_keeps_the_sum_of_squares() -> None:
    """Whatever the fit makes of heavy units: the standard error of the slice itself is never planned away."""
    random = np.random.default_rng(4)
    expected = random.gamma(2.0, 1.0, 300)
    errors = random.poisson(expected * random.gamma(1.0, 1.0, 300)).astype(float)
    assert spread_of(errors, expected).variance(expected).sum() == pytest.approx(((errors - expected) ** 2).sum())


def test_a_baseline_of_more_units_tolerates_less_down_to_what_matters() -> None:
    """Why more labels see smaller changes: rho is a bound on the baseline's own error."""
    rhos = [learned_rho(SLICE, units, 1.0, 0.1) for units in (12, 50, 400, 100_000)]
    assert rhos == sorted(rhos, reverse=True) and rhos[-1] == pytest.approx(1.1)


def test_a_gap_needs_persons_before_it_needs_labels() -> None:
    """A thousand labels of 49 persons open no ticket."""
    assert gap_power(GROUP, 49, 1000.0) == 0.0
    powers = [gap_power(GROUP, persons, 2.0) for persons in (60, 120, 400, 1000)]
    assert powers == sorted(powers) and powers[-1] > 0.95
    assert gap_power(GROUP, 300, 8.0) > gap_power(GROUP, 300, 2.0)
