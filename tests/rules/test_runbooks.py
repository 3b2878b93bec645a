"""A runbook is read once, at three in the morning: each alert has one, and what it tells people to type works."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

import monitor
from monitor.alerting.catalogue import alerts
from monitor.alerting.files import runbooks_index
from monitor.cli import app
from tests.deploy.servers import required
from tests.rules.names import declared, named

ROOT = Path(monitor.__file__).parent.parent
RUNBOOKS = ROOT / "docs/runbooks"
ALERTS = {alert.name: alert for alert in alerts()}
PARTS = [
    "What it means",
    "How sure",
    "First three checks",
    "Likely causes",
    "What to do",
    "When to silence",
    "Whom it affects",
]
OTHERS = {"curl", "kubectl"}
"""Programs beside ours that a runbook may name."""
PATHS = {"/healthz", "/readyz", "/metrics", "/api/v1/slices", "/api/v1/incidents"}
EACH = pytest.mark.parametrize("name", ALERTS)


def text(name: str) -> str:
    return (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")


def part(name: str, title: str) -> str:
    return text(name).partition(f"## {title}\n")[2].partition("\n## ")[0]


def blocks(kind: str, within: str) -> list[str]:
    """Fenced blocks of a kind, without their indentation."""
    found = re.findall(rf"^ *```{kind}\n(.*?)^ *```$", within, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.strip() for line in block.splitlines()) for block in found]


def test_every_alert_has_a_runbook_and_no_other_is_there() -> None:
    """A link that leads nowhere is found out at the worst moment."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*ALERTS, "README"}
    assert (RUNBOOKS / "README.md").read_text(encoding="utf-8") == runbooks_index()


@EACH
def test_it_has_its_parts_in_order(name: str) -> None:
    """Who is woken looks for the same thing at the same place."""
    assert text(name).startswith(f"# {name}\n\nSeverity: {ALERTS[name].severity}.")
    assert re.findall(r"^## (.+)$", text(name), re.MULTILINE) == PARTS
    assert all(len(part(name, title).strip()) > 15 for title in PARTS)


@EACH
def test_it_has_three_checks_each_with_what_to_type(name: str) -> None:
    """ "Look at the logs" is no check."""
    checks = re.split(r"^\d\. ", part(name, "First three checks"), flags=re.MULTILINE)[1:]
    assert len(checks) == 3
    assert all(blocks("promql", check) or blocks("sh", check) for check in checks)
    assert len(re.findall(r"^- ", part(name, "Likely causes"), re.MULTILINE)) >= 2
    assert len(re.findall(r"^\d\. ", part(name, "What to do"), re.MULTILINE)) >= 2


def test_every_query_parses_and_names_only_what_exists(tmp_path: Path) -> None:
    """A query with a typo costs the minutes that matter."""
    queries = {name: blocks("promql", text(name)) for name in ALERTS}
    unknown = {name: named("\n".join(found)) - declared() for name, found in queries.items()}
    assert {name: names for name, names in unknown.items() if names} == {}
    rules = [{"record": f"runbook:{name}", "expr": query} for name, found in queries.items() for query in found]
    path = tmp_path / "queries.rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "runbooks", "rules": rules}]}))
    command = [required("promtool", install="package prometheus"), "check", "rules", "--lint=none", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert len(rules) > 40 and done.returncode == 0, done.stdout + done.stderr


@EACH
def test_every_command_exists(name: str) -> None:
    """With its options, as they are called today."""
    inline = re.findall(r"`(wervane [^`]+)`", text(name).replace("\n   ", " "))
    for line in [*inline, *"\n".join(blocks("sh", text(name))).splitlines()]:
        words = shlex.split(line)
        if words[0] == "wervane":
            # Options are parsed before the help is printed: exit code 2 for one that there is not.
            answer = CliRunner().invoke(app, [*words[1:], "--help"])
            assert answer.exit_code == 0, line + answer.output
        else:
            assert words[0] in OTHERS, line
        if words[0] == "curl":
            assert words[-1].removeprefix("http://AGENT:9464") in PATHS


@EACH
def test_metrics_and_alerts_in_its_sentences_exist(name: str) -> None:
    """A name that was renamed elsewhere."""
    assert named(text(name)) <= declared()
    assert set(re.findall(r"\bWervane[A-Z]\w+", text(name))) <= set(ALERTS)
