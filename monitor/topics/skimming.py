"""Decides which records of a batch are read at all: at a low sampling probability most ids are ruled out at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from monitor.adapters.kafka.port import LogRecord
from monitor.adapters.wire.skimming import Glance, event_time_of_glance, glance_at
from monitor.adapters.wire.table import AGE_SECONDS_MAX, FUTURE_SECONDS_TRUSTED
from monitor.core.records import Kind
from monitor.core.routing import Router
from monitor.core.sampling import COINS


class Skimmed(NamedTuple):
    """What is left of a batch."""

    records: Sequence[LogRecord]
    passed_over: int
    event_at: float | None
    """Event time of the last that was passed over, if it can be believed."""
    plain: frozenset[int] = frozenset()
    """Offsets of those left that could have been passed over by another id: a sample of all such messages."""
    stands_for: float = 1.0
    """How many messages each of them stands for."""


def skim(router: Router, kind: Kind, records: Sequence[LogRecord], now: float) -> Skimmed:
    """Pass over what cannot be kept, and count it."""
    coins = router.coins()
    if coins is None:
        return Skimmed(records, 0, None)
    coin, limit = coins
    kept: list[LogRecord] = []
    plain: list[int] = []
    last: Glance | None = None
    for record in records:
        seen = glance_at(record.value)
        if seen is None:
            kept.append(record)
        elif coin(seen.id) >= limit:
            last = seen
        else:
            kept.append(record)
            plain.append(record.offset)
    passed_over = len(records) - len(kept)
    sample, stands_for = frozenset(plain), COINS / limit
    if last is None:
        return Skimmed(kept, 0, None, sample, stands_for)
    router.note_passed_over(kind, passed_over)
    event_at = event_time_of_glance(last)
    # Outside of this the contract clamps or refuses it, were it read: it is no clock.
    trusted = event_at is not None and -AGE_SECONDS_MAX <= event_at - now <= FUTURE_SECONDS_TRUSTED
    return Skimmed(kept, passed_over, event_at if trusted else None, sample, stands_for)
