"""Decides whether librdkafka can read a partition from a given offset on, without the group noticing that it was tried.

librdkafka names a batch that it cannot decode, but says nothing of records that are damaged under a right CRC: it asks
for them again and again. So silence counts as failure once it has asked often enough and its position has not moved.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from monitor.adapters.kafka import fast
from monitor.adapters.kafka.port import Partition

_LOOK_MS = 100
"""Between two looks at librdkafka's own counters."""

_FETCHES = 4
"""How many fetches may bring nothing. One may have been under way for another offset, and one that is sent is not yet
answered: so two answers at least were silent."""

_WAIT_SECONDS = 10.0
"""After this long without an answer the broker is given up on, and the search with it."""

PROBING: fast.Options = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "check.crcs": True,
    "fetch.wait.max.ms": _LOOK_MS,
    "fetch.error.backoff.ms": _LOOK_MS,
    "queued.min.messages": 1,
    "statistics.interval.ms": _LOOK_MS,
    "group.id": "wervane-probe",  # librdkafka wants one; it is never joined, and nothing is committed
}


class _PartitionCounters(msgspec.Struct):
    next_offset: int = -1


class _TopicCounters(msgspec.Struct):
    partitions: dict[str, _PartitionCounters] = {}


class _BrokerCounters(msgspec.Struct):
    req: dict[str, int] = {}


class _Counters(msgspec.Struct):
    """The part of librdkafka's statistics that is used here."""

    brokers: dict[str, _BrokerCounters] = {}
    topics: dict[str, _TopicCounters] = {}


class FastProbe:
    """A consumer outside any group, for the search of a bad batch's end. Answers or raises LogUnreachable."""

    def __init__(self, options: fast.Options, partition: Partition, *, bad_from: int) -> None:
        """`bad_from`: where the bad batch begins, as far as we know."""
        self._options = {**options, **PROBING}
        self._partition = partition
        self._bad_from = bad_from
        self._counters = _Counters()
        try:
            self._kafka = Consumer(fast.silent(self._options, stats_cb=self._count), logger=fast.nobody())
        except KafkaException as failure:
            raise fast.unfit(self._options, failure) from None

    def readable(self, offset: int) -> bool:
        """Whether anything but this bad batch comes of it: records, a step over what is not for us (aborted, control),
        the partition's end, or another bad batch, which is left for its own turn.
        """
        deadline = time.monotonic() + _WAIT_SECONDS
        fetches = self._fetches()
        self._kafka.assign([TopicPartition(*self._partition, offset)])
        while True:
            for message in self._kafka.consume(1, _LOOK_MS / 1000):
                error = message.error()
                if error is None or error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
                    return True  # also if it was deleted meanwhile: the reader will find and report that by itself
                if error.code() in fast.UNDECODABLE:
                    return (message.offset() or 0) > self._bad_from
                fetches = self._fetches()  # the broker said why it has nothing: that is not silence, and may pass
            if self._fetches() >= fetches + _FETCHES:
                return self._next_offset() > offset
            if time.monotonic() >= deadline:
                raise fast.unreachable(f"searching a bad batch of {self._partition}", self._options)

    def close(self) -> None:
        fast.close(self._kafka, _WAIT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------------------------- private
    def _count(self, statistics: str) -> None:
        self._counters = msgspec.json.decode(statistics, type=_Counters)

    def _fetches(self) -> int:
        return sum(broker.req.get("Fetch", 0) for broker in self._counters.brokers.values())

    def _next_offset(self) -> int:
        topic = self._counters.topics.get(self._partition.topic, _TopicCounters())
        return topic.partitions.get(str(self._partition.number), _PartitionCounters()).next_offset
