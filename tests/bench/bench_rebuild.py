"""How soon SCORE is ready again with a million pending transcripts: from its own state files, and from the log alone.

    PYTHONPATH=. .venv/bin/python tests/bench/bench_rebuild.py [--pending 200000] [--partitions 12] [--repeats 1]

One process of `wervane run --stages score` on a real broker, as it is started again after a crash: ready is when
`/readyz` says so, from the start of the process on. Resident memory is the process's highest. The goals, at a million:
5 s from its files, 60 s from the log.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from monitor.adapters.kafka.producer import KafkaLogProducer
from monitor.adapters.wire.entries import encode_pair
from monitor.core.apart import PairEntry
from monitor.core.pairing_port import HeldTranscript
from monitor.core.records import Mark, Origin
from monitor.core.slicing import SliceSettings
from tests.agent.processes import Running
from tests.bench.bench_scoring import read_speech
from tests.kafka.broker import Broker
from tests.kafka.running import Agent, Fleet, make_topics

DAYS = 29.0
AT_ONCE = 20_000
TEXTS = 20_000
INPUTS = 12
"""Partitions of all inputs: so many upstreams send marks."""
PATIENCE_SECONDS = 1_800.0


class Life(NamedTuple):
    """One life of the process, until it was ready."""

    seconds: float
    cpu: float
    resident_mb: float
    disk_mb: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pending", type=int, default=200_000)
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--marks", type=int, default=0, help="marks on the log, for each pending transcript")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "kafka")
        broker.prepare()
        broker.start()
        try:
            measure(broker, Path(folder), options.pending, options.partitions, options.repeats, options.marks)
        finally:
            broker.close()


def measure(broker: Broker, folder: Path, pending: int, partitions: int, repeats: int, marks: int) -> None:
    topics = make_topics(broker, pairs=partitions, outcomes=4)
    produce(broker, topics.pairs[0], partitions, pending, marks)
    on_log = sum(file.stat().st_size for file in (broker.folder / "log").glob(f"{topics.pairs[0]}-*/*.log"))
    print(
        f"{pending} pending transcripts and {pending * marks} marks in {partitions} partitions; "
        f"{on_log / 1e6:.0f} MB on the log"
    )
    expected = pending * (1 + marks)
    with Fleet(broker, folder / "agents", topics) as fleet:
        agent = fleet.add("score", "score", state={"pending_max": 100_000_000})
        tell("first time", pending, [live(fleet, agent, pending, first=expected)])
        lives = []
        for _ in range(repeats):
            shutil.rmtree(agent.state)
            lives.append(live(fleet, agent, pending))
        tell("from the log", pending, lives)
        tell("from its files", pending, [live(fleet, agent, pending) for _ in range(repeats)])


def live(fleet: Fleet, agent: Agent, pending: int, *, first: int = 0) -> Life:
    """From the start of a process until it is ready; the first time, until it has told so many records."""
    agent.state.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    running = agent.start()
    if first:
        fleet.wait_for(lambda: fleet.committed(agent.groups) >= first, "everything", PATIENCE_SECONDS)
    else:
        fleet.wait_for(lambda: ready(running), "ready", PATIENCE_SECONDS)
    seconds, cpu, resident = time.monotonic() - started, cpu_seconds(running), resident_mb(running)
    fleet.wait_for(lambda: held(running) == pending, "all of it", PATIENCE_SECONDS)
    agent.stop()
    return Life(seconds, cpu, resident, sum(file.stat().st_size for file in agent.state.iterdir()) / 1e6)


def tell(how: str, pending: int, lives: Sequence[Life]) -> None:
    found = Life(*(median(values) for values in zip(*lives, strict=True)))
    micro, size = found.cpu / pending * 1e6, found.disk_mb / pending * 1e6
    print(
        f"  {how:16}{found.seconds:7.1f} s, {found.cpu:6.1f} s of CPU ({micro:5.1f} us each), "
        f"{found.resident_mb:5.0f} MB resident, {found.disk_mb:6.1f} MB on disk ({size:.0f} bytes each)",
        flush=True,
    )


def produce(broker: Broker, topic: str, partitions: int, pending: int, marks: int) -> None:
    """What ROUTE would have sent over the last days; sessions of eight."""
    producer = KafkaLogProducer({"bootstrap_servers": [broker.bootstrap]})
    names = SliceSettings().names
    for number, entry in enumerate(entries(pending)):
        key = entry.routed.key
        producer.send(topic, key % partitions, f"{key:016x}".encode(), encode_pair(entry, names))
        for mark in range(number * marks, (number + 1) * marks):
            said = Mark(
                upstream=f"transcripts-{mark // partitions % INPUTS}@01234567", of=INPUTS,
                reached_at=event_time(entry), current=True, at=event_time(entry),
            )  # fmt: skip
            producer.send(topic, mark % partitions, None, encode_pair(said, names))
        if number % AT_ONCE == AT_ONCE - 1:
            producer.flush(120.0)
    producer.flush(120.0)
    producer.close()


def event_time(entry: PairEntry) -> float:
    assert isinstance(entry.routed, HeldTranscript)
    return entry.routed.event_at


def entries(pending: int) -> Iterator[PairEntry]:
    rng = random.Random(1)
    texts = [heard for heard, _ in read_speech(TEXTS)]
    begun = time.time() - DAYS * 86_400.0
    for number in range(pending):
        session = number // 8
        held = HeldTranscript(
            key=rng.getrandbits(64),
            event_at=begun + number * DAYS * 86_400.0 / pending,
            customer="acme",
            deployment=("wards", "clinic")[session % 2],
            labels=(("us", "england", "indian", "unknown")[session % 4], ("wards", "clinic")[session % 2]),
            model="asr-1",
            language="en",
            session=f"{session:016x}",
            speaker=f"{session % 4000:016x}",
            inclusion_probability=0.05,
            digest=rng.randbytes(16),
            text=texts[number % TEXTS],
        )
        yield PairEntry(origin=Origin(upstream="transcripts-0@01234567", offset=number), sha256=b"", routed=held)


# ------------------------------------------------------------------------------------------------------------- to look
def ready(running: Running) -> bool:
    """Without asking before it listens: that would wait for it with a shorter patience."""
    return bool(running.events("started")) and running.ask("/readyz")[0] == 200


def held(running: Running) -> int:
    if not running.events("started"):
        return 0
    return round(running.metrics().get("wervane_pending_utterances", 0.0))


def cpu_seconds(running: Running) -> float:
    """User and system time, all threads."""
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def resident_mb(running: Running) -> float:
    """The highest so far."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024.0


if __name__ == "__main__":
    main()
