"""Closed units of two accents in two sectors, drawn at once from a seed, for bets on a gap."""

from __future__ import annotations

import numpy as np

from monitor.core.budget import Ledger
from monitor.core.closed_units import CellRow
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.gap_bets import FoundGap, GapBets
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.standing_gaps import GapSettings

DAY = 86400.0
START = 1_772_409_600.0
SLICES = Slicing(SliceSettings(dimensions=("accent", "sector"), intersections=(), strata=("accent", "sector")), "acme")
HARD = 0.08
"""What everybody's WER is higher by in the hard sector."""


def stream(
    seed: int,
    *,
    units: int = 4000,
    days: float = 28.0,
    share: float = 0.1,
    base: float = 0.12,
    gap: float = 0.0,
    gap_day: float = 0.0,
    common_day: float | None = None,
    mix_day: float | None = None,
    effect: float = 0.3,
    weights: bool = False,
    speakers: int = 0,
) -> list[CellRow]:
    """Units in the order of their end.

    share       of the accent `yoruba`, which is worse by `gap` from `gap_day` on; all others are `us`
    common_day  from then on everybody's WER is twice what it was, and the gap what it was
    mix_day     from then on three of four units of yoruba are in the hard sector, before and for others one of four
    effect      standard deviation of a session's (or a returning speaker's) own level, relative to the level
    weights     half of the units are sampled with probability .25
    speakers    of each accent, who return all the time; 0: everybody is heard once
    """
    random = np.random.default_rng(seed)
    ends = np.sort(random.random(units)) * days
    group = random.random(units) < share
    moved = group & (ends > mix_day) if mix_day is not None else np.zeros(units, np.bool_)
    hard = random.random(units) < np.where(moved, 0.75, 0.25)
    words = random.poisson(12, units) + random.geometric(0.3, units) * 4
    level = base * np.where(ends > common_day, 2.0, 1.0) if common_day is not None else np.full(units, base)
    level = level + HARD * hard + gap * (group & (ends > gap_day))
    own = random.gamma(1 / effect**2, effect**2, units + 2 * speakers) if effect else np.ones(units)
    person = 2 * random.integers(0, speakers, units) + group if speakers else np.arange(units)
    errors = np.minimum(random.poisson(level * own[person] * words), words * 3 // 2)
    weight = WEIGHT_ONE * np.where(weights & (random.random(units) < 0.5), 4, 1)
    ended_at = (START + ends * DAY).tolist()
    columns = (group.tolist(), hard.tolist(), person.tolist(), words.tolist())
    sums = (errors * weight).tolist(), (words * weight).tolist()
    return [
        CellRow(at, f"u{k}", (("us", "yoruba")[g], ("easy", "hard")[h]), f"p{p}", 1, e, w, plain, at)
        for k, (at, g, h, p, plain, e, w) in enumerate(zip(ended_at, *columns, *sums, strict=True))
    ]


def gaps_found(rows: list[CellRow], *, margin: float = 0.05, pages: float = 1.0) -> tuple[list[FoundGap], float]:
    """Every gap that bets find, looked at twice a day, and the money that they spent."""
    bets, ledger = GapBets(SLICES, GapSettings(), margin, on=True), Ledger(pages=pages, days=90.0)
    ledger.since = ledger.until = ledger.started = START
    found: list[FoundGap] = []
    position = 0
    for half_day in range(1, int((rows[-1].ended_at - START) // (DAY / 2)) + 2):
        now = START + DAY / 2 * half_day
        closed = position
        while closed < len(rows) and rows[closed].ended_at <= now:
            closed += 1
        ledger.advance(now, (1, 4, 0), bets.betting())
        found += bets.take(rows[position:closed], ledger)
        position = closed
    assert ledger.spent <= ledger.granted() + 1e-9
    return found, ledger.spent
