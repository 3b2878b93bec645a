"""Decides how the contract is published: the table of fields as JSON Schema (2020-12), for `wervane schema`.

A schema says what is accepted, clipped fields included: a label that would be shortened has no `maxLength`.
What a schema cannot say (UTF-8, duplicate keys, nesting, ages, words) is said in its descriptions.
"""

from __future__ import annotations

from collections.abc import Callable

from monitor.adapters.wire import table
from monitor.adapters.wire.encoding import OUTCOME
from monitor.adapters.wire.table import Field, Reads

JsonSchema = dict[str, object]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BYTES_RULE = (
    "One UTF-8 JSON object of at most 1 MiB, without BOM, lone surrogates, repeated keys, NaN or Infinity; nesting at"
    " most 32, integers at most 19 digits. Unknown fields are ignored."
)
_ERASE_RULE = (
    ' To erase an utterance: a null value with the id as key, or an object of exactly schema, id and "erase": true.'
)


def schema(name: str) -> JsonSchema:
    """The JSON Schema of `transcript`, `reference` or `outcome`; KeyError for any other name."""
    return {"transcript": _transcript, "reference": _reference, "outcome": _outcome}[name]()


def _transcript() -> JsonSchema:
    return _input("transcript", "A recogniser's hypothesis. ", table.TRANSCRIPT)


def _reference() -> JsonSchema:
    return _input("reference", "A human correction of one utterance. ", table.REFERENCE)


def _outcome() -> JsonSchema:
    return {
        "$schema": _DIALECT,
        "title": "outcome",
        "description": "One version of a reference scored against its hypothesis, or a change of its standing.",
        "type": "object",
        "properties": {name: {**fragment, "description": description} for name, fragment, description in OUTCOME},
        "required": [name for name, _, _ in OUTCOME],
        "additionalProperties": True,
    }


def _input(title: str, description: str, fields: tuple[Field, ...]) -> JsonSchema:
    return {
        "$schema": _DIALECT,
        "title": title,
        "description": description + _BYTES_RULE + _ERASE_RULE,
        "type": "object",
        "properties": {field.name: {**_FRAGMENTS[field.reads](field), "description": field.rule} for field in fields},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": True,
    }


_FRAGMENTS: dict[Reads, Callable[[Field], JsonSchema]] = {
    Reads.VERSION: lambda _: {"type": "integer", "const": table.SCHEMA_VERSION},
    Reads.FINAL: lambda _: {"type": "boolean", "default": True},
    Reads.ID: lambda field: {"type": "string", "minLength": 1, "maxLength": field.characters_max},
    Reads.INSTANT: lambda _: {"anyOf": [{"type": "string", "pattern": table.TIME_PATTERN}, {"type": "integer"}]},
    Reads.TENANT: lambda _: {"type": "string", "pattern": table.TENANT_PATTERN},
    Reads.TEXT: lambda field: {"type": "string", "maxLength": field.characters_max},
    Reads.LABEL: lambda _: {"type": ["string", "null"]},
    Reads.ATTRIBUTES: lambda _: {"type": "object"},
    Reads.PROPORTION: lambda _: {"type": "number"},
    Reads.REVISION: lambda _: {"type": "integer", "minimum": 0, "maximum": table.REVISION_MAX, "default": 1},
    Reads.SOURCE: lambda _: {"enum": list(table.SOURCES), "default": "sampled"},
    Reads.NAME: lambda field: {"type": ["string", "null"], "maxLength": field.characters_max},
}
