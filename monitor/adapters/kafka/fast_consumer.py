"""Decides how a member of a consumer group reads with confluent-kafka: how much at once, and who is told what.

librdkafka joins, fetches and sends heartbeats on threads of its own; everything it has to say (records, errors, what
came and went, answers to commits) it says on our thread, inside `consume`.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from monitor.adapters.kafka import fast
from monitor.adapters.kafka.allowance import BYTES_A_RECORD
from monitor.adapters.kafka.fast_inquiries import FastInquiries
from monitor.adapters.kafka.fast_partitions import FIRST, Partitions
from monitor.adapters.kafka.fast_trouble import Trouble
from monitor.adapters.kafka.port import Change, LogProblem, LogRecord, Partition, TopicFacts

READING: fast.Options = MappingProxyType(
    {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "check.crcs": True,
        "partition.assignment.strategy": "cooperative-sticky",
        "fetch.max.bytes": 8 * 1024 * 1024,
        "queued.max.messages.kbytes": 16 * 1024,
        # How long fetching rests when the queue is full. By default (1 s) we would wait for records most of the time:
        # 16 MiB are worked off within 50 ms.
        "fetch.queue.backoff.ms": 10,
        "socket.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 1_000,
        "topic.metadata.refresh.interval.ms": 30_000,
    }
)
"""What makes reading safe (no silent reset, no commit of what is not durable), bounded in memory, and quick to come
back. The last is how long an added partition can go unnoticed.
"""

POLL_INTERVAL_SECONDS = 300.0
"""A member that does not poll for this long is taken for dead (kafka-python's default, too), or for the session timeout
if that is longer, as librdkafka demands."""

STEP_SECONDS = 0.1
"""`consume` does not return for an assignment, only for records or time: so it is called in steps. At half, an idle
member takes twice the CPU; at double, a new partition waits twice as long to be begun."""

CHUNK_RECORDS = 64
"""Records are taken out in chunks, each sized by the records before it, until the poll's allowance of bytes is used up.
At half, a record costs 5 % more; at double, 64 MiB more can come at once when records of 1 MiB follow tiny ones."""

LOOK_SECONDS = 5.0
"""Identities and ends are asked for this often: it is how long a re-created topic can go unnoticed, the resolution of
an idle member's `reachable_at`, and paces the search for partitions that stand still."""

AHEAD_RECORDS_MAX = 2_000
"""What may be taken out of the queue while waiting for the answer to a commit, which may lie behind it: one poll's."""

_NOTHING: Mapping[Partition, Sequence[LogRecord]] = MappingProxyType({})


class FastLogConsumer:
    """`LogConsumer` by confluent-kafka. LogRefused if it cannot be made; brokers are asked by the first poll."""

    def __init__(
        self,
        options: fast.Options,
        *,
        group: str,
        topics: Sequence[str],
        client_id: str | None = None,
        group_instance_id: str | None = None,
        session_timeout_seconds: float = 30.0,
        heartbeat_seconds: float = 1.0,
        ask_seconds: float = 5.0,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`options`: how to connect (`connection`); they win over READING. `ask_seconds`: the longest wait for an
        answer, of `commit` a fifth of it.
        """
        named = {} if client_id is None else {"client.id": client_id}
        merged = {**READING, **options, **named}
        self._topics = list(topics)
        self._ask_seconds = ask_seconds
        self._look_seconds = look_seconds
        self._look_at = 0.0
        self._committing = False
        self._committed = False
        self._answered_at: float | None = None
        self._inquiries = FastInquiries({**options, **named}, ask_seconds=ask_seconds)
        self._trouble = Trouble(merged, self._inquiries, f"group {group} of {', '.join(topics)}", topics)
        session_ms = round(session_timeout_seconds * 1000)
        membership: dict[str, object] = {
            "group.id": group,
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": round(min(heartbeat_seconds, session_timeout_seconds / 3) * 1000),
            "max.poll.interval.ms": max(session_ms, round(POLL_INTERVAL_SECONDS * 1000)),
        }
        if group_instance_id is not None:
            membership["group.instance.id"] = group_instance_id
        told = fast.silent(
            {**merged, **membership}, error_cb=self._trouble.refuse_if_final, on_commit=self._told_of_commit
        )
        try:
            self._kafka = Consumer(told, logger=fast.nobody())
            self._partitions = Partitions(self._kafka)
            self._kafka.subscribe(
                self._topics,
                on_assign=self._partitions.came,
                on_revoke=self._partitions.went,
                on_lost=self._partitions.lost,
            )
        except KafkaException as failure:
            raise fast.unfit(options, failure) from None

    # ---------------------------------------------------------------------------------------------------------- reading
    def poll(self, records_max: int, wait_seconds: float) -> Mapping[Partition, Sequence[LogRecord]]:
        deadline = time.monotonic() + wait_seconds
        left = wait_seconds
        while True:
            found = self._sort(self._take(records_max, max(0.0, min(left, STEP_SECONDS))))
            now = time.monotonic()
            if found:
                self._answered_at = now
            self._look_around(now)
            if self._trouble.refused is not None:
                raise self._trouble.refused
            left = deadline - now
            if found or self._partitions.changes or left <= 0.0:
                return found

    def changes(self) -> list[Change]:
        changes, self._partitions.changes = self._partitions.changes, []
        for change in changes:
            self._trouble.went_well(change.partition)
        return changes

    def begin(self, partition: Partition, offset: int | None) -> None:
        self._partitions.begin(partition, offset)

    def hold(self, partitions: Sequence[Partition]) -> None:
        self._partitions.hold(partitions)

    def go_on(self, partitions: Sequence[Partition]) -> None:
        self._partitions.go_on(partitions)

    def position(self, partition: Partition) -> int | None:
        position = self._partitions.positions.get(partition, FIRST)
        return None if position == FIRST else position

    def problems(self) -> list[LogProblem]:
        return self._trouble.problems()

    # -------------------------------------------------------------------------------------------------------- the group
    def commit(self, positions: Mapping[Partition, int]) -> bool:
        floors = [
            TopicPartition(*partition, position)
            for partition, position in positions.items()
            if partition in self._partitions.assigned
        ]
        if not floors:
            return True
        deadline = time.monotonic() + self._ask_seconds / 5
        done = False
        if self._await_commit(deadline):  # the one before
            self._committing, self._committed = True, False
            try:
                self._kafka.commit(offsets=floors, asynchronous=True)
            except KafkaException as failure:
                self._committing = False
                self._trouble.refuse_if_final(fast.reason(failure))
            done = self._await_commit(deadline) and self._committed
        if self._trouble.refused is not None:
            raise self._trouble.refused
        return done

    def committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        if not partitions:
            return {}
        what = "asking for committed offsets"
        try:
            asked = [TopicPartition(*partition) for partition in partitions]
            floors = self._kafka.committed(asked, timeout=self._ask_seconds)
        except KafkaException as failure:
            raise self._trouble.verdict(what, fast.reason(failure)) from None
        for floor in floors:
            if floor.error is not None:
                raise self._trouble.verdict(what, floor.error)
        self._answered_at = time.monotonic()
        return {Partition(floor.topic, floor.partition): floor.offset for floor in floors if floor.offset >= 0}

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        return self._inquiries.offsets(partitions, first=False)

    def beginnings(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        return self._inquiries.offsets(partitions, first=True)

    def facts(self, topic: str) -> TopicFacts:
        facts = self._inquiries.facts(topic)
        self._trouble.compare_identity(topic, facts.topic_id)
        return facts

    @property
    def reachable_at(self) -> float | None:
        heard = [at for at in (self._answered_at, self._inquiries.answered_at) if at is not None]
        return max(heard, default=None)

    def close(self) -> None:
        fast.close(self._kafka, self._ask_seconds / 5)
        self._inquiries.close()

    # ---------------------------------------------------------------------------------------------------------- private
    def _take(self, records_max: int, seconds: float) -> list[Message]:
        """What is there, up to the allowance of a poll; waits for the first only."""
        ahead = self._partitions.ahead
        if ahead:
            self._partitions.ahead = ahead[records_max:]
            return ahead[:records_max]
        messages: list[Message] = []
        chunk = self._consume(1, seconds)
        records_left, bytes_left = records_max, records_max * BYTES_A_RECORD
        while chunk:
            messages += chunk
            size = sum(map(len, chunk))
            records_left, bytes_left = records_left - len(chunk), bytes_left - size
            # As many as fit if they are like those before them.
            wanted = min(CHUNK_RECORDS, records_left, bytes_left * len(chunk) // max(size, 1))
            chunk = self._consume(wanted, 0.0) if wanted > 0 else []
        return messages

    def _consume(self, number: int, seconds: float) -> list[Message]:
        try:
            return self._kafka.consume(number, seconds)
        except KafkaException as failure:  # what cannot be said of one partition
            self._trouble.refuse_if_final(fast.reason(failure))
            return []

    def _sort(self, messages: Sequence[Message]) -> Mapping[Partition, Sequence[LogRecord]]:
        """By partition. Errors stand among the records, in order; of what stands behind one nothing may be wanted."""
        if not messages:
            return _NOTHING
        found: dict[Partition, list[LogRecord]] = {}
        passed: dict[Partition, int] = {}
        elsewhere: set[Partition] = set()
        topic: str | None = None
        number: int | None = None
        records: list[LogRecord] | None = None
        for message in messages:
            error = message.error()
            if error is not None:
                self._hear(message, error, found, passed, elsewhere)
                topic = None
                continue
            if message.partition() != number or message.topic() != topic:
                topic, number = message.topic(), message.partition()
                partition = Partition(topic or "", number or 0)
                wanted = self._partitions.reading(partition) and partition not in elsewhere
                records = found.setdefault(partition, []) if wanted else None
            if records is None:
                continue
            offset = message.offset() or 0
            try:
                headers = _headers_of(message) or ()
            except SystemError:  # a header's name is not text
                self._trouble.skip(partition, offset, 1)
                passed[partition] = offset + 1
                continue
            records.append(_new(fast.Record, (offset, message.key(), message.value(), headers)))
        self._partitions.move(found, passed)
        found = {partition: records for partition, records in found.items() if records}
        for partition in found.keys() - elsewhere:
            self._trouble.went_well(partition)
        return found

    def _hear(
        self,
        message: Message,
        error: KafkaError,
        found: Mapping[Partition, Sequence[LogRecord]],
        passed: dict[Partition, int],
        elsewhere: set[Partition],
    ) -> None:
        partition, offset = Partition(message.topic() or "", message.partition() or 0), message.offset() or 0
        if not self._partitions.reading(partition) or partition in elsewhere:
            self._trouble.refuse_if_final(error)
        elif error.code() == KafkaError._PARTITION_EOF:
            passed[partition] = offset
        else:
            self._partitions.move({partition: found.get(partition, ())}, passed)
            position = self._partitions.positions[partition]
            if self._trouble.sort_out(self._partitions, partition, position, offset, error):
                elsewhere.add(partition)

    def _look_around(self, now: float) -> None:
        seen = self._inquiries.seen()
        if seen is not None:
            for topic, identity in seen.identities.items():
                self._trouble.compare_identity(topic, identity)
            self._trouble.look_for_silence(self._partitions, seen)
        if now >= self._look_at:
            self._look_at = now + self._look_seconds
            self._inquiries.look(self._topics, sorted(self._partitions.positions))

    def _await_commit(self, deadline: float) -> bool:
        """Whether no answer to a commit is outstanding. It may lie behind records: those are for the next poll."""
        while self._committing and self._trouble.refused is None:
            left = deadline - time.monotonic()
            if left <= 0.0 or len(self._partitions.ahead) >= AHEAD_RECORDS_MAX:
                return False
            taken = self._consume(1, min(left, STEP_SECONDS))
            self._partitions.ahead += taken  # not before: what went meanwhile was dropped from it
        return not self._committing

    def _told_of_commit(self, error: KafkaError | None, floors: Sequence[TopicPartition]) -> None:
        failed = [each for each in (error, *(floor.error for floor in floors)) if each is not None]
        self._committing, self._committed = False, not failed
        for each in failed:
            self._trouble.refuse_if_final(each)
        if not failed:
            self._answered_at = time.monotonic()


_new = tuple.__new__
"""Half of the time that a NamedTuple's own constructor takes."""

_headers_of = operator.methodcaller("headers")
"""For a header name that is not UTF-8 confluent-kafka 2.16 sets an exception and returns a result. Called as an
ordinary method, that exception comes up anywhere later; called this way, Python notices at once: SystemError."""
