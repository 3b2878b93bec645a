"""What is particular to confluent-kafka: what networks, brokers and bad batches do to it, and that it says nothing."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from monitor.adapters.kafka.connection import Connection, librdkafka_options
from monitor.adapters.kafka.consumer import KafkaLogConsumer
from monitor.adapters.kafka.inquiries import Inquiries
from monitor.adapters.kafka.port import (
    LogConsumer,
    LogProblem,
    LogProducer,
    LogRefused,
    LogUnreachable,
    Partition,
    RecordRefused,
)
from monitor.config import ConfigError
from monitor.topics.opening import open_consumer, open_producer
from tests.kafka import poison_batches
from tests.kafka.broker import Broker
from tests.kafka.builders import settings_for, with_certificate, with_password
from tests.kafka.log_contract import PATIENCE_SECONDS, Member, begin, offsets, read, refused, wait_until
from tests.kafka.poison_batches import CODECS, PASSABLE, Damage, Record, append, batch, damage
from tests.kafka.proxy import Proxy

pytestmark = [pytest.mark.usefixtures("confluent"), pytest.mark.slow]

IN_TIME_SECONDS = 10.0
"""How late something may be on a machine whose every core is taken by other tests."""

ASK_SECONDS = 2.0


def consumer_of(
    options: str | Mapping[str, object], group: str, topics: Sequence[str], instance: str | None = None
) -> LogConsumer:
    """`options`: an address, or librdkafka's properties."""
    from monitor.adapters.kafka.fast_consumer import FastLogConsumer

    how = {"bootstrap.servers": options} if isinstance(options, str) else options
    return FastLogConsumer(
        how, group=group, topics=topics, group_instance_id=instance, session_timeout_seconds=30.0,
        heartbeat_seconds=0.1, ask_seconds=ASK_SECONDS, look_seconds=0.3,
    )  # fmt: skip


def producer_of(options: str | Mapping[str, object], **more: object) -> LogProducer:
    from monitor.adapters.kafka.fast_producer import FastLogProducer

    how = {"bootstrap.servers": options} if isinstance(options, str) else options
    named = {name.replace("_", "."): value for name, value in more.items()}
    return FastLogProducer({**how, **named}, ask_seconds=ASK_SECONDS)


def topic_of(broker: Broker, partitions: int = 1, **config: str | int) -> str:
    name = broker.unique("fast")
    broker.create_topic(name, partitions, {key.replace("_", "."): value for key, value in config.items()})
    return name


def deliver(producer: LogProducer, topic: str, numbers: Sequence[int]) -> None:
    """As the agent does: all of it again until it is acknowledged."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            for number in numbers:
                producer.send(topic, 0, None, b"%d" % number)
            producer.flush(3.0)
        except LogUnreachable:
            assert time.monotonic() < deadline
        else:
            return


def log_of(broker: Broker, topic: str) -> list[bytes]:
    """Every value of the topic's only partition, as another client sees it."""
    partition = TopicPartition(topic, 0)
    found: list[bytes] = []
    with KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest") as plain:
        plain.assign([partition])
        end = plain.end_offsets([partition])[partition]
        while plain.position(partition) < end:
            found += [record.value for record in plain.poll(timeout_ms=500).get(partition, [])]
    return found


def in_time(limit_seconds: float, what: Callable[[], object]) -> None:
    started = time.monotonic()
    what()
    assert time.monotonic() - started < limit_seconds + IN_TIME_SECONDS


# --------------------------------------------------------------------------------------------------------- the network
@pytest.mark.slow
def test_cuts_lose_and_disorder_nothing(broker: Broker, proxy: Callable[[], Proxy]) -> None:
    """T2. A producer and a consumer are cut off again and again in the middle of their work; each record is read, and
    what is dropped as repeated is all that comes twice.
    """
    network, topic = proxy(), topic_of(broker)
    consumer, producer = consumer_of(network.address, broker.unique("g"), [topic]), producer_of(network.address)
    begin(consumer)
    with cut_again_and_again(network):
        for start in range(0, 2000, 200):
            deliver(producer, topic, range(start, start + 200))
    read_to, highest = 0, -1
    deadline = time.monotonic() + PATIENCE_SECONDS
    while highest < 1999:
        assert time.monotonic() < deadline
        for records in consumer.poll(500, 0.2).values():
            assert offsets(records) == list(range(read_to, read_to + len(records)))
            read_to += len(records)
            for number in (int(record.value or b"-1") for record in records):
                assert number <= highest + 1, "a record is missing before this one"
                highest = max(highest, number)
    assert consumer.problems() == []
    consumer.close()
    producer.close()


