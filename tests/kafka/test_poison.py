"""One bad batch must cost exactly itself: not the records around it, not the partition, not the process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import accumulate
from math import log2
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords

from monitor.adapters.kafka import codecs, poison
from monitor.adapters.kafka.consumer import KafkaLogConsumer
from monitor.adapters.kafka.port import LogProblem, Partition
from tests.kafka import poison_batches
from tests.kafka.broker import Broker
from tests.kafka.poison_batches import CODECS, PASSABLE, Damage, Record, append, batch, bomb, damage, header_bomb

ANYWHERE = Partition("topic", 0)


# ------------------------------------------------------------------------------------------- which offsets: the search
class Layout(NamedTuple):
    """Batches of a partition, the first of which is bad: where each ends, and whether it can be read."""

    ends: Sequence[int]
    good: Sequence[bool]

    @property
    def end(self) -> int:
        return self.ends[-1]

    @property
    def first_end(self) -> int:
        return self.ends[0]

    def readable(self, offset: int) -> bool:
        return next(good for end, good in zip(self.ends, self.good, strict=True) if offset < end)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    lengths = draw(st.lists(st.integers(1, 300), min_size=1, max_size=12))
    good = [False, *(draw(st.booleans()) for _ in lengths[1:])]
    return Layout(list(accumulate(lengths)), good)


@given(st.integers(1, 5_000), st.integers(0, 5_000), st.integers(0, 10**12))
def test_the_end_of_a_bad_run_is_found_in_few_polls(bad: int, good: int, first: int) -> None:
    """Each poll of a bad batch may expand a bomb, and nothing behind it is read meanwhile."""
    asked: list[int] = []

    def readable(offset: int) -> bool:
        asked.append(offset)
        return offset >= first + bad

    assert poison.find_end(first, readable, first + bad + good) == first + bad
    assert all(first < offset < first + bad + good for offset in asked)
    assert len(asked) <= 2 * log2(bad + good) + 2


def test_ten_records_take_eight_polls() -> None:
    """The figure of the design: 1, 2, 4, 8, 16, then 12, 10, 9."""
    asked: list[int] = []

    def readable(offset: int) -> bool:
        asked.append(offset)
        return offset >= 110

    poison.find_end(100, readable, 1_000)
    assert [offset - 100 for offset in asked] == [1, 2, 4, 8, 16, 12, 10, 9]


@given(layouts())
def test_an_honest_header_costs_one_poll_and_no_good_record(layout: Layout) -> None:
    """Several bad batches in a row, with good ones between them: each is skipped alone, in its own turn."""
    asked: list[int] = []

    def readable(offset: int) -> bool:
        asked.append(offset)
        return layout.readable(offset)

    assert poison.find_end(0, readable, layout.end, claimed=layout.first_end) == layout.first_end
    assert len(asked) <= 1


@given(layouts(), st.none() | st.integers(-5, 5_000))
def test_whatever_a_header_claims_the_search_moves_on_and_never_past_the_end(
    layout: Layout, claimed: int | None
) -> None:
    """A damaged header can claim anything. Reading must go on somewhere readable, or at the next thing to try."""
    found = poison.find_end(0, layout.readable, layout.end, claimed)
    assert 0 < found <= layout.end
    assert found in (layout.end, claimed) or layout.readable(found)
    assert not layout.readable(found - 1)


@given(st.integers(1, 500), st.integers(0, 500), st.integers(-5, 1_500))
def test_a_lying_header_costs_no_good_record(bad: int, good: int, claimed: int) -> None:
    """Its claim is too short or too long: the run is skipped whole, in one piece or two, and nothing behind it."""
    at, end = 0, bad + good
    while at < bad:
        at = poison.find_end(at, lambda offset: offset >= bad, end, claimed)
    assert at == bad


def test_three_failures_at_one_position_are_one_too_many() -> None:
    """One may be a fetch that was damaged on its way. A success or another position begins again, for one partition."""
    failures, elsewhere = poison.Failures(), Partition("topic", 1)
    assert [failures.failed(ANYWHERE, 7) for _ in range(2)] == [False, False]
    assert not failures.failed(elsewhere, 7)
    assert failures.failed(ANYWHERE, 7)
    assert [failures.failed(ANYWHERE, 8) for _ in range(3)] == [False, False, True]
    failures.succeeded(ANYWHERE)
    failures.succeeded(elsewhere)
    assert not failures
    assert not failures.failed(ANYWHERE, 8)


def test_nothing_of_a_record_is_told_with_the_exception() -> None:
    """kafka-python quotes the bytes that it could not read, and a traceback shows every exception behind the last."""
    poison.guard_reader()
    poison.guard_reader()
    whole = batch([Record(b"value", headers=[(b"\xffcanary", b"canary")])])
    reader = Fetcher.PartitionRecords(0, ANYWHERE, MemoryRecords(whole))
    with pytest.raises(poison.UnreadableBatch) as caught:
        reader.take(10)
    assert (caught.value.partition, caught.value.offset, caught.value.end) == (ANYWHERE, 0, 1)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert not reader, "the client would ask the ended iterator for ever"


def test_a_control_batch_without_a_record_is_unreadable_and_not_an_unknown_error() -> None:
    """A cleaned log may hold one. kafka-python raises RuntimeError for it, at every poll."""
    poison.guard_reader()
    whole = poison_batches.empty_control_batch()
    reader = Fetcher.PartitionRecords(0, ANYWHERE, MemoryRecords(whole), isolation_level=IsolationLevel.READ_COMMITTED)
    with pytest.raises(poison.UnreadableBatch):
        reader.take(10)


# ------------------------------------------------------------------------------------------------------- a real broker
class Reading(NamedTuple):
    offsets: Mapping[int, Sequence[int]]
    """By partition, in the order in which they came."""
    problems: Sequence[LogProblem]


def _read(broker: Broker, topic: str, partitions: int) -> Reading:
    """All of a topic, as a member of a group."""
    offsets: dict[int, list[int]] = {number: [] for number in range(partitions)}
    problems: list[LogProblem] = []
    with closing(_consumer(broker, topic)) as consumer:
        all_of_them = [Partition(topic, number) for number in offsets]
        ends = consumer.ends(all_of_them)
        deadline = time.monotonic() + 60
        while any((consumer.position(partition) or 0) < ends[partition] for partition in all_of_them):
            assert time.monotonic() < deadline, (offsets, problems)
            for partition, records in consumer.poll(2_000, 0.5).items():
                offsets[partition.number] += [record.offset for record in records]
            problems += consumer.problems()
            for change in consumer.changes():
                consumer.begin(change.partition, 0)
    return Reading(offsets, problems)


def _consumer(broker: Broker, topic: str) -> KafkaLogConsumer:
    return KafkaLogConsumer({"bootstrap_servers": broker.bootstrap}, group=broker.unique("poison"), topics=[topic])


def _records(number: int, size: int = 50) -> list[Record]:
    return [Record(bytes([65 + place % 26]) * size, b"key") for place in range(number)]


def _between_good_ones(broker: Broker, topic: str, partition: int, *poisons: bytes) -> int:
    """Ten good records, the poisons, ten good records; where the last ten begin."""
    append(broker, topic, partition, batch(_records(10)))
    for each in poisons:
        append(broker, topic, partition, each)
    return append(broker, topic, partition, batch(_records(10), "zstd"))


def _skipped(topic: str, partition: int, first: int, end: int) -> LogProblem:
    return LogProblem(Partition(topic, partition), "poison", first, end - first)


def test_what_java_reads_and_python_does_not_is_skipped_exactly(broker: Broker) -> None:
    """These come in through the front door: the broker checked them, by Java's reading."""
    topic = broker.unique("passable")
    broker.create_topic(topic, len(PASSABLE) + 1)
    for partition, spoil in enumerate(PASSABLE.values()):
        assert _between_good_ones(broker, topic, partition, spoil(_records(7))) == 17
    unharmed = len(PASSABLE)
    assert _between_good_ones(broker, topic, unharmed, batch(_records(7), "gzip")) == 17
    reading = _read(broker, topic, unharmed + 1)
    assert sorted(reading.problems) == [_skipped(topic, partition, 10, 17) for partition in range(unharmed)]
    expected = [*range(10), *range(17, 27)]
    assert [reading.offsets[partition] for partition in range(unharmed)] == [expected] * unharmed
    assert reading.offsets[unharmed] == [*range(27)]


