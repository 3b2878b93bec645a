"""Decides what an incident does next: one table over (state, signal), so that one cause is one incident.

An alarm that overlaps an incident joins it. Recovery needs evidence, then a hold time without another alarm. A relapse
soon after is the same incident again, not a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from hashlib import blake2b

import msgspec

from monitor.core.changes import Change
from monitor.core.records import IncidentKind, Slice, Transition
from monitor.core.recovery import Recovery
from monitor.core.slicing import slice_name

DAY = 86400.0

HOLD_SECONDS = DAY
"""From recovery shown to `resolved`: one day sees every hour of the day once. At half, a night's easy traffic resolves;
at double, on-call waits for nothing."""
FLAP_SECONDS = DAY
"""A relapse within this time of `resolved` is the same incident. At half a daily pattern pages every day."""
INCIDENTS_MAX = 500
"""Incidents remembered for each customer (about 2 kB each); the oldest closed ones are forgotten first."""


class State(StrEnum):
    """Where an incident stands. `closed` is resolved for so long that a relapse is news."""

    FIRING = "firing"
    RECOVERING = "recovering"
    RESOLVED = "resolved"
    CLOSED = "closed"


class Signal(StrEnum):
    """What happens to an incident."""

    ALARM = "alarm"
    """An alarm overlaps it, or its condition holds again."""
    RENAMED = "renamed"
    """Another slice explains it better."""
    RECOVERED = "recovered"
    """The evidence says that it is over."""
    HOLD_PASSED = "hold_passed"
    """The hold time since the last change of state went by."""


class Action(StrEnum):
    """What the outside is told."""

    NOTHING = "nothing"
    JOIN = "join"
    """Nothing is told; the alarm is noted."""
    UPDATE = "update"
    RESOLVE = "resolve"
    FIRE_AGAIN = "fire_again"


TABLE: dict[tuple[State, Signal], tuple[State, Action]] = {
    (State.FIRING, Signal.ALARM): (State.FIRING, Action.JOIN),
    (State.FIRING, Signal.RENAMED): (State.FIRING, Action.UPDATE),
    (State.FIRING, Signal.RECOVERED): (State.RECOVERING, Action.NOTHING),
    (State.FIRING, Signal.HOLD_PASSED): (State.FIRING, Action.NOTHING),
    (State.RECOVERING, Signal.ALARM): (State.FIRING, Action.JOIN),
    (State.RECOVERING, Signal.RENAMED): (State.RECOVERING, Action.NOTHING),
    (State.RECOVERING, Signal.RECOVERED): (State.RECOVERING, Action.NOTHING),
    (State.RECOVERING, Signal.HOLD_PASSED): (State.RESOLVED, Action.RESOLVE),
    (State.RESOLVED, Signal.ALARM): (State.FIRING, Action.FIRE_AGAIN),
    (State.RESOLVED, Signal.RENAMED): (State.RESOLVED, Action.NOTHING),
    (State.RESOLVED, Signal.RECOVERED): (State.RESOLVED, Action.NOTHING),
    (State.RESOLVED, Signal.HOLD_PASSED): (State.CLOSED, Action.NOTHING),
    (State.CLOSED, Signal.ALARM): (State.CLOSED, Action.NOTHING),
    (State.CLOSED, Signal.RENAMED): (State.CLOSED, Action.NOTHING),
    (State.CLOSED, Signal.RECOVERED): (State.CLOSED, Action.NOTHING),
    (State.CLOSED, Signal.HOLD_PASSED): (State.CLOSED, Action.NOTHING),
}


class Incident(msgspec.Struct):
    """One cause. Mutable, private to its decider.

    number    order of opening, from 1: its epoch among the cells
    found_by  the slice whose alarm opened it; slice: the one that explains it
    joined    slices whose alarms it explains, and those that it was named after before
    since     event time from which its cells are explained by it; until: up to which (resolved)
    last      the transition told last: later ones repeat its numbers
    """

    number: int
    kind: IncidentKind
    slice: Slice
    found_by: Slice
    state: State
    state_at: float
    since: float
    last: Transition
    opened_at: float
    level_before: float | None = None
    """Share of unlabelled utterances before a coverage incident."""
    until: float | None = None
    joined: list[Slice] = []
    recovery: Recovery | None = None

    @property
    def open(self) -> bool:
        return self.state in (State.FIRING, State.RECOVERING)


def incident_id(customer: str, kind: IncidentKind, slice_: Slice, at: float) -> str:
    """The same for a replay of the same records.

    >>> incident_id("clinic", IncidentKind.DRIFT, (("accent", "yoruba"),), 0.0)
    'dd1af4fbc230e308'
    """
    said = "\x1f".join((customer, kind.value, slice_name(slice_), repr(at)))
    return blake2b(said.encode(), digest_size=8).hexdigest()


class IncidentBook:
    """Every incident of one customer."""

    def __init__(self) -> None:
        self._incidents: dict[int, Incident] = {}
        self._next = 1
        self._dirty: set[int] = set()
        self.forgotten = 0

    def __iter__(self) -> Iterator[Incident]:
        """In the order of opening."""
        return iter(self._incidents.values())

    def next_number(self) -> int:
        return self._next

    def add(self, incident: Incident) -> None:
        """Remember a new incident; the oldest closed one makes room."""
        assert incident.number == self._next
        self._next += 1
        self._incidents[incident.number] = incident
        self._dirty.add(incident.number)
        if len(self._incidents) > INCIDENTS_MAX:
            closed = (i.number for i in self._incidents.values() if i.state == State.CLOSED)
            oldest = next(closed, next(iter(self._incidents)))
            del self._incidents[oldest]
            self._dirty.add(oldest)
            self.forgotten += 1

    def signal(self, incident: Incident, signal: Signal, at: float, closed_at: float | None = None) -> Action:
        """Move an incident on, and say what is to be told.

        closed_at  event time by which units are closed at `at`: what an incident explains, and what it recovers by, are
                   closed units. None where nothing waits for maturity
        """
        closed_at = at if closed_at is None else closed_at
        state, action = TABLE[incident.state, signal]
        if state != incident.state:
            incident.state_at = at
        if signal == Signal.ALARM and state == State.FIRING:
            incident.until = None
            if incident.recovery is not None and incident.state != State.FIRING:
                incident.recovery.restart(closed_at)
        if action == Action.RESOLVE:
            incident.until = closed_at
        incident.state = state
        self.touch(incident)
        return action

    def hold(self, incident: Incident, at: float, closed_at: float | None = None) -> Action:
        """Signal HOLD_PASSED when it has."""
        seconds = {State.RECOVERING: HOLD_SECONDS, State.RESOLVED: FLAP_SECONDS}.get(incident.state)
        if seconds is None or at < incident.state_at + seconds:
            return Action.NOTHING
        return self.signal(incident, Signal.HOLD_PASSED, at, closed_at)

    def touch(self, incident: Incident) -> None:
        """Note that an incident's document has to be written again."""
        self._dirty.add(incident.number)

    def changes(self) -> list[Change]:
        written = []
        for number in sorted(self._dirty):
            incident = self._incidents.get(number)
            value = None if incident is None else msgspec.msgpack.encode(incident)
            written.append(Change("incidents", f"{number:09d}", value))
        self._dirty.clear()
        return written

    def restore(self, key: str, value: bytes) -> None:
        """Take back one incident, in any order."""
        incident = msgspec.msgpack.decode(value, type=Incident)
        self._incidents[int(key)] = incident
        self._incidents = dict(sorted(self._incidents.items()))
        self._next = max(self._next, int(key) + 1)
