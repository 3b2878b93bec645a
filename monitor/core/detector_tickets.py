"""Decides what becomes of the alarms of detectors that no budget stands behind: tickets, apart from what pages.

They have a book of their own. Nothing that pages ever reads it: a ticket neither explains cells away from a page, nor
takes a page in, nor gives it the slice's name. The other way round, what an incident explains is no ticket, and a
ticket is over once an incident explains it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from monitor.core.advising import Advice
from monitor.core.changes import Change
from monitor.core.closed_units import CellRow, Log
from monitor.core.decider_clock import Clock
from monitor.core.describing import Why
from monitor.core.diagnosing import Diagnosis, Scene, diagnose, epochs, overlapping
from monitor.core.incidents import Incident, Signal, State
from monitor.core.records import Direction, IncidentState, Level, Transition
from monitor.core.recovery import recovers, recovery_of
from monitor.core.slicing import slice_name
from monitor.core.telling import Desk
from monitor.core.watching import Watches

TABLE = "detector_tickets"
NO_EVIDENCE = 0.0
"""They state none."""
_BY = "by {}, which no page budget stands behind"


class DetectorTickets:
    """Opens and resolves the tickets of one customer's detectors."""

    def __init__(self, customer: str, watches: Watches, cells: Log[CellRow]) -> None:
        self._desk = Desk(customer, series="detectors")
        self._watches = watches
        self._cells = cells

    def tell(
        self, advice: Advice, scene: Scene, incidents: Sequence[Incident], at: float, clock: Clock, untested: int
    ) -> list[Transition]:
        """A ticket, unless an incident or an earlier ticket explains the alarm."""
        diagnosis = diagnose(scene, advice.slice, epochs(scene, incidents), 1.0)
        for slice_ in (advice.slice, diagnosis.slice):
            if overlapping(incidents, slice_, Direction.WORSE, scene) is not None:
                return []
            ticket = overlapping(list(self._desk.book), slice_, Direction.WORSE, scene)
            if ticket is not None:
                again = self._desk.join(ticket, advice.slice, at, NO_EVIDENCE, scene.now)
                return [] if again is None else [again]
        return [self._open(advice, diagnosis, scene, at, clock, untested)]

    def _open(
        self, advice: Advice, diagnosis: Diagnosis, scene: Scene, at: float, clock: Clock, untested: int
    ) -> Transition:
        before = diagnosis.measured.before or 0.0
        told = self._desk.open_change(
            advice.slice,
            diagnosis,
            Direction.WORSE,
            Why(advice.detector),
            NO_EVIDENCE,
            at,
            clock.new_models(diagnosis.since, at),
            untested,
            recovery_of(diagnosis.slice, advice.slice, before, self._watches, self._cells, scene.now),
        )
        return self._desk.amend(replace(told, level=Level.TICKET, summary=f"{told.summary}; {_BY.format(told.reason)}"))

    def over(
        self, cells: Sequence[CellRow], scene: Callable[[], Scene], incidents: Sequence[Incident], at: float
    ) -> list[Transition]:
        """Tickets whose slice has recovered for long enough, or that an incident explains by now."""
        told: list[Transition | None] = []
        for ticket in self._desk.book:
            if ticket.state == State.FIRING and cells and ticket.recovery is not None:
                if recovers(ticket.recovery, ticket.slice, cells, self._watches):
                    self._desk.recovered(ticket, at)
                self._desk.book.touch(ticket)
            if ticket.open and (incident := overlapping(incidents, ticket.slice, Direction.WORSE, scene())) is not None:
                told.append(self._taken_over(ticket, incident, at, scene().now))
            elif ticket.state in (State.RECOVERING, State.RESOLVED):
                told.append(self._desk.hold(ticket, at, scene()))
        return [transition for transition in told if transition is not None]

    def _taken_over(self, ticket: Incident, incident: Incident, at: float, closed_at: float) -> Transition:
        self._desk.book.signal(ticket, Signal.RECOVERED, at, closed_at)
        self._desk.book.signal(ticket, Signal.HOLD_PASSED, at, closed_at)
        summary = (
            f"{slice_name(ticket.slice)}: explained by incident {incident.last.incident}; was: {ticket.last.summary}"
        )
        reason = Why.EXPLAINED_BETTER.value
        return replace(ticket.last, at=at, state=IncidentState.RESOLVED, reason=reason, summary=summary)

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        return [Change(TABLE, change.key, change.value) for change in self._desk.book.changes()]

    def restore(self, key: str, value: bytes) -> None:
        """Take back one ticket, in any order."""
        self._desk.book.restore(key, value)
