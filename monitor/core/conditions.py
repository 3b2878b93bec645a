"""Decides which incidents of conditions open and end: gaps, silence, vanished labels hold or not, without a bet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monitor.core.closed_units import TrafficRow
from monitor.core.decider_clock import Clock
from monitor.core.incidents import State
from monitor.core.records import UNKNOWN, IncidentKind, Slice, Transition, Verdict
from monitor.core.silence import TrafficTable, blind_conditions, coverage_conditions, loss_condition, stale_conditions
from monitor.core.slicing import Slicing
from monitor.core.standings import Gap
from monitor.core.telling import Condition, Desk, gap_condition


class Conditions:
    """The conditions of one customer, against the incidents that its desk has open."""

    def __init__(self, desk: Desk, slicing: Slicing) -> None:
        self._desk = desk
        self._slicing = slicing
        self._label_dimension = next((name for name in ("accent", *slicing.sliced) if name in slicing.sliced), None)

    def gaps(self, gaps: Mapping[Slice, Gap], now: float) -> list[Transition]:
        """A standing gap opens a ticket; parity ends it. Too few words are neither."""
        told: list[Transition | None] = []
        for slice_, gap in sorted(gaps.items()):
            incident = self._desk.standing(IncidentKind.DISPARITY, slice_)
            if gap.verdict == Verdict.PARITY and incident is not None and incident.state == State.FIRING:
                self._desk.recovered(incident, now)
            elif gap.verdict == Verdict.DISPARITY:  # one that holds takes a recovery back
                told.append(self._desk.condition(IncidentKind.DISPARITY, slice_, gap_condition(gap.row), now))
        return [transition for transition in told if transition is not None]

    def blind(self, clock: Clock, now: float) -> list[Transition]:
        """Whether anybody scores the traffic of the last day."""
        assert clock.first_at is not None
        holding = blind_conditions(clock.traffic, now, clock.first_at, clock.maturity or 0.0)
        incident = self._desk.standing(IncidentKind.BLIND, ())
        # Traffic that stops as well does not make anybody see again: only a score does.
        unseen = incident is not None and (clock.traffic.last_scored_at or 0.0) <= incident.opened_at
        return self._reconcile(IncidentKind.BLIND, holding, {()} if unseen else set(), now)

    def loss(self, partition: str, lost: int, now: float) -> Transition | None:
        """Messages were gone before anybody read them; daily looks let the incident end."""
        incident = self._desk.standing(IncidentKind.COVERAGE, ())
        before = 0 if incident is None else round(incident.last.evidence)
        return self._desk.grow(IncidentKind.COVERAGE, (), loss_condition(partition, lost, before), now)

    def silence(
        self, clock: Clock, closed: Sequence[TrafficRow], still_open: Sequence[TrafficRow], now: float
    ) -> list[Transition]:
        """Labels that vanished, and slices whose references stopped."""
        told: list[Transition] = []
        name = self._label_dimension
        if name is not None:
            table = TrafficTable([*closed, *still_open], self._slicing.names)
            incident = self._desk.standing(IncidentKind.COVERAGE, ((name, UNKNOWN),))
            lasting: set[Slice] = set()
            if incident is not None and table.still_vanished(name, incident.level_before or 0.0, now):
                lasting.add(incident.slice)
            told += self._reconcile(IncidentKind.COVERAGE, coverage_conditions(table, name, now), lasting, now)
        if clock.maturity is not None:
            table = TrafficTable(closed, self._slicing.names)
            holding = stale_conditions(table, self._slicing.sliced, now, clock.maturity)
            maturity = clock.maturity
            lasting = {
                incident.slice
                for incident in self._desk.book
                if incident.kind == IncidentKind.STALE
                and incident.state == State.FIRING
                and not table.labelled_since(incident.slice, incident.opened_at, maturity)
            }
            told += self._reconcile(IncidentKind.STALE, holding, lasting, now)
        return told

    def _reconcile(
        self, kind: IncidentKind, holding: dict[Slice, Condition], lasting: set[Slice], now: float
    ) -> list[Transition]:
        """Open what holds now; start the hold time of what neither holds nor lasts."""
        told = [self._desk.condition(kind, slice_, holding[slice_], now) for slice_ in sorted(holding)]
        for incident in list(self._desk.book):
            over = incident.slice not in holding and incident.slice not in lasting
            if incident.kind == kind and incident.state == State.FIRING and over:
                self._desk.recovered(incident, now)
        return [transition for transition in told if transition is not None]
