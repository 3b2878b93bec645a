"""What receivers are sent: within each one's own limits, under a key that nothing but the incident's labels decides."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace
from pytest_httpserver import HTTPServer
from werkzeug.datastructures import Headers

from monitor.adapters.notify.integrations import Integration, integrations
from monitor.adapters.notify.notice import BETTER, NAMES, Notice, dedup_key
from monitor.adapters.notify.posting import post
from monitor.alerting.catalogue import alerts
from monitor.config import ConfigError, load_settings
from monitor.core.records import Direction, IncidentKind, IncidentState, Level, Transition
from tests.adapters.views import NOW, transition

SECRET = "k3y-that-nobody-may-see"
LINKS = {"notify.page_url": "https://wervane.example.org", "notify.runbooks_url": "https://git.example.org/runbooks/"}
LONG = "accent=" + "x" * 3_000


def told(**changes: object) -> Transition:
    return replace(transition("d5ec0f815187d8f3", NOW - 3 * 3600.0, slices=("accent=scottish",)), **changes)


def notice(step: Transition, **changes: object) -> Notice:
    slice_ = step.slices[0]
    made = Notice(
        key=dedup_key(step.customer, step.kind, step.direction, slice_),
        kind=step.kind,
        direction=step.direction,
        slice=slice_,
        fired_at=step.at,
        level_before=None,
        told=step,
        queued_at=NOW,
    )
    return replace(made, **changes)


def configured(folder: Path, url: str, *names: str) -> dict[str, Integration]:
    """Integrations of these names, all at one address."""
    (folder / "secret").write_text(SECRET + "\n")
    (folder / "slack").write_text(f"{url}/services/T0/B0/{SECRET}\n")
    secret = str(folder / "secret")
    every: dict[str, dict[str, object]] = {
        "alertmanager": {"urls": [url], "username_file": secret, "password_file": secret},
        "pagerduty": {"routing_key_file": secret, "url": f"{url}/v2/enqueue"},
        "slack": {"webhook_url_file": str(folder / "slack")},
        "webhook": {"urls": [f"{url}/hook"], "secret_file": secret},
    }
    overrides: dict[str, object] = {"notify.hosts": ["localhost", "127.0.0.1"], **LINKS}
    for name in names:
        overrides.update({f"notify.{name}.{key}": value for key, value in every[name].items()})
    return integrations(load_settings(None, {}, overrides).notify)


def sent(server: HTTPServer, folder: Path, name: str, *notices: Notice) -> tuple[Headers, object]:
    """Headers and body as the server got them."""
    server.expect_request(re.compile(".*"), method="POST").respond_with_data("ok")
    (integration,) = configured(folder, server.url_for("").rstrip("/"), name).values()
    assert post(integration.request(notices, NOW)).status == 200
    request, _ = server.log[-1]
    assert request.headers["Content-Type"] == "application/json"
    return request.headers, json.loads(request.data)


# ---------------------------------------------------------------------------------------------------- the key
def test_the_key_is_of_labels_and_of_nothing_that_passes() -> None:
    """A key with a time or a value in it is a new page for each retry, restart and replica."""
    first = notice(told())
    later = notice(told(at=NOW, wer=0.9, evidence=77.0, summary="other", incident="another-id", pairs=9_999))
    assert first.key == later.key
    other = told(customer="another")
    assert len({first.key, notice(other).key, notice(told(slices=("accent=indian",))).key}) == 3
    assert dedup_key("a", IncidentKind.DRIFT, Direction.WORSE, "all") != dedup_key(
        "a", IncidentKind.DRIFT, Direction.WORSE, "all", 2
    )


def test_an_alert_has_one_name_everywhere() -> None:
    """Rules, runbooks, silences and notifications are found by it."""
    declared = {alert.name: alert.severity for alert in alerts()}
    assert {name: declared.get(name) for name in NAMES.values()} == {name: level for (_, level), name in NAMES.items()}
    assert declared[BETTER] == Level.DIGEST


# ---------------------------------------------------------------------------------------------------- pagerduty
def test_pagerduty_gets_an_event_of_its_api(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Events API v2: routing key, action, dedup key, and a payload with summary, source and severity."""
    _, body = sent(httpserver, tmp_path, "pagerduty", notice(told()))
    assert isinstance(body, dict)
    assert (body["routing_key"], body["event_action"]) == (SECRET, "trigger")
    assert body["dedup_key"] == notice(told()).key and len(body["dedup_key"]) <= 255
    payload = body["payload"]
    assert payload["severity"] == "critical" and payload["source"] and payload["class"] == "WervaneAccentRegression"
    details = payload["custom_details"]
    assert {"Who", "How much", "How sure", "Since", "Look at", "What to do"} <= set(details)
    assert details["What to do"] == "https://git.example.org/runbooks/WervaneAccentRegression.md"


