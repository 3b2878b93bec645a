"""Decides what closed units look like at one look, and what slices and gaps come to: made once, however often asked.

Everything that reads closed units reads one `Scene`; it is made anew only after units have closed or time has moved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from monitor.core.closed_units import CellRow, Log, to_cells
from monitor.core.decide_settings import DecideSettings
from monitor.core.decider_clock import Clock
from monitor.core.diagnosing import Scene, epochs
from monitor.core.incidents import Incident
from monitor.core.records import Direction, Slice
from monitor.core.slicing import Slicing
from monitor.core.standing_claims import StandingClaims
from monitor.core.standing_gaps import gap_dimensions
from monitor.core.standings import Gap, Standings, standings
from monitor.core.watching import Watches


class Scenes:
    """One customer's closed units, as statistics see them."""

    def __init__(
        self,
        settings: DecideSettings,
        slicing: Slicing,
        cells: Log[CellRow],
        watches: Watches,
        claims: StandingClaims,
    ) -> None:
        self._settings = settings
        self._slicing = slicing
        self._axes = axes_of(slicing)
        self._cells = cells
        self._watches = watches
        self._claims = claims
        self._scene_of: tuple[int, Scene] | None = None
        self._standings_of: tuple[Scene, Standings] | None = None

    def at(self, now: float, clock: Clock) -> Scene:
        """The scene of the look at `now`."""
        closed_at = now - (clock.maturity or 0.0)
        made = self._scene_of
        same_rows = made is not None and made[0] == self._cells.version
        if made is not None and same_rows and made[1].now == closed_at:
            return made[1]
        cells = (
            made[1].cells
            if made is not None and same_rows
            else self._claims.with_columns(to_cells(list(self._cells), self._slicing.names))
        )
        scene = Scene(
            cells,
            [*self._watches.active_axes(self._axes), *self._claims.axes],
            self._slicing.settings.strata,
            closed_at,
            clock.few,
            self._settings.explain,
        )
        self._scene_of = (self._cells.version, scene)
        return scene

    def standings(self, scene: Scene) -> Standings:
        """Courses and gaps of every slice."""
        made = self._standings_of
        if made is None or made[0] is not scene:
            made = self._standings_of = (scene, self._standings_at(scene))
        return made[1]

    def unexplained_gaps(self, scene: Scene, incidents: Iterable[Incident]) -> Mapping[Slice, Gap]:
        """Gaps without the cells that an incident explains: what has a page of its own was not there all along."""
        worse = [incident for incident in incidents if incident.last.direction == Direction.WORSE]
        explained = epochs(scene, worse) > 0
        if not explained.any():
            return self.standings(scene).gaps
        return self._standings_at(dataclasses.replace(scene, cells=scene.cells.select(~explained))).gaps

    def _standings_at(self, scene: Scene) -> Standings:
        names = [name for name in gap_dimensions(self._slicing.sliced) if (name,) in scene.axes]
        names += self._claims.dimensions
        parts = (self._settings.gaps, self._settings.margin, self._slicing.settings.demographics)
        return standings(scene.cells, scene.axes, scene.now, names, scene.strata, *parts)


def axes_of(slicing: Slicing) -> list[tuple[str, ...]]:
    """One-way for each sliced dimension, then the configured intersections."""
    pairs = (tuple(sorted(pair)) for pair in slicing.settings.intersections)
    return [*((name,) for name in slicing.sliced), *dict.fromkeys(pairs)]
