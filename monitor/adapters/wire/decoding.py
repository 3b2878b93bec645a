"""Decides what becomes of one message: a record of the core and the names of clipped fields, or one reason.

The bytes are looked at first (`guard`), then the fields in the order of the table (`table`). Nothing raises
for any input, and no part of the message is put into an exception or a `Rejected`.

To erase an utterance, Kafka has a null value with the id as its key. A JSON Lines file has no keys, so there
(and, for one rule instead of two, on topics as well) an object of exactly `schema`, `id` and `"erase": true`
says the same. Such an object would otherwise be rejected for its missing `ts`, so nothing that the contract
accepts changes meaning.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from monitor.adapters.wire import table
from monitor.adapters.wire.guard import BYTE_REASONS, ENCODING, read_object
from monitor.adapters.wire.table import Field, Reads
from monitor.core.records import Kind, Partial, Reason, Reference, Rejected, Source, Tombstone, Transcript

REASONS: frozenset[str] = frozenset(
    (
        *BYTE_REASONS,
        *(reason for field in (*table.TRANSCRIPT, *table.REFERENCE) for reason in field.reasons),
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
    instant = _read_instant(moment)
    return instant[0] if instant else None


def kind_of(value: bytes) -> Kind:
    """Whether a message that came without a topic is a transcript: it names a customer, which a reference cannot."""
    try:
        named = _CUSTOMER.decode(value).customer is not msgspec.UNSET
    except (msgspec.MsgspecError, ValueError, RecursionError):
        named = False
    return Kind.TRANSCRIPT if named else Kind.REFERENCE


# ------------------------------------------------------------------------------------------------ one message
class _Reject(Exception):
    """Ends the decoding of a message. Carries the reason, never content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = Reason(reason)


class _PartialResult(Exception):
    """Ends the decoding of a partial result: nothing after `final` is looked at."""


class _Reading:
    """What the readers of one message's fields share."""

    __slots__ = ("clipped", "now")

    def __init__(self, now: float) -> None:
        self.now = now
        self.clipped: tuple[str, ...] = ()

    def clip(self, name: str) -> None:
        if name not in self.clipped:
            self.clipped = (*self.clipped, name)


_Reader: TypeAlias = Callable[[object, _Reading], object]
_Shape = TypeVar("_Shape", Transcript, Reference)


class _Row(NamedTuple):
    """A field of the table with its reader, for the loop that every message goes through."""

    name: str
    attribute: str
    required: bool
    read: _Reader


_ERASE_KEYS = frozenset(("schema", "id", "erase"))


def _decode(value: bytes | None, key: bytes | None, now: float, rows: tuple[_Row, ...], shape: type[_Shape]) -> Decoded:
    if value is None:
        return _decode_tombstone(key)
    message = read_object(value)
    if isinstance(message, str):
        return _rejected(message, value)
    reading = _Reading(now)
    erase = message.get("erase") is True and message.keys() == _ERASE_KEYS
    fields: dict[str, object] = {}
    try:
        for name, attribute, required, read in _ERASE_ROWS if erase else rows:
            if name in message:
                fields[attribute] = read(message[name], reading)
            elif required:
                raise _Reject(f"missing_{name}")
    except _Reject as rejected:
        return _rejected(rejected.reason, value)
    except _PartialResult:
        return Decoded(Partial())
    if erase:
        return Decoded(msgspec.convert(fields, Tombstone))
    fields["digest"] = sha256(value if shape is Transcript else str(fields["text"]).encode()).digest()
    return Decoded(msgspec.convert(fields, shape), reading.clipped)


def _decode_tombstone(key: bytes | None) -> Decoded:
    if key is None:
        return _rejected(table.TOMBSTONE_WITHOUT_KEY, b"")
    try:
        id_ = _read_id(key.decode())
    except UnicodeDecodeError:
        return _rejected(ENCODING, b"")
    except _Reject as rejected:
        return _rejected(rejected.reason, b"")
    return Decoded(Tombstone(id=id_))


def _rejected(reason: Reason, value: bytes) -> Decoded:
    return Decoded(Rejected(reason=reason, digest=sha256(value).digest()))


