"""T3: agents come, go and die all the time, and partitions with them; every pair counts once."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.agent.processes import slices
from tests.kafka.broker import Broker
from tests.kafka.producing import Producing, in_order, parts, traffic_of
from tests.kafka.replaying import WATERMARK, incidents, instant, replay, table, worsening
from tests.kafka.running import DECIDE, ROUTE_SCORE, Agent, Fleet, Topics, has_partitions, make_topics, producing
from tests.traffic import generate, recount

MEMBERS = 3
CHANGES_SECONDS = 4.0
"""Between two changes of members at most; most of them make both groups, ROUTE's and SCORE's, settle anew."""

SIZES = [pytest.param(3_000, 8, id="small"), pytest.param(60_000, 150, id="full", marks=pytest.mark.slow)]
"""Utterances, and rebalances: as many within about five minutes."""


@pytest.mark.parametrize(
    "shared", [pytest.param(False, id="own-folders"), pytest.param(True, id="one-folder", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("utterances", "wanted"), SIZES)
def test_members_come_go_and_die(utterances: int, wanted: int, shared: bool, broker: Broker, tmp_path: Path) -> None:
    """A state is handed over by its file where it stays on the node, and made again from the log where it does not."""
    traffic = generate(utterances, starts_at=time.time() - 20 * 86_400.0)
    chance = random.Random(wanted + shared)
    topics = make_topics(broker, transcripts=5, references=3, pairs=12, outcomes=4)
    state = {"path": str(tmp_path / "state")} if shared else {}
    with Fleet(broker, tmp_path, topics) as fleet, producing(fleet) as producer:
        members = [fleet.add(ROUTE_SCORE, state=state) for _ in range(MEMBERS)]
        decider = fleet.add(DECIDE)
        for agent in fleet.agents:
            agent.start()
        left = parts(in_order(traffic), wanted // 2)
        while left or rebalances(broker, topics) < wanted:
            producer.begin(left.pop(0) if left else [])
            time.sleep(chance.uniform(0.0, CHANGES_SECONDS))  # a moment that nobody chose
            change_one(fleet, members, chance)
        producer.wait()
        for agent in members:
            if agent.running is None:
                agent.start()
        fleet.wait_until_seen(decider, traffic, 120.0)
        fleet.stop()
    assert slices(decider.state) == recount(traffic)


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


# ---------------------------------------------------------------------------------------------------------------- hangs
@pytest.mark.slow
def test_a_member_that_hangs_until_others_have_its_partitions(broker: Broker, tmp_path: Path) -> None:
    """A host that swaps, a paused container: back again, it goes on where it was, with what others have done since."""
    traffic = generate(3_000, starts_at=time.time() - 20 * 86_400.0)
    topics = make_topics(broker, transcripts=5, references=3, pairs=6)
    kafka = {"session_timeout": "6s"}
    with Fleet(broker, tmp_path, topics) as fleet, producing(fleet) as producer:
        hanging, other = fleet.add(ROUTE_SCORE, kafka=kafka), fleet.add(ROUTE_SCORE, kafka=kafka)
        decider = fleet.add(DECIDE)
        for agent in fleet.agents:
            agent.start()
        for agent in (hanging, other):
            fleet.wait_for(partial(has_partitions, agent), "a share of the partitions")
        first, second, third = parts(in_order(traffic), 3)
        producer.begin(first)
        fleet.wait_for(lambda: fleet.committed(hanging.groups) > 100, "something durable")
        hanging.now.process.send_signal(signal.SIGSTOP)
        producer.send(second)
        fleet.wait_for(partial(has_partitions, other, all_of=14), "all partitions")
        hanging.now.process.send_signal(signal.SIGCONT)
        producer.send(third)
        producer.wait()
        fleet.wait_until_seen(decider, traffic)
        fleet.stop()
    assert slices(decider.state) == recount(traffic)


@pytest.mark.slow
@pytest.mark.parametrize("stages", ["", ROUTE_SCORE], ids=["whole", "apart"])
def test_partitions_added_to_an_input(stages: str, broker: Broker, tmp_path: Path) -> None:
    """Customers grow their topics while we read them; also the next start goes on."""
    traffic = generate(1_500, starts_at=time.time() - 20 * 86_400.0)
    topics = make_topics(broker)
    first, second, third = parts(in_order(traffic), 3)
    more = topics._replace(transcripts=(topics.transcripts[0], 5))
    with Fleet(broker, tmp_path, topics) as fleet, Producing(broker.bootstrap, topics.inputs) as producer:
        agents = [fleet.add(stages)] + ([fleet.add(DECIDE)] if stages else [])
        for agent in agents:
            agent.start()
        producer.send(first)
        fleet.wait_until_seen(agents[-1], traffic_of(first))
        broker.add_partitions(topics.transcripts[0], 5)
        with Producing(broker.bootstrap, more.inputs) as wider:
            wider.send(second)
            fleet.wait_until_seen(agents[-1], traffic_of([*first, *second]), 90.0)
            agents[0].stop()
            agents[0].start()
            wider.send(third)
            fleet.wait_until_seen(agents[-1], traffic)
        fleet.stop()
    assert slices(agents[-1].state) == recount(traffic)


# ------------------------------------------------------------------------------------------------------------- deciders
@pytest.mark.slow
@pytest.mark.parametrize("changes", [3, 30])
def test_deciders_come_go_and_die(changes: int, broker: Broker, tmp_path: Path) -> None:
    """Customers move from one decider to another: each has one, no incident is lost, and none is told otherwise."""
    sent, sections = worsening(500 * changes, customers=3)
    replayed = replay(tmp_path / "replay", traffic_of(sent), sections)
    page_at = max(instant(str(line["at"])) for line in incidents(replayed) if line["level"] == "page")
    chance = random.Random(changes)
    with Fleet(broker, tmp_path, make_topics(broker, outcomes=6)) as fleet, producing(fleet) as producer:
        deciders = [fleet.add(DECIDE, **sections) for _ in range(2)]
        fleet.add(ROUTE_SCORE, **sections)
        for agent in fleet.agents:
            agent.start()
        for part in parts(sent, changes):
            producer.begin(part)
            time.sleep(chance.uniform(0.0, CHANGES_SECONDS))  # a moment that nobody chose
            change_one(fleet, deciders, chance)
        for decider in deciders:
            if decider.running is None:
                decider.start()
        producer.wait()
        fleet.wait_for(partial(shown_by, deciders, table(replayed)), "all of it", 120.0)
        fleet.wait_for(lambda: min(decided_until(decider) for decider in deciders) > page_at, "the last page", 120.0)
        until = min(decided_until(decider) for decider in deciders)
        fleet.stop()
    whole = {tuple(row) for decider in deciders for row in table(decider.state)}
    assert whole == {tuple(row) for row in table(replayed)}
    told = [line for decider in deciders for line in every_incident(decider)]
    assert upto(until, told) == upto(until, incidents(replayed))


def shown_by(deciders: list[Agent], wanted: list[list[str]]) -> bool:
    """Whether their rows together are those of a table, by transcripts and pairs."""
    rows = [row for decider in deciders for row in json.loads(decider.now.ask("/api/v1/slices")[1])["slices"]]
    shown = [[row["customer"], row["slice"], str(row["transcripts"]), str(row["pairs"])] for row in rows]
    return sorted(shown) == sorted(row[:4] for row in wanted[1:])


def decided_until(decider: Agent) -> float:
    return decider.now.metrics()[WATERMARK]


def every_incident(decider: Agent) -> list[dict[str, object]]:
    """Also of partitions that it had for a while."""
    files = sorted(decider.state.glob("outcomes-*/incidents.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def upto(until: float, lines: list[dict[str, object]]) -> list[str]:
    """What was told of the time before, once each: who has a partition's state made anew tells it all again."""
    return sorted({json.dumps(line) for line in lines if instant(str(line["at"])) < until})
