"""Decides what is done with the records of one partition in ROUTE, SCORE or DECIDE, and what leaves it, and when.

ROUTE   what it read is sent to the pairs log before its position moves: read again after a crash, sent again, seen once
SCORE   what it scored lies in the outbox of its state until the outcomes log has it
DECIDE  what it decided lies in the outbox of its state until the file has it
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from msgspec.structs import replace

from monitor.adapters.kafka.port import LogProducer, LogRecord, LogRefused, RecordRefused
from monitor.adapters.wire import encode_pointer, encode_review, encode_transition
from monitor.adapters.wire.entries import EntryRefused, decode_entry, decode_pair, encode_entry, encode_pair
from monitor.config import KafkaTopics
from monitor.core.apart import DecideStage, RouteStage, ScoredEntry, ScoreStage
from monitor.core.counters import Counters
from monitor.core.records import Kind, Mark, Pointer, Reason, Rejected, Transcript, Transition
from monitor.core.rejections import RejectionGuard
from monitor.core.routing import TENANT_NOT_ALLOWED
from monitor.decoders import Decoder
from monitor.delivery import TABLE as FILES_TABLE
from monitor.delivery import Delivery, lengths_of
from monitor.mailbox import TABLES as NOTIFICATION_TABLES
from monitor.mailbox import Mailbox
from monitor.sending import Sender
from monitor.topics.partition_state import PartitionState
from monitor.topics.skimming import Skimmed, skim

ENTRIES_AT_ONCE = 5_000
"""Outbox entries sent between two acknowledgements: about 3 MB of outcomes."""
MARK_SECONDS = 5.0
"""An idle reader says so this often; one whose event time moves, at every look. Everybody's event time waits for it: at
double a page comes ten seconds later, at half the marks of 100 x 100 partitions are 4,000 records a second."""
MARK_EVENT_SECONDS = 60.0

TOO_LARGE = Reason("too_large")
"""Also of a message that is within the contract, while its entry is more than the pairs topic takes."""
FOREIGN = 'log_records_total{topic="pairs",outcome="foreign"}'
"""Marks of a ROUTE with another configuration than this SCORE's."""

RoutedTo = tuple[str, int, bytes | None, bytes | None]
"""Topic, partition, key and value of one record to send."""


class TooManyRejected(Exception):
    """Half of the last minute's messages were rejected."""


class Topics:
    """The topics between stages, with their partitions as they were when we started."""

    def __init__(self, names: KafkaTopics, producer: LogProducer, needed: Sequence[str], made_by: str = "") -> None:
        """`made_by` names our configuration. Raises LogRefused if a topic that is needed does not exist."""
        self.made_by = made_by
        self.names = names
        self.partitions = {topic: producer.partitions(topic) for topic in needed}

    def pair(self, key: int, value: bytes) -> RoutedTo:
        """The low bits choose the partition: sampling takes the high ones."""
        topic = self.names.pairs
        return topic, key % self.partitions[topic], f"{key:016x}".encode(), value

    def review(self, key: int, value: bytes) -> RoutedTo:
        return self._keyed(self.names.reviews, f"{key:016x}".encode(), value)

    def dead_letter(self, pointer: Pointer) -> RoutedTo:
        place = f"{pointer.topic}-{pointer.partition}".encode()
        return self._keyed(self.names.dead_letters, place, encode_pointer(pointer))

    def everywhere(self, topic: str, value: bytes) -> list[RoutedTo]:
        return [(topic, partition, None, value) for partition in range(self.partitions[topic])]

    def role(self, topic: str) -> str:
        """What a topic is for, whatever its name."""
        return next(
            role for role in ("pairs", "reviews", "dead_letters", "outcomes") if getattr(self.names, role) == topic
        )

    def _keyed(self, topic: str, key: bytes, value: bytes | None) -> RoutedTo:
        return topic, crc32(key) % self.partitions[topic], key, value