# --------------------------------------------------------------------------------------- readers of one field
# Booleans are integers to Python but not to the contract, hence `type(...) is int`.
def _version_reader(field: Field) -> _Reader:
    def read(value: object, _: _Reading) -> object:
        if type(value) is not int:
            raise _Reject(f"{field.name}_type")
        if value != table.SCHEMA_VERSION:
            raise _Reject(f"{field.name}_version")
        return value

    return read


def _final_reader(field: Field) -> _Reader:
    def read(value: object, _: _Reading) -> object:
        if value is False:
            raise _PartialResult
        if value is not True:
            raise _Reject(f"{field.name}_type")
        return value

    return read


def _read_id(value: object) -> str:
    """`isprintable` is exactly the rule: false for white space other than a blank, and for categories Cc Cf
    Cs Co Cn.
    """
    if type(value) is not str:
        raise _Reject("id_type")
    if not 1 <= len(value) <= _ID_CHARACTERS_MAX:
        raise _Reject("id_length")
    if " " in value or not value.isprintable():
        raise _Reject("id_chars")
    return value


def _id_reader(_: Field) -> _Reader:
    return lambda value, _: _read_id(value)


def _instant_reader(field: Field) -> _Reader:
    name = field.name

    def read(value: object, reading: _Reading) -> object:
        if type(value) is str:
            instant = _read_instant(value)
            if instant is None:
                raise _Reject(f"{name}_format")
            event_at, clamped = instant
            if clamped:
                reading.clip(name)
        elif type(value) is int:
            event_at = value / 1000.0
        else:
            raise _Reject(f"{name}_type")
        ahead_seconds = event_at - reading.now
        if ahead_seconds >= table.FUTURE_SECONDS_TRUSTED:
            if ahead_seconds > table.FUTURE_SECONDS_MAX:
                raise _Reject(f"{name}_future")
            reading.clip(name)
            return reading.now
        if ahead_seconds < -table.AGE_SECONDS_MAX:
            raise _Reject(f"{name}_too_old")
        return event_at

    return read


@lru_cache(maxsize=1024)  # an agent sees few tenants, and sees them all the time
def _is_tenant(value: str) -> bool:
    return table.TENANT.fullmatch(value) is not None


def _tenant_reader(field: Field) -> _Reader:
    def read(value: object, _: _Reading) -> object:
        if type(value) is not str:
            raise _Reject(f"{field.name}_type")
        if not 1 <= len(value) <= field.characters_max:
            raise _Reject(f"{field.name}_length")
        if not _is_tenant(value):
            raise _Reject(f"{field.name}_chars")
        return value

    return read


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _text_reader(field: Field) -> _Reader:
    name, characters_max, words_max = field.name, field.characters_max, field.words_max

    def read(value: object, reading: _Reading) -> object:
        if type(value) is not str:
            raise _Reject(f"{name}_type")
        if len(value) > characters_max:
            raise _Reject("too_long")
        text = value
        if not value.isprintable():
            text = _CONTROL.sub(" ", value)
            if text != value:
                reading.clip(name)
        if len(text) > 2 * words_max and len(text.split()) > words_max:
            raise _Reject("too_long")
        return text

    return read


_REMOVED_CATEGORIES = frozenset(("Cc", "Cf", "Zl", "Zp"))


def _clean_label(value: str, name: str, characters_max: int, reading: _Reading) -> str | None:
    """The label without control, format and bidi characters and newlines, at most `characters_max` long; None
    if blank.
    """
    if not value or value.isspace():
        return None
    if value.isprintable() and len(value) <= characters_max:
        return value
    kept: list[str] = []
    for character in value:
        if unicodedata.category(character) not in _REMOVED_CATEGORIES:
            kept.append(character)
            if len(kept) > characters_max:
                break
    cleaned = "".join(kept[:characters_max])
    if cleaned != value:
        reading.clip(name)
    return cleaned if cleaned and not cleaned.isspace() else None


def _label_reader(field: Field) -> _Reader:
    name, characters_max = field.name, field.characters_max

    def read(value: object, reading: _Reading) -> object:
        if type(value) is str:
            return _clean_label(value, name, characters_max, reading)
        if value is None:
            return None
        raise _Reject(f"{name}_type")

    return read