def test_bad_batches_in_a_row_and_at_the_end_are_skipped_each(broker: Broker) -> None:
    """Nothing readable may stand behind the last one: the search then ends at the log's end, not never. And a good
    batch between two bad ones is still read.
    """
    topic = broker.unique("row")
    broker.create_topic(topic, 1)
    spoil = PASSABLE["gzip with garbage behind it"]
    for whole in (spoil(_records(3)), spoil(_records(5)), batch(_records(1)), spoil(_records(300)), spoil(_records(1))):
        append(broker, topic, 0, whole)
    reading = _read(broker, topic, 1)
    assert reading.offsets[0] == [8]
    assert reading.problems == [_skipped(topic, 0, *range_) for range_ in [(0, 3), (3, 8), (9, 309), (309, 310)]]


def test_reading_goes_on_behind_poison_that_ended_the_log(broker: Broker) -> None:
    """What is appended later must not be skipped with it."""
    topic = broker.unique("later")
    broker.create_topic(topic, 1)
    partition = Partition(topic, 0)
    append(broker, topic, 0, PASSABLE["lz4 with a wrong content checksum"](_records(4)))
    offsets: list[int] = []
    with closing(_consumer(broker, topic)) as consumer:
        for _ in _until(lambda: consumer.position(partition) == 4):
            consumer.poll(10, 0.2)
            for change in consumer.changes():
                consumer.begin(change.partition, 0)
        append(broker, topic, 0, batch(_records(2)))
        for _ in _until(lambda: consumer.position(partition) == 6):
            offsets += [record.offset for records in consumer.poll(10, 0.2).values() for record in records]
        assert consumer.problems() == [_skipped(topic, 0, 0, 4)]
    assert offsets == [4, 5]


