"""Decides how a case of an alert becomes a unit test of promtool: series in, alerts at given moments out."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import yaml

import monitor
from monitor.alerting.catalogue import alerts
from monitor.alerting.files import DEFAULT
from tests.deploy.servers import required

ROOT = Path(monitor.__file__).parent.parent
RULES = ROOT / "deploy/prometheus/wervane.rules.yml"
BY_NAME = {alert.name: alert for alert in alerts()}

Series = Mapping[str, str]
"""Series -> its samples in promtool's notation: `0+5x10` is 0, 5, ..., 50; `_` is no sample; `7x3` is 7 four times."""


@dataclass(frozen=True, kw_only=True)
class At:
    """What fires at a moment: None for nothing, else its own labels and its summary."""

    moment: str
    labels: Mapping[str, str] | None = None
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One alert over some series, sampled and evaluated each `interval`."""

    alert: str
    why: str
    series: Series
    at: Sequence[At]
    interval: str = "1m"

    def __str__(self) -> str:
        return f"{self.alert}: {self.why}"


def check(cases: Sequence[Case], folder: Path) -> None:
    """Fail with what promtool says against them."""
    files = []
    for name in dict.fromkeys(case.alert for case in cases):
        rules = folder / f"{name}.rules.yml"
        rules.write_text(json.dumps({"groups": _only(name)}))  # JSON is YAML
        for number, case in enumerate(case for case in cases if case.alert == name):
            files.append(folder / f"{name}.{number}.test.yml")
            files[-1].write_text(json.dumps(_document(case, rules)))
    command = [required("promtool", install="package prometheus"), "test", "rules", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def _only(name: str) -> list[dict[str, object]]:
    """The committed groups with this alert and what it reads: all 60 rules would take six times as long."""
    committed = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    reads = "wervane:" in BY_NAME[name].expression
    kept = [
        {
            **group,
            "rules": [rule for rule in group["rules"] if rule.get("alert") == name or (reads and "record" in rule)],
        }
        for group in committed
    ]
    return [group for group in kept if group["rules"]]


def _document(case: Case, rules: Path) -> dict[str, object]:
    test = {
        "name": str(case),
        "interval": case.interval,
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": at.moment, "alertname": case.alert, "exp_alerts": _expected(case.alert, at)} for at in case.at
        ],
    }
    return {
        "rule_files": [str(rules)],
        "evaluation_interval": case.interval,
        # At intervals beyond the look-back, what is recorded has to be new.
        "group_eval_order": [group["name"] for group in _only(case.alert)],
        "tests": [test],
    }


def _expected(name: str, at: At) -> list[dict[str, object]]:
    if at.labels is None:
        return []
    alert = BY_NAME[name]

    def filled(template: str) -> str:
        labels = at.labels or {}
        return re.sub(
            r"\{\{ \$labels\.(\w+) \| urlquery \}\}", lambda found: quote_plus(labels.get(found[1], "")), template
        )

    return [
        {
            "exp_labels": {"severity": alert.severity.value, "service": "wervane", **at.labels},
            "exp_annotations": {
                "summary": at.summary,
                "description": alert.description,
                "runbook_url": alert.runbook_url(DEFAULT.runbooks),
                "dashboard_url": filled(alert.dashboard_url(DEFAULT.grafana)),
            },
        }
    ]
