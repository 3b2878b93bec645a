"""Decides whether one configured value is fit, and says what was wanted instead.

A shape reads `object` (what YAML or the environment gave) and returns a plain value (str, int, float, bool, None,
list or dict of those) or raises `Unfit` with what it wanted. It also carries its JSON Schema, so that the reader,
the schema and the documentation cannot disagree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from monitor.core.nearest import nearest

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]

LIST_ITEMS_MAX = 1_000
"""No list in this file has use for more; a bound keeps a generated file from becoming a denial of service."""

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


class Unfit(Exception):
    """The value has another shape than wanted."""

    def __init__(self, want: str) -> None:
        super().__init__(want)
        self.want = want


class Shape(NamedTuple):
    """How one kind of value is read, described and published.

    want       what a person reads when the value is unfit, e.g. "a whole number from 1 to 65535"
    verbatim   whether an environment variable is the text itself rather than YAML
    listed     whether an environment variable may give items separated by commas
    """

    want: str
    schema: Mapping[str, Plain]
    read: Callable[[object], Plain]
    verbatim: bool = False
    listed: bool = False


# -------------------------------------------------------------------------------------------------- scalars
def whole(low: int, high: int) -> Shape:
    """A whole number from low to high, both included."""
    want = f"a whole number from {low} to {high}"

    def read(value: object) -> Plain:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Unfit(want)
        return value

    return Shape(want, {"type": "integer", "minimum": low, "maximum": high}, read)


def number(low: float, high: float, *, above_low: bool = False) -> Shape:
    """A finite number from low (excluded if `above_low`) to high."""
    want = f"a number {'above' if above_low else 'from'} {low:g} {'up ' if above_low else ''}to {high:g}"

    def read(value: object) -> Plain:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Unfit(want)
        if not low <= value <= high or (above_low and value == low):
            raise Unfit(want)
        return float(value)

    return Shape(want, {"type": "number", "exclusiveMinimum" if above_low else "minimum": low, "maximum": high}, read)


def _read_flag(value: object) -> Plain:
    if not isinstance(value, bool):
        raise Unfit("true or false")
    return value


flag = Shape("true or false", {"type": "boolean"}, _read_flag)


def text(want: str, *, characters_max: int = 4_096) -> Shape:
    """Any non-empty text on one line."""

    def read(value: object) -> Plain:
        if not isinstance(value, str) or not value.strip() or len(value) > characters_max or not value.isprintable():
            raise Unfit(want)
        return value

    return Shape(want, {"type": "string", "minLength": 1, "maxLength": characters_max}, read, verbatim=True)


def _matching(pattern: re.Pattern[str], want: str) -> Shape:
    def read(value: object) -> Plain:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise Unfit(want)
        return value

    return Shape(want, {"type": "string", "pattern": f"^{pattern.pattern}$"}, read, verbatim=True)


path = text("a path")
name = _matching(_NAME, "a name of small letters, digits and _, starting with a letter")
identifier = _matching(_IDENTIFIER, "a name of letters, digits, '.', '_' and '-', at most 63 characters")
topic = _matching(_TOPIC, "a topic name of letters, digits, '.', '_' and '-'")


def choice(*options: str) -> Shape:
    """One of a closed set of words."""
    want = options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"

    def read(value: object) -> Plain:
        if not isinstance(value, str) or value not in options:
            raise Unfit(want)
        return value

    return Shape(want, {"enum": list(options)}, read, verbatim=True)


def seconds_of(duration: str) -> float | None:
    """Seconds of a duration as written, None if it is none.

    >>> seconds_of("90s"), seconds_of("15m"), seconds_of("24h"), seconds_of("30d"), seconds_of("1 day")
    (90.0, 900.0, 86400.0, 2592000.0, None)
    """
    found = _DURATION.fullmatch(duration)
    return int(found[1]) * _SECONDS[found[2]] if found else None


def duration(low: str, high: str) -> Shape:
    """A duration such as 15m, from low to high; read as seconds."""
    low_seconds, high_seconds = seconds_of(low), seconds_of(high)
    assert low_seconds is not None
    assert high_seconds is not None
    want = f"a duration from {low} to {high}"

    def read(value: object) -> Plain:
        seconds = seconds_of(value) if isinstance(value, str) else None
        if seconds is None or not low_seconds <= seconds <= high_seconds:
            raise Unfit(want)
        return seconds

    return Shape(want, {"type": "string", "pattern": f"^{_DURATION.pattern}$"}, read, verbatim=True)


def address(*schemes: str) -> Shape:
    """A URL without credentials, query or fragment: those would be secrets in a file that is no secret."""
    want = f"a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}, without user or password"

    def read(value: object) -> Plain:
        if not isinstance(value, str) or not value.isprintable() or " " in value or len(value) > 2_048:
            raise Unfit(want)
        try:
            parts = urlsplit(value)
            fit = parts.scheme in schemes and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            raise Unfit(want) from None
        if not fit or "@" in parts.netloc or parts.query or parts.fragment:
            raise Unfit(want)
        return value

    return Shape(want, {"type": "string", "format": "uri"}, read, verbatim=True)


def _read_server(value: object) -> Plain:
    want = "host:port"
    if not isinstance(value, str) or not value.isprintable() or " " in value or "@" in value or "/" in value:
        raise Unfit(want)
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65_536:
        raise Unfit(want)
    return value


server_name = _matching(
    re.compile(r"(?:[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|[0-9a-f:]{2,45})"),
    "a host name in small letters, or an address",
)
server = Shape("host:port", {"type": "string", "pattern": "^.+:[0-9]{1,5}$"}, _read_server, verbatim=True)


# -------------------------------------------------------------------------------------- around other shapes
def optional(shape: Shape) -> Shape:
    """The shape, or null for 'not set'."""

    def read(value: object) -> Plain:
        return None if value is None else shape.read(value)

    return Shape(shape.want, {"anyOf": [dict(shape.schema), {"type": "null"}]}, read, shape.verbatim, shape.listed)


def either(word: str, meaning: Plain, shape: Shape) -> Shape:
    """A keyword that stands for `meaning`, or the shape."""
    want = f"{word} or {shape.want}"

    def read(value: object) -> Plain:
        if value == word:
            return meaning
        try:
            return shape.read(value)
        except Unfit:
            raise Unfit(want) from None

    return Shape(want, {"anyOf": [{"const": word}, dict(shape.schema)]}, read, shape.verbatim, shape.listed)


def several(shape: Shape, want: str, *, low: int = 0) -> Shape:
    """A list of distinct items of one shape; a single text counts as a list of one."""

    def read(value: object) -> Plain:
        given = [value] if isinstance(value, str) else value
        if not isinstance(given, list) or not low <= len(given) <= LIST_ITEMS_MAX:
            raise Unfit(want)
        try:
            found = [shape.read(item) for item in given]
        except Unfit:
            raise Unfit(want) from None
        if any(item in found[:position] for position, item in enumerate(found)):
            raise Unfit(f"{want}, each once")
        return found

    items: Plain = {"type": "array", "items": dict(shape.schema), "minItems": low, "uniqueItems": True}
    return Shape(want, {"anyOf": [items, dict(shape.schema)]}, read, listed=True)


def several_of(*options: str, want: str) -> Shape:
    """A list of distinct words of a closed set, at least one; a wrong word is told the nearest right one."""

    def read(value: object) -> Plain:
        given = [value] if isinstance(value, str) else value
        unknown = [one for one in given if one not in options] if isinstance(given, list) else []
        if unknown:
            similar = nearest(str(unknown[0]), options, 0.5)
            raise Unfit(f"the nearest known {similar}" if similar else f"{want}: {', '.join(options)}")
        return listed.read(value)

    listed = several(choice(*options), f"{want}: {', '.join(options)}", low=1)
    return Shape(want, listed.schema, read, listed=True)


def pairs(shape: Shape, want: str) -> Shape:
    """A list of two-item lists, e.g. replacement pairs or intersections."""

    def read(value: object) -> Plain:
        if not isinstance(value, list) or len(value) > LIST_ITEMS_MAX:
            raise Unfit(want)
        found: list[Plain] = []
        for pair in value:
            if not isinstance(pair, list) or len(pair) != 2:
                raise Unfit(want)
            try:
                found.append([shape.read(pair[0]), shape.read(pair[1])])
            except Unfit:
                raise Unfit(want) from None
        return found

    item: Plain = {"type": "array", "items": dict(shape.schema), "minItems": 2, "maxItems": 2}
    return Shape(want, {"type": "array", "items": item}, read)


def mapping(keys: Shape, values: Shape, want: str) -> Shape:
    """A mapping whose keys the reader chooses."""

    def read(value: object) -> Plain:
        if not isinstance(value, dict) or len(value) > LIST_ITEMS_MAX:
            raise Unfit(want)
        found: dict[str, Plain] = {}
        for key, item in value.items():
            try:
                found[str(keys.read(key))] = values.read(item)
            except Unfit as error:
                where = f" ({key}: {error.want})" if str(key).isprintable() and len(str(key)) <= 32 else ""
                raise Unfit(want + where) from None
        return found

    schema: dict[str, Plain] = {"type": "object", "additionalProperties": dict(values.schema)}
    if "pattern" in keys.schema:
        schema["propertyNames"] = {"pattern": keys.schema["pattern"]}
    return Shape(want, schema, read)


def _read_topic_mapping(value: object) -> Plain:
    """Only the outline: what an entry says is looked at where its fields are known, and all its problems told."""
    want = topic_mapping.want
    if not isinstance(value, dict) or len(value) > LIST_ITEMS_MAX:
        raise Unfit(want)
    found: dict[str, Plain] = {}
    for key, entry in value.items():
        if not isinstance(key, str) or _TOPIC.fullmatch(key) is None:
            raise Unfit(want)
        found[key] = _plain(entry)
    return found


def _plain(value: object) -> Plain:
    match value:
        case None | str() | int() | float():
            return value
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case _:
            raise Unfit(topic_mapping.want)


def _read_customers(value: object) -> Plain:
    """Only the outline, as with topics: entries are read where the keys of `decide` are known."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > LIST_ITEMS_MAX:
        raise Unfit(customers.want)
    found: dict[str, Plain] = {}
    for key, entry in value.items():
        if not isinstance(key, str) or _IDENTIFIER.fullmatch(key) is None:
            raise Unfit(customers.want)
        try:
            found[key] = _plain(entry)
        except Unfit:
            raise Unfit(customers.want) from None
    return found


customers = Shape(
    "a mapping from customer to a mapping of keys of decide",
    {
        "type": ["object", "null"],
        "propertyNames": {"pattern": f"^{_IDENTIFIER.pattern}$"},
        "additionalProperties": {"type": ["object", "null"]},
    },
    _read_customers,
)

_EXPRESSION: dict[str, Plain] = {"type": "string", "minLength": 1}
topic_mapping = Shape(
    "a mapping from topic (or transcripts, references) to a preset or to expressions",
    {
        "type": "object",
        "propertyNames": {"pattern": f"^{_TOPIC.pattern}$"},
        "additionalProperties": {
            "anyOf": [
                _EXPRESSION,
                {
                    "type": "object",
                    "additionalProperties": {
                        "anyOf": [_EXPRESSION, {"type": "array", "items": _EXPRESSION, "minItems": 1}, {"type": "null"}]
                    },
                },
            ]
        },
    },
    _read_topic_mapping,
)
