"""Steps of incidents, and a sender whose receivers are lists: what the tests of notifications have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog
from msgspec.structs import replace

from monitor.adapters.notify.notice import Notice, dedup_key
from monitor.adapters.notify.posting import Answer, Request
from monitor.core.records import IncidentState, Level, Transition
from monitor.sending import Sender
from tests.adapters.views import NOW, transition

LOG = structlog.wrap_logger(None, [structlog.testing.LogCapture()], structlog.make_filtering_bound_logger("info"))
EVERY = frozenset(Level)


def step(incident: str = "i1", state: str = "firing", slice_: str = "accent=scottish", **changes: object) -> Transition:
    """One step of an incident."""
    made = transition(incident, NOW - 3 * 3600.0, IncidentState(state), slices=(slice_,))
    return replace(made, **changes)


def notice(told: Transition, **changes: object) -> Notice:
    """As if it was the first step of its incident."""
    made = Notice(
        key=dedup_key(told.customer, told.kind, told.direction, told.slices[0]),
        kind=told.kind,
        direction=told.direction,
        slice=told.slices[0],
        fired_at=told.at,
        level_before=None,
        told=told,
        queued_at=time.time(),
    )
    return replace(made, **changes)


class Listed:
    """A receiver that is a list."""

    integration = "pagerduty"
    newest_only = False
    digest_hour: int | None = None
    resend_seconds: float | None = None

    def __init__(self, levels: frozenset[Level] = EVERY) -> None:
        self.levels = levels
        self.sent: list[Notice] = []
        """In the order of tries, also of those that were not answered with success."""

    def request(self, notices: Sequence[Notice], now: float) -> Request:
        self.sent += notices
        return Request("http://127.0.0.1/", b"", {})

    def steps(self) -> list[tuple[str, str, str]]:
        """Incident, state and key of each."""
        return [(one.told.incident, one.told.state.value, one.key) for one in self.sent]


def sender(
    *receivers: Listed, answer: Callable[[Request], Answer] = lambda _request: Answer(202), start: bool = True
) -> Sender:
    """Sends to lists, under the names 0, 1, ..."""
    made = Sender({str(number): receiver for number, receiver in enumerate(receivers)}, LOG, answer)
    if start:
        made.start()
    return made


def drained(made: Sender) -> None:
    assert made.drain(60.0, threading.Event()) == 0
