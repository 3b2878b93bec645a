"""Holds every implementation of the log to the contract: in memory, and both client libraries on a real broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from kafka import KafkaProducer

from monitor.adapters.kafka.consumer import KafkaLogConsumer
from monitor.adapters.kafka.port import LogConsumer, LogProducer
from monitor.adapters.kafka.producer import KafkaLogProducer
from tests.kafka.broker import Broker
from tests.kafka.log_contract import LogContract
from tests.kafka.memory import MemoryBroker


class MemoryWorld:
    def __init__(self) -> None:
        self._broker = MemoryBroker()
        self._names = 0

    def topic(self, partitions: int = 1) -> str:
        name = self.group()
        self._broker.create_topic(name, partitions)
        return name

    def group(self) -> str:
        self._names += 1
        return f"name-{self._names}"

    def consumer(self, group: str, topics: Sequence[str], group_instance_id: str | None = None) -> LogConsumer:
        return self._broker.consumer(group, topics, group_instance_id)

    def producer(self) -> LogProducer:
        return self._broker.producer()

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        self._broker.delete_records(topic, partition, before)

    def recreate_topic(self, topic: str, records: int) -> None:
        self._broker.delete_topic(topic)
        self._broker.create_topic(topic)
        for number in range(records):
            self._broker.append(topic, 0, None, str(number).encode())

    def add_partitions(self, topic: str, total: int) -> None:
        self._broker.add_partitions(topic, total)

    def abort(self, topic: str, partition: int) -> None:
        self._broker.skip_offsets(topic, partition, 4)

    def stop(self) -> None:
        self._broker.stop()

    def start(self) -> None:
        self._broker.start()


class BrokerWorld:
    """A real broker, and clients of the implementation that is given."""

    def __init__(
        self,
        broker: Broker,
        consumer: Callable[[str, Sequence[str], str | None], LogConsumer],
        producer: Callable[[], LogProducer],
    ) -> None:
        self._broker = broker
        self._consumer = consumer
        self.producer = producer

    def topic(self, partitions: int = 1) -> str:
        name = self._broker.unique("contract")
        self._broker.create_topic(name, partitions)
        return name

    def group(self) -> str:
        return self._broker.unique("group")

    def consumer(self, group: str, topics: Sequence[str], group_instance_id: str | None = None) -> LogConsumer:
        return self._consumer(group, topics, group_instance_id)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        self._broker.delete_records(topic, partition, before)

    def recreate_topic(self, topic: str, records: int) -> None:
        self._broker.delete_topic(topic)
        self._broker.create_topic(topic)
        producer = KafkaProducer(bootstrap_servers=self._broker.bootstrap)
        for number in range(records):
            producer.send(topic, str(number).encode(), partition=0)
        producer.close(timeout=20)

    def add_partitions(self, topic: str, total: int) -> None:
        self._broker.add_partitions(topic, total)

    def abort(self, topic: str, partition: int) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self._broker.bootstrap, transactional_id=self._broker.unique("transaction")
        )
        producer.init_transactions()
        producer.begin_transaction()
        for number in range(3):
            producer.send(topic, str(number).encode(), partition=partition)
        producer.flush()
        producer.abort_transaction()
        producer.close(timeout=20)

    def stop(self) -> None:
        self._broker.kill()

    def start(self) -> None:
        self._broker.start()


class TestMemory(LogContract):
    @pytest.fixture
    def world(self) -> MemoryWorld:
        return MemoryWorld()


class TestKafkaPython(LogContract):
    @pytest.fixture
    def world(self, broker: Broker) -> BrokerWorld:
        # Re-created topics and added partitions are noticed with the next metadata, within a second here.
        options = {"bootstrap_servers": [broker.bootstrap], "metadata_max_age_ms": 500}

        def consumer(group: str, topics: Sequence[str], group_instance_id: str | None) -> LogConsumer:
            return KafkaLogConsumer(
                options,
                group=group,
                topics=topics,
                group_instance_id=group_instance_id,
                session_timeout_seconds=6.0,
                heartbeat_seconds=0.1,
                ask_seconds=3.0,
            )

        return BrokerWorld(broker, consumer, lambda: KafkaLogProducer(options, ask_seconds=3.0))


class TestConfluent(LogContract):
    @pytest.fixture
    def world(self, broker: Broker, confluent: None) -> BrokerWorld:
        from monitor.adapters.kafka.fast_consumer import FastLogConsumer
        from monitor.adapters.kafka.fast_producer import FastLogProducer

        options = {"bootstrap.servers": broker.bootstrap}

        def consumer(group: str, topics: Sequence[str], group_instance_id: str | None) -> LogConsumer:
            return FastLogConsumer(
                {**options, "topic.metadata.refresh.interval.ms": 500},
                group=group,
                topics=topics,
                group_instance_id=group_instance_id,
                session_timeout_seconds=30.0,  # when that has passed without a broker, librdkafka lets go of partitions
                heartbeat_seconds=0.1,
                ask_seconds=3.0,
                look_seconds=0.5,
            )

        return BrokerWorld(broker, consumer, lambda: FastLogProducer(options, ask_seconds=3.0))
