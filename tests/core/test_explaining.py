"""Who is named, since when, and how much worse: on small made-up streams where the truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.cells import Cells, FloatArray, IntArray
from monitor.core.explaining import (
    ExplainSettings,
    Explanation,
    Row,
    best_of,
    better_name,
    change_point,
    expected,
    explain,
    llr,
    most_general,
    ratio_interval,
    unit_weight,
)
from monitor.core.groupings import (
    DAY,
    WINDOWS,
    age_bins,
    candidates,
    dense,
    groupings,
    mask_of,
    strata,
    unit_counts,
    window_sums,
)
from monitor.core.records import Slice
from monitor.core.slicing import ALL, slice_name
from tests.builders import cells_of

AXES = (("accent",), ("deployment",), ("accent", "deployment"))
STRATA = ("accent", "deployment")
NOW = 20 * DAY
CLINIC = (("accent", "a"), ("deployment", "clinic"))


def stream(
    rate: Callable[[Cells], FloatArray] | None = None,
    *,
    units: int = 3000,
    words: float = 20.0,
    seed: int = 7,
) -> Cells:
    """Utterances over 20 days, accents a, b, c in clinic and centre, errors Poisson at WER .1 times `rate(cells)`."""
    random = np.random.default_rng(seed)
    plain = cells_of(
        unit=np.arange(units),
        errors=np.zeros(units),
        words=np.full(units, words),
        ended_at=np.sort(random.uniform(0.0, NOW, units)),
        utterances=np.ones(units, np.int64),
        labels={
            "accent": random.choice(np.array(["a", "b", "c"], object), units),
            "deployment": random.choice(np.array(["centre", "clinic"], object), units),
        },
        person=np.arange(units),
    )
    factor = np.ones(units) if rate is None else rate(plain)
    return with_errors(plain, random.poisson(0.1 * plain.words * factor).astype(np.float64))


def with_errors(cells: Cells, errors: FloatArray) -> Cells:
    return cells_of(cells.unit, errors, cells.words, cells.ended_at, cells.utterances, cells.labels, cells.person)


def times(slice_: Slice, factor: float, days: float = 4.0) -> Callable[[Cells], FloatArray]:
    """A fault: `slice_` has `factor` times its errors in the last `days`."""
    return lambda cells: np.where(mask_of(cells, slice_) & (cells.ended_at > NOW - days * DAY), factor, 1.0)


def explained(
    cells: Cells, epoch: IntArray | None = None, sign: float = 1.0, strata_names: tuple[str, ...] = STRATA
) -> Explanation:
    epochs = np.zeros(len(cells), np.int64) if epoch is None else epoch
    return explain(cells, AXES, strata_names, epochs, NOW, ExplainSettings(), sign)


def named(explanation: Explanation) -> str:
    row = most_general(explanation)
    return "nothing" if row is None else slice_name(row.slice)


# -------------------------------------------------------------------------------------------------------------- naming
@pytest.mark.parametrize("slice_", [ALL, (("accent", "a"),), (("deployment", "clinic"),), CLINIC])
def test_the_slice_that_doubled_is_named_and_no_other(slice_: Slice) -> None:
    """The name is what a person acts on: neither a child of the fault, nor a parent that it only touches."""
    explanation = explained(stream(times(slice_, 2.0)))
    row = most_general(explanation)
    assert row is not None and row.slice == slice_
    assert row.days in (3, 4, 6), "the windows next to the 4 days of the fault"
    # 20 words at WER .1 in the smallest slice: 100 utterances after, so 20 errors of Poisson noise on 40.
    assert row.ratio == pytest.approx(2.0, rel=0.45)
    assert row.after > row.before


def test_a_fault_that_went_away_is_an_improvement_under_the_other_sign() -> None:
    """An improvement re-opens learning for the slices it reached, general ones included, and never explains a rise."""
    cells = stream(times((("accent", "b"),), 0.4))
    assert named(explained(cells, sign=-1.0)) == "accent=b"
    assert all("accent=b" not in slice_name(row.slice) for row in explained(cells).ranked)


def test_a_change_of_mix_is_not_explained_as_drift() -> None:
    """When the hard site sends nine tenths of traffic from one day on, nobody hears worse than before."""
    cells = stream(units=4000)
    late = cells.ended_at > NOW - 4 * DAY
    hard = mask_of(cells, (("deployment", "clinic"),))
    kept = np.random.default_rng(1).random(4000) < np.where(late == hard, 0.9, 0.1)
    cells = cells.select(kept)
    errors = np.random.default_rng(2).poisson(0.1 * cells.words * np.where(hard[kept], 3.0, 1.0)).astype(float)
    mixed = with_errors(cells, errors)
    # 10 slices, 8 overlapping windows: the chance that one gains 6 nats is about 10 x 4 x exp(-6) / 2 = 5 %.
    assert max((row.llr for row in explained(mixed).ranked), default=0.0) < 6.0
    assert explained(mixed, strata_names=()).ranked[0].llr > 50.0, "without strata it would be"


def test_one_long_looping_session_does_not_drown_the_slice_that_changed() -> None:
    """A session of 300 ordinary ones, at WER 1.5, must not carry its own accent to the top."""
    cells = stream(times((("accent", "b"),), 2.0))
    loop = int(np.flatnonzero(mask_of(cells, (("accent", "a"),)) & (cells.ended_at > NOW - 2 * DAY))[0])
    cells.words[loop], cells.errors[loop] = 6000.0, 9000.0
    assert named(explained(cells)) == "accent=b"


def test_what_an_incident_explains_is_not_found_again() -> None:
    """The cells of an open incident are an epoch of their own: its second look must not open a second incident."""
    fault = (("accent", "a"),)
    cells = stream(times(fault, 2.0))
    epoch = (mask_of(cells, fault) & (cells.ended_at > NOW - 4 * DAY)).astype(np.int64)
    assert max((row.llr for row in explained(cells, epoch).ranked), default=0.0) < 6.0


def test_nothing_is_named_where_there_is_too_little() -> None:
    """Seven units after a change are no ground for a name, and no cells at all no ground for a crash."""
    cells = stream(times(ALL, 4.0, days=1.0), units=140)
    assert (cells.ended_at > NOW - DAY).sum() < 8, "the fixture has few recent units"
    assert all(days > 1 for _, days in explained(cells).table)
    assert named(explained(cells.select(np.zeros(0, np.int64)))) == "nothing"


def test_few_but_long_units_are_enough() -> None:
    """Calls: one call of 3,000 words after two others can be named; the general rule would wait for 23."""
    cells = stream(units=6, words=3000.0)
    ended_at = NOW - np.array([19.0, 18.0, 17.0, 16.5, 0.6, 0.5]) * DAY
    calls = cells_of(cells.unit, cells.errors, cells.words, ended_at, cells.utterances, cells.labels, cells.person)
    assert (ALL, 1) in explained(calls).table


def test_a_score_is_the_likelihood_ratio_over_the_dispersion_less_the_toll() -> None:
    """The formula of the design, restated slowly for one slice and window of sessions with two cells each."""
    random = np.random.default_rng(4)
    cells = stream(units=800).select(np.repeat(np.arange(800), 2))
    level = np.repeat(random.gamma(2.0, 0.5, 800), 2) * times(CLINIC, 2.0)(cells)
    cells = with_errors(cells, random.poisson(2.0 * level).astype(float))
    x = expected(cells.errors, cells.words, strata(cells, STRATA), np.zeros(1600, np.int64))
    unit = cells.unit
    per_unit = [np.bincount(unit, values).astype(float) for values in (cells.errors - x, x)]
    v = unit_weight(*per_unit)[unit]
    e, x = cells.errors * v, x * v
    inside, late = mask_of(cells, CLINIC), cells.ended_at > NOW - 4 * DAY
    squares = np.bincount(unit, e - x) ** 2
    members = np.unique(unit[inside])
    overall, m = squares.sum() / x.sum(), len(members)
    phi = (m * squares[members].sum() / x[inside].sum() + 30 * overall) / (m + 30)
    o1, x1, o0, x0 = (values[inside & rows].sum() for rows in (late, ~late) for values in (e, x))
    gain = (o1 * np.log(o1 / x1) + o0 * np.log(o0 / x0) - (o1 + o0) * np.log((o1 + o0) / (x1 + x0))) / phi
    row = explained(cells).table[CLINIC, 4]
    assert row.phi == pytest.approx(phi)
    assert row.llr == pytest.approx(gain)
    # 6 two-way slices share .3; the least toll is that of ALL, one slice with .2.
    assert row.score == pytest.approx(gain - np.log(6 / 0.3) + np.log(1 / 0.2))
    assert row.ratio == pytest.approx((o1 / x1) / (o0 / x0))


# ------------------------------------------------------------------------------------------------------------- renaming
def row(slice_: Slice, score: float, days: int = 4, **changes: float) -> Row:
    values = {"llr": score, "phi": 1.0, "ratio": 2.0, "before": 0.1, "after": 0.2, **changes}
    return Row(slice=slice_, depth=len(slice_), days=days, score=score, **values)


def explanation(*rows: Row) -> Explanation:
    ranked = tuple(sorted(rows, key=lambda row: -row.score))
    return Explanation({(row.slice, row.days): row for row in rows}, ranked)


def test_the_most_general_within_one_nat_is_named() -> None:
    """Two names that fit alike: the shorter is where a person looks first, and the child has paid a toll."""
    child, parent = row(CLINIC, 10.0, llr=13.0), row((("accent", "a"),), 7.0, llr=9.0)
    assert most_general(explanation(child, parent)) == parent
    far = row((("accent", "a"),), 7.0, llr=8.9)
    assert most_general(explanation(child, far)) == child
    better = row((("accent", "a"),), 7.0, llr=9.0, ratio=0.9)
    assert most_general(explanation(child, better)) == child, "a parent that improved explains nothing"


def test_an_open_incident_is_renamed_only_for_two_nats() -> None:
    """Names that flip with every look would teach people not to read them."""
    current, other = (("accent", "a"),), (("accent", "b"),)
    assert better_name(explanation(row(current, 6.0), row(other, 7.9)), current) is None
    renamed = better_name(explanation(row(current, 6.0), row(other, 8.0)), current)
    assert renamed is not None and renamed.slice == other
    assert better_name(explanation(row(other, 4.0)), current) is None, "4 nats are not clear by themselves"
    assert better_name(explanation(row(current, 9.0)), current) is None
    assert better_name(explanation(), current) is None
    assert best_of(explanation(row(current, 6.0), row(current, 7.0, days=6)), current) == row(current, 7.0, days=6)


# -------------------------------------------------------------------------------------------------------- expectations
def test_a_stratum_expects_its_own_rate_shrunk_to_its_epoch() -> None:
    """The formula by hand: (E + 200 x epoch's rate) / (W + 200), and never below one error in a thousand words."""
    stratum, epoch = np.array([0, 0, 1, 2]), np.array([0, 0, 0, 1])
    errors, words = np.array([10.0, 20.0, 0.0, 0.0]), np.array([100.0, 200.0, 100.0, 50.0])
    rate = 30.0 / 400.0
    assert expected(errors, words, stratum, epoch) == pytest.approx(
        [
            100.0 * (30.0 + 200.0 * rate) / 500.0,
            200.0 * (30.0 + 200.0 * rate) / 500.0,
            100.0 * (200.0 * rate) / 300.0,
            50.0 * 1e-3,
        ]
    )
    assert len(expected(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))) == 0