def test_pagerduty_is_told_of_the_end_under_the_same_key(httpserver: HTTPServer, tmp_path: Path) -> None:
    """An incident that nobody resolves wakes the next shift."""
    resolved = told(state=IncidentState.RESOLVED, at=NOW + 86_400.0, slices=("accent=scottish&site=x",))
    _, body = sent(httpserver, tmp_path, "pagerduty", notice(resolved, key=notice(told()).key))
    assert isinstance(body, dict)
    assert (body["event_action"], body["dedup_key"]) == ("resolve", notice(told()).key)


@pytest.mark.parametrize(("level", "severity"), [("page", "critical"), ("ticket", "warning"), ("digest", "info")])
def test_pagerduty_knows_four_severities(level: str, severity: str, httpserver: HTTPServer, tmp_path: Path) -> None:
    """Any other word is refused with 400."""
    _, body = sent(httpserver, tmp_path, "pagerduty", notice(told(level=Level(level))))
    assert isinstance(body, dict) and body["payload"]["severity"] == severity


def test_pagerduty_s_limits_hold_whatever_a_group_is_called(httpserver: HTTPServer, tmp_path: Path) -> None:
    """A summary of more than 1,024 characters is refused, and the page with it."""
    _, body = sent(httpserver, tmp_path, "pagerduty", notice(told(slices=(LONG,), summary=LONG * 3)))
    assert isinstance(body, dict)
    assert len(body["payload"]["summary"]) == 1_024 and len(json.dumps(body)) < 512_000


# ---------------------------------------------------------------------------------------------------- slack
def test_slack_gets_blocks_within_its_limits(httpserver: HTTPServer, tmp_path: Path) -> None:
    """`invalid_blocks` is all that one gets otherwise."""
    for step in (told(), told(slices=(LONG,), summary=LONG * 3)):
        _, body = sent(httpserver, tmp_path, "slack", notice(step))
        assert isinstance(body, dict) and len(body["text"]) <= 4_000 and len(body["blocks"]) <= 50
        for block in body["blocks"]:
            texts = [block["text"]] if "text" in block else block["elements"]
            limit = {"header": 150, "section": 3_000, "context": 3_000}[block["type"]]
            assert all(0 < len(text["text"]) <= limit for text in texts)


