"""Dashboards as files: what the linter of dashboards asks for, metrics that exist, and the same as the code makes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from monitor.alerting.catalogue import alerts, groups
from monitor.alerting.declared import VARIABLES, Alert, Recording
from monitor.catalog import METRICS, PREFIX
from monitor.dashboards.files import documents
from tests.deploy.composed import DEPLOY, read
from tests.deploy.dashboards import FOLDER, Dashboard, Panel, committed, interpolated, metrics, without_texts

ALL = committed()
EACH = pytest.mark.parametrize("board", ALL, ids=lambda board: board.uid)
PANELS = [pytest.param(board, panel, id=f"{board.uid} {panel.title}") for board in ALL for panel in board.shown]
EACH_PANEL = pytest.mark.parametrize(("board", "panel"), PANELS)

SAMPLES = {PREFIX + sample for metric in METRICS for sample in metric.sample_names()}
COUNTERS = {metric.full_name for metric in METRICS if metric.kind == "counter"}
OTHERS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
"""Of Prometheus and its client library; they are in no catalogue of ours."""


def test_the_files_are_what_the_code_makes() -> None:
    """A file changed by hand is lost with the next `wervane dashboards deploy/grafana/dashboards`."""
    assert {path.name: path.read_bytes() for path in FOLDER.glob("*")} == documents()


def test_the_command_writes_them_anywhere(tmp_path: Path) -> None:
    """Whoever has a Grafana has a folder that it reads."""
    command = [sys.executable, "-m", "monitor", "dashboards", str(tmp_path / "new" / "folder")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {Path(line).name for line in done.stdout.splitlines()} == set(documents())
    assert {path.name: path.read_bytes() for path in (tmp_path / "new" / "folder").iterdir()} == documents()
    (tmp_path / "file").touch()
    refused = subprocess.run([*command[:-1], str(tmp_path / "file")], capture_output=True, text=True, check=False)
    assert refused.returncode == 4 and "cannot be written" in refused.stderr


def test_uids_stay() -> None:
    """Alerts link to them, and people keep them as bookmarks."""
    assert {board.uid for board in ALL} == {"wervane-fairness", "wervane-slice", "wervane-pipeline"}


# ------------------------------------------------------------------------------------------------ the linter's rules
@EACH
def test_a_dashboard_belongs_to_no_installation(board: Dashboard) -> None:
    """template-datasource, uneditable: it asks whatever datasource is chosen, and is changed in the code."""
    first = board.variables[0]
    assert (first.name, first.type, first.query, first.current) == ("datasource", "datasource", "prometheus", {})
    assert not board.editable and board.tags == ["wervane"]
    text = (FOLDER / f"{board.uid}.json").read_text()
    assert set(re.findall(r'"uid": "([^"]*)"', text)) == {board.uid, "${datasource}"}
    assert "http" not in text, "no address of anybody"


@EACH
def test_ids_and_places_are_unique(board: Dashboard) -> None:
    """Grafana shows one of two panels of one id, and one of two in one place."""
    ids = [panel.id for panel in board.panels]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board.panels:
        place = panel.gridPos
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel.title
        taken |= cells


@EACH
def test_variables_follow_time_and_datasource(board: Dashboard) -> None:
    """template-label-promql, template-on-time-change-reload: groups that came since the page was opened are offered."""
    for variable in board.variables:
        if variable.type == "query":
            assert variable.refresh == 2 and variable.datasource["uid"] == "${datasource}"
            assert isinstance(variable.query, dict)
            found = re.fullmatch(r"label_values\((wervane_\w+)(\{.*\})?, (\w+)\)", variable.query["query"])
            assert found is not None and found[1] in SAMPLES
            assert found[3] == variable.name
            assert variable.allValue == (".*" if variable.includeAll else "")


@EACH_PANEL
def test_a_panel_says_what_it_shows(board: Dashboard, panel: Panel) -> None:
    """panel-title-description, panel-units, panel-no-targets, panel-datasource: a number without unit is a riddle."""
    assert panel.title and len(panel.description) >= 20 and panel.description.endswith((".", "?"))
    assert isinstance(panel.unit, str) and panel.unit
    assert panel.datasource == {"type": "prometheus", "uid": "${datasource}"}
    letters = [target.refId for target in panel.targets]
    assert letters == sorted(set(letters)) and letters
    assert [target.datasource for target in panel.targets] == [panel.datasource] * len(letters)
    assert [target.instant for target in panel.targets] == [panel.type in ("stat", "bargauge", "table")] * len(letters)
    assert all(target.format == ("table" if panel.type == "table" else "time_series") for target in panel.targets)
    titles = [other.title for other in board.shown]
    assert titles.count(panel.title) == 1


@EACH_PANEL
def test_counters_are_read_as_what_they_grew_by_and_gauges_are_not(board: Dashboard, panel: Panel) -> None:
    """target-counter-agg, target-rate-interval: a counter's value depends on when its process began."""
    for target in panel.targets:
        for name in metrics(target.expr):
            assert name in SAMPLES | OTHERS, f"{name} is in no catalogue"
            grown = re.findall(rf"(?:rate|increase)\({name}\{{[^}}]*\}}\[", without_texts(target.expr))
            used = re.findall(rf"\b{name}\b", target.expr)
            is_counter = name in COUNTERS or name.endswith(("_total", "_bucket"))
            assert len(grown) == (len(used) if is_counter else 0), name
        assert set(re.findall(r"rate\([^\[]*\[([^\]]*)\]", target.expr)) <= {"$__rate_interval"}
        assert not re.search(r"\b(avg|avg_over_time)\b", target.expr), "means of ratios are no ratios"


