"""Traffic that an agent refuses as too old, or a pace that nobody can watch, would show a newcomer nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice

import pytest

from monitor.adapters.kafka.port import LogRefused, LogUnreachable
from monitor.adapters.wire import Decoded, decode_reference, decode_transcript, event_time
from monitor.analysis.simulate import DAY, START, Message, traffic
from monitor.config import ConfigError
from monitor.core.records import Kind, Rejected
from monitor.demonstration import DAYS, SEED
from monitor.generating import (
    BATCH_MESSAGES_MAX,
    Pace,
    Sent,
    Timepiece,
    Topics,
    addressed,
    batches,
    days_to_move,
    generate,
    generator_settings,
)

TOPICS = Topics("transcripts", "references")
PARTITIONS = {"transcripts": 6, "references": 4}
YEARS_LATER = START + 800.3 * DAY


class Wall:
    """A clock that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.at = 0.0
        self.piece = Timepiece(now=lambda: self.at, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.at += seconds


class Kept:
    """A log that keeps what was flushed; the flushes numbered in `failing` fail."""

    def __init__(self, *failing: int) -> None:
        self.topics = dict(PARTITIONS)
        self.kept: list[tuple[str, int, bytes | None, bytes | None]] = []
        self._sent: list[tuple[str, int, bytes | None, bytes | None]] = []
        self._failing = set(failing)
        self.flushes = 0

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self._sent.append((topic, partition, key, value))

    def flush(self, wait_seconds: float) -> None:
        self.flushes += 1
        sent, self._sent = self._sent, []
        if self.flushes in self._failing:
            raise LogUnreachable("broker-1:9092: nobody listens there")
        self.kept += sent

    def partitions(self, topic: str) -> int:
        if topic not in self.topics:
            raise LogRefused(f"{topic}: there is no such topic")
        return self.topics[topic]

    def close(self) -> None:
        pass


def sent_to(log: Kept, wall: Wall, said: list[str] | None = None, days: float = 0.5) -> Sent:
    say = (said if said is not None else []).append
    pace, progress = Pace(rate=1e9), lambda _fraction, _doing: None
    return generate(
        log, TOPICS, pace=pace, now=YEARS_LATER, say=say, progress=progress, days=days, timepiece=wall.piece
    )


def judged(message: Message, value: bytes | None, key: bytes | None, now: float) -> Decoded:
    decode = decode_transcript if message.kind is Kind.TRANSCRIPT else decode_reference
    return decode(value, key, now)


def test_the_agent_takes_the_moved_traffic_as_it_takes_the_demo_s() -> None:
    """Ages are judged by the clock: without moving, all of it is refused some day; and nothing may lie ahead."""
    demo, moved = Counter[str](), Counter[str]()
    days = days_to_move(YEARS_LATER)
    for message in traffic(SEED, 3.0):
        sent = addressed(message, days, TOPICS, PARTITIONS)
        before = judged(message, message.value, message.key, START + DAYS * DAY)
        after = judged(message, sent.value, sent.key, YEARS_LATER)
        for outcomes, decoded in ((demo, before), (moved, after)):
            record = decoded.record
            outcomes[record.reason if isinstance(record, Rejected) else f"taken, {decoded.clipped}"] += 1
    assert moved == demo
    assert len(demo) > 3


def test_it_ends_within_the_last_day_at_the_same_hour_of_the_day() -> None:
    """Night shifts stay at night, and nothing is from the future."""
    moved_by = days_to_move(YEARS_LATER) * DAY
    assert YEARS_LATER - DAY < START + DAYS * DAY + moved_by <= YEARS_LATER
    assert days_to_move(START) < 0, "a clock that is behind moves them back"


def test_a_second_run_on_the_same_day_sends_the_same_bytes() -> None:
    """`docker compose up` starts the generator again: the agent must see duplicates, not other transcripts."""
    first, again = Kept(), Kept()
    sent_to(first, Wall())
    sent_to(again, Wall())
    assert first.kept == again.kept != []


def test_all_messages_of_an_utterance_lie_in_one_partition_of_their_topic() -> None:
    """A tombstone must come after what it erases, and compaction goes by key."""
    places: dict[tuple[str, bytes], set[int]] = {}
    used: set[tuple[str, int]] = set()
    for message in traffic(SEED, 6.5):
        topic, partition, key, value = addressed(message, 0, TOPICS, PARTITIONS)
        assert key is not None or value is not None
        places.setdefault((topic, key or b""), set()).add(partition)
        used.add((topic, partition))
        if value is not None and key is not None:
            assert key in value
    assert all(len(partitions) == 1 for (_, key), partitions in places.items() if key)
    assert len(used) == sum(PARTITIONS.values())


@pytest.mark.parametrize(("pace", "seconds"), [(Pace(speed=3600.0), 24.0), (Pace(rate=100.0), None)])
def test_the_pace_is_what_was_asked_for(pace: Pace, seconds: float | None) -> None:
    """Too fast and nobody sees it happen, too slow and nobody waits."""
    wall, messages = Wall(), list(traffic(SEED, 1.0))
    sent: list[Message] = []
    for batch in batches(messages, pace, wall.piece):
        sent += batch
        assert len(batch) <= BATCH_MESSAGES_MAX
        assert wall.at >= pace.due(len(sent) - 1, batch[-1].event_at), "nothing is sent before it is due"
    assert sent == messages
    expected = seconds if seconds is not None else len(messages) / 100.0
    assert wall.at == pytest.approx(expected, rel=0.05)


def test_a_broker_that_is_away_for_a_while_costs_nothing() -> None:
    """Brokers restart; what was not acknowledged is sent again, in the order it had, and counted once."""
    undisturbed, disturbed, wall = Kept(), Kept(1, 3, 4), Wall()
    said: list[str] = []
    assert sent_to(disturbed, wall, said) == sent_to(undisturbed, Wall())
    assert disturbed.kept == undisturbed.kept
    assert [line for line in said if line.startswith("waiting: broker-1:9092")] != []


def test_a_broker_that_stays_away_ends_the_run() -> None:
    """A generator that waits for ever looks like one that works."""
    with pytest.raises(LogUnreachable):
        sent_to(Kept(*range(2, 10_000)), Wall())


def test_a_topic_that_is_missing_is_named_before_anything_is_sent() -> None:
    """Half of the traffic alone would be a demo of something else."""
    log = Kept()
    del log.topics["references"]
    with pytest.raises(LogRefused, match="references"):
        sent_to(log, Wall())
    assert (log.kept, log.flushes) == ([], 0)


def test_topics_and_security_come_from_the_environment() -> None:
    """The flag has only an address; who needs TLS must be able to say so, and gets no plain text by mistake."""
    plain = generator_settings("kafka:19092, kafka-2:19092", {})
    assert plain.kafka.bootstrap_servers == ("kafka:19092", "kafka-2:19092")
    assert (plain.input.transcripts[0], plain.input.references[0]) == TOPICS
    assert plain.kafka.security.protocol == "PLAINTEXT"
    environment = {"WERVANE_INPUT__TRANSCRIPTS": "asr.out", "WERVANE_KAFKA__SECURITY__PROTOCOL": "SSL"}
    secure = generator_settings("kafka:19092", environment)
    assert (secure.input.transcripts[0], secure.kafka.security.protocol) == ("asr.out", "SSL")
    with pytest.raises(ConfigError):
        generator_settings("no address", {})


def test_event_times_order_the_stream_after_moving_as_before() -> None:
    """The fault must come when it was announced."""
    days = days_to_move(YEARS_LATER)
    for message in islice(traffic(SEED, 1.0), 300):
        if message.value is not None and (before := event_time(message.value)) is not None:
            after = event_time(addressed(message, days, TOPICS, PARTITIONS).value or b"")
            assert after == pytest.approx(before + days * DAY, abs=0.002)