def test_a_group_s_name_mentions_nobody_in_slack(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Labels are whatever a customer declares; `<!channel>` would wake everybody."""
    named = told(slices=("accent=<!channel>",), summary="accent=<!channel>: <https://evil.example|click>")
    _, body = sent(httpserver, tmp_path, "slack", notice(named))
    assert isinstance(body, dict) and "<" not in body["text"]
    marked = [block["text"]["text"] for block in body["blocks"] if block.get("text", {}).get("type") == "mrkdwn"]
    assert marked and not any("<" in text for text in marked)


def test_digests_are_told_together(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Good news is for the morning's coffee, in one message."""
    better = [notice(told(level=Level.DIGEST, slices=(f"accent=a{number}",))) for number in range(60)]
    _, body = sent(httpserver, tmp_path, "slack", *better)
    assert isinstance(body, dict) and "60 notes" in body["text"] and len(body["blocks"]) <= 50
    assert "13 more" in json.dumps(body["blocks"])


# ---------------------------------------------------------------------------------------------------- webhook
def test_a_webhook_gets_the_transition_signed(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Whoever receives it must be able to tell that it is ours, and new."""
    step = told()
    headers, body = sent(httpserver, tmp_path, "webhook", notice(step))
    request, _ = httpserver.log[-1]
    stamp = headers["X-Wervane-Timestamp"]
    wanted = hmac.new(SECRET.encode(), f"{stamp}.".encode() + request.data, hashlib.sha256).hexdigest()
    assert headers["X-Wervane-Signature"] == f"sha256={wanted}" and stamp == str(int(NOW))
    assert isinstance(body, dict) and body["transition"]["incident"] == step.incident
    assert headers["X-Wervane-Delivery"] == body["delivery"] == notice(step, queued_at=NOW + 9.0).delivery


# ---------------------------------------------------------------------------------------------------- alertmanager
def test_alertmanager_gets_labels_that_stay(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Labels are an alert's identity there: a slice that is named anew must not become a second alert."""
    renamed = notice(told(slices=("accent=scottish&site=x",), state=IncidentState.UPDATED), slice="accent=scottish")
    labels = []
    for one in (notice(told()), renamed):
        headers, body = sent(httpserver, tmp_path, "alertmanager", one)
        assert headers["Authorization"].startswith("Basic ") and isinstance(body, list)
        (alert,) = body
        assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) and value for name, value in alert["labels"].items())
        assert alert["startsAt"] <= alert["endsAt"]
        labels.append(alert["labels"])
    assert labels[0] == labels[1]
    assert (labels[0]["dimension"], labels[0]["group"]) == ("accent", "scottish")


def test_a_ticket_that_becomes_a_page_is_another_alert(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Routes choose by severity: the ticket ends as the page begins."""
    raised = notice(told(level=Level.PAGE), level_before=Level.TICKET)
    _, body = sent(httpserver, tmp_path, "alertmanager", raised)
    assert isinstance(body, list)
    assert [alert["labels"]["severity"] for alert in body] == ["ticket", "page"]
    assert body[0]["endsAt"] < body[1]["endsAt"]


# ---------------------------------------------------------------------------------------------------- secrets
def test_a_secret_is_read_anew_for_each_request(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Rotation must not need a restart."""
    httpserver.expect_request("/v2/enqueue").respond_with_data("ok")
    (integration,) = configured(tmp_path, httpserver.url_for("").rstrip("/"), "pagerduty").values()
    (tmp_path / "secret").write_text("rotated")
    assert json.loads(integration.request([notice(told())], NOW).body)["routing_key"] == "rotated"


@pytest.mark.parametrize(
    "content", [None, "", "two\nlines", "x" * 5_000, "http://hooks.slack.com/x", "https://evil.example/x"]
)
def test_a_secret_that_is_none_is_told_before_anything_starts(content: str | None, tmp_path: Path) -> None:
    """By its setting, without its content: that may be a secret in the wrong place."""
    path = tmp_path / "slack"
    if content is not None:
        path.write_text(content)
    settings = load_settings(None, {}, {"notify.slack.webhook_url_file": str(path)})
    with pytest.raises(ConfigError) as refused:
        integrations(settings.notify)
    (problem,) = refused.value.problems
    assert problem.path == "notify.slack.webhook_url_file" and (not content or content not in str(problem))


@pytest.mark.parametrize("url", ["https://hooks.slack.com/services/T/B/x", "https://hooks.slack-gov.com/services/x"])
def test_slack_s_own_addresses_need_no_permission(url: str, tmp_path: Path) -> None:
    """The usual set-up is one file."""
    (tmp_path / "slack").write_text(url)
    settings = load_settings(None, {}, {"notify.slack.webhook_url_file": str(tmp_path / "slack")})
    assert set(integrations(settings.notify)) == {"slack"}
