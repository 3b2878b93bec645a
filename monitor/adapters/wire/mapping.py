"""Decides what becomes of a message in a customer's own JSON: expressions find its fields, our readers read them.

The bytes are guarded exactly as the contract's own, and what is found goes through the contract's own readers: its
limits hold after the mapping. A required field for which nothing is found, and any field whose expression fails (a
function is given another type, or more work is needed than a message may cost), rejects the message as
`unmapped_<field>`. Three things are easier than in the contract, because other people's topics are as they are:

- a whole number may stand for an id, a label or an attribute,
- an event time may be a number in a declared unit, with a fraction,
- an offset within a recording (`ts_offset`) may be added to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from monitor.adapters.wire import table
from monitor.adapters.wire.decoding import (
    Decoded,
    decode_tombstone,
    decode_transcript,
    erases,
    finished,
    rejected,
    unmapped,
)
from monitor.adapters.wire.guard import INTEGER_END, JsonObject, read_object
from monitor.adapters.wire.readers import (
    PartialResult,
    Reader,
    Reading,
    Reject,
    instant_of_text,
    judged_instant,
    rows_of,
)
from monitor.adapters.wire.table import Field, Reads
from monitor.core.records import Kind, Partial, Reference, Transcript
from monitor.expressions import FAILED, NO_ENVELOPE, Envelope, Expression, Headers, Workbench, compile_expression

_TABLES = {Kind.TRANSCRIPT: table.TRANSCRIPT, Kind.REFERENCE: table.REFERENCE}
_OFFSET = "ts_offset"
_ATTRIBUTE_PREFIX = "attributes."
_AS_TEXT = frozenset((Reads.ID, Reads.TENANT, Reads.LABEL, Reads.NAME))

NUMBER_END = 1e20
"""Beyond any epoch in nanoseconds; what is larger is no time, and need not fit a float."""

_Finder: TypeAlias = Callable[[object, Envelope], object]
_ANY = msgspec.json.Decoder(dict[str, object])


class Found(NamedTuple):
    """What one rule found in one message, for people who look at a sample."""

    name: str
    """A field, `attributes.<name>` or `ts_offset`."""
    expression: str
    """The alternative that found it; all of them if none did."""
    value: object
    """None: nothing. FAILED: an expression could not be evaluated."""


class _Rule(NamedTuple):
    """A field of the contract: how it is found and how it is read."""

    name: str
    attribute: str
    required: bool
    find: _Finder
    read: Reader


class _Moment(NamedTuple):
    """An event time as it was found."""

    stated: object
    offset: object


class MessageMapping:
    """How the messages of one topic or input are read. Compiled once; one thread uses it.

    rules               field, `attributes.<name>` or `ts_offset` -> expressions, of which the first that finds
                        something counts. They have been checked: BadExpression is a fault of ours here.
    ts_per_second       unit of event times that are numbers, e.g. 1,000 for milliseconds
    offset_per_second   unit of `ts_offset`
    """

    def __init__(
        self,
        kind: Kind,
        rules: Mapping[str, Sequence[str]],
        *,
        ts_per_second: int = 1_000,
        offset_per_second: int = 1,
    ) -> None:
        self.kind = kind
        self.workbench = Workbench()
        self._shape = Transcript if kind is Kind.TRANSCRIPT else Reference
        self._ts_per_second = ts_per_second
        self._offset_per_second = offset_per_second
        self._expressions = {
            name: tuple(compile_expression(text, self.workbench) for text in texts) for name, texts in rules.items()
        }
        found_in_message = [one for one in self._expressions.get("customer", ()) if not one.constant | one.enveloped]
        self._customer = _first(found_in_message)
        self.tells_kind = bool(found_in_message)
        """Whether the message itself says that it is a transcript, by naming a customer."""
        rows = rows_of(_TABLES[kind])
        fields = zip(_TABLES[kind], rows, strict=True)
        self._rules = [self._rule(field, row.read) for field, row in fields if self._maps(field)]

    def decode(self, value: bytes | None, envelope: Envelope, now: float) -> Decoded:
        """One message; `now` judges ages and futures (seconds, UTC). Nothing raises for any bytes."""
        if value is None:
            return decode_tombstone(envelope.key)
        message = read_object(value)
        if isinstance(message, str):
            return rejected(message, value)
        if erases(message):
            return decode_transcript(value, None, now)
        reading = Reading(now)
        fields: dict[str, object] = {}
        self.workbench.start()
        try:
            for name, attribute, required, find, read in self._rules:
                found = find(message, envelope)
                if found is None and not required:
                    continue
                if found is None or found is FAILED:
                    raise Reject(unmapped(name))
                fields[attribute] = read(found, reading)
        except Reject as reject:
            return rejected(reject.reason, value)
        except PartialResult:
            return Decoded(Partial())
        return finished(fields, value, self._shape, reading)

    def event_time(self, value: bytes) -> float | None:
        """The event time that a message states, within the contract or not; None if there is none."""
        message = _object(value)
        find = next((rule.find for rule in self._rules if rule.name == "ts"), None)
        if message is None or find is None:
            return None
        self.workbench.start()
        moment = find(message, NO_ENVELOPE)
        try:
            return self._event_at(moment, Reading(0.0)) if isinstance(moment, _Moment) else None
        except Reject:
            return None

    def names_customer(self, value: bytes) -> bool:
        """Whether a customer is found in the message itself."""
        message = _object(value)
        self.workbench.start()
        return message is not None and self._customer(message, NO_ENVELOPE) not in (None, FAILED)

    def trace(self, value: bytes, envelope: Envelope) -> list[Found]:
        """What every rule finds, for people; empty if the bytes are outside the contract."""
        message = read_object(value)
        if isinstance(message, str):
            return []
        found: list[Found] = []
        self.workbench.start()
        for name, alternatives in self._expressions.items():
            for expression in alternatives:
                content = expression.read(message, envelope)
                if content is not None and content is not FAILED:
                    found.append(Found(name, expression.text, content))
                    break
            else:
                tried = ", ".join(expression.text for expression in alternatives)
                found.append(Found(name, tried, _first(alternatives)(message, envelope)))
        return found

    # ---------------------------------------------------------------------------------------------------- compiling
    def _maps(self, field: Field) -> bool:
        if field.reads is Reads.ATTRIBUTES:
            return any(name.startswith(_ATTRIBUTE_PREFIX) for name in self._expressions)
        return field is not table.SCHEMA and (field.required or field.name in self._expressions)

    def _rule(self, field: Field, read: Reader) -> _Rule:
        find = _first(self._expressions.get(field.name, ()))
        if field.reads is Reads.INSTANT:
            find = _moment_finder(find, _first(self._expressions.get(_OFFSET, ())))
            read = self._read_moment
        elif field.reads is Reads.ATTRIBUTES:
            find = self._attributes_finder()
        elif field.reads in _AS_TEXT:
            find = _as_text(find)
        return _Rule(field.name, field.attribute, field.required, find, read)

    def _attributes_finder(self) -> _Finder:
        """An object of those attributes that were found, as the contract has it."""
        finders = [
            (name.removeprefix(_ATTRIBUTE_PREFIX), _as_text(_first(alternatives)))
            for name, alternatives in self._expressions.items()
            if name.startswith(_ATTRIBUTE_PREFIX)
        ]

        def find(message: object, envelope: Envelope) -> object:
            attributes = {name: find_one(message, envelope) for name, find_one in finders}
            if FAILED in attributes.values():
                return FAILED
            return {name: found for name, found in attributes.items() if found is not None} or None

        return find

    # -------------------------------------------------------------------------------------------------- event times
    def _read_moment(self, moment: object, reading: Reading) -> object:
        assert isinstance(moment, _Moment)
        return judged_instant(self._event_at(moment, reading), "ts", reading)

    def _event_at(self, moment: _Moment, reading: Reading) -> float:
        stated, offset = moment
        if isinstance(stated, str):
            event_at = instant_of_text(stated, "ts", reading)
        else:
            event_at = _number(stated) / self._ts_per_second
        return event_at if offset is None else event_at + _number(offset) / self._offset_per_second


def decode_mapped(
    mapping: MessageMapping, value: bytes | None, key: bytes | None, headers: Headers, topic: str | None, now: float
) -> Decoded:
    """Read one record of a topic, or one line of a file (no key, headers or topic), by its mapping."""
    return mapping.decode(value, Envelope(key, headers, topic), now)


def event_time_of(mapping: MessageMapping) -> Callable[[bytes], float | None]:
    """`event_time` of the contract's own messages, for mapped ones. For sorting archives."""
    return mapping.event_time


