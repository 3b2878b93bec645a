"""Decides whether bytes are a JSON object that every correct parser would read the same way.

Two readers of one text: `_read_fast` (msgspec, about 2 µs) accepts only what it can prove to be harmless;
everything else goes to `_read_carefully` (the standard library with a hook on every object), which either
finds the object harmless after all or names the one reason. Nothing here raises for any bytes, and no text
ends up in an exception or in a message.

When several reasons hold, the earlier of this order is given: too_large, bom, encoding (of the bytes),
nesting, syntax, encoding (a lone surrogate by escape), duplicate_key, nonfinite, number_range, not_object.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate

import msgspec

from monitor.core.records import Reason

BYTES_MAX = 1 << 20
"""One message. 200,000 characters of four bytes still fit; Kafka's own default limit is the same."""

NESTING_MAX = 32
"""Open objects and arrays. The contract needs two; parsers in other languages give up at 64 to 1,000."""

INTEGER_END = 10**19
"""The first integer of 20 digits: 19 digits are what an epoch in nanoseconds takes."""

TOO_LARGE = Reason("too_large")
BOM = Reason("bom")
ENCODING = Reason("encoding")
NESTING = Reason("nesting")
SYNTAX = Reason("syntax")
DUPLICATE_KEY = Reason("duplicate_key")
NONFINITE = Reason("nonfinite")
NUMBER_RANGE = Reason("number_range")
NOT_OBJECT = Reason("not_object")

BYTE_REASONS = (
    TOO_LARGE, ENCODING, BOM, SYNTAX, NESTING, DUPLICATE_KEY, NONFINITE, NUMBER_RANGE, NOT_OBJECT,
)  # fmt: skip

JsonObject = dict[str, object]

_DECODER = msgspec.json.Decoder(JsonObject)


def read_object(value: bytes) -> JsonObject | Reason:
    """The message as a dict of plain Python values, or why it is outside the contract."""
    if len(value) > BYTES_MAX:
        return TOO_LARGE
    deep = value.count(b"{") + value.count(b"[") > NESTING_MAX and _nesting(value) > NESTING_MAX
    return (None if deep else _read_fast(value)) or _read_carefully(value, deep)


# ---------------------------------------------------------------------------------------------------- nesting
# An unterminated string runs to the end, so that each byte is looked at once whatever the bytes are.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}


def _nesting(value: bytes) -> int:
    """The greatest number of brackets open at once, outside strings."""
    brackets = _STRING.sub(b"", value).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


# ------------------------------------------------------------------------------------------------------- fast
def _read_fast(value: bytes) -> JsonObject | None:
    """The object, if it is certain that no key is repeated and no integer is too long; None for "look
    closer".

    msgspec keeps the last of repeated keys and says nothing. But outside its strings a JSON text has exactly
    one colon for each pair, so if the pairs and the colons inside strings that were kept add up to all colons
    of the text, nothing was dropped. An escaped colon (\\u003a) would upset the count, and is left to the
    careful reader.
    """
    if b"\\u003" in value:
        return None
    try:
        message = _DECODER.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    colons = _colons(message)
    return message if colons == value.count(b":") else None


_UNSURE = -(1 << 40)
"""Added once for an integer that is too long: no count of colons can be equal to the sum any more."""


def _colons(item: JsonObject) -> int:
    """Colons of the object as it would be written: one for each pair, and those inside keys and strings."""
    colons = len(item)
    for key, value in item.items():
        if ":" in key:
            colons += key.count(":")
        kind = type(value)
        if kind is str:
            if ":" in value:  # type: ignore[operator]
                colons += value.count(":")  # type: ignore[attr-defined]
        elif kind is not bool:
            colons += _colons_within(value)
    return colons


def _colons_within(value: object) -> int:
    if isinstance(value, int):
        return 0 if -INTEGER_END < value < INTEGER_END else _UNSURE
    if isinstance(value, dict):
        return _colons(value)
    if isinstance(value, list):
        return sum(map(_colons_within, value))
    return value.count(":") if isinstance(value, str) else 0


# -------------------------------------------------------------------------------------------------- carefully
# Escapes that are no lone surrogate: simple ones, code units that are no surrogate, and a high one followed
# by a low one.
_WHOLE_ESCAPE = re.compile(
    r"\\(?:[^u]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)


class _Findings:
    """What the hooks of one careful reading saw."""

    def __init__(self) -> None:
        self.duplicate_key = False
        self.nonfinite = False
        self.number_range = False

    def pairs(self, pairs: list[tuple[str, object]]) -> JsonObject:
        found = dict(pairs)
        self.duplicate_key |= len(found) != len(pairs)
        return found

    def constant(self, _: str) -> float:
        self.nonfinite = True
        return 0.0

    def floating(self, digits: str) -> float:
        number = float(digits)
        self.nonfinite |= not math.isfinite(number)
        return number

    def integer(self, digits: str) -> int:
        if len(digits) - digits.startswith("-") > 19:
            self.number_range = True
            return 0
        return int(digits)


def _read_carefully(value: bytes, deep: bool) -> JsonObject | Reason:
    if value.startswith(b"\xef\xbb\xbf"):
        return BOM
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return ENCODING
    if deep:
        return NESTING
    seen = _Findings()
    decoder = json.JSONDecoder(
        object_pairs_hook=seen.pairs,
        parse_constant=seen.constant,
        parse_float=seen.floating,
        parse_int=seen.integer,
    )
    try:
        message: object = decoder.decode(text)
    except (ValueError, RecursionError):
        return SYNTAX
    if "\\" in text and "\\" in _WHOLE_ESCAPE.sub("", text):
        return ENCODING
    if seen.duplicate_key:
        return DUPLICATE_KEY
    if seen.nonfinite:
        return NONFINITE
    if seen.number_range:
        return NUMBER_RANGE
    return message if isinstance(message, dict) else NOT_OBJECT
