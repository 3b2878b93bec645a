"""Decides how we connect to Kafka: settings and files become the options of the client libraries, safe ones by default.

Passwords are read from files here and nowhere else. They print as `***`, and the client's loggers are kept from DEBUG,
where kafka-python writes its whole configuration and every payload.
"""

from __future__ import annotations

import logging
import queue
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.adapters.kafka.handshake import Login, Stopped, Way, greet
from monitor.adapters.kafka.port import LogRefused, LogUnreachable
from monitor.config import ConfigError, KafkaSecurity, KafkaSettings
from monitor.settings_source import Problem

Options = dict[str, object]
"""Keyword arguments of kafka-python's clients, or librdkafka's properties."""

CLIENT_ID = "wervane"

MESSAGE_BYTES_MAX = 2 * 1024 * 1024
"""What our own topics and producers take. Kafka's default of 1 MiB counts a whole batch and its 70 bytes of overhead,
and the largest message that the contract accepts is 1 MiB of text; double leaves room for key and headers."""

REQUEST_TIMEOUT_MS = 10_000
"""A broker that hangs is given up on after this long. At half, a busy broker's fetches are cut; at triple
(kafka-python's 30 s), an outage of a minute is noticed when it is over."""

RECONNECT_BACKOFF_MAX_MS = 1_000
"""Back 0.8 s after the broker is; with kafka-python's 30 s it takes 7 s and more."""

SECRET_BYTES_MAX = 64 * 1024
"""A file that is larger is not a password but the wrong file."""


class _Unfit(Exception):
    """What a file is instead of what was wanted."""


class Secret(str):
    """A string that shows in no repr: of options, of a client's `config`, of a traceback with locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where to go and how to get in; made by `read_connection`, shared by all clients of this process."""

    servers: tuple[str, ...]
    way: Way
    security: KafkaSecurity


def read_connection(settings: KafkaSettings) -> Connection:
    """Read the files that the settings name. Raises ConfigError with every problem found; no content is in it."""
    clamp_logs()
    security, problems = settings.security, _unsafe(settings)
    login, tls = None, None
    if security.protocol.startswith("SASL_"):
        login = _read_login(security, problems)
    if security.protocol.endswith("SSL"):
        tls = _read_tls(security, problems)
    if problems:
        raise ConfigError(problems)
    way = Way(
        protocol=security.protocol,
        tls=tls,
        with_certificate=tls is not None and security.cert_file is not None,
        login=login,
    )
    return Connection(servers=settings.bootstrap_servers, way=way, security=security)


def clamp_logs() -> None:
    """Keep every logger of the client libraries from DEBUG, whatever level the root has or others gave them."""
    for name in ["kafka", *logging.root.manager.loggerDict]:
        if name == "kafka" or name.startswith("kafka."):
            logger = logging.getLogger(name)
            if logger.getEffectiveLevel() < logging.INFO:
                logger.setLevel(logging.INFO)


# ----------------------------------------------------------------------------------------------------------- reachable
AGAIN_WITHIN_SECONDS = 1.0
"""Who fails as fast as this is asked a second time: that costs a person nothing; who was slow has had their chance."""


