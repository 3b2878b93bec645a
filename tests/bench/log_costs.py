"""Decides what the log itself costs an agent: to poll a record and to send one; and a real broker: bytes on its disk.

Bare kafka-python with `json.loads` is the floor. CPU is that of this process with the client's own threads.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from kafka import KafkaConsumer, TopicPartition

from monitor.adapters.kafka.consumer import KafkaLogConsumer
from monitor.adapters.kafka.producer import KafkaLogProducer
from monitor.core.records import Kind
from tests.bench.stage_parts import (
    PARTITIONS,
    READ,
    SHORT,
    Costs,
    CountingProducer,
    Parts,
    Utterance,
    route_and_send,
    score_and_send,
    through,
)
from tests.kafka.broker import Broker

BUSY, QUIET = 2_000, 120
"""Records between two flushes: of an agent in a hurry, and of one with ten records a partition and second."""
TIMED = ("pair_transcript", "outcome")


def log_costs(texts: Mapping[str, Sequence[Utterance]], rounds: int) -> Costs:
    """`log_floor`, `log_poll_*`, `log_send_*`: microseconds a record; `bytes_disk_*`: what lies on a broker's disk."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "kafka")
        broker.prepare()
        broker.start()
        try:
            inputs = [each.transcript for each in texts[READ]]
            sent = {SHORT[speech]: what_is_sent(traffic, Path(folder) / speech) for speech, traffic in texts.items()}
            found: dict[str, list[float]] = {}
            for _ in range(rounds):
                for name, value in one_round(broker, inputs, sent).items():
                    found.setdefault(name, []).append(value)
        finally:
            broker.close()
    return {name: median(values) for name, values in found.items()}


def what_is_sent(traffic: Sequence[Utterance], folder: Path) -> dict[str, list[bytes]]:
    """Values on the logs between stages, by kind."""
    routed, late, seen, scored = (CountingProducer(keep=True) for _ in range(4))
    parts = Parts(folder, routed)
    pairs, outcomes, reviews, _ = parts.topics.partitions
    through(route_and_send(parts.route(Kind.TRANSCRIPT), routed), [each.transcript for each in traffic])
    through(route_and_send(parts.route(Kind.REFERENCE), late), [each.reference for each in traffic])
    scorer = parts.score()
    through(score_and_send(scorer, seen), routed.kept[pairs])
    through(score_and_send(scorer, scored), late.kept[pairs], len(traffic))
    parts.close()
    return {
        "pair_transcript": routed.kept[pairs],
        "pair_reference": late.kept[pairs],
        "review": routed.kept[reviews],
        "observation": seen.kept[outcomes],
        "outcome": scored.kept[outcomes],
    }


def one_round(broker: Broker, inputs: Sequence[bytes], sent: Mapping[str, Mapping[str, Sequence[bytes]]]) -> Costs:
    costs: Costs = {}
    topic = topic_of(broker)
    costs["log_send_input"] = sending(broker, topic, inputs, BUSY)
    costs["log_floor"] = floor(broker, topic, len(inputs))
    costs["log_poll_input"] = polling(broker, topic, len(inputs))
    for said, kinds in sent.items():
        for kind, values in kinds.items():
            topic = topic_of(broker)
            spent = sending(broker, topic, values, BUSY)
            if kind in TIMED and said == SHORT[READ]:
                costs[f"log_send_{kind}"] = spent
                costs[f"log_poll_{kind}"] = polling(broker, topic, len(values))
            costs[f"bytes_disk_{kind}_{said}"] = on_disk(broker, topic) / len(values)
    topic = topic_of(broker)
    costs["log_send_quiet"] = sending(broker, topic, sent[SHORT[READ]]["observation"], QUIET)
    costs["bytes_disk_quiet"] = on_disk(broker, topic) / len(inputs)
    return costs


def topic_of(broker: Broker) -> str:
    """A new one."""
    topic = broker.unique("costs")
    broker.create_topic(topic, PARTITIONS)
    return topic


def sending(broker: Broker, topic: str, values: Sequence[bytes], at_once: int) -> float:
    """Send to every partition in turn, and wait for the broker after so many."""
    producer = KafkaLogProducer({"bootstrap_servers": [broker.bootstrap]})
    producer.send(topic, 0, None, values[0])
    producer.flush(30.0)
    started = time.process_time()
    for number, value in enumerate(values[1:], 1):
        producer.send(topic, number % PARTITIONS, b"0123456789abcdef", value)
        if number % at_once == 0:
            producer.flush(30.0)
    producer.flush(30.0)
    spent = time.process_time() - started
    producer.close()
    return spent / len(values) * 1e6


def floor(broker: Broker, topic: str, records: int) -> float:
    """Bare kafka-python and the standard library's decoder."""
    consumer = KafkaConsumer(
        bootstrap_servers=[broker.bootstrap],
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_bytes=1 << 23,
    )
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)

    def poll() -> int:
        seen = 0
        for batch in consumer.poll(timeout_ms=100, max_records=2_000).values():
            for record in batch:
                json.loads(record.value)
            seen += len(batch)
        return seen

    spent = microseconds_until(records, poll)
    consumer.close()
    return spent


def polling(broker: Broker, topic: str, records: int) -> float:
    """As an agent polls."""
    consumer = KafkaLogConsumer({"bootstrap_servers": [broker.bootstrap]}, group=broker.unique("g"), topics=[topic])
    begun = 0
    while begun < PARTITIONS:
        consumer.poll(2_000, 0.1)
        for change in consumer.changes():
            consumer.begin(change.partition, None)
            begun += 1
    spent = microseconds_until(records, lambda: sum(map(len, consumer.poll(2_000, 0.1).values())))
    consumer.close()
    return spent


def microseconds_until(records: int, poll: Callable[[], int]) -> float:
    started, seen = time.process_time(), 0
    while seen < records:
        seen += poll()
    return (time.process_time() - started) / records * 1e6


def on_disk(broker: Broker, topic: str) -> float:
    """Bytes of the topic's segments."""
    return float(sum(file.stat().st_size for file in (broker.folder / "log").glob(f"{topic}-*/*.log")))
