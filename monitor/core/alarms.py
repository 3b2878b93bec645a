"""Decides what becomes of an alarm: an incident, or part of one that explains it already; and when that is over.

An alarm is told as what explains it best, which need not be the slice that alarmed. Whether it was worth a page is not
asked here: whoever alarmed has paid for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from monitor.core.accounts import CALLS
from monitor.core.budget import BETTER_PART
from monitor.core.closed_units import CellRow, Log
from monitor.core.decider_clock import DAY, Clock
from monitor.core.describing import Why
from monitor.core.diagnosing import Diagnosis, Scene, diagnose, diagnose_again, diagnose_few, epochs, overlapping
from monitor.core.drift import Alarm
from monitor.core.few_units import seed_of
from monitor.core.incidents import State
from monitor.core.model_shares import ModelShares
from monitor.core.records import Direction, IncidentKind, Slice, Transition
from monitor.core.recovery import Recovery, recovers, recovery_of
from monitor.core.relearning import Order
from monitor.core.slicing import slice_name
from monitor.core.telling import Desk
from monitor.core.watching import Found, Watches
from monitor.core.what_changed import what_changed

EXPLAINED_DAYS = 7.0
"""How long an open incident is explained anew each day: after a week its slice is what on-call works on."""
CALL_CELLS_MIN = 8
CALL_WORDS_MIN = 3000.0
"""Nothing is read out of fewer calls or words: the scan's own minimum, and 25 minutes of speech."""


