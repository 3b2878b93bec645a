"""Lists: few of those listed are wrong, whatever the slices have in common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from monitor.core.drift import Baseline, StratumSums, UnitSums, Watch
from monitor.core.e_values import drift_e_values, e_bh, gap_e_value
from monitor.core.records import IncidentKind, Slice
from monitor.core.standing_gaps import GapRow
from tests.builders import DAY, MARCH_2
from tests.core.deciding_streams import decider, feed, messages

SLICE: Slice = (("accent", "indian"),)


def test_few_of_those_listed_are_false() -> None:
    """40 slices that share half of their luck, 8 of them worse, 2,000 lists: at most .10, standard error .004."""
    chance = np.random.default_rng(1)
    worse = np.arange(40) < 8
    false, listed = [], 0
    for _ in range(2_000):
        z = np.sqrt(0.5) * chance.normal() + np.sqrt(0.5) * chance.normal(size=40)
        values = dict(enumerate(np.exp(4.0 * (z + 4.0 * worse) - 8.0).tolist()))
        found = e_bh(values, 0.1)
        false.append(sum(not worse[key] for key in found) / max(len(found), 1))
        listed += len(found)
    assert np.mean(false) <= 0.11 and listed > 4_000


def test_nothing_is_listed_of_nothing() -> None:
    assert e_bh({}, 0.1) == []


def test_the_wealth_of_a_slice_that_is_as_it_was_is_1_on_average() -> None:
    """Else a list would be false more often than it says; 2,000 slices at the edge of what H0 allows, seed 2."""
    chance = np.random.default_rng(2)
    watch = Watch(SLICE, 0.0, baseline=Baseline({"s": 0.1}, 1.1, 3.0), closed_at=MARCH_2)
    values = []
    for _ in range(2_000):
        errors = chance.poisson(3.3, 40).tolist()
        units: list[tuple[float, Mapping[Slice, UnitSums]]] = [
            (MARCH_2 + (i + 1) * DAY / 2, {SLICE: (StratumSums("s", errors[i], 30),)}) for i in range(40)
        ]
        values.append(drift_e_values({SLICE: watch}, units, MARCH_2 - DAY, MARCH_2 + 21 * DAY)[SLICE])
    assert np.mean(values) <= 1.0 + 4 * np.std(values) / np.sqrt(len(values))
    assert max(values) < 2_000 * 20


def test_a_gap_is_evidence_from_50_persons_on() -> None:
    """A normal mixture over fewer is no e-value; and its mean under no gap is 1 (z standard normal, 200,000 draws)."""
    row = GapRow(slice=SLICE, persons=60, words=1e3, alpha=0.1, persons_min=50, gap=0.1, standard_error=0.02)
    few = GapRow(slice=SLICE, persons=49, words=1e3, alpha=0.1, persons_min=50, gap=0.1, standard_error=0.02)
    assert gap_e_value(row, 0.02) > 20 and gap_e_value(few, 0.02) == 1.0
    spread = 0.6
    z = np.random.default_rng(3).normal(size=2_000)
    rows = [GapRow(slice=SLICE, persons=60, words=1.0, alpha=0.1, persons_min=50, gap=g, standard_error=1.0) for g in z]
    assert abs(np.mean([gap_e_value(one, 0.0) for one in rows]) - 1.0) < 0.1 * spread


def test_a_decider_lists_what_drifted() -> None:
    """Also after the page has reset its own evidence: who opens the list then must find it there."""
    watched = decider()
    feed(watched, messages(lambda accent, day: 0.6 if accent == "indian" and day > 8 else 0.1, days=20.0))
    found = watched.worse(0.1)
    assert (SLICE, IncidentKind.DRIFT) in [(one.slice, one.kind) for one in found.listed]
    calm = decider()
    feed(calm, messages(days=20.0))
    assert not [one for one in calm.worse(0.1).listed if one.kind == IncidentKind.DRIFT]