@contextmanager
def cut_again_and_again(network: Proxy) -> Iterator[None]:
    ended, chance = threading.Event(), random.Random(4)

    def cut() -> None:
        while not ended.wait(chance.uniform(0.05, 0.6)):
            network.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        yield
    finally:
        ended.set()
        cutter.join()


def test_a_network_that_answers_nothing_costs_time_and_nothing_else(broker: Broker, proxy: Callable[[], Proxy]) -> None:
    """T2. Half-open connections are the worst outage: nobody says that it is one. Every call must end in time; left to
    itself, librdkafka would wait for the answer to a commit before it closes, for ever.
    """
    network, topic = proxy(), topic_of(broker)
    options = {"bootstrap.servers": network.address, "socket.timeout.ms": 2000}
    consumer, producer = consumer_of(options, broker.unique("g"), [topic]), producer_of(options)
    other = consumer_of(options, broker.unique("g"), [topic])
    (partition,) = begin(consumer)
    begin(other)
    deliver(producer, topic, range(10))
    assert offsets(read(consumer, 10)[partition]) == list(range(10))
    network.swallow()
    answered_at = consumer.reachable_at
    in_time(0.3, lambda: consumer.poll(100, 0.3))
    in_time(ASK_SECONDS / 5, lambda: consumer.commit({partition: 10}))
    for ask in (lambda: consumer.ends([partition]), lambda: consumer.facts(topic)):
        with pytest.raises(LogUnreachable):
            in_time(ASK_SECONDS, ask)
    producer.send(topic, 0, None, b"10")
    with pytest.raises(LogUnreachable):
        in_time(0.5, lambda: producer.flush(0.5))
    assert consumer.reachable_at == answered_at
    assert other.commit({partition: 1}) is False
    in_time(ASK_SECONDS / 5, other.close)
    network.restore()
    deliver(producer, topic, range(10, 20))
    again = [int(record.value or b"-1") for record in read(consumer, 10)[partition]]
    assert sorted(set(again)) == list(range(10, 20))
    wait_until(lambda: consumer.poll(100, 0.1) or consumer.commit({partition: 20}), "it never came back")
    consumer.close()
    producer.close()


# ----------------------------------------------------------------------------------------------------------- the group
def test_members_of_both_client_libraries_share_a_group(broker: Broker) -> None:
    """Agents are moved from one library to the other one by one, while the others work."""
    topic, group = topic_of(broker, 4), broker.unique("g")
    options = {"bootstrap_servers": [broker.bootstrap]}
    one = Member(lambda: KafkaLogConsumer(options, group=group, topics=[topic], heartbeat_seconds=0.1))
    wait_until(lambda: len(one.mine) == 4, "it never joined")
    other = Member(lambda: consumer_of(broker.bootstrap, group, [topic]))
    wait_until(lambda: len(one.mine) == len(other.mine) == 2, "they never shared")
    one.leave()
    wait_until(lambda: len(other.mine) == 4, "what was left never came")
    other.leave()
    assert not any(change.lost for change in (*one.changes, *other.changes))


def test_an_idle_member_notices_that_its_name_was_taken(broker: Broker) -> None:
    """Two agents of one name would both count, also while there is nothing to commit."""
    topic, group = topic_of(broker), broker.unique("g")
    options = {"bootstrap.servers": broker.bootstrap}
    older = Member(lambda: consumer_of(options, group, [topic], "agent-1"))
    wait_until(lambda: older.mine, "it never joined")
    younger = Member(lambda: consumer_of(options, group, [topic], "agent-1"))
    wait_until(lambda: older.refusal is not None, "it never noticed")
    assert "group_instance_id" in str(older.refusal)
    younger.leave()
    older.leave()


def test_a_topic_has_one_identity(broker: Broker) -> None:
    """States know topics by it: one made with the other library must still fit."""
    topic = topic_of(broker, 3)
    inquiries = Inquiries({"bootstrap_servers": [broker.bootstrap]}, ask_seconds=5.0)
    consumer = consumer_of(broker.bootstrap, broker.unique("g"), [topic])
    assert consumer.facts(topic) == inquiries.facts(topic)
    consumer.close()
    inquiries.close()


# -------------------------------------------------------------------------------------------------------- the producer
def test_what_is_behind_a_refused_batch_is_not_appended_without_it(broker: Broker) -> None:
    """A reader that has seen what came later drops the lost records as old ones when they are sent again."""
    topic = topic_of(broker)
    producer = producer_of(broker.bootstrap, batch_size=20_000, compression_type="none")
    producer.send(topic, 0, None, b"first")
    producer.flush(PATIENCE_SECONDS)
    broker.configure_topic(topic, {"max.message.bytes": 50_000})
    large, small = b"L" * 100_000, [b"%d" % number * 1000 for number in range(200)]
    with pytest.raises(LogUnreachable):
        for value in (large, *small):
            producer.send(topic, 0, None, value)
        producer.flush(PATIENCE_SECONDS)
    assert log_of(broker, topic) == [b"first"]
    with pytest.raises(RecordRefused):
        producer.send(topic, 0, None, large)
    for value in small:
        producer.send(topic, 0, None, value)
    producer.flush(PATIENCE_SECONDS)
    assert log_of(broker, topic) == [b"first", *small]
    producer.close()


