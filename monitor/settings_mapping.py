"""Decides what `input.mapping` means: for each topic or input, which expressions give the contract's fields.

A configured entry becomes plain rules, its preset filled in, or problems: every one of them, each with its place. The
expressions are compiled here to see whether they can be; who reads messages compiles them again, once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from monitor.core.nearest import nearest
from monitor.core.records import Kind, Record
from monitor.expressions import BadExpression, Expression, Workbench, compile_expression
from monitor.mapping_presets import PRESETS
from monitor.settings_shapes import Plain
from monitor.settings_source import Problem, shown

INPUT_NAMES = {Kind.TRANSCRIPT: "transcripts", Kind.REFERENCE: "references"}
"""What an entry is called that holds for all topics or files of an input."""

FIELDS = {
    Kind.TRANSCRIPT: (
        *("id", "ts", "customer", "deployment", "text"),
        *("accent", "language", "model", "speaker", "session", "final", "confidence"),
    ),
    Kind.REFERENCE: ("id", "ts", "text", "revision", "source", "annotator"),
}
REQUIRED = {
    Kind.TRANSCRIPT: ("id", "ts", "customer", "deployment", "text"),
    Kind.REFERENCE: ("id", "ts", "text"),
}
"""Fields of the contract, but for `schema` (implied); a test holds both to the table of `adapters/wire`."""

ATTRIBUTE_PREFIX = "attributes."
ATTRIBUTES_MAX = 16
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,31}")

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000, "ticks": 10_000_000}
"""How many of each make a second; ticks are .NET's, of 100 ns."""
EPOCH_UNITS = ("s", "ms", "us", "ns")
OFFSET_UNITS = tuple(PER_SECOND)
_UNITS = {"ts_unit": EPOCH_UNITS, "ts_offset_unit": OFFSET_UNITS}

ALTERNATIVES_MAX = 10
_EXAMPLE = "results[0].alternatives[0].transcript"


class MappingSettings(Record, frozen=True):
    """How messages of one topic or input are read, preset filled in."""

    rules: dict[str, tuple[str, ...]]
    """Field, `attributes.<name>` or `ts_offset` -> expressions, of which the first that finds something counts."""
    ts_unit: str = "ms"
    """Of an event time that is a number."""
    ts_offset_unit: str = "s"


class Topics(NamedTuple):
    """The topics of each input."""

    transcripts: Sequence[str]
    references: Sequence[str]

    def kind_of(self, topic: str) -> Kind | None:
        if topic in self.transcripts:
            return Kind.TRANSCRIPT
        return Kind.REFERENCE if topic in self.references else None


def entry_for(entries: Collection[str], kind: Kind, topic: str | None, topics: Sequence[str] = ()) -> str | None:
    """The name of the entry that holds for a topic, else that of its input, if there is one.

    topics   of that input; for a message that came without one, an only topic is meant
    """
    candidates = [topic, INPUT_NAMES[kind]] if topic is not None else [INPUT_NAMES[kind]]
    if topic is None and len(topics) == 1:
        candidates = [topics[0], *candidates]
    return next((name for name in candidates if name in entries), None)


def resolve(
    configured: Mapping[str, Plain], topics: Topics | None, reserved: Collection[str]
) -> tuple[dict[str, Plain], list[Problem]]:
    """Entry -> MappingSettings as plain values, and every problem.

    topics     None: entries can only be called after the inputs
    reserved   names that no attribute may have
    """
    found: dict[str, Plain] = {}
    problems: list[Problem] = []
    for name, entry in configured.items():
        where = f"input.mapping.{name}"
        kinds = _kinds_of(name, topics)
        if len(kinds) != 1:
            problems.append(_unknown_entry(where, name, topics) if not kinds else _unclear_entry(where, name))
            continue
        kind = kinds.pop()
        reading = _Reading(where, kind, reserved)
        found[name] = reading.read(entry)
        problems += reading.problems
    return found, problems


def _kinds_of(name: str, topics: Topics | None) -> set[Kind]:
    """Of the topic and of the input that are called so."""
    kinds = {kind for kind, called in INPUT_NAMES.items() if called == name}
    found = topics.kind_of(name) if topics is not None else None
    return kinds if found is None else kinds | {found}


def _unclear_entry(where: str, name: str) -> Problem:
    """A topic of references that is called `transcripts`, or the other way round."""
    got = f"the name of the input {name}, and of a topic of the other input"
    return Problem(path=where, got=got, want="an entry for each topic by its name, and none for the input")


def _unknown_entry(where: str, name: str, topics: Topics | None) -> Problem:
    known = [*INPUT_NAMES.values(), *(topics.transcripts if topics else ()), *(topics.references if topics else ())]
    want = f"one of {', '.join(dict.fromkeys(known))}"
    return Problem(
        path=where,
        got="no topic of input.transcripts or input.references" if topics else "no input",
        want=_nearest(name, known) or want,
        concerns=("input.mapping", "input.transcripts", "input.references", "input.kind"),
    )


def _nearest(name: str, known: Collection[str]) -> str:
    similar = nearest(name, known)
    return f"the nearest known {similar}" if similar else ""


