"""What networks, brokers and slow processes do to kafka-python, and what of it the agent may see: nothing but time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest
from kafka import KafkaConsumer, TopicPartition

from monitor.adapters.kafka.consumer import JOIN_SECONDS_MAX, KafkaLogConsumer
from monitor.adapters.kafka.port import (
    Change,
    LogConsumer,
    LogRecord,
    LogUnreachable,
    Partition,
    RecordRefused,
)
from monitor.adapters.kafka.producer import KafkaLogProducer
from tests.kafka.broker import Broker
from tests.kafka.log_contract import PATIENCE_SECONDS, Member, begin, everything, join, offsets, read, wait_until
from tests.kafka.proxy import Proxy

IN_TIME_SECONDS = 10.0
"""How late something may be on a machine whose every core is taken by other tests."""


def consumer_of(server: str, group: str, topics: Sequence[str], **more: object) -> KafkaLogConsumer:
    """`more` goes to kafka-python."""
    options = {"bootstrap_servers": [server], **more}
    name = options.pop("group_instance_id", None)
    assert name is None or isinstance(name, str)
    return KafkaLogConsumer(
        options,
        group=group,
        topics=topics,
        group_instance_id=name,
        session_timeout_seconds=6.0,
        heartbeat_seconds=0.1,
        ask_seconds=1.0,
    )


def producer_of(server: str, **more: object) -> KafkaLogProducer:
    return KafkaLogProducer({"bootstrap_servers": [server], **more}, ask_seconds=1.0)


def topic_of(broker: Broker, partitions: int = 1, **config: str | int) -> str:
    name = broker.unique("faults")
    broker.create_topic(name, partitions, {key.replace("_", "."): value for key, value in config.items()})
    return name


def values(records: Sequence[LogRecord]) -> list[int]:
    return [int(record.value or b"-1") for record in records]


def log_of(broker: Broker, topic: str) -> list[bytes]:
    """Every value of the topic's only partition, as a client sees it that is not ours."""
    partition = TopicPartition(topic, 0)
    found: list[bytes] = []
    with KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest") as plain:
        plain.assign([partition])
        end = plain.end_offsets([partition])[partition]
        while plain.position(partition) < end:
            found += [record.value for record in plain.poll(timeout_ms=500).get(partition, [])]
    return found


def deliver(producer: KafkaLogProducer, topic: str, numbers: Sequence[int]) -> int:
    """As the agent does: all of it again until it is acknowledged. How often that failed."""
    for failures in range(1000):
        try:
            for number in numbers:
                producer.send(topic, 0, None, b"%d" % number)
            producer.flush(3.0)
        except LogUnreachable:
            continue
        return failures
    raise AssertionError("never delivered")


def in_time(limit_seconds: float, what: Callable[[], object]) -> None:
    started = time.monotonic()
    what()
    assert time.monotonic() - started < limit_seconds + IN_TIME_SECONDS


# ---------------------------------------------------------------------------------------------------------- the network
def test_cuts_lose_and_disorder_nothing(broker: Broker, proxy: Callable[[], Proxy]) -> None:
    """T2. A producer and a consumer are cut off again and again in the middle of their work; each record is read, and
    what is dropped as repeated is all that comes twice.
    """
    network, topic = proxy(), topic_of(broker)
    consumer, producer = consumer_of(network.address, broker.unique("g"), [topic]), producer_of(network.address)
    begin(consumer)
    ended, chance = threading.Event(), random.Random(4)

    def cut_again() -> None:
        while not ended.wait(chance.uniform(0.02, 0.3)):
            network.cut()

    cutter = threading.Thread(target=cut_again)
    cutter.start()
    read_to, highest = 0, -1
    for start in range(0, 4000, 200):
        deliver(producer, topic, range(start, start + 200))
    ended.set()
    cutter.join()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while highest < 3999:
        assert time.monotonic() < deadline
        for records in consumer.poll(500, 0.2).values():
            assert offsets(records) == list(range(read_to, read_to + len(records)))
            read_to += len(records)
            for number in values(records):
                assert number <= highest + 1, "a record is missing before this one"
                highest = max(highest, number)
    assert consumer.problems() == []
    consumer.close()
    producer.close()