def test_long_units_count_less_only_where_units_differ() -> None:
    """Weights are for sessions with a level of their own; words that err independently keep weight 1."""
    random = np.random.default_rng(3)
    expectation = random.choice([2.0, 20.0, 200.0], 3000)
    alike = random.poisson(expectation) - expectation
    unlike = random.poisson(expectation * random.gamma(2.0, 0.5, 3000)) - expectation
    assert unit_weight(alike, expectation).min() > 0.5
    # Var = X + X^2 / 2: a unit of 200 should weigh 1 / (1 + 100).
    assert unit_weight(unlike, expectation)[expectation == 200.0][0] == pytest.approx(1 / 101, rel=0.5)
    assert (unit_weight(np.ones(3000), expectation) == 1.0).all(), "long units are never worth more"
    assert (unit_weight(np.zeros(3), np.zeros(3)) == 1.0).all()


def test_the_likelihood_ratio_is_poissons_and_one_sided() -> None:
    """By hand: doubled against halved; the other direction is worth nothing, and so is an empty side."""

    def one(o1: float, x1: float, o0: float, x0: float, sign: float = 1.0) -> float:
        return float(llr(np.array([o1]), np.array([x1]), np.array([o0]), np.array([x0]), sign)[0])

    assert one(20, 10, 10, 20) == pytest.approx(20 * np.log(20 * 30 / (10 * 30)) + 10 * np.log(10 * 30 / (20 * 30)))
    assert one(10, 20, 20, 10) == 0.0
    assert one(10, 20, 20, 10, sign=-1.0) > 0.0
    assert one(5, 0, 5, 5) == 0.0
    assert one(5, 5, 0, 5) == pytest.approx(5 * np.log(2))