class Alarms:
    """One customer's incidents of change."""

    def __init__(self, customer: str, desk: Desk, watches: Watches, cells: Log[CellRow], models: ModelShares) -> None:
        self._customer = customer
        self._desk = desk
        self._watches = watches
        self._cells = cells
        self._models = models

    def tell(
        self, found: Sequence[Found], scene: Scene, clock: Clock, now: float, reason: Why = Why.BASELINE_EXCEEDED
    ) -> list[Transition]:
        """Every alarm of one look, the most general first."""
        told: list[Transition | None] = []
        for alarm in sorted(found, key=lambda found: (len(found.slice), found.slice)):
            direction = Direction.WORSE if alarm.alarm == Alarm.WORSE else Direction.BETTER
            told.append(self._alarm(alarm, direction, scene, clock, now, reason))
        return [transition for transition in told if transition is not None]

    def _alarm(
        self, alarm: Found, direction: Direction, scene: Scene, clock: Clock, now: float, reason: Why
    ) -> Transition | None:
        book = list(self._desk.book)
        incident = overlapping(book, alarm.slice, direction, scene)
        sign = 1.0 if direction == Direction.WORSE else -1.0
        diagnosis = diagnose(scene, alarm.slice, epochs(scene, book), sign)
        if incident is None:  # one cause may alarm in slices that share nothing: what explains them does
            incident = overlapping(book, diagnosis.slice, direction, scene)
        if incident is not None:
            return self._desk.join(incident, alarm.slice, now, alarm.evidence, scene.now)
        reason = reason if direction == Direction.WORSE else Why.IMPROVED
        return self._open(alarm.slice, diagnosis, direction, reason, alarm.evidence, scene, clock, now)

    def _open(
        self,
        found_by: Slice,
        diagnosis: Diagnosis,
        direction: Direction,
        reason: Why,
        evidence: float,
        scene: Scene,
        clock: Clock,
        now: float,
    ) -> Transition:
        return self._desk.open_change(
            found_by,
            diagnosis,
            direction,
            reason,
            evidence,
            now,
            clock.new_models(diagnosis.since, now),
            self.untested(clock),
            self._recovery(diagnosis, found_by, scene.now) if direction == Direction.WORSE else None,
            what_changed(scene, diagnosis, self._models),
        )

    def untested(self, clock: Clock) -> int:
        """Slices that no bet watches yet."""
        return 0 if clock.few else sum(watch.baseline is None for watch in self._watches)

    def relearn(self, order: Order, scene: Scene, now: float) -> list[Transition]:
        """A slice's level is meant, an operator says: what is open about it is over, and the new level the norm."""
        told: list[Transition | None] = []
        for incident in list(self._desk.book):
            changed = incident.kind in (IncidentKind.DRIFT, IncidentKind.OVERALL) and incident.open
            if changed and set(order.slice) <= set(incident.slice):
                told.append(
                    self._desk.end(incident, now, scene.now, Why.RELEARN_ORDERED, "an operator lets it learn anew")
                )
                incident.until = None
        told.append(self._desk.relearn(order.slice, order.since, now))
        return [transition for transition in told if transition is not None]

    def end_claim(self, slice_: Slice, now: float, closed_at: float) -> list[Transition]:
        """A claim's slice ends with its claim: a note, and the end of what was open about it."""
        gone = "its claim is no longer in claims.json, and nothing is watched or spent for it"
        told = [
            self._desk.end(incident, now, closed_at, Why.CLAIM_GONE, gone)
            for incident in list(self._desk.book)
            if incident.slice == slice_ and incident.open
        ]
        return [*told, self._desk.note(slice_, Why.CLAIM_GONE, f"{slice_name(slice_)}: {gone}", now)]

    # ------------------------------------------------------------------------------------------------------ recovery
    def _recovery(self, diagnosis: Diagnosis, found_by: Slice, closed_at: float) -> Recovery:
        before = diagnosis.measured.before or 0.0
        return recovery_of(diagnosis.slice, found_by, before, self._watches, self._cells, closed_at)

    def bet_on_recovery(self, cells: Sequence[CellRow], now: float) -> None:
        """Evidence that what is open is over, from the units that just closed."""
        for incident in self._desk.book if cells else ():
            if incident.state == State.FIRING and incident.recovery is not None:
                if recovers(incident.recovery, incident.slice, cells, self._watches):
                    self._desk.recovered(incident, now)
                self._desk.book.touch(incident)

    def better_over(self, closed: Sequence[Slice], clock: Clock, now: float) -> None:
        """A slice that had improved has a baseline again; few units have none: there the hold time is all."""
        for incident in self._desk.book:
            better = incident.last.direction == Direction.BETTER and incident.state == State.FIRING
            if better and (clock.few or incident.slice in closed or incident.found_by in closed):
                self._desk.recovered(incident, now)

    # --------------------------------------------------------------------------------------------------- once a day
    def explain_again(self, scene: Scene, clock: Clock, now: float) -> list[Transition]:
        """Name open incidents anew, as if each had never been found."""
        told: list[Transition] = []
        for incident in list(self._desk.book):
            worse = incident.last.direction == Direction.WORSE
            changed = incident.kind in (IncidentKind.DRIFT, IncidentKind.OVERALL)
            if not (worse and changed and incident.state == State.FIRING):
                continue
            if now - incident.opened_at > EXPLAINED_DAYS * DAY:
                continue
            diagnosis = diagnose_again(scene, incident, list(self._desk.book))
            if diagnosis is None:
                continue
            models = clock.new_models(diagnosis.since, now)
            with_it = what_changed(scene, diagnosis, self._models)
            transition = self._desk.rename(incident, diagnosis, now, models, self.untested(clock), with_it)
            if transition is not None:
                incident.recovery = self._recovery(diagnosis, incident.found_by, scene.now)
                told.append(transition)
        return told

    def look_at_calls(self, scene: Scene, clock: Clock, now: float) -> list[Transition]:
        """The daily look at few long units, which costs what the day has earned."""
        if not clock.few or len(scene.cells) < CALL_CELLS_MIN or scene.cells.words.sum() < CALL_WORDS_MIN:
            return []
        chance = clock.ledger.spend(clock.ledger.chance(clock.calls_at, scene.now), by=CALLS)
        clock.calls_at = scene.now
        told: list[Transition] = []
        for direction, sign, allowed in (
            (Direction.WORSE, 1.0, chance),
            (Direction.BETTER, -1.0, chance / BETTER_PART),
        ):
            book = list(self._desk.book)
            seed = seed_of(self._customer, now, direction)
            found = diagnose_few(scene, epochs(scene, book), seed, sign, allowed)
            if found is None:
                continue
            diagnosis, p = found
            incident = overlapping(book, diagnosis.slice, direction, scene)
            if incident is None:
                reason = Why.CALLS_WORSE if direction == Direction.WORSE else Why.IMPROVED
                told.append(self._open(diagnosis.slice, diagnosis, direction, reason, 1 / p, scene, clock, now))
            elif (transition := self._desk.join(incident, diagnosis.slice, now, 1 / p, scene.now)) is not None:
                told.append(transition)
        return told
