"""Closed units of a clustered customer, made from a seed: accents with levels of their own, sessions that vary."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from monitor.core.budget import Ledger
from monitor.core.closed_units import CellRow
from monitor.core.drift import Alarm, LearnSettings
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.watching import Found, Watches

DAY = 86400.0
START = 1_772_409_600.0

ACCENTS = {"us": 0.4, "england": 0.2, "indian": 0.15, "scotland": 0.1, "ireland": 0.1, "welsh": 0.05}
LEVELS = {"us": 0.08, "england": 0.1, "indian": 0.2, "scotland": 0.15, "ireland": 0.12, "welsh": 0.14}


def stream(
    seed: int,
    *,
    units: int = 2000,
    days: float = 14.0,
    spread: float = 1.0,
    factors: Mapping[str, float] | None = None,
    change_day: float = 7.0,
    weights: bool = False,
    mix: Mapping[str, float] | None = None,
) -> list[CellRow]:
    """Units in the order of their end.

    spread   shape of a session's own level is 1 / spread (gamma): 1 makes sessions' WER vary by its own size
    factors  accent -> factor on its WER from `change_day` on
    mix      accent shares from `change_day` on
    weights  half of the units are sampled with probability .25
    """
    random = np.random.default_rng(seed)
    ends = np.sort(random.random(units)) * days
    names = list(ACCENTS)
    accents = random.choice(names, units, p=list(ACCENTS.values()))
    if mix is not None:
        later = random.choice(names, units, p=[mix.get(name, 0.0) for name in names])
        accents = np.where(ends > change_day, later, accents)
    sites = random.choice(["north", "south", "west"], units, p=[0.5, 0.3, 0.2])
    words = random.poisson(8, units) + random.geometric(0.4, units) * 4
    rows = []
    for k in range(units):
        accent = str(accents[k])
        level = LEVELS[accent] * (1.3 if sites[k] == "west" else 1.0)
        if factors and ends[k] > change_day:
            level *= factors.get(accent, 1.0)
        own = level * (random.gamma(1 / spread, spread) if spread else 1.0)
        errors = min(int(random.poisson(own * words[k])), int(1.5 * words[k]))
        weight = WEIGHT_ONE * (4 if weights and random.random() < 0.5 else 1)
        labels = (accent, str(sites[k]))
        rows.append(
            CellRow(
                START + float(ends[k]) * DAY,
                f"u{k:06d}",
                labels,
                f"u{k}",
                1,
                errors * weight,
                int(words[k]) * weight,
                int(words[k]),
                START + float(ends[k]) * DAY,
                errors * weight,
            )
        )
    return rows


def slicing() -> Slicing:
    return Slicing(
        SliceSettings(dimensions=("accent", "site"), intersections=(("accent", "site"),), strata=("accent", "site")),
        "acme",
    )


def watched(rows: list[CellRow], pages: float = 1.0, by: Slicing | None = None) -> tuple[list[Found], Ledger]:
    """Every alarm of all slices, looked at hour by hour, and the account."""
    watches, ledger = Watches(by or slicing(), LearnSettings()), Ledger(pages=pages, days=90.0)
    ledger.since = ledger.until = ledger.started = START
    found: list[Found] = []
    past: list[CellRow] = []
    position = 0
    for hour in range(1, int((rows[-1].ended_at - START) // 3600) + 2):
        now = START + 3600.0 * hour
        closed = position
        while closed < len(rows) and rows[closed].ended_at <= now:
            closed += 1
        ledger.advance(now, watches.betting())
        found += watches.take(rows[position:closed], past, START, now, ledger)
        past += rows[position:closed]
        position = closed
        watches.close_baselines(past, now, ledger)
    return found, ledger


def pages(found: list[Found]) -> list[Found]:
    return [alarm for alarm in found if alarm.alarm == Alarm.WORSE]