# ----------------------------------------------------------------------------------------------- since when, how much
def test_a_change_is_dated_to_within_its_range() -> None:
    """People compare "since" with their deployments: the range must hold the truth, and be days, not weeks."""
    hit, width = 0, 0.0
    for seed in range(40):
        cells = stream(times(ALL, 2.0, days=5.2), units=600, seed=seed)
        stratum, epoch = strata(cells, STRATA), np.zeros(600, np.int64)
        expectation = expected(cells.errors, cells.words, stratum, epoch)
        found = change_point(cells, expectation, np.arange(600), NOW, days=6)
        hit += found.low <= NOW - 5.2 * DAY <= found.high
        width += (found.high - found.low) / DAY / 40
    # A 95 % range: 33 of 40 is the 1 % point of Binomial(40, .95).
    assert hit >= 33
    assert width < 2.5


def test_a_change_of_few_cells_is_dated_by_its_window() -> None:
    """Below 20 cells the best split is noise."""
    cells = stream(units=19)
    found = change_point(cells, cells.words * 0.1, np.arange(19), NOW, days=4)
    assert (found.low, found.at, found.high) == (NOW - 6 * DAY, NOW - 4 * DAY, NOW - 3 * DAY)


def test_cells_that_end_together_stay_together() -> None:
    """One session in two slices is before or after, never half."""
    cells = stream(units=60)
    ended_at = np.repeat(np.linspace(0.5, 19.5, 20), 3) * DAY
    together = cells_of(cells.unit, cells.errors, cells.words, ended_at, cells.utterances, cells.labels, cells.person)
    errors = np.where(np.arange(60) >= 46, 10.0, 1.0)
    found = change_point(with_errors(together, errors), np.full(60, 2.0), np.arange(60), NOW, days=4)
    assert found.at == ended_at[44], "two of the three cells of the next session are bad: all three are after"


