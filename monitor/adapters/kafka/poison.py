"""Decides which offsets of a partition cannot be read: where a bad batch begins, where it ends, when to give it up.

A batch with a bad CRC, bad compression, a bomb in it or a broken record fails the same way at every poll, and every
record behind it waits. So three failures at one position are enough: the batch is skipped, and its exact offsets are
reported. Nothing readable is ever skipped by a batch whose header is intact, and what is skipped is always counted.

`guard_reader` makes kafka-python say which partition and which offset could not be read (its own exceptions mostly do
not), and lets it go on: without the guard, the next `poll` after such an exception spins for ever on a dead iterator.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, InvalidRecordError, KafkaError

from monitor.adapters.kafka.allowance import TooManyHeaders
from monitor.adapters.kafka.codecs import BatchRefused
from monitor.adapters.kafka.port import Partition

FAILURES_MAX = 3
"""Failures at one position before it is given up. One or two may be a fetch that was damaged on the way (TLS and TCP
make that rare, not impossible): 1 would throw away readable records for it; 6 would have a bomb expanded three more
times before it is skipped (0.1 s each; other bad batches fail within 10 ms)."""


class UnreadableBatch(Exception):
    """Reading `partition` stopped at `offset`; the records before it were given. `end` is the offset after the batch as
    the batch itself and its successor say (None: they say nothing that can be believed). Names no content.
    """

    def __init__(self, partition: Partition, offset: int, end: int | None, cause: str) -> None:
        super().__init__(f"{partition} cannot be read at offset {offset}: {cause}")
        self.partition = partition
        self.offset = offset
        self.end = end
        self.cause = cause


UNDECODABLE: tuple[type[Exception], ...] = (UnreadableBatch,)
"""What `poll` raises for a batch that cannot be read, once `guard_reader` was called."""


class _Attempt(NamedTuple):
    offset: int
    failures: int


class Failures:
    """Counts failures at one position, per partition; a success or another position begins again."""

    def __init__(self, failures_max: int = FAILURES_MAX) -> None:
        self._failures_max = failures_max
        self._attempts: dict[Partition, _Attempt] = {}

    def failed(self, partition: Partition, offset: int) -> bool:
        """Reading stopped at `offset`; True if that was once too often and the batch is to be given up now."""
        before = self._attempts.get(partition)
        failures = before.failures + 1 if before is not None and before.offset == offset else 1
        self._attempts[partition] = _Attempt(offset, failures)
        return failures >= self._failures_max

    def succeeded(self, partition: Partition) -> None:
        """Records came, the partition went away, or its batch was skipped."""
        self._attempts.pop(partition, None)

    def __bool__(self) -> bool:
        """Whether any partition is failing: lets the hot path ask once a poll."""
        return bool(self._attempts)


def find_end(first: int, readable: Callable[[int], bool], end: int, claimed: int | None = None) -> int:
    """The first offset after `first`, which cannot be read, at which reading works again; `end` if there is none.

    first      where reading failed
    readable   does a poll from this offset on work? Called at most about 2 log2(end - first) times, never outside
               (first, end)
    end        the offset after the last record (`LogConsumer.ends`)
    claimed    where the batch ends as it says itself (`UnreadableBatch.end`). It saves polls, and it keeps a good batch
               between two bad ones, which doubling steps can leap over; it is checked, not believed, since a damaged
               header can name any offset.

    >>> find_end(100, lambda offset: offset >= 110, end=1000)
    110
    >>> find_end(100, lambda offset: False, end=1000)
    1000
    """
    bad = first
    if claimed is not None and first < claimed <= end:
        if claimed == first + 1 or not readable(claimed - 1):
            # So it is if the header is honest, whatever follows: a bad successor is left for its own turn.
            return claimed
        return _bisect(bad, claimed - 1, readable)
    step = 1
    while first + step < end:
        if readable(first + step):
            return _bisect(bad, first + step, readable)
        bad = first + step
        step *= 2
    # Nothing was readable at the steps; the last one may have fallen short of `end` by almost half of the way.
    if bad + 1 < end and readable(end - 1):
        return _bisect(bad, end - 1, readable)
    return end


def _bisect(bad: int, good: int, readable: Callable[[int], bool]) -> int:
    """The boundary in (bad, good], where `bad` is known to fail and `good` to work."""
    while good - bad > 1:
        middle = (bad + good) // 2
        if readable(middle):
            good = middle
        else:
            bad = middle
    return good


# ------------------------------------------------------------------------------------------------ kafka-python's reader
def guard_reader() -> None:
    """Make kafka-python's `poll` raise UnreadableBatch for what it cannot read, and nothing else for it; after that the
    next `poll` tries the same position again, and other partitions go on. Calling it again changes nothing.
    """
    Fetcher.PartitionRecords._unpack_records = _unpack_guarded
    Fetcher._parse_fetched_data = _parse_guarded


_DAMAGE = (
    KafkaError,
    BatchRefused,
    TooManyHeaders,
    # Damaged lengths and counts, met by the client's indexing, unpacking and converting.
    struct.error,
    ValueError,
    LookupError,
    ArithmeticError,
    TypeError,
    # A control batch without a record in it, as a cleaned log may hold.
    RuntimeError,
)


class _Batch(Protocol):
    base_offset: int
    next_offset: int


class _Batches(Protocol):
    def next_batch(self) -> _Batch | None: ...


class _Reader(Protocol):
    """The part of kafka-python's PartitionRecords that is used here."""

    next_fetch_offset: int

    def drain(self) -> None: ...


class _Fetched(Protocol):
    topic_partition: tuple[str, int]
    fetched_offset: int


class _Watched:
    """The batches of one fetch, one by one, remembering which is being read."""

    def __init__(self, batches: _Batches) -> None:
        self._batches = batches
        self.current: _Batch | None = None

    def next_batch(self) -> _Batch | None:
        self.current = None
        self.current = self._batches.next_batch()
        return self.current

    def end(self) -> int | None:
        """Where the batch being read ends as its header says, or where the next one begins if that is sooner."""
        if self.current is None:
            return None
        claimed = self.current.next_offset
        try:
            successor = self._batches.next_batch()
        except (CorruptRecordError, struct.error):
            return claimed
        return claimed if successor is None else min(claimed, successor.base_offset)


_unpack = Fetcher.PartitionRecords._unpack_records
_parse = Fetcher._parse_fetched_data


def _unpack_guarded(
    reader: _Reader, partition: tuple[str, int], batches: _Batches, *deserializers: object
) -> Iterator[object]:
    watched = _Watched(batches)
    try:
        yield from _unpack(reader, partition, watched, *deserializers)
        return
    except _DAMAGE as error:
        cause = _told(error)
    # A generator that raised has ended, and the client would ask it for ever: let go of it.
    reader.drain()
    # Raised out here, so that the original, which may quote a record, is not in its context.
    raise UnreadableBatch(Partition(*partition), reader.next_fetch_offset, watched.end(), cause)


def _parse_guarded(fetcher: object, fetched: _Fetched) -> object:
    try:
        parsed: object = _parse(fetcher, fetched)
        return parsed
    except (CorruptRecordError, InvalidRecordError) as error:
        cause = _told(error)
    # The broker itself says that its log is damaged there. Its other errors may pass, and are not for us to judge.
    raise UnreadableBatch(Partition(*fetched.topic_partition), fetched.fetched_offset, None, cause)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, (BatchRefused, TooManyHeaders)) else type(error).__name__
