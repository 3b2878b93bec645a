"""Decides what a configuration file and the environment say, before anybody asks whether the values are fit.

YAML is read by the core rules of YAML 1.2 (`no` is Norwegian, not false; 12:30 is no number), without duplicate keys,
anchors or tags: two readers of one file must not disagree, and a file of a few lines must not expand to gigabytes.
No message quotes the file: a misplaced password would end up in a log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import msgspec
import yaml

from monitor.core.nearest import nearest
from monitor.settings_table import ENVIRONMENT_PREFIX, FIELDS, SECTIONS, as_written

FILE_BYTES_MAX = 1 << 20
"""A megabyte holds a keyword list of 50,000 drug names; at ten times that the YAML reader needs minutes."""

DEPTH_MAX = 16
"""The deepest setting lies four levels down; the reader recurses once a level."""

SHOWN_CHARACTERS_MAX = 60
"""How much of a value a message quotes: enough to find it, short enough for one line."""

_SECRET = re.compile(r"(password|secret|token|credential|(^|_)key$|webhook)")

_FOLDERS = frozenset(
    location.rsplit(".", depth)[0] for location in FIELDS for depth in range(1, location.count(".") + 1)
)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to repair in a configuration."""

    path: str
    got: str
    want: str
    example: str = ""
    concerns: tuple[str, ...] = ()
    """Settings that this problem follows from; if one of them is itself unfit, this one is not worth telling."""

    def __str__(self) -> str:
        example = f", e.g. {self.example}" if self.example else ""
        return f"{self.path}: got {self.got}, want {self.want}{example}"


