"""The simulation of statistics.md: a clustered customer, an accent with a tenth of its traffic, 7 days on each side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor.core.budget import Ledger
from monitor.core.closed_units import CellRow, to_cells
from monitor.core.decide_settings import DecideSettings
from monitor.core.diagnosing import Scene
from monitor.core.drift import Alarm, LearnSettings
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.slicing import Slicing
from monitor.core.small_slices import look_at_small
from monitor.core.watching import Found, Watches
from tests.statistics.streams import ACCENTS, DAY, LEVELS, START, slicing

CHANGE = START + 7 * DAY
SCOTLAND = ("accent", "scotland")
SESSION = 5
"""Utterances of a session in the mean: 100 labels in 7 days are 20 sessions."""


def stream(seed: int, labels: int, factor: float = 1.0, effect: float = 0.5) -> list[CellRow]:
    """Sessions in the order of their end; `labels` utterances of the accent on either side of the change.

    effect  standard deviation of a session's own level, relative to the level
    """
    random = np.random.default_rng(seed)
    count = 20 * labels // SESSION
    ends = np.sort(random.random(count)) * 14.0
    accents = random.choice(list(ACCENTS), count, p=list(ACCENTS.values()))
    sites = random.choice(["north", "south", "west"], count, p=[0.5, 0.3, 0.2])
    utterances = 1 + random.poisson(SESSION - 1, count)
    words = np.array([(random.poisson(8, n) + random.geometric(0.4, n) * 2).sum() for n in utterances])
    level = np.array([LEVELS[accent] for accent in accents]) * np.where(sites == "west", 1.3, 1.0)
    level = level * np.where((accents == SCOTLAND[1]) & (ends > 7.0), factor, 1.0)
    own = random.gamma(1 / effect**2, effect**2, count) if effect else np.ones(count)
    errors = np.minimum(random.poisson(level * own * words), words * 3 // 2)
    return [
        CellRow(at, f"u{k:06d}", (str(accents[k]), str(sites[k])), f"p{k}", int(utterances[k]), e, w, plain, at)
        for k, (at, e, w, plain) in enumerate(
            zip(
                (START + ends * DAY).tolist(),
                (errors * WEIGHT_ONE).tolist(),
                (words * WEIGHT_ONE).tolist(),
                words.tolist(),
                strict=True,
            )
        )
    ]


class Alarms(NamedTuple):
    """What bets and daily looks found, and the money that both spent; `looks_spent`: of it by looks."""

    bets: list[Found]
    looks: list[Found]
    spent: float
    looks_spent: float


def watched(rows: list[CellRow], *, pages: float = 1.0, looks: bool = True) -> Alarms:
    """Every alarm that something got worse: bets at every sixth hour, and the looks at small slices each midnight."""
    watches, learn, ledger = Watches(slicing(), LearnSettings()), LearnSettings(), Ledger(pages=pages, days=90.0)
    ledger.since = ledger.until = ledger.started = START
    found: list[Found] = []
    seen: list[Found] = []
    past: list[CellRow] = []
    position, looks_spent = 0, 0.0
    for quarter in range(1, 4 * 14 + 1):
        now = START + DAY / 4 * quarter
        closed = position
        while closed < len(rows) and rows[closed].ended_at <= now:
            closed += 1
        ledger.advance(now, watches.drawing())
        found += watches.take(rows[position:closed], past, START, now, ledger)
        past += rows[position:closed]
        position = closed
        watches.close_baselines(past, now, ledger)
        if looks and quarter % 4 == 0:
            spent = ledger.spent
            epoch = np.zeros(len(past), np.int64)
            seen += look_at_small(watches, _scene(past, now, watches, slicing()), epoch, ledger, learn, "acme")
            looks_spent += ledger.spent - spent
        assert ledger.spent <= ledger.granted() + 1e-9
    return Alarms([alarm for alarm in found if alarm.alarm == Alarm.WORSE], seen, ledger.spent, looks_spent)


def _scene(past: list[CellRow], now: float, watches: Watches, slices: Slicing) -> Scene:
    axes = watches.active_axes([("accent",), ("site",), ("accent", "site")])
    cells = to_cells(past, slices.names)
    return Scene(cells, axes, slices.settings.strata, now, False, DecideSettings().explain)
