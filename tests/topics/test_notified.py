"""Stages apart tell receivers too: DECIDE, once for each customer's partition, whoever has it."""

from __future__ import annotations

from tests.agent.receivers import blind_traffic
from tests.noticing import Listed, drained, sender
from tests.topics.cluster import MakeCluster, newest_of
from tests.topics.test_whole_input import Embedded

CUSTOMERS = ("acme", "beta", "city")


def test_each_customer_s_incident_is_told_once_and_again_when_its_state_is_lost(make_cluster: MakeCluster) -> None:
    """Partitions move and disks are lost: the pager hears of it under the key that it knows."""
    cluster = make_cluster(labels__maturity="24h")
    traffic = blind_traffic(*CUSTOMERS, now=cluster.clock.at)
    newest_at = newest_of({"all": traffic})
    cluster.publish_traffic(traffic)
    to = sender(pager := Listed())
    process = cluster.process(node="a", sender=to)
    cluster.settle(process, newest_at=newest_at)
    drained(to)
    told = sorted(pager.steps())
    assert len(told) == 3 and len({key for _, _, key in told}) == 3
    process.stop()
    process = cluster.process(node="a", sender=to)
    cluster.settle(process, newest_at=newest_at)
    drained(to)
    assert len(pager.sent) == 3, "its state knows that they were delivered"
    process.stop()
    process = cluster.process(node="b", sender=to)
    cluster.settle(process, newest_at=newest_at)
    drained(to)
    assert sorted(pager.steps()[3:]) == told


def test_one_process_over_both_topics_tells_once_and_again_when_its_state_is_lost(make_cluster: MakeCluster) -> None:
    """The same promise where nobody has to set up topics between stages."""
    cluster = make_cluster(labels__maturity="24h")
    cluster.publish_traffic(blind_traffic(*CUSTOMERS, now=cluster.clock.at))
    to = sender(pager := Listed())
    for node, told_by_then in (("a", 3), ("a", 3), ("b", 6)):
        embedded = Embedded(cluster, node, to)
        embedded.open()
        embedded.run(turns=12)
        drained(to)
        embedded.run(turns=2)
        embedded.agent.close()
        embedded.topics.close()
        assert len(pager.sent) == told_by_then, node
    assert sorted(pager.steps()[3:]) == sorted(pager.steps()[:3])
