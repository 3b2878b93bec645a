"""Decides whether the betting unit (session, burst) is long enough for the traffic, and which one would be.

Intuition     If units were independent, the errors of a block of them (all units of one speaker's day, of a speaker, of
              an hour, of a day) would scatter as much as the units do apart: the sum of squared block residuals over
              the sum of squared unit residuals is 1. Where a day's few speakers have a level of their own, or where an
              hour is one call, it is larger: evidence is counted as that many independent units, and is not. Residuals
              are taken in their own standard deviation: else a handful of monologues among short answers has nearly all
              of the squares, and says nothing of how the others hang together (on recorded calls z 2.4, not 5.3).
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
from monitor.core.planning import spread_of
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
HOURS_SUFFICE = 1.5
"""Days that vary less than this many times as much as hours do hang together by what lasts an hour: by calls. On three
recognisers' recorded calls it is 1.1 to 1.3 times, with a roster of four for a day 3 to 4."""
SPEAKER_DAY, SPEAKER, HOUR_BLOCK, DAY_BLOCK = "speaker_day", "speaker", "hour", "day"
HOUR = 3600.0


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
    errors, wanted = (np.bincount(unit, column).astype(np.float64) for column in (cells.errors, expectation))
    first = np.unique(unit, return_index=True)[1]
    spoken, day, stratum = spoken[first], day[first], stratum[first]
    hour = dense(np.floor(cells.ended_at[first] / HOUR).astype(np.int64))
    residual = _standardised(errors, wanted, stratum)
    known = spoken >= 0
    ratios = [
        _ratio(SPEAKER_DAY, residual[known], dense(spoken[known] * (int(day.max()) + 1) + day[known])),
        _ratio(SPEAKER, residual[known], dense(spoken[known])),
        _ratio(HOUR_BLOCK, residual, dense(stratum * (int(hour.max()) + 1) + hour)),
        _ratio(DAY_BLOCK, residual, dense(stratum * (int(day.max()) + 1) + day)),
    ]
    found = tuple(ratio for ratio in ratios if ratio is not None)
    return UnitFit(
        customer=customer,
        at=at,
        units=len(residual),
        inflation=float(((errors - wanted) ** 2).sum() / max(float(wanted.sum()), 1e-12)),
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
    HOUR_BLOCK: "a whole conversation, e.g. call",
    DAY_BLOCK: "everybody's whole day at a site, e.g. site and date",
}


def _longer(ratios: Sequence[BlockRatio]) -> str | None:
    """The shortest unit that keeps the budget; None where days vary as if units were independent.

    A fixed panel in a changing mix has alike speakers and alike days: its budget is kept, and longer units would only
    cost delay. Where a roster makes days differ, a speaker's day is enough, if speakers are known: measured in
    docs/units.md. Where hours vary nearly as much as days, what units have in common is a conversation.
    """
    found = {ratio.block: ratio for ratio in ratios}
    day, hour = found.get(DAY_BLOCK), found.get(HOUR_BLOCK)
    by_speaker, by_hour = _clear(found.get(SPEAKER_DAY)), _clear(hour)
    if day is None or day.ratio < RATIO_MIN or not (day.z >= Z_MIN or by_speaker or by_hour):
        return None
    if by_speaker:
        return SPEAKER_DAY
    return HOUR_BLOCK if by_hour and hour is not None and day.ratio < HOURS_SUFFICE * hour.ratio else DAY_BLOCK


def _clear(ratio: BlockRatio | None) -> bool:
    return ratio is not None and ratio.ratio >= RATIO_MIN and ratio.z >= Z_MIN


def _standardised(errors: FloatArray, expectation: FloatArray, stratum: IntArray) -> FloatArray:
    """Residual of each unit in its own standard deviation, 0 in the mean of each stratum."""
    met = expectation > 0.0
    if not met.any():
        return np.zeros(len(errors))
    spread = spread_of(errors[met], expectation[met])
    residual = (errors - expectation) / np.sqrt(np.maximum(spread.variance(expectation), 1e-12))
    residual[~met] = 0.0
    return np.asarray(residual - (np.bincount(stratum, residual) / np.bincount(stratum))[stratum])


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
