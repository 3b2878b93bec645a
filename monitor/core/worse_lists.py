"""Decides which slices of a customer are listed as surely worse: than their own past, or than others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from monitor.core.closed_units import CellRow, units_of
from monitor.core.e_values import drift_e_values, e_bh, gap_e_value
from monitor.core.records import IncidentKind, Record, Slice
from monitor.core.standing_gaps import GapSettings, margin_of
from monitor.core.standings import Gap
from monitor.core.watching import Watches


class Listed(Record, frozen=True):
    """One slice that is surely worse; `kind` says than what: drift, its past; disparity, others."""

    slice: Slice
    kind: IncidentKind
    e_value: float


class WorseList(Record, frozen=True):
    """The list, and how many questions were asked: (slices with a baseline) + (groups with a gap)."""

    listed: tuple[Listed, ...]
    asked: int


def worse_list(
    watches: Watches,
    rows: Iterable[CellRow],
    since: float,
    now: float,
    gaps: Mapping[Slice, Gap],
    settings: GapSettings,
    rate: float,
) -> WorseList:
    """Slices whose false discovery rate is at most `rate`, the surest first.

    rows  all that ended after `since`, in closing order; now: event time by which units are closed
    """
    units = ((unit[0].ended_at, watches.sums(unit)) for unit in units_of(rows))
    values = {
        (IncidentKind.DRIFT, slice_): value
        for slice_, value in drift_e_values({watch.slice: watch for watch in watches}, units, since, now).items()
    }
    for slice_, gap in gaps.items():
        if gap.row.gap is not None and gap.row.persons >= gap.row.persons_min:
            margin = margin_of(gap.row, settings)
            values[IncidentKind.DISPARITY, slice_] = gap_e_value(gap.row, margin)
    listed = [Listed(slice=key[1], kind=key[0], e_value=values[key]) for key in e_bh(values, rate)]
    return WorseList(listed=tuple(listed), asked=len(values))
