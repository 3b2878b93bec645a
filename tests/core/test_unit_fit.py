"""Whether sessions are long enough: rosters that return are found, independent sessions never."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from monitor.core.cells import Cells
from monitor.core.groupings import DAY
from monitor.core.records import UnitFit
from monitor.core.unit_fit import DAY_BLOCK, HOUR_BLOCK, SPEAKER_DAY, unit_advice, unit_fit
from tests.builders import MARCH_2, cells_of, observation, outcome
from tests.core.deciding_streams import Documents, Message, decider, feed, save


def sessions(
    seed: int,
    people: int | None = None,
    roster_days: int | None = None,
    spread: float = 0.0,
    units: int = 1500,
    deviation: float = 0.3,
) -> tuple[Cells, list[str]]:
    """28 days of sessions of 60 words with levels of their own (gamma), and their speakers.

    people       so many speakers; None: a new one for each session
    roster_days  others take over after so many days; None: the same for good
    spread       deviation of the speakers' levels; deviation: of the sessions'
    """
    draws = np.random.default_rng(seed)
    ended_at = MARCH_2 + np.sort(draws.uniform(0.0, 28 * DAY, units))
    turn = ((ended_at - MARCH_2) // (DAY * (roster_days or 28))).astype(np.int64)
    who = np.arange(units) if people is None else turn * people + draws.integers(0, people, units)
    level = draws.gamma(1 / deviation**2, deviation**2, units)
    if spread:
        level = level * draws.gamma(1 / spread**2, spread**2, int(who.max()) + 1)[who]
    words = draws.integers(30, 90, units).astype(np.float64)
    errors = np.minimum(draws.poisson(0.12 * words * level), 1.5 * words).astype(np.float64)
    accents = np.array(["a", "b", "c"], object)[who % 3]
    counted = np.ones(units, np.int64)
    cells = cells_of(np.arange(units), errors, words, ended_at, counted, {"accent": accents}, np.arange(units))
    return cells, [f"p{number}" for number in who]


def judged(cells: Cells, speakers: list[str]) -> UnitFit | None:
    return unit_fit("acme", MARCH_2 + 28 * DAY, cells, speakers, ("accent",), np.zeros(len(cells), np.int64))


def advice(runs: int, **how: object) -> Counter[str | None]:
    found = [judged(*sessions(seed, **how)) for seed in range(runs)]  # type: ignore[arg-type]
    return Counter(None if fit is None else fit.longer for fit in found)


@pytest.mark.parametrize("people", [None, 100])
def test_independent_sessions_are_left_alone(people: int | None) -> None:
    """A warning that comes every month is read by nobody. Speakers who return without a level of their own are none."""
    # Asked for is under 1 in 100 streams; 4 of 150 is the 2 % point of Poisson(1.5). Measured: 1 in 1,300.
    assert advice(150, people=people)[None] >= 147


@pytest.mark.parametrize("roster_days", [1, 4])
def test_a_roster_that_returns_for_days_asks_for_a_speaker_s_day(roster_days: int) -> None:
    """Four speakers at a time: 54 sessions a day are then about four pieces of evidence, not 54."""
    assert advice(20, people=4, roster_days=roster_days, spread=0.4)[SPEAKER_DAY] >= 19


def test_a_roster_is_seen_without_speakers_as_well() -> None:
    """Most traffic declares no speaker; its days differ all the same."""
    found = [judged(sessions(seed, people=4, roster_days=1, spread=0.4)[0], [""] * 1500) for seed in range(20)]
    assert sum(fit is not None and fit.longer == DAY_BLOCK for fit in found) >= 19


@pytest.mark.parametrize(("people", "spread"), [(8, 0.4), (100, 0.3)])
def test_the_same_speakers_every_day_are_left_alone_and_told_as_a_ratio(people: int, spread: float) -> None:
    """Their mix makes days alike and the budget is kept (docs/units.md): a longer unit would only cost delay."""
    assert advice(50, people=people, spread=spread)[None] >= 49
    fit = judged(*sessions(1, people=people, spread=spread))
    assert fit is not None and {block.block: block.ratio for block in fit.ratios}["speaker"] > 3


def test_what_an_incident_explains_is_no_roster() -> None:
    """A fault makes a week of sessions worse together; told as units that are too short, it would hide the fault."""
    cells, _ = sessions(1)
    late = (cells.ended_at > MARCH_2 + 24 * DAY).astype(np.int64)
    worse = cells_of(
        cells.unit, cells.errors * np.where(late, 3.0, 1.0), cells.words, cells.ended_at, cells.utterances,
        cells.labels, cells.person,
    )  # fmt: skip
    blind = unit_fit("acme", MARCH_2, worse, [""] * 1500, ("accent",), np.zeros(1500, np.int64))
    told = unit_fit("acme", MARCH_2, worse, [""] * 1500, ("accent",), late)
    assert blind is not None and told is not None
    assert (blind.longer, told.longer) == (DAY_BLOCK, None)


def test_a_decider_knows_the_speakers_of_declared_sessions_and_still_does_after_a_restart() -> None:
    """A session id hides who speaks from the bets; the diagnostic must not be as blind."""
    chance = random.Random(5)
    made: list[Message] = []
    for key in range(40 * 12):
        day, who = key // 40, key % 4
        level = 0.1 * random.Random(10 * day + who).gammavariate(6, 1 / 6)
        at = MARCH_2 + key * DAY / 40
        said = {"event_at": at, "session": f"s{key}", "speaker": f"p{day}.{who}"}
        made.append(observation(key, **said))
        errors = sum(chance.random() < level for _ in range(60))
        made.append(outcome(key, words=60, errors=errors, reference_at=at + 60.0, **said))
    first = decider()
    documents: Documents = {}
    feed(first, made)
    fit = first.unit_fit()
    assert fit is not None and {block.block for block in fit.ratios} >= {"speaker_day", "day"}
    assert fit.longer == SPEAKER_DAY and min(one.ratio for one in fit.ratios if one.block != HOUR_BLOCK) > 2
    save(first, documents)
    again = decider()
    for (table, name), value in documents.items():
        again.restore(table, name, value)
    assert again.unit_fit() == fit


def calls(seed: int, level_of_call: float, sessions_a_call: int = 12) -> Cells:
    """Three calls a day for two weeks, whose bursts are units: a few of 1,500 words, most of 20 to 200."""
    draws = np.random.default_rng(seed)
    call = np.repeat(np.arange(42), sessions_a_call)
    ended_at = MARCH_2 + (call // 3) * DAY + (9 + 3 * (call % 3)) * 3600.0 + draws.uniform(0, 3599.0, len(call))
    words = np.where(draws.random(len(call)) < 0.1, 1_500.0, draws.integers(20, 200, len(call)).astype(np.float64))
    level = draws.gamma(4.0, 0.25, len(call))
    if level_of_call:
        level *= draws.gamma(1 / level_of_call**2, level_of_call**2, 42)[call]
    errors = np.minimum(draws.poisson(0.14 * words * level), 1.5 * words).astype(np.float64)
    order, counted = np.argsort(ended_at), np.ones(len(call), np.int64)
    columns = (errors[order], words[order], ended_at[order], counted)
    return cells_of(np.arange(len(call)), *columns, {"accent": np.full(len(call), "unknown", object)}, call[order])


def test_bursts_of_calls_ask_for_the_call() -> None:
    """42 calls are 42 pieces of evidence; counted as 500 bursts they page. The long bursts must not hide it."""
    found = [judged(calls(seed, 0.5), [""] * 504) for seed in range(20)]
    # Measured 19 of 20 (below); fewer than 14 at a chance of .9 would be one stream in 800.
    assert sum(fit is not None and fit.longer == HOUR_BLOCK for fit in found) >= 14
    fit = next(fit for fit in found if fit is not None and fit.longer == HOUR_BLOCK)
    assert "a whole conversation, e.g. call" in str(unit_advice(fit))


def test_calls_that_have_nothing_in_common_are_left_alone() -> None:
    """A warning that names calls wherever there are calls says nothing of them."""
    found = [judged(calls(seed, 0.0), [""] * 504) for seed in range(100)]
    assert sum(fit is not None and fit.longer is not None for fit in found) <= 3


def test_the_advice_says_how_much_and_what_to_set() -> None:
    """ "Variance ratio 5.6" is nothing that anybody can act on."""
    fit = judged(*sessions(1, people=4, roster_days=4, spread=0.4))
    assert fit is not None
    said = unit_advice(fit)
    assert said is not None and "times as much" in said and "decide.unit" in said and "speaker" in said
    assert judged(*sessions(1, units=50)) is None


if __name__ == "__main__":  # the table of docs/units.md, about a minute
    for runs, how in (
        (300, {}),
        (300, {"deviation": 0.6}),
        (300, {"units": 200}),
        (300, {"people": 100}),
        (100, {"units": 6000, "deviation": 0.6}),
        (100, {"people": 4, "roster_days": 1, "spread": 0.4}),
        (100, {"people": 4, "roster_days": 4, "spread": 0.4}),
        (100, {"people": 100, "spread": 0.3}),
        (100, {"people": 20, "spread": 0.4}),
        (100, {"people": 8, "spread": 0.4}),
        (100, {"people": 20, "roster_days": 4, "spread": 0.3}),
        (100, {"people": 60, "roster_days": 1, "spread": 0.5, "units": 3000}),
    ):
        print(runs, how, dict(advice(runs, **how)))
