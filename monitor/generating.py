"""Decides what a Kafka gets from `wervane demo --to-kafka`: the demo's two weeks as if they had just passed, at a pace.

The agent judges ages by the clock on the wall, so the generated weeks are moved by whole days to end within the last
24 hours: hours of the day stay what they were, and a second run on the same day sends the same bytes, which are
duplicates to the agent. The pace is wall time only; what the messages say does not depend on it.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple
from zlib import crc32

from monitor.adapters.kafka.connection import check_reachable, client_options, read_connection
from monitor.adapters.kafka.port import LogProducer, LogRefused, LogUnreachable
from monitor.adapters.kafka.producer import KafkaLogProducer
from monitor.analysis.simulate import DAY, FAULT, START, Message, traffic
from monitor.config import Settings, load_settings
from monitor.core.records import Kind
from monitor.demonstration import DAYS, SEED, Progress, Say
from monitor.settings_source import read_environment

SPEED = 3600.0
"""An hour of traffic a second: the fault comes after 3 minutes and its page after 4, about 220 messages a second. The
faster, the later a message is in event time that waits for another partition: at twice this, a second is two hours."""

BATCH_MESSAGES_MAX = 500
"""Sent between two flushes: what is sent again when a broker goes away, and about a second of traffic."""

FLUSH_SECONDS = 5.0
OUTAGE_SECONDS_MAX = 120.0
"""How long a broker may be away in mid-traffic: a restart takes half a minute. Beyond that the run ends with code 4."""

SECONDS_BETWEEN_TRIES = 0.5

_TIME = re.compile(rb'"ts":\s*(?:"([^"\\]{1,40})"|(\d{1,18}))')
"""The key of the event time. Inside a JSON text the quotes would be escaped, so nothing that was said can match."""

_ID = re.compile(rb'"id":\s*"([^"\\\s]{1,128})"')


class Topics(NamedTuple):
    """Where each kind goes."""

    transcripts: str
    references: str

    def of(self, kind: Kind) -> str:
        return self.transcripts if kind is Kind.TRANSCRIPT else self.references


class Addressed(NamedTuple):
    """One message, ready to be sent to one partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


class Sent(NamedTuple):
    """What was acknowledged, repetitions after an outage not counted."""

    transcripts: int
    references: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When a message is due: by event time at `speed` times the real pace, or by rank at `rate` messages a second."""

    speed: float = SPEED
    rate: float | None = None

    def due(self, rank: int, event_at: float) -> float:
        """Seconds from the beginning of the run."""
        return (event_at - START) / self.speed if self.rate is None else rank / self.rate


class Timepiece(NamedTuple):
    """The wall of the run: monotonic seconds, and how to let some pass."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


UNLESS_CONFIGURED: Mapping[str, object] = MappingProxyType(
    {
        "input.transcripts": "transcripts",
        "input.references": "references",
        "kafka.security.protocol": "PLAINTEXT",
        "kafka.allow_plaintext": True,
    }
)
"""What the environment does not say (`WERVANE_INPUT__TRANSCRIPTS`, `WERVANE_KAFKA__SECURITY__PROTOCOL`). Nobody ever
said what is sent, so it may be sent in the clear."""


def generator_settings(bootstrap: str, environ: Mapping[str, str]) -> Settings:
    """Topics, and how to get into the Kafka at these addresses. Raises ConfigError."""
    configured, _ = read_environment(environ)
    defaults = {location: value for location, value in UNLESS_CONFIGURED.items() if location not in configured}
    servers = [server.strip() for server in bootstrap.split(",")]
    return load_settings(None, environ, {"input.kind": "kafka", "kafka.bootstrap_servers": servers, **defaults})


def generate_to_kafka(settings: Settings, *, pace: Pace, say: Say, progress: Progress, days: float = DAYS) -> Sent:
    """Connect, and `generate` with the clocks of this machine."""
    connection = read_connection(settings.kafka)
    check_reachable(connection)
    producer = KafkaLogProducer(client_options(connection), client_id="wervane-demo")
    topics = Topics(settings.input.transcripts[0], settings.input.references[0])
    try:
        return generate(producer, topics, pace=pace, now=time.time(), say=say, progress=progress, days=days)
    finally:
        producer.close()


def days_to_move(now: float) -> int:
    """Whole days by which the generated traffic is moved to end at most a day before `now`.

    >>> days_to_move(START + DAYS * DAY), days_to_move(START + (DAYS + 2.5) * DAY)
    (0, 2)
    """
    return math.floor((now - START) / DAY - DAYS)


def moved(value: bytes, days: int) -> bytes:
    """The same message with its event time `days` later; what has no time that can be read stays as it is.

    >>> moved(b'{"ts":"2026-03-01T10:00:00.000+00:00","text":"said \\\\"ts\\\\":1"}', 2)
    b'{"ts":"2026-03-03T10:00:00.000+00:00","text":"said \\\\"ts\\\\":1"}'
    >>> moved(b'{"ts": 1772323200000}', -1), moved(b'{"ts": "2026-03-04T10:0', 1)
    (b'{"ts": 1772236800000}', b'{"ts": "2026-03-04T10:0')
    """
    found = _TIME.search(value)
    if found is None:
        return value
    group = 1 if found[2] is None else 2
    if group == 2:
        later = b"%d" % (int(found[2]) + days * round(DAY * 1000))
    else:
        try:
            at = datetime.fromisoformat(found[1].decode("ascii")) + timedelta(days=days)
        except (ValueError, OverflowError):
            return value
        later = at.isoformat(timespec="milliseconds" if b"." in found[1] else "seconds").encode()
    return value[: found.start(group)] + later + value[found.end(group) :]


