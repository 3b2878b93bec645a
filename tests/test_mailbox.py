"""What a state owes its receivers: nothing is forgotten before it was delivered, and each incident keeps its key."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.adapters.notify.posting import Answer, Request, Unreachable
from monitor.adapters.store import Store
from monitor.core.records import Level, Transition
from monitor.delivery import Delivery
from monitor.mailbox import OWED, TABLES, Mailbox
from monitor.sending import Item, Outlet, Sender
from tests.agent.receivers import wait_until
from tests.noticing import Listed, drained, sender, step

PAGE = frozenset({Level.PAGE})


class Desk:
    """A state, its outbox and its mailbox, driven as the agent does."""

    def __init__(self, folder: Path, to: Sender) -> None:
        self.store = Store.open(folder / "state.db", config_sha256="x")
        documents: dict[str, dict[str, bytes]] = {table: {} for table in TABLES}
        for table, key, value in self.store.documents():
            documents.setdefault(table, {})[key] = value
        self.mailbox = Mailbox(self.store, to, documents)
        self.delivery = Delivery(self.store, folder, {}, (), self.mailbox)
        self.delivery.deliver()

    def tell(self, *steps: Transition, quiet: bool = False) -> None:
        self.mailbox.note(steps, quiet=quiet)
        self.checkpoint()

    def checkpoint(self, *, awake: bool = False) -> None:
        self.mailbox.settle()
        if awake:
            self.mailbox.awake()
        self.store.commit()
        self.delivery.deliver()

    def owed(self) -> int:
        """Steps that the state remembers."""
        return sum(1 for table, _, _ in self.store.documents() if table == OWED)

    def close(self) -> None:
        """As SIGKILL does: what was not committed is dropped."""
        self.delivery.close()
        self.store.close()


@contextmanager
def desk(folder: Path, to: Sender) -> Iterator[Desk]:
    opened = Desk(folder, to)
    try:
        yield opened
    finally:
        opened.close()


def never(_request: Request) -> Answer:
    raise Unreachable("timeout")


def test_what_was_not_delivered_is_owed_by_the_next_process(tmp_path: Path) -> None:
    """Killed right after the commit, or after the next one: in the outbox or in a document, it is in the state."""
    lost, came = Listed(), Listed()
    for checkpoints in (1, 2):
        folder = tmp_path / str(checkpoints)
        folder.mkdir()
        with desk(folder, sender(lost, answer=never)) as first:
            first.tell(step())
            for _ in range(checkpoints - 1):
                first.checkpoint()
        with desk(folder, to := sender(came)) as second:
            drained(to)
            second.checkpoint()
            assert second.owed() == 0
    assert len(came.sent) == 2 and len({key for _, _, key in came.steps() + lost.steps()}) == 1


def test_each_receiver_is_owed_for_itself(tmp_path: Path) -> None:
    """One that is down for a day must not have the others told every restart."""
    fine, down = Listed(), Listed()

    def answer(_request: Request) -> Answer:
        if threading.current_thread() is to.outlets["1"]._thread:
            raise Unreachable("connection_refused")
        return Answer(202)

    to = sender(fine, down, answer=answer)
    with desk(tmp_path, to) as first:
        first.tell(step())
        wait_until(lambda: to.outlets["0"].waiting == 0 and down.sent, "the one that answers was not told")
        first.checkpoint()
        first.checkpoint()
    again = (Listed(), Listed())
    with desk(tmp_path, to := sender(*again)):
        drained(to)
    assert (len(again[0].sent), len(again[1].sent)) == (0, 1)


def test_an_incident_keeps_its_key_when_it_is_named_anew_and_over_restarts(tmp_path: Path) -> None:
    """The end must close what the beginning opened."""
    receiver = Listed()
    for told in (step(), step(state="updated", slice_="accent=scottish&site=x"), step(state="resolved", slice_="all")):
        with desk(tmp_path, to := sender(receiver)) as opened:
            opened.tell(told)
            drained(to)
            opened.checkpoint()
    assert len({key for _, _, key in receiver.steps()}) == 1
    assert [state for _, state, _ in receiver.steps()] == ["firing", "updated", "resolved"]


def test_two_open_incidents_of_the_same_labels_have_two_keys(tmp_path: Path) -> None:
    """Else the end of the one would close the other. Once one is over, its key is free."""
    receiver = Listed()
    with desk(tmp_path, to := sender(receiver)) as opened:
        renamed = step(state="updated", slice_="accent=scottish&site=x")
        opened.tell(step(), renamed, step("i2"), step(state="resolved"), step("i3"))
        drained(to)
    keys = {incident: key for incident, _, key in receiver.steps()}
    assert keys["i1"] == keys["i3"] != keys["i2"]


def test_who_was_told_of_the_page_is_told_of_its_end(tmp_path: Path) -> None:
    """Levels choose who hears of an incident, not who hears the end of it."""
    pager = Listed(PAGE)
    with desk(tmp_path, to := sender(pager)) as opened:
        opened.tell(step("i1", level=Level.TICKET), step("i2", slice_="all"))
        opened.tell(step("i2", "resolved", "all", level=Level.TICKET), step("i1", level=Level.PAGE))
        drained(to)
    assert [(incident, state) for incident, state, _ in pager.steps()] == [
        ("i2", "firing"),
        ("i2", "resolved"),
        ("i1", "firing"),
    ]


def test_a_state_made_again_tells_what_is_still_open_and_wakes_nobody_for_the_rest(tmp_path: Path) -> None:
    """It is the log's past: its pages were told, perhaps all but the last one, which may have died with the disk."""
    receiver = Listed()
    with desk(tmp_path, to := sender(receiver)) as opened:
        opened.tell(step(), step("i2", slice_="all"), step("i2", "resolved", "all"), quiet=True)
        drained(to)
        assert receiver.sent == [] and opened.mailbox.open_notices() == ()
        opened.checkpoint(awake=True)
        opened.checkpoint(awake=True)
        drained(to)
    assert [(incident, state) for incident, state, _ in receiver.steps()] == [("i1", "firing")]


def test_what_is_over_is_not_open_once_a_receiver_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Alertmanager is told again what is open: right after an end, that would wake on-call once more."""
    still_open = list[int]()
    with desk(tmp_path, sender(Listed(), start=False)) as opened:
        opened.tell(step(), step("i2", slice_="all"))
        put = Outlet.put

        def looks_first(outlet: Outlet, item: Item) -> None:
            still_open.append(len(opened.mailbox.open_notices()))
            put(outlet, item)

        monkeypatch.setattr(Outlet, "put", looks_first)
        opened.tell(step(state="resolved"))
        opened.mailbox.tell_at_end([step("i2", "resolved", "all")])
        assert still_open == [1, 0] and opened.mailbox.open_notices() == ()


def test_an_integration_that_is_configured_no_more_is_owed_nothing(tmp_path: Path) -> None:
    """Its steps would wait in the state for ever."""
    with desk(tmp_path, sender(Listed(), Listed(), answer=never)) as first:
        first.tell(step())
        first.checkpoint()
        assert first.owed() == 1
    with desk(tmp_path, to := sender(left := Listed())) as second:
        drained(to)
        second.checkpoint()
        assert second.owed() == 0 and len(left.sent) == 1


def test_a_partition_that_goes_takes_what_it_is_owed_along(tmp_path: Path) -> None:
    """Its next owner tells it; two would."""
    to = sender(receiver := Listed(), start=False)
    with desk(tmp_path, to) as opened:
        opened.tell(step())
        assert to.waiting == 1
    to.start()
    assert to.waiting == 0 and receiver.sent == []
