"""Decides what is told of a change beside its size: when it began, which errors grew, what moved with it, what did not.

Intuition     On-call asks "what was different?". The slice's words before and after are compared by every declared
              attribute: whose share of the words moved, and whose WER moved more than that of the slice's other words.
              Only what chance does not explain is told; what everybody shares is told as the rest's own shift.
Guarantee     A value that did not move is named in at most 5 % of incidents, asymptotically in the number of speakers.
              A share's z is a score test with speakers as clusters: it never exceeds the root of their number, so that
              three sessions prove nothing, however long.
Not covered   Cause: what moved at the same time is a lead. Attributes that nobody declared as a dimension. Combinations
              of values. `unknown` and `_other` are never named, since their members share nothing.
Source        Score test with cluster-robust variance (Liang and Zeger 1986); Bonferroni over all values judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from monitor.core.cells import BoolArray, Cells, FloatArray, IntArray
from monitor.core.describing import Z95, moments_of
from monitor.core.diagnosing import Diagnosis, Scene
from monitor.core.estimators import CLUSTERS_FOR_ASYMPTOTICS, Moments, t_quantile
from monitor.core.groupings import dense, encode, mask_of
from monitor.core.model_shares import ModelShares
from monitor.core.records import OTHER, UNKNOWN, Changed, KindShares, ValueMoved
from monitor.core.slicing import slice_name

FALSE_NAMES = 0.05
"""Chance that anything is named where nothing moved. At half, a real move needs a tenth more speakers; at double, one
incident in ten sends on-call after an accident."""
SHARE_MOVED_MIN = 0.05
"""A share that moved by less than 5 points explains at most a twentieth of a doubled WER, however certain the move."""
WER_MOVED_MIN = 0.10
"""Relative change of WER beside the slice's other words; below it nobody would act (as `relative_change_min`)."""
CLUSTERS_MIN = 8
"""Speakers on each side before a value's own WER is compared: as for a slice that can be named. The statistic of a
ratio of ratios is not bounded by their number as that of a share is."""
NAMED_MAX = 3
"""Values named, by certainty. More is no lead but a table; at half, aliases of one cause hide a second."""


def what_changed(scene: Scene, diagnosis: Diagnosis, shares: ModelShares) -> Changed:
    """Everything beside the size of a diagnosed change. `shares` of models: of all the customer's traffic."""
    cells, change = scene.cells, diagnosis.change
    models = shares.around(change.low, change.high)
    inside = mask_of(cells, diagnosis.slice)
    later = np.asarray(cells.ended_at > change.at, np.bool_)
    own = cells.select(inside)
    kinds, rest = _kinds(own, later[inside]), _rest(scene, diagnosis, inside, later)
    return Changed(
        since_low=change.low,
        since_high=change.high,
        kinds_before=kinds.before,
        kinds_after=kinds.after,
        kinds_z=kinds.z,
        rest_before=rest.before,
        rest_shift=rest.shift,
        rest_shift_low=rest.low,
        rest_shift_high=rest.high,
        moved=_moved(own, later[inside], {name for name, _ in diagnosis.slice}),
        model_changed=models.changed,
        models=models.moved,
    )


# --------------------------------------------------------------------------------------------------- kinds of errors
class _Kinds(NamedTuple):
    before: KindShares | None = None
    after: KindShares | None = None
    z: KindShares | None = None


def _kinds(own: Cells, later: BoolArray) -> _Kinds:
    """Nothing where an earlier version wrote rows without kinds, or where a side has no error."""
    if bool(((own.errors > 0) & ~own.kinds.any(axis=1)).any()):
        return _Kinds()
    totals = own.kinds.sum(axis=1)
    before, after = own.kinds[~later].sum(axis=0), own.kinds[later].sum(axis=0)
    if not (before.sum() > 0 and after.sum() > 0):
        return _Kinds()
    z = [_share_z(own.kinds[:, kind], totals, dense(own.person), later) for kind in range(3)]
    return _Kinds(*(KindShares(*map(float, three)) for three in (before / before.sum(), after / after.sum(), z)))


def _share_z(part: FloatArray, whole: FloatArray, person: IntArray, later: BoolArray) -> float:
    """Score statistic of a share's change: sum of c over its root of squares, c a person's part in the difference."""
    signed = np.where(later, 1.0 / whole[later].sum(), -1.0 / whole[~later].sum())
    parts = np.bincount(person, (part - part.sum() / whole.sum() * whole) * signed)
    spread = math.sqrt(float((parts**2).sum()))
    return float(parts.sum()) / spread if spread > 0 else 0.0


