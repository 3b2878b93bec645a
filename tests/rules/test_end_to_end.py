"""A fault in a customer's traffic becomes one message on the pager, and its repair another.

Agent, Prometheus with the shipped rules, Alertmanager with the shipped configuration, all real; only intervals,
addresses and receivers are the test's. With -s the messages are printed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.agent.processes import Running, growing, running
from tests.agent.receivers import Receiver, receiving
from tests.rules.alertmanagers import CONFIGURATION, ROOT, alertmanager, asked, wait_for
from tests.rules.faulty_traffic import DAY, FAULTY, USUAL, days
from tests.rules.prometheuses import hurried_rules, prometheus, query
from tests.traffic import Traffic

SLICE = {"customer": "clinic", "dimension": "accent", "group": "yoruba"}
FAULT_DAY, REPAIR_DAY, LAST_DAY = 9, 11, 24
NUMBER = r"(\d+\.\d+)"
SUMMARY = re.compile(
    rf"clinic: accent=yoruba: WER {NUMBER} %, before {NUMBER} %, others {NUMBER} %; "
    rf"errors x{NUMBER} \[{NUMBER}, {NUMBER}\]; gap {NUMBER} points \[{NUMBER}, {NUMBER}\]; "
    r"since (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \+0000 UTC"
)


def hurried_routes(folder: Path, receiver: Receiver) -> Path:
    """The shipped routes and inhibitions; each receiver is a path of ours."""
    routes = yaml.safe_load(CONFIGURATION.read_text())
    for route in (routes["route"], *routes["route"]["routes"]):
        # As shipped, a ticket waits for longer than a page: what holds it back is there first.
        route.update({"group_wait": "3s" if route["receiver"] == "ticket" else "1s", "group_interval": "1s"})
    for each in routes["receivers"]:
        each["webhook_configs"] = [{"url": f"{receiver.url}/{each['name']}", "send_resolved": True}]
    path = folder / "alertmanager.yml"
    path.write_text(json.dumps(routes))
    return path


def scraping(folder: Path, agent: str, alerts_to: str) -> dict[str, object]:
    """The shipped configuration, each second."""
    shipped: dict[str, object] = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    jobs = shipped["scrape_configs"]
    assert isinstance(jobs, list)
    (scraped,) = [each for each in jobs if each["job_name"] == "wervane"]
    return {
        **shipped,
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(hurried_rules(folder))],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alerts_to]}]}]},
        "scrape_configs": [{**scraped, "static_configs": [{"targets": [agent]}]}],
    }


def append(folder: Path, more: Traffic) -> None:
    for name, lines in (("transcripts", more.transcripts), ("references", more.references)):
        with (folder / "in" / f"{name}.jsonl").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


def messages(receiver: Receiver, path: str, status: str) -> list[dict[str, list[dict[str, dict[str, str]]]]]:
    """What Alertmanager sent there."""
    found: list[dict[str, list[dict[str, dict[str, str]]]]] = [
        json.loads(post.body) for post in receiver.posts if post.path == f"/{path}"
    ]
    return [message for message in found if str(message["status"]) == status]


def read_all(process: Running, utterances: int) -> None:
    process.wait_for(lambda: process.seen()[0] >= utterances, f"{utterances} utterances")


def held_back(address: str) -> bool:
    """Whether the ticket of the slice is there, and inhibited."""
    found = asked(f"http://{address}/api/v2/alerts?filter=alertname%3D%22WervaneDisparityMoments%22")
    assert isinstance(found, list)
    ours = [each for each in found if SLICE.items() <= each["labels"].items()]
    return [each["status"]["state"] for each in ours] == ["suppressed"]


def as_text(message: dict[str, list[dict[str, dict[str, str]]]]) -> str:
    """What a person reads, for who runs this with -s."""
    lines = []
    for alert in message["alerts"]:
        lines.append(f"[{alert['status']}] {alert['labels']['alertname']} ({alert['labels']['severity']})")
        lines += [f"  {name}: {alert['annotations'][name]}" for name in sorted(alert["annotations"])]
    return "\n".join(lines)


def test_a_fault_pages_once_holds_its_ticket_back_and_resolves(tmp_path: Path) -> None:
    """The whole of what the person on call gets, as it is sent."""
    starts_at = (time.time() // DAY - LAST_DAY - 1) * DAY
    sections: dict[str, Mapping[str, object]] = {
        "slices": {"dimensions": ["accent"], "intersections": [], "strata": ["accent"]},
        "labels": {"maturity": "2h"},
    }
    config = growing(tmp_path, **sections)
    healthy = days(0, FAULT_DAY, starts_at=starts_at)
    faulty = days(FAULT_DAY, REPAIR_DAY, starts_at=starts_at, faulty=True)
    repaired = days(REPAIR_DAY, LAST_DAY, starts_at=starts_at)
    append(tmp_path, healthy)
    with running(config) as process:
        read_all(process, len(healthy.transcripts))
        assert process.stop() == 0  # a restart: what was shown before is not held at 0
    with receiving() as receiver, running(config) as process:
        agent = ":".join(map(str, process.address))
        with ExitStack() as servers:
            alerts_to = servers.enter_context(alertmanager(tmp_path, hurried_routes(tmp_path, receiver)))
            settings = scraping(tmp_path, agent, alerts_to)
            # Alertmanager is discovered 5 s after the start: what fires before has to be sent again soon.
            rules = servers.enter_context(prometheus(tmp_path, settings, "--rules.alert.resend-delay=2s"))
            wait_for(lambda: query(rules, "count(wervane_slice_clusters_total) > 2"), lambda: "no scrape")
            append(tmp_path, faulty)
            wait_for(lambda: messages(receiver, "page", "firing"), lambda: f"no page: {process.events('incident')}")
            wait_for(lambda: held_back(alerts_to), lambda: "the ticket is not held back")
            assert not [post for post in receiver.posts if b"WervaneDisparityMoments" in post.body]

            append(tmp_path, repaired)
            wait_for(lambda: messages(receiver, "page", "resolved"), lambda: "it was not resolved")
        assert process.stop() == 0
    (page,) = messages(receiver, "page", "firing")
    print(as_text(page), as_text(messages(receiver, "page", "resolved")[0]), sep="\n")
    assert_says_it_all(page, starts_at)
    (over,) = messages(receiver, "page", "resolved")
    assert over["groupKey"] == page["groupKey"]
    assert over["alerts"][0]["labels"] == page["alerts"][0]["labels"]


def assert_says_it_all(page: dict[str, list[dict[str, dict[str, str]]]], starts_at: float) -> None:
    """Who, by how much, how sure, since when, what to look at, what to do."""
    (alert,) = page["alerts"]
    assert alert["labels"].items() >= {**SLICE, "alertname": "WervaneAccentRegression", "severity": "page"}.items()
    said = SUMMARY.fullmatch(alert["annotations"]["summary"])
    assert said is not None, alert["annotations"]["summary"]
    after, before, others, times, times_low, times_high, gap, gap_low, gap_high = map(float, said.groups()[:9])
    # 18 utterances at least, in sessions with a spread of 20 %: three standard errors of the rate are 12 points
    assert after == pytest.approx(100 * FAULTY, abs=12) and before == pytest.approx(100 * USUAL, abs=2)
    assert others == pytest.approx(100 * USUAL, abs=3)
    assert 1.25 < times_low < times < times_high and times == pytest.approx(FAULTY / USUAL, rel=0.5)
    assert 5 < gap_low < gap < gap_high and gap == pytest.approx(after - others, abs=0.11)
    since = datetime.strptime(said[10], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    assert abs(since - (starts_at + FAULT_DAY * DAY)) < DAY
    assert (ROOT / alert["annotations"]["runbook_url"]).name == "WervaneAccentRegression.md"
    wanted = "/d/wervane-slice?var-customer=clinic&var-dimension=accent&var-group=yoruba"
    assert alert["annotations"]["dashboard_url"].endswith(wanted)