def _name_reader(field: Field) -> _Reader:
    label = _label_reader(field)

    def read(value: object, reading: _Reading) -> object:
        if isinstance(value, str) and len(value) > field.characters_max:
            raise _Reject(f"{field.name}_length")
        return label(value, reading)

    return read


def _attributes_reader(field: Field) -> _Reader:
    name, characters_max = field.name, field.characters_max

    def read(value: object, reading: _Reading) -> object:
        if not isinstance(value, dict):
            raise _Reject(f"{name}_type")
        kept: list[tuple[str, str]] = []
        for key, entry in value.items():
            if type(entry) is not str or not table.ATTRIBUTE.fullmatch(key) or key in table.RESERVED_ATTRIBUTES:
                reading.clip(name)
                continue
            cleaned = _clean_label(entry, name, characters_max, reading)
            if cleaned is None:
                continue
            if len(kept) == table.ATTRIBUTES_MAX:
                reading.clip(name)
                break
            kept.append((key, cleaned))
        kept.sort()
        return tuple(kept)

    return read


def _proportion_reader(field: Field) -> _Reader:
    def read(value: object, reading: _Reading) -> object:
        if type(value) is not float and type(value) is not int:
            raise _Reject(f"{field.name}_type")
        if 0.0 <= value <= 1.0:
            return float(value)
        reading.clip(field.name)
        return None

    return read


def _revision_reader(field: Field) -> _Reader:
    def read(value: object, _: _Reading) -> object:
        if type(value) is not int:
            raise _Reject(f"{field.name}_type")
        if not 0 <= value <= table.REVISION_MAX:
            raise _Reject(f"{field.name}_range")
        return value

    return read


def _source_reader(field: Field) -> _Reader:
    def read(value: object, _: _Reading) -> object:
        source: Source | None = table.SOURCES.get(value) if isinstance(value, str) else None
        if source is None:
            raise _Reject(f"{field.name}_value")
        return source

    return read


_READERS: dict[Reads, Callable[[Field], _Reader]] = {
    Reads.VERSION: _version_reader,
    Reads.FINAL: _final_reader,
    Reads.ID: _id_reader,
    Reads.INSTANT: _instant_reader,
    Reads.TENANT: _tenant_reader,
    Reads.TEXT: _text_reader,
    Reads.LABEL: _label_reader,
    Reads.ATTRIBUTES: _attributes_reader,
    Reads.PROPORTION: _proportion_reader,
    Reads.REVISION: _revision_reader,
    Reads.SOURCE: _source_reader,
    Reads.NAME: _name_reader,
}


def _rows(fields: tuple[Field, ...]) -> tuple[_Row, ...]:
    return tuple(_Row(field.name, field.attribute, field.required, _READERS[field.reads](field)) for field in fields)


_ID_CHARACTERS_MAX = table.ID.characters_max
_TRANSCRIPT_ROWS = _rows(table.TRANSCRIPT)
_REFERENCE_ROWS = _rows(table.REFERENCE)
_ERASE_ROWS = _rows((table.SCHEMA, table.ID))


# --------------------------------------------------------------------------------------------------- instants
class _EventTime(msgspec.Struct):
    ts: str | int


class _Customer(msgspec.Struct):
    customer: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_CUSTOMER = msgspec.json.Decoder(_Customer)
_EVENT_TIME = msgspec.json.Decoder(_EventTime)
_MILLISECONDS_END = 10**15
"""The year 33,658: far beyond any event, and every millisecond below it is exact in a float."""

_INSTANT = re.compile(table.TIME_PATTERN[1:-1])


def _read_instant(moment: str) -> tuple[float, bool] | None:
    """Seconds since the epoch and whether a leap second was clamped; None if this is no RFC 3339 time."""
    if _INSTANT.fullmatch(moment) is None:
        return None
    leap = moment[17:19] == "60"
    if leap:
        moment = f"{moment[:17]}59{moment[19:]}"
    try:
        return datetime.fromisoformat(moment.upper()).timestamp(), leap
    except ValueError:  # the shape is right, a range is not: month 13, hour 24, :61, offset +24:00
        return None
