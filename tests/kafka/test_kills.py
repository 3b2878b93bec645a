"""T1: agents are killed at random moments while traffic is produced; every pair counts once, and no counter falls."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.agent.processes import slices
from tests.kafka.broker import Broker
from tests.kafka.producing import in_order, parts
from tests.kafka.running import DECIDE, ROUTE_SCORE, Agent, Fleet, make_topics, producing, scraped
from tests.traffic import generate, recount

SIZES = [pytest.param(6_000, 5, id="small"), pytest.param(60_000, 30, id="full", marks=pytest.mark.slow)]
"""Utterances and kills; three in four utterances have a reference."""


def wait_for_a_moment(fleet: Fleet, victims: Sequence[Agent], chance: random.Random) -> None:
    """Some moment of their lives: at their start, while they join, or after they have made more durable."""
    groups = [group for agent in victims for group in agent.groups]
    before = fleet.committed(groups)
    if chance.random() < 0.7:
        fleet.wait_for(lambda: fleet.committed(groups) != before, "something durable")
    time.sleep(chance.uniform(0.0, 1.5))  # nobody chose it


@pytest.mark.parametrize(("utterances", "kills"), SIZES)
def test_one_process_killed_at_random(utterances: int, kills: int, broker: Broker, tmp_path: Path) -> None:
    """A node that dies under load must cost nothing but time: totals by recount, counters that never fall."""
    traffic = generate(utterances, starts_at=time.time() - 20 * 86_400.0)
    chance = random.Random(kills)
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        agent = fleet.add(kafka={"instance": "agent"})  # a name: started again, it has its partitions at once
        agent.start()
        with scraped(agent) as scrapes:
            for part in parts(in_order(traffic), kills):
                producer.begin(part)
                wait_for_a_moment(fleet, [agent], chance)
                agent.kill()
                agent.start()
            producer.wait()
            fleet.wait_until_seen(agent, traffic)
        agent.stop()
    assert slices(agent.state) == recount(traffic)
    assert not scrapes.falls, "\n".join(scrapes.falls)
    assert scrapes.answered > 2 * kills


@pytest.mark.parametrize(("utterances", "kills"), SIZES)
def test_stages_apart_killed_at_random(utterances: int, kills: int, broker: Broker, tmp_path: Path) -> None:
    """Between any two stages lies a log: whoever dies, what was read or sent twice counts once."""
    traffic = generate(utterances, starts_at=time.time() - 20 * 86_400.0)
    chance = random.Random(kills)
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        agents = [fleet.add(ROUTE_SCORE), fleet.add(ROUTE_SCORE), fleet.add(DECIDE)]
        decider = agents[-1]
        for agent in agents:
            agent.start()
        with scraped(decider, "wervane_slice_") as scrapes:
            for part in parts(in_order(traffic), kills):
                producer.begin(part)
                victims = chance.sample(agents, chance.choice([1, 1, 2, 3]))
                wait_for_a_moment(fleet, victims, chance)
                for victim in victims:
                    fleet.kill(victim)
                    victim.start()
            producer.wait()
            fleet.wait_until_seen(decider, traffic)
        fleet.stop()
    assert slices(decider.state) == recount(traffic)
    assert not scrapes.falls, "\n".join(scrapes.falls)
