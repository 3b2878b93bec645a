"""Detectors beside the page budget: they open tickets, never move a page, and survive a restart to the bit."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence

import pytest

from monitor.core.advising import Advice, Advisers
from monitor.core.closed_units import CellRow
from monitor.core.detectors import DEFAULTS, LADDERS, Anchored, standing_for
from monitor.core.records import IncidentKind, Level, Transition
from monitor.core.river_detectors import maker
from monitor.settings_table import RIVER_DETECTORS
from tests.builders import DAY, HOUR, MARCH_2
from tests.core.deciding_streams import (
    Documents,
    Message,
    arrival,
    decider,
    feed,
    look_on,
    messages,
    save,
    steady,
    take,
)

BOTH = ("page-budget", "adwin", "ddm")


def england_worse(accent: str, day: float) -> float:
    return 0.4 if accent == "england" and day > 8 else steady(accent, day)


# ---------------------------------------------------------------------------------------------------- one interface
@pytest.mark.parametrize("name", RIVER_DETECTORS)
def test_a_degraded_level_never_becomes_the_norm(name: str) -> None:
    """river's detectors reset after an alarm and call the degraded level normal: on call would hear of it once."""
    chance = random.Random(1)
    high, low = (1.0, 0.0) if name in ("ddm", "hddm-a", "hddm-w") else (3.0, 1.0)

    def value(degraded: bool) -> float:
        return high if chance.random() < (0.9 if degraded else 0.1) else low

    watched = Anchored(maker(name), [value(False) for _ in range(200)])
    alarms = []
    for at in range(1_500):
        watched.update(value(at >= 300))
        alarms += [at] if watched.drift_detected else []
    assert sum(at < 300 for at in alarms) <= (10 if name == "kswin" else 1)
    # Three times in 1,200 degraded values, the last of them late: it goes on alarming.
    assert sum(at >= 300 for at in alarms) >= 3 and alarms[-1] > 1_200


def test_the_norm_is_spread_like_what_the_baseline_learned() -> None:
    """Of 3,000 units the first 200 lie 7 % beside their mean by chance: big slices alarmed on that for ever."""
    chance = random.Random(1)
    values = [chance.gammavariate(1, 1) for _ in range(3_000)]
    norm = standing_for(values)
    assert len(norm) == 200 and set(norm) <= set(values) and standing_for(values[:200]) == tuple(values[:200])
    mean = sum(values) / 3_000
    assert abs(sum(norm) / 200 - mean) < 0.02 * mean
    # A half of it is like the other half: detectors that forget the older part keep the level.
    assert abs(sum(norm[:100]) - sum(norm[100:])) < 0.05 * sum(norm)


def test_our_kswin_is_rivers() -> None:
    """It is 15 times as fast, so that it can be calibrated; what it says has to be what its name promises."""
    from river import drift

    chance = random.Random(3)
    # One decimal, so that there are ties; twice as large from 400 on.
    values = [round(chance.gammavariate(1, 1 + (place >= 400)), 1) for place in range(800)]
    theirs, ours, alarms = drift.KSWIN(alpha=0.005, seed=1), maker("kswin")(), 0
    for value in values:
        theirs.update(value)  # type: ignore[no-untyped-call]
        ours.update(value)
        assert ours.drift_detected == theirs.drift_detected
        alarms += theirs.drift_detected
    assert alarms


def test_an_improvement_is_no_alarm() -> None:
    """Two-sided detectors alarm on it as well; page-budget's improvements re-open learning, these would be noise."""
    chance = random.Random(1)
    watched = Anchored(maker("adwin"), [2.0 + chance.random() for _ in range(200)])
    found = 0
    for _ in range(1_000):
        watched.update(chance.random())
        found += watched.drift_detected
    assert found == 0


def test_every_selectable_detector_has_a_ladder_that_holds_its_default() -> None:
    """A name that configuration takes and the factory does not would fail in the middle of the night."""
    assert set(RIVER_DETECTORS) == set(DEFAULTS) == set(LADDERS)
    for name, ladder in LADDERS.items():
        assert DEFAULTS[name] in ladder and sorted(set(ladder)) in (list(ladder), list(ladder[::-1]))
        maker(name)().update(1.0)


