"""A fault in a customer's traffic rings, and its repair ends it: PagerDuty, Slack and a webhook, without Prometheus.

The agent is a process of its own, the receivers are pytest-httpserver's. With -s what they got is printed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.agent.processes import growing, running
from tests.agent.receivers import wait_until
from tests.rules.faulty_traffic import DAY, FAULTY, USUAL, days
from tests.traffic import Traffic

FAULT_DAY, REPAIR_DAY, LAST_DAY = 9, 11, 24
PAGE = "https://wervane.example.org"
RUNBOOKS = "https://git.example.org/wervane/docs/runbooks"


def pushed(folder: Path, address: str) -> dict[str, Mapping[str, object]]:
    """Everything at one server, under Slack's, PagerDuty's and a path of our own."""
    (folder / "key").write_text("k" * 32)
    (folder / "slack").write_text(f"{address}/services/T0/B0/x")
    return {
        "slices": {"dimensions": ["accent"], "intersections": [], "strata": ["accent"]},
        "labels": {"maturity": "2h"},
        "notify": {
            "hosts": ["localhost", "127.0.0.1"],
            "page_url": PAGE,
            "runbooks_url": RUNBOOKS,
            "pagerduty": {"routing_key_file": str(folder / "key"), "url": f"{address}/v2/enqueue"},
            "slack": {"webhook_url_file": str(folder / "slack"), "levels": ["page"]},
            "webhook": {"urls": [f"{address}/hook"], "levels": ["page"]},
        },
    }


def append(folder: Path, more: Traffic) -> None:
    for name, lines in (("transcripts", more.transcripts), ("references", more.references)):
        with (folder / "in" / f"{name}.jsonl").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


def got(server: HTTPServer, path: str) -> list[dict[str, object]]:
    return [json.loads(request.data) for request, _ in server.log if request.path == path]


def texts(slack: dict[str, object]) -> list[str]:
    """What a person reads, block by block."""
    blocks = slack["blocks"]
    assert isinstance(blocks, list)
    return [part["text"] for block in blocks for part in ([block["text"]] if "text" in block else block["elements"])]


def test_a_fault_rings_everywhere_and_its_repair_ends_it(tmp_path: Path, httpserver: HTTPServer) -> None:
    """Who, by how much, how sure, since when, what to look at, what to do; then the end, under the same key."""
    httpserver.expect_request(re.compile(".*"), method="POST").respond_with_data("ok", status=202)
    starts_at = (time.time() // DAY - LAST_DAY - 1) * DAY
    with running(growing(tmp_path, **pushed(tmp_path, httpserver.url_for("").rstrip("/")))) as process:
        append(tmp_path, days(0, FAULT_DAY, starts_at=starts_at))
        append(tmp_path, days(FAULT_DAY, REPAIR_DAY, starts_at=starts_at, faulty=True))
        wait_until(lambda: len(httpserver.log) >= 3, "the page, three times")
        append(tmp_path, days(REPAIR_DAY, LAST_DAY, starts_at=starts_at))
        paths = ("/v2/enqueue", "/services/T0/B0/x", "/hook")
        wait_until(lambda: all(len(got(httpserver, path)) == 2 for path in paths), "its end, three times")
        assert process.stop() == 0
    (page, over), (slack, slack_over), (hook, hook_over) = (got(httpserver, path) for path in paths)
    print(json.dumps(page, indent=2), *texts(slack), *texts(slack_over), json.dumps(hook, indent=2), sep="\n")
    assert (page["event_action"], over["event_action"]) == ("trigger", "resolve")
    assert page["dedup_key"] == over["dedup_key"] == hook["key"] == hook_over["key"]
    payload = page["payload"]
    assert isinstance(payload, dict)
    assert_says_it_all(payload["custom_details"], starts_at)
    assert payload["summary"].startswith("clinic: accent=yoruba: WER ") and payload["severity"] == "critical"
    assert texts(slack)[0] == ":rotating_light: page: clinic, accent=yoruba"
    assert texts(slack_over)[0] == ":white_check_mark: resolved: clinic, accent=yoruba"
    assert payload["summary"] == texts(slack)[1] == hook["sentence"]
    written = (tmp_path / "state/incidents.jsonl").read_text().splitlines()
    ours = [json.loads(line) for line in written if json.loads(line)["level"] == "page"]
    assert [hook["transition"], hook_over["transition"]] == ours


def assert_says_it_all(details: dict[str, str], starts_at: float) -> None:
    """Numbers as they were made: tests/rules/test_end_to_end.py says how near they must be."""
    number = r"(\d+\.\d+)"
    said = re.match(
        rf"WER {number} %, before {number} %, everybody else {number} %, {number} times", details["How much"]
    )
    assert said is not None, details["How much"]
    after, before, others, times = map(float, said.groups())
    assert after == pytest.approx(100 * FAULTY, abs=12) and before == pytest.approx(100 * USUAL, abs=2)
    assert others == pytest.approx(100 * USUAL, abs=3) and times == pytest.approx(FAULTY / USUAL, rel=0.5)
    assert details["Who"] == "clinic: accent=yoruba" and "where 1 is enough" in details["How sure"]
    since = datetime.strptime(details["Since"].partition(" UTC")[0], "%d %B %Y %H:%M").replace(tzinfo=UTC)
    assert abs(since.timestamp() - (starts_at + FAULT_DAY * DAY)) < DAY
    assert details["Look at"] == f"{PAGE}/incident?id={details['Incident']}"
    assert details["What to do"] == f"{RUNBOOKS}/WervaneAccentRegression.md"
