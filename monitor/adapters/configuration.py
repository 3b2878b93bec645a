"""Decides what the configuration's page shows: every setting as it is, and never what could be a secret.

Secrets are read from files, so that only the files' names are settings. Addresses may carry one (a webhook's path is
its password): of them scheme and host are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from monitor.config import Settings, load_settings
from monitor.settings_shapes import Plain
from monitor.settings_table import FIELDS, SECTIONS, as_written

VALUE_CHARACTERS_MAX = 400
"""A mapping or a list of keywords may be pages long; the file has all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One setting. `is_set`: otherwise than the default."""

    location: str
    value: str
    default: str
    is_set: bool
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSection:
    """The settings that stand together in the file."""

    name: str
    doc: str
    settings: tuple[Shown, ...]


def shown_configuration(settings: Settings) -> tuple[ShownSection, ...]:
    """Every setting in effect, file, environment and defaults taken together."""
    effective, usual = _plain(settings), _plain(load_settings(None, {}))
    sections = []
    for name, doc in SECTIONS.items():
        fields = [field for field in FIELDS.values() if field.section == name]
        rows = [
            _shown(field.location, _found(effective, field.location), _found(usual, field.location), field.doc)
            for field in fields
        ]
        sections.append(ShownSection(name=name, doc=doc, settings=tuple(rows)))
    return tuple(sections)


def _plain(settings: Settings) -> object:
    """As the file would have it: lists, not tuples, at every depth."""
    return msgspec.json.decode(msgspec.json.encode(settings))


def _found(tree: object, location: str) -> Plain:
    found = tree
    for part in location.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found  # type: ignore[return-value]  # msgspec's builtins of what was read as Plain


def _shown(location: str, value: Plain, usual: Plain, doc: str) -> Shown:
    is_set = value != usual
    return Shown(location=location, value=_words(value), default=_words(usual), is_set=is_set, doc=doc)


def _words(value: Plain) -> str:
    if value is None:
        return "not set"
    words = as_written(_without_secrets(value)) or '""'
    return words if len(words) <= VALUE_CHARACTERS_MAX else f"{words[:VALUE_CHARACTERS_MAX]} …"


def _without_secrets(value: Plain) -> Plain:
    if isinstance(value, str):
        return _origin(value) if "://" in value else value
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_secrets(item) for key, item in value.items()}
    return value


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "an address"
    rest = "/…" if parts.path.strip("/") or parts.query or parts.fragment else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{rest}"