@EACH
def test_every_variable_is_used_and_known(board: Dashboard) -> None:
    """A variable that does nothing is a knob that is not connected."""
    expressions = " ".join(target.expr for panel in board.shown for target in panel.targets)
    queries = " ".join(str(variable.query) for variable in board.variables)
    text = expressions + queries + (FOLDER / f"{board.uid}.json").read_text().replace('"name": ', "")
    for variable in board.variables:
        assert re.search(rf"\$(?:{variable.name}\b|\{{{variable.name}[}}:])", text), variable.name
    known = {variable.name: "x" for variable in board.variables}
    interpolated(expressions + queries, {**known, "__range": "7d", "__rate_interval": "5m"})


def test_links_between_dashboards_lead_to_one_and_set_variables_that_it_has() -> None:
    """A click on a group must show that group."""
    by_uid = {board.uid: board for board in ALL}
    found = 0
    for board in ALL:
        for uid, parameters in re.findall(r'"url": "/d/([\w-]+)\?([^"]*)"', (FOLDER / f"{board.uid}.json").read_text()):
            names = {variable.name for variable in by_uid[uid].variables}
            assert set(re.findall(r"var-(\w+)=", parameters)) <= names
            found += 1
    assert found >= 2


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_links_to_a_dashboard_that_shows_what_it_is_about(alert: Alert) -> None:
    """Whoever follows the link of a page wants to see the page's number, of that slice, and not look for it."""
    board = next(board for board in ALL if board.uid == alert.dashboard)
    assert set(VARIABLES[alert.dashboard]) <= {variable.name for variable in board.variables}
    shown = set().union(*(metrics(target.expr) for panel in board.shown for target in panel.targets))
    read = recorded(alert.expression)
    assert read and read - {"ALERTS"} <= shown | BESIDE


BESIDE = {"wervane_slice_incident_open"}
"""What alerts read to stay silent while another tells the same."""


def recorded(expression: str) -> set[str]:
    """The exported metrics that an expression comes down to."""
    recordings = {
        rule.name: rule.expression for group in groups() for rule in group.rules if isinstance(rule, Recording)
    }
    found: set[str] = set()
    for name in metrics(expression):
        found |= recorded(recordings[name]) if name in recordings else {name}
    return found


# ------------------------------------------------------------------------------------------------------ provisioning
class _Options(msgspec.Struct, forbid_unknown_fields=True):
    path: str


class _Provider(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    folder: str
    type: str
    allowUiUpdates: bool
    disableDeletion: bool
    updateIntervalSeconds: int
    options: _Options


class _Providers(msgspec.Struct, forbid_unknown_fields=True):
    apiVersion: int
    providers: list[_Provider]


def test_grafana_is_told_where_they_are() -> None:
    """The path of the provider is one that compose.yaml mounts the files at."""
    text = (DEPLOY / "grafana" / "provisioning" / "dashboards" / "wervane.yml").read_text()
    (provider,) = msgspec.convert(yaml.safe_load(text), _Providers).providers
    assert (provider.type, provider.allowUiUpdates, provider.disableDeletion) == ("file", False, True)
    mounts = {mount.target: mount for mount in read().services["grafana"].volumes}
    assert mounts[provider.options.path].path.resolve() == FOLDER.resolve()
    assert mounts["/etc/grafana/provisioning/dashboards"].read_only
