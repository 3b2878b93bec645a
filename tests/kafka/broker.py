"""Decides how the tests' Kafka lives: one KRaft node on loopback, started, stopped, killed and frozen as tests need it.

Nothing about it is simulated. Only its start needs Java; topics are made by kafka-python's admin client.
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
import secrets
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import NamedTuple

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, UserScramCredentialUpsertion

from tests.kafka.certificates import Certificates, make_certificates
from tests.kafka.installation import class_archive, class_path, java

READY_SECONDS_MAX = 90.0
"""A start takes 4-6 s; a machine with every core taken by other tests needs many times that."""

PROXIED_LISTENERS = 3
"""How many clients can be cut off one by one: each proxy needs a listener that advertises the proxy's port."""

_numbers = count(1)


class Proxied(NamedTuple):
    """A listener whose clients are told to come back through another port, where a proxy listens or nobody."""

    advertised_port: int
    port: int


class Access(NamedTuple):
    """How to get into a secure broker: SASL_SSL with user and password, SSL with a client certificate."""

    sasl_ssl: str
    ssl: str
    certificates: Certificates
    username: str
    password: str


class Broker:
    """A real broker; `bootstrap` is its address without encryption. Everything it keeps is below `folder`."""

    def __init__(self, folder: Path, *, secure: bool = False, settings: Mapping[str, object] | None = None) -> None:
        """`settings` are laid over server.properties."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        ports = _free_ports(4 + 2 * PROXIED_LISTENERS)
        self._port, self._controller_port = ports[0], ports[1]
        self.bootstrap = f"127.0.0.1:{self._port}"
        rest = ports[4:]
        self.proxied = tuple(Proxied(*rest[index : index + 2]) for index in range(0, len(rest), 2))
        self._access = _make_access(folder, ports[2], ports[3]) if secure else None
        self._overlay = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._archive_in_making: Path | None = None
        self._admin: KafkaAdminClient | None = None

    @property
    def access(self) -> Access:
        assert self._access is not None, "not a secure broker"
        return self._access

    # ------------------------------------------------------------------------------------------------------------- life
    def prepare(self) -> None:
        """Find Java and the jars, fetch them if need be. Raises NotInstalled."""
        java()
        class_path()

    def start(self) -> None:
        """Returns when it answers. What was kept before is still there."""
        assert self._process is None, "it runs"
        properties = self.folder / "server.properties"
        first = not properties.exists()
        if first:
            properties.write_text("".join(f"{name}={value}\n" for name, value in self._properties().items()))
            self._format()
        command = [java(), "-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Xshare:auto"]
        command += ["-Xlog:disable", "-Xlog:all=error:stderr", *self._archive_options(), "-cp", class_path()]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        # A session of tests that is killed must not leave a broker: the watchdog ends it when our end of the pipe goes.
        self._watchdog = subprocess.Popen(
            ["sh", "-c", 'read -r _; kill -9 "$1"', "watchdog", str(self._process.pid)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.wait_until_ready()
        if first and self._access is not None:
            self.set_password(self._access.username, self._access.password)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not _answers(self._port):
            assert self._process is not None
            ended = self._process.poll()
            assert ended is None and time.monotonic() < deadline, f"exit code {ended}:\n{self.log_tail()}"
            time.sleep(0.05)

    def stop(self) -> None:
        """Orderly: clients see their coordinator go, files are closed."""
        self._end(signal.SIGTERM)
        if self._archive_in_making is not None and self._archive_in_making.exists():
            self._archive_in_making.replace(class_archive())
        self._archive_in_making = None

    def kill(self) -> None:
        """As a crash: nothing is closed. A start then waits until the cluster has given up on the old session (3 s)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """As a host that hangs: connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def revive(self) -> None:
        """Run, whatever was done to it."""
        if self._process is not None and self._process.poll() is not None:
            self._end(signal.SIGKILL)
        if self._process is None:
            self.start()
        self.thaw()

    def close(self) -> None:
        """For good. Only the first broker of a machine ends in order, as it leaves the class archive for the others."""
        if self._process is None:
            return
        self.thaw()
        if self._archive_in_making is not None:
            self.stop()
        else:
            self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def log_path(self) -> Path:
        return self.folder / "broker.log"

    def log_tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-3000:]

    # ----------------------------------------------------------------------------------------------------------- topics
    def unique(self, prefix: str) -> str:
        """A name that no other test of this broker uses: for topics, groups, members."""
        return f"{prefix}-{next(_numbers)}"

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str | int] | None = None) -> None:
        """Returns when every partition has a leader."""
        configs = {key: str(value) for key, value in (config or {}).items()}
        wanted = {name: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}}
        self.admin.create_topics(wanted, wait_for_metadata=True)

    def configure_topic(self, name: str, config: Mapping[str, str | int]) -> None:
        """Lay settings over those of a topic that exists."""
        configs = {key: str(value) for key, value in config.items()}
        self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs)])

    def add_partitions(self, name: str, total: int) -> None:
        """Returns when the new ones have leaders, too."""
        self.admin.create_partitions({name: total})
        _wait_for(lambda: len(self._partitions(name)) == total, f"{name} never had {total} partitions")
        self.admin.wait_for_topics([name])

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """What retention does: the log begins at `before` from now on. -1: at its end."""
        self.admin.delete_records({TopicPartition(topic, partition): before})

    def delete_topic(self, name: str) -> None:
        """Returns when nobody can see it any more, so that it can be created again."""
        self.admin.delete_topics([name])
        _wait_for(lambda: name not in self.admin.list_topics(), f"{name} was not deleted")

    def set_password(self, username: str, password: str) -> None:
        """For SCRAM-SHA-512 and SCRAM-SHA-256; new sessions only."""
        for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256"):
            failed = self.admin.alter_user_scram_credentials(
                [UserScramCredentialUpsertion(username, mechanism, password)]
            )
            assert failed == {username: None}, failed

    @property
    def admin(self) -> KafkaAdminClient:
        """kafka-python's admin client of this life of the broker."""
        if self._admin is None:
            self._admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=20_000)
        return self._admin

    # ---------------------------------------------------------------------------------------------------------- private
    def _partitions(self, name: str) -> list[object]:
        (topic,) = self.admin.describe_topics([name])
        found: list[object] = topic["partitions"]
        return found

    def _properties(self) -> dict[str, object]:
        listeners = {"PLAINTEXT": self._port}
        advertised = dict(listeners)
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        for number, proxied in enumerate(self.proxied, 1):
            name = f"PROXIED{number}"
            listeners[name], advertised[name], protocols[name] = proxied.port, proxied.advertised_port, "PLAINTEXT"
        secure: dict[str, object] = {}
        if self._access is not None:
            for name, address in (("SASL_SSL", self._access.sasl_ssl), ("SSL", self._access.ssl)):
                listeners[name] = advertised[name] = int(address.rpartition(":")[2])
                protocols[name] = name
            secure = _secure_properties(self._access)
        controller = f"127.0.0.1:{self._controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": controller,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": f"{_written(listeners)},CONTROLLER://{controller}",
            "advertised.listeners": _written(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:{value}" for name, value in protocols.items()),
            "log.dirs": self.folder / "log",
            "auto.create.topics.enable": "false",
            # Retention is looked at as often as tests want to see it.
            "log.retention.check.interval.ms": 300,
            "log.segment.delete.delay.ms": 100,
            "log.cleaner.backoff.ms": 300,
            # One node: no internal topic can have three replicas, and few partitions start faster than fifty.
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 2,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 2,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # Groups settle at once, and members may die quickly.
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 500,
            # After SIGKILL a node registers again only when its old session has run out (9 s by default).
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            **secure,
            **self._overlay,
        }

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(b"\x01" + secrets.token_bytes(15)).decode().rstrip("=")
        command = [java(), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
        if class_archive().exists():
            command.append(f"-XX:SharedArchiveFile={class_archive()}")
        command += ["-cp", class_path()]
        options = ["format", "--standalone", "-t", cluster, "-c", str(self.folder / "server.properties")]
        done = subprocess.run(
            [*command, "kafka.tools.StorageTool", *options], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _archive_options(self) -> list[str]:
        archive = class_archive()
        if archive.exists():
            return [f"-XX:SharedArchiveFile={archive}"]
        self._archive_in_making = archive.with_suffix(f".{os.getpid()}-{self._port}")
        return [f"-XX:ArchiveClassesAtExit={self._archive_in_making}"]

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        self._process.send_signal(how)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._watchdog is not None:  # before its pid could be another process's
            self._watchdog.kill()
            self._watchdog.wait()
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.close()
        self._process = self._watchdog = None


def _make_access(folder: Path, sasl_ssl_port: int, ssl_port: int) -> Access:
    return Access(
        sasl_ssl=f"127.0.0.1:{sasl_ssl_port}",
        ssl=f"127.0.0.1:{ssl_port}",
        certificates=make_certificates(folder / "certificates"),
        username="wervane",
        password=secrets.token_urlsafe(18),
    )


def _secure_properties(access: Access) -> dict[str, object]:
    certificates = access.certificates
    key_store = certificates.server.key.with_name("server-key-store.pem")
    key_store.write_text(certificates.server.key.read_text() + certificates.server.certificate.read_text())
    modules = "org.apache.kafka.common.security"
    scram, plain = f"{modules}.scram.ScramLoginModule required;", f"{modules}.plain.PlainLoginModule required"
    return {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": scram,
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{plain} user_{access.username}="{access.password}";',
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": key_store,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificates.authority,
        "listener.name.ssl.ssl.client.auth": "required",
        # A wrong password is told at once (its default is 100 ms later, to slow down guessing).
        "connection.failed.authentication.delay.ms": 0,
        # Tests may forbid something; what nobody forbade is allowed.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "super.users": "User:ANONYMOUS",
    }


def _written(listeners: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())


def _free_ports(number: int) -> list[int]:
    """Ports below the range that outgoing connections take theirs from: while a broker is away, none of its clients can
    be given its port (on loopback a client may even connect to itself).
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < number:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", random.SystemRandom().randrange(20_000, 32_000)))
                ports.append(probe.getsockname()[1])
    return ports


def _answers(port: int) -> bool:
    """Whether a Metadata request (key 3, version 1, no topics) is answered with at least one broker."""
    body = struct.pack(">hhihi", 3, 1, 1, -1, 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            head = connection.recv(12, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == 12 and struct.unpack(">iii", head)[2] >= 1


def _wait_for(look: Callable[[], bool], why: str) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)
