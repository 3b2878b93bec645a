"""Decides what panel, target, row and dashboard are for Grafana: ids, refIds, grid and defaults in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Json: TypeAlias = dict[str, object]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
"""Whatever the variable says: a dashboard that names one installation's datasource is empty everywhere else."""

SCHEMA_VERSION = 41
"""Of Grafana 12, which compose.yaml starts. Later ones migrate it; earlier ones ignore what they do not know."""

COLUMNS = 24
"""Of Grafana's grid."""

HEIGHT = 8
"""Rows of the grid of a panel, unless it says otherwise: about a third of a screen."""

GREEN, BLUE, YELLOW, RED, GREY = "green", "blue", "yellow", "red", "#808080"
TAGS = ("wervane",)


@dataclass(frozen=True, slots=True)
class Row:
    """Panels below a title, from the left; what does not fit goes below."""

    title: str
    panels: Sequence[Json]


# ------------------------------------------------------------------------------------------------------------- targets
def target(expression: str, legend: str) -> Json:
    """A query over the time range."""
    return {"expr": expression, "legendFormat": legend, "range": True, "instant": False}


def now(expression: str, legend: str = "") -> Json:
    """A query at the end of the time range."""
    return {"expr": expression, "legendFormat": legend, "range": False, "instant": True}


def column(expression: str) -> Json:
    """A query at the end of the time range, whose labels become columns of a table."""
    return {**now(expression), "format": "table"}


# -------------------------------------------------------------------------------------------------------------- panels
def timeseries(title: str, description: str, unit: str, *targets: Json, **more: object) -> Json:
    """Lines over time. `more`: width, height, minimum, maximum, decimals, stacked, overrides."""
    custom: Json = {"lineWidth": 1, "fillOpacity": 0, "showPoints": "auto", "spanNulls": True}
    if more.pop("stacked", False):
        custom |= {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 40}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    options: Json = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return _panel("timeseries", title, description, unit, targets, options, custom, more)


def stat(title: str, description: str, unit: str, *targets: Json, **more: object) -> Json:
    """A few numbers, large."""
    options: Json = {"reduceOptions": _LAST, "graphMode": "none", "colorMode": "value", "textMode": "auto"}
    return _panel("stat", title, description, unit, targets, options, {}, {"width": 4, "height": 5, **more})


def bar_gauge(title: str, description: str, unit: str, *targets: Json, **more: object) -> Json:
    """A few numbers side by side, to be compared."""
    options: Json = {"reduceOptions": _LAST, "orientation": "horizontal", "displayMode": "basic", "valueMode": "text"}
    return _panel("bargauge", title, description, unit, targets, options, {}, more)


def state_timeline(title: str, description: str, mappings: Sequence[Json], *targets: Json, **more: object) -> Json:
    """What was the case when, in words and colours."""
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": False}
    options: Json = {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8, "legend": legend}
    custom: Json = {"fillOpacity": 70, "lineWidth": 0}
    return _panel(
        "state-timeline", title, description, "short", targets, options, custom, {"mappings": mappings, **more}
    )


def table(
    title: str,
    description: str,
    columns: Sequence[tuple[str, str, str]],
    links: Sequence[Json],
    words: Mapping[str, Sequence[Json]],
) -> Json:
    """One row for each set of labels, over the whole width.

    columns  (heading, unit, expression), sorted by the first
    links    of the column `group`
    words    heading -> what its numbers mean
    """
    names = {f"Value #{_letter(number)}": heading for number, (heading, _, _) in enumerate(columns)}
    assert len(columns) > 1, "Grafana calls the values of a single query otherwise"
    overrides = [
        _override(heading, unit=unit, **({"mappings": words[heading]} if heading in words else {}))
        for heading, unit, _ in columns
    ]
    overrides.append(_override("group", links=list(links)))
    panel = _panel(
        "table",
        title,
        description,
        "short",
        [column(expression) for _, _, expression in columns],
        {"cellHeight": "sm", "showHeader": True, "sortBy": [{"displayName": columns[0][0], "desc": True}]},
        {"align": "auto", "filterable": True},
        {"width": COLUMNS, "height": 10, "overrides": overrides},
    )
    organize: Json = {"excludeByName": {"Time": True}, "renameByName": names}
    panel["transformations"] = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    return panel


def mapping(values: dict[int, tuple[str, str]]) -> list[Json]:
    """Number -> (word, colour)."""
    options = {
        str(value): {"text": text, "color": colour, "index": index}
        for index, (value, (text, colour)) in enumerate(values.items())
    }
    return [{"type": "value", "options": options}]


