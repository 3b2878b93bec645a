"""Every query of every dashboard on a real Prometheus that holds 30 days of the simulated deployment.

Grafana itself is not run: its server could not be had where this was written.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from monitor.catalog import SLICE_MOMENTS
from tests.deploy.backfill import DAYS, FAULT_OF_30_DAYS, SCRAPE_SECONDS, write_backfill
from tests.deploy.dashboards import Dashboard, Panel, committed, interpolated
from tests.deploy.prometheus import INSTALL, Prometheus, are_numbers, over_blocks
from tests.deploy.servers import required

ALL = committed()
PANELS = [pytest.param(board, panel, id=f"{board.uid} {panel.title}") for board in ALL for panel in board.shown]
DAY = 86_400.0

GRAFANA_S = {"__rate_interval": f"{4 * SCRAPE_SECONDS:.0f}s", "__range": "7d"}
"""As Grafana sets them for this scrape interval: four scrapes; the time range of *Fairness now*."""

CHOSEN = {
    "customer": "northfield-health",
    "dimension": "accent",
    "group": FAULT_OF_30_DAYS.accent,
    "window": "24h",
    "objective": "0.05",
    "job": "wervane",
    "instance": "agent:9464",
}
"""What somebody might choose; the fault's group, and the windows' default."""


class Held(NamedTuple):
    prometheus: Prometheus
    end: float
    last: bytes
    """The last scrape, as `/metrics` answered."""


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    folder = tmp_path_factory.mktemp("backfill")
    samples = folder / "samples.txt"
    with pytest.MonkeyPatch.context() as monkeypatch:
        end = write_backfill(samples, folder / "state", monkeypatch)
    with over_blocks(samples, folder, f"{1.5 * SCRAPE_SECONDS:.0f}s") as prometheus:
        yield Held(prometheus, end, samples.with_name("last.prom").read_bytes())


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_shows_numbers(board: Dashboard, panel: Panel, held: Held) -> None:
    """An empty panel in an incident is worse than none: nobody knows whether all is well or the query is wrong."""
    everything = {variable.name: variable.allValue for variable in board.variables if variable.includeAll}
    for values in ({**CHOSEN, **GRAFANA_S}, {**CHOSEN, **everything, **GRAFANA_S}):
        for target in panel.targets:
            query = interpolated(target.expr, values)
            if target.instant:
                found = held.prometheus.instant(query, held.end)
            else:
                found = held.prometheus.over(query, held.end - 7 * DAY, held.end, SCRAPE_SECONDS)
            assert are_numbers(found), f"{query}\n{found}"


@pytest.mark.parametrize("board", ALL, ids=lambda board: board.uid)
def test_variables_offer_what_there_is(board: Dashboard, held: Held) -> None:
    """Nothing to choose from is a dashboard that stays empty."""
    for variable in board.variables:
        if variable.type == "query":
            assert isinstance(variable.query, dict)
            series, _, label = variable.query["query"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
            assert CHOSEN[variable.name] in held.prometheus.label_values(label, interpolated(series, CHOSEN))


def test_groups_of_any_name_can_be_asked_for(held: Held) -> None:
    """Groups are customers' words: a plus or a bracket must not make a query that Prometheus refuses."""
    board = next(board for board in ALL if board.uid == "wervane-slice")
    for group in ("c++ (new)", "a.b|c", "[", "st. mary/2", "日本"):
        for target in (target for panel in board.shown for target in panel.targets):
            held.prometheus.instant(interpolated(target.expr, {**CHOSEN, **GRAFANA_S, "group": group}), held.end)


@pytest.mark.parametrize("counter", ["slice_clusters_total", "slice_traffic_utterances_total"])
def test_no_scrape_showed_a_small_group(counter: str, held: Held) -> None:
    """Of no slice, nor of all traffic without some, does any scrape of 30 days differ from another by 1 to 10."""
    everything = f"sum by (customer, dimension, group) (wervane_{counter})"
    found = held.prometheus.over(everything, held.end - DAYS * DAY, held.end, SCRAPE_SECONDS)
    assert len(found) > 50 and max(each.values[-1] for each in found) > 300
    assert [each.labels for each in found if any(value % 11 for value in each.values)] == []


def test_every_counter_of_a_slice_is_born_at_zero_and_held(held: Held) -> None:
    """`increase()` of a counter that begins at 50 is 0: the beginning of every group that comes later would be lost."""
    for metric in SLICE_MOMENTS:
        found = held.prometheus.over(metric.full_name, held.end - DAYS * DAY, held.end, SCRAPE_SECONDS)
        assert len(found) > 50
        assert [each.labels for each in found if any(each.values[:2])] == [], metric.name
        falling = [each for each in found if sorted(each.values) != each.values]
        assert falling == [], "a counter that falls is counted again from 0"


def test_promtool_finds_nothing_to_complain_about(held: Held) -> None:
    """Names, units, help texts: what every Prometheus user expects of a metric."""
    promtool = required("promtool", install=INSTALL)
    done = subprocess.run([promtool, "check", "metrics"], input=held.last, capture_output=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, b"", b"")


def test_a_scrape_has_nothing_that_costs_and_nothing_that_names(held: Held) -> None:
    """`_created` doubles the output; a histogram of slices is 18 lines for each; an id is a person."""
    lines = held.last.decode().splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) > 500
    assert [line for line in samples if "_created" in line or " # " in line] == [], "nor exemplars"
    buckets = [line for line in samples if "_bucket{" in line]
    assert {line.partition("{")[0] for line in buckets} == {"wervane_reference_delay_seconds_bucket"}
    assert [line for line in buckets if "group=" in line or "customer=" in line] == []
    values = {value for line in samples for value in re.findall(r'="([^"]*)"', line)}
    assert [value for value in values if re.fullmatch(r"[0-9a-f]{16,32}", value)] == [], (
        "no utterance, session, speaker"
    )


def test_wer_from_the_moments_is_what_the_decider_says(held: Held) -> None:
    """Two ways to one number: counters over a window, and the gauge of a window of event time."""
    fairness = next(board for board in ALL if board.uid == "wervane-fairness")
    panel = next(panel for panel in fairness.shown if panel.title == "WER of all traffic")
    values = {**CHOSEN, **GRAFANA_S, "window": "28d"}
    (counted,) = held.prometheus.instant(interpolated(panel.targets[0].expr, values), held.end)
    said = 'wervane_slice_wer_ratio{dimension="all",window="28d"}'
    (gauge,) = held.prometheus.instant(said, held.end)
    # The windows differ by what was not matured at their beginnings: at most 2 days of 28, whose WER may differ by a
    # fifth of itself (day by day, 0.11 +- 0.02).
    assert counted.values[0] == pytest.approx(gauge.values[0], rel=2 / 28 * 0.2 + 0.01)
    assert DAYS > 28


def test_the_fault_is_seen_where_it_is(held: Held) -> None:
    """The table sorts by WER: after the fault its group comes before the other accents."""
    fairness = next(board for board in ALL if board.uid == "wervane-fairness")
    table = next(panel for panel in fairness.shown if panel.type == "table")
    query = interpolated(table.targets[0].expr, {**CHOSEN, **GRAFANA_S})
    rates = {each.labels["group"]: each.values[0] for each in held.prometheus.instant(query, held.end)}
    assert max(rates, key=lambda group: rates[group]) == FAULT_OF_30_DAYS.accent
