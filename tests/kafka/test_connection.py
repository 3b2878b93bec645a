"""Sessions with a real broker: encrypted ones work, wrong ones end in one sentence that names the setting."""

from __future__ import annotations

import logging
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from monitor.adapters.kafka import connection as connecting
from monitor.adapters.kafka.connection import (
    Connection,
    check_reachable,
    client_options,
    librdkafka_options,
)
from monitor.adapters.kafka.port import LogRefused, LogUnreachable
from monitor.config import ConfigError
from tests.kafka.broker import Broker
from tests.kafka.builders import connection_to, with_certificate, with_password
from tests.kafka.proxy import Proxy

Ways = Callable[[Broker, Path], Connection]

WAYS: dict[str, Ways] = {
    "SCRAM-SHA-512": with_password,
    "SCRAM-SHA-256": lambda broker, folder: with_password(broker, folder, mechanism="SCRAM-SHA-256"),
    "PLAIN": lambda broker, folder: with_password(broker, folder, mechanism="PLAIN"),
    "client certificate": lambda broker, _: with_certificate(broker),
}

CANARY = "canary-Pa55=word,with-ümlaut"


# --------------------------------------------------------------------------------------------------------------- works
@pytest.mark.parametrize("way", WAYS)
def test_a_record_goes_there_and_back_on_every_encrypted_way(secure_broker: Broker, tmp_path: Path, way: str) -> None:
    """Whoever has transcripts in Kafka has one of these in front of it."""
    connection = WAYS[way](secure_broker, tmp_path)
    assert check_reachable(connection)
    assert _there_and_back(secure_broker, connection) == b"record"


def test_a_scram_user_may_have_any_name(secure_broker: Broker, tmp_path: Path) -> None:
    """kafka-python sends `=` and `,` unescaped, and the broker refuses the right password."""
    secure_broker.set_password("a=b,c", "secret")
    connection = with_password(secure_broker, tmp_path, username="a=b,c", password="secret")
    assert check_reachable(connection)
    assert _there_and_back(secure_broker, connection) == b"record"


@pytest.mark.parametrize("way", WAYS)
def test_librdkafka_is_told_the_same(secure_broker: Broker, tmp_path: Path, way: str) -> None:
    """The optional client must not need a second configuration, or have a weaker one."""
    confluent = pytest.importorskip("confluent_kafka")
    connection, topic = WAYS[way](secure_broker, tmp_path), secure_broker.unique("fast")
    secure_broker.create_topic(topic)
    producer = confluent.Producer(librdkafka_options(connection))
    producer.produce(topic, b"record")
    assert producer.flush(20) == 0
    consumer = confluent.Consumer({**librdkafka_options(connection), "group.id": secure_broker.unique("group")})
    consumer.assign([confluent.TopicPartition(topic, 0, 0)])
    message = consumer.poll(20)
    consumer.close()
    assert message.value() == b"record"


def test_one_server_that_lets_us_in_is_enough(broker: Broker) -> None:
    """A cluster's first broker may be the one that is down."""
    connection = connection_to(broker.bootstrap)
    both = Connection(servers=("127.0.0.1:1", *connection.servers), way=connection.way, security=connection.security)
    assert check_reachable(both) == (broker.bootstrap,)


