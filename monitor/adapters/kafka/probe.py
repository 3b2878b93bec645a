"""Decides whether a partition can be read from a given offset on, without the group noticing that it was tried."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from kafka import KafkaConsumer, TopicPartition, errors

from monitor.adapters.kafka import poison
from monitor.adapters.kafka.opening import opened
from monitor.adapters.kafka.port import Partition
from monitor.adapters.kafka.verdicts import unreachable


class Probe:
    """A consumer outside any group, for the search of a bad batch's end. Answers or raises LogUnreachable."""

    def __init__(self, options: Mapping[str, object], partition: Partition, *, wait_ms: int) -> None:
        self._servers = options.get("bootstrap_servers")
        self._wait_ms = wait_ms
        self._partition = TopicPartition(*partition)
        try:
            self._kafka: KafkaConsumer = opened(
                KafkaConsumer, {**options, "group_id": None, "bootstrap_timeout_ms": wait_ms}
            )
        except errors.KafkaError as error:
            raise unreachable(f"searching a bad batch of {partition}", self._servers, error) from None
        self._kafka.assign([self._partition])

    def readable(self, offset: int) -> bool:
        """Whether anything comes of it: records, or a step over records that are not for us (aborted, control)."""
        deadline = time.monotonic() + self._wait_ms / 1000
        self._kafka.seek(self._partition, offset)
        while True:
            try:
                if self._kafka.poll(timeout_ms=100, max_records=1):
                    return True
                if self._kafka.position(self._partition, timeout_ms=self._wait_ms) != offset:
                    return True
            except poison.UNDECODABLE:
                return False
            except errors.OffsetOutOfRangeError:
                return True  # deleted meanwhile: the reader will find and report that by itself
            except errors.KafkaError as error:
                raise unreachable(f"searching a bad batch of {self._partition}", self._servers, error) from None
            if time.monotonic() >= deadline:
                raise unreachable(f"searching a bad batch of {self._partition}", self._servers)

    def close(self) -> None:
        self._kafka.close(autocommit=False, timeout_ms=self._wait_ms)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
