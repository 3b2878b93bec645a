"""Decides how processes of any stages run over a cluster in memory: by hand, on one clock, until a test kills them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from zlib import crc32

import pytest
import structlog

from monitor.adapters.kafka.port import LogConsumer, LogProducer, Partition
from monitor.building import build_scorer
from monitor.config import Settings, load_settings
from monitor.core.records import Transition
from monitor.sending import Sender
from monitor.topics.following import Followed
from monitor.topics.opening import Connections
from monitor.topics.roles import DecideRole, RouteRole, ScoreRole
from monitor.topics.stages import Stages
from monitor.topics.workers import DecideWorker, MarkTimer, RouteWorker, ScoreWorker
from tests.builders import DAY, HOUR, MARCH_2
from tests.kafka.memory import MemoryBroker, MemoryConsumer
from tests.traffic import Traffic, generate, recount

STAGES = ("route", "score", "decide")
INPUTS = ("transcripts", "references")
LOOK_SECONDS = 4.0
"""A little more than passes between two looks at the ends of partitions."""
ROUNDS_MAX = 60
"""What any of these clusters needs to come to rest is below 20."""
QUIET_ROUNDS = 4
"""Without a change of totals: a record needs three to pass through all stages."""

CUSTOMERS = ("acme", "beta", "city")

Totals = dict[str, tuple[int, int, int, int, int]]
"""Slice -> (pairs, reference words, S, D, I), as `tests.traffic.recount` gives them."""


class Clock:
    """The time of everybody in a test; passes only by `go_on`. Takes the place of the module `time`."""

    def __init__(self, at: float) -> None:
        self.at = at

    def time(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def go_on(self, seconds: float) -> None:
        self.at += seconds

    def rule(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Everything that runs on topics asks this clock."""
        for module in ("roles", "workers", "stages", "whole_input"):
            monkeypatch.setattr(f"monitor.topics.{module}.time", self)
        for kind in (Followed, MarkTimer):
            monkeypatch.setattr(kind.__init__, "__defaults__", (self.monotonic,))


class Cluster:
    """The topics of one deployment, and what its processes share."""

    def __init__(self, folder: Path, clock: Clock, *, partitions: int = 2, **overrides: object) -> None:
        """`overrides` name settings with `__` for dots."""
        self.folder = folder
        self.clock = clock
        self.broker = MemoryBroker(now=clock.monotonic)
        self._overrides = overrides
        self._processes: list[Process] = []
        self._partitions = dict.fromkeys((*INPUTS, "pairs", "outcomes"), partitions)
        self._partitions.update({"reviews": 1, "dead-letters": 1})
        for topic, number in self._partitions.items():
            self.broker.create_topic(topic, number)

    def settings(self, node: str) -> Settings:
        names = {role: role.replace("_", "-") for role in ("pairs", "reviews", "dead_letters", "outcomes")}
        overrides: dict[str, object] = {
            "input.kind": "kafka",
            "input.transcripts": ["transcripts"],
            "input.references": ["references"],
            "kafka.bootstrap_servers": ["nowhere:9092"],
            "kafka.allow_plaintext": True,
            "state.path": str(self.folder / node),
            **{f"kafka.topics.{role}": name for role, name in names.items()},
            **{name.replace("__", "."): value for name, value in self._overrides.items()},
        }
        return load_settings(None, {}, overrides)

    def process(self, *stages: str, node: str = "node", sender: Sender | None = None) -> Process:
        """One more process; processes of one node share its disk."""
        settings = self.settings(node)
        connect = self._connections()
        connected = Stages(settings, stages or STAGES, LOG, build_scorer(settings), connect=connect, sender=sender)
        self._processes.append(Process(self, connected))
        return self._processes[-1]

    def close(self) -> None:
        """Let go of the files of processes that the test left alive: thousands of tests share one process."""
        for process in self._processes:
            if process.alive:
                process.kill()

    def _connections(self) -> Connections:
        def consumer(_settings: Settings, role: str, topics: Sequence[str]) -> LogConsumer:
            return self.broker.consumer(role, topics)

        def producer(_settings: Settings) -> LogProducer:
            return self.broker.producer()

        return Connections(consumer, producer)

    # --------------------------------------------------------------------------------------------------------- traffic
    def publish(self, topic: str, lines: Sequence[str | bytes]) -> None:
        """Each where its utterance belongs; what names none anywhere."""
        for line in lines:
            value = line if isinstance(line, bytes) else line.encode()
            number = crc32(topic.encode() + utterance_of(value)) % self._partitions[topic]
            self.broker.append(topic, number, None, value)

    def broker_partitions(self, topic: str) -> list[Partition]:
        return [Partition(topic, number) for number in range(self._partitions[topic])]

    def publish_traffic(self, traffic: Traffic) -> None:
        self.publish("transcripts", traffic.transcripts)
        self.publish("references", traffic.references)

    def sent(self, topic: str) -> int:
        """Records of a topic, in all its partitions."""
        return sum(len(self.broker.records(*partition)) for partition in self.broker_partitions(topic))

    # ------------------------------------------------------------------------------------------------------ everybody
    def go_round(self, *processes: Process) -> None:
        """Everybody reads what is there and makes it durable, once."""
        for process in processes:
            process.step()
        self.clock.go_on(LOOK_SECONDS)
        for process in processes:
            process.checkpoint()

    def settle(self, *processes: Process, newest_at: float) -> None:
        """Until event time has come as far as the newest message, and nothing changes any more."""
        totals: dict[str, Totals] = {}
        quiet = 0
        for _ in range(ROUNDS_MAX):
            self.go_round(*processes)
            before, totals = totals, counted_by(*processes)
            deciders = [worker for process in processes for worker in process.deciders()]
            at_end = [(worker.stage.watermark or 0.0) >= newest_at - HOUR for worker in deciders]
            quiet = quiet + 1 if totals == before and all(at_end) else 0
            if quiet == QUIET_ROUNDS and len(deciders) == self._partitions["outcomes"]:
                return
        raise AssertionError("it did not come to rest")


