"""Decides what a log is to the agent: partitions read in order from where the state says, and durable appending.

One contract suite (tests/kafka/log_contract.py) holds three implementations to it: by kafka-python (`consumer` and
`producer`), by confluent-kafka (`fast`), and in memory for tests. What a broker or a network does is never an exception
from `poll`: it is an empty answer, and shows in `reachable_at`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    """One partition of one topic; prints as `transcripts-3`, which is also its name in metrics, logs and state."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.number}"


class LogRecord(Protocol):
    """One record; kafka-python's ConsumerRecord as it comes, so that nothing is copied on the hot path."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Change(NamedTuple):
    """A partition came or went. One that was lost (session timed out) has a new owner already."""

    partition: Partition
    assigned: bool
    lost: bool = False


class LogProblem(NamedTuple):
    """Something about a partition that must not pass in silence, though reading goes on.

    retention   the log was deleted up to `position + lost` before it was read: exactly `lost` offsets are gone
    poison      [position, position + lost) cannot be decoded (bad CRC, bad compression, a bomb) and was skipped
    """

    partition: Partition
    problem: str
    position: int
    lost: int


class TopicFacts(NamedTuple):
    """What a topic is: `topic_id` (32 hex digits) changes when it is deleted and created again."""

    topic_id: str
    partitions: int


class LogUnreachable(Exception):
    """No broker answered in time. Try again: nothing was decided. Names addresses and what to check, never a secret."""


class LogRefused(Exception):
    """The cluster answered and said no (credentials, TLS, authorization, unknown topic, truncated or re-created
    partition, fenced member): trying again does not help. Exit code 4.
    """


class RecordRefused(Exception):
    """This one record can never be appended (too large); others can. Names topic and size, never content."""


class LogConsumer(Protocol):
    """A member of a consumer group. One thread owns it."""

    def poll(self, records_max: int, wait_seconds: float) -> Mapping[Partition, Sequence[LogRecord]]:
        """What is there now, at most about `records_max`, waiting at most `wait_seconds`; in offset order.

        Of a newly assigned partition nothing comes before `begin` was called for it; of one that went, nothing comes
        any more. Returns as soon as there are records or changes; later than asked only while it joins the group (at
        most 3 s). Never raises for what brokers and networks do. LogRefused when trying again cannot help: a member
        fenced by another of the same name, a partition truncated below our position, authorization withdrawn.
        """

    def changes(self) -> list[Change]:
        """Partitions that came and went since the last call, in order. Ask after every poll, before its records are
        used: a partition that came, and whose state is opened, must be begun.
        """

    def begin(self, partition: Partition, offset: int | None) -> None:
        """Read this assigned partition from `offset` on, or from its first record (None); also resumes it."""

    def hold(self, partitions: Sequence[Partition]) -> None:
        """Give nothing of these partitions for now; heartbeats go on. It lasts until `go_on`, `begin`, or the partition
        goes. Partitions not assigned, or not begun, are ignored.
        """

    def go_on(self, partitions: Sequence[Partition]) -> None:
        """End `hold`; goes on at the position where it was."""

    def commit(self, positions: Mapping[Partition, int]) -> bool:
        """Tell the group how far each partition was made durable: next offset to read. A floor for others and a lag
        signal, never what we restart from. False if it could not be done now (rebalance, broker away): try again later
        with newer positions. Partitions no longer assigned are left out. LogRefused if this member was fenced.
        """

    def committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The group's floor of each partition that has one. LogUnreachable."""

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The offset after the last readable (stable) record of each. LogUnreachable."""

    def beginnings(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The first offset that is still there, of each. LogUnreachable."""

    def position(self, partition: Partition) -> int | None:
        """Offset of the next record to come, beyond markers of transactions that no record shows; None if not begun."""

    def facts(self, topic: str) -> TopicFacts:
        """LogUnreachable; LogRefused if there is no such topic."""

    def problems(self) -> list[LogProblem]:
        """What went wrong since the last call."""

    @property
    def reachable_at(self) -> float | None:
        """Monotonic time of the last answer from a broker; None before the first."""

    def close(self) -> None:
        """Leave the group at once, without committing."""


class LogProducer(Protocol):
    """Appends records in order. Within one partition, nothing that was sent later is ever appended without what was
    sent before it, also over failures: consumers drop what they have seen by comparing positions.
    """

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue one record (None: a tombstone). RecordRefused at once if it is larger than the topic takes; that
        touches no other record. LogUnreachable and LogRefused as `flush`: all since the last flush is unknown.
        """

    def flush(self, wait_seconds: float) -> None:
        """Return once everything sent is acknowledged by all in-sync replicas.

        LogUnreachable if that was not so in time: everything sent since the last successful flush is then *unknown*,
        the producer has let go of it, and the caller sends all of it again, in the same order. LogRefused likewise, if
        sending again cannot help.
        """

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has. LogUnreachable; LogRefused if there is no such topic."""

    def close(self) -> None:
        """Let go of connections; what was not flushed is dropped."""
