"""Decides what becomes of one message: a record of the core and the names of clipped fields, or one reason.

The bytes are looked at first (`guard`), then the fields in the order of the table (`table`). Nothing raises
for any input, and no part of the message is put into an exception or a `Rejected`.

To erase an utterance, Kafka has a null value with the id as its key. A JSON Lines file has no keys, so there
(and, for one rule instead of two, on topics as well) an object of exactly `schema`, `id` and `"erase": true`
says the same. Such an object would otherwise be rejected for its missing `ts`, so nothing that the contract
accepts changes meaning.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple, TypeAlias

import msgspec

from monitor.adapters.wire import table
from monitor.adapters.wire.guard import BYTE_REASONS, ENCODING, JsonObject, read_object
from monitor.adapters.wire.readers import PartialResult, Reading, Reject, Row, read_id, read_instant, rows_of
from monitor.core.records import Kind, Partial, Reason, Reference, Rejected, Tombstone, Transcript


def unmapped(name: str) -> Reason:
    """Where `input.mapping` finds nothing for a required field, or an expression fails."""
    return Reason(f"unmapped_{name}")


REASONS: frozenset[str] = frozenset(
    (
        *BYTE_REASONS,
        *(reason for field in (*table.TRANSCRIPT, *table.REFERENCE) for reason in field.reasons),
        *(unmapped(field.name) for field in (*table.TRANSCRIPT, *table.REFERENCE) if field is not table.SCHEMA),
        table.TOMBSTONE_WITHOUT_KEY,
        table.TENANT_NOT_ALLOWED,
        table.ID_CONFLICT,
    )
)
"""The closed set: a message that is rejected is rejected for one of these."""


class Decoded(NamedTuple):
    """What one message became, and the fields whose content was changed on the way."""

    record: Transcript | Reference | Tombstone | Partial | Rejected
    clipped: tuple[str, ...] = ()


def decode_transcript(value: bytes | None, key: bytes | None, now: float) -> Decoded:
    """Read one message of the transcripts' topic or file; `now` judges ages and futures (seconds, UTC)."""
    return _decode(value, key, now, _TRANSCRIPT_ROWS, Transcript)


def decode_reference(value: bytes | None, key: bytes | None, now: float) -> Decoded:
    """Read one message of the references' topic or file; `now` judges ages and futures (seconds, UTC)."""
    return _decode(value, key, now, _REFERENCE_ROWS, Reference)


def event_time(value: bytes) -> float | None:
    """The event time that a message states, within the contract or not; None if there is none. For sorting
    archives.
    """
    try:
        moment = _EVENT_TIME.decode(value).ts
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if isinstance(moment, int):
        return moment / 1000.0 if -_MILLISECONDS_END < moment < _MILLISECONDS_END else None
    instant = read_instant(moment)
    return instant[0] if instant else None


def kind_of(value: bytes) -> Kind:
    """Whether a message that came without a topic is a transcript: it names a customer, which a reference cannot."""
    try:
        named = _CUSTOMER.decode(value).customer is not msgspec.UNSET
    except (msgspec.MsgspecError, ValueError, RecursionError):
        named = False
    return Kind.TRANSCRIPT if named else Kind.REFERENCE


# ------------------------------------------------------------------------------------------------ one message
_Shape: TypeAlias = type[Transcript] | type[Reference]

_TRANSCRIPT_ROWS = rows_of(table.TRANSCRIPT)
_REFERENCE_ROWS = rows_of(table.REFERENCE)
_ERASE_ROWS = rows_of((table.SCHEMA, table.ID))
_ERASE_KEYS = frozenset(("schema", "id", "erase"))


def erases(message: JsonObject) -> bool:
    """Whether the message is a tombstone written as a line: the same in the contract's own JSON and in others'."""
    return message.get("erase") is True and message.keys() == _ERASE_KEYS


def _decode(value: bytes | None, key: bytes | None, now: float, rows: tuple[Row, ...], shape: _Shape) -> Decoded:
    if value is None:
        return decode_tombstone(key)
    message = read_object(value)
    if isinstance(message, str):
        return rejected(message, value)
    reading = Reading(now)
    erase = erases(message)
    fields: dict[str, object] = {}
    try:
        for name, attribute, required, read in _ERASE_ROWS if erase else rows:
            if name in message:
                fields[attribute] = read(message[name], reading)
            elif required:
                raise Reject(f"missing_{name}")
    except Reject as reject:
        return rejected(reject.reason, value)
    except PartialResult:
        return Decoded(Partial())
    if erase:
        return Decoded(msgspec.convert(fields, Tombstone))
    return finished(fields, value, shape, reading)


def finished(fields: dict[str, object], value: bytes, shape: _Shape, reading: Reading) -> Decoded:
    """The record of fields that have been read. A duplicate is known by its message's bytes, mapped or not."""
    fields["digest"] = sha256(value if shape is Transcript else str(fields["text"]).encode()).digest()
    return Decoded(msgspec.convert(fields, shape), reading.clipped)


def decode_tombstone(key: bytes | None) -> Decoded:
    """A record without a value: its key is the id of the utterance to erase."""
    if key is None:
        return rejected(table.TOMBSTONE_WITHOUT_KEY, b"")
    try:
        id_ = read_id(key.decode())
    except UnicodeDecodeError:
        return rejected(ENCODING, b"")
    except Reject as reject:
        return rejected(reject.reason, b"")
    return Decoded(Tombstone(id=id_))


def rejected(reason: Reason, value: bytes) -> Decoded:
    """A reject that keeps nothing of the message but its digest."""
    return Decoded(Rejected(reason=reason, digest=sha256(value).digest()))


# --------------------------------------------------------------------------------------------------- instants
class _EventTime(msgspec.Struct):
    ts: str | int


class _Customer(msgspec.Struct):
    customer: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_CUSTOMER = msgspec.json.Decoder(_Customer)
_EVENT_TIME = msgspec.json.Decoder(_EventTime)
_MILLISECONDS_END = 10**15
"""The year 33,658: far beyond any event, and every millisecond below it is exact in a float."""