MakeCluster = Callable[..., Cluster]


class Process:
    """One process of some stages."""

    def __init__(self, cluster: Cluster, stages: Stages) -> None:
        self.cluster = cluster
        self.stages = stages
        self.alive = True

    def step(self, times: int = 3) -> int:
        """Read; a partition is assigned by the first call and read by the second."""
        return sum(role.step(0.0) for _ in range(times) for role in self.stages.roles)

    def checkpoint(self) -> None:
        self.stages.checkpoint()

    def stop(self) -> None:
        """As after SIGTERM."""
        self.checkpoint()
        self.stages.close()
        self.alive = False

    def kill(self) -> None:
        """As after SIGKILL: the kernel closes its files, and the group learns it by the session's timeout."""
        for role in self.stages.roles:
            drop_memory(role)
            consumer = role.members.consumer
            assert isinstance(consumer, MemoryConsumer)
            with suppress(AssertionError):
                self.cluster.broker.expire(consumer)
        self.alive = False

    # ---------------------------------------------------------------------------------------------------------- to look
    def role(self, kind: type[RouteRole] | type[ScoreRole] | type[DecideRole]) -> RouteRole | ScoreRole | DecideRole:
        return next(role for role in self.stages.roles if isinstance(role, kind))

    def workers(self) -> dict[Partition, RouteWorker | ScoreWorker | DecideWorker]:
        return {partition: worker for role in self.stages.roles for partition, worker in role.members.workers.items()}

    def deciders(self) -> list[DecideWorker]:
        return [worker for worker in self.workers().values() if isinstance(worker, DecideWorker)]

    @property
    def ready(self) -> bool:
        """What the next picture will be shown with."""
        return self.stages.ready

    def counted(self, series: str) -> int:
        return self.stages.snapshot().view.counters.get(series, 0)

    def gauge(self, name: str) -> float:
        return self.stages.snapshot().view.gauges[name]


def drop_memory(role: RouteRole | ScoreRole | DecideRole) -> None:
    if isinstance(role, RouteRole):
        for route in role.members.workers.values():
            role.members.close_worker(route)
    elif isinstance(role, ScoreRole):
        for score in role.members.workers.values():
            role.members.close_worker(score)
    else:
        for decide in role.members.workers.values():
            role.members.close_worker(decide)
    role.members.workers.clear()


# ------------------------------------------------------------------------------------------------------------ what came
def utterance_of(value: bytes) -> bytes:
    """The id, as far as it can be read; rubbish goes by its bytes."""
    try:
        fields = json.loads(value)
    except ValueError:
        return value
    return str(fields.get("id")).encode() if isinstance(fields, dict) else value


def several_customers(utterances: int, customers: Sequence[str], seed: int = 1) -> dict[str, Traffic]:
    """Traffic of each."""
    found = {}
    for number, customer in enumerate(customers):
        traffic = generate(utterances, starts_at=MARCH_2, days=4.0, seed=10 * seed + number)
        named = [line.replace('"customer": "acme"', f'"customer": "{customer}"') for line in traffic.transcripts]
        found[customer] = Traffic(named, traffic.references)
    return found


def newest_of(traffics: Mapping[str, Traffic]) -> float:
    """The greatest event time of any message."""
    found = 0.0
    for traffic in traffics.values():
        for line in (*traffic.transcripts, *traffic.references):
            with suppress(ValueError):
                found = max(found, instant(json.loads(line)["ts"]))
    return found


def instant(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def expected(traffics: Mapping[str, Traffic]) -> dict[str, Totals]:
    """What each customer's slices must add up to."""
    return {customer: recount(traffic) for customer, traffic in traffics.items()}


def counted_by(*processes: Process) -> dict[str, Totals]:
    """What they add up to."""
    found: dict[str, Totals] = {}
    for process in processes:
        for worker in process.deciders():
            for row in worker.stage.customers.slice_rows():
                counts = row.counts
                sums = (row.pairs, counts.reference_words, counts.substitutions, counts.deletions, counts.insertions)
                if row.pairs:
                    found.setdefault(row.customer, {})[row.slice] = sums
    return found


def told_by(*processes: Process) -> list[Transition]:
    return [
        transition
        for process in processes
        for worker in process.deciders()
        for transition in worker.stage.customers.transitions
    ]


# ------------------------------------------------------------------------------------------------------------ in a line
def publish(cluster: Cluster, traffics: dict[str, Traffic]) -> None:
    for traffic in traffics.values():
        cluster.publish_traffic(traffic)


def settled(cluster: Cluster, traffics: dict[str, Traffic], *processes: Process) -> None:
    """Everybody reads to the end, and every customer's slices add up to the recount."""
    cluster.settle(*processes, newest_at=newest_of(traffics))
    assert counted_by(*processes) == expected(traffics)


def line(id_: str, *, hours: float = 0.0, **changes: object) -> str:
    """One transcript; also one reference, with fields that nobody reads."""
    fields = {"schema": 1, "id": id_, "ts": round(1000 * (MARCH_2 + hours * HOUR)), "customer": "acme"}
    return json.dumps({**fields, "deployment": "wards", "text": "alpha bravo", **changes})


LOG = structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[lambda _logger, _name, _event: ""])
"""Says nothing."""

NOW = MARCH_2 + 8 * DAY
"""When the tests' days are over."""