def test_the_ratio_interval_covers_the_truth_for_clustered_errors() -> None:
    """A 95 % interval by words would cover far less here: sessions have levels of their own."""
    covered = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        level = random.gamma(4.0, 0.25, 200) * np.where(np.arange(200) >= 120, 1.5, 1.0)
        cells = stream(units=200).select(np.repeat(np.arange(200), 5))
        cells = with_errors(cells, random.poisson(2.0 * np.repeat(level, 5)).astype(float))
        found = ratio_interval(cells, np.full(1000, 2.0), np.arange(600, 1000), np.arange(600))
        assert found is not None
        covered += found.low <= 1.5 <= found.high
    # Binomial(300, .95) has its .1 % point at 272.
    assert covered >= 272


def test_the_ratio_of_nothing_is_finite_or_absent() -> None:
    """A slice without an error before is told as a large number, not as infinity in a JSON line."""
    cells = with_errors(stream(units=40), np.where(np.arange(40) >= 30, 2.0, 0.0))
    found = ratio_interval(cells, np.full(40, 1.0), np.arange(30, 40), np.arange(30))
    assert found is not None and np.isfinite([found.ratio, found.low, found.high]).all()
    assert ratio_interval(cells, np.full(40, 1.0), np.arange(30, 40), np.zeros(0, np.int64)) is None


# --------------------------------------------------------------------------------------------------------------- slices
def labelled(accents: list[str], deployments: list[str]) -> Cells:
    cells = stream(units=len(accents))
    labels = {"accent": np.array(accents, object), "deployment": np.array(deployments, object)}
    return cells_of(cells.unit, cells.errors, cells.words, cells.ended_at, cells.utterances, labels, cells.person)


def test_unknown_and_other_are_slices_but_never_part_of_an_intersection() -> None:
    """What they share is that nobody said more: "unknown at the clinic" is no group of people."""
    cells = labelled(["a", "unknown", "_other", "a"], ["clinic", "clinic", "centre", "centre"])
    assert [slice_name(candidate.slice) for candidate in candidates(cells, AXES)] == [
        "all",
        "accent=_other",
        "accent=a",
        "accent=unknown",
        "deployment=centre",
        "deployment=clinic",
        "accent=a&deployment=centre",
        "accent=a&deployment=clinic",
    ]


def test_a_dimension_with_one_value_is_no_slice() -> None:
    """It is all traffic under another name, and would only pay toll for everybody else of its depth."""
    cells = labelled(["a", "b"], ["clinic", "clinic"])
    assert [slice_name(candidate.slice) for candidate in candidates(cells, AXES)] == ["all", "accent=a", "accent=b"]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy_"), st.integers(0, 20), st.integers(0, 5)), min_size=1
    )
)
def test_sums_by_slice_and_window_are_what_a_loop_over_masks_gives(
    cells_drawn: list[tuple[str, str, int, int]],
) -> None:
    """The fast sums restated slowly: every slice, every window, errors and distinct units."""
    base = labelled([drawn[0] for drawn in cells_drawn], [drawn[1] for drawn in cells_drawn])
    unit = dense(np.array([drawn[3] for drawn in cells_drawn]))
    ages = np.array([drawn[2] for drawn in cells_drawn], float)
    cells = cells_of(unit, base.errors, base.words, NOW - ages[unit] * DAY, base.utterances, base.labels, base.person)
    bins = age_bins(cells.ended_at, NOW)
    for grouping in groupings(cells, AXES):
        sums, units = window_sums(grouping, bins, (cells.errors,))[0], unit_counts(grouping, unit, bins)
        for number, slice_ in enumerate(grouping.slices):
            for column, days in enumerate((*WINDOWS, np.inf)):
                inside = mask_of(cells, slice_) & (cells.ended_at > NOW - days * DAY)
                assert sums[number, column] == pytest.approx(cells.errors[inside].sum())
                assert units[number, column] == len(np.unique(unit[inside]))
