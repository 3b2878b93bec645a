"""Closed units of unequally sampled sessions, drawn at once from a seed: for bets that need many streams.

Sessions of six utterances at two sites, a person each. Utterances are easy (WER .06) or hard (.24), a third of them
hard at one site, two thirds at the other; a session has a level of its own. A scheme knows the probability before the
errors, by how hard the utterance is: what a sampling stratum may separate that nobody declared as a slice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor.core.closed_units import CellRow
from monitor.core.estimators import WEIGHT_ONE

DAY = 86400.0
START = 1_772_409_600.0
SESSION = 6
EASY, HARD = 0.06, 0.24
SITES = ("north", "south")
HARD_SHARE = (1 / 3, 2 / 3)
"""Of utterances, by site."""


class Scheme(NamedTuple):
    """Inclusion probabilities of easy and of hard utterances."""

    easy: float
    hard: float


SCHEMES = {
    "everything": Scheme(1.0, 1.0),
    "evenly": Scheme(0.3, 0.3),
    "hard ones rarely": Scheme(0.8, 0.12),
    "hard ones often": Scheme(0.12, 0.8),
}


def rate(site: int) -> float:
    """What is expected of a word at this site."""
    return HARD_SHARE[site] * HARD + (1 - HARD_SHARE[site]) * EASY


def sessions(
    seed: int,
    scheme: Scheme,
    *,
    count: int = 2_000,
    days: float = 28.0,
    share: float = 0.3,
    points: float = 0.0,
    factor: float = 1.0,
    double_at: float | None = None,
    effect: float = 0.45,
) -> list[CellRow]:
    """Sessions of which something was sampled, in the order of their end.

    share      of the accent `yoruba`, whose WER is `factor` x others' + `points`; all others are `us`
    double_at  part of the stream from which on everybody's WER is twice what it was
    effect     standard deviation of a session's own level, relative to the level
    """
    random = np.random.default_rng(seed)
    group, site = random.random(count) < share, random.integers(0, 2, count)
    shape = (count, SESSION)
    hard = random.random(shape) < np.array(HARD_SHARE)[site][:, None]
    words = 5 + random.poisson(5, shape)
    level = np.where(hard, HARD, EASY)
    if double_at is not None:
        level = level * np.where(np.arange(count) >= double_at * count, 2.0, 1.0)[:, None]
    level = np.where(group[:, None], factor * level + points, level)
    own = random.gamma(1 / effect**2, effect**2, count) if effect else np.ones(count)
    errors = np.minimum(random.poisson(level * own[:, None] * words), words * 3 // 2)
    chance = np.where(hard, scheme.hard, scheme.easy)
    kept = random.random(shape) < chance
    weight = np.rint(WEIGHT_ONE / chance).astype(np.int64) * kept
    sums = [(column * weight).sum(axis=1).tolist() for column in (errors, words)]
    plain, number = (words * kept).sum(axis=1).tolist(), kept.sum(axis=1).tolist()
    rows = []
    for k in np.flatnonzero(kept.any(axis=1)).tolist():
        at = START + (k + 1) * days * DAY / count
        labels = (("us", "yoruba")[int(group[k])], SITES[site[k]])
        rows.append(CellRow(at, f"u{k}", labels, f"p{k}", number[k], sums[0][k], sums[1][k], plain[k], at - 60.0))
    return rows
