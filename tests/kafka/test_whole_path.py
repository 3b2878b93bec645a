"""`wervane run` on Kafka, alone or its stages apart: totals and incidents as over the same lines in files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.agent.processes import slices
from tests.kafka.broker import Broker
from tests.kafka.producing import in_order
from tests.kafka.running import DECIDE, ROUTE_SCORE, Fleet, make_topics, producing
from tests.traffic import Traffic, generate, recount


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(3_000, starts_at=time.time() - 20 * 86_400.0)


def test_one_process_counts_what_was_produced(broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """Two topics that are not co-partitioned, read at one's own pace: the totals are those of the lines."""
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        producer.send(in_order(traffic))
        agent = fleet.add()
        agent.start()
        fleet.wait_until_seen(agent, traffic)
        agent.stop()
    assert slices(agent.state) == recount(traffic)


def test_stages_apart_count_what_was_produced(broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """The same over three logs and two kinds of process."""
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        producer.send(in_order(traffic))
        scorers = [fleet.add(ROUTE_SCORE), fleet.add(ROUTE_SCORE)]
        decider = fleet.add(DECIDE)
        for agent in (*scorers, decider):
            agent.start()
        fleet.wait_until_seen(decider, traffic)
        for agent in (*scorers, decider):
            agent.stop()
    assert slices(decider.state) == recount(traffic)