@pytest.mark.parametrize(
    "fault", ["swallow", pytest.param("stall", marks=pytest.mark.slow), pytest.param("refuse", marks=pytest.mark.slow)]
)
def test_a_network_that_answers_nothing_costs_time_and_nothing_else(
    broker: Broker, proxy: Callable[[], Proxy], fault: str
) -> None:
    """T2. Half-open connections are the worst outage: nobody says that it is one. Every call must end in time."""
    network, topic = proxy(), topic_of(broker)
    fast = {"request_timeout_ms": 2000}
    consumer = consumer_of(network.address, broker.unique("g"), [topic], **fast)
    producer = producer_of(network.address, **fast)
    (partition,) = begin(consumer)
    deliver(producer, topic, range(10))
    assert values(read(consumer, 10)[partition]) == list(range(10))
    getattr(network, fault)()
    answered_at = consumer.reachable_at
    for _ in range(3):
        in_time(0.3, lambda: consumer.poll(100, 0.3))
    in_time(0.4, lambda: consumer.commit({partition: 10}))
    with pytest.raises(LogUnreachable):
        in_time(1.0, lambda: consumer.ends([partition]))
    producer.send(topic, 0, None, b"10")
    with pytest.raises(LogUnreachable):
        in_time(0.5, lambda: producer.flush(0.5))
    assert consumer.reachable_at == answered_at
    network.restore()
    deliver(producer, topic, range(10, 20))
    again = values(read(consumer, 10)[partition])
    assert sorted(set(again)) == list(range(10, 20))
    wait_until(lambda: consumer.poll(100, 0.1) or consumer.commit({partition: 20}), "it never came back")
    consumer.close()
    producer.close()


def test_a_frozen_broker_holds_nobody_up(broker: Broker) -> None:
    """A host that hangs keeps its connections: the thread that owns the core must not hang with it."""
    topic = topic_of(broker)
    consumer = consumer_of(broker.bootstrap, broker.unique("g"), [topic])
    (partition,) = begin(consumer)
    broker.freeze()
    in_time(0.2, lambda: consumer.poll(100, 0.2))
    in_time(0.4, lambda: consumer.commit({partition: 1}))
    with pytest.raises(LogUnreachable):
        in_time(1.0, lambda: consumer.facts(topic))
    in_time(0.4, consumer.close)


def test_trying_to_connect_leaves_no_thread_behind() -> None:
    """An outage of a night is tens of thousands of attempts."""
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(LogUnreachable) as unreachable:
            consumer_of("127.0.0.1:9", "g", ["t"], bootstrap_timeout_ms=100)
        with pytest.raises(LogUnreachable):
            KafkaLogProducer({"bootstrap_servers": ["127.0.0.1:9"]}, ask_seconds=0.1).partitions("t")
    assert "127.0.0.1:9" in str(unreachable.value)
    wait_until(lambda: threading.active_count() <= before, "threads are left")


def test_an_idle_member_knows_that_it_is_reached(broker: Broker) -> None:
    """Readiness hangs on it: silence of the log and silence of the network must not look alike."""
    topic = topic_of(broker)
    consumer = consumer_of(broker.bootstrap, broker.unique("g"), [topic])
    begin(consumer)
    seen: set[float | None] = set()
    for _ in polled(lambda: len(seen) > 3):
        assert consumer.poll(100, 0.1) == {}
        seen.add(consumer.reachable_at)
    consumer.close()


def test_an_idle_member_notices_that_its_name_was_taken(broker: Broker) -> None:
    """kafka-python does not tell, and goes on giving it records: two agents would count them."""
    topic, group = topic_of(broker), broker.unique("g")

    def named() -> LogConsumer:
        return consumer_of(broker.bootstrap, group, [topic], group_instance_id="agent-1")

    older = Member(named)
    wait_until(lambda: older.mine, "it never joined")
    assert older.ask(lambda consumer: consumer.commit({Partition(topic, 0): 0})) is True
    younger = Member(named)
    wait_until(lambda: older.refusal is not None, "it never noticed")
    younger.leave()
    older.leave()


# ------------------------------------------------------------------------------------------------------------ the group
def test_a_session_that_was_lost_is_told_as_lost(broker: Broker) -> None:
    """Its partitions have other owners already: what was read last must be dropped, and not be committed."""
    topic, group = topic_of(broker, 2), broker.unique("g")
    fill_both(broker, topic)
    consumer = consumer_of(broker.bootstrap, group, [topic], max_poll_interval_ms=1000)
    first, second = begin(consumer, 2)
    read(consumer, 2)
    other = Member(lambda: consumer_of(broker.bootstrap, group, [topic]))
    wait_until(lambda: other.mine == {first, second}, "the other never got what was lost")
    assert consumer.commit({first: 1, second: 1}) is False
    changes: list[Change] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(change.assigned for change in changes):
        assert time.monotonic() < deadline
        assert consumer.poll(100, 0.1) == {}
        changes += consumer.changes()
    assert changes[:2] == [Change(first, assigned=False, lost=True), Change(second, assigned=False, lost=True)]
    consumer.close()
    other.leave()


def fill_both(broker: Broker, topic: str) -> None:
    with closing(producer_of(broker.bootstrap)) as producer:
        for partition in range(2):
            producer.send(topic, partition, None, b"0")
        producer.flush(PATIENCE_SECONDS)


def test_a_group_settles_though_its_members_are_busy_between_polls(broker: Broker) -> None:
    """Found with kafka-python 3.0.12: an answer to JoinGroup that comes between two polls is dropped, and all join once
    more; members that worked 0.1 s between polls that do not wait did so for a minute, and were still at it.
    """
    topic, group = topic_of(broker, 12), broker.unique("g")
    members = [Busy(lambda: consumer_of(broker.bootstrap, group, [topic])) for _ in range(3)]
    wait_until(lambda: [len(member.mine) for member in members] == [4, 4, 4], "they never shared")
    assert len(everything(members)) == 12
    for member in members:
        member.leave()
    assert max(member.generation for member in members) < 20


