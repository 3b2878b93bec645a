"""Decides how each step of an incident is told: one transition, with its level, numbers and sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from monitor.core.describing import (
    Why,
    change_sentence,
    gap_page_sentence,
    gap_sentence,
    over_sentence,
    relearn_sentence,
    relearned_sentence,
    renamed_sentence,
    resolved_sentence,
)
from monitor.core.diagnosing import Diagnosis, Scene, last_day
from monitor.core.incidents import Action, Incident, IncidentBook, Signal, State, incident_id
from monitor.core.records import Changed, Direction, IncidentKind, IncidentState, Level, Slice, Transition
from monitor.core.recovery import Recovery
from monitor.core.slicing import slice_name
from monitor.core.standing_gaps import GapRow

DAY = 86400.0


class Condition(NamedTuple):
    """Something that holds or not (a gap, silence), and what to say of it when it begins."""

    level: Level
    evidence: float
    reason: Why
    summary: str
    numbers: dict[str, float | None]
    pairs: int = 0
    since: float | None = None
    level_before: float | None = None


def gap_condition(row: GapRow) -> Condition:
    """A standing gap: one ticket, never a page."""
    assert row.gap is not None
    z = row.gap / row.standard_error if row.standard_error else 0.0
    return Condition(Level.TICKET, z, Why.STANDING_GAP, gap_sentence(row), _gap_numbers(row), pairs=row.persons)


def gap_page_condition(row: GapRow, since: float, evidence: float, margin: float) -> Condition:
    """A gap that a group's bets have found: a page, where a team signed a parity objective of this margin."""
    said = gap_page_sentence(row, since, evidence, margin)
    numbers = _gap_numbers(row)
    return Condition(Level.PAGE, evidence, Why.GAP_BEYOND_MARGIN, said, numbers, pairs=row.persons, since=since)


def _gap_numbers(row: GapRow) -> dict[str, float | None]:
    assert row.gap is not None and row.rest_wer is not None
    return {
        "wer": row.rest_wer + row.gap,
        "wer_rest": row.rest_wer,
        "gap": row.gap,
        "gap_low": row.low,
        "gap_high": row.high,
    }