# ------------------------------------------------------------------------------------------------------------ the rest
class _Rest(NamedTuple):
    before: float | None = None
    shift: float | None = None
    low: float | None = None
    high: float | None = None


def _rest(scene: Scene, diagnosis: Diagnosis, inside: BoolArray, later: BoolArray) -> _Rest:
    """How the WER of everybody else moved (95 %, units as clusters); nothing for all traffic, which has no rest."""
    cells = scene.cells
    known = ~inside
    for name, _ in diagnosis.slice:
        known &= np.asarray(cells.labels[name] != UNKNOWN, np.bool_)
    before, after = moments_of(cells, known & ~later), moments_of(cells, known & later)
    first, second = before.ratio(), after.ratio()
    if first is None or second is None:
        return _Rest()
    reach, shift = _reach(before, after), second - first
    return _Rest(first, shift) if reach is None else _Rest(first, shift, shift - reach, shift + reach)


def _reach(before: Moments, after: Moments) -> float | None:
    """Half width of the 95 % interval of a difference of two rates."""
    errors = before.standard_error(), after.standard_error()
    if errors[0] is None or errors[1] is None:
        return None
    fewest = min(before.clusters, after.clusters)
    quantile = Z95 if fewest >= CLUSTERS_FOR_ASYMPTOTICS else t_quantile(0.975, fewest - 1)
    return quantile * math.hypot(errors[0], errors[1])


# ----------------------------------------------------------------------------------------------------- what else moved
@dataclass(frozen=True, slots=True)
class _Judged:
    """A value that could be judged; a z is None where its number of speakers says nothing."""

    moved: ValueMoved
    share_z: float | None
    wer_z: float | None


def _moved(own: Cells, later: BoolArray, fixed: set[str]) -> tuple[ValueMoved, ...]:
    """Values that moved beyond chance, the most certain first: one of each dimension for its share, one for its WER."""
    judged = [value for name in sorted(own.labels) if name not in fixed for value in _values(own, later, name)]
    tests = sum((value.share_z is not None) + (value.wer_z is not None) for value in judged)
    if not tests:
        return ()
    least = NormalDist().inv_cdf(1.0 - FALSE_NAMES / (2 * tests))
    found: dict[tuple[str, str], tuple[tuple[float, bool, str], ValueMoved]] = {}
    for value in judged:
        for what, z in (("share", value.share_z), ("wer", value.wer_z)):
            if z is None or abs(z) < least or not _matters(value.moved, what):
                continue
            rank = (-round(abs(z), 6), z < 0, value.moved.slice)  # of two shares that mirror each other, the risen one
            place = (value.moved.slice.partition("=")[0], what)
            if place not in found or rank < found[place][0]:
                found[place] = (rank, value.moved)
    best = sorted(found.values(), key=lambda ranked: ranked[0])
    return tuple(dict.fromkeys(moved for _, moved in best))[:NAMED_MAX]


def _matters(moved: ValueMoved, what: str) -> bool:
    if what == "share":
        return abs(moved.share_after - moved.share_before) >= SHARE_MOVED_MIN
    return moved.wer_ratio is not None and abs(moved.wer_ratio - 1.0) >= WER_MOVED_MIN


