"""The network between clients and the broker does what a test says, or every test of faults proves nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError

from tests.kafka.broker import Broker
from tests.kafka.proxy import Proxy


def test_a_client_goes_through_the_proxy_and_only_through_it(broker: Broker, proxy: Callable[[], Proxy]) -> None:
    """A broker that advertises its own port would be reached past the proxy, and a cut would cut nothing."""
    topic, network = broker.unique("proxied"), proxy()
    broker.create_topic(topic)
    producer = KafkaProducer(bootstrap_servers=network.address, reconnect_backoff_max_ms=100, request_timeout_ms=1000)

    def acknowledged() -> int:
        offset: int = producer.send(topic, b"record").get(timeout=10).offset
        return offset

    assert acknowledged() == 0
    network.cut()
    assert acknowledged() == 1
    network.stall()
    held = producer.send(topic, b"record")
    with pytest.raises(KafkaError):
        held.get(timeout=0.3)
    network.restore()
    assert held.get(timeout=10).offset == 2
    network.swallow()
    lost = producer.send(topic, b"record")
    with pytest.raises(KafkaError):
        lost.get(timeout=0.3)
    network.restore()
    assert lost.get(timeout=10).offset == 3
    network.refuse()
    assert network.connections == 0
    producer.close(timeout=0)
