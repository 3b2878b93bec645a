"""Decides whether enough of a message can be seen at a glance to pass it over: its id, and that it is no special case.

At a sampling probability of 5 %, nineteen messages in twenty are of no use, and reading them whole is most of the
work. What is passed over is not held against the contract: a fault in it shows in the twentieth message. Everything
that is not plain at a glance is read whole: tombstones, partial results, ids that the contract refuses.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from monitor.adapters.wire.guard import BYTES_MAX
from monitor.adapters.wire.readers import read_instant
from monitor.adapters.wire.table import ID


class Glance(msgspec.Struct, gc=False):
    """What is read of a message that may be passed over."""

    schema: Literal[1]
    id: str
    ts: str | int
    final: Literal[True] = True
    erase: msgspec.UnsetType = msgspec.UNSET


_MILLISECONDS_END = 10**15
"""The year 33,658, as for whole messages."""

_DECODER = msgspec.json.Decoder(Glance)


def glance_at(value: bytes | None) -> Glance | None:
    """The message's id and time, or None: read it whole. Nothing raises for any bytes."""
    if value is None or len(value) > BYTES_MAX:
        return None
    try:
        seen = _DECODER.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    id_ = seen.id
    if not id_.isprintable() or " " in id_ or not 1 <= len(id_) <= ID.characters_max:
        return None
    return seen


def event_time_of_glance(seen: Glance) -> float | None:
    """When it happened, seconds; None if it does not say so within the contract."""
    if isinstance(seen.ts, int):
        return seen.ts / 1000.0 if 0 <= seen.ts < _MILLISECONDS_END else None
    read = read_instant(seen.ts)
    return None if read is None else read[0]
