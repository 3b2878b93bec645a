"""A process that dies between any two steps, over receivers that fail at random, tells everything it decided."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.adapters.notify.notice import Notice
from monitor.adapters.notify.posting import Answer, Request, Unreachable
from monitor.core.records import Transition
from monitor.sending import Sender
from tests.noticing import Listed, drained, sender, step
from tests.test_mailbox import Desk

SLICES = ("accent=scottish", "accent=indian", "all")
ACTIONS = 25


def story(chance: random.Random) -> Iterator[Transition]:
    """Steps of incidents, several of the same labels: each begins, is named anew, and ends."""
    open_: dict[str, str] = {}
    for number in range(10_000):
        if open_ and chance.random() < 0.6:
            incident = chance.choice(sorted(open_))
            state = chance.choice(("updated", "resolved"))
            yield step(incident, state, chance.choice(SLICES), at=float(number))
            if state == "resolved":
                del open_[incident]
        else:
            incident = f"i{number}"
            open_[incident] = "firing"
            yield step(incident, "firing", chance.choice(SLICES), at=float(number))


class World:
    """One state, process after process."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self._weather = random.Random(f"weather {seed}")
        self._folder = folder
        self.delivered: list[Notice] = []
        self.durable: list[Transition] = []
        self.up = False
        self.begin()

    def begin(self) -> None:
        receiver = Listed()

        def answer(_request: Request) -> Answer:
            if not self.up and self._weather.random() < 0.6:
                raise Unreachable("timeout")
            self.delivered.append(receiver.sent[-1])
            if not self.up and self._weather.random() < 0.2:
                raise Unreachable("connection_lost")  # it was taken, but nobody told us
            return Answer(202)

        self.to: Sender = sender(receiver, answer=answer)
        self.desk = Desk(self._folder, self.to)

    def act(self, told: Transition) -> None:
        match self.chance.choice(("decide", "decide", "decide", "checkpoint", "die", "die_committed", "die_early")):
            case "decide":
                self.desk.tell(told)
                self.durable.append(told)
            case "checkpoint":
                self.desk.checkpoint()
            case "die_committed":  # and nothing was handed out yet
                self.desk.mailbox.note([told], quiet=False)
                self.desk.store.commit()
                self.durable.append(told)
                self.die()
            case "die_early":  # it was never decided
                self.desk.mailbox.note([told], quiet=False)
                self.die()
            case _:
                self.die()

    def die(self) -> None:
        self.desk.close()
        self.to.close()
        self.begin()


def check(folder: Path, seed: int) -> None:
    folder.mkdir()
    world = World(folder, seed)
    for told, _ in zip(story(world.chance), range(ACTIONS), strict=False):
        world.act(told)
    world.up = True
    drained(world.to)
    world.desk.checkpoint()
    assert world.desk.owed() == 0
    world.desk.close()
    world.to.close()
    seen: dict[str, list[str]] = defaultdict(list)
    keys: dict[str, set[str]] = defaultdict(set)
    for notice in world.delivered:
        keys[notice.told.incident].add(notice.key)
        if notice.delivery not in seen[notice.told.incident]:
            seen[notice.told.incident].append(notice.delivery)
    first = {notice.delivery: notice.told for notice in world.delivered}
    told_in_order = {incident: [first[one] for one in each] for incident, each in seen.items()}
    wanted: dict[str, list[Transition]] = defaultdict(list)
    for told in world.durable:
        wanted[told.incident].append(told)
    assert told_in_order == wanted, seed
    assert all(len(each) == 1 for each in keys.values()), seed


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.sending.BACKOFF_SECONDS_MAX", 0.002)


@pytest.mark.parametrize("seed", range(6))
def test_what_was_decided_is_told_in_order_under_one_key(seed: int, tmp_path: Path) -> None:
    """And nothing else: what was not durable was never decided."""
    check(tmp_path / str(seed), seed)


@pytest.mark.slow
def test_what_was_decided_is_told_whatever_dies(tmp_path: Path) -> None:
    """The same, 150 worlds."""
    for seed in range(100, 250):
        check(tmp_path / str(seed), seed)
