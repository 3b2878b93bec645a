"""The shipped Alertmanager configuration: who is told, in how many messages, and what is held back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from monitor.alerting.catalogue import alerts
from monitor.alerting.declared import Alert
from monitor.core.records import Level
from tests.deploy.servers import required
from tests.rules.alertmanagers import CONFIGURATION, PACKAGE, alertmanager, asked, filled_in, wait_for

ALERTS = {alert.name: alert for alert in alerts()}
LABELS = {
    "customer": "clinic", "dimension": "accent", "group": "yoruba", "job": "wervane", "instance": "a:9464",
    "topic": "transcript", "integration": "slack",
}  # fmt: skip
OF_SLICES = {
    "WervaneAccentRegression",
    "WervaneDisparity",
    "WervaneDisparityMoments",
    "WervaneEarlyWarning",
    "WervaneStandingGap",
}


def amtool(*arguments: str) -> str:
    command = [required("amtool", install=PACKAGE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def labelled(alert: Alert, **other: str) -> dict[str, str]:
    """What the rule gives it."""
    own = {name: LABELS[name] for name in alert.labels}
    return {"alertname": alert.name, "severity": alert.severity.value, "service": "wervane", **own, **other}


def test_filled_in_it_is_still_valid(tmp_path: Path) -> None:
    """Who takes away the comment signs must not meet our mistakes at night."""
    path = tmp_path / "alertmanager.yml"
    path.write_text(filled_in(CONFIGURATION.read_text()))
    assert "pagerduty_configs" in path.read_text() and "# slack_configs" not in path.read_text()
    amtool("check-config", str(CONFIGURATION))
    amtool("check-config", str(path))


@pytest.mark.parametrize("level", Level)
def test_each_level_has_its_receiver(level: Level) -> None:
    """A digest on the pager is how people learn to ignore it."""
    for alert in ALERTS.values():
        if alert.severity is level:
            labels = [f"{name}={value}" for name, value in labelled(alert).items()]
            amtool(
                "config",
                "routes",
                "test",
                f"--config.file={CONFIGURATION}",
                f"--verify.receivers={level.value}",
                *labels,
            )


def test_alerts_of_others_go_where_they_went() -> None:
    """Somebody has an Alertmanager already, and merges ours into it."""
    of_others = ("alertname=NodeDown", "severity=page")
    amtool("config", "routes", "test", f"--config.file={CONFIGURATION}", "--verify.receivers=nobody", *of_others)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An Alertmanager with the shipped file, as it is."""
    with alertmanager(tmp_path_factory.mktemp("alertmanager"), CONFIGURATION) as address:
        yield address


def held_back(address: str, customer: str, told: Mapping[str, Mapping[str, str]], wanted: set[str]) -> bool:
    """Whether just these are inhibited when all are firing at once; each test has a customer of its own."""
    url = f"http://{address}/api/v2/alerts"
    asked(url, [{"labels": labelled(ALERTS[name], **{"customer": customer, **more})} for name, more in told.items()])
    found: dict[str, str] = {}

    def as_wanted() -> bool:
        answer = asked(f"{url}?filter=customer%3D%22{customer}%22")
        assert isinstance(answer, list)
        found.clear()
        found.update({each["labels"]["alertname"]: each["status"]["state"] for each in answer})
        return len(found) == len(told) and {name for name, state in found.items() if state == "suppressed"} == wanted

    return wait_for(as_wanted, lambda: str(found))


def of_customers() -> dict[str, dict[str, str]]:
    return {alert.name: {} for alert in ALERTS.values() if "customer" in alert.labels}


def test_blind_holds_back_the_rest_of_its_customer_only(running: str) -> None:
    """Its numbers are old; those of other customers, and of the pipeline that may be why, are not."""
    told = of_customers()
    assert held_back(running, "blind", told, set(told) - {"WervaneBlind"})
    rest = {name: more for name, more in of_customers().items() if ALERTS[name].severity is Level.DIGEST}
    assert held_back(running, "elsewhere", {**rest, "WervaneAccentRegression": {}}, set())
    asked(f"http://{running}/api/v2/alerts", [{"labels": labelled(ALERTS["WervaneConsumerStalled"])}])
    found = asked(f"http://{running}/api/v2/alerts?filter=alertname%3D%22WervaneConsumerStalled%22")
    assert isinstance(found, list) and [each["status"]["state"] for each in found] != ["suppressed"]


def test_overall_holds_back_slices(running: str) -> None:
    """If everybody is worse, forty slices are one message, not forty-one."""
    told = {name: {"group": "welsh"} for name in OF_SLICES}
    others: dict[str, dict[str, str]] = {"WervaneOverallRegression": {}, "WervaneReferencesStale": {}}
    assert held_back(running, "overall", {**told, **others}, OF_SLICES)


def test_a_page_holds_back_tickets_of_its_slice_only(running: str) -> None:
    """One message for one slice; another slice's ticket is news."""
    told: dict[str, dict[str, str]] = {
        "WervaneAccentRegression": {},
        "WervaneEarlyWarning": {},
        "WervaneDisparityMoments": {},
        "WervaneStandingGap": {"group": "welsh"},
        "WervaneImprovement": {"group": "indian"},
    }
    assert held_back(running, "page", told, {"WervaneEarlyWarning", "WervaneDisparityMoments"})


def test_every_alert_that_is_named_exists() -> None:
    """A renamed alert would no longer be held back, and nobody would notice."""
    named = {word for word in CONFIGURATION.read_text().replace("|", '"').split('"') if word.startswith("Wervane")}
    assert named <= set(ALERTS)
    assert named - {"WervaneBlind", "WervaneOverallRegression"} == OF_SLICES
