"""Incidents: one cause is one incident, and a flap does not page."""

from __future__ import annotations

from itertools import product

from monitor.core.incidents import (
    FLAP_SECONDS,
    HOLD_SECONDS,
    INCIDENTS_MAX,
    TABLE,
    Action,
    Incident,
    IncidentBook,
    Signal,
    State,
    incident_id,
)
from monitor.core.records import Direction, IncidentKind, IncidentState, Level, Transition
from monitor.core.recovery import Recovery
from tests.builders import DAY, MARCH_2

SLICE = (("accent", "england"),)


def told(at: float = MARCH_2) -> Transition:
    return Transition(
        incident="i",
        at=at,
        state=IncidentState.FIRING,
        level=Level.PAGE,
        kind=IncidentKind.DRIFT,
        direction=Direction.WORSE,
        customer="acme",
        slices=("accent=england",),
        wer=0.2,
        wer_before=0.1,
        wer_rest=0.1,
        gap=0.1,
        gap_low=0.05,
        gap_high=0.15,
        pairs=50,
        evidence=1.2,
        reason="baseline_exceeded",
        summary="",
    )


def opened(book: IncidentBook) -> Incident:
    incident = Incident(
        number=book.next_number(),
        kind=IncidentKind.DRIFT,
        slice=SLICE,
        found_by=SLICE,
        state=State.FIRING,
        state_at=MARCH_2,
        since=MARCH_2,
        last=told(),
        opened_at=MARCH_2,
    )
    book.add(incident)
    return incident


def test_the_table_knows_every_signal_in_every_state() -> None:
    """A pair that is missing is a crash at three in the morning."""
    assert set(TABLE) == set(product(State, Signal))


def test_an_incident_resolves_once_after_evidence_and_a_hold_time() -> None:
    """Evidence alone may be one good night."""
    book = IncidentBook()
    incident = opened(book)
    assert book.signal(incident, Signal.RECOVERED, MARCH_2) == Action.NOTHING
    assert book.hold(incident, MARCH_2 + HOLD_SECONDS - 1) == Action.NOTHING
    assert book.hold(incident, MARCH_2 + HOLD_SECONDS) == Action.RESOLVE
    assert book.hold(incident, MARCH_2 + HOLD_SECONDS) == Action.NOTHING


def test_an_alarm_during_the_hold_time_takes_the_recovery_back() -> None:
    """Nobody is told that it is over, then that it is not."""
    book = IncidentBook()
    incident = opened(book)
    book.signal(incident, Signal.RECOVERED, MARCH_2)
    assert book.signal(incident, Signal.ALARM, MARCH_2 + 10) == Action.JOIN
    assert book.hold(incident, MARCH_2 + 2 * HOLD_SECONDS) == Action.NOTHING and incident.state == State.FIRING


def test_a_relapse_is_the_same_incident_until_the_flap_time_has_passed() -> None:
    """A pager groups by incident: a second one is a second phone call."""
    book = IncidentBook()
    for wait, action in ((FLAP_SECONDS - 1, Action.FIRE_AGAIN), (FLAP_SECONDS, Action.NOTHING)):
        incident = opened(book)
        book.signal(incident, Signal.RECOVERED, MARCH_2)
        book.hold(incident, MARCH_2 + HOLD_SECONDS)
        at = MARCH_2 + HOLD_SECONDS + wait
        book.hold(incident, at)
        assert book.signal(incident, Signal.ALARM, at) == action


def test_an_open_incident_is_not_told_again_by_another_alarm() -> None:
    """One cause, one page."""
    book = IncidentBook()
    incident = opened(book)
    assert [book.signal(incident, Signal.ALARM, MARCH_2 + k) for k in range(3)] == [Action.JOIN] * 3


def test_the_book_is_bounded_and_forgets_closed_incidents_first() -> None:
    """Years of operation must not grow memory; what is open must not be lost."""
    book = IncidentBook()
    first = opened(book)
    for _ in range(INCIDENTS_MAX + 5):
        opened(book).state = State.CLOSED
    assert len(list(book)) == INCIDENTS_MAX and book.forgotten == 6
    assert next(iter(book)) is first


def test_ids_depend_on_what_happened_and_on_nothing_else() -> None:
    """A replay of the same records names the same incidents; pagers deduplicate by the name."""
    one = incident_id("acme", IncidentKind.DRIFT, SLICE, MARCH_2)
    assert one == incident_id("acme", IncidentKind.DRIFT, SLICE, MARCH_2)
    assert one != incident_id("acme", IncidentKind.DRIFT, SLICE, MARCH_2 + 3600)
    assert one != incident_id("other", IncidentKind.DRIFT, SLICE, MARCH_2)


def test_a_restored_book_continues_the_numbers() -> None:
    """Numbers are epochs among the cells: two incidents with one number would explain each other's cells."""
    book, again = IncidentBook(), IncidentBook()
    for _ in range(3):
        opened(book)
    for change in reversed(book.changes()):
        assert change.value is not None
        again.restore(change.key, change.value)
    assert [incident.number for incident in again] == [1, 2, 3] and again.next_number() == 4


def test_a_relapse_recovers_by_the_units_that_close_after_it() -> None:
    """Units close days after they ended: counted from the look itself, days of evidence would be passed over."""
    book, maturity = IncidentBook(), 3 * DAY
    incident = opened(book)
    recovery = incident.recovery = Recovery(MARCH_2 - maturity, {}, 0.1, 1.0)
    book.signal(incident, Signal.RECOVERED, MARCH_2)
    at = MARCH_2 + HOLD_SECONDS
    assert book.hold(incident, at, at - maturity) == Action.RESOLVE
    assert [incident.until, recovery.since] == [at - maturity, MARCH_2 - maturity]
    assert book.signal(incident, Signal.ALARM, at + 60, at + 60 - maturity) == Action.FIRE_AGAIN
    assert [incident.until, recovery.since] == [None, at + 60 - maturity]
