"""Decides which slices have so few units that a daily look finds more than bets do, and takes that look.

Such a slice gives half of its money to the look. It has some as soon as it could learn: 100 labels a week are two weeks
of learning, and a fault in the second of them would be learned as normal. What a look does not use is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.core.budget import Ledger
from monitor.core.cells import Cells, FloatArray, IntArray
from monitor.core.diagnosing import Scene
from monitor.core.drift import Alarm, LearnSettings
from monitor.core.few_units import seed_of
from monitor.core.groupings import DAY, dense, groupings, strata
from monitor.core.permutation_scan import CHANCE_MIN, excess_chance
from monitor.core.records import Slice
from monitor.core.slicing import slice_name
from monitor.core.watching import Found, Watches

UNITS_MAX = 120
"""Units in the horizon up to which a slice is small. At half, slices of 200 labels a week in sessions of five are none;
at double nothing more is found (300 and 500 labels, x1.5: 35 and 52 of 60 streams paged, here 34 and 50), and bets that
would have come first have half their money: all traffic overtook the demo's accent, and the page named that."""


def look_at_small(
    watches: Watches, scene: Scene, epoch: IntArray, ledger: Ledger, settings: LearnSettings, customer: str
) -> list[Found]:
    """The daily look at every small slice, and which slices are small from now on.

    epoch  (n,) of the scene's cells: what incidents explain is no surprise again
    """
    rows_of = _small(scene)
    stratum = strata(scene.cells, scene.strata, epoch)
    found = []
    for watch in watches:
        rows = rows_of.get(watch.slice)
        known = watch.units >= settings.learn_units_min and scene.now - watch.learning_since >= settings.learn_seconds
        if rows is None or not known:
            if watch.looks:
                watch.look_no_more(ledger)
                watches.touch(watch.slice)
            continue
        money = watch.look_money(ledger, CHANCE_MIN)
        watches.touch(watch.slice)
        if money > 0.0:
            rows = rows[scene.cells.ended_at[rows] >= watch.learning_since]
            seed = seed_of(customer, scene.now, slice_name(watch.slice))
            p = excess_chance(*_units(scene.cells, rows, stratum, scene.now), money, seed) if len(rows) else 1.0
            if p <= money:
                found.append(Found(watch.slice, Alarm.WORSE, 1.0 / p, scene.now))
    return found


def _small(scene: Scene) -> dict[Slice, IntArray]:
    """Rows of every slice that has at most UNITS_MAX units among the cells."""
    small: dict[Slice, IntArray] = {}
    for grouping in groupings(scene.cells, scene.axes):
        rows = np.flatnonzero(grouping.code >= 0)
        rows = rows[np.argsort(grouping.code[rows], kind="stable")]
        ends = np.cumsum(np.bincount(grouping.code[rows], minlength=len(grouping.slices))).tolist()
        for slice_, start, end in zip(grouping.slices, [0, *ends], ends, strict=False):
            # A unit has hardly more than two rows in a slice: more rows than that cannot be few units.
            if end - start <= 2 * UNITS_MAX and len(np.unique(scene.cells.unit[rows[start:end]])) <= UNITS_MAX:
                small[slice_] = rows[start:end].astype(np.int64)
    return small


def _units(
    cells: Cells, rows: IntArray, stratum: IntArray, now: float
) -> tuple[FloatArray, FloatArray, IntArray, FloatArray]:
    """Errors, words, stratum and age in days of the units among these rows; a unit of several strata has one of its own
    kind with those that mix the same ones."""
    unit = dense(cells.unit[rows])
    errors, words = np.bincount(unit, cells.errors[rows]), np.bincount(unit, cells.words[rows])
    kinds: list[tuple[int, ...]] = [()] * len(words)
    for number, kind in zip(unit.tolist(), stratum[rows].tolist(), strict=True):
        if kind not in kinds[number]:
            kinds[number] = tuple(sorted((*kinds[number], kind)))
    age = np.zeros(len(words))
    age[unit] = (now - cells.ended_at[rows]) / DAY
    return errors.astype(np.float64), words.astype(np.float64), _numbered(kinds), age


def _numbered(kinds: Sequence[tuple[int, ...]]) -> IntArray:
    numbers: dict[tuple[int, ...], int] = {}
    return np.array([numbers.setdefault(kind, len(numbers)) for kind in kinds], np.int64)
