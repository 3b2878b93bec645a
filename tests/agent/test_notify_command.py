"""`wervane notify test`: whether the pager would ring, before it has to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.cli import execute
from tests.agent.receivers import receiving
from tests.agent.test_notifications import every_integration


def test_each_receiver_gets_a_test_and_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test that leaves an incident open wakes somebody tomorrow."""
    with receiving() as receiver:
        sections, secrets = every_integration(tmp_path, receiver)
        (tmp_path / "wervane.yaml").write_text(json.dumps({"notify": sections["notify"]}))
        assert execute(["notify", "test", "--config", str(tmp_path / "wervane.yaml")]) == 0
        events = [post.json() for post in receiver.posts if post.path == "/pagerduty"]
        assert [event["event_action"] for event in events] == ["trigger", "resolve"]
        assert events[0]["dedup_key"] == events[1]["dedup_key"] and len(receiver.posts) == 8
        severity = events[0]["payload"]
        assert isinstance(severity, dict) and severity["severity"] == "info" and "test" in severity["summary"]
    said = capsys.readouterr().out
    assert said.count(": ok") == 4 and not any(secret in said for secret in secrets)


@pytest.mark.parametrize(
    ("mode", "reason"), [("redirect", "redirect"), ("403", "status_403"), ("reset", "connection_lost")]
)
def test_who_cannot_be_reached_is_named_with_what_to_do(
    mode: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 4, for whoever rolls a configuration out."""
    with receiving() as receiver:
        receiver.mode = mode
        sections, _ = every_integration(tmp_path, receiver)
        (tmp_path / "wervane.yaml").write_text(json.dumps({"notify": sections["notify"]}))
        assert execute(["notify", "test", "--config", str(tmp_path / "wervane.yaml"), "--json"]) == 4
    tried = json.loads(capsys.readouterr().out)
    assert [one["reason"] for one in tried] == [reason] * 4


def test_nothing_to_test_is_a_problem_of_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 would read as "the pager works"."""
    assert execute(["notify", "test"]) == 2
    assert "notify" in capsys.readouterr().err
