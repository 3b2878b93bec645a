"""When something is sent: whatever a receiver does, in bounds, in order, and with nobody waiting for it (T7)."""

from __future__ import annotations

import json
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from monitor.adapters.notify.integrations import Integration, integrations
from monitor.adapters.notify.notice import Notice
from monitor.adapters.notify.posting import Answer, Request, Unreachable, post
from monitor.config import load_settings
from monitor.core.records import Level
from monitor.sending import QUEUE_MAX, REFUSED_TRIES_MAX, Item, Outcome, Sender
from tests.agent.receivers import Receiver, receiving, wait_until
from tests.noticing import LOG, Listed, drained, notice, sender, step

HURRIED = partial(post, connect_seconds=1.0, total_seconds=0.5)


def pagerduty(folder: Path, receiver: Receiver) -> dict[str, Integration]:
    (folder / "key").write_text("key")
    keys: dict[str, object] = {
        "notify.pagerduty.routing_key_file": str(folder / "key"),
        "notify.pagerduty.url": f"{receiver.url}/v2/enqueue",
    }
    return integrations(load_settings(None, {}, keys).notify)


def owe(to: Sender, *notices: Notice) -> None:
    for one in notices:
        for outlet in to.outlets.values():
            outlet.put(Item(one, to, lambda: None))


