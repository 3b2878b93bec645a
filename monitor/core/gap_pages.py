"""Decides how a gap that bets have found is told: one page for a group and its cause, and when that page is over.

A gap that an open incident explains has its page. A group that had a ticket for its standing gap keeps the incident and
is paged under its name. A page is over once the group is at parity on what was heard since its bets last found the gap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from monitor.core.cells import BoolArray
from monitor.core.diagnosing import Scene, overlaps
from monitor.core.gap_bets import FoundGap, GapBets
from monitor.core.groupings import mask_of
from monitor.core.incidents import Incident, State
from monitor.core.records import Direction, IncidentKind, Level, Slice, Transition
from monitor.core.standing_gaps import GapRow, GapSettings, gaps
from monitor.core.standings import Gap, judged
from monitor.core.telling import Desk, gap_page_condition

ALIKE = 0.5
"""Groups of two dimensions with more than this of their cells in common are one cause. At half, women and the accent
that most of them have share a page; at double, never does anybody."""


class GapPages:
    """The paged gaps of one customer, against the incidents that its desk has open."""

    def __init__(self, desk: Desk, settings: GapSettings, margin: float, demographics: Collection[str]) -> None:
        self._desk = desk
        self._settings = settings
        self._margin = margin
        self._demographics = demographics

    def tell(self, found: Sequence[FoundGap], scene: Scene, now: float) -> list[Transition]:
        """Page each of these gaps that nothing explains and that has no page yet."""
        told: list[Transition | None] = []
        for gap in found:
            row = None if self._explained(gap.slice, scene) else self._row_to_tell(gap, scene)
            if row is not None:
                condition = gap_page_condition(row, gap.since, gap.evidence, max(self._settings.margin, self._margin))
                told.append(self._desk.raised(IncidentKind.DISPARITY, gap.slice, condition, now))
        return [transition for transition in told if transition is not None]

    def _explained(self, slice_: Slice, scene: Scene) -> bool:
        """Whether a drift of this group, or of a part of it, is being worked on, or the same people's gap has a page.

        A fault of everybody explains no gap: who is worse off beside it is news.
        """
        for incident in self._desk.book:
            if incident.state == State.CLOSED or incident.last.direction != Direction.WORSE:
                continue
            if incident.kind == IncidentKind.DRIFT and (
                slice_ in (incident.found_by, *incident.joined) or overlaps(scene, incident.slice, slice_)
            ):
                return True
            if _is_paged(incident) and incident.slice != slice_ and _alike(scene, incident.slice, slice_):
                return True
        return False

    def _row_to_tell(self, gap: FoundGap, scene: Scene) -> GapRow | None:
        """The gap since it began, else over all that is remembered."""
        for rows in (scene.cells.ended_at > gap.since, scene.cells.ended_at <= scene.now):
            row = self._row(gap.slice, scene, rows)
            if row is not None and row.gap is not None:
                return row
        return None

    def _row(self, slice_: Slice, scene: Scene, rows: BoolArray) -> GapRow | None:
        if not rows.any():
            return None
        names = (slice_[0][0],)
        found = gaps(scene.cells.select(rows), names, scene.strata, self._settings, self._demographics)
        return next((row for row in found if row.slice == slice_), None)

    def verdicts(self, found: Mapping[Slice, Gap], bets: GapBets, scene: Scene) -> Mapping[Slice, Gap]:
        """These gaps, but of groups whose bets found one by what was heard since then.

        Else the month of parity before it would close the page of last night, and the month of the gap open it again.
        """
        present = dict(found)
        for group in bets:
            if group.found_at is not None:
                present.pop(group.slice, None)
                row = self._row(group.slice, scene, scene.cells.ended_at > group.found_at)
                if row is not None:
                    present[group.slice] = judged(row, self._settings, self._margin)
        return present


def _alike(scene: Scene, first: Slice, second: Slice) -> bool:
    """Whether most cells of either are of both: the same people by another name."""
    a, b = mask_of(scene.cells, first), mask_of(scene.cells, second)
    return float((a & b).sum()) > ALIKE * float((a | b).sum())


def _is_paged(incident: Incident) -> bool:
    return incident.kind == IncidentKind.DISPARITY and incident.last.level == Level.PAGE and incident.open
