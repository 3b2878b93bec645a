"""Decides whether a customer with a few long units (calls) got worse, where bets on each unit have too few of them.

Intuition     Five calls say nothing about their own spread, but all calls together do. Log error rates are centred
              within strata; each slice and window is a contrast of them; the largest gain in likelihood is compared
              with the largest gains of 1,999 sets of normal draws.
Guarantee     Paging at p <= B / 90, one look a day, costs B expected false pages in 90 days, whatever the number and
              overlap of slices. Exact if log rates within a stratum are normal with one spread.
Not covered   Calls whose spread differs much between slices. Permutations need no normality, but with 5 calls they
              only reach p = .02.
Source        Largest of many contrasts, calibrated by simulation (Edwards and Berry 1987).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from monitor.core.cells import BoolArray, Cells, FloatArray, IntArray
from monitor.core.explaining import NOTHING, ExplainSettings, Explanation, Row, tolls
from monitor.core.groupings import (
    BINS,
    WHOLE_DAYS,
    WINDOWS,
    Grouping,
    age_bins,
    dense,
    groupings,
    strata,
    unit_counts,
    window_sums,
)
from monitor.core.records import Slice

FEW_UNITS = 150
LONG_UNIT_WORDS = 500.0
"""Fewer units than this, of more words each on average: calls. At half the words, the utterances of a quiet customer
would come here; at double, short calls would be left to bets that need hundreds of units."""
CELL_WORDS_MIN = 200.0
"""A cell of fewer words has a log ratio that is mostly counting noise, not the call's."""
DRAWS = 1999
"""p has steps of 1 / 2000, a fifth of the smallest level in use (an improvement at B / 900)."""
_BATCH = 250
_CELLS_MIN = 8
_FREEDOM_MIN = 6
_UNITS_BEFORE_MIN = 2
_CONTRAST_MIN = 0.4
"""Smallest sum of squares of a centred contrast: below it, one cell is compared with almost nothing but itself."""


@dataclass(frozen=True, slots=True)
class FewLook:
    """The explanation, and the probability of one as good by chance.

    Page when p <= B / 90 (one look a day) and the ratio's interval, which the page shows, lies above 1.
    """

    p: float
    explanation: Explanation


def scan_few(
    cells: Cells,
    axes: Sequence[tuple[str, ...]],
    strata_names: Sequence[str],
    epoch: IntArray,
    now: float,
    settings: ExplainSettings,
    seed: int | None,
    sign: float = 1.0,
) -> FewLook:
    """Compare log error ratios of cells over slices and windows; arguments as of `explaining.explain`.

    seed  of the normal draws: a stable hash of customer and day, so that a replay draws the same; None asks for
          the explanation only (an open incident explained again), p is then 1
    """
    kept = cells.corrected >= CELL_WORDS_MIN
    if int(kept.sum()) < _CELLS_MIN:
        return FewLook(1.0, NOTHING)
    stratum = dense(strata(cells, strata_names, epoch)[kept])
    # Slices are those of all cells, so that a dimension does not vanish with its short cells.
    found = [Grouping(g.depth, g.slices, g.code[kept]) for g in groupings(cells, axes)]
    cells = cells.select(kept)
    freedom = len(cells) - int(stratum.max()) - 2
    if freedom < _FREEDOM_MIN:
        return FewLook(1.0, NOTHING)
    contrasts = [_contrasts(g, cells, stratum, now) for g in found if (g.code >= 0).any()]
    contrasts = [contrast for contrast in contrasts if contrast.judged.any()]
    if not contrasts:
        return FewLook(1.0, NOTHING)
    toll = _toll(contrasts, settings)
    gain, slope = _gains(contrasts, _centred(_log_rates(cells)[:, None], stratum), freedom, sign)
    explanation = _explanation(contrasts, cells, gain[:, 0], slope[:, 0], toll, settings, sign)
    if seed is None or not explanation.ranked:
        return FewLook(1.0, explanation)
    best, generator, exceeding = explanation.ranked[0].score, np.random.default_rng(seed), 0
    for start in range(0, DRAWS, _BATCH):
        draws = generator.standard_normal((len(cells), min(_BATCH, DRAWS - start)))
        gain, _ = _gains(contrasts, _centred(draws, stratum), freedom, sign)
        exceeding += int(((gain - toll[:, None]).max(axis=0) >= best).sum())
    return FewLook((1 + exceeding) / (1 + DRAWS), explanation)


def seed_of(customer: str, now: float, what: str) -> int:
    """Of the draws of one look: a replay draws the same numbers."""
    said = f"{customer}\x1f{now!r}\x1f{what}"
    return int.from_bytes(blake2b(said.encode(), digest_size=8).digest(), "big")


def _log_rates(cells: Cells) -> FloatArray:
    # Of corrections as they are: half a weighted error would move all log rates whenever the sampling rate moves.
    return np.asarray(np.log((cells.errors * cells.corrected / cells.words + 0.5) / cells.corrected))