class MarkTimer:
    """Whether a mark says anything new."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: Mark | None = None
        self._said_at = 0.0

    def due(self, mark: Mark) -> bool:
        """True if it does: then it counts as said."""
        last, now = self._last, self._clock()
        news = (
            last is None
            or last.current != mark.current
            or last.of != mark.of
            or last.losses != mark.losses
            or (mark.reached_at or 0.0) >= (last.reached_at or 0.0) + MARK_EVENT_SECONDS
            or now - self._said_at >= MARK_SECONDS
        )
        if news:
            self._last, self._said_at = mark, now
        return news

    def forget(self) -> None:
        """What was said may not have been heard."""
        self._last = None


class RouteWorker:
    """One input partition."""

    def __init__(
        self,
        state: PartitionState,
        stage: RouteStage,
        *,
        kind: Kind,
        decode: Decoder,
        may_skim: bool,
        topics: Topics,
        dimensions: tuple[str, ...],
        counters: Counters,
        guard: RejectionGuard,
        reviews: bool,
    ) -> None:
        self.state = state
        self._stage = stage
        state.restore(stage)
        self._decode = decode
        self._may_skim = may_skim
        self._kind = kind
        self._topics = topics
        self._dimensions = dimensions
        self._counters = counters
        self._guard = guard
        self._reviews = reviews
        self._to_send: list[tuple[RoutedTo, int | None, bytes]] = []
        """With the offset and digest of the message that a record is of, if it is of one."""
        self._reviews_to_send: list[RoutedTo] = []
        self._timer = MarkTimer()
        self.position: int | None = state.position

    def start_at(self, floor: int | None) -> int | None:
        """Where to read on: everything before the group's floor has been sent, whoever did it."""
        known = [position for position in (self.position, floor) if position is not None]
        self.position = max(known, default=None)
        return self.position

    @property
    def waiting(self) -> int:
        """Records that no broker has acknowledged."""
        return len(self._to_send)

    def feed(self, records: Sequence[LogRecord]) -> None:
        """Raises TooManyRejected."""
        now = time.time()
        if self._may_skim:
            skimmed = skim(self._stage.router, self._kind, records, now)
            self._guard.pass_over(skimmed.passed_over, time.monotonic())
            if skimmed.event_at is not None:
                self._stage.note(skimmed.event_at)
        else:
            skimmed = Skimmed(records, 0, None)
        for record in skimmed.records:
            message, clipped = self._decode(record.value, record.key, record.headers, now)
            digest = message.digest if isinstance(message, Transcript) else sha256(record.value or b"").digest()
            led = self._stage.feed(self._kind, message, clipped, record.offset, digest)
            rejected = led.rejected
            if rejected is not None and rejected.reason == TENANT_NOT_ALLOWED:
                rejected = None  # others' traffic on a shared topic: one counter, and no other trace
            if led.entry is not None:
                routed = self._topics.pair(led.entry.routed.key, encode_pair(led.entry, self._dimensions))
                self._to_send.append((routed, record.offset, digest))
                if led.review is not None and self._reviews:
                    self._reviews_to_send.append(self._topics.review(led.entry.routed.key, encode_review(led.review)))
            if rejected is not None:
                self._to_send.append((self._topics.dead_letter(self._pointer(record.offset, rejected)), None, b""))
            stands_for = skimmed.stands_for if record.offset in skimmed.plain else 1.0
            if self._guard.note(rejected is not None, time.monotonic(), stands_for):
                raise TooManyRejected
        if records:
            self.position = records[-1].offset + 1

    def _pointer(self, offset: int, rejected: Rejected) -> Pointer:
        topic, partition = self.state.partition
        return Pointer(
            topic=topic, partition=partition, offset=offset, reason=rejected.reason, sha256=rejected.digest.hex()
        )

    def lose(self, position: int, lost: int) -> None:
        """Records from `position` on are gone unread."""
        self._stage.lose(str(self.state.partition), position, lost)
        self.position = max(self.position or 0, position + lost)

    @property
    def reached_at(self) -> float | None:
        """Event time of the newest message."""
        return self._stage.newest_at

    def mark(self, *, of: int, current: bool, age_seconds: float = 0.0) -> None:
        """Tell everybody downstream how far this partition is, if it is news; `age_seconds`: since it was current."""
        now = time.time()
        mark = self._stage.mark(of=of, current=current, at=now, read_at=now - age_seconds)
        mark = replace(mark, made_by=self._topics.made_by)
        if self._timer.due(mark):
            value = encode_pair(mark, self._dimensions)
            self._to_send += [(one, None, b"") for one in self._topics.everywhere(self._topics.names.pairs, value)]

    def send_reviews(self, producer: LogProducer) -> bool:
        """Hand what correctors are to see to the producer; whether that was anything.

        It must be there before the pairs are: SCORE, which alone knows of erasures, takes it away behind us.
        """
        for review in self._reviews_to_send:
            self._send(producer, review)
        return bool(self._reviews_to_send)

    def send(self, producer: LogProducer) -> None:
        """Hand everything else to the producer, in order; what a topic does not take becomes a dead letter."""
        for routed, offset, digest in self._to_send:
            if not self._send(producer, routed) and offset is not None:
                pointer = self._pointer(offset, Rejected(reason=TOO_LARGE, digest=digest))
                self._send(producer, self._topics.dead_letter(pointer))

    def reviews_sent(self) -> None:
        """They were acknowledged: should the pairs not be, these are not sent again."""
        self._reviews_to_send.clear()

    def _send(self, producer: LogProducer, routed: RoutedTo) -> bool:
        try:
            producer.send(*routed)
        except RecordRefused:
            role = self._topics.role(routed[0])
            self._counters.count(f'log_records_total{{topic="{role}",outcome="refused"}}')
            return False
        return True

    def sent(self) -> None:
        """All of it was acknowledged: the position may move. Raises StorageFailed."""
        self._to_send.clear()
        if self.position is not None:
            self.state.commit(self._stage, self.position)

    def unsent(self) -> None:
        self._timer.forget()


