"""Decides what one field's value becomes: the value of a record, clipped where the contract says so, or one reason.

There is one reader for each `Reads` of the table. What is mapped from a customer's own JSON goes through the same
readers as the contract's own messages, so that both are held to the same limits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from monitor.adapters.wire import table
from monitor.adapters.wire.table import Field, Reads
from monitor.core.records import Reason, Source


class Reject(Exception):
    """Ends the decoding of a message. Carries the reason, never content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = Reason(reason)


class PartialResult(Exception):
    """Ends the decoding of a partial result: nothing after `final` is looked at."""


class Reading:
    """What the readers of one message's fields share."""

    __slots__ = ("clipped", "now")

    def __init__(self, now: float) -> None:
        self.now = now
        self.clipped: tuple[str, ...] = ()

    def clip(self, name: str) -> None:
        if name not in self.clipped:
            self.clipped = (*self.clipped, name)


Reader: TypeAlias = Callable[[object, Reading], object]


class Row(NamedTuple):
    """A field of the table with its reader, for the loop that every message goes through."""

    name: str
    attribute: str
    required: bool
    read: Reader


# --------------------------------------------------------------------------------------- readers of one field
# Booleans are integers to Python but not to the contract, hence `type(...) is int`.
def _version_reader(field: Field) -> Reader:
    def read(value: object, _: Reading) -> object:
        if type(value) is not int:
            raise Reject(f"{field.name}_type")
        if value != table.SCHEMA_VERSION:
            raise Reject(f"{field.name}_version")
        return value

    return read


def _final_reader(field: Field) -> Reader:
    def read(value: object, _: Reading) -> object:
        if value is False:
            raise PartialResult
        if value is not True:
            raise Reject(f"{field.name}_type")
        return value

    return read


def read_id(value: object) -> str:
    """`isprintable` is exactly the rule: false for white space other than a blank, and for categories Cc Cf
    Cs Co Cn.
    """
    if type(value) is not str:
        raise Reject("id_type")
    if not 1 <= len(value) <= _ID_CHARACTERS_MAX:
        raise Reject("id_length")
    if " " in value or not value.isprintable():
        raise Reject("id_chars")
    return value


def _id_reader(_: Field) -> Reader:
    return lambda value, _: read_id(value)


def _instant_reader(field: Field) -> Reader:
    name = field.name

    def read(value: object, reading: Reading) -> object:
        if type(value) is str:
            event_at = instant_of_text(value, name, reading)
        elif type(value) is int:
            event_at = value / 1000.0
        else:
            raise Reject(f"{name}_type")
        return judged_instant(event_at, name, reading)

    return read


def instant_of_text(text: str, name: str, reading: Reading) -> float:
    """Seconds of an RFC 3339 time; a leap second is clamped, and the field clipped."""
    instant = read_instant(text)
    if instant is None:
        raise Reject(f"{name}_format")
    event_at, clamped = instant
    if clamped:
        reading.clip(name)
    return event_at


def judged_instant(event_at: float, name: str, reading: Reading) -> float:
    """The instant if it is neither too old nor too far ahead."""
    ahead_seconds = event_at - reading.now
    if ahead_seconds >= table.FUTURE_SECONDS_TRUSTED:
        if ahead_seconds > table.FUTURE_SECONDS_MAX:
            raise Reject(f"{name}_future")
        reading.clip(name)
        return reading.now
    if ahead_seconds < -table.AGE_SECONDS_MAX:
        raise Reject(f"{name}_too_old")
    return event_at


@lru_cache(maxsize=1024)  # an agent sees few tenants, and sees them all the time
def _is_tenant(value: str) -> bool:
    return table.TENANT.fullmatch(value) is not None


def _tenant_reader(field: Field) -> Reader:
    def read(value: object, _: Reading) -> object:
        if type(value) is not str:
            raise Reject(f"{field.name}_type")
        if not 1 <= len(value) <= field.characters_max:
            raise Reject(f"{field.name}_length")
        if not _is_tenant(value):
            raise Reject(f"{field.name}_chars")
        return value

    return read


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _text_reader(field: Field) -> Reader:
    name, characters_max, words_max = field.name, field.characters_max, field.words_max

    def read(value: object, reading: Reading) -> object:
        if type(value) is not str:
            raise Reject(f"{name}_type")
        if len(value) > characters_max:
            raise Reject("too_long")
        text = value
        if not value.isprintable():
            text = _CONTROL.sub(" ", value)
            if text != value:
                reading.clip(name)
        if len(text) > 2 * words_max and len(text.split()) > words_max:
            raise Reject("too_long")
        return text

    return read


_REMOVED_CATEGORIES = frozenset(("Cc", "Cf", "Zl", "Zp"))


def _clean_label(value: str, name: str, characters_max: int, reading: Reading) -> str | None:
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


def _label_reader(field: Field) -> Reader:
    name, characters_max = field.name, field.characters_max

    def read(value: object, reading: Reading) -> object:
        if type(value) is str:
            return _clean_label(value, name, characters_max, reading)
        if value is None:
            return None
        raise Reject(f"{name}_type")

    return read


def _name_reader(field: Field) -> Reader:
    label = _label_reader(field)

    def read(value: object, reading: Reading) -> object:
        if isinstance(value, str) and len(value) > field.characters_max:
            raise Reject(f"{field.name}_length")
        return label(value, reading)

    return read


def _attributes_reader(field: Field) -> Reader:
    name, characters_max = field.name, field.characters_max

    def read(value: object, reading: Reading) -> object:
        if not isinstance(value, dict):
            raise Reject(f"{name}_type")
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


def _proportion_reader(field: Field) -> Reader:
    def read(value: object, reading: Reading) -> object:
        if type(value) is not float and type(value) is not int:
            raise Reject(f"{field.name}_type")
        if 0.0 <= value <= 1.0:
            return float(value)
        reading.clip(field.name)
        return None

    return read


def _revision_reader(field: Field) -> Reader:
    def read(value: object, _: Reading) -> object:
        if type(value) is not int:
            raise Reject(f"{field.name}_type")
        if not 0 <= value <= table.REVISION_MAX:
            raise Reject(f"{field.name}_range")
        return value

    return read


def _source_reader(field: Field) -> Reader:
    def read(value: object, _: Reading) -> object:
        source: Source | None = table.SOURCES.get(value) if isinstance(value, str) else None
        if source is None:
            raise Reject(f"{field.name}_value")
        return source

    return read


_READERS: dict[Reads, Callable[[Field], Reader]] = {
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


def rows_of(fields: tuple[Field, ...]) -> tuple[Row, ...]:
    """The fields with their readers, in the order of the table."""
    return tuple(Row(field.name, field.attribute, field.required, _READERS[field.reads](field)) for field in fields)


_ID_CHARACTERS_MAX = table.ID.characters_max


# --------------------------------------------------------------------------------------------------- instants
_INSTANT = re.compile(table.TIME_PATTERN[1:-1])


def read_instant(moment: str) -> tuple[float, bool] | None:
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
