"""`wervane run` on Kafka, alone or its stages apart: totals and incidents as over the same lines in files."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from tests.agent.processes import slices
from tests.kafka.broker import Broker
from tests.kafka.producing import in_order, traffic_of
from tests.kafka.replaying import DAY, WATERMARK, demo, incidents, instant, last_metrics, replay, table, worsening
from tests.kafka.running import DECIDE, ROUTE_SCORE, Fleet, has_partitions, make_topics, producing
from tests.traffic import Traffic, generate, recount


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(3_000, starts_at=time.time() - 20 * DAY)


def test_one_process_counts_what_was_produced(broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """Two topics that are not co-partitioned, read at one's own pace: the totals are those of the lines."""
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        producer.send(in_order(traffic))
        agent = fleet.add()
        agent.start()
        fleet.wait_until_seen(agent, traffic)
        agent.stop()
    assert slices(agent.state) == recount(traffic)


@pytest.mark.parametrize("stream", ["short", pytest.param("demo", marks=pytest.mark.slow)])
def test_three_agents_and_a_decider_arrive_where_a_replay_does(stream: str, broker: Broker, tmp_path: Path) -> None:
    """What was tried on files is what runs on Kafka: the same table and the same incidents, at the same hours."""
    sent, sections = worsening(3_000) if stream == "short" else demo()
    replayed = replay(tmp_path / "replay", traffic_of(sent), sections)
    wanted = {name: totals for name, totals in slices(replayed).items() if totals[0] > 0}
    page_at = next(instant(str(line["at"])) for line in incidents(replayed) if line["level"] == "page")
    topics = make_topics(broker, transcripts=5, references=3, pairs=12, outcomes=4)
    with Fleet(broker, tmp_path, topics) as fleet, producing(fleet) as producer:
        agents = [fleet.add(ROUTE_SCORE, **sections) for _ in range(3)]
        decider = fleet.add(DECIDE, **sections)
        for agent in fleet.agents:
            agent.start()
        for agent in agents:
            fleet.wait_for(partial(has_partitions, agent), "a share of the partitions")
        producer.send(sent)
        fleet.wait_for(lambda: decider.now.seen()[1] == wanted, "all of it", 240.0)
        fleet.wait_for(lambda: decider.now.metrics()[WATERMARK] > page_at, "the hour of the page", 120.0)
        fleet.stop()
    assert table(decider.state) == table(replayed)
    decided_until = last_metrics(decider.state)[WATERMARK]
    assert decided_until > page_at
    assert incidents(decider.state) == [
        line for line in incidents(replayed) if instant(str(line["at"])) < decided_until
    ]