def check_reachable(connection: Connection, wait_seconds: float = 10.0) -> tuple[str, ...]:
    """Ask all bootstrap servers at once; the brokers' own addresses, as the first that lets us in tells them.

    The client library says only that it timed out, whether a password is wrong or nobody listens; so this goes the way
    of a session itself and sees where it ends. LogRefused if somebody answered and no, LogUnreachable if nobody did.
    """
    deadline = time.monotonic() + wait_seconds
    answers: queue.SimpleQueue[tuple[int, tuple[str, ...] | Stopped]] = queue.SimpleQueue()

    def ask(number: int, server: str, again: bool = True) -> None:
        asked_at = time.monotonic()
        try:
            answers.put((number, greet(server, connection.way, deadline)))
        except Stopped as stopped:
            # Cut off in this moment, by a broker that rolls or a network that forgets: no reason to end an agent.
            if again and not stopped.refused and time.monotonic() - asked_at < AGAIN_WITHIN_SECONDS:
                ask(number, server, again=False)
            else:
                answers.put((number, stopped))

    # Threads, because name resolution knows no timeout. One that hangs there is left behind; it ends with the resolver.
    for number, server in enumerate(connection.servers):
        threading.Thread(target=ask, args=(number, server), name=f"reach-{server}", daemon=True).start()
    failures: dict[int, Stopped] = {}
    while len(failures) < len(connection.servers):
        try:
            number, answer = answers.get(timeout=max(0.0, deadline + 0.5 - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(answer, Stopped):
            failures[number] = answer
        else:
            return answer
    silent = Stopped(why=f"no answer within {wait_seconds:g} s", check="kafka.bootstrap_servers and the network")
    stops = [(server, failures.get(number, silent)) for number, server in enumerate(connection.servers)]
    refused = [(server, stopped) for server, stopped in stops if stopped.refused]
    if refused:
        raise LogRefused(_sentence(refused, connection.way.protocol))
    raise LogUnreachable(_sentence(stops, connection.way.protocol))


def _sentence(stops: Sequence[tuple[str, Stopped]], protocol: str) -> str:
    """`b1:9093, b2:9093 (SASL_SSL): nobody listens there (check kafka.bootstrap_servers)`"""
    servers: dict[str, list[str]] = {}
    for server, stopped in stops:
        servers.setdefault(str(stopped), []).append(server)
    return "; ".join(f"{', '.join(names)} ({protocol}): {why}" for why, names in servers.items())


# -------------------------------------------------------------------------------------------------------- kafka-python
def client_options(connection: Connection) -> Options:
    """What every kafka-python client is given (also the admin client, which needs no more)."""
    options: Options = {
        "bootstrap_servers": list(connection.servers),
        "client_id": CLIENT_ID,
        "security_protocol": connection.way.protocol,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "bootstrap_timeout_ms": REQUEST_TIMEOUT_MS,
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS,
    }
    if connection.way.tls is not None:
        options["ssl_context"] = connection.way.tls
    if connection.way.login is not None:
        options.update(connection.way.login.options)
    return options


# ---------------------------------------------------------------------------------------------------------- librdkafka
def librdkafka_options(connection: Connection) -> Options:
    """The same as `client_options` for confluent-kafka."""
    security = connection.security
    options: Options = {
        "bootstrap.servers": ",".join(connection.servers),
        "client.id": CLIENT_ID,
        "security.protocol": connection.way.protocol,
        "socket.timeout.ms": REQUEST_TIMEOUT_MS,
        "reconnect.backoff.max.ms": RECONNECT_BACKOFF_MAX_MS,
        "allow.auto.create.topics": False,
    }
    if connection.way.tls is not None:
        options["ssl.endpoint.identification.algorithm"] = "https"
        files = (
            ("ssl.ca.location", security.ca_file),
            ("ssl.certificate.location", security.cert_file),
            ("ssl.key.location", security.key_file),
        )
        options.update({name: path for name, path in files if path is not None})
    if connection.way.login is not None:
        options["sasl.mechanism"] = connection.way.login.mechanism
        options["sasl.username"] = connection.way.login.username
        options["sasl.password"] = connection.way.login.password
    return options


# --------------------------------------------------------------------------------------------------------------- files
def _unsafe(settings: KafkaSettings) -> list[Problem]:
    """What `load_settings` refuses for `input.kind: kafka`, also for commands that need a broker with another input."""
    problems: list[Problem] = []
    security = settings.security
    if not settings.bootstrap_servers:
        problems.append(
            Problem(
                path="kafka.bootstrap_servers", got="nothing", want="at least one broker", example="[broker-1:9093]"
            )
        )
    if security.protocol.endswith("PLAINTEXT") and not settings.allow_plaintext:
        problems.append(
            Problem(
                path="kafka.security.protocol",
                got=security.protocol,
                want="an encrypted protocol, or kafka.allow_plaintext: true",
                example="SASL_SSL",
            )
        )
    if security.protocol == "SASL_PLAINTEXT" and security.mechanism == "PLAIN":
        want = "a mechanism that keeps the password to itself on an unencrypted connection"
        problems.append(Problem(path="kafka.security.mechanism", got="PLAIN", want=want, example="SCRAM-SHA-512"))
    return problems


def _read_login(security: KafkaSecurity, problems: list[Problem]) -> Login | None:
    username = _secret("kafka.security.username_file", security.username_file, "the user's name", problems)
    password = _secret("kafka.security.password_file", security.password_file, "the password", problems)
    if security.mechanism is None:
        example = "kafka.security.mechanism: SCRAM-SHA-512"
        problems.append(
            Problem(path="kafka.security.mechanism", got="nothing", want="a value for SASL", example=example)
        )
    if username is None or password is None or security.mechanism is None:
        return None
    return Login(mechanism=security.mechanism, username=username, password=password)


def _secret(location: str, path: str | None, what: str, problems: list[Problem]) -> Secret | None:
    try:
        return _only_line(path)
    except _Unfit as unfit:
        problems.append(Problem(path=location, got=str(unfit), want=f"a file that holds {what} on one line"))
        return None


def _only_line(path: str | None) -> Secret:
    """Raises _Unfit with what is wrong with the file, never with what is in it."""
    if path is None:
        raise _Unfit("nothing")
    try:
        with Path(path).open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise _Unfit(_unreadable(path, error)) from None
    if len(content) > SECRET_BYTES_MAX:
        raise _Unfit(f"{path} of more than {SECRET_BYTES_MAX // 1024} KiB")
    try:
        line = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _Unfit(f"{path}, which is not UTF-8") from None
    if not line:
        raise _Unfit(f"{path}, which is empty")
    if not line.isprintable():
        raise _Unfit(f"{path} with several lines or control characters")
    return Secret(line)


def _read_tls(security: KafkaSecurity, problems: list[Problem]) -> ssl.SSLContext | None:
    files: Mapping[str, str | None] = {
        "kafka.security.ca_file": security.ca_file,
        "kafka.security.cert_file": security.cert_file,
        "kafka.security.key_file": security.key_file,
    }
    before = len(problems)
    for location, path in files.items():
        if path is not None:
            _check_readable(location, path, problems)
    if len(problems) > before:
        return None
    # Not create_default_context: from Python 3.13 on it refuses authorities without key identifiers, which clusters
    # that made their own have.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if security.ca_file is not None:
            context.load_verify_locations(security.ca_file)
        else:
            context.load_default_certs()
    except ssl.SSLError:
        want = "a file of certificates in PEM form"
        problems.append(Problem(path="kafka.security.ca_file", got=f"{security.ca_file} without one", want=want))
    if security.cert_file is not None and security.key_file is not None:
        try:
            # Without a password of ours OpenSSL would ask for one on the terminal, and wait.
            context.load_cert_chain(security.cert_file, security.key_file, password=lambda: "")
        except (ssl.SSLError, ValueError):
            problems.append(
                Problem(
                    path="kafka.security.cert_file",
                    got=f"{security.cert_file} and {security.key_file}, which do not fit together",
                    want="a certificate and its key in PEM form, the key without a passphrase",
                )
            )
    return context


def _check_readable(location: str, path: str, problems: list[Problem]) -> None:
    try:
        with Path(path).open("rb") as file:
            if file.read(1):
                return
            got = f"{path}, which is empty"
    except OSError as error:
        got = _unreadable(path, error)
    problems.append(Problem(path=location, got=got, want="a file in PEM form"))


def _unreadable(path: str, error: OSError) -> str:
    return f"{path} ({(error.strerror or type(error).__name__).lower()})"
