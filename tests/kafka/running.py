"""Decides how a test runs agents on a real broker: topics, configurations, processes that come and go, scrapes."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from kafka import TopicPartition, errors
from kafka.admin import MemberToRemove

from tests.agent.processes import Running, Totals, counters, matched, slices, to_be_seen
from tests.kafka.broker import Broker
from tests.kafka.producing import REFERENCES, TRANSCRIPTS, Producing
from tests.traffic import Traffic, recount

PATIENCE_SECONDS = 60.0
"""How long agents may take to arrive at what was produced, on a machine that others use as well."""
SCRAPE_SECONDS = 0.25

ROUTE_SCORE, DECIDE = "route,score", "decide"


class Topics(NamedTuple):
    """Of one test: (name, partitions) of each."""

    transcripts: tuple[str, int]
    references: tuple[str, int]
    pairs: tuple[str, int]
    outcomes: tuple[str, int]
    reviews: tuple[str, int]
    dead_letters: tuple[str, int]
    group: str

    @property
    def inputs(self) -> Mapping[str, tuple[str, int]]:
        return {TRANSCRIPTS: self.transcripts, REFERENCES: self.references}

    @property
    def between(self) -> Mapping[str, tuple[str, int]]:
        """Those of `kafka.topics`."""
        return {
            "pairs": self.pairs,
            "outcomes": self.outcomes,
            "reviews": self.reviews,
            "dead_letters": self.dead_letters,
        }

    def groups(self, stages: str) -> list[str]:
        return [f"{self.group}-{stage}" for stage in stages.split(",")] if stages else [self.group]


def make_topics(
    broker: Broker, *, transcripts: int = 3, references: int = 2, pairs: int = 4, outcomes: int = 2
) -> Topics:
    """With different numbers of partitions, as customers have them."""
    topics = Topics(
        transcripts=(broker.unique("transcripts"), transcripts),
        references=(broker.unique("references"), references),
        pairs=(broker.unique("pairs"), pairs),
        outcomes=(broker.unique("outcomes"), outcomes),
        reviews=(broker.unique("reviews"), 1),
        dead_letters=(broker.unique("dead-letters"), 1),
        group=broker.unique("group"),
    )
    each = [*topics.inputs.values(), *topics.between.values()]
    configs = {name: {"num_partitions": number, "replication_factor": 1} for name, number in each}
    broker.admin.create_topics(configs, wait_for_metadata=True)
    return topics


def configure(folder: Path, topics: Topics, server: str, **sections: Mapping[str, object]) -> Path:
    """Write a configuration; sections are laid over the usual ones."""
    usual: dict[str, Mapping[str, object]] = {
        "input": {"kind": "kafka", "transcripts": [topics.transcripts[0]], "references": [topics.references[0]]},
        "kafka": {
            "bootstrap_servers": [server],
            "group": topics.group,
            "allow_plaintext": True,
            "security": {"protocol": "PLAINTEXT"},
            "topics": {name: topic for name, (topic, _) in topics.between.items()},
        },
        "state": {"path": str(folder / "state"), "checkpoint": "1s"},
        "serve": {"port": 0},
        "privacy": {"release_min": 1},  # tests compare what is shown with recounts
    }
    for name, section in sections.items():
        usual[name] = {**usual.get(name, {}), **section}
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "wervane.yaml"
    config.write_text(json.dumps(usual))
    return config


class Agent:
    """A configuration with its state, and the process that runs over it at the moment, if any does."""

    def __init__(self, config: Path, groups: Sequence[str], stages: str) -> None:
        self.config = config
        self.groups = groups
        self.state = config.parent / "state"
        self.running: Running | None = None
        self._options = ("--stages", stages) if stages else ()

    @property
    def now(self) -> Running:
        assert self.running is not None, "it does not run"
        return self.running

    def start(self) -> Running:
        assert self.running is None, "it runs"
        self.running = Running(self.config, options=self._options)
        return self.running

    def stop(self) -> Running:
        """SIGTERM; it must end in order, if it has got as far as to hear of it."""
        self.now.process.terminate()
        return self.stopped()

    def stopped(self) -> Running:
        """It was told to stop: wait until it has."""
        ended, self.running = self.now, None
        code = ended.process.wait(timeout=PATIENCE_SECONDS)
        assert code == 0 or (code == -signal.SIGTERM and not ended.stderr()), f"{code}: {ended.stderr()[-4000:]}"
        return ended

    def kill(self) -> int:
        """SIGKILL; its number, as the group knows its member by it."""
        ended, self.running = self.now, None
        assert ended.process.poll() is None, f"it ended by itself:\n{ended.stderr()[-4000:]}"
        ended.process.kill()
        ended.process.wait()
        return ended.process.pid


class Fleet:
    """The agents of one test, over the same topics. None of them outlives it."""

    def __init__(self, broker: Broker, folder: Path, topics: Topics, server: str | None = None) -> None:
        """`server`: how they reach the broker, if not directly."""
        self.broker = broker
        self.topics = topics
        self.agents: list[Agent] = []
        self._folder = folder
        self._server = server or broker.bootstrap
        self._dead: set[int] = set()

    def add(self, stages: str = "", name: str = "", /, **sections: Mapping[str, object]) -> Agent:
        """One more, not started; no stages: all of them in one process."""
        folder = self._folder / (name or f"agent-{len(self.agents)}")
        config = configure(folder, self.topics, self._server, **sections)
        self.agents.append(Agent(config, self.topics.groups(stages), stages))
        return self.agents[-1]

    def stop(self) -> None:
        """SIGTERM to all at once, so that none takes over what another had; all must end in order."""
        running = [agent for agent in self.agents if agent.running is not None]
        for agent in running:
            agent.now.process.terminate()
        for agent in running:
            agent.stopped()

    def kill(self, agent: Agent) -> None:
        """SIGKILL. That its session has run out (30 s) is told to the group at once: see `bury`."""
        self._dead.add(agent.kill())
        self.bury()

    def bury(self) -> None:
        """Let every group forget its dead members; a request of theirs may have been under way when they died."""
        groups = sorted({group for agent in self.agents for group in agent.groups})
        try:
            found = self.broker.admin.describe_groups(groups)
        except errors.RetriableError:
            return  # the broker is about to know its groups, or away
        for group, described in found.items():
            dead = [
                MemberToRemove(member_id=member["member_id"], reason="killed by a test")
                for member in described["members"]
                if int(member["client_id"].rpartition("-")[2]) in self._dead
            ]
            if dead:
                self.broker.admin.remove_group_members(group, dead)

    def committed(self, groups: Sequence[str]) -> int:
        """Sum of the offsets that these groups have committed; 0 if the broker cannot tell now."""
        try:
            found = self.broker.admin.list_group_offsets(dict.fromkeys(groups))
        except errors.RetriableError:
            return 0
        return sum(max(0, place.offset) for places in found.values() for place in places.values())

    def floor(self, group: str, topic: str, partition: int) -> int:
        """The offset that a group has committed of one partition."""
        (found,) = self.broker.admin.list_group_offsets({group: None}).values()
        return int(found[TopicPartition(topic, partition)].offset)

    def end_of(self, topic: str, partition: int) -> int:
        """The offset after the last record."""
        (found,) = self.broker.admin.list_partition_offsets({TopicPartition(topic, partition): -1}).values()
        return int(found.offset)

    def wait_for(self, look: Callable[[], bool], why: str, within: float = PATIENCE_SECONDS) -> None:
        """Until it is so; whoever is to run must be alive meanwhile."""
        deadline = time.monotonic() + within
        buried_at = time.monotonic()
        while not look():
            for agent in self.agents:
                ended = agent.running is not None and agent.running.process.poll() is not None
                assert not ended, f"{agent.config.parent.name} ended:\n{agent.now.stderr()[-4000:]}"
            assert time.monotonic() < deadline, f"{why} did not come:\n{self._logs()}"
            if self._dead and time.monotonic() - buried_at > 1.0:
                self.bury()
                buried_at = time.monotonic()
            time.sleep(0.1)

    def wait_until_seen(self, agent: Agent, traffic: Traffic, within: float = PATIENCE_SECONDS) -> None:
        """Until the agent shows exactly this traffic, references without a transcript apart."""
        wanted = to_be_seen(traffic)
        last: list[tuple[int, Totals]] = []

        def look() -> bool:
            if not agent.now.events("started"):
                return False
            last[:] = [agent.now.seen()]
            return last[0] == wanted

        try:
            self.wait_for(look, "exactly what was produced", within)
        except AssertionError as error:
            raise AssertionError(f"{differences(last[0] if last else (0, {}), wanted)}\n{error}") from None

    def _logs(self) -> str:
        running = [agent for agent in self.agents if agent.running is not None]
        return "\n".join(f"== {agent.config.parent.name}\n{agent.now.stderr()[-1500:]}" for agent in running)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for agent in self.agents:
            if agent.running is not None:
                agent.running.process.kill()
                agent.running.process.wait()


class Both(Fleet):
    """One agent with all stages, and two apart."""

    def __init__(self, broker: Broker, folder: Path, server: str | None = None) -> None:
        super().__init__(broker, folder, make_topics(broker), server)
        self.whole = self.add("", "whole")
        self.scorer = self.add(ROUTE_SCORE, "scorer")
        self.decider = self.add(DECIDE, "decider")

    def start(self) -> None:
        for agent in self.agents:
            agent.start()

    def end(self, traffic: Traffic, within: float = 60.0) -> None:
        """All of it is seen, nothing twice, and all end in order."""
        for agent in (self.whole, self.decider):
            self.wait_until_seen(agent, traffic, within)
        self.stop()
        for agent in (self.whole, self.decider):
            assert slices(agent.state) == recount(matched(traffic))


def differences(seen: tuple[int, Totals], wanted: tuple[int, Totals]) -> str:
    """What to look at first when totals are not as they should be."""
    lines = [f"transcripts {seen[0]}, wanted {wanted[0]}"]
    for name in sorted({*seen[1], *wanted[1]}):
        if seen[1].get(name) != wanted[1].get(name):
            lines.append(f"{name}: {seen[1].get(name)}, wanted {wanted[1].get(name)}")
    return "\n".join(lines)


def has_partitions(agent: Agent, all_of: int | None = None) -> bool:
    """Of ROUTE and of SCORE: at least one each, or as many in all."""
    if not agent.now.events("started"):
        return False
    series = agent.now.metrics()
    held = [series.get(f'wervane_partitions_assigned{{stage="{stage}"}}', 0.0) for stage in ROUTE_SCORE.split(",")]
    return sum(held) == all_of if all_of is not None else min(held) > 0.0


def problems_told(agent: Agent) -> set[tuple[str, int, int]]:
    """(partition, position, records) of each event in the log."""
    told = agent.now.events("input_problem")
    return {(str(one["source"]).partition("@")[0], int(str(one["position"])), int(str(one["count"]))) for one in told}


def told_losses(agent: Agent, losses: int) -> bool:
    """Whether the incident of what was lost began or grew so often."""
    told = [*agent.now.events("incident_firing"), *agent.now.events("incident_updated")]
    return sum(event["kind"] == "coverage" and event["slices"] == ["all"] for event in told) == losses


def coverage_incidents(agent: Agent) -> list[dict[str, object]]:
    """What was told of losses: it is about everything."""
    lines = [json.loads(line) for line in (agent.state / "incidents.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "coverage" and line["slices"] == ["all"]]


# -------------------------------------------------------------------------------------------------------------- scrapes
class Scrapes:
    """Asks an agent for /metrics every quarter of a second, over all of its lives, and notes what ran backwards."""

    def __init__(self, agent: Agent, only: str = "wervane_") -> None:
        """`only`: of series whose name begins so."""
        self.answered = 0
        self.falls: list[str] = []
        self._agent = agent
        self._only = only
        self._highest: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scrapes", daemon=True)

    def _run(self) -> None:
        while not self._ended.wait(SCRAPE_SECONDS):
            running = self._agent.running
            if running is None or not running.events("started"):
                continue
            try:
                series = running.metrics()
            except (OSError, http.client.HTTPException):
                continue  # it died meanwhile
            self.answered += 1
            for name, value in counters(series).items():
                if not name.startswith(self._only):
                    continue
                before = self._highest.get(name, 0.0)
                if value < before:
                    self.falls.append(f"{name} fell from {before:g} to {value:g} at scrape {self.answered}")
                self._highest[name] = max(before, value)

    @property
    def highest(self) -> Mapping[str, float]:
        return self._highest

    def _end(self) -> None:
        self._ended.set()
        self._thread.join(20)


@contextmanager
def scraped(agent: Agent, only: str = "wervane_") -> Iterator[Scrapes]:
    """Scrape until the block is left."""
    scrapes = Scrapes(agent, only)
    scrapes._thread.start()
    try:
        yield scrapes
    finally:
        scrapes._end()


def producing(fleet: Fleet) -> Producing:
    """To the input topics of a fleet, directly."""
    return Producing(fleet.broker.bootstrap, fleet.topics.inputs)
