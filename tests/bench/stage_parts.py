"""Decides what the benches of single stages are made of: messages, workers over real state files, a counting producer.

Everything is the code that runs in production but for the log: records come as they lie in memory, and what a stage
sends is counted by bytes. What the log itself costs is measured apart (bench_log.py).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from monitor.adapters.kafka.port import LogRecord, Partition, TopicFacts
from monitor.building import build_scorer, hash_key, pipeline_settings, state_fingerprint
from monitor.config import Settings, load_settings
from monitor.core.apart import DecideStage, RouteStage, ScoreStage
from monitor.core.counters import Counters
from monitor.core.records import Kind
from monitor.core.rejections import RejectionGuard
from monitor.decoders import decoder_for
from monitor.topics.partition_state import PartitionState
from monitor.topics.workers import DecideWorker, RouteWorker, ScoreWorker, Topics
from tests.bench.bench_scoring import Pair, conversation, read_speech
from tests.kafka.memory import MemoryRecord

BATCH = 2_000
"""Records of one poll at most, made durable together: what a busy partition does in a second."""
PARTITIONS = 12
CUSTOMER = "acme"

READ, TALK = "read speech", "conversation"
TEXTS: Mapping[str, Callable[[int], list[Pair]]] = {READ: read_speech, TALK: conversation}
"""About 9 and about 27 words."""


SHORT: Mapping[str, str] = {READ: "read", TALK: "talk"}
"""In names of costs."""

Costs = dict[str, float]


class Utterance(NamedTuple):
    """Both messages about one utterance, as a customer publishes them."""

    transcript: bytes
    reference: bytes


def utterances(number: int, speech: str, seed: int = 1) -> list[Utterance]:
    """The last three days' traffic of one customer: sessions of 12 utterances, corrected a day later."""
    rng = random.Random(seed)
    begun = time.time() - 4 * 86_400.0
    made = []
    for index, (heard, said) in enumerate(TEXTS[speech](number)):
        at = begun + index * 3 * 86_400.0 / number
        id_ = f"{rng.getrandbits(80):020x}"
        fields = {
            "schema": 1, "id": id_, "ts": round(at * 1000), "text": heard, "customer": CUSTOMER,
            "deployment": ("wards", "clinic", "theatre")[index // 12 % 3],
            "accent": ("us", "scottish", "yoruba", "indian")[index // 12 % 4],
            "language": "en", "model": "large-7", "speaker": f"s{index // 12 % 900}", "session": f"c{index // 12}",
            "attributes": {"site": "st-brigid", "device": "scanner-9", "channel": "microphone"}, "confidence": 0.93,
        }  # fmt: skip
        corrected = {"schema": 1, "id": id_, "ts": round((at + 86_400.0) * 1000), "text": said, "source": "sampled"}
        made.append(Utterance(json.dumps(fields).encode(), json.dumps(corrected).encode()))
    return made


def settings(folder: Path, **overrides: object) -> Settings:
    """As for stages apart; `overrides` name settings with `__` for dots."""
    usual: dict[str, object] = {
        "input.kind": "kafka",
        "input.transcripts": ["transcripts"],
        "input.references": ["references"],
        "kafka.bootstrap_servers": ["nowhere:9092"],
        "kafka.allow_plaintext": True,
        "kafka.security.protocol": "PLAINTEXT",
        "state.path": str(folder),
        "state.pending_max": 100_000_000,
    }
    return load_settings(None, {}, usual | {name.replace("__", "."): value for name, value in overrides.items()})


class CountingProducer:
    """A `LogProducer` that counts what it is given, and keeps the values that the next stage is to read."""

    def __init__(self, *, keep: bool = False) -> None:
        self.records: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        """Bytes of keys and values by topic."""
        self.kept: dict[str, list[bytes]] = {}
        self._keep = keep

    def partitions(self, topic: str) -> int:
        return 1 if topic.endswith(("reviews", "dead-letters")) else PARTITIONS

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self.records[topic] = self.records.get(topic, 0) + 1
        self.sizes[topic] = self.sizes.get(topic, 0) + len(key or b"") + len(value or b"")
        if self._keep:
            self.kept.setdefault(topic, []).append(value or b"")

    def flush(self, wait_seconds: float) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""

    def bytes_each(self, topic: str) -> float:
        return self.sizes[topic] / self.records[topic]


class Parts:
    """The workers of one partition each, over state files in one folder."""

    def __init__(self, folder: Path, producer: CountingProducer, **overrides: object) -> None:
        self.settings = settings(folder, **overrides)
        self.producer = producer
        self._folder = folder
        self._core = pipeline_settings(self.settings)
        self._key = hash_key(self.settings)
        self._fingerprint = state_fingerprint(self.settings)
        names = self.settings.kafka.topics
        self.topics = Topics(
            names, producer, (names.pairs, names.outcomes, names.reviews, names.dead_letters), self._fingerprint[:16]
        )
        self.names = self.settings.slices.names
        self._states: list[PartitionState] = []

    def state(self, topic: str) -> PartitionState:
        opened = PartitionState.open(
            self._folder, Partition(topic, 0), TopicFacts("0" * 32, PARTITIONS), self._fingerprint
        )
        self._states.append(opened)
        return opened

    def route(self, kind: Kind) -> RouteWorker:
        topic = "transcripts" if kind is Kind.TRANSCRIPT else "references"
        state, counters = self.state(topic), Counters()
        return RouteWorker(
            state,
            RouteStage(self._core, self._key, counters, state.upstream, 1),
            kind=kind,
            decode=decoder_for(self.settings, kind, topic),
            may_skim=True,
            topics=self.topics,
            dimensions=self.names,
            counters=counters,
            guard=RejectionGuard(),
            reviews=self.settings.privacy.reviews,
        )

    def score(self, name: str = "pairs") -> ScoreWorker:
        state, counters = self.state(name), Counters()
        scorer = build_scorer(self.settings)
        stage = ScoreStage(self._core, state.store, scorer, self._key, counters, state.upstream, 1)
        return ScoreWorker(state, stage, topics=self.topics, dimensions=self.names, counters=counters)

    def decide(self, name: str = "outcomes") -> DecideWorker:
        state, counters = self.state(name), Counters()
        return DecideWorker(
            state,
            DecideStage(self._core, counters),
            folder=self._folder / "results",
            dimensions=self.names,
            counters=counters,
            tell=lambda _told: None,
        )

    def close(self) -> None:
        for state in self._states:
            state.close()


def batches(values: Sequence[bytes], first: int = 0) -> Iterator[list[LogRecord]]:
    """As polls give them."""
    for start in range(0, len(values), BATCH):
        part = values[start : start + BATCH]
        yield [MemoryRecord(first + start + index, None, value) for index, value in enumerate(part)]


def through(work: Callable[[Sequence[LogRecord]], None], values: Sequence[bytes], first: int = 0) -> None:
    """All of it, untimed."""
    for batch in batches(values, first):
        work(batch)


def microseconds_each(values: Sequence[bytes], work: Callable[[Sequence[LogRecord]], None], first: int = 0) -> float:
    """CPU a record: the median over batches."""
    found = []
    for batch in batches(values, first):
        started = time.process_time()
        work(batch)
        found.append((time.process_time() - started) / len(batch) * 1e6)
    return median(found)


def route_and_send(worker: RouteWorker, producer: CountingProducer) -> Callable[[Sequence[LogRecord]], None]:
    """A batch through ROUTE: read, sent, its position durable."""

    def work(batch: Sequence[LogRecord]) -> None:
        worker.feed(batch)
        worker.send_reviews(producer)
        worker.send(producer)
        worker.sent()

    return work


def score_and_send(worker: ScoreWorker, producer: CountingProducer) -> Callable[[Sequence[LogRecord]], None]:
    """A batch through SCORE: joined, durable, sent."""

    def work(batch: Sequence[LogRecord]) -> None:
        worker.feed(batch)
        worker.commit()
        while not worker.send(producer):
            pass
        worker.sent()

    return work


def decide_and_commit(worker: DecideWorker) -> Callable[[Sequence[LogRecord]], None]:
    """A batch through DECIDE, durable."""

    def work(batch: Sequence[LogRecord]) -> None:
        worker.feed(batch)
        worker.commit()

    return work