def _values(own: Cells, later: BoolArray, name: str) -> Iterator[_Judged]:
    """Each value of a dimension among the words that declare one."""
    declared = np.asarray(own.labels[name] != UNKNOWN, np.bool_)
    own, later = own.select(declared), later[declared]
    if not later.any() or later.all():
        return
    values, code = encode(own.labels[name])
    if len(values) < 2:
        return
    sums = _Sums.of(own, later, code, len(values))
    shares, share_z = sums.shares()
    wers, wer_ratio, wer_z = sums.wers()
    for number, value in enumerate(values):
        if value == OTHER:
            continue
        known = bool((sums.clusters[number] >= CLUSTERS_MIN).all())
        yield _Judged(
            ValueMoved(
                slice=slice_name(((name, value),)),
                share_before=float(shares[number, 0]),
                share_after=float(shares[number, 1]),
                share_z=float(share_z[number]),
                wer_before=_finite(wers[number, 0]),
                wer_after=_finite(wers[number, 1]),
                wer_ratio=_finite(wer_ratio[number]) if known else None,
                wer_z=_finite(wer_z[number]) if known else None,
            ),
            share_z=float(share_z[number]),
            wer_z=_finite(wer_z[number]) if known else None,
        )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums by (value, person) over both sides, for all values at once; the four columns are errors and words before,
    then errors and words after.

    value     (k,) of each pair; person (k,); own (k, 4)
    everybody (p, 4) of each person, whatever the value
    totals    (v, 4) of each value
    clusters  (v, 4) persons with words of the value before and after, and of any other value before and after
    """

    value: IntArray
    person: IntArray
    own: FloatArray
    everybody: FloatArray
    totals: FloatArray
    clusters: FloatArray

    @classmethod
    def of(cls, cells: Cells, later: BoolArray, code: IntArray, size: int) -> _Sums:
        person = dense(cells.person)
        people = int(person.max()) + 1
        pairs, place = np.unique(code * people + person, return_inverse=True)
        columns = [cells.errors * ~later, cells.words * ~later, cells.errors * later, cells.words * later]
        own = _table(place, columns, len(pairs))
        everyone = _table(person, columns, people)
        value, who = pairs // people, pairs % people
        totals = _table(value, list(own.T), size)
        has_words = own[:, [1, 3]] > 0
        # Sums of the same numbers in the same order are equal: these persons have words of no other value.
        alone = has_words & (own[:, [1, 3]] >= everyone[who][:, [1, 3]])
        having, having_only = (_table(value, list(which.T.astype(np.float64)), size) for which in (has_words, alone))
        others = (everyone[:, [1, 3]] > 0).sum(axis=0) - having_only
        return cls(value, who, own, everyone, totals, np.concatenate([having, others], axis=1))

    def shares(self) -> tuple[FloatArray, FloatArray]:
        """Share of the words (v, 2) before and after, and the score statistic (v,) of its change."""
        words = self.everybody[:, [1, 3]]
        whole = words.sum(axis=0)
        shares = self.totals[:, [1, 3]] / whole
        level = self.totals[:, [1, 3]].sum(axis=1) / whole.sum()
        # A person's part in the difference is a - level b: a of the value's words, b of all words.
        a = self.own[:, 3] / whole[1] - self.own[:, 1] / whole[0]
        b = words[:, 1] / whole[1] - words[:, 0] / whole[0]
        size = len(level)
        aa, ab = np.bincount(self.value, a**2, size), np.bincount(self.value, a * b[self.person], size)
        spread = np.sqrt(np.maximum(aa - 2 * level * ab + level**2 * float((b**2).sum()), 0.0))
        moved = shares[:, 1] - shares[:, 0]
        return shares, np.divide(moved, spread, out=np.zeros(size), where=spread > 1e-12)

    def wers(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """WER (v, 2), its change over that of the dimension's other words (v,), and the statistic (v,) of its log."""
        size = len(self.totals)
        others = self.totals.sum(axis=0) - self.totals
        with np.errstate(divide="ignore", invalid="ignore"):
            wer = self.totals[:, [0, 2]] / self.totals[:, [1, 3]]
            ratio = (wer[:, 1] / wer[:, 0]) / ((others[:, 2] / others[:, 3]) / (others[:, 0] / others[:, 1]))
            # Of a person's sums, what they add to log(after / before) of the value, and of all others.
            of_value, of_others = _influence(self.totals), _influence(others)
            rest = -of_others
            gram = np.einsum("pi,pj->ij", self.everybody, self.everybody)
            squares = np.einsum("vi,ij,vj->v", rest, gram, rest)
            theirs = (self.everybody[self.person] * rest[self.value]).sum(axis=1)
            mine = theirs + (self.own * (of_value + of_others)[self.value]).sum(axis=1)
            squares = squares + np.bincount(self.value, mine**2 - theirs**2, size)
            z = np.log(ratio) / np.sqrt(squares)
        return wer, ratio, z


def _table(place: IntArray, columns: Sequence[FloatArray], size: int) -> FloatArray:
    """Sums of each column by place (size, columns)."""
    return np.stack([np.bincount(place, column, size) for column in columns], axis=1).astype(np.float64)


def _influence(totals: FloatArray) -> FloatArray:
    """Weights (v, 4) of a person's four sums in the log of (WER after / WER before) of these totals."""
    e0, w0, e1, w1 = totals.T
    return np.stack([-1.0 / e0, 1.0 / w0, 1.0 / e1, -1.0 / w1], axis=1)