def test_river_is_imported_only_when_chosen() -> None:
    """It costs 2 s and 110 MB: --help, the agent's modules and a default decider do without."""
    program = (
        "import sys, monitor.cli, monitor.agent, monitor.core.deciding as d\n"
        "from monitor.core.slicing import Slicing, SliceSettings\n"
        "made = lambda *names: d.Decider('a', d.DecideSettings(detectors=names), Slicing(SliceSettings(), 'a'))\n"
        "made('page-budget').look(1e9)\n"
        "assert 'river' not in sys.modules\n"
        "from monitor.core.river_detectors import maker; maker('adwin')\n"
        "assert 'river' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


# ------------------------------------------------------------------------------------------------------- tickets
def without_tickets(told: Sequence[Transition]) -> list[Transition]:
    """Page-budget opens no ticket of drift."""
    return [t for t in told if t.kind == IncidentKind.DISPARITY or t.level != Level.TICKET]


def test_pages_are_the_same_with_and_without_other_detectors() -> None:
    """A ticket of ADWIN's that took a page in, or its cells, would silence the detector that keeps the budget."""
    made = messages(england_worse)
    told = feed(decider(detectors=(*BOTH, "kswin")), made)
    assert without_tickets(told) == feed(decider(), made) != told


def test_alone_they_open_one_ticket_that_names_the_detector_and_resolves() -> None:
    """Whoever chooses ADWIN alone is told by ADWIN alone, and is woken by nobody."""

    def for_a_while(accent: str, day: float) -> float:
        return england_worse(accent, day) if day < 11 else steady(accent, day)

    watched = decider(detectors=("adwin",))
    told = [t for t in feed(watched, messages(for_a_while, days=26)) if t.kind != IncidentKind.DISPARITY]
    assert [(t.state, t.level, t.slices) for t in told] == [
        ("firing", Level.TICKET, ("accent=england",)),
        ("resolved", Level.TICKET, ("accent=england",)),
    ]
    assert told[0].reason == "adwin" and "by adwin, which no page budget stands behind" in told[0].summary
    assert watched.budget()[1] == 0.0


def test_a_page_takes_a_ticket_over() -> None:
    """One cause, one open incident: the ticket is over once a page explains it."""
    watched = decider(detectors=("page-budget", "adwin"), page_budget=1e-9)  # so poor that ADWIN comes first
    told = [t for t in feed(watched, messages(england_worse, days=16)) if t.kind != IncidentKind.DISPARITY]
    assert [(t.state, t.level, t.reason) for t in told] == [
        ("firing", Level.TICKET, "adwin"),
        ("firing", Level.PAGE, "baseline_exceeded"),
        ("resolved", Level.TICKET, "explained_better"),
    ]
    assert told[0].incident == told[2].incident and told[1].incident in told[2].summary


# ----------------------------------------------------------------------------------------------------- same bytes
def run(
    made: Sequence[Message], cuts: Sequence[int], settings: dict[str, object]
) -> tuple[list[Transition], Documents]:
    """Fed in the order of arrival; at each cut, the process dies and a new one restores the documents in any order."""
    watched, documents, told = decider(**settings), Documents(), []  # type: ignore[arg-type]
    hour = MARCH_2 + HOUR
    for position, message in enumerate(sorted(made, key=arrival)):
        if position in cuts:
            save(watched, documents)
            watched = decider(**settings)  # type: ignore[arg-type]
            for table, key in random.Random(position).sample(sorted(documents), len(documents)):
                watched.restore(table, key, documents[table, key])
        while hour <= arrival(message) - HOUR:
            told += watched.look(hour)
            hour += HOUR
        take(watched, message)
    told += look_on(watched, hour)
    save(watched, documents)
    return told, documents


def turns(accent: str, day: float) -> float:
    """Worse for some days now and then, so that detectors have alarms and resets behind them at every cut."""
    return steady(accent, day) * (2.5 if accent == "england" and day % 9 > 6 else 1)


@pytest.mark.parametrize("settings", [{}, {"cells_max": 400}, {"horizon_seconds": 22 * DAY}], ids=str)
def test_cut_anywhere_and_past_the_horizon_it_goes_on_bit_for_bit(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """State is never pickled: what the log of closed units has forgotten must not be needed.

    What detectors say is compared itself: most of it joins an open ticket and is never told.
    """
    said: list[tuple[float, list[Advice]]] = []
    take_rows = Advisers.take

    def listened(self: Advisers, rows: Sequence[CellRow], now: float) -> list[Advice]:
        advice = take_rows(self, rows, now)
        said.extend([(now, advice)] if advice else [])
        return advice

    monkeypatch.setattr(Advisers, "take", listened)
    made = messages(turns, days=45, a_day=40)
    cuts = sorted(random.Random(5).sample(range(len(made) // 3, len(made)), 8))
    chosen: dict[str, object] = {"detectors": ("adwin", "hddm-a", "ddm"), **settings}
    uninterrupted = run(made, (), chosen)
    heard, said[:] = list(said), []
    assert len(heard) >= 10 and heard[-1][0] > MARCH_2 + 40 * DAY
    assert run(made, cuts, chosen) == uninterrupted
    assert said == heard