# ------------------------------------------------------------------------------------------------------------- refused
REFUSED: dict[str, tuple[Ways, str]] = {
    "wrong password": (
        lambda broker, folder: with_password(broker, folder, password=CANARY),
        "refused user or password (SCRAM-SHA-512) (check kafka.security.username_file and kafka.security.password_fi",
    ),
    "wrong password, PLAIN": (
        lambda broker, folder: with_password(broker, folder, password=CANARY, mechanism="PLAIN"),
        "refused user or password (PLAIN)",
    ),
    "unknown user": (
        lambda broker, folder: with_password(broker, folder, username="nobody"),
        "refused user or password",
    ),
    "unknown authority": (
        lambda broker, folder: with_password(
            broker, folder, password=CANARY, ca_file=broker.access.certificates.unknown_authority
        ),
        "its certificate is not trusted: unable to get local issuer certificate (check kafka.security.ca_file)",
    ),
    "the system's authorities": (
        lambda broker, folder: with_password(broker, folder, ca_file=None),
        "its certificate is not trusted",
    ),
    "a client certificate of somebody else's": (
        lambda broker, _: with_certificate(
            broker,
            cert_file=broker.access.certificates.unknown_client.certificate,
            key_file=broker.access.certificates.unknown_client.key,
        ),
        "it refused our client certificate (certificate unknown) (check kafka.security.cert_file",
    ),
    "no client certificate": (
        lambda broker, _: with_certificate(broker, cert_file=None, key_file=None),
        "it wants a client certificate",
    ),
    "no encryption at a port with TLS": (
        lambda broker, _: connection_to(broker.access.ssl),
        "what listens there speaks TLS, not PLAINTEXT (check kafka.security.protocol and the port)",
    ),
    "TLS at a port without": (
        lambda broker, folder: with_password(broker, folder, server=broker.bootstrap),
        "what listens there speaks Kafka without TLS (check kafka.security.protocol and the port)",
    ),
    "no login where one is wanted": (
        lambda broker, _: connection_to(broker.access.sasl_ssl, "SSL", ca_file=broker.access.certificates.authority),
        "it wants a login (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512)",
    ),
    "a login where none is wanted": (
        lambda broker, folder: with_password(
            broker,
            folder,
            server=broker.access.ssl,
            cert_file=broker.access.certificates.client.certificate,
            key_file=broker.access.certificates.client.key,
        ),
        "it wants no login, its protocol is SSL (check kafka.security.protocol",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_get_better_is_refused_once_and_says_why(secure_broker: Broker, tmp_path: Path, case: str) -> None:
    """kafka-python tries for 30 s and says that it timed out; an agent that tries again for ever looks healthy."""
    make, sentence = REFUSED[case]
    connection = make(secure_broker, tmp_path)
    with pytest.raises(LogRefused) as refused:
        check_reachable(connection)
    assert sentence in str(refused.value)
    assert connection.servers[0] in str(refused.value)
    assert connection.way.protocol in str(refused.value)
    assert "canary" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_mechanism_that_is_not_offered_is_named(secure_broker: Broker, tmp_path: Path) -> None:
    """The answer says which ones are."""
    connection = with_password(secure_broker, tmp_path)
    assert connection.way.login is not None
    object.__setattr__(connection.way.login, "mechanism", "SCRAM-SHA-1")
    with pytest.raises(LogRefused, match="does not offer SCRAM-SHA-1, but PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"):
        check_reachable(connection)


@pytest.mark.parametrize(("protocol", "language"), [("PLAINTEXT", "Kafka"), ("SSL", "TLS")])
def test_something_else_at_the_address_is_told_as_such(protocol: str, language: str) -> None:
    """The port of a REST proxy or a schema registry is mistaken for the broker's, as they are written side by side."""
    with socketserver.TCPServer(("127.0.0.1", 0), _Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(LogRefused, match=f"what listens there does not speak {language}"):
            check_reachable(connection_to(f"127.0.0.1:{server.server_address[1]}", protocol))
        server.shutdown()


# --------------------------------------------------------------------------------------------------------- unreachable
def test_where_nobody_listens_trying_again_may_help() -> None:
    """A cluster that starts after its agents is no reason to give up."""
    with pytest.raises(LogUnreachable, match=r"nobody listens there \(check kafka.bootstrap_servers"):
        check_reachable(connection_to("127.0.0.1:1"))


def test_a_name_that_nobody_knows_is_told_as_such() -> None:
    """The commonest error with containers."""
    with pytest.raises(LogUnreachable, match=r"nobody knows the name broker\.invalid"):
        check_reachable(connection_to("broker.invalid:9092"))


def test_a_broker_that_hangs_costs_no_more_than_it_may(broker: Broker) -> None:
    """The connection stands, as its kernel answers; without a bound of ours, so would we."""
    broker.freeze()
    began = time.monotonic()
    with pytest.raises(LogUnreachable, match="does not answer"):
        check_reachable(connection_to(broker.bootstrap), wait_seconds=0.5)
    assert time.monotonic() - began < 30.0


def test_who_is_cut_off_while_asking_asks_again(proxy: Callable[[], Proxy], monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that rolls as an agent starts is no reason to end the agent."""
    monkeypatch.setattr(connecting, "AGAIN_WITHIN_SECONDS", 60.0)  # a busy machine may take long for this
    network, found = proxy(), list[tuple[str, ...]]()
    network.swallow()
    asking = threading.Thread(target=lambda: found.append(check_reachable(connection_to(network.address), 60.0)))
    asking.start()
    deadline = time.monotonic() + 60.0
    while network.connections == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    network.restore()  # what stood until now is reset
    asking.join(60.0)
    assert found == [(network.address,)]


def test_brokers_that_cannot_be_reached_by_the_names_they_give_are_told(broker: Broker) -> None:
    """The bootstrap server answers and every client times out: whoever has used Kafka in containers has met it."""
    listener = broker.proxied[0]
    with pytest.raises(LogUnreachable) as stopped:
        check_reachable(connection_to(f"127.0.0.1:{listener.port}"))
    assert f"sends us on to 127.0.0.1:{listener.advertised_port}: nobody listens there" in str(stopped.value)
    assert "advertised.listeners" in str(stopped.value)


# --------------------------------------------------------------------------------------------------------------- files
UNFIT_FILES: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "no such file or directory"),
    "empty": (b"", "which is empty"),
    "only a line ending": (b"\r\n", "which is empty"),
    "two lines": (f"{CANARY}\n{CANARY}\n".encode(), "with several lines or control characters"),
    "not text": (b"\xff\xfecanary", "which is not UTF-8"),
    "the wrong file": (b"canary" * 20_000, "of more than 64 KiB"),
}


@pytest.mark.parametrize("case", UNFIT_FILES)
def test_a_secret_that_cannot_be_read_names_setting_and_file_only(tmp_path: Path, case: str) -> None:
    """An operator sees what to repair, and nobody sees the secret."""
    content, sentence = UNFIT_FILES[case]
    user, password = tmp_path / "user", tmp_path / "secret"
    user.write_text("wervane")
    if content is not None:
        password.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        connection_to("b:9093", "SASL_SSL", mechanism="SCRAM-SHA-512", username_file=user, password_file=password)
    (problem,) = error.value.problems
    assert (problem.path, str(password) in problem.got) == ("kafka.security.password_file", True)
    assert sentence in problem.got
    assert "canary" not in str(error.value)


def test_every_unreadable_file_is_told_at_once(tmp_path: Path) -> None:
    """Repairing one after the other takes a restart each."""
    with pytest.raises(ConfigError) as error:
        connection_to(
            "b:9093",
            "SASL_SSL",
            mechanism="PLAIN",
            username_file=tmp_path / "none",
            password_file=tmp_path,
            ca_file=tmp_path / "no.pem",
        )
    names = [problem.path.rpartition(".")[2] for problem in error.value.problems]
    assert names == ["username_file", "password_file", "ca_file"]


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(secure_broker: Broker, tmp_path: Path) -> None:
    """OpenSSL asks on the terminal, and an agent would wait there for ever."""
    known, locked = secure_broker.access.certificates.client, tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", str(known.key), "-aes256", "-passout", "pass:canary", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ConfigError, match="the key without a passphrase"):
        with_certificate(secure_broker, key_file=locked)


def test_a_file_without_certificates_is_no_authority(tmp_path: Path) -> None:
    """It would trust nobody, and say so of every broker."""
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"kafka\.security\.ca_file: got .*ca\.pem without one"):
        connection_to("b:9093", "SSL", ca_file=tmp_path / "ca.pem")


def test_a_password_is_never_sent_in_the_clear(tmp_path: Path) -> None:
    """`allow_plaintext` is about transcripts; SCRAM does without sending the password."""
    (tmp_path / "secret").write_text("secret")
    files = {"username_file": tmp_path / "secret", "password_file": tmp_path / "secret"}
    with pytest.raises(ConfigError, match=r"kafka\.security\.mechanism: got PLAIN"):
        connection_to("b:9092", "SASL_PLAINTEXT", mechanism="PLAIN", **files)
    assert connection_to("b:9092", "SASL_PLAINTEXT", mechanism="SCRAM-SHA-512", **files).way.login


# ------------------------------------------------------------------------------------------------------------- secrets
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING])
def test_no_password_and_no_payload_shows_at_any_level(
    secure_broker: Broker,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    level: int,
) -> None:
    """At DEBUG, kafka-python writes its configuration (the password) and every record (the transcript)."""
    logging.getLogger("kafka.producer.kafka").setLevel(logging.DEBUG)
    caplog.set_level(level)
    secure_broker.set_password("canary-user", CANARY)
    right = with_password(secure_broker, tmp_path, username="canary-user", password=CANARY)
    assert _there_and_back(secure_broker, right, b"canary payload") == b"canary payload"
    (tmp_path / "wrong").mkdir()
    wrong = with_password(secure_broker, tmp_path / "wrong", password=CANARY, mechanism="PLAIN")
    with pytest.raises(LogRefused):
        check_reachable(wrong)
    for shown in (right, wrong, client_options(right), client_options(wrong)):
        assert "canary-Pa55" not in repr(shown)
    written = [record.getMessage() + str(record.exc_text) for record in caplog.records] + list(capfd.readouterr())
    assert [line for line in written if "canary-Pa55" in line or "payload" in line] == []


class _Other(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.request.recv(1 << 16)


def _there_and_back(broker: Broker, connection: Connection, value: bytes = b"record") -> object:
    topic = broker.unique("session")
    broker.create_topic(topic)
    producer = KafkaProducer(**client_options(connection))
    producer.send(topic, value)
    producer.flush(20)
    producer.close(timeout=5)
    consumer = KafkaConsumer(**client_options(connection))
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    deadline = time.monotonic() + 20
    records: dict[TopicPartition, list[ConsumerRecord]] = {}
    while not records and time.monotonic() < deadline:
        records = consumer.poll(timeout_ms=500)
    assert "canary-Pa55" not in repr(consumer.config)
    consumer.close()
    (record,) = records[partition]
    received: object = record.value
    return received
