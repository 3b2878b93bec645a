"""Whether the paper holds: three agents and a decider on a real broker, measured beside what scaling_model.py predicts.

    PYTHONPATH=. .venv/bin/python tests/bench/bench_scaledown.py [--rate 1000] [--seconds 60] [--probability 0.05]

First a backlog is drained, which costs what records cost; then transcripts come at a steady rate, one in ten with a
reference ten seconds later. CPU is that of the processes, user and system, as the kernel counts it. The prediction is
the paper's, scaled by `json.loads` of the same transcripts before and after, since nobody else's load is the same.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple
from zlib import crc32

from monitor.adapters.kafka.producer import KafkaLogProducer
from tests.bench.bench_rebuild import cpu_seconds
from tests.bench.scaling_costs import COSTS
from tests.bench.scaling_model import Load, Topics, decide_cores, route_cores, score_cores
from tests.bench.stage_parts import TALK, TEXTS, microseconds_each
from tests.kafka.broker import Broker
from tests.kafka.running import DECIDE, ROUTE_SCORE, Agent, Fleet, make_topics

PARTITIONS = 12
AGENTS = 3
CORRECTED = 0.1
LATER_SECONDS = 10.0
TICK_SECONDS = 0.1
IDLE_SECONDS = 10.0
WARM_SECONDS = 15.0
CUSTOMERS = 20
SELDOM_SECONDS = 3.0
PATIENCE_SECONDS = 900.0


class Used(NamedTuple):
    """CPU seconds so far of all agents of ROUTE and SCORE, and of the decider."""

    agents: float
    decider: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=1_000.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--backlog", type=int, default=60_000, help="transcripts, where all are followed; else thrice")
    parser.add_argument("--probability", type=float, nargs="+", default=[0.05, 1.0])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "kafka")
        broker.prepare()
        broker.start()
        try:
            for probability in options.probability:
                one = Path(folder) / f"probability-{probability}"
                backlog = options.backlog * (1 if probability == 1.0 else 3)
                scale_down(broker, one, probability, options.rate, options.seconds, backlog)
        finally:
            broker.close()


def scale_down(broker: Broker, folder: Path, probability: float, rate: float, seconds: float, backlog: int) -> None:
    topics = make_topics(broker, transcripts=PARTITIONS, references=PARTITIONS, pairs=PARTITIONS, outcomes=PARTITIONS)
    traffic = Traffic(broker, topics.transcripts[0], topics.references[0])
    print(f"probability {probability:g}; {AGENTS} agents of route,score and a decider, {PARTITIONS} partitions a topic")
    with Fleet(broker, folder, topics) as fleet:
        for stages in (ROUTE_SCORE,) * AGENTS + (DECIDE,):
            fleet.add(stages, sampling={"probability": probability}, state={"pending_max": 100_000_000}).start()
        fleet.wait_for(lambda: all(ready(agent) for agent in fleet.agents), "everybody", PATIENCE_SECONDS)
        time.sleep(5.0)  # their first looks are over
        before = used(fleet.agents)
        time.sleep(IDLE_SECONDS)  # what is measured is that nothing happens
        idle = per_second(before, used(fleet.agents), IDLE_SECONDS)
        print(f"  idle                {idle.agents:6.3f} cores of the agents, {idle.decider:.3f} of the decider")

        yardstick = [json_loads(traffic)]
        drained(fleet, traffic, probability, backlog, idle, yardstick)
        steady(fleet, traffic, probability, rate, seconds, idle, yardstick)
        for agent in fleet.agents:
            agent.stop()
    traffic.close()


def drained(
    fleet: Fleet, traffic: Traffic, probability: float, backlog: int, idle: Used, yardstick: list[float]
) -> None:
    """Everything at once: a catch-up, the agents as fast as they can."""
    before, started = used(fleet.agents), time.monotonic()
    traffic.send(backlog, late=True)
    traffic.flush()
    produced = time.monotonic() - started
    routes = [f"{fleet.topics.group}-route"]
    fleet.wait_for(lambda: fleet.committed(routes) >= traffic.messages, "all of the inputs", PATIENCE_SECONDS)
    fleet.wait_for(seldom(lambda: lag(fleet.agents) == 0), "all of what is between", PATIENCE_SECONDS)
    elapsed = time.monotonic() - started
    found = per_second(before, used(fleet.agents), 1.0)
    yardstick.append(json_loads(traffic))
    load = Load("", backlog, backlog * CORRECTED, probability, CORRECTED, ttl_days=0.0)
    scale = median(yardstick) / COSTS.json_loads
    topics = Topics(0, 0, 0)  # what partitions cost is in what an idle agent costs
    route, score = (cores(load, topics, 0) * scale for cores in (route_cores, score_cores))
    predicted = Used(route + score + idle.agents * elapsed, decide_cores(load, topics) * scale + idle.decider * elapsed)
    print(f"  a backlog of {backlog} transcripts, sent within {produced:.0f} s, read within {elapsed:.0f} s")
    tell("CPU seconds", predicted, found)


def seldom(look: Callable[[], bool]) -> Callable[[], bool]:
    """Every third second: scrapes are no part of what is measured."""
    asked = [time.monotonic()]

    def now() -> bool:
        if time.monotonic() - asked[0] < SELDOM_SECONDS:
            return False
        asked[0] = time.monotonic()
        return look()

    return now


def steady(
    fleet: Fleet, traffic: Traffic, probability: float, rate: float, seconds: float, idle: Used, yardstick: list[float]
) -> None:
    """At the rate, if this machine sustains it."""
    stop = threading.Event()
    producer = threading.Thread(target=traffic.flow, args=(rate, stop), daemon=True)
    producer.start()
    time.sleep(WARM_SECONDS)  # references flow from here on
    before, sent, started = used(fleet.agents), traffic.transcripts, time.monotonic()
    time.sleep(seconds)  # the length of the measurement
    elapsed, sent = time.monotonic() - started, traffic.transcripts - sent
    found = per_second(before, used(fleet.agents), elapsed)
    behind = lag(fleet.agents)
    stop.set()
    producer.join()
    yardstick.append(json_loads(traffic))
    load = Load("", sent / elapsed, sent / elapsed * CORRECTED, probability, CORRECTED, ttl_days=0.0)
    topics = Topics(inputs=2 * PARTITIONS, pairs=PARTITIONS, outcomes=PARTITIONS)
    scale = median(yardstick) / COSTS.json_loads
    route, score = (cores(load, topics, AGENTS) * scale for cores in (route_cores, score_cores))
    print(f"  {load.transcripts:.0f} transcripts a second for {elapsed:.0f} s; {behind:.0f} records behind at its end")
    predicted = Used(route + score + idle.agents, decide_cores(load, topics) * scale + idle.decider)
    tell("cores", predicted, found)


def tell(unit: str, predicted: Used, found: Used) -> None:
    for name, paper, seen in zip(("agents", "decider"), predicted, found, strict=True):
        print(f"    {name:8} predicted {paper:7.3f} {unit}, measured {seen:7.3f}: {seen / paper:.2f} of it", flush=True)


# ------------------------------------------------------------------------------------------------------------- traffic
class Traffic:
    """Both inputs, from one producer."""

    def __init__(self, broker: Broker, transcripts: str, references: str) -> None:
        self.transcripts = 0
        self.messages = 0
        self._names = (transcripts, references)
        self._producer = KafkaLogProducer({"bootstrap_servers": [broker.bootstrap]})
        self._texts = TEXTS[TALK](5_000)
        self._rng = random.Random(1)
        self._to_correct: deque[tuple[float, str, str]] = deque()

    def send(self, number: int, *, late: bool = False) -> None:
        """So many transcripts, and the references that are due; `late`: all of them."""
        now = time.time()
        for _ in range(number):
            id_ = f"{self._rng.getrandbits(80):020x}"
            heard, said = self._texts[self.transcripts % len(self._texts)]
            self._append(0, id_, self._transcript(id_, heard, now))
            self.transcripts += 1
            if self._rng.random() < CORRECTED:
                self._to_correct.append((now + LATER_SECONDS, id_, said))
        while self._to_correct and (late or self._to_correct[0][0] <= now):
            _, id_, said = self._to_correct.popleft()
            fields = {"schema": 1, "id": id_, "ts": round(now * 1000), "text": said, "source": "sampled"}
            self._append(1, id_, json.dumps(fields).encode())

    def flow(self, rate: float, stop: threading.Event) -> None:
        """At a steady rate; what it could not send in time it sends later."""
        started, begun = time.monotonic(), self.transcripts
        while not stop.wait(TICK_SECONDS):
            due = round((time.monotonic() - started) * rate) - (self.transcripts - begun)
            self.send(max(0, due))
            self.flush()

    def flush(self) -> None:
        self._producer.flush(60.0)

    def close(self) -> None:
        self._producer.close()

    def sample(self, number: int) -> list[bytes]:
        return [self._transcript(f"{index:020x}", self._texts[index][0], 0.0) for index in range(number)]

    def _transcript(self, id_: str, heard: str, now: float) -> bytes:
        session = self.transcripts // 12
        fields = {
            "schema": 1, "id": id_, "ts": round(now * 1000), "text": heard,
            "customer": f"customer-{session % CUSTOMERS}", "deployment": ("wards", "clinic", "theatre")[session % 3],
            "accent": ("us", "scottish", "yoruba", "indian")[session % 4], "language": "en", "model": "large-7",
            "speaker": f"s{session % 900}", "session": f"c{session}",
            "attributes": {"site": "st-brigid", "device": "scanner-9", "channel": "microphone"}, "confidence": 0.93,
        }  # fmt: skip
        return json.dumps(fields).encode()

    def _append(self, topic: int, id_: str, value: bytes) -> None:
        key = id_.encode()
        self._producer.send(self._names[topic], crc32(b"%d" % topic + key) % PARTITIONS, key, value)
        self.messages += 1


# ------------------------------------------------------------------------------------------------------------- to look
def json_loads(traffic: Traffic) -> float:
    """Microseconds a transcript, now."""

    def work(batch: Sequence[object]) -> None:
        for record in batch:
            json.loads(record.value)  # type: ignore[attr-defined]

    return microseconds_each(traffic.sample(5_000) * 2, work)


def ready(agent: Agent) -> bool:
    return bool(agent.now.events("started")) and agent.now.ask("/readyz")[0] == 200


def used(agents: Sequence[Agent]) -> Used:
    *scorers, decider = [cpu_seconds(agent.now) for agent in agents]
    return Used(sum(scorers), decider)


def per_second(before: Used, after: Used, seconds: float) -> Used:
    return Used(*((late - early) / seconds for early, late in zip(before, after, strict=True)))


def lag(agents: Sequence[Agent]) -> float:
    """Records that are not read, of all logs, as the agents show it."""
    return sum(
        value
        for agent in agents
        for name, value in agent.now.metrics().items()
        if name.startswith("wervane_consumer_lag_records")
    )


if __name__ == "__main__":
    main()