# --------------------------------------------------------------------------------------------------------------- file
class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 scalars, and without anchors, tags, duplicate keys and deep nesting."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - yaml's own way
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        refused = ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            refused = "anchors and aliases are not supported"
        elif getattr(event, "tag", None) is not None:
            refused = "tags (!...) are not supported"
        elif self.depth == DEPTH_MAX:
            refused = f"more than {DEPTH_MAX} levels"
        if refused:
            raise yaml.composer.ComposerError(None, None, refused, cast("yaml.Mark | None", event.start_mark))
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, "the key is there twice", key.start_mark)
            seen.add(key.value)
        return {str(key.value): self.construct_object(value, deep=True) for key, value in node.value}


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_mapping)
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9_]{0,17})", list("-+0123456789")),
    ("float", r"[-+]?([0-9][0-9_]{0,17})?\.?[0-9]{1,18}([eE][-+]?[0-9]{1,3})?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read_file(path: Path) -> tuple[dict[str, object], list[Problem]]:
    """The file's mapping, empty if the file is no configuration at all."""
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        return {}, [Problem(path=str(path), got=(error.strerror or "an error").lower(), want="a readable file")]
    if len(content) > FILE_BYTES_MAX:
        return {}, [Problem(path=str(path), got="more than 1 MiB", want="a file of at most 1 MiB")]
    try:
        root = _read_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return {}, [Problem(path=f"{path}: byte {error.start}", got="no UTF-8", want="text in UTF-8")]
    except yaml.YAMLError as error:
        return {}, [_syntax_problem(path, error)]
    if root is None:
        return {}, []
    if not isinstance(root, dict):
        got = "a list" if isinstance(root, list) else "a text"  # not quoted: it may be a password file
        return {}, [Problem(path=str(path), got=got, want="sections", example="decide: {unit: session}")]
    return root, []


def _read_yaml(text: str) -> object:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _syntax_problem(path: Path, error: yaml.YAMLError) -> Problem:
    """Where and what, without the lines that YAML's own message would quote."""
    place, what = str(path), "text that is no YAML"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            place = f"{path}:{mark.line + 1}:{mark.column + 1}"
        quoted = re.findall(r"'([^']*)'|\"([^\"]*)\"", error.problem or "")
        if error.problem and all(len(one or two) <= 3 or one.startswith("<") for one, two in quoted):
            what = error.problem
    return Problem(path=place, got=what, want="YAML", example="decide: {unit: session}")


# ------------------------------------------------------------------------------------------------------- flat settings
def flatten(tree: Mapping[str, object]) -> tuple[dict[str, object], list[Problem]]:
    """Values by location; keys that do not exist are problems that name the nearest one that does."""
    values: dict[str, object] = {}
    problems: list[Problem] = []
    for location, value in _walk(tree, ""):
        if location in FIELDS:
            values[location] = value
        elif location in _FOLDERS:  # here only if it is no mapping
            example = next(field for field in FIELDS.values() if field.location.startswith(f"{location}."))
            key = example.location.removeprefix(f"{location}.")
            problems.append(
                Problem(
                    path=location,
                    got=shown(value),
                    want="a mapping",
                    example=f"{location}: {{{key}: {as_written(example.example)}}}",
                )
            )
        else:
            problems.append(unknown_key(location))
    return values, problems


def _walk(tree: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        location = prefix + key
        if location in _FOLDERS and isinstance(value, dict):
            yield from _walk(value, f"{location}.")
        elif location not in _FOLDERS or value is not None:  # `decide:` with nothing under it is no mistake
            yield location, value


def unknown_key(location: str) -> Problem:
    """A key that does not exist, with the nearest one that does; a secret is sent to its file."""
    shown_location = location if location.isprintable() and len(location) < 200 else "a key"
    in_file = FIELDS.get(f"{location}_file")
    if in_file is not None:
        return Problem(
            path=shown_location,
            got="a value (not shown)",
            want="the path of a file that holds it",
            example=f"{in_file.location}: {as_written(in_file.example)}",
        )
    nearest = _nearest(location)
    if nearest in FIELDS:
        return Problem(
            path=shown_location,
            got="an unknown key",
            want=f"the nearest known key {nearest}",
            example=f"{nearest}: {as_written(FIELDS[nearest].example)}",
        )
    want = f"the nearest known key {nearest}" if nearest else f"one of {', '.join(_siblings(location))}"
    return Problem(path=shown_location, got="an unknown key", want=want)


def _siblings(location: str) -> list[str]:
    folder, _, _ = location.rpartition(".")
    if not folder:
        return list(SECTIONS)
    known = {*FIELDS, *_FOLDERS}
    beside = sorted(one.removeprefix(f"{folder}.") for one in known if one.rpartition(".")[0] == folder)
    return beside or list(SECTIONS)


def _nearest(location: str) -> str:
    """The most similar key beside it, else a key of that name anywhere, else ''."""
    folder, _, key = location.rpartition(".")
    beside = nearest(key, _siblings(location))
    if beside:
        return f"{folder}.{beside}" if folder in _FOLDERS else beside
    names = {one.rpartition(".")[2]: one for one in FIELDS}
    return names.get(nearest(key, names, 0.75), "")


# -------------------------------------------------------------------------------------------------------- environment
def read_environment(environ: Mapping[str, str]) -> tuple[dict[str, object], list[Problem]]:
    """Values by location of every WERVANE_SECTION__KEY variable.

    Names without a double underscore are left alone: Kubernetes sets WERVANE_PORT and WERVANE_SERVICE_HOST for a
    Service called wervane.
    """
    values: dict[str, object] = {}
    problems: list[Problem] = []
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or "__" not in variable:
            continue
        location = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        field = FIELDS.get(location)
        if field is None:
            problem = unknown_key(location)
            problems.append(msgspec.structs.replace(problem, path=f"{problem.path} (from {variable})"))
        elif field.shape.verbatim:
            values[location] = environ[variable]
        elif field.shape.listed and not environ[variable].lstrip().startswith("["):
            values[location] = [item.strip() for item in environ[variable].split(",") if item.strip()]
        else:
            try:
                values[location] = _read_yaml(environ[variable])
            except yaml.YAMLError:
                values[location] = environ[variable]  # the shape will say what it wanted
    return values, problems


# ------------------------------------------------------------------------------------------------------------ messages
def shown(value: object, location: str = "") -> str:
    """A value as a message may quote it: short, on one line, and never a secret.

    >>> shown("lots"), shown(None), shown([1, 2]), shown("hunter2", "kafka.security.password")
    ('"lots"', 'nothing', '[1, 2]', 'a value (not shown)')
    """
    if _SECRET.search(location.rpartition(".")[2].removesuffix("_file")):
        return "a value (not shown)"
    match value:
        case None:
            return "nothing"
        case list() if len(value) > 5 or any(isinstance(item, list | dict) for item in value):
            return f"a list of {len(value)}"
        case list():
            return f"[{', '.join(shown(item) for item in value)}]"
        case dict():
            return f"a mapping of {len(value)}"
        case str() if "@" in value or "://" in value:  # may carry credentials
            return "a text with an address (not shown)"
        case str():
            return _clipped(msgspec.json.encode(value).decode() if value.isprintable() else ascii(value))
        case _:
            return _clipped(str(value).lower() if isinstance(value, bool) else str(value))


def _clipped(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}..."
