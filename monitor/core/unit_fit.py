"""Decides whether the betting unit (session, burst) is long enough for the traffic, and which one would be.

Intuition     If units were independent, the errors of a block of them (all units of one speaker's day, of a speaker, of
              a day) would scatter as much as the units do apart: the sum of squared block residuals over the sum of
              squared unit residuals is 1. Where a day's few speakers have a level of their own, it is larger:
              evidence is counted as that many independent units, and is not.
Guarantee     None on pages; a standard error that ignores blocks is too small by the root of the ratio. The statistic
              is the sum of products of any two units of a block over its root mean square if they were independent.
Not covered   Returning speakers whom nobody declares, unless a day's traffic shows it. Days that differ for another
              reason than speakers (harder talks on Mondays): they are as dependent, and named alike.
Source        Design effect of clusters (Kish 1965); Moulton 1986.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from monitor.core.cells import Cells, FloatArray, IntArray
from monitor.core.explaining import expected
from monitor.core.groupings import DAY, dense, strata
from monitor.core.records import BlockRatio, UnitFit

RATIO_MIN = 1.5
"""Where days vary this much, bets cost .96 of their budget, and 4 to 6.5 times it where they vary 5.5 times as much
(docs/units.md). At half the excess, customers are told whose budget is kept; at double, some whose is not go untold."""
Z_MIN = 4.0
"""The statistic has a heavy right tail (few blocks, their squares) and is looked at every day."""
UNITS_MIN = 100
"""Units in blocks of two or more: with fewer, one pair of bad sessions makes the ratio."""
BLOCKS_MIN = 8
"""Blocks of two or more units; at half, the one bad week of a customer is a rule."""
SPEAKER_DAY, SPEAKER, DAY_BLOCK = "speaker_day", "speaker", "day"


def unit_fit(
    customer: str, at: float, cells: Cells, speakers: Sequence[str], strata_names: Sequence[str], epoch: IntArray
) -> UnitFit | None:
    """What blocks say of the units of these cells; None while too few units have closed.

    speakers  (n,) keyed hash of each cell's one speaker, "" where there is none or more than one
    epoch     (n,) number of the incident that explains a cell: a change is no roster
    """
    if len(cells) < UNITS_MIN:
        return None
    stratum = strata(cells, strata_names, epoch)
    expectation = expected(cells.errors, cells.words, stratum, epoch)
    spoken = _numbers(speakers)
    day = dense(np.floor(cells.ended_at / DAY).astype(np.int64))
    unit = dense(cells.unit * (int(stratum.max()) + 1) + stratum)
    residual = np.bincount(unit, cells.errors - expectation).astype(np.float64)
    words = np.bincount(unit, expectation)
    first = np.unique(unit, return_index=True)[1]
    spoken, day, stratum = spoken[first], day[first], stratum[first]
    known = spoken >= 0
    ratios = [
        _ratio(SPEAKER_DAY, residual[known], dense(spoken[known] * (int(day.max()) + 1) + day[known])),
        _ratio(SPEAKER, residual[known], dense(spoken[known])),
        _ratio(DAY_BLOCK, residual, dense(stratum * (int(day.max()) + 1) + day)),
    ]
    found = tuple(ratio for ratio in ratios if ratio is not None)
    return UnitFit(
        customer=customer,
        at=at,
        units=len(residual),
        inflation=float((residual**2).sum() / max(float(words.sum()), 1e-12)),
        ratios=found,
        longer=_longer(found),
    )


def unit_advice(fit: UnitFit) -> str | None:
    """What to set, in one sentence for people; None when nothing speaks against the present unit."""
    if fit.longer is None:
        return None
    ratio = next(ratio.ratio for ratio in fit.ratios if ratio.block == DAY_BLOCK)
    return (
        f"units are too short: sums over a day vary {ratio:.1f} times as much as if units were independent; evidence "
        f"and intervals promise too much. Set decide.unit to an attribute that is the same for {_ADVICE[fit.longer]}"
    )


_ADVICE = {
    SPEAKER_DAY: "a speaker's whole day, e.g. speaker and date",
    DAY_BLOCK: "everybody's whole day at a site, e.g. site and date",
}


def _longer(ratios: Sequence[BlockRatio]) -> str | None:
    """The shortest unit that keeps the budget; None where days vary as if units were independent.

    A fixed panel in a changing mix has alike speakers and alike days: its budget is kept, and longer units would only
    cost delay. Where a roster makes days differ, a speaker's day is enough, if speakers are known: measured in
    docs/units.md.
    """
    found = {ratio.block: ratio for ratio in ratios}
    day, speaker_day = found.get(DAY_BLOCK), found.get(SPEAKER_DAY)
    by_speaker = speaker_day is not None and speaker_day.ratio >= RATIO_MIN and speaker_day.z >= Z_MIN
    if day is None or day.ratio < RATIO_MIN or not (day.z >= Z_MIN or by_speaker):
        return None
    return SPEAKER_DAY if by_speaker else DAY_BLOCK


def _ratio(name: str, residual: FloatArray, block: IntArray) -> BlockRatio | None:
    """Variance of block sums over that of units; blocks of one unit say nothing and are left out."""
    if not len(residual):
        return None
    size = np.bincount(block)
    kept = size[block] > 1
    if int(kept.sum()) < UNITS_MIN or int((size > 1).sum()) < BLOCKS_MIN:
        return None
    block, residual = dense(block[kept]), residual[kept]
    squares, fourths = np.bincount(block, residual**2), np.bincount(block, residual**4)
    products = float((np.bincount(block, residual) ** 2 - squares).sum())
    spread = math.sqrt(max(2.0 * float((squares**2 - fourths).sum()), 0.0))
    total = float(squares.sum())
    if not (spread > 0 and total > 0):
        return None
    return BlockRatio(block=name, ratio=1.0 + products / total, z=products / spread, blocks=len(squares))


def _numbers(names: Sequence[str]) -> IntArray:
    """A number for each name, -1 for none."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, len(known)) if name else -1 for name in names], np.int64)
