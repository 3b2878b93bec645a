"""Decides which of many slices may be listed as worse, so that few of those listed are not.

Intuition. Of forty slices two look bad at any time. An e-value is what a fair bet against "nothing is wrong" has won: 1
is nothing, 20 is a lot. A list of k slices may hold those that each won (slices / (k x rate)).
Guarantee. False discovery rate at most `rate`, however the slices overlap (e-BH), for the list of one moment. R of a
page is no e-value: it is money that was put in little by little, and starts anew after an alarm. So the bets are placed
again, from the closing of the baseline or as far back as rows are kept, with one unit of money spread evenly over that
time, and without a restart: the mean of such a wealth is at most 1. For gaps: the mixture whose level sets are the
confidence sequence of `standing_gaps`; asymptotic, from its 50 persons on.
Not covered. The most exciting of many looks: each list is one. The 5 % of slices whose rho is too low (`drift`).
Source. Wang and Ramdas 2022 (e-BH); Shin, Ramdas, Rinaldo 2022; Robbins 1970 (normal mixture).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from statistics import NormalDist
from typing import TypeVar

from monitor.core.drift import UnitSums, Watch, reach_of
from monitor.core.evidence import NO_EVIDENCE, Evidence, bet_worse, mean
from monitor.core.mix_error import Mix
from monitor.core.records import Slice
from monitor.core.standing_gaps import GapRow

PERSONS_BEST = 100.0
"""The mixture is sharpest near this many persons, as the confidence sequence is."""
EXPONENT_MAX = 600.0
"""Beyond it a float overflows; nobody needs more evidence than that."""

Key = TypeVar("Key", bound=Hashable)


def e_bh(values: Mapping[Key, float], rate: float) -> list[Key]:
    """Keys that may be listed at this false discovery rate, the largest first.

    >>> e_bh({"a": 45.0, "b": 16.0, "c": 3.0, "d": 0.2}, 0.1)
    ['a']
    >>> e_bh({"a": 45.0, "b": 21.0, "c": 3.0, "d": 0.2}, 0.1)
    ['a', 'b']
    """
    ranked = sorted(values, key=lambda key: -values[key])
    count = 0
    for k, key in enumerate(ranked, start=1):
        if k * values[key] >= len(values) / rate:
            count = k
    return ranked[:count]


def gap_e_value(row: GapRow, margin: float) -> float:
    """Against "the gap is at most `margin`"; 1, which is nothing, where there is no gap to speak of."""
    if row.gap is None or not row.standard_error or row.persons < row.persons_min:
        return 1.0
    z = (row.gap - margin) / row.standard_error
    spread = row.persons / PERSONS_BEST
    kept = spread / (1.0 + spread)
    exponent = min(z * z * kept / 2.0, EXPONENT_MAX)
    return 2.0 / math.sqrt(1.0 + spread) * math.exp(exponent) * NormalDist().cdf(z * math.sqrt(kept))


def drift_e_values(
    watches: Mapping[Slice, Watch], units: Iterable[tuple[float, Mapping[Slice, UnitSums]]], since: float, now: float
) -> dict[Slice, float]:
    """Against "not worse than its baseline" of every slice that has one.

    units  (ended_at, sums by slice) of the units that are remembered, in closing order; all that ended after `since`
    now    event time by which units are closed
    """
    wealth: dict[Slice, tuple[Evidence, float]] = {}
    weights: dict[Slice, float] = {}
    mixes: dict[Slice, Mix] = {}
    begins = {
        slice_: max(since, watch.closed_at)
        for slice_, watch in watches.items()
        if watch.baseline is not None and watch.closed_at is not None and watch.closed_at < now
    }
    for ended_at, sums in units:
        for slice_, unit in sums.items():
            begin, baseline = begins.get(slice_), watches[slice_].baseline if slice_ in watches else None
            if begin is None or baseline is None:
                continue
            weights[slice_], reach = reach_of(weights.get(slice_, 0.0), unit)  # of what came before the bets as well
            if not begin < ended_at <= now:
                continue
            expected, errors, _ = baseline.expectation(unit)
            if expected > 0:
                evidence, last = wealth.get(slice_, (NO_EVIDENCE, begin))
                money = (ended_at - last) / (now - begin)
                mix = mixes.setdefault(slice_, Mix())
                mix.note(baseline.parts(unit), baseline.prices)
                rho = baseline.rho_at(mix.stretch() if baseline.prices else 1.0)
                evidence = bet_worse(evidence, money, errors, expected, rho, baseline.scale, reach)
                wealth[slice_] = evidence, ended_at
    found = {}
    for slice_, begin in begins.items():
        evidence, last = wealth.get(slice_, (NO_EVIDENCE, begin))
        found[slice_] = mean(evidence) + (now - last) / (now - begin)  # money not yet put in is kept
    return found
