"""Who has been worse off all along, and when there is too little to say."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from monitor.core.cells import Cells
from monitor.core.records import Verdict
from monitor.core.standing_gaps import (
    GapRow,
    GapSettings,
    gap_dimensions,
    gaps,
    margin_of,
    radius,
    task_strata,
    verdict,
)
from tests.builders import cells_of

SETTINGS = GapSettings()


def people(
    accents: dict[str, float],
    *,
    persons: int = 200,
    sessions: int = 3,
    words: float = 100.0,
    hard: dict[str, float] | None = None,
    seed: int = 1,
) -> Cells:
    """`persons` of each accent with `sessions` at its WER; `hard` is the share of an accent's sessions in sector hard,
    where everybody's WER is .2 higher. Persons have levels of their own."""
    random = np.random.default_rng(seed)
    names = np.repeat(np.array(list(accents), object), persons * sessions)
    person = np.repeat(np.arange(len(accents) * persons), sessions)
    level = random.gamma(20.0, 1 / 20.0, len(accents) * persons)[person]
    task = random.random(len(names)) < np.array([(hard or {}).get(name, 0.3) for name in names])
    rate = np.array([accents[name] for name in names]) * level + 0.2 * task
    return cells_of(
        unit=np.arange(len(names)),
        errors=random.poisson(rate * words).astype(float),
        words=np.full(len(names), words),
        ended_at=np.arange(len(names), dtype=float),
        utterances=np.full(len(names), 5),
        labels={"accent": names, "sector": np.where(task, "hard", "easy").astype(object)},
        person=person,
    )


def rows(cells: Cells, settings: GapSettings = SETTINGS) -> dict[str, GapRow]:
    return {row.slice[0][1]: row for row in gaps(cells, ("accent",), ("accent", "sector"), settings)}


def verdicts(cells: Cells) -> dict[str, Verdict]:
    return {name: verdict(row, margin_of(row, SETTINGS)).verdict for name, row in rows(cells).items()}


def test_the_accent_that_is_worse_is_a_disparity_and_the_others_are_not() -> None:
    """The one ticket that a standing gap is worth."""
    cells = people({"a": 0.10, "b": 0.10, "c": 0.25})
    found = rows(cells)["c"]
    assert found.gap == pytest.approx(0.15, abs=0.02), "3 standard errors of 200 persons at relative spread .22"
    assert found.low is not None and found.high is not None and found.low < 0.15 < found.high
    assert found.persons == 200
    assert verdicts(cells)["c"] is Verdict.DISPARITY
    assert Verdict.DISPARITY not in (verdicts(cells)["a"], verdicts(cells)["b"])


def test_equal_accents_reach_parity_once_there_are_people_enough() -> None:
    """A green verdict has to be earned: the same accents with 60 persons each are insufficient."""
    assert set(verdicts(people({"a": 0.10, "b": 0.10}, persons=2000)).values()) == {Verdict.PARITY}
    assert set(verdicts(people({"a": 0.10, "b": 0.10}, persons=60)).values()) == {Verdict.INSUFFICIENT}


def test_an_accent_with_harder_tasks_is_not_called_worse() -> None:
    """Inside each sector it is heard like everybody else; over all, its WER is .12 higher."""
    cells = people({"a": 0.10, "b": 0.10}, persons=2000, hard={"a": 0.9, "b": 0.3})
    accent = cells.labels["accent"] == "a"
    plain = (
        cells.errors[accent].sum() / cells.words[accent].sum()
        - cells.errors[~accent].sum() / cells.words[~accent].sum()
    )
    assert plain > 0.1
    assert verdicts(cells)["a"] is Verdict.PARITY


def test_one_speaker_for_an_accent_is_insufficient_however_much_they_say() -> None:
    """Four hundred sessions of one person say how that person is heard."""
    crowd, one = people({"a": 0.10}, persons=400, sessions=1), people({"b": 0.30}, persons=1, sessions=400)
    cells = cells_of(
        unit=np.arange(800),
        errors=np.concatenate([crowd.errors, one.errors]),
        words=np.concatenate([crowd.words, one.words]),
        ended_at=np.arange(800.0),
        utterances=np.ones(800, np.int64),
        labels={name: np.concatenate([crowd.labels[name], one.labels[name]]) for name in crowd.labels},
        person=np.concatenate([crowd.person, one.person + 400]),
    )
    row = rows(cells)["b"]
    found = verdict(row, margin_of(row, SETTINGS))
    assert found.verdict is Verdict.INSUFFICIENT and found.detectable_gap is None
    assert found.words_missing >= 49 * 40_000, "49 more persons who say as much"
    assert row.gap is not None and row.gap > 0.1 and row.low is None


def test_nobody_to_compare_with_is_insufficient_too() -> None:
    """Nine others, or others in other sectors only, are no rest."""
    cells = people({"a": 0.1, "b": 0.1}, persons=60, hard={"a": 1.0, "b": 0.0})
    assert rows(cells)["a"].gap is None
    found = verdict(rows(cells)["a"], 0.02)
    assert found.verdict is Verdict.INSUFFICIENT and found.words_missing >= 1 and found.detectable_gap is None


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("others", "compared"), [(9, False), (10, True)])
def test_nine_others_are_no_rest(others: int, compared: bool, shared: bool) -> None:
    """A gap to a handful of people is a gap to those people. Who speaks both accents is one of the others, too."""
    cells = people({"a": 0.1, "b": 0.1}, persons=60, hard={"a": 0.0, "b": 0.0})
    cells = cells.select(cells.person < 60 + others)
    person = cells.person % 60 if shared else cells.person
    cells = cells_of(cells.unit, cells.errors, cells.words, cells.ended_at, cells.utterances, cells.labels, person)
    assert (rows(cells)["a"].gap is not None) == compared


