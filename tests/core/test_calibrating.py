"""Calibration: a detector pages only with a threshold that its own baseline's traffic says it can afford."""

from __future__ import annotations

import random

import numpy as np
import pytest

from monitor.core.calibrating import Clustered, audible, calibrate, false_alarms, replicates, upper_bound
from monitor.core.detectors import Calibration
from monitor.core.drift import LearnSettings, StratumSums
from monitor.core.records import Level
from monitor.core.river_detectors import maker
from tests.builders import DAY
from tests.core.deciding_streams import Documents, decider, feed, messages, save
from tests.core.test_detectors import england_worse, run

ENGLAND = (("accent", "england"),)


def units(seed: int, persons: int = 60, each: int = 3, spread: float = 0.5) -> list[Clustered]:
    """Five days of speakers who differ: a speaker's utterances are not independent."""
    chance = random.Random(seed)
    made = []
    for person in range(persons):
        level = 0.12 * chance.gammavariate(1 / spread**2, spread**2)
        for _ in range(each):
            errors = sum(chance.random() < level for _ in range(20))
            made.append(Clustered(f"p{person}", chance.random() * 5 * DAY, {(): (StratumSums("", errors, 20),)}))
    return made


def test_the_threshold_found_keeps_its_promise_on_other_draws() -> None:
    """A threshold that only holds for the draws that it was chosen on would page more often than it says."""
    made = list(replicates(units(1), 5 * DAY, [()], LearnSettings(), 1, 40))
    best, _ = calibrate("ddm", maker, made, 0.5)
    assert best is not None and best.upper <= 0.5
    others = list(replicates(units(1), 5 * DAY, [()], LearnSettings(), 2, 40))
    found = sum(false_alarms("ddm", maker("ddm", best.parameter), course) for courses in others for course in courses)
    # At a mean of 0.5 in each of 40, 20 are expected; Poisson's 99.9 % quantile is 35, twice the variance makes 42.
    assert found <= 42


def test_a_budget_that_no_threshold_can_promise_is_said() -> None:
    """Forty replicates without an alarm bound the mean by 0.083: less cannot be promised from them."""
    made = list(replicates(units(1, persons=20), 5 * DAY, [()], LearnSettings(), 1, 10))
    best, last = calibrate("adwin", maker, made, 0.01)
    assert best is None and last.parameter == 2e-20


def test_kswin_can_be_calibrated() -> None:
    """Every detector that may be chosen may earn its pages: 90 days took river's own KSWIN hours."""
    made = list(replicates(units(1, persons=40, each=1), 5 * DAY, [()], LearnSettings(), 1, 12))
    best, _ = calibrate("kswin", maker, made, 0.3)
    assert best is not None and best.upper <= 0.3 and best.parameter < 0.005


def test_a_slice_that_did_not_learn_in_some_replicate_is_left_out() -> None:
    """Its alarms are not known: counted as none, a slice that nobody has heard would be the best promise of all."""
    rare = [Clustered(f"r{place}", place * 3600.0, {ENGLAND: (StratumSums("", 2, 20),)}) for place in range(13)]
    slices = [(), ENGLAND]
    made = list(replicates([*units(1), *rare], 5 * DAY, slices, LearnSettings(), 1, 10))
    assert any(course.slice == ENGLAND for replicate in made for course in replicate)
    kept, left_out = audible(made, slices)
    assert left_out == [ENGLAND] and all([course.slice for course in replicate] == [()] for replicate in kept)


def test_the_same_seed_draws_the_same_traffic() -> None:
    """A record can be made again from what it says."""
    one, same, other = (list(replicates(units(1), 5 * DAY, [()], LearnSettings(), seed, 2)) for seed in (1, 1, 2))
    assert one == same != other
    (course,) = one[0]
    assert max(course.at) < 90 * DAY and len(course.values) == pytest.approx(180 * 18, rel=0.1)


def test_the_bound_covers_what_counts_vary() -> None:
    """Counts that come in bursts vary more than Poisson's: a bound that ignores it would be too low."""
    chance = np.random.default_rng(1)
    for size in (1, 4):
        draws = size * chance.poisson(0.5 / size, (1_000, 60))
        missed = sum(upper_bound(draw.tolist(), 60) < 0.5 for draw in draws)
        assert missed <= 75  # nominal 50; the standard error of 1,000 is 7, and 3.5 of these are granted


# -------------------------------------------------------------------------------------------------------------- pages
def calibrated(**changes: object) -> tuple[Calibration, ...]:
    """A record for the baselines that the stream of these tests leads to."""
    watched = decider(detectors=("adwin",))
    feed(watched, messages(england_worse, days=8))
    versions = {"all" if not slice_ else "accent=england": baseline.version
                for slice_, baseline, _ in watched.baselines()[1] if slice_ in ((), ENGLAND)}  # fmt: skip
    values = {"customer": "acme", "detector": "adwin", "parameter": 2e-3, "share": 0.25, "baselines": versions}
    return (Calibration(**{**values, **changes}),)  # type: ignore[arg-type]


def test_a_calibrated_detector_pages_and_pays() -> None:
    """Its share is spent as time passes, and what it has not is page-budget's: never more than was granted."""
    watched = decider(detectors=("page-budget", "adwin"), calibrations=calibrated(), page_budget=1e-9)
    told = [t for t in feed(watched, messages(england_worse)) if t.kind != "disparity"]
    assert (told[0].level, told[0].reason, told[0].slices) == (Level.PAGE, "adwin", ("accent=england",))
    account = watched.account()
    granted, spent = watched.budget()
    (share,) = [one.worse.spent for one in account.spenders if one.by == "adwin"]
    assert 0 < share <= 0.25 * granted and spent <= granted


@pytest.mark.parametrize("changes", [{"baselines": {"accent=england": "another"}}, {"customer": "beta"}])
def test_a_record_of_another_baseline_or_customer_lets_nobody_page(changes: dict[str, object]) -> None:
    """What was promised of one baseline says nothing of the next."""
    watched = decider(detectors=("adwin",), calibrations=calibrated(**changes))
    told = [t for t in feed(watched, messages(england_worse)) if t.kind != "disparity"]
    assert {t.level for t in told} == {Level.TICKET} and watched.budget()[1] == 0.0


def test_a_calibrated_detector_survives_a_restart_to_the_bit() -> None:
    """Money and pages, too."""
    made = messages(england_worse, days=11)
    chosen: dict[str, object] = {"detectors": ("page-budget", "adwin"), "calibrations": calibrated()}
    assert run(made, range(300, 640, 60), chosen) == run(made, (), chosen)


def test_records_leave_no_trace_in_a_decider_without_them() -> None:
    """The default's documents are those of before."""
    documents = Documents()
    watched = decider()
    feed(watched, messages(days=9))
    save(watched, documents)
    assert not {table for table, _ in documents} & {"norms", "norms_floor", "detector_tickets"}
