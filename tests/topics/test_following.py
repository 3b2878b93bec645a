"""Following: a partition is current once what was there one look ago has been read; lag is what is left of that."""

from __future__ import annotations

import pytest

from monitor.adapters.kafka.port import Partition
from monitor.topics.following import LOOK_SECONDS, Followed
from tests.kafka.memory import MemoryBroker, MemoryConsumer
from tests.topics.cluster import Clock

BUSY, QUIET = Partition("busy", 0), Partition("quiet", 0)


class Following:
    """A member with two partitions of two topics, and what it follows."""

    def __init__(self, records: int = 0) -> None:
        self.clock = Clock(0.0)
        self.broker = MemoryBroker()
        for topic in ("busy", "quiet"):
            self.broker.create_topic(topic)
        self.append(records)
        self.consumer: MemoryConsumer = self.broker.consumer("group", ["busy", "quiet"])
        self.consumer.poll(1, 0.0)
        self.consumer.changes()
        self.followed = Followed(self.consumer, self.clock.monotonic)
        for partition in (BUSY, QUIET):
            self.consumer.begin(partition, None)
            self.followed.start(partition, None)

    def append(self, records: int) -> None:
        for _ in range(records):
            self.broker.append("busy", 0, None, b"x")

    def read(self, records_max: int = 1000) -> dict[Partition, int]:
        """How many records came of each."""
        polled = self.consumer.poll(records_max, 0.0)
        for partition, records in polled.items():
            self.followed.read(partition, records[-1].offset + 1)
        return {partition: len(records) for partition, records in polled.items()}

    def look(self) -> tuple[bool, bool]:
        """Whether each is current after the next look."""
        self.clock.go_on(LOOK_SECONDS)
        assert self.followed.look()
        return self.followed.current(BUSY), self.followed.current(QUIET)


def test_ends_are_looked_at_now_and_then() -> None:
    """A request to the broker for every poll would cost more than the records."""
    following = Following()
    looked = []
    for _ in range(9):
        looked.append(following.followed.look())
        following.clock.go_on(1.0)
    assert looked == [True, False, False] * 3


def test_current_is_who_has_read_what_was_there_one_look_ago() -> None:
    """At the first look nobody is: that there is nothing now says nothing of what was on its way."""
    following = Following(records=10)
    assert following.look() == (False, False)
    following.read(6)
    assert following.look() == (False, True)
    following.read()
    following.append(5)
    assert following.look() == (True, True), "the five came since"
    assert following.look() == (False, True)
    following.read()
    assert following.look() == (True, True)


def test_offsets_without_records_do_not_keep_it_from_the_end() -> None:
    """Markers of transactions and compacted records have offsets, and no record ever comes for them."""
    following = Following(records=3)
    following.broker.skip_offsets("busy", 0, 4)
    following.look()
    assert (following.read(), following.read()) == ({BUSY: 3}, {})
    assert following.look() == (True, True)
    assert following.followed.lag == {"busy": 0, "quiet": 0}


def test_lag_is_what_was_there_at_the_last_look_and_is_not_read() -> None:
    """What an operator compares with the broker's own figure."""
    following = Following(records=10)
    following.look()
    following.read(4)
    assert following.followed.lag == {"busy": 6, "quiet": 0}
    following.append(7)
    assert following.followed.lag == {"busy": 6, "quiet": 0}
    following.look()
    assert following.followed.lag == {"busy": 13, "quiet": 0}


def test_with_no_broker_in_reach_nobody_is_at_any_end() -> None:
    """Nobody knows what is there now: to go on would let event time run over it."""
    following = Following()
    following.look()
    assert following.look() == (True, True)
    following.broker.stop()
    assert following.look() == (False, False) and not following.followed.reachable
    following.broker.start()
    assert following.look() == (True, True) and following.followed.reachable


def test_a_partition_that_comes_back_is_not_current_by_what_was_known_of_it() -> None:
    """Meanwhile somebody else read it, and more has come."""
    following = Following(records=2)
    following.read()
    following.look()
    assert following.look() == (True, True)
    following.followed.stop(BUSY)
    assert following.look() == (False, True) and following.followed.lag == {"quiet": 0}
    following.followed.start(BUSY, 0)
    assert not following.followed.current(BUSY)
    assert following.look() == (False, True)


@pytest.mark.parametrize("again", [False, True], ids=["let go", "assigned again"])
def test_held_partitions_give_nothing_until_they_are_let_go_of(again: bool) -> None:
    """Also one that left and came back meanwhile, which nobody holds any more."""
    following = Following(records=9)
    following.followed.hold({BUSY})
    assert following.read() == {}
    if again:
        following.consumer.begin(BUSY, 0)
        following.followed.start(BUSY, 0)
        assert following.read(4) == {BUSY: 4}
        following.followed.hold({BUSY})
        assert following.read() == {}, "and can be held again"
    following.followed.hold(set())
    assert following.read() == {BUSY: 5 if again else 9}


def test_after_an_outage_current_is_said_of_the_last_answer_before_it() -> None:
    """Nobody knows what was written meanwhile: to vouch for the time of the last look would be too much."""
    following = Following()
    following.look()
    following.broker.stop()
    for _ in range(3):
        assert following.look() == (False, False)
    following.broker.start()
    assert following.look() == (True, True)
    assert following.followed.age_seconds == 4 * LOOK_SECONDS
    following.look()
    assert following.followed.age_seconds == LOOK_SECONDS