def test_batches_fit_the_topic_that_takes_least(broker: Broker) -> None:
    """Many small records make a large batch; a topic with a low limit would refuse it though each record is small."""
    roomy, narrow = topic_of(broker), topic_of(broker, max_message_bytes=2000)
    producer = producer_of(broker.bootstrap, compression_type="none")
    sent = [b"%d" % number * 100 for number in range(500)]
    for topic in (roomy, narrow):
        for value in sent:
            producer.send(topic, 0, None, value)
    producer.flush(PATIENCE_SECONDS)
    assert log_of(broker, roomy) == log_of(broker, narrow) == sent
    producer.close()


# --------------------------------------------------------------------------------------------------------- bad batches
def _records(number: int) -> list[Record]:
    return [Record(bytes([65 + place % 26]) * 50, b"key") for place in range(number)]


def _between_good_ones(broker: Broker, topic: str, partition: int, *poisons: bytes) -> None:
    for whole in (batch(_records(10)), *poisons, batch(_records(10), "zstd")):
        append(broker, topic, partition, whole)


def _read(broker: Broker, topic: str, partitions: int) -> tuple[dict[int, list[int]], list[LogProblem]]:
    """All of a topic, by partition; and what was told of it."""
    found: dict[int, list[int]] = {number: [] for number in range(partitions)}
    problems: list[LogProblem] = []
    with closing(consumer_of(broker.bootstrap, broker.unique("poison"), [topic])) as consumer:
        all_of_them = [Partition(topic, number) for number in found]
        ends = consumer.ends(all_of_them)
        deadline = time.monotonic() + 60
        while any((consumer.position(partition) or 0) < ends[partition] for partition in all_of_them):
            assert time.monotonic() < deadline, (found, problems)
            for partition, records in consumer.poll(2_000, 0.5).items():
                found[partition.number] += offsets(records)
            problems += consumer.problems()
            for change in consumer.changes():
                consumer.begin(change.partition, 0)
    return found, problems


def _skipped(topic: str, partition: int, first: int, end: int) -> LogProblem:
    return LogProblem(Partition(topic, partition), "poison", first, end - first)


READABLE = "gzip with garbage behind it"
"""librdkafka reads this as Java does."""


def test_what_java_reads_and_librdkafka_does_not_is_skipped_exactly(broker: Broker) -> None:
    """These come in through the front door: the broker checked them, by Java's reading."""
    topic = topic_of(broker, len(PASSABLE))
    for partition, spoil in enumerate(PASSABLE.values()):
        _between_good_ones(broker, topic, partition, spoil(_records(7)))
    found, problems = _read(broker, topic, len(PASSABLE))
    for partition, name in enumerate(PASSABLE):
        if name == READABLE:
            assert found[partition] == [*range(27)]
        else:
            assert found[partition] == [*range(10), *range(17, 27)], name
            assert _skipped(topic, partition, 10, 17) in problems, name
    assert len(problems) == len(PASSABLE) - 1


DAMAGES: Sequence[tuple[str, Damage, tuple[int, int]]] = [
    *((codec, poison_batches.bad_crc, (10, 20)) for codec in CODECS),
    *((codec, poison_batches.bad_payload, (10, 20)) for codec in CODECS if codec != "none"),
    # Under the right CRC: librdkafka says nothing of it, and asks for it again and again.
    ("none", poison_batches.bad_payload, (10, 20)),
    ("gzip", poison_batches.lying_end, (10, 20)),
    ("none", poison_batches.unknown_codec, (10, 20)),
    # It does not count.
    ("zstd", poison_batches.count_too_low, (10, 10)),
    ("none", poison_batches.count_too_high, (10, 10)),
]


