"""Decides how tests read a dashboard: as JSON that Grafana gets, with its variables replaced as Grafana would."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.deploy.composed import DEPLOY

FOLDER = DEPLOY / "grafana" / "dashboards"


class Target(msgspec.Struct):
    refId: str
    expr: str
    datasource: dict[str, str]
    legendFormat: str
    instant: bool
    range: bool
    format: str = "time_series"


class Panel(msgspec.Struct):
    id: int
    type: str
    title: str
    gridPos: dict[str, int]
    description: str = ""
    datasource: dict[str, str] = {}
    targets: list[Target] = []
    fieldConfig: dict[str, object] = {}
    options: dict[str, object] = {}
    transformations: list[object] = []

    @property
    def unit(self) -> object:
        defaults = self.fieldConfig["defaults"]
        assert isinstance(defaults, dict)
        return defaults.get("unit")


class Variable(msgspec.Struct):
    name: str
    type: str
    query: str | dict[str, str]
    current: dict[str, str]
    refresh: int = 0
    datasource: dict[str, str] = {}
    multi: bool = False
    includeAll: bool = False
    allValue: str = ""


class Templating(msgspec.Struct):
    variables: list[Variable] = msgspec.field(name="list")


class Dashboard(msgspec.Struct):
    uid: str
    title: str
    description: str
    tags: list[str]
    editable: bool
    schemaVersion: int
    time: dict[str, str]
    templating: Templating
    panels: list[Panel]

    @property
    def shown(self) -> list[Panel]:
        """Without the titles of rows."""
        return [panel for panel in self.panels if panel.type != "row"]

    @property
    def variables(self) -> list[Variable]:
        return self.templating.variables


def committed() -> list[Dashboard]:
    """What Grafana is given."""
    return [read(path) for path in sorted(FOLDER.glob("*.json"))]


def read(path: Path) -> Dashboard:
    return msgspec.json.decode(path.read_bytes(), type=Dashboard)


def interpolated(text: str, values: Mapping[str, str]) -> str:
    r"""`$name`, `${name}` and `${name:regex}` replaced; a name without a value is an error.

    >>> print(interpolated('m{a=~"$x",b=~`${y:regex}`}[$__range]', {"x": ".*", "y": "a.b", "__range": "7d"}))
    m{a=~".*",b=~`a\.b`}[7d]
    """

    def value(found: re.Match[str]) -> str:
        given = values[found["plain"] or found["braced"]]
        return re.sub(r"[\\^$*+?.()|[\]{}/]", r"\\\g<0>", given) if found["form"] == "regex" else given

    return re.sub(r"\$(?:(?P<plain>\w+)|\{(?P<braced>\w+)(?::(?P<form>\w+))?\})", value, text)


def metrics(query: str) -> set[str]:
    """Names of the metrics that a query reads: ours by their prefix, others by the selector that follows them.

    >>> sorted(metrics('sum by (le) (rate(m_total{a="wervane_x"}[5m])) / on (a) group_left () (wervane_y > 0)'))
    ['m_total', 'wervane_y']
    """
    return set(re.findall(r"\b(?:[a-zA-Z_][\w:]*(?=\{)|wervane[_:][\w:]+)", without_texts(query)))


def without_texts(query: str) -> str:
    """What lies between quotes left out."""
    return re.sub(r"`[^`]*`", "``", re.sub(r'"[^"]*"', '""', query))
