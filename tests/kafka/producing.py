"""Decides how traffic comes into topics: each line where its utterance belongs, in order, at once or piece by piece."""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from types import TracebackType
from typing import Self
from zlib import crc32

from kafka import KafkaProducer

from tests.traffic import Traffic

TRANSCRIPTS, REFERENCES = "transcripts", "references"
_ID = re.compile(r'"id": ?"([^"]+)"')
PIECE_LINES = 100
PIECE_PAUSE_SECONDS = 0.02

Sent = tuple[str, str]
"""Which input a line is for, and the line."""


class Producing:
    """One producer for both input topics of a test; nobody else writes to them, so that it knows every offset."""

    def __init__(self, bootstrap: str, topics: Mapping[str, tuple[str, int]]) -> None:
        """`topics`: input -> topic and its number of partitions."""
        self._topics = topics
        self._kafka = KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            compression_type="lz4",
            # Outlive an outage: what is sent arrives, once and in order.
            delivery_timeout_ms=2_000_000_000,
            max_block_ms=600_000,
            reconnect_backoff_max_ms=500,
        )
        self.sent: dict[tuple[str, int], list[str]] = {}
        """(topic, partition) -> lines, each at its offset."""
        self._pieces: queue.SimpleQueue[Sequence[Sent] | None] = queue.SimpleQueue()
        self._open = 0
        self._settled = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="producing", daemon=True)
        self._thread.start()

    def send(self, lines: Sequence[Sent]) -> None:
        """All of them, now; returns when the broker has them."""
        for kind, line in lines:
            self._append(kind, line)
        self._kafka.flush(timeout=600)

    def begin(self, lines: Sequence[Sent]) -> None:
        """Send them piece by piece, behind our back."""
        with self._settled:
            for at in range(0, len(lines), PIECE_LINES):
                self._open += 1
                self._pieces.put(lines[at : at + PIECE_LINES])

    def wait(self, within: float = 120.0) -> None:
        """Until the broker has everything that was begun."""
        with self._settled:
            assert self._settled.wait_for(lambda: self._open == 0, within), "not everything was sent"

    def close(self) -> None:
        self._pieces.put(None)
        self._thread.join(60)
        self._kafka.close(timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def left(self, traffic: Traffic, deleted: Mapping[tuple[str, int], tuple[int, int]]) -> Traffic:
        """The traffic without what lay at [from, to) of these partitions."""
        gone: dict[str, list[str]] = {TRANSCRIPTS: [], REFERENCES: []}
        for (topic, partition), (start, end) in deleted.items():
            kind = next(kind for kind, (name, _) in self._topics.items() if name == topic)
            gone[kind] += self.sent[topic, partition][start:end]
        return Traffic(_without(traffic.transcripts, gone[TRANSCRIPTS]), _without(traffic.references, gone[REFERENCES]))

    # --------------------------------------------------------------------------------------------------------- private
    def _append(self, kind: str, line: str) -> None:
        topic, partitions = self._topics[kind]
        key = _id_of(line)
        # Not by the same hash for both: the inputs of customers are not co-partitioned either.
        partition = crc32(kind.encode() + key) % partitions
        self.sent.setdefault((topic, partition), []).append(line)
        self._kafka.send(topic, value=line.encode(), key=key, partition=partition)

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self.send(piece)
            time.sleep(PIECE_PAUSE_SECONDS)  # a producer's pace, not a synchronisation
            with self._settled:
                self._open -= 1
                self._settled.notify_all()


def in_order(traffic: Traffic) -> list[Sent]:
    """Both inputs in one order, by event time, as they come about."""
    both = [*_timed(TRANSCRIPTS, traffic.transcripts), *_timed(REFERENCES, traffic.references)]
    return [sent for _, sent in sorted(both, key=lambda pair: pair[0])]


def traffic_of(lines: Sequence[Sent]) -> Traffic:
    """The other way round."""
    return Traffic(*([line for kind, line in lines if kind == each] for each in (TRANSCRIPTS, REFERENCES)))


def parts(lines: Sequence[Sent], number: int) -> list[Sequence[Sent]]:
    """As many parts of about one size."""
    bounds = [round(len(lines) * index / number) for index in range(number + 1)]
    return [lines[start:end] for start, end in pairwise(bounds)]


def _timed(kind: str, lines: Sequence[str]) -> Iterator[tuple[float, Sent]]:
    at = 0.0
    for line in lines:
        if line.endswith("}"):  # one that is cut off comes with the one before it
            at = datetime.fromisoformat(json.loads(line)["ts"]).timestamp()
        yield at, (kind, line)


def _id_of(line: str) -> bytes:
    """Of a message that is cut off, too, if it has come as far."""
    found = _ID.search(line)
    return found[1].encode() if found is not None else b"none"


def _without(lines: Sequence[str], gone: Sequence[str]) -> list[str]:
    """Duplicates count: each that is gone takes one away."""
    left = Counter(gone)
    kept = []
    for line in lines:
        if left[line] > 0:
            left[line] -= 1
        else:
            kept.append(line)
    return kept