def steps(*ends: tuple[float | None, str]) -> Json:
    """Colours from a value on."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in ends]}


def dashed(legend: str, colour: str = RED) -> Json:
    """An override: this series is a line to be compared with."""
    return _override(
        legend,
        **{"custom.lineStyle": {"fill": "dash", "dash": [10, 10]}, "color": {"mode": "fixed", "fixedColor": colour}},
    )


def band(lower: str, upper: str) -> list[Json]:
    """Overrides: what lies between two series is shaded."""
    shaded = {"custom.fillBelowTo": lower, "custom.fillOpacity": 12, "custom.lineWidth": 0}
    return [_override(upper, **shaded), _override(lower, **{"custom.lineWidth": 0})]


def _override(name: str, **properties: object) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": id_, "value": value} for id_, value in properties.items()],
    }


def _panel(
    kind: str,
    title: str,
    description: str,
    unit: str,
    targets: Sequence[Json],
    options: Json,
    custom: Json,
    more: dict[str, object],
) -> Json:
    """`more`: width and height in the grid, overrides; the rest are defaults of its fields."""
    defaults: Json = {"unit": unit, "custom": custom, "color": {"mode": "palette-classic"}, "mappings": []}
    if kind in ("stat", "bargauge", "state-timeline"):
        defaults |= {"color": {"mode": "thresholds"}, "thresholds": steps((None, BLUE))}
    size = {"w": more.get("width", 12), "h": more.get("height", HEIGHT)}
    overrides = more.get("overrides", [])
    defaults |= {key: value for key, value in more.items() if key not in ("width", "height", "overrides")}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": size,
        "targets": list(targets),
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": options,
    }


_LAST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}


# ----------------------------------------------------------------------------------------------------------- variables
def datasource_variable() -> Json:
    return {
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "current": {}, "hide": 0, "includeAll": False, "multi": False, "options": [], "refresh": 1, "regex": "",
    }  # fmt: skip


def label_variable(name: str, label: str, series: str, *, several: bool) -> Json:
    """Values of the label `name` of these series, read again whenever the time range changes."""
    query = f"label_values({series}, {name})"
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "definition": query,
        "query": {"query": query, "refId": "variable"}, "refresh": 2, "sort": 1, "regex": "", "hide": 0, "options": [],
        "multi": several, "includeAll": several, **({"allValue": ".*"} if several else {}),
        "current": {"text": "All", "value": "$__all"} if several else {},
    }  # fmt: skip


def choice_variable(name: str, label: str, values: Sequence[str], chosen: str) -> Json:
    """One of these."""
    options = [{"text": value, "value": value, "selected": value == chosen} for value in values]
    return {
        "name": name, "label": label, "type": "custom", "query": ",".join(values), "options": options,
        "current": {"text": chosen, "value": chosen}, "multi": False, "includeAll": False, "hide": 0,
    }  # fmt: skip


def number_variable(name: str, label: str, value: str) -> Json:
    """Whatever is typed."""
    current = {"text": value, "value": value}
    return {
        "name": name, "label": label, "type": "textbox", "query": value, "current": current,
        "options": [{**current, "selected": True}], "hide": 0,
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- dashboards
def dashboard(
    uid: str, title: str, description: str, variables: Sequence[Json], rows: Sequence[Row], since: str
) -> Json:
    """The whole of it. `uid` stays for ever: alerts and people's bookmarks name it."""
    link: Json = {
        "title": "wervane", "type": "dashboards", "tags": list(TAGS), "asDropdown": True, "includeVars": True,
        "keepTime": True, "icon": "external link", "targetBlank": False, "tooltip": "", "url": "",
    }  # fmt: skip
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": list(TAGS),
        "editable": False,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "time": {"from": since, "to": "now"},
        "timezone": "utc",
        "refresh": "1m",
        "links": [link],
        "annotations": {"list": []},
        "templating": {"list": list(variables)},
        "panels": list(_laid_out(rows)),
    }


def _laid_out(rows: Sequence[Row]) -> Iterator[Json]:
    """Every panel with an id, a place, and a letter for each target."""
    below, id_ = 0, 0
    for row in rows:
        id_ += 1
        place = {"x": 0, "y": below, "w": COLUMNS, "h": 1}
        yield {"id": id_, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        x, y, tallest = 0, below + 1, 0
        for panel in row.panels:
            id_ += 1
            width, height = _size(panel)
            if x + width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            yield {
                "id": id_,
                **panel,
                "gridPos": {"x": x, "y": y, "w": width, "h": height},
                "targets": list(_lettered(panel)),
            }
            x, tallest = x + width, max(tallest, height)
        below = y + tallest


def _size(panel: Json) -> tuple[int, int]:
    size = panel["gridPos"]
    assert isinstance(size, dict)
    return int(size["w"]), int(size["h"])


def _lettered(panel: Json) -> Iterator[Json]:
    targets = panel["targets"]
    assert isinstance(targets, list)
    for number, each in enumerate(targets):
        yield {"refId": _letter(number), "datasource": DATASOURCE, "editorMode": "code", **each}


def _letter(number: int) -> str:
    assert number < 26
    return chr(ord("A") + number)
