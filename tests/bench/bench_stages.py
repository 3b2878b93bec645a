"""What a record costs in each stage, in CPU and in bytes: what docs/scaling.md is computed from.

    PYTHONPATH=. .venv/bin/python tests/bench/bench_stages.py [--messages 24000] [--rounds 3] [--no-broker]

Each stage is the code that runs in production over real state files, in this process: batches of 2,000 records are read
from memory, made durable, and what they lead to is handed to a producer that counts bytes. What the log itself costs is
measured beside it on a real broker. CPU time of all threads; medians over batches, and over rounds in which everything
takes its turn. Ratios are to `json.loads` of the same transcripts, and to a bare kafka-python loop of poll and
`json.loads`, in the same run. The names at the left are those of tests/bench/scaling_costs.py.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from monitor.adapters.kafka.port import LogRecord
from monitor.adapters.wire.entries import encode_entry, encode_pair
from monitor.core.records import Kind, Mark
from tests.bench.log_costs import log_costs
from tests.bench.stage_parts import (
    READ,
    SHORT,
    TALK,
    Costs,
    CountingProducer,
    Parts,
    Utterance,
    batches,
    decide_and_commit,
    microseconds_each,
    route_and_send,
    score_and_send,
    through,
    utterances,
)

WIDE: dict[str, object] = {
    "slices__dimensions": ["accent", "deployment", "site", "channel"],
    "slices__intersections": "two-way",
}
"""Eleven slices an utterance; by default four."""
UPSTREAMS = (12, 96, 384)
MARKS = 4_000
CHECKPOINTS = 40
ROLES = ("route", "score", "decide")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=24_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-broker", action="store_true")
    parser.add_argument("--checkpoints", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.checkpoints is not None:
        checkpoints(options.checkpoints[0], int(options.checkpoints[1]))
        return
    texts = {speech: utterances(options.messages, speech) for speech in SHORT}
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for costs in (*(of_speech(speech, texts[speech]) for speech in SHORT), of_slices(texts[READ]), of_marks()):
            for name, value in costs.items():
                found[name].append(value)
        for role in ROLES:
            found[f"{role}_checkpoint"].append(idle_checkpoint(role))
    for role in ROLES:
        found[f"{role}_fsyncs"].append(fsyncs(role))
    if not options.no_broker:
        for name, value in log_costs(texts, options.rounds).items():
            found[name].append(value)
    report({name: median(values) for name, values in found.items()})


def report(costs: Costs) -> None:
    floor, bare = costs["json_loads"], costs.get("log_floor")
    for name, value in costs.items():
        if name.startswith("bytes_"):
            print(f"{name:28}{value:9.0f} bytes")
        elif name.endswith("_fsyncs"):
            print(f"{name:28}{value:9.1f} fsyncs a checkpoint")
        else:
            ratio = f"{value / floor:7.1f} x json.loads"
            print(f"{name:28}{value:9.2f} us {ratio}" + (f"{value / bare:7.2f} x poll + json.loads" if bare else ""))


# --------------------------------------------------------------------------------------------------------- a record
def of_speech(speech: str, traffic: Sequence[Utterance]) -> Costs:
    """Everything that depends on the length of texts."""
    said = SHORT[speech]
    transcripts = [each.transcript for each in traffic]
    references = [each.reference for each in traffic]
    costs: Costs = {} if speech == TALK else {"json_loads": microseconds_each(transcripts, decode)}
    costs[f"bytes_transcript_{said}"] = sum(map(len, transcripts)) / len(transcripts)
    costs[f"bytes_reference_{said}"] = sum(map(len, references)) / len(references)
    for name, overrides in (
        ("passed_over", {"sampling__probability": 1e-9}),
        ("read_not_kept", {"sampling__labels_per_day": 1.0, "sampling__per_stratum_min": 0.0}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            producer = CountingProducer()
            parts = Parts(Path(folder), producer, **overrides)
            work = route_and_send(parts.route(Kind.TRANSCRIPT), producer)
            costs[f"route_{name}_{said}"] = microseconds_each(transcripts, work)
            parts.close()
    with tempfile.TemporaryDirectory() as folder:
        costs |= along_the_path(said, Path(folder), transcripts, references)
    return costs


def decode(batch: Sequence[LogRecord]) -> None:
    for record in batch:
        json.loads(record.value or b"")


def along_the_path(said: str, folder: Path, transcripts: Sequence[bytes], references: Sequence[bytes]) -> Costs:
    """Everything is kept: ROUTE's records go to SCORE, and SCORE's to DECIDE."""
    costs: Costs = {}
    routed = CountingProducer(keep=True)
    parts = Parts(folder, routed)
    pairs, outcomes, reviews, _ = parts.topics.partitions
    costs[f"route_transcript_{said}"] = microseconds_each(
        transcripts, route_and_send(parts.route(Kind.TRANSCRIPT), routed)
    )
    costs[f"bytes_pair_transcript_{said}"] = routed.bytes_each(pairs)
    costs[f"bytes_review_{said}"] = routed.bytes_each(reviews)
    late = CountingProducer(keep=True)
    costs[f"route_reference_{said}"] = microseconds_each(references, route_and_send(parts.route(Kind.REFERENCE), late))
    costs[f"bytes_pair_reference_{said}"] = late.bytes_each(pairs)

    scorer = parts.score()
    seen, scored = CountingProducer(keep=True), CountingProducer(keep=True)
    number = len(transcripts)
    costs[f"score_transcript_{said}"] = microseconds_each(routed.kept[pairs], score_and_send(scorer, seen))
    costs[f"score_reference_{said}"] = microseconds_each(late.kept[pairs], score_and_send(scorer, scored), number)
    if said == "read":
        costs["bytes_observation"] = seen.bytes_each(outcomes)
        costs["bytes_outcome"] = scored.bytes_each(outcomes)
        work = decide_and_commit(parts.decide())
        costs["decide_observation"] = microseconds_each(seen.kept[outcomes], work)
        costs["decide_outcome"] = microseconds_each(scored.kept[outcomes], work, number)
        costs |= expired(parts, routed.kept[pairs])
    parts.close()
    return costs


def expired(parts: Parts, pairs: Sequence[bytes]) -> Costs:
    """Transcripts whose time runs out without a correction, and what DECIDE does with them."""
    missing, outcomes = CountingProducer(keep=True), parts.settings.kafka.topics.outcomes
    scorer = parts.score("expiring")
    through(score_and_send(scorer, CountingProducer()), pairs)
    later = Mark(
        upstream="transcripts-0@01234567", of=1, reached_at=time.time() + 40 * 86_400.0, current=False, at=time.time(),
        made_by=parts.topics.made_by,
    )  # fmt: skip
    mark = next(batches([encode_pair(later, parts.names)], len(pairs)))
    started = time.process_time()
    score_and_send(scorer, missing)(mark)
    spent = time.process_time() - started
    work = decide_and_commit(parts.decide("expired"))
    return {
        "score_missing": spent / len(pairs) * 1e6,
        "bytes_missing": missing.bytes_each(outcomes),
        "decide_missing": microseconds_each(missing.kept[outcomes], work),
    }


def of_slices(traffic: Sequence[Utterance]) -> Costs:
    """DECIDE where an utterance lies in eleven slices."""
    with tempfile.TemporaryDirectory() as folder:
        seen, scored = outcomes_of(traffic, Path(folder))
        parts = Parts(Path(folder), CountingProducer(), **WIDE)
        work = decide_and_commit(parts.decide())
        costs = {
            "decide_observation_wide": microseconds_each(seen, work),
            "decide_outcome_wide": microseconds_each(scored, work, len(seen)),
        }
        parts.close()
    return costs


def outcomes_of(traffic: Sequence[Utterance], folder: Path) -> tuple[list[bytes], list[bytes]]:
    """What SCORE sends of transcripts, and of references."""
    routed, seen, scored = (CountingProducer(keep=True) for _ in range(3))
    parts = Parts(folder, routed, **WIDE)
    pairs, outcomes, *_ = parts.topics.partitions
    through(route_and_send(parts.route(Kind.TRANSCRIPT), routed), [each.transcript for each in traffic])
    through(route_and_send(parts.route(Kind.REFERENCE), routed), [each.reference for each in traffic])
    scorer, number = parts.score(), len(traffic)
    through(score_and_send(scorer, seen), routed.kept[pairs][:number])
    through(score_and_send(scorer, scored), routed.kept[pairs][number:], number)
    parts.close()
    return seen.kept[outcomes], scored.kept[outcomes]


# ---------------------------------------------------------------------------------------------- marks and checkpoints
def of_marks() -> Costs:
    """A mark in SCORE and in DECIDE, by how many upstreams there are: each settles what event time waits for."""
    costs: Costs = {}
    for upstreams in UPSTREAMS:
        with tempfile.TemporaryDirectory() as folder:
            parts = Parts(Path(folder), CountingProducer())
            now = time.time()
            marks = [
                Mark(
                    upstream=f"transcripts-{number % upstreams}@01234567", of=upstreams,
                    reached_at=now - 60.0 + number / MARKS, current=False, at=now + number / MARKS,
                    made_by=parts.topics.made_by,
                )
                for number in range(MARKS)
            ]  # fmt: skip
            values = [encode_pair(mark, parts.names) for mark in marks]
            costs[f"score_mark_{upstreams}"] = microseconds_each(values, score_and_send(parts.score(), parts.producer))
            costs["bytes_mark"] = sum(map(len, values)) / len(values)
            values = [encode_entry(mark, parts.names) for mark in marks]
            costs[f"decide_mark_{upstreams}"] = microseconds_each(values, decide_and_commit(parts.decide()))
            parts.close()
    return costs


def lone_records(role: str, parts: Parts, number: int) -> list[Callable[[], None]]:
    """Batches of a single record each, and what a checkpoint does with it."""
    traffic = utterances(number, READ)
    if role == "route":
        work = route_and_send(parts.route(Kind.TRANSCRIPT), parts.producer)
        values = [each.transcript for each in traffic]
    else:
        routed = CountingProducer(keep=True)
        through(route_and_send(parts.route(Kind.TRANSCRIPT), routed), [each.transcript for each in traffic])
        values = routed.kept[parts.settings.kafka.topics.pairs]
        scorer = parts.score()
        work = score_and_send(scorer, parts.producer)
        if role == "decide":
            seen = CountingProducer(keep=True)
            through(score_and_send(scorer, seen), values)
            values = seen.kept[parts.settings.kafka.topics.outcomes]
            work = decide_and_commit(parts.decide())
    lone = [next(batches([value], index)) for index, value in enumerate(values)]
    return [lambda batch=batch: work(batch) for batch in lone]  # type: ignore[misc]


def idle_checkpoint(role: str) -> float:
    """CPU of a partition's checkpoint, microseconds: one record in it, so that there is something to make durable."""
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(Path(folder), CountingProducer())
        found = []
        for work in lone_records(role, parts, CHECKPOINTS * 5):
            started = time.process_time()
            work()
            found.append((time.process_time() - started) * 1e6)
        parts.close()
        return median(found)


def checkpoints(role: str, number: int) -> None:
    """What `fsyncs` watches: so many checkpoints, or none."""
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(Path(folder), CountingProducer())
        for work in lone_records(role, parts, CHECKPOINTS)[:number]:
            work()
        parts.close()


def fsyncs(role: str) -> float:
    """Calls of fsync and fdatasync a checkpoint, as the kernel sees them; nan where strace is not installed."""
    if shutil.which("strace") is None:
        return float("nan")
    counted = []
    for number in (0, CHECKPOINTS):
        with tempfile.NamedTemporaryFile("r") as seen:
            command = ["strace", "-f", "-o", seen.name, "-e", "trace=fsync,fdatasync", sys.executable, __file__]
            subprocess.run([*command, "--checkpoints", role, str(number)], check=True)
            counted.append(len(re.findall(r"\b(?:fsync|fdatasync)\(", seen.read())))
    return (counted[1] - counted[0]) / CHECKPOINTS


if __name__ == "__main__":
    random.seed(1)
    main()
