"""Decides whether the labels themselves broke: an accent label that vanishes, references of a slice that stop.

Intuition     Silence looks like health. If the share of utterances without an accent jumps, nobody watches accents any
              more; if no session of a slice was corrected for days although many used to be, its WER is old news.
Guarantee     With independent sessions, a share shift has a chance of less than 3e-7 for one look at one window at the
              share before, however few and long the sessions are; `stale` less than 1 in a million.
Not covered   Slow erosion (under 10 points in 4 days). A labelling team's holiday of a week is a real gap, and is said.
Source        Cluster-robust difference of two shares (Liang and Zeger 1986); Chernoff's bound for means of independent
              values between 0 and 1 (Hoeffding 1963).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.core.cells import BoolArray, FloatArray, IntArray
from monitor.core.groupings import DAY, dense

SHIFT_WINDOWS = (1, 2, 4)
STALE_WINDOWS = (2, 4, 7)
"""Days. A day without a label is a Sunday; a week without is past doubt, if it is not found before."""
SHIFT_Z = 5.0
SHIFT_POINTS = 0.10
SHIFT_CHANCE = 2.9e-7
"""Of z > 5 in the normal distribution. The cluster-robust z alone is wrong where it matters: three sessions that all
lack the label have no spread among themselves, and z is 8."""
STALE_CHANCE = 1e-6
"""A look a day at 250 slices and 3 windows is 68,000 looks in 90 days: a false ticket in more than 10 such periods."""

_RECENT_MIN, _PAST_MIN = 60, 200
_STALE_SESSIONS_MIN, _STALE_PAST_MIN = 3, 10


@dataclass(frozen=True, slots=True)
class ShareShift:
    """The recent window of `days` in which a share rose most clearly.

    log_chance  logarithm of a bound on the chance of it, had nothing changed
    fires       the rise is both beyond chance and large: a page
    """

    z: float
    before: float
    after: float
    days: int
    log_chance: float
    fires: bool


@dataclass(frozen=True, slots=True)
class Stale:
    """None of the `sessions` of the last `days` has a label, where `share` of the earlier ones had."""

    days: int
    sessions: int
    share: float


def share_shift(
    times: FloatArray, unit: IntArray, hits: FloatArray, now: float, utterances: FloatArray | None = None
) -> ShareShift | None:
    """The clearest rise of a share in the last 1, 2 or 4 days; None when nothing rose or too few were seen.

    times       (n,) event time of a row: an utterance, or a unit's utterances of one kind
    unit        (n,) index of the unit that the row belongs to
    hits        (n,) utterances of the row that lack the label (0 or 1 for a single utterance)
    utterances  (n,) utterances of the row; all 1 when None
    """
    size = np.ones(len(times)) if utterances is None else utterances
    cluster = dense(unit)
    best: ShareShift | None = None
    for days in SHIFT_WINDOWS:
        recent = times > now - days * DAY
        after, before = _share(cluster, hits, size, recent), _share(cluster, hits, size, ~recent)
        if after is None or before is None or after.size < _RECENT_MIN or before.size < _PAST_MIN:
            continue
        # The last term keeps a share of exactly 0 or 1 from having no variance at all.
        variance = after.variance + before.variance + 0.25 / after.size**1.5
        z = (after.share - before.share) / float(np.sqrt(max(variance, 1e-12)))
        log_chance = _log_chance(after, before)
        sure = z > SHIFT_Z and log_chance < np.log(SHIFT_CHANCE)
        fires = bool(sure and after.share - before.share > SHIFT_POINTS)
        if z > 0 and (best is None or (fires, z) > (best.fires, best.z)):
            best = ShareShift(z, before.share, after.share, days, log_chance, fires)
    return best


@dataclass(frozen=True, slots=True)
class _Share:
    """A share, its cluster-robust variance, utterances, and how many equally long sessions they are worth (Kish)."""

    share: float
    variance: float
    size: float
    sessions: float


def _log_chance(after: _Share, before: _Share) -> float:
    """Chernoff's bound on the chance of the share after, if each session's share has the mean before."""
    usual = (before.share * before.sessions + 0.5) / (before.sessions + 1.0)
    if after.share <= usual:
        return 0.0
    nats = after.share * np.log(after.share / usual)
    if after.share < 1.0:
        nats += (1.0 - after.share) * np.log((1.0 - after.share) / (1.0 - usual))
    return -after.sessions * float(nats)


def _share(cluster: IntArray, hits: FloatArray, size: FloatArray, rows: BoolArray) -> _Share | None:
    total = float(size[rows].sum())
    if not total > 0:
        return None
    share = float(hits[rows].sum()) / total
    residual = np.bincount(cluster[rows], hits[rows] - share * size[rows])
    sizes = np.bincount(cluster[rows], size[rows])
    return _Share(share, float((residual**2).sum()) / total**2, total, total**2 / float((sizes**2).sum()))


def stale(unit: IntArray, times: FloatArray, labelled: FloatArray, now: float) -> Stale | None:
    """The shortest of the last 2, 4 or 7 days without any labelled session, when that is no accident.

    Only rows that are mature by `now` belong here, labelled or not as they were at maturity: labels that come later
    would make the past look better than the present.

    unit      (n,) index of the session
    times     (n,) when the row became mature
    labelled  (n,) 1 if it had a label by then, else 0
    """
    if not len(unit):
        return None
    session = dense(unit)
    got = np.zeros(int(session.max()) + 1)
    last = np.full(len(got), -np.inf)
    np.maximum.at(got, session, labelled)
    np.maximum.at(last, session, times)
    for days in STALE_WINDOWS:
        recent = last > now - days * DAY
        sessions, earlier = int(recent.sum()), int((~recent).sum())
        if earlier < _STALE_PAST_MIN or sessions < _STALE_SESSIONS_MIN or got[recent].sum() > 0:
            continue
        share = (float(got[~recent].sum()) + 0.5) / (earlier + 1)
        if sessions * np.log1p(-share) < np.log(STALE_CHANCE):
            return Stale(days, sessions, share)
    return None
