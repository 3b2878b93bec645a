"""What reading from a real Kafka costs, against the floor: kafka-python's own poll and a decoder of each value.

    PYTHONPATH=. .venv/bin/python tests/bench/bench_ingest.py [--records N] [--rounds N]

Every reader is a process of its own that reads the same records from their beginning; the figure is CPU time a record,
all threads, medians over the rounds. Reading alone is timed: not the start, not leaving the group.
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
import threading
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import msgspec
import structlog

from monitor.adapters.kafka.producer import KafkaLogProducer
from monitor.adapters.store import Store
from monitor.agent import STREAMS, Agent
from monitor.building import build_scorer, state_fingerprint
from monitor.config import Settings, load_settings
from monitor.topics.opening import open_topic_input
from tests.kafka.broker import Broker

WORDS = (
    "please",
    "give",
    "five",
    "milligrams",
    "of",
    "warfarin",
    "to",
    "the",
    "patient",
    "in",
    "bed",
    "seven",
    "today",
)
PARTITIONS = 4
REFERENCES_SHARE = 0.1
READERS = {
    "json": "poll + json.loads",
    "msgspec": "poll + msgspec",
    "5 %": "the agent, probability 0.05",
    "100 %": "the agent, probability 1.0",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader is not None:
        print(json.dumps(read(options.reader, options.bootstrap, options.records)))
        return
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "kafka")
        broker.prepare()
        broker.start()
        try:
            bytes_each = produce(broker, options.records)
            print(f"{options.records} records of {bytes_each:.0f} bytes, {PARTITIONS} partitions a topic")
            report(broker.bootstrap, options.records, options.rounds)
        finally:
            broker.close()


def produce(broker: Broker, records: int) -> float:
    """Transcripts and one reference for each tenth of them; the mean size."""
    broker.create_topic("transcripts", PARTITIONS)
    broker.create_topic("references", PARTITIONS)
    producer = KafkaLogProducer({"bootstrap_servers": [broker.bootstrap]})
    rng = random.Random(1)
    now = time.time()
    references = round(records * REFERENCES_SHARE / (1 + REFERENCES_SHARE))
    size = 0
    for number in range(records):
        late = number >= records - references
        utterance = number - (records - references) if late else number
        said = " ".join(rng.choice(WORDS) for _ in range(60))
        at = int((now - 3 * 86_400 + utterance * 0.5 + (86_400 if late else 0)) * 1000)
        fields: dict[str, object] = {"schema": 1, "id": f"utterance-{utterance:09d}", "ts": at, "text": said}
        if not late:
            fields |= {
                "customer": "acme", "deployment": "wards", "accent": rng.choice(["us", "scottish", "yoruba"]),
                "language": "en", "model": "large-7",
                "speaker": f"s{utterance % 900}", "session": f"c{utterance // 12}",
                "attributes": {"site": "st-brigid", "device": "scanner-9", "channel": "microphone"}, "confidence": 0.93,
            }  # fmt: skip
        value = json.dumps(fields).encode()
        size += len(value)
        key = str(fields["id"]).encode()
        producer.send("references" if late else "transcripts", crc32(key) % PARTITIONS, key, value)
        if number % 10_000 == 9_999:
            producer.flush(60.0)
    producer.flush(60.0)
    producer.close()
    return size / records


def report(bootstrap: str, records: int, rounds: int) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
    for _ in range(rounds):
        for name in READERS:
            done = subprocess.run(
                [sys.executable, __file__, "--reader", name, "--bootstrap", bootstrap, "--records", str(records)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            found[name].append(json.loads(done.stdout))
    floor = statistics.median(one["cpu"] for one in found["json"])
    for name, what in READERS.items():
        cpu = statistics.median(one["cpu"] for one in found[name])
        wall = statistics.median(one["wall"] for one in found[name])
        rss = statistics.median(one["rss"] for one in found[name])
        print(
            f"{what:28s} {cpu / records * 1e6:6.1f} us CPU a record, {floor / cpu:.2f} of the floor's rate; "
            f"{wall / records * 1e6:6.1f} us elapsed, {rss / 1e6:.0f} MB resident"
        )


# ------------------------------------------------------------------------------------------------------------- readers
def read(reader: str, bootstrap: str, records: int) -> dict[str, float]:
    decoders: dict[str, Callable[[bytes], object]] = {"json": json.loads, "msgspec": msgspec.json.decode}
    if reader in decoders:
        return floor(bootstrap, records, decoders[reader])
    return agent(reader, bootstrap, records)


def floor(bootstrap: str, records: int, decode: Callable[[bytes], object]) -> dict[str, float]:
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=[bootstrap],
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_bytes=1 << 23,
    )
    partitions = [TopicPartition(topic, n) for topic in ("transcripts", "references") for n in range(PARTITIONS)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    started_cpu, started = time.process_time(), time.monotonic()
    seen = 0
    while seen < records:
        for batch in consumer.poll(timeout_ms=100, max_records=2_000).values():
            for record in batch:
                decode(record.value)
            seen += len(batch)
    return _measured(started_cpu, started)


def agent(reader: str, bootstrap: str, records: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(bootstrap, folder, 0.05 if reader == "5 %" else 1.0)
        topics = open_topic_input(settings)
        while not topics.whole():
            pass
        store = Store.open(Path(folder) / "partition-0.db", config_sha256=state_fingerprint(settings))
        watched = Agent(
            settings,
            source=topics,
            clock=lambda _line: time.time(),
            store=store,
            scorer=build_scorer(settings),
            folder=Path(folder),
            log=structlog.get_logger(),
            streams=STREAMS,
            topics=topics,
        )
        started_cpu, started = time.process_time(), time.monotonic()
        watched.run(Durable(store, records))
        measured = _measured(started_cpu, started)
        watched.close()
        topics.close()
        return measured


class Durable(threading.Event):
    """Set once this many records are in the state."""

    def __init__(self, store: Store, records: int) -> None:
        super().__init__()
        self._store = store
        self._records = records

    def is_set(self) -> bool:
        return sum(self._store.offsets().values()) >= self._records


def _settings(bootstrap: str, folder: str, probability: float) -> Settings:
    return load_settings(
        None,
        {},
        {
            "input.kind": "kafka",
            "input.transcripts": ["transcripts"],
            "input.references": ["references"],
            "kafka.bootstrap_servers": [bootstrap],
            "kafka.group": f"bench-{time.time_ns()}",
            "kafka.allow_plaintext": True,
            "kafka.security.protocol": "PLAINTEXT",
            "sampling.probability": probability,
            "state.path": folder,
        },
    )


def _measured(started_cpu: float, started: float) -> dict[str, float]:
    return {
        "cpu": time.process_time() - started_cpu,
        "wall": time.monotonic() - started,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
    }


if __name__ == "__main__":
    main()
