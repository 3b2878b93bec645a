"""T3: agents come, go and die all the time, and partitions with them; every pair counts once."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from tests.agent.processes import slices
from tests.kafka.broker import Broker
from tests.kafka.producing import in_order, parts
from tests.kafka.running import DECIDE, ROUTE_SCORE, Agent, Fleet, Topics, make_topics, producing
from tests.traffic import generate, recount

MEMBERS = 3
CHANGES_SECONDS = 4.0
"""Between two changes of members at most: 75 of them in five minutes, each of two groups."""

SIZES = [pytest.param(3_000, 4, id="small"), pytest.param(60_000, 75, id="full", marks=pytest.mark.slow)]
"""Utterances, and changes of members; each is at least one rebalance in ROUTE's group and one in SCORE's."""


@pytest.mark.parametrize("shared", [False, True], ids=["own-folders", "one-folder"])
@pytest.mark.parametrize(("utterances", "changes"), SIZES)
def test_members_come_go_and_die(utterances: int, changes: int, shared: bool, broker: Broker, tmp_path: Path) -> None:
    """A state is handed over by its file where it stays on the node, and made again from the log where it does not."""
    traffic = generate(utterances, starts_at=time.time() - 20 * 86_400.0)
    chance = random.Random(changes + shared)
    topics = make_topics(broker, transcripts=5, references=3, pairs=12, outcomes=4)
    state = {"path": str(tmp_path / "state")} if shared else {}
    with Fleet(broker, tmp_path, topics) as fleet, producing(fleet) as producer:
        members = [fleet.add(ROUTE_SCORE, state=state) for _ in range(MEMBERS)]
        decider = fleet.add(DECIDE)
        for agent in fleet.agents:
            agent.start()
        for part in parts(in_order(traffic), changes):
            producer.begin(part)
            time.sleep(chance.uniform(0.0, CHANGES_SECONDS))  # a moment that nobody chose
            change_one(fleet, members, chance)
        producer.wait()
        for agent in members:
            if agent.running is None:
                agent.start()
        fleet.wait_until_seen(decider, traffic, 120.0)
        for agent in fleet.agents:
            agent.stop()
    assert slices(decider.state) == recount(traffic)
    assert rebalances(broker, topics) >= 2 * changes


def change_one(fleet: Fleet, members: list[Agent], chance: random.Random) -> None:
    """One that is away comes; or else one that runs goes or dies, if others are left."""
    agent = chance.choice(members)
    if agent.running is None:
        agent.start()
    elif sum(each.running is not None for each in members) == 1:
        chance.choice([each for each in members if each.running is None]).start()
    elif chance.random() < 0.5:
        fleet.kill(agent)
    else:
        agent.stop()


def rebalances(broker: Broker, topics: Topics) -> int:
    """Generations of ROUTE's and SCORE's groups, as the broker's log has them."""
    said = re.findall(r"Stabilized group (\S+) generation (\d+)", broker.log_path.read_text(errors="replace"))
    return len({(group, number) for group, number in said if group in topics.groups(ROUTE_SCORE)})
