"""Rules that nobody loads, or that ask for what nobody exports, are silence that looks like health."""

from __future__ import annotations

import re
import subprocess
from itertools import product
from pathlib import Path

import pytest
import yaml

import monitor
from monitor.adapters.notify.notice import BETTER, NAMES
from monitor.alerting.catalogue import alerts, groups
from monitor.alerting.declared import Alert, Recording
from monitor.alerting.files import Places, operator_rules, prometheus_rules
from monitor.alerting.incidents import SELECTORS
from monitor.catalog import METRICS
from monitor.core.records import Direction, IncidentKind, Level
from tests.deploy.servers import required
from tests.rules.names import declared, named

ROOT = Path(monitor.__file__).parent.parent
RULES = ROOT / "deploy/prometheus/wervane.rules.yml"
RESOURCE = ROOT / "deploy/prometheus/wervane.prometheusrule.yaml"
ALERTS = alerts()


def test_committed_files_are_what_the_command_prints() -> None:
    """`make docs` writes them; who deploys from the repository has the rules of this version."""
    assert RULES.read_text(encoding="utf-8") == prometheus_rules()
    assert RESOURCE.read_text(encoding="utf-8") == operator_rules()


def test_promtool_finds_nothing_wrong() -> None:
    """A rule file with one error is not loaded at all."""
    command = [required("promtool", install="package prometheus"), "check", "rules", str(RULES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_formats_hold_the_same_groups() -> None:
    """An operator's cluster must not be told less; and what is written must read back as it was meant."""
    plain, resource = yaml.safe_load(prometheus_rules()), yaml.safe_load(operator_rules())
    assert resource["spec"] == plain
    assert (resource["apiVersion"], resource["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    written = [rule for group in plain["groups"] for rule in group["rules"]]
    meant = [rule for group in groups() for rule in group.rules]
    assert [rule["expr"] for rule in written] == [rule.expression for rule in meant]


def test_rules_read_only_what_is_exported_or_recorded() -> None:
    """A misspelt metric is an alert that never fires."""
    assert named(RULES.read_text(encoding="utf-8")) <= declared()


def test_what_is_recorded_is_used_or_documented_and_named_once() -> None:
    """Two rules of one name and labels are an error at evaluation, not at loading."""
    recorded = [
        (rule.name, tuple(rule.labels.items()))
        for group in groups()
        for rule in group.rules
        if isinstance(rule, Recording)
    ]
    assert len(recorded) == len(set(recorded))
    assert all(re.fullmatch(r"wervane:[a-z_]+:(increase|ratio)", name) for name, _ in recorded)


def _takes(selector: str, kind: IncidentKind, level: Level, direction: Direction) -> bool:
    given = {"kind": kind.value, "level": level.value, "direction": direction.value}
    matchers = re.findall(r'(\w+)(=~|=)"([^"]*)"', selector)
    return all(re.fullmatch(value, given[name]) is not None for name, _, value in matchers)


TOLD = {
    *product((IncidentKind.DRIFT, IncidentKind.OVERALL), (Level.PAGE, Level.TICKET), (Direction.WORSE,)),
    *product((IncidentKind.DRIFT, IncidentKind.OVERALL), (Level.DIGEST,), (Direction.BETTER,)),
    *product((IncidentKind.DISPARITY,), (Level.PAGE, Level.TICKET), (Direction.WORSE,)),
    (IncidentKind.COVERAGE, Level.PAGE, Direction.WORSE),
    (IncidentKind.STALE, Level.TICKET, Direction.WORSE),
    (IncidentKind.BLIND, Level.PAGE, Direction.WORSE),
}
"""What the decider may say; lost records (coverage, a ticket) have a counter and an alert of their own."""


@pytest.mark.parametrize("told", sorted(TOLD))
def test_every_incident_becomes_exactly_one_alert(told: tuple[IncidentKind, Level, Direction]) -> None:
    """None would leave it untold; two are two messages for one cause."""
    (name,) = [name for name, selector in SELECTORS.items() if _takes(selector, *told)]
    severity = next(alert.severity for alert in ALERTS if alert.name == name)
    assert severity == told[1]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_who_how_much_and_what_to_do(alert: Alert) -> None:
    """A name alone sends people searching at night."""
    assert re.fullmatch(r"Wervane[A-Za-z]+", alert.name)
    assert "printf" in alert.summary or "query" in alert.summary or alert.name == "WervaneAgentAbsent", "numbers"
    assert len(alert.description) > 60 and "\n" not in alert.summary + alert.description
    assert all(f"$labels.{name}" in alert.summary for name in alert.labels if name not in ("job", "dimension", "group"))


def test_notifications_call_incidents_by_the_same_names() -> None:
    """A runbook, a silence and an inhibition must fit whichever way the message came."""
    severity = {alert.name: alert.severity for alert in ALERTS}
    assert {(name, level) for (_, level), name in NAMES.items()} <= set(severity.items())
    named = {NAMES[kind, level] for kind, level, direction in TOLD if direction == Direction.WORSE}
    assert named == {name for name in SELECTORS if name != BETTER}


def test_names_of_alerts_are_used_once() -> None:
    """One name for rule, runbook, silence and dashboard."""
    names = [alert.name for alert in ALERTS]
    assert len(names) == len(set(names))


def test_links_and_margin_are_the_user_s() -> None:
    """A runbook's path is of no use to a pager, and a page of ours is of none to a customer behind a firewall."""
    places = Places(runbooks="https://wiki.example/wervane/", grafana="https://grafana.example/", margin=0.02)
    text = prometheus_rules(places)
    assert "https://wiki.example/wervane/WervaneBlind.md" in text
    assert "https://grafana.example/d/wervane-slice?var-customer=" in text
    assert "(100 * wervane:slice_wer_gap_lower:ratio) > 2'" in text


def test_no_rule_averages_ratios_or_guesses_labels() -> None:
    """Sums before ratios; `group_left` before a parenthesis takes it for labels; `absent` loses labels."""
    expressions = "\n".join(rule.expression for group in groups() for rule in group.rules)
    assert "avg" not in expressions
    assert re.search(r"group_(left|right)(?! \(\))", expressions) is None
    ratios = {metric.full_name for metric in METRICS if metric.name.startswith("slice_wer")}
    assert not ratios & named(expressions), "gauges do not merge over replicas"