class ScoreWorker:
    """One partition of the pairs log."""

    def __init__(
        self,
        state: PartitionState,
        stage: ScoreStage,
        *,
        topics: Topics,
        dimensions: tuple[str, ...],
        counters: Counters,
    ) -> None:
        self.state = state
        self.stage = stage
        state.restore(stage)
        self._topics = topics
        self._dimensions = dimensions
        self._counters = counters
        self._sent_upto = 0
        self._marks: list[RoutedTo] = []
        self._timer = MarkTimer()
        self.position: int | None = state.position

    def start_at(self, floor: int | None) -> int | None:
        """Where the state says, or from the beginning: the log is what a lost state is made from."""
        self.stage.be_quiet_until(floor or 0)
        return self.position

    def feed(self, records: Sequence[LogRecord]) -> None:
        refused: list[int] = []
        for record in records:
            try:
                entry = decode_pair(record.value, self._dimensions)
            except EntryRefused:
                refused.append(record.offset)
                continue
            if isinstance(entry, Mark):
                if entry.made_by != self._topics.made_by:
                    self._counters.count(FOREIGN)
                self._write(self.stage.feed_mark(entry, record.offset))
                continue
            scored = self.stage.feed(entry, record.offset)
            self._write(scored)
            if scored.sealed and self._topics.names.reviews in self._topics.partitions:
                self.state.store.add_outbox("reviews", f"{entry.routed.key:016x}\n".encode())
            if scored.rejected is not None:
                self._reject(entry.origin.upstream, entry.origin.offset, scored.rejected)
        if records:
            self.position = records[-1].offset + 1
        if refused:  # nobody can count what an agent of another version or with other dimensions wrote: it is a loss
            self._counters.count('log_records_total{topic="pairs",outcome="refused"}', len(refused))
            self.stage.lose(str(self.state.partition), refused[0], len(refused))

    def _write(self, scored: ScoredEntry) -> None:
        for entry in scored.entries:
            customer = entry.emission.customer.encode()
            self.state.store.add_outbox("outcomes", customer + b"\n" + encode_entry(entry, self._dimensions))

    def _reject(self, upstream: str, offset: int, rejected: Rejected) -> None:
        topic, _, number = upstream.partition("@")[0].rpartition("-")
        if not number.isdecimal():
            return  # whoever wrote this entry was no ROUTE: it names no message that one could point at
        pointer = Pointer(
            topic=topic, partition=int(number), offset=offset, reason=rejected.reason, sha256=rejected.digest.hex()
        )
        self.state.store.add_outbox("rejected", f"{topic}-{number}".encode() + b"\n" + encode_pointer(pointer))

    def lose(self, position: int, lost: int) -> None:
        self.stage.lose(str(self.state.partition), position, lost)
        self.position = max(self.position or 0, position + lost)

    def mark(self) -> None:
        """Tell every decider how far this partition is, if it is news."""
        mark = self.stage.mark(time.time())
        if self._timer.due(mark):
            self._marks = self._topics.everywhere(self._topics.names.outcomes, encode_entry(mark, self._dimensions))

    def commit(self) -> None:
        """Raises StorageFailed."""
        if self.position is not None:
            self.state.commit(self.stage, self.position)

    def send(self, producer: LogProducer) -> bool:
        """Hand the next part of the outbox to the producer; True if that was all, marks included."""
        entries = self.state.store.outbox(self._sent_upto, ENTRIES_AT_ONCE)
        names = self._topics.names
        for sequence, stream, payload in entries:
            key, _, value = payload.partition(b"\n")
            topic = {"outcomes": names.outcomes, "reviews": names.reviews}.get(stream, names.dead_letters)
            try:
                producer.send(topic, crc32(key) % self._topics.partitions[topic], key, value or None)
            except RecordRefused as refused:
                raise LogRefused(f"{refused}: raise its max.message.bytes, or nothing can be decided") from None
            self._sent_upto = sequence
        if len(entries) == ENTRIES_AT_ONCE:
            return False
        for mark in self._marks:
            producer.send(*mark)
        return True

    def sent(self) -> None:
        """All of it was acknowledged: the next commit lets go of it."""
        if self._sent_upto:
            self.state.store.forget_outbox(self._sent_upto)
        self._marks = []

    def unsent(self) -> None:
        """It is unknown what arrived: all of it is sent again, in the same order."""
        self._sent_upto = 0
        self._timer.forget()