def test_batches_that_the_disk_spoiled_are_skipped_exactly(broker: Broker) -> None:
    """Wrong checksums, payloads that do not expand: no producer gets them past a broker, disks do. In a row, too: a
    good batch between two bad ones is read, however long those are; and where nothing readable stands behind the last,
    the search ends at the log's end, not never.
    """
    row = len(DAMAGES)
    topic = topic_of(broker, row + 1)
    for partition, (codec, _, _) in enumerate(DAMAGES):
        _between_good_ones(broker, topic, partition, *[batch(_records(10), codec)] * 3)
    for number in (3, 5, 1, 300, 1):
        append(broker, topic, row, batch(_records(number), "zstd"))
    bad = {(partition, 10): change for partition, (_, change, _) in enumerate(DAMAGES)}
    in_a_row = {0: poison_batches.bad_crc, 3: poison_batches.bad_payload, 9: poison_batches.bad_crc}
    in_a_row[309] = poison_batches.bad_crc
    damage(broker, topic, bad | {(row, offset): change for offset, change in in_a_row.items()})
    found, problems = _read(broker, topic, row + 1)
    for partition, (codec, change, (first, end)) in enumerate(DAMAGES):
        named = f"{change.__name__} of {codec}"
        assert _lost(problems, partition) == [*range(first, end)], named
        assert found[partition] == [*range(first), *range(end, 50)], named
    assert found[row] == [8]
    assert _lost(problems, row) == [*range(8), *range(9, 310)]


def _lost(problems: Sequence[LogProblem], partition: int) -> list[int]:
    """Every offset that was told to be lost, as often as it was told."""
    mine = [problem for problem in problems if problem.partition.number == partition]
    return [offset for problem in mine for offset in range(problem.position, problem.position + problem.lost)]


# ---------------------------------------------------------------------------------------- who gets in, and what is said
@pytest.mark.parametrize("way", ["password", "certificate"])
def test_encrypted_sessions_read_and_write(secure_broker: Broker, tmp_path: Path, way: str) -> None:
    """The same settings and files as for kafka-python."""
    connection = with_password(secure_broker, tmp_path) if way == "password" else with_certificate(secure_broker)
    topic = topic_of(secure_broker)
    deliver(producer_of(librdkafka_options(connection)), topic, range(3))
    consumer = consumer_of(librdkafka_options(connection), secure_broker.unique("g"), [topic])
    (partition,) = begin(consumer)
    assert offsets(read(consumer, 3)[partition]) == [0, 1, 2]
    assert consumer.ends([partition]) == {partition: 3}
    consumer.close()


def test_a_password_that_is_wrong_is_refused(secure_broker: Broker, tmp_path: Path) -> None:
    """One that is changed while we run: trying again for ever would look like an outage, and lock the account."""
    connection: Connection = with_password(secure_broker, tmp_path, password="hunter2")
    topic = topic_of(secure_broker)
    consumer = consumer_of(librdkafka_options(connection), secure_broker.unique("g"), [topic])
    told = [str(refused(consumer))]
    for ask in (lambda: consumer.facts(topic), lambda: producer_of(librdkafka_options(connection)).partitions(topic)):
        with pytest.raises(LogRefused) as refusal:
            ask()
        told.append(str(refusal.value))
    assert all("password" in each and "hunter2" not in each for each in told)
    consumer.close()


SILENT = """
from monitor.adapters.kafka.fast_consumer import FastLogConsumer
from monitor.adapters.kafka.fast_producer import FastLogProducer
from monitor.adapters.kafka.port import LogUnreachable
options = {"bootstrap.servers": "127.0.0.1:9", "reconnect.backoff.ms": 10}
consumer = FastLogConsumer(options, group="g", topics=["t"], ask_seconds=0.2)
producer = FastLogProducer(options, ask_seconds=0.2)
consumer.poll(10, 1.0)
for ask in (lambda: consumer.facts("t"), lambda: producer.send("t", 0, None, b"secret")):
    try:
        ask()
        raise SystemExit("somebody answered")
    except LogUnreachable:
        pass
consumer.close()
producer.close()
"""


def test_librdkafka_says_nothing_to_anybody() -> None:
    """It writes to stderr by itself, past every logger, and quotes addresses and configuration."""
    done = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --------------------------------------------------------------------------------------------------------- being chosen
def test_the_setting_chooses_the_library(broker: Broker) -> None:
    """What operators write is what runs."""
    from monitor.adapters.kafka.fast_consumer import FastLogConsumer
    from monitor.adapters.kafka.fast_producer import FastLogProducer

    topic = topic_of(broker)
    settings = settings_for(broker.bootstrap, kafka__client="confluent", kafka__group=broker.unique("g"))
    consumer, producer = open_consumer(settings, "route", [topic]), open_producer(settings)
    assert isinstance(consumer, FastLogConsumer)
    assert isinstance(producer, FastLogProducer)
    consumer.close()
    producer.close()


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator is told what to install, before anything is connected to."""
    for name in [name for name in sys.modules if name.startswith("monitor.adapters.kafka.fast")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigError) as missing:
        open_producer(settings_for("127.0.0.1:9", kafka__client="confluent"))
    (problem,) = missing.value.problems
    assert str(problem) == "kafka.client: got confluent, want the extra: pip install 'wervane[fast]'"