# ------------------------------------------------------------------------------------------------------------- finding
def _first(alternatives: Sequence[Expression]) -> _Finder:
    """The first that finds something; FAILED if none did and one of them failed."""
    if len(alternatives) == 1:
        return alternatives[0].read
    readers = [expression.read for expression in alternatives]

    def find(message: object, envelope: Envelope) -> object:
        nothing: object = None
        for read in readers:
            found = read(message, envelope)
            if found is FAILED:
                nothing = FAILED
            elif found is not None:
                return found
        return nothing

    return find


def _as_text(find: _Finder) -> _Finder:
    """Whole numbers as text: ids and codes are numbers in many people's JSON."""

    def find_text(message: object, envelope: Envelope) -> object:
        found = find(message, envelope)
        return str(found) if type(found) is int and -INTEGER_END < found < INTEGER_END else found

    return find_text


def _moment_finder(find_stated: _Finder, find_offset: _Finder) -> _Finder:
    def find(message: object, envelope: Envelope) -> object:
        stated = find_stated(message, envelope)
        if stated is None or stated is FAILED:
            return stated
        offset = find_offset(message, envelope)
        return FAILED if offset is FAILED else _Moment(stated, offset)

    return find


def _number(found: object) -> int | float:
    """As it is: a whole number divided by a whole number is rounded once, and nanoseconds need that."""
    if type(found) is not int and type(found) is not float:
        raise Reject("ts_type")
    if not -NUMBER_END < found < NUMBER_END or not math.isfinite(found):
        raise Reject("ts_format")
    return found


def _object(value: bytes) -> JsonObject | None:
    """A message as it is, for those who only look at one field of it; None if it is none."""
    try:
        return _ANY.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