class _Reading:
    """One entry on its way to rules, and what is wrong with it."""

    def __init__(self, where: str, kind: Kind, reserved: Collection[str]) -> None:
        self._where = where
        self._kind = kind
        self._reserved = reserved
        self._workbench = Workbench()
        self._preset: str | None = None
        self._unreadable = False
        """Whether rules are missing because what should give them is wrong: then only that is told."""
        self.problems: list[Problem] = []

    def read(self, entry: Plain) -> Plain:
        given: dict[str, Plain] = {"preset": entry} if isinstance(entry, str) else {}
        if isinstance(entry, dict):
            given = dict(entry)
        elif not isinstance(entry, str):
            self._unreadable = True
            self._problem("", shown(entry), "the name of a preset, or a mapping from field to expression", "deepgram")
        rules, units = self._from_preset(given.pop("preset", None))
        for field, value in given.items():
            if field in _UNITS:
                units[field] = self._unit(field, value)
            elif self._is_field(field):
                rules[field] = self._alternatives(field, value)
        kept: dict[str, Plain] = {field: [*alternatives] for field, alternatives in rules.items() if alternatives}
        if not self._unreadable:
            self._check_whole(kept)
        return {"rules": kept, **units}

    def _problem(self, field: str, got: str, want: str, example: str = "") -> None:
        path = f"{self._where}.{field}" if field else self._where
        self.problems.append(Problem(path=path, got=got, want=want, example=example, concerns=("input.mapping",)))

    def _from_preset(self, name: Plain) -> tuple[dict[str, tuple[str, ...]], dict[str, Plain]]:
        if name is None:
            return {}, {}
        preset = PRESETS.get(name) if isinstance(name, str) else None
        if preset is None:
            self._unreadable = True
            nearest = _nearest(name, PRESETS) if isinstance(name, str) else ""
            self._problem("preset", shown(name), nearest or f"one of {', '.join(PRESETS)}", "preset: deepgram")
            return {}, {}
        self._preset = str(name)
        units: dict[str, Plain] = {}
        rules: dict[str, tuple[str, ...]] = {}
        for field, rule in preset.rules.items():
            if field in _UNITS:
                units[field] = str(rule)
            elif field in FIELDS[self._kind] or field == "ts_offset":  # a correction's text may come from a recogniser
                rules[field] = (rule,) if isinstance(rule, str) else rule
        return rules, units

    def _is_field(self, field: str) -> bool:
        known = FIELDS[self._kind]
        if field in known or field == "ts_offset":
            return True
        if field.startswith(ATTRIBUTE_PREFIX) and self._kind is Kind.TRANSCRIPT:
            name = field.removeprefix(ATTRIBUTE_PREFIX)
            fit = _ATTRIBUTE.fullmatch(name) is not None and name not in self._reserved
            if not fit:
                want = "a name of small letters, digits and _, that is none of the contract's own"
                self._problem(field, "an attribute that cannot be kept", want, "attributes.site")
            return fit
        offered = [*known, "ts_offset", *_UNITS, "preset"]
        offered += [f"{ATTRIBUTE_PREFIX}<name>"] if self._kind is Kind.TRANSCRIPT else []
        if self._kind is Kind.REFERENCE and field in (*FIELDS[Kind.TRANSCRIPT], "attributes"):
            want = "nothing: a reference has it from its transcript"
        else:
            want = _nearest(field, offered) or f"one of {', '.join(offered)}"
        self._problem(field if field.isprintable() else "(a field)", "an unknown field", want)
        return False

    def _unit(self, field: str, value: Plain) -> Plain:
        units = _UNITS[field]
        if not isinstance(value, str) or value not in units:
            self._problem(field, shown(value), f"one of {', '.join(units)}", f"{field}: s")
            return units[0]
        return value

    def _alternatives(self, field: str, value: Plain) -> tuple[str, ...]:
        """The expressions of one field; () for null, which leaves out what the preset has."""
        if value is None:
            return ()
        given = value if isinstance(value, list) else [value]
        if not 1 <= len(given) <= ALTERNATIVES_MAX or not all(isinstance(one, str) for one in given):
            constant = f'"`{str(value).lower()}`"' if isinstance(value, bool | int | float) else _EXAMPLE
            want = f"a JMESPath expression, or a list of 1 to {ALTERNATIVES_MAX}"
            self._problem(field, shown(value), want, f"{field}: {constant}")
            return ("`null`",)  # as good as given: that it is missing need not be told as well
        expressions = tuple(str(one) for one in given)
        for number, text in enumerate(expressions):
            where = field if len(expressions) == 1 else f"{field}[{number}]"
            try:
                compiled = compile_expression(text, self._workbench)
            except BadExpression as error:
                self._problem(where, f"an expression that is none ({error.what})", "JMESPath", _EXAMPLE)
                continue
            self._check_constant(where, field, compiled)
        return expressions

    def _check_constant(self, where: str, field: str, expression: Expression) -> None:
        if expression.constant and field == "id":
            self._problem(where, "a constant", "an expression: all utterances would be one", "id: $key")

    def _check_whole(self, rules: Mapping[str, Plain]) -> None:
        """What only shows when all rules are there."""
        open_fields = [field for field in REQUIRED[self._kind] if field not in rules]
        if open_fields:
            left = f"which preset {self._preset} leaves open" if self._preset else "which the contract requires"
            self._problem(
                "",
                f"nothing for {', '.join(open_fields)}",
                f"an expression for each of these, {left}",
                _EXAMPLES[open_fields[0]],
            )
        attributes = sum(field.startswith(ATTRIBUTE_PREFIX) for field in rules)
        if attributes > ATTRIBUTES_MAX:
            self._problem("attributes", f"{attributes} of them", f"at most {ATTRIBUTES_MAX}")


_EXAMPLES = {
    "id": "id: $key",
    "ts": "ts: $header.recorded_at",
    "customer": "customer: \"'acme'\" (a constant; without the inner quotes it would be a field of the message)",
    "deployment": "deployment: $header.site",
    "text": f"text: {_EXAMPLE}",
}
