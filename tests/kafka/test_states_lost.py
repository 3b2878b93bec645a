"""A node is lost with its disk: its state is made again from the log, and nothing is shown before it is whole again."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path

import pytest

from tests.agent.processes import slices, to_be_seen
from tests.kafka.broker import Broker
from tests.kafka.producing import in_order, parts, traffic_of
from tests.kafka.running import DECIDE, ROUTE_SCORE, Agent, Fleet, make_topics, producing, scraped
from tests.traffic import Traffic, generate, recount


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(12_000, starts_at=time.time() - 20 * 86_400.0)


def lose_state(agent: Agent) -> None:
    """What is started over this configuration from now on is on another node."""
    shutil.rmtree(agent.state)


def commits(agent: Agent) -> int:
    """How often its state was made durable, as a file beside the state has it."""
    path = agent.state / "partition-0.commit"
    return int.from_bytes(path.read_bytes()[:8], "little") if path.exists() else 0


def readiness(agent: Agent) -> int | None:
    """The status of /readyz; None while nobody listens. Metrics are served as soon as anything is."""
    if not agent.now.events("started"):
        return None
    assert agent.now.ask("/metrics")[0] == 200
    return agent.now.ask("/readyz")[0]


def waits(agent: Agent) -> bool:
    """Whether it said that others have some of the partitions."""
    return bool(agent.now.events("waiting_for_partitions"))


@pytest.mark.parametrize(
    "deaths", [pytest.param(0, id="at-once", marks=pytest.mark.slow), pytest.param(3, id="killed-meanwhile")]
)
def test_one_process_without_its_state(deaths: int, broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """Not ready, and no counter lower than before, until it has read as far as it had; also if it dies on the way."""
    first, second = parts(in_order(traffic), 2)
    known = to_be_seen(traffic_of(first))
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        agent = fleet.add()
        producer.send(first)
        agent.start()
        with scraped(agent) as scrapes:
            fleet.wait_until_seen(agent, traffic_of(first))
            floor = fleet.committed(agent.groups)
            fleet.kill(agent)
            lose_state(agent)
            for _ in range(deaths):
                agent.start()
                fleet.wait_for(lambda: commits(agent) > 1, "a part of it")
                fleet.kill(agent)
                assert fleet.committed(agent.groups) >= floor, "the group's floor was lowered"
            agent.start()
            statuses: set[int | None] = set()

            def ready() -> bool:
                status = readiness(agent)
                statuses.add(status)
                assert status != 200 or agent.now.seen() == known, "ready before it was as far as before"
                return status == 200

            fleet.wait_for(ready, "readiness")
            assert 503 in statuses
            producer.send(second)
            fleet.wait_until_seen(agent, traffic)
        agent.stop()
    assert slices(agent.state) == recount(traffic)
    assert not scrapes.falls, "\n".join(scrapes.falls)


@pytest.mark.parametrize(
    "stages", [pytest.param(ROUTE_SCORE, id="route-score"), pytest.param(DECIDE, id="decide", marks=pytest.mark.slow)]
)
def test_a_stage_without_its_state(stages: str, broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """SCORE is made again from pairs, DECIDE from outcomes; ROUTE goes on where its group was. Nothing counts twice."""
    first, second = parts(in_order(traffic), 2)
    known = to_be_seen(traffic_of(first))
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        agents = {stage: fleet.add(stage) for stage in (ROUTE_SCORE, DECIDE)}
        decider, victim = agents[DECIDE], agents[stages]
        producer.send(first)
        for agent in agents.values():
            agent.start()
        with scraped(decider, "wervane_slice_") as scrapes:
            fleet.wait_until_seen(decider, traffic_of(first))
            fleet.kill(victim)
            lose_state(victim)
            victim.start()
            statuses: set[int | None] = set()

            def ready() -> bool:
                status = readiness(victim)
                statuses.add(status)
                assert victim is not decider or status != 200 or decider.now.seen() == known, "ready too early"
                return status == 200

            fleet.wait_for(ready, "readiness")
            assert 503 in statuses
            assert decider.now.seen() == known
            producer.send(second)
            fleet.wait_until_seen(decider, traffic)
        fleet.stop()
    assert slices(decider.state) == recount(traffic)
    assert not scrapes.falls, "\n".join(scrapes.falls)


@pytest.mark.slow
def test_one_process_replaced_by_another_elsewhere(broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """A rollout starts the new one before the old one ends: neither works with half of the partitions."""
    first, second = parts(in_order(traffic), 2)
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        old, new = fleet.add(), fleet.add()
        producer.send(first)
        old.start()
        fleet.wait_until_seen(old, traffic_of(first))
        new.start()
        for agent in (old, new):
            fleet.wait_for(partial(waits, agent), "saying so")
            assert readiness(agent) == 503
        assert old.now.seen() == to_be_seen(traffic_of(first)), "what was shown stays"
        old.stop()
        producer.send(second)
        fleet.wait_until_seen(new, traffic)
        assert readiness(new) == 200
        new.stop()
    assert slices(new.state) == recount(traffic)
