"""`wervane run` tells receivers of its incidents: at least once, whatever dies, under one key, and slows for nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from monitor.cli import execute
from tests.agent.processes import Running, configure, growing, run_to_end, running
from tests.agent.receivers import Post, Receiver, blind_traffic, receiving, wait_until
from tests.agent.test_privacy import Aviary, files, leaks
from tests.traffic import Traffic

ROUTING_KEY = "r0ut1ng-key-that-nobody-may-see"


def notified(folder: Path, receiver: Receiver, **integrations: object) -> dict[str, Mapping[str, object]]:
    """Sections for `growing`: PagerDuty at the receiver, and what else is asked for."""
    folder.mkdir(exist_ok=True)
    (folder / "routing-key").write_text(ROUTING_KEY + "\n")
    pagerduty: dict[str, object] = {"routing_key_file": str(folder / "routing-key"), "url": f"{receiver.url}/pagerduty"}
    return {
        "notify": {"hosts": ["127.0.0.1"], "pagerduty": pagerduty, **integrations},
        "labels": {"maturity": "24h"},
    }


def every_integration(folder: Path, receiver: Receiver) -> tuple[dict[str, Mapping[str, object]], list[str]]:
    """All four at the receiver, and their secrets."""
    secrets = [f"s3cr3t-of-{name}" for name in ("alertmanager", "slack", "webhook")]
    for name, secret in zip(("manager", "slack", "hook"), secrets, strict=True):
        (folder / name).write_text(secret if name != "slack" else f"{receiver.url}/services/{secret}")
    login = {"username_file": str(folder / "manager"), "password_file": str(folder / "manager")}
    sections = notified(
        folder,
        receiver,
        alertmanager={"urls": [receiver.url], **login},
        slack={"webhook_url_file": str(folder / "slack")},
        webhook={"urls": [f"{receiver.url}/hook"], "secret_file": str(folder / "hook")},
    )
    return sections, [ROUTING_KEY, *secrets]


def append(folder: Path, more: Traffic) -> None:
    for name, lines in (("transcripts", more.transcripts), ("references", more.references)):
        with (folder / "in" / f"{name}.jsonl").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


def keys(posts: list[Post]) -> list[tuple[object, object]]:
    return [(post.json()["event_action"], post.json()["dedup_key"]) for post in posts]


def test_an_incident_is_told_and_its_end_under_the_same_key(tmp_path: Path) -> None:
    """What a pager is for; a page that is never resolved is a page too many."""
    with receiving() as receiver, running(growing(tmp_path, **notified(tmp_path, receiver))) as process:
        append(tmp_path, blind_traffic("acme"))
        wait_until(lambda: receiver.taken(), "the page")
        append(tmp_path, blind_traffic("acme", days=4, first_day=5, corrected=True))
        wait_until(lambda: len(receiver.taken()) == 2, "its end")
        assert process.stop() == 0
    (trigger, key), (resolve, key_of_end) = keys(receiver.posts)
    assert (trigger, resolve) == ("trigger", "resolve") and key == key_of_end
    assert ROUTING_KEY not in process.stderr()


def test_a_kill_between_durable_and_sent_loses_nothing(tmp_path: Path) -> None:
    """SIGKILL while a receiver hangs: the next process sends the same under the same key."""
    config = growing(tmp_path, **notified(tmp_path, receiver := Receiver()))
    try:
        receiver.mode = "hang"
        with running(config) as process:
            append(tmp_path, blind_traffic("acme", "zenith"))
            wait_until(lambda: receiver.posts, "a first try")
            process.process.kill()
        tried = keys(receiver.posts)
        receiver.mode = "ok"
        with running(config) as process:
            wait_until(lambda: len(receiver.taken()) == 2, "both incidents")
            assert process.stop() == 0
    finally:
        receiver.close()
    assert len(set(keys(receiver.taken()))) == 2 and set(tried) <= set(keys(receiver.taken()))


def test_ingest_goes_on_while_a_receiver_hangs(tmp_path: Path) -> None:
    """Nobody waits for a pager: what comes is scored and shown, and metrics say that somebody is owed a message."""
    with receiving() as receiver, running(growing(tmp_path, **notified(tmp_path, receiver))) as process:
        receiver.mode = "hang"
        append(tmp_path, blind_traffic("acme"))
        wait_until(lambda: receiver.posts, "a first try")
        append(tmp_path, blind_traffic("zenith", days=3))
        process.wait_for(lambda: process.seen()[0] == 800, "all transcripts")
        assert receiver.taken() == []
        assert process.metrics()['wervane_notifications_waiting{integration="pagerduty"}'] == 1
        assert process.stop() == 0, "nor does a stop wait for it"


@pytest.mark.slow
def test_what_was_delivered_is_not_sent_again_by_the_next_process(tmp_path: Path) -> None:
    """At least once is no reason to page for each restart."""
    with receiving() as receiver:
        config = growing(tmp_path, **notified(tmp_path, receiver))
        for start in range(2):
            with running(config) as process:
                if start == 0:
                    append(tmp_path, blind_traffic("acme"))
                    wait_until(lambda: receiver.taken(), "the page")
                process.wait_for(lambda: _settled(process), "an idle agent")
                assert process.stop() == 0
        assert len(receiver.posts) == 1


def _settled(process: Running) -> bool:
    """Nothing waits, and a checkpoint has remembered it."""
    shown = process.metrics()
    return (
        shown['wervane_notifications_waiting{integration="pagerduty"}'] == 0
        and process.ask("/readyz")[0] == 200
        and process.seen()[0] > 0
    )


def test_a_finite_input_waits_for_its_receivers(tmp_path: Path) -> None:
    """A nightly job over an archive must not end before its page is out."""
    with receiving() as receiver:
        sections = notified(tmp_path, receiver)
        config = configure(tmp_path, blind_traffic("acme"), kind="files", **sections)
        ended = run_to_end(config)
        assert ended.process.returncode == 0, ended.stderr()
        assert [action for action, _ in keys(receiver.taken())] == ["trigger"]


def test_no_text_and_no_secret_gets_out(tmp_path: Path) -> None:
    """Not into a message, whoever's; not into the log of a receiver that fails, metrics, page or state."""
    birds, begins = Aviary(7), (time.time() // 86_400.0 - 20.0) * 86_400.0
    spoken = [birds.transcript(f"u{number}-{birds.canary('id')}", begins + 864.0 * number) for number in range(500)]
    with receiving() as receiver:
        sections, secrets = every_integration(tmp_path, receiver)
        with running(growing(tmp_path, **sections, log={"level": "debug"})) as process:
            receiver.mode = "500"
            append(tmp_path, Traffic([json.dumps(fields) for fields in spoken], []))
            wait_until(lambda: len({post.path for post in receiver.posts}) == 4, "a try of each")
            receiver.mode = "ok"
            wait_until(lambda: len({post.path for post in receiver.taken()}) == 4, "all four")
            shown = {path: process.ask(path)[1].encode() for path in ("/", "/metrics", "/api/v1/incidents")}
            assert process.stop() == 0
    posts = {f"{number}{post.path}": post.body for number, post in enumerate(receiver.posts)}
    headers = {f"{number} headers": repr(post.headers).encode() for number, post in enumerate(receiver.posts)}
    shown["stderr"] = process.stderr().encode()
    assert b"notification_failed" in shown["stderr"] and b"notification_delivered" in shown["stderr"]
    assert leaks(birds.placed, {**shown, **posts, **headers}) == {}
    kept = {**shown, **files(tmp_path / "state")}
    assert {name for name, content in kept.items() for secret in secrets if secret.encode() in content} == set()


def test_a_missing_secret_is_told_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pager that is believed to be connected and is not, is the worst outcome."""
    path = tmp_path / "wervane.yaml"
    path.write_text(json.dumps({"notify": {"pagerduty": {"routing_key_file": str(tmp_path / "absent")}}}))
    assert execute(["run", "--config", str(path)]) == 2
    assert "notify.pagerduty.routing_key_file" in capsys.readouterr().err
