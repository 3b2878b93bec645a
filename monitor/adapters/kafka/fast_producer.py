"""Decides how records are appended with confluent-kafka so that a failure leaves no hole: in order, or all once more.

librdkafka's idempotent producer goes on behind a batch that was refused, unless `enable.gapless.guarantee` is set: then
the first failure stops the producer for good. `flush` tells, and the next `send` makes a new one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import MappingProxyType

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from kafka.record.default_records import DefaultRecordBatchBuilder

from monitor.adapters.kafka import fast
from monitor.adapters.kafka.fast_inquiries import FastInquiries
from monitor.adapters.kafka.port import LogRefused, LogUnreachable, RecordRefused

WRITING: fast.Options = MappingProxyType(
    {
        "acks": "all",
        "enable.idempotence": True,
        "enable.gapless.guarantee": True,
        "linger.ms": 50,
        "batch.size": 262_144,
        "compression.type": "lz4",
        # Never: a batch that expires by itself is a hole. `flush` decides when to give up.
        "message.timeout.ms": 0,
        # What is sent is bounded by whoever flushes.
        "queue.buffering.max.messages": 0,
        "queue.buffering.max.kbytes": 2_147_483_647,
        "delivery.report.only.error": True,
        "socket.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 1_000,
        "topic.metadata.refresh.interval.ms": 30_000,
        # Sizes are checked against the topic's own limit; this one is only in the way.
        "message.max.bytes": 32 * 1024 * 1024,
    }
)
"""What makes writing safe and cheap."""

_STEP_SECONDS = 0.1
"""`flush` is called in steps: after a failure that is fatal it goes on to the end of its time."""

_FRAME_BYTES_MAX = 128
"""Bytes of a batch's header (61) and of a record's own (at most 21, and one varint for the number of headers)."""


class FastLogProducer:
    """`LogProducer` by confluent-kafka; connects when first needed."""

    def __init__(self, options: fast.Options, *, client_id: str | None = None, ask_seconds: float = 5.0) -> None:
        """`options`: how to connect (`connection`); they win over WRITING. `ask_seconds`: the longest wait for an
        answer but that of `flush`, which is told how long.
        """
        named = {} if client_id is None else {"client.id": client_id}
        self._options = {**WRITING, **options, **named}
        self._inquiries = FastInquiries({**options, **named}, ask_seconds=ask_seconds)
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
        if headers or len(value or b"") + len(key or b"") + _FRAME_BYTES_MAX > bytes_max:
            size = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers)
            if size > bytes_max:
                raise RecordRefused(f"{topic} takes batches of at most {bytes_max} bytes, and one record has {size}")
        if self._life is None:
            self._life = self._new_life()
        try:
            self._life.send(topic, partition, key, value, headers)
        except KafkaException as failure:
            raise self._let_go(fast.reason(failure)) from None

    def flush(self, wait_seconds: float) -> None:
        if self._life is None:
            return
        try:
            self._life.flush(time.monotonic() + wait_seconds)
        except KafkaException as failure:
            raise self._let_go(fast.reason(failure)) from None

    def partitions(self, topic: str) -> int:
        return self._inquiries.facts(topic).partitions

    def close(self) -> None:
        if self._life is not None:
            self._life.stop()
            self._life = None
        self._inquiries.close()

    # ---------------------------------------------------------------------------------------------------------- private
    def _learn_bytes_max(self, topic: str) -> int:
        limit, batch = self._options["message.max.bytes"], self._options["batch.size"]
        assert isinstance(limit, int)
        assert isinstance(batch, int)
        bytes_max = min(self._inquiries.batch_bytes_max(topic), limit)
        self._bytes_max[topic] = bytes_max
        if bytes_max < batch:
            # The producer we have makes batches that this topic refuses.
            self.flush(self._ask_seconds)
            if self._life is not None:
                self._life.stop()
                self._life = None
            self._options["batch.size"] = bytes_max
        return bytes_max

    def _new_life(self) -> _Life:
        try:
            return _Life(self._options)
        except KafkaException as failure:
            raise fast.unfit(self._options, failure) from None

    def _let_go(self, error: KafkaError) -> LogUnreachable | LogRefused:
        """Drop the producer and all it has; say why."""
        topics = ", ".join(self._bytes_max)
        if self._life is not None:
            error = self._life.failure or error
            self._life.stop()
            self._life = None
        self._bytes_max.clear()  # a limit may have been lowered, which refused a batch
        return fast.refusal(error, topics) or fast.unreachable(f"appending to {topics}", self._options, error)


class _Life:
    """One Producer, until its first failure."""

    def __init__(self, options: fast.Options) -> None:
        self._failed: KafkaError | None = None
        self._denied: KafkaError | None = None
        self._waiting = False
        told = fast.silent(options, error_cb=self._told, on_delivery=self._not_delivered)
        self._kafka = Producer(told, logger=fast.nobody())

    @property
    def failure(self) -> KafkaError | None:
        """What refused the first batch that was refused; or why no broker lets us in."""
        return self._failed or self._denied

    def send(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        self._waiting = True
        try:
            self._kafka.produce(topic, value, key, partition, headers=list(headers))
        except KafkaException:
            self._serve(0.0)  # tells why
            raise

    def flush(self, deadline: float) -> None:
        while self._waiting:
            left = deadline - time.monotonic()
            outstanding = self._serve(max(0.0, min(left, _STEP_SECONDS)))
            if self._failed is not None or (outstanding and left <= 0.0):
                raise KafkaException(self.failure or KafkaError(KafkaError._TIMED_OUT))
            self._waiting = outstanding > 0
        self._denied = None

    def stop(self) -> None:
        """Let go at once of what was not flushed."""
        self._kafka.purge(blocking=False)

    def _serve(self, seconds: float) -> int:
        """How much is not acknowledged yet."""
        try:
            return self._kafka.flush(seconds)
        except (KafkaException, SystemError) as failure:
            # An error that is fatal is raised here instead of told to `error_cb`. In confluent-kafka 2.16 the callbacks
            # that come after it then run with an exception set, which Python tells as SystemError.
            self._failed = self._failed or _root(failure)
            return len(self._kafka)

    # ------------------------------------------------------------------------------ called by librdkafka, inside flush
    def _not_delivered(self, error: KafkaError | None, _: Message) -> None:
        if self._failed is None:
            self._failed = error

    def _told(self, error: KafkaError) -> None:
        if fast.refusal(error, "") is not None:
            self._denied = error


def _root(failure: BaseException | None) -> KafkaError:
    """What an exception, or those that it came from, are about."""
    while failure is not None and not isinstance(failure, KafkaException):
        failure = failure.__cause__ or failure.__context__
    return KafkaError(KafkaError._FATAL) if failure is None else fast.reason(failure)