class Busy(Member):
    generation = 0
    wait_seconds = 0.0

    def _turn(self, consumer: LogConsumer) -> None:
        super()._turn(consumer)
        assert isinstance(consumer, KafkaLogConsumer)
        self.generation = max(self.generation, consumer._kafka.group_metadata().generation_id)
        time.sleep(0.1)  # its work


def test_an_answer_that_came_between_two_polls_is_not_lost_for_good(broker: Broker) -> None:
    """Found with kafka-python 3.0.12: a member that joins because of new partitions, and is not in `poll` when the
    answer comes, had no partition and sent no heartbeat from then on.
    """
    topic = topic_of(broker)
    consumer = consumer_of(broker.bootstrap, broker.unique("g"), [topic], metadata_max_age_ms=200)
    begin(consumer)
    broker.add_partitions(topic, 2)
    coordinator = consumer._kafka._coordinator
    for _ in polled(lambda: coordinator.rebalance_in_progress()):
        consumer._kafka.poll(timeout_ms=1)  # one step, which ends while it joins
    for _ in polled(lambda: coordinator._join_task is None or coordinator._join_task.is_done):
        time.sleep(0.01)  # and the answer comes
    assert join(consumer, 1) == [Partition(topic, 1)]
    consumer.close()


def polled(done: Callable[[], object]) -> Iterator[None]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline
        yield


# --------------------------------------------------------------------------------------------------------- the producer
def test_what_is_behind_a_refused_batch_is_not_appended_without_it(broker: Broker) -> None:
    """An idempotent producer may recover from an error by going on behind what it lost. A reader that has seen what
    came later drops the lost records as old ones when they are sent again: they would never be counted.
    """
    topic = topic_of(broker)
    producer = producer_of(broker.bootstrap, batch_size=20_000, compression_type=None, client_id=topic)
    producer.send(topic, 0, None, b"first")
    producer.flush(PATIENCE_SECONDS)
    broker.configure_topic(topic, {"max.message.bytes": 50_000})
    large, small = b"L" * 100_000, [b"%d" % number * 1000 for number in range(200)]
    with pytest.raises(LogUnreachable):
        for value in (large, *small):
            producer.send(topic, 0, None, value)
        wait_until(lambda: f"{topic}-network-thread" not in threads(), "it goes on before anybody asks")
        producer.flush(PATIENCE_SECONDS)
    assert log_of(broker, topic) == [b"first"]
    with pytest.raises(RecordRefused):
        producer.send(topic, 0, None, large)
    for value in small:
        producer.send(topic, 0, None, value)
    producer.flush(PATIENCE_SECONDS)
    assert log_of(broker, topic) == [b"first", *small]
    producer.close()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_batches_fit_the_topic_that_takes_least(broker: Broker) -> None:
    """Many small records make a large batch; a topic with a low limit would refuse it though each record is small."""
    roomy, narrow = topic_of(broker), topic_of(broker, max_message_bytes=2000)
    producer = producer_of(broker.bootstrap, compression_type=None)
    sent = [b"%d" % number * 100 for number in range(500)]
    for value in sent:
        producer.send(roomy, 0, None, value)
    for value in sent:
        producer.send(narrow, 0, None, value)
    producer.flush(PATIENCE_SECONDS)
    assert log_of(broker, narrow) == log_of(broker, roomy) == sent
    producer.close()


def test_what_was_given_up_is_not_appended_later(broker: Broker, proxy: Callable[[], Proxy]) -> None:
    """A producer that lives on after its flush failed would append an old state's records after the new ones."""
    network, topic = proxy(), topic_of(broker)
    producer = producer_of(network.address, request_timeout_ms=2000)
    deliver(producer, topic, [0])
    before = threading.active_count()
    network.refuse()
    producer.send(topic, 0, None, b"1")
    with pytest.raises(LogUnreachable):
        producer.flush(0.3)
    wait_until(lambda: threading.active_count() < before, "its thread goes on")
    network.restore()
    deliver(producer, topic, [2])
    assert log_of(broker, topic) == [b"0", b"2"]
    producer.close()


@pytest.mark.slow
def test_joining_takes_no_longer_than_it_is_allowed(broker: Broker) -> None:
    """A member that loads its state does not poll; the others wait for it, but not in one `poll`."""
    topic, group = topic_of(broker, 2), broker.unique("g")
    loading = consumer_of(broker.bootstrap, group, [topic])
    begin(loading, 2)
    waiting = consumer_of(broker.bootstrap, group, [topic])
    for _ in range(2):
        in_time(0.1 + JOIN_SECONDS_MAX, lambda: waiting.poll(100, 0.1))
    waiting.close()
    loading.close()
