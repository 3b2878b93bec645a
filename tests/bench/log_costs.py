"""Decides what the log itself costs an agent: to poll a record and to send one, on a real broker, and bytes on its disk.

Bare kafka-python with `json.loads` is the floor. CPU is that of this process with the client's own threads.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from kafka import KafkaConsumer, TopicPartition

from monitor.adapters.kafka.consumer import KafkaLogConsumer
from monitor.adapters.kafka.producer import KafkaLogProducer
from monitor.core.records import Kind
from tests.bench.stage_parts import PARTITIONS, CountingProducer, Parts, Utterance, batches, route_and_send
from tests.kafka.broker import Broker

BUSY, QUIET = 2_000, 120
"""Records between two flushes: of an agent in a hurry, and of one with ten records a partition and second."""


def log_costs(traffic: Sequence[Utterance], rounds: int) -> dict[str, float]:
    """`log_floor`, `log_poll_*` and `log_send_*`: microseconds a record; `bytes_log_*`: its overhead on disk."""
    transcripts = [each.transcript for each in traffic]
    with tempfile.TemporaryDirectory() as folder:
        routed = CountingProducer(keep=True)
        parts = Parts(Path(folder) / "state", routed)
        (Path(folder) / "state").mkdir()
        through = route_and_send(parts.route(Kind.TRANSCRIPT), routed)
        for batch in batches(transcripts):
            through(batch)
        parts.close()
        pairs = routed.kept[parts.settings.kafka.topics.pairs]
        broker = Broker(Path(folder) / "kafka")
        broker.prepare()
        broker.start()
        try:
            return measured(broker, transcripts, pairs, rounds)
        finally:
            broker.close()


def measured(broker: Broker, transcripts: Sequence[bytes], pairs: Sequence[bytes], rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        inputs, between, quiet = (broker.unique(name) for name in ("inputs", "between", "quiet"))
        for topic in (inputs, between, quiet):
            broker.create_topic(topic, PARTITIONS)
        each = {
            "log_send_input": sending(broker, inputs, transcripts, BUSY),
            "log_send_pair": sending(broker, between, pairs, BUSY),
            "log_send_pair_quiet": sending(broker, quiet, pairs, QUIET),
            "log_floor": floor(broker, inputs, len(transcripts)),
            "log_poll_input": polling(broker, inputs, len(transcripts)),
            "log_poll_pair": polling(broker, between, len(pairs)),
            "bytes_log_overhead": on_disk(broker, between) / len(pairs) - sum(map(len, pairs)) / len(pairs),
            "bytes_log_overhead_quiet": on_disk(broker, quiet) / len(pairs) - sum(map(len, pairs)) / len(pairs),
        }
        for name, value in each.items():
            found.setdefault(name, []).append(value)
    return {name: median(values) for name, values in found.items()}


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
