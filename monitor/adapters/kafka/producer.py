"""Decides how records are appended with kafka-python so that a failure leaves no hole: in order, or all once more.

An idempotent producer of kafka-python that loses a batch may go on with those behind it (a new epoch: KIP-360). Its
readers tell what they have by position, and would take the lost batch, sent again later, for one they have seen. So the
first failure stops the producer where it fails, in its own thread; `flush` tells, and the next `send` makes a new one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from kafka import KafkaProducer, errors
from kafka.record.default_records import DefaultRecordBatchBuilder

from monitor.adapters.kafka.inquiries import Inquiries
from monitor.adapters.kafka.opening import opened
from monitor.adapters.kafka.port import LogRefused, LogUnreachable, RecordRefused
from monitor.adapters.kafka.verdicts import refusal, unreachable

WRITING: Mapping[str, object] = MappingProxyType(
    {
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": 50,
        "batch_size": 262_144,
        "compression_type": "lz4",
        # 23 days: a batch that expires by itself is a hole. `flush` decides when to give up.
        "delivery_timeout_ms": 2_000_000_000,
        "request_timeout_ms": 10_000,
        "reconnect_backoff_max_ms": 1_000,
        "metadata_max_age_ms": 30_000,
        "allow_auto_create_topics": False,
        # Sizes are checked against the topic's own limit; this one is only in the way.
        "max_request_size": 32 * 1024 * 1024,
        "metrics_enabled": False,
    }
)
"""What makes writing safe and cheap: 262,144-byte batches take 0.6 of the CPU of the default's 16,384."""

_STEP_SECONDS = 0.05
"""kafka-python's flush waits for each batch up to its timeout, not for all: so it is called in steps, and ends at most
this late for each partition written to."""

_STOP_SECONDS = 2.0
"""How long the producer's thread gets to end; one that waits for a broker ends by itself when that wait is over."""

_FRAME_BYTES_MAX = 128
"""Bytes of a batch's header (61) and of a record's own (at most 21, and one varint for the number of headers)."""

_HEADER_BYTES_MAX = 10
"""Bytes of the two lengths of a header."""


class KafkaLogProducer:
    """`LogProducer` by kafka-python; connects when first needed."""

    def __init__(
        self, options: Mapping[str, object], *, client_id: str | None = None, ask_seconds: float = 5.0
    ) -> None:
        """`options`: how to connect (`connection`); they win over WRITING. `ask_seconds`: the longest wait for an
        answer but that of `flush`, which is told how long.
        """
        ask_ms = round(ask_seconds * 1000)
        merged = {**WRITING, "bootstrap_timeout_ms": ask_ms, "max_block_ms": ask_ms, **options}
        if client_id is not None:
            merged["client_id"] = client_id
        self._options = {key: value for key, value in merged.items() if key in KafkaProducer.DEFAULT_CONFIG}
        self._inquiries = Inquiries(merged, ask_seconds=ask_seconds)
        self._ask_seconds = ask_seconds
        self._life: _Life | None = None
        self._bytes_max: dict[str, int] = {}

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        bytes_max = self._bytes_max.get(topic) or self._learn_bytes_max(topic)
        if _size_rough(key, value, headers) > bytes_max:
            size = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers)
            if size > bytes_max:
                raise RecordRefused(f"{topic} takes batches of at most {bytes_max} bytes, and one record has {size}")
        try:
            if self._life is None:
                self._life = _Life(self._options)
            self._life.send(topic, partition, key, value, headers)
        except (errors.KafkaError, ValueError) as error:  # ValueError: a partition that it does not know, or not yet
            raise self._let_go(f"{topic}-{partition}", error) from None

    def flush(self, wait_seconds: float) -> None:
        if self._life is None:
            return
        try:
            self._life.flush(time.monotonic() + wait_seconds)
        except errors.KafkaError as error:
            raise self._let_go(", ".join(self._bytes_max), error) from None

    def partitions(self, topic: str) -> int:
        return self._inquiries.facts(topic).partitions

    def close(self) -> None:
        if self._life is not None:
            self._life.stop()
            self._life = None
        self._inquiries.close()

    # ---------------------------------------------------------------------------------------------------------- private
    def _learn_bytes_max(self, topic: str) -> int:
        bytes_max = min(self._inquiries.batch_bytes_max(topic), _number(self._options["max_request_size"]))
        self._bytes_max[topic] = bytes_max
        if bytes_max < _number(self._options["batch_size"]):
            # The producer we have makes batches that this topic refuses.
            self.flush(self._ask_seconds)
            if self._life is not None:
                self._life.stop()
                self._life = None
            self._options["batch_size"] = bytes_max
        return bytes_max

    def _let_go(self, topics: str, error: Exception) -> LogUnreachable | LogRefused:
        """Drop the producer and all it has; say why."""
        failure: BaseException = error
        if self._life is not None:
            failure = self._life.failure or error
            self._life.stop()
            self._life = None
        self._bytes_max.clear()  # a limit may have been lowered, which refused a batch
        return refusal(failure, topics) or unreachable(
            f"appending to {topics}", self._options["bootstrap_servers"], failure
        )


class _Life:
    """One KafkaProducer, until its first failure."""

    def __init__(self, options: Mapping[str, object]) -> None:
        self.failure: BaseException | None = None
        self._waiting = False
        self._kafka: KafkaProducer = opened(KafkaProducer, options)

    def send(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        self._waiting = True
        self._kafka.send(topic, value, key, list(headers), partition).add_errback(self._failed)

    def flush(self, deadline: float) -> None:
        while self._waiting:
            left = deadline - time.monotonic()
            try:
                self._kafka.flush(timeout=max(0.0, min(left, _STEP_SECONDS)))
            except errors.KafkaTimeoutError:
                if left > 0.0 and self.failure is None:
                    continue
                raise
            if self.failure is not None:
                raise errors.KafkaError("a batch was refused")
            self._waiting = False

    def stop(self) -> None:
        """Let go at once of what was not flushed."""
        self._kafka._sender.force_close()
        self._kafka._sender.join(_STOP_SECONDS)
        with suppress(errors.KafkaError):
            self._kafka.close(timeout=0)

    def _failed(self, error: BaseException) -> None:
        """On the producer's own thread, before it takes the next batch."""
        if self.failure is None:
            self.failure = error
            self._kafka._sender.force_close()


def _size_rough(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> int:
    """At least the size of a batch of this record alone, found faster than exactly."""
    size = len(value or b"") + len(key or b"") + _FRAME_BYTES_MAX
    for name, content in headers:
        size += 4 * len(name) + len(content) + _HEADER_BYTES_MAX
    return size


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value