class DecideWorker:
    """One partition of the outcomes log."""

    def __init__(
        self,
        state: PartitionState,
        stage: DecideStage,
        *,
        folder: Path,
        dimensions: tuple[str, ...],
        counters: Counters,
        tell: Callable[[Sequence[Transition]], None],
        sender: Sender | None = None,
    ) -> None:
        """Raises StorageFailed."""
        self.state = state
        self.stage = stage
        ours = state.restore(stage, but=(FILES_TABLE, *NOTIFICATION_TABLES))
        self._mailbox = None if sender is None else Mailbox(state.store, sender, ours)
        self._dimensions = dimensions
        self._counters = counters
        self._tell = tell
        self.position: int | None = state.position
        self._told_until = 0
        self.fresh = False
        """Nobody has ever read this partition, and shown anything of it."""
        self.folder = folder / str(state.partition)
        lengths = lengths_of(ours[FILES_TABLE])
        self._delivery = Delivery(state.store, self.folder, lengths, ("incidents",), self._mailbox)
        try:
            self._delivery.deliver()
        except BaseException:
            self._delivery.close()
            raise

    def start_at(self, floor: int | None) -> int | None:
        """Where the state says, or from the beginning: the log is what a lost state is made from."""
        self.fresh = self.position is None and not floor
        self._told_until = floor or 0
        return self.position

    def feed(self, records: Sequence[LogRecord]) -> None:
        refused: list[int] = []
        for record in records:
            try:
                entry = decode_entry(record.value, self._dimensions)
            except EntryRefused:
                refused.append(record.offset)
                continue
            if isinstance(entry, Mark):
                self._write(self.stage.feed_mark(entry), record.offset)
            else:
                self.stage.feed(entry)
        if records:
            self.position = records[-1].offset + 1
        if refused:
            self._counters.count('log_records_total{topic="outcomes",outcome="refused"}', len(refused))
            told = self.stage.lose(str(self.state.partition), refused[0], len(refused), time.time())
            self._write(told, refused[0])

    def _write(self, told: Sequence[Transition], offset: int) -> None:
        """A state that is made again from the log makes its file again, and wakes nobody for what was told before."""
        for transition in told:
            self.state.store.add_outbox("incidents", encode_transition(transition))
        if self._mailbox is not None:
            self._mailbox.note(told, quiet=offset < self._told_until)
        if offset >= self._told_until:
            self._tell(told)

    def lose(self, position: int, lost: int) -> None:
        self._write(self.stage.lose(str(self.state.partition), position, lost, time.time()), position)
        self.position = max(self.position or 0, position + lost)

    def commit(self) -> None:
        """Raises StorageFailed."""
        if self.position is not None:
            if self._mailbox is not None:
                self._mailbox.settle()
                if self.position >= self._told_until:
                    self._mailbox.awake()
            self.state.commit(self.stage, self.position)
            self._delivery.deliver()

    def close(self) -> None:
        self._delivery.close()
