"""What a record costs by each client library, read and written, over the same `LogConsumer` and `LogProducer`.

    PYTHONPATH=. .venv/bin/python tests/bench/bench_clients.py [--records N] [--rounds N]

Every reader and writer is a process of its own; CPU is that of all its threads, medians over the rounds. Reading alone
is timed, not joining the group. Bare kafka-python is a loop over its own `poll`, as in bench_ingest.py.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from kafka import KafkaConsumer, TopicPartition

from monitor.adapters.kafka.consumer import KafkaLogConsumer
from monitor.adapters.kafka.fast_consumer import FastLogConsumer
from monitor.adapters.kafka.fast_producer import FastLogProducer
from monitor.adapters.kafka.port import LogConsumer, LogProducer, Partition
from monitor.adapters.kafka.producer import KafkaLogProducer
from tests.kafka.broker import Broker

TOPIC = "transcripts"
WRITTEN = "written"
PARTITIONS = 4
RECORD_BYTES = 750
RECORDS_AT_ONCE = 2_000
FLUSH_RECORDS = 10_000

Measured = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job is not None:
        print(json.dumps(JOBS[options.job](options.bootstrap, options.records)))
        return
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "kafka")
        broker.prepare()
        broker.start()
        try:
            for topic in (TOPIC, WRITTEN):
                broker.create_topic(topic, PARTITIONS)
            write(KafkaLogProducer({"bootstrap_servers": [broker.bootstrap]}), TOPIC, options.records)
            report(broker.bootstrap, options.records, options.rounds)
        finally:
            broker.close()


def report(bootstrap: str, records: int, rounds: int) -> None:
    found: dict[str, list[Measured]] = {name: [] for name in JOBS}
    for _ in range(rounds):
        for name in JOBS:
            done = subprocess.run(
                [sys.executable, __file__, "--job", name, "--bootstrap", bootstrap, "--records", str(records)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            found[name].append(json.loads(done.stdout))
    print(f"{records} records of {RECORD_BYTES} bytes, {PARTITIONS} partitions, medians of {rounds} rounds")
    for name, measured in found.items():
        cpu, wall, rss = (statistics.median(one[what] for one in measured) for what in ("cpu", "wall", "rss"))
        print(
            f"{name:32s} {cpu / records * 1e6:6.2f} us CPU a record, {wall / records * 1e6:6.2f} us elapsed, "
            f"{rss / 1e6:4.0f} MB resident"
        )


# -------------------------------------------------------------------------------------------------------------- reading
def bare(bootstrap: str, records: int) -> Measured:
    consumer = KafkaConsumer(
        bootstrap_servers=[bootstrap], enable_auto_commit=False, isolation_level="read_committed",
        fetch_max_bytes=1 << 23,
    )  # fmt: skip
    partitions = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    with Clock() as clock:
        seen = 0
        while seen < records:
            seen += sum(map(len, consumer.poll(timeout_ms=100, max_records=RECORDS_AT_ONCE).values()))
    return clock.measured


def read(consumer: LogConsumer, records: int) -> Measured:
    """Every partition from its first record, by the port."""
    waiting: list[Partition] = []
    while len(waiting) < PARTITIONS:
        assert not consumer.poll(RECORDS_AT_ONCE, 0.1)
        came = [change.partition for change in consumer.changes() if change.assigned]
        waiting += came
    with Clock() as clock:
        for partition in waiting:
            consumer.begin(partition, 0)
        seen = 0
        while seen < records:
            seen += sum(map(len, consumer.poll(RECORDS_AT_ONCE, 0.1).values()))
    consumer.close()
    return clock.measured


# -------------------------------------------------------------------------------------------------------------- writing
def write(producer: LogProducer, topic: str, records: int) -> Measured:
    rng = random.Random(1)
    words = [bytes(rng.choices(range(97, 123), k=rng.randint(2, 9))) for _ in range(2_000)]
    values = [b" ".join(rng.choices(words, k=150))[:RECORD_BYTES] for _ in range(500)]
    with Clock() as clock:
        for number in range(records):
            producer.send(topic, number % PARTITIONS, b"utterance-%09d" % number, values[number % len(values)])
            if number % FLUSH_RECORDS == FLUSH_RECORDS - 1:
                producer.flush(60.0)
        producer.flush(60.0)
    producer.close()
    return clock.measured


# -------------------------------------------------------------------------------------------------------------- private
class Clock:
    """CPU of all threads, time elapsed, and memory at most, of a block."""

    def __enter__(self) -> Self:
        self._cpu, self._wall = time.process_time(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.measured = {
            "cpu": time.process_time() - self._cpu,
            "wall": time.monotonic() - self._wall,
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
        }


def _group() -> str:
    return f"bench-{time.time_ns()}"


JOBS: Mapping[str, Callable[[str, int], Measured]] = {
    "read: bare kafka-python": bare,
    "read: kafka-python": lambda bootstrap, records: read(
        KafkaLogConsumer({"bootstrap_servers": [bootstrap]}, group=_group(), topics=[TOPIC]), records
    ),
    "read: confluent": lambda bootstrap, records: read(
        FastLogConsumer({"bootstrap.servers": bootstrap}, group=_group(), topics=[TOPIC]), records
    ),
    "write: kafka-python": lambda bootstrap, records: write(
        KafkaLogProducer({"bootstrap_servers": [bootstrap]}), WRITTEN, records
    ),
    "write: confluent": lambda bootstrap, records: write(
        FastLogProducer({"bootstrap.servers": bootstrap}), WRITTEN, records
    ),
}


if __name__ == "__main__":
    main()