class Desk:
    """Opens, updates and resolves the incidents of one customer."""

    def __init__(self, customer: str, series: str = "") -> None:
        """
        series  names another book of the same customer, whose incidents must not have this one's names
        """
        self._customer = customer
        self._named = f"{customer}\x1f{series}" if series else customer
        self.book = IncidentBook()

    # ------------------------------------------------------------------------------------------------------ changes
    def open_change(
        self,
        found_by: Slice,
        diagnosis: Diagnosis,
        direction: Direction,
        reason: Why,
        evidence: float,
        at: float,
        new_models: Sequence[str],
        untested: int,
        recovery: Recovery | None,
        changed: Changed | None = None,
    ) -> Transition:
        """A slice changed: a page if it is worse, a line in the digest if it is better."""
        kind = IncidentKind.DRIFT if diagnosis.slice else IncidentKind.OVERALL
        told = self._change(
            incident_id(self._named, kind, diagnosis.slice, at),
            kind,
            IncidentState.FIRING,
            diagnosis,
            direction,
            reason,
            evidence,
            at,
            new_models,
            untested,
            changed,
        )
        self._add(kind, diagnosis.slice, found_by, diagnosis.since, told, recovery, None)
        return told

    def amend(self, told: Transition) -> Transition:
        """Tell the newest incident's opening otherwise."""
        *_, newest = self.book
        newest.last = told
        self.book.touch(newest)
        return told

    def rename(
        self,
        incident: Incident,
        diagnosis: Diagnosis,
        at: float,
        new_models: Sequence[str],
        untested: int,
        changed: Changed | None = None,
    ) -> Transition | None:
        """Another slice explains an open incident better: an update, never a page."""
        if self.book.signal(incident, Signal.RENAMED, at) != Action.UPDATE:
            return None
        kind = IncidentKind.DRIFT if diagnosis.slice else IncidentKind.OVERALL
        first = incident.slice
        told = self._change(
            incident.last.incident,
            kind,
            IncidentState.UPDATED,
            diagnosis,
            incident.last.direction,
            Why.EXPLAINED_BETTER,
            incident.last.evidence,
            at,
            new_models,
            untested,
            changed,
        )
        told = replace(told, summary=renamed_sentence(first, told.summary))
        if first not in incident.joined:
            incident.joined = sorted([*incident.joined, first])
        incident.kind, incident.slice, incident.since, incident.last = kind, diagnosis.slice, diagnosis.since, told
        self.book.touch(incident)
        return told

    def join(
        self, incident: Incident, slice_: Slice, at: float, evidence: float, closed_at: float | None = None
    ) -> Transition | None:
        """An alarm that an incident explains. Soon after `resolved`, it fires again under the same name."""
        action = self.book.signal(incident, Signal.ALARM, at, closed_at)
        if slice_ != incident.slice and slice_ not in incident.joined:
            incident.joined = sorted([*incident.joined, slice_])
        if action != Action.FIRE_AGAIN:
            return None
        told = replace(
            incident.last,
            at=at,
            state=IncidentState.FIRING,
            reason=Why.RELAPSED.value,
            evidence=evidence,
            summary=f"{slice_name(incident.slice)}: worse again within a day of being resolved",
        )
        incident.last = told
        return told

    def recovered(self, incident: Incident, at: float) -> None:
        """The evidence says that it is over; the hold time begins."""
        self.book.signal(incident, Signal.RECOVERED, at)

    def hold(self, incident: Incident, at: float, scene: Scene) -> Transition | None:
        """Resolve what has been over for the hold time."""
        if self.book.hold(incident, at, scene.now) != Action.RESOLVE:
            return None
        days = (at - incident.opened_at) / DAY
        told = incident.last
        if incident.kind in (IncidentKind.DRIFT, IncidentKind.OVERALL) and told.direction == Direction.WORSE:
            inside, since = last_day(scene, incident.slice)
            reason, summary = Why.RECOVERED, resolved_sentence(told, scene.cells, inside, since, days)
        elif told.direction == Direction.BETTER:
            # The better level is the slice's own from now on: it explains its cells for good.
            incident.until = None
            reason, summary = Why.RELEARNED, relearned_sentence(told, days)
        else:
            reason, summary = Why.RECOVERED, over_sentence(told, days)
        return replace(told, at=at, state=IncidentState.RESOLVED, reason=reason.value, summary=summary)

    def relearn(self, slice_: Slice, since: float, at: float) -> Transition:
        """A slice learns anew by an operator's order: a line in the digest, which explains its cells from then on."""
        kind = IncidentKind.DRIFT if slice_ else IncidentKind.OVERALL
        said = Condition(Level.DIGEST, 0.0, Why.RELEARN_ORDERED, relearn_sentence(slice_, since), {}, since=since)
        told = self._condition(incident_id(self._named, kind, slice_, at), kind, slice_, said, at)
        told = replace(told, direction=Direction.BETTER)  # as an improvement is: what comes is the norm
        self._add(kind, slice_, slice_, since, told, None, None)
        return told

    def end(self, incident: Incident, at: float, closed_at: float, why: Why, said: str) -> Transition:
        """What an incident is about is over by somebody's decision, not by evidence."""
        self.book.signal(incident, Signal.RECOVERED, at, closed_at)
        self.book.signal(incident, Signal.HOLD_PASSED, at, closed_at)
        told = incident.last
        summary = f"{', '.join(told.slices)}: {said}; was: {told.summary}"
        return replace(told, at=at, state=IncidentState.RESOLVED, reason=why.value, summary=summary)

    def note(self, slice_: Slice, why: Why, said: str, at: float) -> Transition:
        """A line in the digest about what is no incident: over as soon as it is told."""
        identity = incident_id(self._named, IncidentKind.DRIFT, slice_, at)
        told = self._condition(identity, IncidentKind.DRIFT, slice_, Condition(Level.DIGEST, 0.0, why, said, {}), at)
        return replace(told, state=IncidentState.RESOLVED, direction=Direction.BETTER)

    # --------------------------------------------------------------------------------------------------- conditions
    def condition(self, kind: IncidentKind, slice_: Slice, condition: Condition, at: float) -> Transition | None:
        """A condition holds: open an incident unless it has one."""
        incident = self.standing(kind, slice_)
        if incident is not None:
            return self.join(incident, slice_, at, condition.evidence)
        told = self._condition(incident_id(self._named, kind, slice_, at), kind, slice_, condition, at)
        self._add(kind, slice_, slice_, at, told, None, condition.level_before)
        return told

    def raised(self, kind: IncidentKind, slice_: Slice, condition: Condition, at: float) -> Transition | None:
        """A condition that is worth more than the incident that it has: told again, under the same name."""
        incident = self.standing(kind, slice_)
        if incident is None or incident.last.level == condition.level:
            return self.condition(kind, slice_, condition, at)
        self.book.signal(incident, Signal.ALARM, at)
        incident.last = self._condition(incident.last.incident, kind, slice_, condition, at)
        self.book.touch(incident)
        return incident.last

    def _condition(
        self, incident: str, kind: IncidentKind, slice_: Slice, condition: Condition, at: float
    ) -> Transition:
        return Transition(
            incident=incident,
            at=at,
            state=IncidentState.FIRING,
            level=condition.level,
            kind=kind,
            direction=Direction.WORSE,
            customer=self._customer,
            slices=(slice_name(slice_),),
            wer=condition.numbers.get("wer"),
            wer_before=None,
            wer_rest=condition.numbers.get("wer_rest"),
            gap=condition.numbers.get("gap"),
            gap_low=condition.numbers.get("gap_low"),
            gap_high=condition.numbers.get("gap_high"),
            pairs=condition.pairs,
            evidence=condition.evidence,
            reason=condition.reason.value,
            summary=condition.summary,
            since=condition.since,
        )

    def grow(self, kind: IncidentKind, slice_: Slice, condition: Condition, at: float) -> Transition | None:
        """More of what an incident is about: told each time, as an update while it is open, else as firing."""
        incident = self.standing(kind, slice_)
        if incident is None:
            return self.condition(kind, slice_, condition, at)
        action = self.book.signal(incident, Signal.ALARM, at)
        incident.last = replace(
            incident.last,
            at=at,
            state=IncidentState.UPDATED if action == Action.JOIN else IncidentState.FIRING,
            evidence=condition.evidence,
            reason=condition.reason.value,
            summary=condition.summary,
        )
        return incident.last

    def standing(self, kind: IncidentKind, slice_: Slice) -> Incident | None:
        """The incident of a condition that is not closed."""
        for incident in self.book:
            if incident.kind == kind and incident.slice == slice_ and incident.state != State.CLOSED:
                return incident
        return None

    # ------------------------------------------------------------------------------------------------------- private
    def _add(
        self,
        kind: IncidentKind,
        slice_: Slice,
        found_by: Slice,
        since: float,
        told: Transition,
        recovery: Recovery | None,
        level_before: float | None,
    ) -> None:
        self.book.add(
            Incident(
                number=self.book.next_number(),
                kind=kind,
                slice=slice_,
                found_by=found_by,
                state=State.FIRING,
                state_at=told.at,
                since=since,
                last=told,
                opened_at=told.at,
                level_before=level_before,
                recovery=recovery,
            )
        )

    def _change(
        self,
        incident: str,
        kind: IncidentKind,
        state: IncidentState,
        diagnosis: Diagnosis,
        direction: Direction,
        reason: Why,
        evidence: float,
        at: float,
        new_models: Sequence[str],
        untested: int,
        changed: Changed | None,
    ) -> Transition:
        measured, ratio = diagnosis.measured, diagnosis.ratio
        return Transition(
            incident=incident,
            at=at,
            state=state,
            level=Level.PAGE if direction == Direction.WORSE else Level.DIGEST,
            kind=kind,
            direction=direction,
            customer=self._customer,
            slices=(slice_name(diagnosis.slice),),
            wer=measured.wer,
            wer_before=measured.before,
            wer_rest=measured.rest,
            gap=measured.gap,
            gap_low=measured.gap_low,
            gap_high=measured.gap_high,
            pairs=measured.pairs,
            evidence=evidence,
            reason=reason.value,
            summary=change_sentence(
                diagnosis.slice, measured, ratio, diagnosis.since, evidence, direction, new_models, untested, changed
            ),
            since=diagnosis.since,
            ratio=None if ratio is None else ratio.ratio,
            ratio_low=None if ratio is None else ratio.low,
            ratio_high=None if ratio is None else ratio.high,
            changed=changed,
        )
