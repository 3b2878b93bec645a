"""Decides which records of a batch are read at all: at a low sampling probability most ids are ruled out at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from monitor.adapters.kafka.port import LogRecord
from monitor.adapters.wire.skimming import Glance, event_time_of_glance, glance_at
from monitor.core.records import Kind
from monitor.core.routing import Router

AHEAD_SECONDS_MAX = 300.0
"""A message that claims to be further ahead of us is no clock: the contract clamps or refuses it, were it read."""


class Skimmed(NamedTuple):
    """What is left of a batch."""

    records: Sequence[LogRecord]
    passed_over: int
    event_at: float | None
    """Event time of the last that was passed over, if it can be believed."""


def skim(router: Router, kind: Kind, records: Sequence[LogRecord], now: float) -> Skimmed:
    """Pass over what cannot be kept, and count it."""
    if not router.skims:
        return Skimmed(records, 0, None)
    passes_over = router.passes_over
    kept: list[LogRecord] = []
    last: Glance | None = None
    for record in records:
        seen = glance_at(record.value)
        if seen is not None and passes_over(seen.id):
            last = seen
        else:
            kept.append(record)
    passed_over = len(records) - len(kept)
    if last is None:
        return Skimmed(kept, 0, None)
    router.note_passed_over(kind, passed_over)
    event_at = event_time_of_glance(last)
    trusted = event_at is not None and event_at <= now + AHEAD_SECONDS_MAX
    return Skimmed(kept, passed_over, event_at if trusted else None)
