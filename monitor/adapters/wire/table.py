"""Decides what a message may contain: the one table that decoder, reasons and JSON Schema are made from.

Fields are checked in the order of the table, so a message with several faults has one reason: that of the
first faulty field, and of its faults the first of missing, type, length, chars, value.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from monitor.core.records import Reason, Record, Source

SCHEMA_VERSION: Final = 1

AGE_SECONDS_MAX: Final = 400 * 86_400.0
"""A year and a month: a year-over-year backfill is fine, a clock that says 1970 is not."""
FUTURE_SECONDS_MAX: Final = 86_400.0
"""A day: a local time that was sent as UTC is at most 14 h off."""
FUTURE_SECONDS_TRUSTED: Final = 300.0
"""Ordinary clock skew; beyond it, and up to a day, the time is taken to be now."""

ATTRIBUTES_MAX: Final = 16
LABEL_CHARACTERS_MAX: Final = 64
REVISION_MAX: Final = 2**31 - 1

TENANT_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
TENANT_CHARACTERS_MAX: Final = 63
ATTRIBUTE_PATTERN: Final = "^[a-z][a-z0-9_]{0,31}$"
TIME_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-5][0-9])$"
)
"""RFC 3339 with an offset. Ranges (month 13, hour 24, :61) are looked at after the shape."""

TENANT = re.compile(TENANT_PATTERN[1:-1])
ATTRIBUTE = re.compile(ATTRIBUTE_PATTERN[1:-1])

RESERVED_ATTRIBUTES: Final = frozenset(
    (
        *("le", "quantile", "job", "instance", "group", "namespace", "pod", "container", "alertname", "severity"),
        *("customer", "deployment", "accent", "language", "model", "speaker", "session", "id", "ts"),
    )
)
"""Names that Prometheus, Alertmanager or the contract itself already give a meaning to."""


class Reads(StrEnum):
    """How a field is read; each has one function in `decoding`, one fragment in `schema`, and its reasons
    below.
    """

    VERSION = "version"
    FINAL = "final"
    ID = "id"
    INSTANT = "instant"
    TENANT = "tenant"
    TEXT = "text"
    LABEL = "label"
    ATTRIBUTES = "attributes"
    PROPORTION = "proportion"
    REVISION = "revision"
    SOURCE = "source"
    NAME = "name"


class Field(Record, frozen=True):
    """One row of the contract."""

    name: str
    reads: Reads
    rule: str
    """In words, for the schema's reader."""
    required: bool = False
    characters_max: int = 0
    words_max: int = 0
    target: str = ""
    """The attribute of the record that holds the value, if it has another name."""

    @property
    def attribute(self) -> str:
        return self.target or self.name

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Every reason that this field can be rejected for."""
        missing = (f"missing_{self.name}",) if self.required else ()
        return tuple(Reason(reason.format(self.name)) for reason in (*missing, *_FAULTS[self.reads]))


_FAULTS: Final[dict[Reads, tuple[str, ...]]] = {
    Reads.VERSION: ("{}_type", "{}_version"),
    Reads.FINAL: ("{}_type",),
    Reads.ID: ("{}_type", "{}_length", "{}_chars"),
    Reads.INSTANT: ("{}_type", "{}_format", "{}_too_old", "{}_future"),
    Reads.TENANT: ("{}_type", "{}_length", "{}_chars"),
    Reads.TEXT: ("{}_type", "too_long"),
    Reads.LABEL: ("{}_type",),
    Reads.ATTRIBUTES: ("{}_type",),
    Reads.PROPORTION: ("{}_type",),
    Reads.REVISION: ("{}_type", "{}_range"),
    Reads.SOURCE: ("{}_value",),
    Reads.NAME: ("{}_type", "{}_length"),
}

SCHEMA = Field(name="schema", reads=Reads.VERSION, required=True, rule="Exactly 1, an integer.")
ID = Field(
    name="id",
    reads=Reads.ID,
    required=True,
    characters_max=128,
    rule="Joins a transcript and its references: 1 to 128 characters, none of them white space, control, format,"
    " private-use or unassigned. Never repaired.",
)
_TS = Field(
    name="ts",
    reads=Reads.INSTANT,
    required=True,
    target="event_at",
    rule="Event time: RFC 3339 with offset, or integer epoch milliseconds. Older than 400 days or more than 24 h ahead"
    " is rejected; 5 min to 24 h ahead becomes now, and :60 becomes :59 (clipped).",
)
_TEXT = Field(
    name="text",
    reads=Reads.TEXT,
    required=True,
    characters_max=200_000,
    words_max=20_000,
    rule="May be empty. At most 200,000 characters and 20,000 words, never truncated. Control characters other"
    " than tab, LF and CR become spaces (clipped).",
)
_LABEL_RULE = (
    "null, empty and blank mean absent. Control, format and bidi characters and newlines are removed, and what is"
    " longer than {} characters is shortened (clipped)."
)


def _tenant(name: str) -> Field:
    return Field(
        name=name,
        reads=Reads.TENANT,
        required=True,
        characters_max=TENANT_CHARACTERS_MAX,
        rule="Never repaired: two tenants must not merge.",
    )


def _label(name: str, characters_max: int = LABEL_CHARACTERS_MAX) -> Field:
    rule = _LABEL_RULE.format(characters_max)
    return Field(name=name, reads=Reads.LABEL, characters_max=characters_max, rule=rule)


TRANSCRIPT: Final = (
    SCHEMA,
    Field(
        name="final",
        reads=Reads.FINAL,
        rule="Default true. false marks a partial result of a streaming recogniser: it is counted and dropped, and"
        " nothing after this field is looked at.",
    ),
    ID,
    _TS,
    _tenant("customer"),
    _tenant("deployment"),
    _TEXT,
    _label("accent"),
    _label("language"),
    _label("model"),
    _label("speaker", 128),
    _label("session", 128),
    Field(
        name="attributes",
        reads=Reads.ATTRIBUTES,
        characters_max=LABEL_CHARACTERS_MAX,
        rule="At most 16 entries are kept, the first of the message. An entry is dropped (clipped) if its value is no"
        f" string, or its key does not match {ATTRIBUTE_PATTERN} or is reserved. Values are cleaned like labels.",
    ),
    Field(
        name="confidence",
        reads=Reads.PROPORTION,
        rule="The recogniser's own, in [0, 1]; outside it is dropped (clipped).",
    ),
)

REFERENCE: Final = (
    SCHEMA,
    ID,
    _TS,
    _TEXT,
    Field(name="revision", reads=Reads.REVISION, rule="Default 1; the greatest wins, then the latest ts."),
    Field(
        name="source",
        reads=Reads.SOURCE,
        rule="sampled (the default): chosen with a known probability; organic: a user corrected it unasked; flagged: a"
        " complaint. Only sampled references are evidence.",
    ),
    Field(
        name="annotator",
        reads=Reads.NAME,
        characters_max=128,
        rule="null, empty and blank mean absent; longer than 128 characters is rejected. Control, format and bidi"
        " characters and newlines are removed (clipped).",
    ),
)

TOMBSTONE_WITHOUT_KEY = Reason("tombstone_without_key")
TENANT_NOT_ALLOWED = Reason("tenant_not_allowed")
"""Decided by the agent, which knows the tenants it serves."""
ID_CONFLICT = Reason("id_conflict")
"""Decided by pairing, which knows the other transcript."""

SOURCES: Final = {source.value: source for source in Source}