def test_the_standard_error_is_the_spread_of_the_gap_over_samples_of_people() -> None:
    """Everything else rests on it. By sessions instead of persons it would be a third too small here."""
    found = [rows(people({"a": 0.2, "b": 0.2}, persons=60, sessions=6, seed=seed))["a"] for seed in range(200)]
    spread = np.std([row.gap for row in found if row.gap is not None])
    # The standard deviation of 200 values is known to 5 %: 4 of those.
    assert np.mean([row.standard_error for row in found if row.standard_error]) == pytest.approx(spread, rel=0.2)


def test_unknown_is_nobody_and_compares_with_nobody() -> None:
    """Unlabelled traffic may be anyone: it is neither a group nor part of a group's rest."""
    cells = people({"a": 0.1, "b": 0.1, "unknown": 0.9, "_other": 0.1})
    assert set(rows(cells)) == {"a", "b"}
    without = cells.select(cells.labels["accent"] != "unknown")
    assert rows(cells)["a"].gap == pytest.approx(rows(without)["a"].gap)
    assert rows(cells)["a"].standard_error == pytest.approx(rows(without)["a"].standard_error)


def test_as_many_words_as_were_said_to_be_missing_bring_a_verdict() -> None:
    """The figure tells people how much to correct: with the same people that many times over, the answer is there."""
    cells = people({"a": 0.10, "b": 0.14}, persons=100)
    row = rows(cells)["b"]
    missing = verdict(row, margin_of(row, SETTINGS)).words_missing
    assert missing > 0
    copies = int(np.ceil(1 + missing / row.words)) + 1
    more = cells.select(np.tile(np.arange(len(cells)), copies))
    person = np.concatenate([cells.person + 10_000 * copy for copy in range(copies)])
    later = cells_of(more.unit, more.errors, more.words, more.ended_at, more.utterances, more.labels, person)
    assert verdicts(later)["b"] is Verdict.DISPARITY


@pytest.mark.parametrize(
    ("gap", "reach", "wanted"),
    [
        (0.05, 0.029, Verdict.DISPARITY),
        (0.05, 0.031, Verdict.INSUFFICIENT),
        (0.0, 0.019, Verdict.PARITY),
        (0.0, 0.021, Verdict.INSUFFICIENT),
        (-0.05, 0.04, Verdict.INSUFFICIENT),
        (-0.05, 0.029, Verdict.PARITY),
    ],
)
def test_verdicts_compare_the_interval_with_the_margin(gap: float, reach: float, wanted: Verdict) -> None:
    """Neither verdict without the whole interval on its side; insufficient is what is left, and says what it lacks."""
    row = GapRow(
        slice=(("accent", "a"),),
        persons=100,
        words=10_000.0,
        alpha=0.0025,
        persons_min=50,
        gap=gap,
        low=gap - reach,
        high=gap + reach,
        rest_wer=0.1,
        radius=reach,
        standard_error=reach / radius(1.0, 100, 0.0025),
    )
    found = verdict(row, 0.02)
    assert found.verdict is wanted
    assert (found.words_missing > 0) == (wanted is Verdict.INSUFFICIENT)
    assert found.detectable_gap is not None and found.detectable_gap > 0.02 + reach
    few = msgspec.structs.replace(row, persons=49, low=None, high=None)
    assert verdict(few, 0.02).verdict is Verdict.INSUFFICIENT


def test_looking_again_and_again_costs_no_certainty() -> None:
    """A ticket may open at any look: the bound must hold at all of them together, not at each."""
    people_seen = np.arange(50, 1001, 10)
    draws = np.random.default_rng(5).normal(size=(400, 1000))
    means = draws.cumsum(axis=1)[:, people_seen - 1] / people_seen
    reach = np.array([radius(1 / np.sqrt(n), int(n), 0.05) for n in people_seen])
    crossed = int((means > reach).any(axis=1).sum())
    # Binomial(400, .05) has its 99.9 % point at 35; a fixed 95 % bound would be crossed by about 120 of 400.
    assert crossed <= 35
    assert int((means > 1.645 / np.sqrt(people_seen)).any(axis=1).sum()) > 60


def test_margins_are_absolute_for_good_recognisers_and_relative_for_bad_ones() -> None:
    """Two points matter at WER .05; at .4 they are noise of the microphone."""
    row = GapRow(slice=(("accent", "a"),), persons=1, words=1.0, alpha=0.05, persons_min=50, rest_wer=0.4)
    assert margin_of(row, SETTINGS) == pytest.approx(0.06)
    assert margin_of(msgspec.structs.replace(row, rest_wer=0.05), SETTINGS) == 0.02
    assert margin_of(msgspec.structs.replace(row, rest_wer=None), SETTINGS) == 0.02


def test_tasks_are_held_fixed_and_speakers_are_not() -> None:
    """Strata of a gap: what is done. An accent is not excused by the gender or the age of those who have it."""
    strata_names = ("accent", "deployment", "sector", "gender", "years_here")
    assert task_strata(strata_names, "accent", ("years_here",)) == ("deployment", "sector")
    assert task_strata(strata_names, "gender", ("years_here",)) == ("deployment", "sector")
    assert task_strata(strata_names, "sector") == ("deployment", "years_here")
    assert gap_dimensions(("accent", "deployment", "sector", "model")) == ("accent", "sector")