@pytest.mark.parametrize("mode", ["hang", "drip", "500", "429", "404", "reset", "redirect", "huge"])
def test_a_receiver_that_misbehaves_gets_it_once_it_is_back(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T7: delivered within a minute of recovery, the same bytes, with no redirect followed."""
    monkeypatch.setattr("monitor.sending.BACKOFF_SECONDS_FIRST", 0.1)
    with receiving() as receiver:
        receiver.mode = mode
        to = Sender(pagerduty(tmp_path, receiver), LOG, HURRIED)
        to.start()
        owe(to, notice(step()))
        wait_until(lambda: len(receiver.posts) >= 2, "a second try")
        assert to.counters()['notifications_total{integration="pagerduty",outcome="failed"}'] >= 1
        receiver.mode = "ok"
        wait_until(lambda: receiver.taken(), "delivery within 60 s of recovery")
        drained(to)
        to.close()
        assert len({post.body for post in receiver.posts}) == 1 and len(receiver.taken()) == 1
        assert receiver.redirected == 0


def test_a_closed_port_and_an_unknown_name_are_failures_like_others() -> None:
    """Named by words of a closed set: an exception's message may hold an address."""
    for url, reasons in (
        ("http://127.0.0.1:1/", {"connection_refused"}),
        ("http://nowhere.invalid/", {"name_not_found"}),
        ("http://169.254.169.254/latest/meta-data/", {"address_refused"}),
    ):
        with pytest.raises(Unreachable) as failed:
            post(Request(url, b"{}", {}))
        assert failed.value.reason in reasons


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that somebody set for pip must not read pages."""
    with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert post(Request(receiver.url, b"{}", {})).status == 202
        assert proxy.posts == [] and len(receiver.posts) == 1


def test_retry_after_is_waited_for() -> None:
    """A receiver that says when is asked then, not before: the back-off alone would be shorter."""
    answers = [Answer(429, retry_after_seconds=1.0), Answer(202)]
    asked: list[float] = []

    def answer(_request: Request) -> Answer:
        asked.append(time.monotonic())
        return answers[len(asked) - 1]

    to = sender(Listed(), answer=answer)
    owe(to, notice(step()))
    drained(to)
    assert len(asked) == 2 and asked[1] - asked[0] >= 1.0


def test_one_receiver_that_hangs_holds_up_no_other() -> None:
    """Slack's outage must not keep PagerDuty from ringing."""
    hanging, over = Listed(), threading.Event()

    def answer(_request: Request) -> Answer:
        if threading.current_thread() is to.outlets["0"]._thread:
            over.wait(60.0)
        return Answer(202)

    to = sender(hanging, fine := Listed(), answer=answer)
    owe(to, *(notice(step(f"i{number}")) for number in range(5)))
    wait_until(lambda: len(fine.sent) == 5, "the other receiver's five")
    assert to.outlets["0"].waiting == 5
    over.set()
    drained(to)


def test_what_is_refused_for_its_content_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """400: that one is given up at last, and the page behind it is out at once."""
    monkeypatch.setattr("monitor.sending.BACKOFF_SECONDS_MAX", 0.01)
    receiver = Listed()
    poison, page = notice(step("bad", slice_="all")), notice(step("good"))
    to = sender(receiver, answer=lambda _: Answer(400 if receiver.sent[-1] is poison else 202))
    owe(to, poison, page)
    drained(to)
    tries = [one.told.incident for one in receiver.sent]
    assert tries.index("good") == 1 and tries.count("bad") == REFUSED_TRIES_MAX
    assert to.outlets["0"].counts[Outcome.REFUSED] == 1


def test_steps_of_one_incident_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger that overtakes its resolve rings for ever."""
    monkeypatch.setattr("monitor.sending.BACKOFF_SECONDS_FIRST", 0.01)
    failures = iter([Answer(503), Answer(202), Answer(503), Answer(202), Answer(202)])
    to = sender(receiver := Listed(), answer=lambda _: next(failures))
    owe(to, notice(step()), notice(step(state="updated")), notice(step(state="resolved")))
    drained(to)
    assert [state for _, state, _ in receiver.steps()] == ["firing", "firing", "updated", "updated", "resolved"]


def test_after_an_outage_only_the_newest_step_is_of_use() -> None:
    """Nobody is woken for an incident that is over."""
    receiver = Listed()
    receiver.newest_only = True
    to = sender(receiver, start=False)
    owe(to, notice(step()), notice(step("i2", slice_="all")), notice(step(state="resolved")))
    to.start()
    drained(to)
    assert sorted(receiver.steps()) == sorted(
        (one.told.incident, one.told.state.value, one.key)
        for one in (notice(step("i2", slice_="all")), notice(step(state="resolved")))
    )
    assert to.outlets["0"].counts[Outcome.SUPERSEDED] == 1


def test_a_full_queue_lets_go_of_the_least_and_says_so() -> None:
    """A thousand digests must not push out one page."""
    to = sender(receiver := Listed(), start=False)
    owe(to, notice(step("page", slice_="all")))
    owe(to, *(notice(step(f"d{n}", slice_=f"accent=a{n}", level=Level.DIGEST)) for n in range(QUEUE_MAX + 9)))
    assert to.waiting == QUEUE_MAX and to.outlets["0"].counts[Outcome.DROPPED] == 10
    to.start()
    drained(to)
    told = {one.told.incident for one in receiver.sent}
    assert "page" in told and {f"d{n}" for n in range(10)}.isdisjoint(told)


def test_digests_wait_for_their_hour_and_come_together() -> None:
    """One message a day; a page goes at once."""
    receiver = Listed()
    receiver.digest_hour = int(time.time() // 3600 + 12) % 24
    to = sender(receiver)
    notes = [notice(step(f"d{n}", slice_=f"accent=a{n}", level=Level.DIGEST)) for n in range(6)]
    owe(to, *notes[:3], notice(step()))
    drained(to)
    assert [one.told.level for one in receiver.sent] == [Level.PAGE]
    owe(to, *(notice(one.told, queued_at=one.queued_at - 86_400.0) for one in notes[3:]))
    drained(to)
    assert len(receiver.sent) == 4 and to.outlets["0"].counts[Outcome.DELIVERED] == 4


def test_pagerduty_gets_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Nothing of a try is in the event: no time of sending, no count."""
    with receiving() as receiver:
        (integration,) = pagerduty(tmp_path, receiver).values()
        bodies = [integration.request([notice(step(), queued_at=at)], at).body for at in (1.0, 2.0)]
    assert bodies[0] == bodies[1] and json.loads(bodies[0])["dedup_key"]


def test_alerts_that_cannot_be_sent_again_count_as_waiting() -> None:
    """Their receiver will take them for ended, and nobody would hear of it: NotificationsFailing looks at this."""
    works = threading.Event()
    works.set()

    def answer(_request: Request) -> Answer:
        if works.is_set():
            return Answer(202)
        raise Unreachable("connection_refused")

    receiver = Listed()
    receiver.resend_seconds = 0.1
    to = sender(receiver, answer=answer)
    to.outlets["0"].know(Known([notice(step())]))
    wait_until(lambda: len(receiver.sent) >= 3, "the open alert again and again")
    assert to.waiting == 0
    works.clear()
    wait_until(lambda: to.waiting == 1, "that it is not kept up")
    works.set()
    drained(to)


def test_who_leaves_while_a_try_is_on_its_way_is_not_sent_for_again() -> None:
    """A partition moved during a time-out: its next owner tells it from its state."""
    began, over = threading.Event(), threading.Event()

    def answer(_request: Request) -> Answer:
        began.set()
        over.wait(60.0)
        raise Unreachable("timeout")

    to = sender(receiver := Listed(), answer=answer)
    owe(to, notice(step()))
    assert began.wait(60.0)
    to.forget(to)
    over.set()
    drained(to)
    assert len(receiver.sent) == 1


class Known:
    """Open incidents, as a mailbox knows them."""

    def __init__(self, notices: list[Notice]) -> None:
        self._notices = notices

    def open_notices(self) -> list[Notice]:
        return self._notices


@pytest.mark.slow
def test_after_an_outage_of_minutes_each_is_told_within_a_minute(tmp_path: Path) -> None:
    """T7's figure, with nothing hurried: the longest back-off and the longest try lie between recovery and delivery."""
    modes = ("hang", "drip", "500", "reset", "redirect", "huge")
    receivers = [Receiver() for _ in modes]
    try:
        senders = []
        for mode, receiver in zip(modes, receivers, strict=True):
            receiver.mode = mode
            senders.append(Sender(pagerduty(tmp_path, receiver), LOG))
            senders[-1].start()
            owe(senders[-1], notice(step()))
        wait_until(
            lambda: all(len(receiver.posts) >= 6 for receiver in receivers), "the longest back-off", within=240.0
        )
        recovered_at = time.monotonic()
        for receiver in receivers:
            receiver.mode = "ok"
        took: dict[str, float] = {}
        while len(took) < len(modes):
            for mode, receiver in zip(modes, receivers, strict=True):
                if receiver.taken() and mode not in took:
                    took[mode] = time.monotonic() - recovered_at
            assert time.monotonic() - recovered_at < 60.0, took
            time.sleep(0.05)
        print({mode: round(seconds, 1) for mode, seconds in took.items()})
        assert all(len({post.body for post in receiver.posts}) == 1 for receiver in receivers)
    finally:
        for receiver in receivers:
            receiver.close()
