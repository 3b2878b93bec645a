"""Decides what an alarm is told as: the slice that explains it, since when, how much, and against whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.cells import BoolArray, Cells, IntArray
from monitor.core.describing import Measured, measure
from monitor.core.explaining import (
    ChangePoint,
    ExplainSettings,
    Explanation,
    RatioInterval,
    best_of,
    better_name,
    change_point,
    expected,
    explain,
    most_general,
    ratio_interval,
)
from monitor.core.few_units import scan_few
from monitor.core.groupings import DAY, mask_of, strata
from monitor.core.incidents import Incident, State
from monitor.core.records import Direction, IncidentKind, Slice

OVERLAP = 0.2
"""An alarm that shares more than this of the smaller slice's cells with an incident is about the same cause. At half,
neighbours that meet in one intersection are one incident; at double, a fault seen through two dimensions is two."""
NAME_OVERLAP = 0.5
"""A name must share half of its cells with the alarm, else the alarm keeps its own slice."""
DAYS_UNEXPLAINED = 8
"""Window assumed for a slice that the ranking could not judge: the middle of the horizon."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What closed units look like at one look. Everything a diagnosis depends on.

    axes  active axes; strata  names of the stratum's dimensions; now  event time by which units are closed
    few   few long units: log rates are compared, not Poisson errors
    """

    cells: Cells
    axes: Sequence[tuple[str, ...]]
    strata: Sequence[str]
    now: float
    few: bool
    settings: ExplainSettings


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One slice's change, ready to be told."""

    slice: Slice
    change: ChangePoint
    measured: Measured
    ratio: RatioInterval | None

    @property
    def since(self) -> float:
        """Event time from which on cells are explained."""
        return self.change.at


def epochs(scene: Scene, incidents: Sequence[Incident], without: Incident | None = None) -> IntArray:
    """0 for each cell, or the number of the incident that explains it (n,)."""
    epoch = np.zeros(len(scene.cells), np.int64)
    for incident in incidents:
        if incident is without or incident.kind not in (IncidentKind.DRIFT, IncidentKind.OVERALL):
            continue
        explained = mask_of(scene.cells, incident.slice) & (scene.cells.ended_at > incident.since)
        if incident.until is not None:
            explained &= scene.cells.ended_at <= incident.until
        epoch[explained] = incident.number
    return epoch


def overlaps(scene: Scene, first: Slice, second: Slice, share: float = OVERLAP) -> bool:
    """Whether two slices share this much of the smaller one's cells."""
    a, b = mask_of(scene.cells, first), mask_of(scene.cells, second)
    return first == second or float((a & b).sum()) > share * min(float(a.sum()), float(b.sum()))


def overlapping(incidents: Sequence[Incident], slice_: Slice, direction: Direction, scene: Scene) -> Incident | None:
    """The newest incident of this direction that is not closed and shares cells with the slice."""
    for incident in reversed(incidents):
        changed = incident.kind in (IncidentKind.DRIFT, IncidentKind.OVERALL)
        if not changed or incident.state == State.CLOSED or incident.last.direction != direction:
            continue
        # A slice that it was once named or found by has had its page, whatever explains it now.
        if slice_ in (incident.found_by, *incident.joined) or overlaps(scene, incident.slice, slice_):
            return incident
    return None


def diagnose(scene: Scene, alarm: Slice, epoch: IntArray, sign: float) -> Diagnosis:
    """Name what an alarm is about: the most general good explanation that overlaps it, else its own slice."""
    explanation = _explain(scene, epoch, sign)
    row = most_general(explanation)
    if row is None or not _named_fits(scene, row.slice, alarm):
        row = best_of(explanation, alarm)
    if row is None:
        return _told(scene, alarm, DAYS_UNEXPLAINED, epoch, 1.0, sign)
    return _told(scene, row.slice, row.days, epoch, row.phi, sign)


def diagnose_again(scene: Scene, incident: Incident, incidents: Sequence[Incident]) -> Diagnosis | None:
    """Explain an open incident as if it had never been found; None unless another slice explains it clearly better."""
    epoch = epochs(scene, incidents, without=incident)
    row = better_name(_explain(scene, epoch, 1.0), incident.slice)
    return None if row is None else _told(scene, row.slice, row.days, epoch, row.phi, 1.0)


def diagnose_few(
    scene: Scene, epoch: IntArray, seed: int, sign: float, chance_max: float
) -> tuple[Diagnosis, float] | None:
    """The daily look at few long units: what changed, and its p-value, if p <= chance_max and the interval agrees."""
    look = scan_few(scene.cells, scene.axes, scene.strata, epoch, scene.now, scene.settings, seed, sign)
    row = most_general(look.explanation)
    if row is None or look.p > chance_max:
        return None
    told = _told(scene, row.slice, row.days, epoch, row.phi, sign)
    if told.ratio is None or (told.ratio.low <= 1.0 if sign > 0 else told.ratio.high >= 1.0):
        return None  # nobody is woken by a number whose own interval says "perhaps not"
    return told, look.p


def _explain(scene: Scene, epoch: IntArray, sign: float) -> Explanation:
    parts = (scene.cells, scene.axes, scene.strata, epoch, scene.now, scene.settings)
    return scan_few(*parts, None, sign).explanation if scene.few else explain(*parts, sign)


def _named_fits(scene: Scene, name: Slice, alarm: Slice) -> bool:
    a, b = mask_of(scene.cells, name), mask_of(scene.cells, alarm)
    return float((a & b).sum()) >= NAME_OVERLAP * min(float(a.sum()), float(b.sum()))


def _told(scene: Scene, slice_: Slice, days: float, epoch: IntArray, phi: float, sign: float) -> Diagnosis:
    cells = scene.cells
    inside = mask_of(cells, slice_)
    expectation = expected(cells.errors, cells.words, strata(cells, scene.strata, epoch), epoch, cells.spoken)
    rows = np.flatnonzero(inside).astype(np.int64)
    change = change_point(cells, expectation, rows, scene.now, days, phi, sign)
    later = cells.ended_at[rows] > change.at
    after, before = rows[later], rows[~later]
    ratio = ratio_interval(cells, expectation, after, before) if len(after) and len(before) else None
    return Diagnosis(slice_, change, measure(cells, slice_, inside, change.at), ratio)


def last_day(scene: Scene, slice_: Slice) -> tuple[BoolArray, float]:
    """Mask of a slice, and the moment one day before the newest closed unit."""
    return mask_of(scene.cells, slice_), scene.now - DAY