def _centred(columns: FloatArray, stratum: IntArray) -> FloatArray:
    """Columns (n, k) minus the mean of their stratum."""
    order = np.argsort(stratum, kind="stable")
    count = np.bincount(stratum)
    starts = np.concatenate([[0], count.cumsum()[:-1]])
    means = np.add.reduceat(columns[order], starts, axis=0) / count[:, None]
    return np.asarray(columns - means[stratum])


@dataclass(frozen=True, slots=True)
class _Contrasts:
    """The windows of one grouping's slices that can be judged.

    A contrast is the indicator of (slice, window), centred within strata. Residuals are centred too, so its
    product with them is their plain sum over the slice's window: no dense matrix of contrasts is needed.

    judged   (slices, windows)
    squares  (judged,) sum of squares of each contrast
    order    cells sorted by (slice, bin)
    starts   where in it each (slice, bin) begins that has cells; `places` which those are
    """

    grouping: Grouping
    judged: BoolArray
    squares: FloatArray
    bins: IntArray
    order: IntArray
    starts: IntArray
    places: IntArray

    def sums(self, columns: FloatArray) -> FloatArray:
        """Sums (judged, k) of columns (n, k)."""
        size = len(self.grouping.slices)
        filled = np.zeros((size * BINS, columns.shape[1]))
        filled[self.places] = np.add.reduceat(columns[self.order], self.starts, axis=0)
        return np.asarray(filled.reshape(size, BINS, -1).cumsum(axis=1)[:, :-1][self.judged])


def _contrasts(grouping: Grouping, cells: Cells, stratum: IntArray, now: float) -> _Contrasts:
    bins, per_stratum, size = age_bins(cells.ended_at, now), np.bincount(stratum), len(grouping.slices)
    inside = np.flatnonzero(grouping.code >= 0)
    place = grouping.code[inside] * BINS + bins[inside]
    crossed = np.bincount(place * len(per_stratum) + stratum[inside], minlength=size * BINS * len(per_stratum))
    members = crossed.reshape(size, BINS, -1).cumsum(axis=1)[:, :-1]
    squares = (members - members**2 / per_stratum).sum(axis=2)
    units = unit_counts(grouping, dense(cells.unit), bins)
    before = units[:, -1:] - units[:, :-1]
    judged = (units[:, :-1] >= 1) & (before >= _UNITS_BEFORE_MIN) & (squares > _CONTRAST_MIN) & WHOLE_DAYS
    sorting = np.argsort(place, kind="stable")
    places, starts = np.unique(place[sorting], return_index=True)
    return _Contrasts(grouping, judged, squares[judged], bins, inside[sorting], starts, places)


def _toll(contrasts: list[_Contrasts], settings: ExplainSettings) -> FloatArray:
    """Toll (C,) of every contrast, from the number of slices of its depth with a window that can be judged."""
    windows = [count[count > 0] for contrast in contrasts for count in [contrast.judged.sum(axis=1)]]
    depth = [np.full(len(count), contrast.grouping.depth) for count, contrast in zip(windows, contrasts, strict=True)]
    return np.repeat(tolls(np.concatenate(depth), settings), np.concatenate(windows))


def _gains(
    contrasts: list[_Contrasts], residual: FloatArray, freedom: int, sign: float
) -> tuple[FloatArray, FloatArray]:
    """Gain in log likelihood and slope (C, k) of centred residuals (n, k) on each contrast; no gain against `sign`."""
    squares = np.concatenate([contrast.squares for contrast in contrasts])[:, None]
    slope = np.concatenate([contrast.sums(residual) for contrast in contrasts]) / squares
    explained = slope**2 * squares / np.maximum((residual**2).sum(axis=0), 1e-300)
    gain = -0.5 * (freedom + 1) * np.log(np.maximum(1.0 - explained, 1e-12))
    return np.where(sign * slope > 0, gain, 0.0), slope


def _explanation(
    contrasts: list[_Contrasts],
    cells: Cells,
    gain: FloatArray,
    slope: FloatArray,
    toll: FloatArray,
    settings: ExplainSettings,
    sign: float,
) -> Explanation:
    """The contrasts as rows; `ratio` is that of typical (geometric mean) rates, `before` and `after` are plain WER."""
    table: dict[tuple[Slice, float], Row] = {}
    number = 0
    for contrast in contrasts:
        sums = window_sums(contrast.grouping, contrast.bins, (cells.errors, cells.words))
        past = sums[:, :, -1:] - sums[:, :, :-1]
        for i, j in np.argwhere(contrast.judged).tolist():
            row = Row(
                slice=contrast.grouping.slices[i],
                depth=contrast.grouping.depth,
                days=WINDOWS[j],
                score=float(gain[number] - toll[number]),
                llr=float(gain[number]),
                phi=1.0,
                ratio=float(np.exp(slope[number])),
                before=float(past[0, i, j] / max(past[1, i, j], 1.0)),
                after=float(sums[0, i, j] / sums[1, i, j]),
            )
            table[row.slice, row.days] = row
            number += 1
    ranked = [
        row
        for row in table.values()
        if row.score > 0
        and sign * (row.ratio - 1.0) >= settings.relative_change_min
        and abs(row.after - row.before) >= settings.absolute_change_min
    ]
    ranked.sort(key=lambda row: -row.score)
    return Explanation(table, tuple(ranked), sign)