def key_of(value: bytes) -> bytes | None:
    """The utterance's id, as bytes; None of what has none.

    >>> key_of(b'{"id":"c7-12","text":""}'), key_of(b'["not", "an", "object"]')
    (b'c7-12', None)
    """
    found = _ID.search(value)
    return None if found is None else found[1]


def addressed(message: Message, days: int, topics: Topics, partitions: Mapping[str, int]) -> Addressed:
    """By a hash of the key, as producers do; without a key, by one of the value, so that a second run sends the same.

    CRC32 is the hash of librdkafka's clients, not of Java's: the two do not agree, which is why the agent relies on
    nobody's partitioning.
    """
    topic = topics.of(message.kind)
    value = None if message.value is None else moved(message.value, days)
    key = message.key if value is None else key_of(value)
    hashed = crc32(key if key is not None else value or b"")
    return Addressed(topic, hashed % partitions[topic], key, value)


def generate(
    producer: LogProducer,
    topics: Topics,
    *,
    pace: Pace,
    now: float,
    say: Say,
    progress: Progress,
    days: float = DAYS,
    timepiece: Timepiece | None = None,
) -> Sent:
    """Send the first `days` of the traffic and return when all of it is acknowledged.

    Raises LogRefused if a topic is missing, LogUnreachable if no broker is there, at first or for OUTAGE_SECONDS_MAX.
    """
    wall = timepiece or Timepiece()
    partitions = {topic: _partitions(producer, topic) for topic in topics}
    shift = days_to_move(now)
    say(_announcement(shift, topics, pace))
    sent = {Kind.TRANSCRIPT: 0, Kind.REFERENCE: 0}
    day = 0
    for batch in batches(traffic(SEED, days), pace, wall):
        _deliver(producer, [addressed(message, shift, topics, partitions) for message in batch], wall, say)
        for message in batch:
            sent[message.kind] += 1
        elapsed = (batch[-1].event_at - START) / DAY
        progress(min(1.0, elapsed / days), "traffic")
        if int(elapsed) > day:
            day = int(elapsed)
            say(f"day {day:2d} of {days:.0f}  {_counts(sent)}")
    return Sent(sent[Kind.TRANSCRIPT], sent[Kind.REFERENCE])


def batches(messages: Iterable[Message], pace: Pace, wall: Timepiece) -> Iterator[Sequence[Message]]:
    """Messages as they become due; what is due already comes together, at most BATCH_MESSAGES_MAX at a time."""
    begun = wall.now()
    batch: list[Message] = []
    for rank, message in enumerate(messages):
        due = begun + pace.due(rank, message.event_at)
        if len(batch) == BATCH_MESSAGES_MAX or (batch and due > wall.now()):
            yield batch
            batch = []
        while (ahead := due - wall.now()) > 0.0:
            wall.sleep(ahead)
        batch.append(message)
    if batch:
        yield batch


def _deliver(producer: LogProducer, batch: Sequence[Addressed], wall: Timepiece, say: Say) -> None:
    """Send until acknowledged: after a failed flush nobody knows what arrived, so all of it is sent again, in order."""
    since: float | None = None
    while True:
        try:
            for one in batch:
                producer.send(one.topic, one.partition, one.key, one.value)
            producer.flush(FLUSH_SECONDS)
            return
        except LogUnreachable as error:
            if since is None:
                since = wall.now()
                say(f"waiting: {error}")
            if wall.now() - since > OUTAGE_SECONDS_MAX:
                raise
            wall.sleep(SECONDS_BETWEEN_TRIES)


def _partitions(producer: LogProducer, topic: str) -> int:
    try:
        return producer.partitions(topic)
    except LogRefused as error:
        raise LogRefused(f"{error}; the generator needs it, with any number of partitions") from None


def _announcement(shift: int, topics: Topics, pace: Pace) -> str:
    moment = datetime.fromtimestamp(FAULT.at + shift * DAY, UTC)
    fault = f"{FAULT.accent} speakers at {FAULT.site} get a new scanner that hums, and their WER doubles"
    first = datetime.fromtimestamp(START + shift * DAY, UTC)
    where = f"to the topics {topics.transcripts} and {topics.references}"
    if pace.rate is None:
        when = f" ({(FAULT.at - START) / pace.speed / 60:.1f} minutes from now)"
    else:
        when = ""
    return f"two weeks of traffic from {first:%d %B %Y} on {where}; on {moment:%d %B at %H:%M}{when} {fault}"


def _counts(sent: Mapping[Kind, int]) -> str:
    return f"{sent[Kind.TRANSCRIPT]:,} transcripts, {sent[Kind.REFERENCE]:,} references"
