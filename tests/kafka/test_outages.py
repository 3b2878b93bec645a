"""T2: the log cuts us off, hangs, goes away or loses records; nothing is reset silently, and a gap is told exactly.

One process with all stages and the stages apart read the same topics side by side, as two installations would.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest

from tests.kafka.broker import Broker
from tests.kafka.producing import in_order, parts, traffic_of
from tests.kafka.proxy import Proxy
from tests.kafka.running import (
    Agent,
    Both,
    Fleet,
    coverage_incidents,
    make_topics,
    problems_told,
    producing,
    told_losses,
)
from tests.traffic import Traffic, generate

LOST = "wervane_input_lost_records_total"


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(3_000, starts_at=time.time() - 20 * 86_400.0)


@pytest.mark.parametrize("cuts", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_connections_cut_again_and_again(
    cuts: int, broker: Broker, proxy: Callable[[], Proxy], traffic: Traffic, tmp_path: Path
) -> None:
    """A firewall that forgets, a broker that rolls: what was under way is sent or read again, and counts once."""
    network, chance = proxy(), random.Random(cuts)
    with Both(broker, tmp_path, network.address) as fleet, producing(fleet) as producer:
        fleet.start()
        for part in parts(in_order(traffic), cuts):
            producer.begin(part)
            time.sleep(chance.uniform(0.1, 1.5))  # a moment that nobody chose
            network.cut()
        producer.wait()
        fleet.end(traffic)


@pytest.mark.parametrize("seconds", [20.0, pytest.param(300.0, marks=pytest.mark.slow)])
def test_a_broker_that_is_gone_for_a_while(seconds: float, broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """Killed and started again: agents say that it is away, go on serving what they know, and read on by themselves."""
    before, after = parts(in_order(traffic), 2)
    with Both(broker, tmp_path) as fleet:
        with producing(fleet) as producer:
            producer.send(before)
        fleet.start()
        for agent in (fleet.whole, fleet.decider):
            fleet.wait_until_seen(agent, traffic_of(before))
        broker.kill()
        gone_at = time.monotonic()
        for agent in (fleet.whole, fleet.scorer, fleet.decider):
            fleet.wait_for(partial(says_it_is_away, agent), "the outage", 40.0)
        while time.monotonic() - gone_at < seconds:
            assert all(agent.now.ask("/metrics")[0] == 200 for agent in fleet.agents)
            time.sleep(1.0)
        broker.start()
        back_at = time.monotonic()
        with producing(fleet) as producer:
            producer.send(after)
        fleet.end(traffic)
        assert time.monotonic() - back_at < 120.0


def says_it_is_away(agent: Agent) -> bool:
    return agent.now.metrics()["wervane_broker_reachable"] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [2, 10])
def test_a_broker_that_dies_at_work(deaths: int, broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """SIGKILL while all read and append: what was not acknowledged is sent again, and what was is not counted twice."""
    chance = random.Random(deaths)
    with Both(broker, tmp_path) as fleet, producing(fleet) as producer:
        fleet.start()
        first, *rest = parts(in_order(traffic), deaths + 1)
        producer.send(first)
        for agent in (fleet.whole, fleet.decider):
            fleet.wait_until_seen(agent, traffic_of(first))
        for part in rest:
            producer.begin(part)
            time.sleep(chance.uniform(0.1, 2.0))  # a moment that nobody chose
            broker.kill()
            broker.start()
        producer.wait()
        fleet.end(traffic)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [15.0, 90.0])
def test_half_open_connections(
    seconds: float, broker: Broker, proxy: Callable[[], Proxy], traffic: Traffic, tmp_path: Path
) -> None:
    """The other end is gone and nobody says so: requests time out and new connections are made."""
    network = proxy()
    with Both(broker, tmp_path, network.address) as fleet, producing(fleet) as producer:
        fleet.start()
        first, second = parts(in_order(traffic), 2)
        producer.send(first)
        fleet.wait_until_seen(fleet.whole, traffic_of(first))
        producer.begin(second)
        network.swallow()
        time.sleep(seconds)
        network.restore()
        producer.wait()
        fleet.end(traffic)


@pytest.mark.parametrize("scraped", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["told", "scraped"])
def test_records_deleted_before_they_were_read(
    scraped: bool, broker: Broker, proxy: Callable[[], Proxy], traffic: Traffic, tmp_path: Path
) -> None:
    """Retention overtakes a consumer: a metric, the log and an incident tell the exact number; the rest counts."""
    network = proxy()
    with Both(broker, tmp_path, network.address) as fleet, producing(fleet) as producer:
        fleet.start()
        first, second = parts(in_order(traffic), 2)
        producer.send(first)
        for agent in (fleet.whole, fleet.decider):
            fleet.wait_until_seen(agent, traffic_of(first))
        network.refuse()
        gone = {
            (topic, partition): (len(producer.sent[topic, partition]), len(producer.sent[topic, partition]) + lost)
            for topic, partition, lost in (
                (fleet.topics.transcripts[0], 1, 137),
                (fleet.topics.transcripts[0], 2, 1),
                (fleet.topics.references[0], 0, 55),
            )
        }
        producer.send(second)
        for (topic, partition), (_, end) in gone.items():
            broker.delete_records(topic, partition, end)
        network.restore()
        left = producer.left(traffic, gone)
        for agent in (fleet.whole, fleet.decider):
            fleet.wait_until_seen(agent, left)
        expected = {(f"{topic}-{number}", start, end - start) for (topic, number), (start, end) in gone.items()}
        for agent in (fleet.whole, fleet.scorer):
            assert problems_told(agent) == expected
        for agent in (fleet.whole, fleet.decider):
            fleet.wait_for(partial(told_losses, agent, len(gone)), "every loss in an incident")
        counted = {fleet.topics.transcripts[0]: 137 + 1, fleet.topics.references[0]: 55}
        for agent in (fleet.whole, fleet.scorer) if scraped else ():
            fleet.wait_for(partial(tells_of, agent, counted), "the metric")
        fleet.end(left)
        for agent in (fleet.whole, fleet.decider):
            assert coverage_incidents(agent)[-1]["evidence"] == 137 + 1 + 55, agent.config
            assert len({line["incident"] for line in coverage_incidents(agent)}) == 1


def tells_of(agent: Agent, wanted: Mapping[str, int]) -> bool:
    """Whether the metric has exactly these numbers, by topic. A new series is held at 0 for half a minute."""
    series = {f'{LOST}{{topic="{topic}",problem="retention"}}': number for topic, number in wanted.items()}
    return {name: value for name, value in agent.now.metrics().items() if name.startswith(LOST)} == series


@pytest.mark.slow
def test_stopping_while_no_broker_answers(
    broker: Broker, proxy: Callable[[], Proxy], traffic: Traffic, tmp_path: Path
) -> None:
    """An orchestrator gives half a minute; whoever waits for a broker longer is killed, and nothing is won by it."""
    network = proxy()
    with Both(broker, tmp_path, network.address) as fleet, producing(fleet) as producer:
        first, second = parts(in_order(traffic), 2)
        producer.send(first)
        fleet.start()
        for agent in (fleet.whole, fleet.decider):
            fleet.wait_until_seen(agent, traffic_of(first))
        network.refuse()
        fleet.wait_for(partial(says_it_is_away, fleet.scorer), "the outage", 40.0)
        began = time.monotonic()
        fleet.stop()
        assert time.monotonic() - began < 25.0
        network.restore()
        producer.send(second)
        fleet.start()
        fleet.end(traffic)


@pytest.mark.parametrize("log", ["pairs", pytest.param("outcomes", marks=pytest.mark.slow)])
def test_records_deleted_between_stages(log: str, broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """Retention that is too short for a stage that was down: what it never saw is told, to the record."""
    first, second = parts(in_order(traffic), 2)
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        score, decide = fleet.add("score"), fleet.add("decide")
        fleet.add("route")
        for agent in fleet.agents:
            agent.start()
        producer.send(first)
        fleet.wait_until_seen(decide, traffic_of(first))
        down = score if log == "pairs" else decide
        down.stop()
        topic = fleet.topics.between[log][0]
        position = fleet.floor(down.groups[0], topic, 0)
        producer.send(second)
        fleet.wait_for(lambda: fleet.end_of(topic, 0) > position + 40, f"more {log}")
        broker.delete_records(topic, 0, position + 40)
        down.start()
        fleet.wait_for(lambda: bool(down.now.events("input_problem")), "the loss")
        assert problems_told(down) == {(f"{topic}-0", position, 40)}
        fleet.wait_for(lambda: bool(decide.now.events("incident_firing")), "the incident")
        fleet.stop()
    assert coverage_incidents(decide)[-1]["evidence"] == 40
