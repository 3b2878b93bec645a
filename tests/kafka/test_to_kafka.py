"""`wervane demo --to-kafka` puts the demo's traffic into a real Kafka: all of it, once, where an agent looks for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from monitor.analysis.simulate import START, traffic
from monitor.cli import execute
from monitor.core.records import Kind
from monitor.demonstration import SEED
from monitor.generating import Pace, Topics, days_to_move, generate_to_kafka, generator_settings
from tests.kafka.broker import Broker

PATIENCE_SECONDS = 60.0


def topics_of(broker: Broker) -> Topics:
    """Both inputs, with different numbers of partitions as customers have them."""
    topics = Topics(broker.unique("transcripts"), broker.unique("references"))
    broker.create_topic(topics.transcripts, partitions=3)
    broker.create_topic(topics.references, partitions=2)
    return topics


def environment(topics: Topics) -> dict[str, str]:
    return {"WERVANE_INPUT__TRANSCRIPTS": topics.transcripts, "WERVANE_INPUT__REFERENCES": topics.references}


def records(broker: Broker, topic: str) -> Iterator[tuple[int, bytes | None, bytes | None]]:
    """(partition, key, value) of everything that is there."""
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, enable_auto_commit=False)
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    left = sum(consumer.end_offsets(partitions).values())
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left > 0:
        assert time.monotonic() < deadline
        for found in consumer.poll(timeout_ms=500).values():
            left -= len(found)
            yield from ((record.partition, record.key, record.value) for record in found)
    consumer.close()


def started(broker: Broker, topics: Topics, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "monitor", "demo", "--to-kafka", broker.bootstrap, *options]
    with (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            command, env={**os.environ, **environment(topics)}, stdout=subprocess.PIPE, stderr=stderr
        )


def test_the_topics_hold_exactly_what_was_generated(broker: Broker) -> None:
    """Tombstones, duplicates and malformed messages too: they are what the agent is there for."""
    topics, said = topics_of(broker), list[str]()
    settings = generator_settings(broker.bootstrap, environment(topics))
    sent = generate_to_kafka(settings, pace=Pace(rate=1e9), say=said.append, progress=lambda *_: None, days=6.0)
    generated = list(traffic(SEED, 6.0))
    wanted = Counter(message.kind for message in generated)
    assert sent == (wanted[Kind.TRANSCRIPT], wanted[Kind.REFERENCE])
    tombstones = Counter(message.kind for message in generated if message.value is None)
    for kind, topic in ((Kind.TRANSCRIPT, topics.transcripts), (Kind.REFERENCE, topics.references)):
        found = list(records(broker, topic))
        assert len(found) == wanted[kind]
        assert sum(value is None for _, _, value in found) == tombstones[kind] == 1
        assert len({partition for partition, _, _ in found}) == len(broker_partitions(broker, topic))
    assert topics.transcripts in said[0] and "scottish" in said[0]


def broker_partitions(broker: Broker, topic: str) -> list[object]:
    (described,) = broker.admin.describe_topics([topic])
    found: list[object] = described["partitions"]
    return found


def test_within_a_partition_messages_keep_the_order_of_the_stream(broker: Broker) -> None:
    """What the recogniser published first must be read first, or every reading would be of another stream."""
    topics = topics_of(broker)
    settings = generator_settings(broker.bootstrap, environment(topics))
    generate_to_kafka(settings, pace=Pace(rate=1e9), say=lambda _: None, progress=lambda *_: None, days=1.0)
    ids: dict[int, list[str]] = {}
    for partition, _, value in records(broker, topics.transcripts):
        if value is not None and value.startswith(b'{"schema":1,"customer"'):
            ids.setdefault(partition, []).append(json.loads(value)["id"])
    ranks: dict[str, list[int]] = {}
    for rank, message in enumerate(traffic(SEED, 1.0)):
        if message.kind is Kind.TRANSCRIPT and message.value and message.value.startswith(b'{"schema":1,"customer"'):
            ranks.setdefault(json.loads(message.value)["id"], []).append(rank)
    assert sum(map(len, ids.values())) == sum(map(len, ranks.values()))
    for found in ids.values():
        in_order = [ranks[name].pop(0) for name in found]
        assert in_order == sorted(in_order)


def test_the_command_says_what_it_does_and_how_much_it_sent(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A minute of silence looks like a command that hangs."""
    topics = topics_of(broker)
    for name, value in environment(topics).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("monitor.generating.traffic", lambda seed, _days: traffic(seed, 2.5))
    assert execute(["demo", "--to-kafka", broker.bootstrap, "--speed", "1e7", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "transcripts": len(list(records(broker, topics.transcripts))),
        "references": len(list(records(broker, topics.references))),
    }
    announced, *days = printed.err.splitlines()
    assert "scottish speakers at st-brigid" in announced
    assert [line[: len("day  1 of 14")] for line in days] == ["day  1 of 14", "day  2 of 14"]


def test_sigterm_ends_it_at_once(broker: Broker, tmp_path: Path) -> None:
    """`docker compose down` waits ten seconds for everybody who does not listen."""
    topics = topics_of(broker)
    process = started(broker, topics, tmp_path, "--speed", "3600")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "minutes from now" not in (tmp_path / "stderr").read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_SECONDS)  # it had hours to go
    assert process.returncode == 128 + signal.SIGTERM


def test_topics_that_are_missing_are_named(broker: Broker, tmp_path: Path) -> None:
    """Nothing creates a topic by accident: with the broker's defaults it would have the wrong partitions for good."""
    missing = Topics(broker.unique("transcripts"), broker.unique("references"))
    with started(broker, missing, tmp_path) as process:
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 4
    told = (tmp_path / "stderr").read_text()
    assert missing.transcripts in told and "Traceback" not in told
    assert {missing.transcripts, missing.references}.isdisjoint(broker.admin.list_topics())


def test_an_address_where_nobody_listens_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The first thing that goes wrong at a customer's is the address."""
    assert execute(["demo", "--to-kafka", "127.0.0.1:1"]) == 4
    printed = capsys.readouterr()
    assert printed.out == "" and "127.0.0.1:1" in printed.err


@pytest.mark.parametrize(
    "options", ["--speed 60", "--rate 5", "--to-kafka k:1 --rate 5 --speed 60", "--to-kafka k:1 --exit"]
)
def test_flags_that_contradict_each_other_are_refused_before_anything_is_asked(options: str) -> None:
    """A pace without a Kafka would be ignored in silence."""
    assert execute(["demo", *options.split()]) == 2


def test_moving_ends_near_now() -> None:
    """The wall clock of this machine, once without a stand-in."""
    assert 0.0 <= time.time() - (START + (14 + days_to_move(time.time())) * 86_400) < 86_400