DAMAGES: Sequence[tuple[str, Damage, tuple[int, int]]] = [
    *((codec, poison_batches.bad_crc, (10, 20)) for codec in CODECS),
    *((codec, poison_batches.bad_payload, (10, 20)) for codec in CODECS if codec != "none"),
    *((codec, poison_batches.lying_end, (10, 20)) for codec in ("none", "gzip")),
    ("none", poison_batches.unknown_codec, (10, 20)),
    # The records before the damage are whole, and given.
    ("none", poison_batches.count_too_low, (19, 20)),
    ("zstd", poison_batches.count_too_low, (19, 20)),
    # All were given before the reader missed one: nothing is lost, so nothing may be reported as lost.
    ("none", poison_batches.count_too_high, (10, 10)),
]


def test_batches_that_the_disk_spoiled_are_skipped_exactly(broker: Broker) -> None:
    """Wrong checksums, wrong counts, payloads that do not expand: no producer gets them past a broker, disks do."""
    topic = broker.unique("disk")
    broker.create_topic(topic, len(DAMAGES))
    for partition, (codec, _, _) in enumerate(DAMAGES):
        _between_good_ones(broker, topic, partition, *[batch(_records(10), codec)] * 3)
    damage(broker, topic, {(partition, 10): change for partition, (_, change, _) in enumerate(DAMAGES)})
    reading = _read(broker, topic, len(DAMAGES))
    for partition, (codec, change, (first, end)) in enumerate(DAMAGES):
        named = f"{change.__name__} of {codec}"
        mine = [problem for problem in reading.problems if problem.partition.number == partition]
        assert mine == ([_skipped(topic, partition, first, end)] if first < end else []), named
        assert reading.offsets[partition] == [*range(first), *range(end, 50)], named


# -------------------------------------------------------------------------------------------------------------- memory
MEMORY_BYTES_MAX = 5 * codecs.BATCH_BYTES_MAX
"""Above what an idle consumer takes. A batch just below the limit is held twice while it is expanded, and its only
record once more while the next is: 3. The fetches, and room for allocators: 2. Without the bounds: 310 MiB for each
bomb, 1,030 MiB for the chain, 1,870 MiB for the small ones, 1,160 MiB for the headers."""

_LARGEST = codecs.BATCH_BYTES_MAX - 64

HEAVY: Mapping[str, tuple[Callable[[], Sequence[bytes]], bool]] = {
    "a bomb of gzip": (lambda: [bomb("gzip", 105_000_000)], False),
    "a bomb of snappy": (lambda: [bomb("snappy", 105_000_000)], False),
    "a bomb of snappy in one block": (lambda: [bomb("snappy in one block", 105_000_000)], False),
    "a bomb of lz4": (lambda: [bomb("lz4", 105_000_000)], False),
    "a bomb of zstd": (lambda: [bomb("zstd", 105_000_000)], False),
    "a bomb of headers": (lambda: [header_bomb(5_000_000)], False),
    "a chain just below the limit": (lambda: [bomb("gzip", _LARGEST)] * 12, True),
    "250 messages of 1 MiB in 280 KB": (lambda: [batch([Record(b"a" * (1 << 20))], "gzip")] * 250, True),
    "messages of exactly 1 MiB": (lambda: [batch(_records(1, 1 << 20))] * 10, True),
    "10,000 tiny records": (lambda: [batch(_records(10_000, 1))], True),
    "records with 10,000 headers": (
        lambda: [batch([Record(b"", headers=[(b"name", b"value")] * 10_000)] * 20, "zstd")],
        True,
    ),
}


@pytest.fixture(scope="module")
def heavy_topic(broker: Broker) -> str:
    topic = broker.unique("heavy")
    broker.create_topic(topic, len(HEAVY), {"max.message.bytes": 8 << 20})
    return topic


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("name", HEAVY)
def test_no_batch_takes_more_memory_than_planned(broker: Broker, heavy_topic: str, name: str) -> None:
    """T9. A process that the kernel kills reads the same batch again when it is started again. What can be read within
    the bounds is read, however strange.
    """
    partition = [*HEAVY].index(name)
    make, good = HEAVY[name]
    heavy = make()
    end = _between_good_ones(broker, heavy_topic, partition, *heavy) + 10
    done = subprocess.run(
        [sys.executable, "-m", "tests.kafka.bounded_reading", broker.bootstrap, heavy_topic, str(partition)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    assert answer["peak"] - answer["before"] < MEMORY_BYTES_MAX
    skipped = 0 if good else end - 20
    assert answer["records"] == end - skipped
    assert answer["problems"] == ([] if good else [["poison", 10, skipped]])


def _until(done: Callable[[], bool]) -> Iterator[None]:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        yield
