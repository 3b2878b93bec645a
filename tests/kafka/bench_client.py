"""Decides what reading through the port costs over kafka-python itself: CPU a record, and seconds a rebalance."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from monitor.adapters.kafka.consumer import READING, KafkaLogConsumer
from monitor.adapters.kafka.producer import KafkaLogProducer
from tests.kafka.broker import Broker
from tests.kafka.log_contract import PATIENCE_SECONDS, begin

RECORDS = 100_000
PARTITIONS = 4
TEXT = "the quick brown fox jumps over the lazy dog " * 14


def filled(broker: Broker, compression: str | None) -> str:
    topic = broker.unique("bench")
    broker.create_topic(topic, PARTITIONS)
    producer = KafkaLogProducer({"bootstrap_servers": [broker.bootstrap], "compression_type": compression})
    started = time.process_time()
    for number in range(RECORDS):
        value = json.dumps({"utterance_id": f"{number:036}", "text": TEXT}).encode()
        producer.send(topic, number % PARTITIONS, b"%d" % number, value)
        if number % 5_000 == 0:
            producer.flush(PATIENCE_SECONDS)
    producer.flush(PATIENCE_SECONDS)
    cost = (time.process_time() - started) / RECORDS
    producer.close()
    print(f"\nproducing, {compression}: {1e6 * cost:.1f} us a record of {len(value)} bytes")
    return topic


def read_bare(broker: Broker, topic: str) -> float:
    """CPU seconds a record."""
    consumer = KafkaConsumer(**{**READING, "bootstrap_servers": broker.bootstrap})
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    for partition in partitions:
        consumer.seek(partition, 0)
    number, started = 0, time.process_time()
    while number < RECORDS:
        number += sum(map(len, consumer.poll(timeout_ms=1000, max_records=2000).values()))
    cost = (time.process_time() - started) / RECORDS
    consumer.close()
    return cost


def read_ours(broker: Broker, topic: str) -> float:
    consumer = KafkaLogConsumer({"bootstrap_servers": broker.bootstrap}, group=broker.unique("g"), topics=[topic])
    begin(consumer, PARTITIONS)
    number, started = 0, time.process_time()
    while number < RECORDS:
        number += sum(map(len, consumer.poll(2000, 1.0).values()))
    cost = (time.process_time() - started) / RECORDS
    consumer.close()
    return cost


@pytest.mark.bench
@pytest.mark.parametrize("compression", [None, "lz4"])
def test_reading_costs_what_kafka_python_costs(broker: Broker, compression: str | None) -> None:
    """The ingest figure is a ratio to a bare poll loop; the port must leave nearly all of it to the agent."""
    topic = filled(broker, compression)
    pairs = [(read_bare(broker, topic), read_ours(broker, topic)) for _ in range(5)]
    ratio = median(ours / bare for bare, ours in pairs)
    bare = median(bare for bare, _ in pairs)
    print(f"poll through the port, {compression}: {ratio:.2f} of a bare poll's CPU ({1e6 * bare:.1f} us a record)")
    assert ratio < 1.2


class Rebalancing(threading.Thread):
    """A member in its own thread; `mine` is what it has."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mine: frozenset[tuple[str, int]] = frozenset()
        self.ends = False
        self.start()


class Bare(Rebalancing):
    def __init__(self, broker: Broker, group: str, topic: str) -> None:
        self._topic = topic
        self._options = {
            **READING,
            "bootstrap_servers": broker.bootstrap,
            "group_id": group,
            "auto_offset_reset": "earliest",
            "heartbeat_interval_ms": 1000,
            "partition_assignment_strategy": [CooperativeStickyAssignor],
        }
        super().__init__()

    def run(self) -> None:
        with KafkaConsumer(self._topic, **self._options) as consumer:
            while not self.ends:
                consumer.poll(timeout_ms=200)
                self.mine = frozenset(map(tuple, consumer.assignment()))


class Ours(Rebalancing):
    def __init__(self, broker: Broker, group: str, topic: str) -> None:
        self._broker, self._group, self._topic = broker, group, topic
        super().__init__()

    def run(self) -> None:
        options = {"bootstrap_servers": self._broker.bootstrap}
        consumer = KafkaLogConsumer(options, group=self._group, topics=[self._topic])
        while not self.ends:
            consumer.poll(100, 0.2)
            for partition, came, _ in consumer.changes():
                self.mine = self.mine | {partition} if came else self.mine - {partition}
                if came:
                    consumer.begin(partition, None)
        consumer.close()


@contextmanager
def lasting() -> Iterator[Callable[[], float]]:
    started = time.monotonic()
    yield lambda: time.monotonic() - started


def rebalanced(kind: type[Bare] | type[Ours], broker: Broker, topic: str) -> tuple[float, float]:
    """Seconds until a third member has its share of twelve partitions, and until its leaving is made good."""
    group = broker.unique("g")
    members: list[Rebalancing] = []
    for shares in ([12], [6, 6], [4, 4, 4]):
        with lasting() as joining:
            members.append(kind(broker, group, topic))
            settle(members, shares)
            joined = joining()
    with lasting() as leaving:
        members.pop().ends = True
        settle(members, [6, 6])
        left = leaving()
    for member in members:
        member.ends = True
        member.join()
    return joined, left


def settle(members: list[Rebalancing], shares: list[int]) -> None:
    deadline = time.monotonic() + 60
    while True:
        mine = [member.mine for member in members]
        if [len(each) for each in mine] == shares and len(frozenset().union(*mine)) == 12:
            return
        assert time.monotonic() < deadline, mine
        time.sleep(0.002)


@pytest.mark.bench
def test_a_rebalance_takes_what_kafka_python_takes(broker: Broker) -> None:
    """Issue 4: three members over twelve partitions, at most twice kafka-python's own."""
    topic = broker.unique("bench")
    broker.create_topic(topic, 12)
    seconds = {kind: [rebalanced(kind, broker, topic) for _ in range(5)] for kind in (Bare, Ours)}
    for what, which in (("joins", 0), ("leaves", 1)):
        bare, ours = (median(each[which] for each in seconds[kind]) for kind in (Bare, Ours))
        print(f"\na third member {what}: {ours:.2f} s, kafka-python {bare:.2f} s, ratio {ours / bare:.2f}")
        assert ours < 2 * bare
