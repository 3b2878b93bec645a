"""Decides how far a session with one broker comes: name, connection, TLS, Kafka, login, brokers; and why no further.

Kafka's own clients retry over every failure and end with a timeout. Here a session is gone through once, by the same
TLS context and the same login, so that a wrong password and a wrong port can be told apart.
Source: protocol guide of Apache Kafka; ApiVersions v0, SaslHandshake v1, SaslAuthenticate v0, Metadata v1.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kafka.net.sasl import get_sasl_mechanism

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE, METADATA = (18, 0), (17, 1), (36, 0), (3, 1)
UNSUPPORTED_MECHANISM, ILLEGAL_SASL_STATE = 33, 34

NO_TLS = frozenset({"HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "WRONG_VERSION_NUMBER"})
"""What OpenSSL (1.1 to 3.5) calls an answer that is no TLS record."""

TLS_ALERT = b"\x15\x03"
"""How a listener with TLS answers what is not TLS; as Kafka's length of an answer it would be 352 MB."""

ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Versions and brokers fit into 64 KiB; what announces more than this is another protocol's text read as a length."""

ADVERTISED_TRIED_MAX = 3
"""Of a cluster's brokers, how many must be away before we say that none of them can be reached from here."""

SETTINGS_ADDRESS = "kafka.bootstrap_servers"
SETTINGS_PROTOCOL = "kafka.security.protocol"
SETTINGS_LOGIN = "kafka.security.username_file and kafka.security.password_file"
SETTINGS_CERTIFICATE = "kafka.security.cert_file and kafka.security.key_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A mechanism, and what it logs in with; neither user nor password shows in a repr."""

    mechanism: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.mechanism})"

    @property
    def options(self) -> Mapping[str, object]:
        """For kafka-python, which does not escape a SCRAM user's name as RFC 5802 (5.1) wants it."""
        username = self.username
        if self.mechanism.startswith("SCRAM"):
            username = username.replace("=", "=3D").replace(",", "=2C")
        return {
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": username,
            "sasl_plain_password": self.password,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a session is begun.

    tls                None without encryption
    with_certificate   whether `tls` holds one of ours; it cannot be asked
    login              None without SASL
    """

    protocol: str
    tls: ssl.SSLContext | None = None
    with_certificate: bool = False
    login: Login | None = None


class Stopped(Exception):
    """Where a session ended.

    refused    somebody answered, and trying again does not help
    """

    def __init__(self, *, why: str, check: str, refused: bool = False) -> None:
        super().__init__(f"{why} (check {check})")
        self.why = why
        self.refused = refused


class _HungUp(Exception):
    """The other side closed instead of answering."""


class Answer(NamedTuple):
    """A response's body, read from the front."""

    body: bytes
    at: list[int]

    def take(self, shape: str) -> int:
        number: int
        (number,) = struct.unpack_from(shape, self.body, self.at[0])
        self.at[0] += struct.calcsize(shape)
        return number

    def take_bytes(self, length_shape: str = ">h") -> bytes:
        length = max(0, self.take(length_shape))
        start = self.at[0]
        self.at[0] += length
        if self.at[0] > len(self.body):
            raise struct.error
        return self.body[start : self.at[0]]


def greet(server: str, way: Way, deadline: float) -> tuple[str, ...]:
    """Go through a session with `host:port` until `deadline` (monotonic); the brokers' addresses. Raises Stopped."""
    with _session(server, way, deadline) as session:
        try:
            session.ask(API_VERSIONS)
        except _HungUp:
            raise _explained_silence(server, way, deadline) from None
        try:
            if way.login is not None:
                _log_in(session, way.login, way.protocol)
            brokers = _brokers(session)
        except _HungUp:
            raise _explained_end(server, way, deadline) from None
    if server not in brokers:
        _try_advertised(brokers, way, deadline)
    return brokers


# ------------------------------------------------------------------------------------------------------------- session
class _Session:
    def __init__(self, connection: socket.socket, way: Way, deadline: float) -> None:
        self._connection = connection
        self._way = way
        self._deadline = deadline
        self._correlation = 0

    def ask(self, api: tuple[int, int], body: bytes = b"") -> Answer:
        """One request, one response. Raises Stopped or _HungUp."""
        self._correlation += 1
        request = struct.pack(">hhih", *api, self._correlation, 7) + b"wervane" + body
        try:
            self._connection.settimeout(_left(self._deadline))
            self._connection.sendall(struct.pack(">i", len(request)) + request)
            announced = self._receive(4)
            if self._way.tls is None and announced.startswith(TLS_ALERT):
                raise _HungUp
            (length,) = struct.unpack(">i", announced)
            if not 4 <= length <= ANSWER_BYTES_MAX:
                raise _other_protocol()
            answer = self._receive(length)
        except TimeoutError:
            raise Stopped(why="it took the connection but does not answer", check="the broker") from None
        except ssl.SSLEOFError:
            raise _HungUp from None
        except ssl.SSLError as error:
            raise _refused_by_tls(error, self._way) from None
        except OSError:
            raise _HungUp from None
        if struct.unpack_from(">i", answer) != (self._correlation,):
            raise _other_protocol()
        return Answer(answer, [4])

    def _receive(self, length: int) -> bytes:
        received = bytearray()
        while len(received) < length:
            self._connection.settimeout(_left(self._deadline))
            part = self._connection.recv(min(1 << 16, length - len(received)))
            if not part:
                raise _HungUp
            received += part
        return bytes(received)


@contextlib.contextmanager
def _session(server: str, way: Way, deadline: float) -> Iterator[_Session]:
    with contextlib.closing(_connect(server, deadline)) as plain:
        if way.tls is None:
            yield _Session(plain, way, deadline)
            return
        with contextlib.closing(_secure(plain, server, way, way.tls, deadline)) as secured:
            yield _Session(secured, way, deadline)


def _connect(server: str, deadline: float) -> socket.socket:
    host, port = _parts(server)
    try:
        return socket.create_connection((host, port), timeout=_left(deadline))
    except socket.gaierror:
        raise Stopped(why=f"nobody knows the name {host}", check=f"{SETTINGS_ADDRESS} and name resolution") from None
    except TimeoutError:
        raise Stopped(why="no answer to a connection", check=f"{SETTINGS_ADDRESS} and the network") from None
    except ConnectionRefusedError:
        raise Stopped(why="nobody listens there", check=f"{SETTINGS_ADDRESS} and whether the broker runs") from None
    except OSError as error:
        why = f"no connection ({(error.strerror or type(error).__name__).lower()})"
        raise Stopped(why=why, check=f"{SETTINGS_ADDRESS} and the network") from None


def _secure(plain: socket.socket, server: str, way: Way, tls: ssl.SSLContext, deadline: float) -> ssl.SSLSocket:
    try:
        plain.settimeout(_left(deadline))
        return tls.wrap_socket(plain, server_hostname=_parts(server)[0])
    except ssl.SSLCertVerificationError as error:
        raise _untrusted(error) from None
    except TimeoutError:
        raise Stopped(why="it took the connection but does not answer in TLS", check="the broker") from None
    except (ssl.SSLEOFError, ConnectionError):
        if _speaks_plainly(server, deadline):
            raise Stopped(
                why="what listens there speaks Kafka without TLS",
                check=f"{SETTINGS_PROTOCOL} and the port",
                refused=True,
            ) from None
        raise Stopped(why="it hung up during the TLS handshake", check="the broker") from None
    except ssl.SSLError as error:
        raise _refused_by_tls(error, way) from None
    except OSError as error:
        why = f"the connection broke during the TLS handshake ({(error.strerror or type(error).__name__).lower()})"
        raise Stopped(why=why, check="the network") from None


# -------------------------------------------------------------------------------------------------------------- stages
def _log_in(session: _Session, login: Login, protocol: str) -> None:
    answer = session.ask(SASL_HANDSHAKE, _text(login.mechanism))
    with _kafka_only():
        code = answer.take(">h")
        offered = [answer.take_bytes().decode() for _ in range(answer.take(">i"))]
    if code == ILLEGAL_SASL_STATE:
        without = "SSL" if protocol == "SASL_SSL" else "PLAINTEXT"
        why = f"it wants no login, its protocol is {without}"
        raise Stopped(why=why, check=f"{SETTINGS_PROTOCOL} and the port", refused=True)
    if code != 0:
        why = f"it does not offer {login.mechanism}, but {', '.join(sorted(offered)) or 'nothing'}"
        raise Stopped(why=why, check="kafka.security.mechanism", refused=True)
    mechanism = get_sasl_mechanism(login.mechanism)(security_protocol=protocol, **login.options)
    while not mechanism.is_done():
        token: bytes = mechanism.auth_bytes()
        answer = session.ask(SASL_AUTHENTICATE, struct.pack(">i", len(token)) + token)
        with _kafka_only():
            code = answer.take(">h")
            answer.take_bytes()  # the broker's own words; ours say which setting
            token = answer.take_bytes(">i")
        if code != 0:
            why = f"it refused user or password ({login.mechanism})"
            raise Stopped(why=why, check=SETTINGS_LOGIN, refused=True)
        try:
            mechanism.receive(token)
        except (ValueError, KeyError):
            why = f"it could not prove that it knows the password ({login.mechanism})"
            raise Stopped(why=why, check=f"{SETTINGS_LOGIN} and the address", refused=True) from None


def _brokers(session: _Session) -> tuple[str, ...]:
    answer = session.ask(METADATA, struct.pack(">i", 0))
    brokers = []
    with _kafka_only():
        for _ in range(answer.take(">i")):
            answer.take(">i")
            host, port = answer.take_bytes().decode(), answer.take(">i")
            answer.take_bytes()
            brokers.append(f"{f'[{host}]' if ':' in host else host}:{port}")
    if not brokers:
        raise Stopped(why="it answers, but knows no broker that is ready", check="the cluster")
    return tuple(brokers)


def _try_advertised(brokers: tuple[str, ...], way: Way, deadline: float) -> None:
    """Clients leave the bootstrap server for the addresses it names, which may mean nothing outside its network."""
    tried = brokers[:ADVERTISED_TRIED_MAX]
    for number, broker in enumerate(tried, 1):
        try:
            with _session(broker, way, min(deadline, time.monotonic() + _left(deadline) / 2)):
                return
        except Stopped as stopped:
            if number == len(tried):
                why = f"it answers, but sends us on to {', '.join(tried)}: {stopped.why}"
                check = "the brokers' advertised.listeners"
                raise Stopped(why=why, check=check, refused=stopped.refused) from None


# --------------------------------------------------------------------------------------------------------- explanations
def _explained_silence(server: str, way: Way, deadline: float) -> Stopped:
    """It closed on the first request."""
    if way.tls is None and _speaks_tls(server, deadline):
        why = f"what listens there speaks TLS, not {way.protocol}"
        return Stopped(why=why, check=f"{SETTINGS_PROTOCOL} and the port", refused=True)
    return Stopped(why="it hung up on the first request", check="the broker")


def _explained_end(server: str, way: Way, deadline: float) -> Stopped:
    """It told its versions and closed then."""
    if way.login is None and (offered := _mechanisms(server, way, deadline)) is not None:
        why = f"it wants a login ({', '.join(offered)})"
        return Stopped(why=why, check=f"{SETTINGS_PROTOCOL} and kafka.security.mechanism", refused=True)
    return Stopped(why="it hung up when asked for its brokers", check="that it is a broker, not a controller")


def _untrusted(error: ssl.SSLCertVerificationError) -> Stopped:
    """62 and 64: OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH."""
    if error.verify_code in (62, 64):
        why = "its certificate is for other names than this address"
        return Stopped(why=why, check=f"{SETTINGS_ADDRESS} and the broker's certificate", refused=True)
    why = f"its certificate is not trusted: {error.verify_message}"
    return Stopped(why=why, check="kafka.security.ca_file", refused=True)


def _refused_by_tls(error: ssl.SSLError, way: Way) -> Stopped:
    """What the other side's alert says (RFC 8446, 6.2)."""
    reason = error.reason or ""
    if "ALERT" in reason and any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE")):
        what = "refused our client certificate" if way.with_certificate else "wants a client certificate"
        return Stopped(why=f"it {what} ({_said(reason)})", check=SETTINGS_CERTIFICATE, refused=True)
    if "ALERT" in reason:
        why = f"it broke off the TLS handshake ({_said(reason)})"
        return Stopped(why=why, check=f"{SETTINGS_PROTOCOL} and the broker's TLS versions", refused=True)
    if reason in NO_TLS:
        why = "what listens there does not speak TLS"
        return Stopped(why=why, check=f"{SETTINGS_PROTOCOL} and the port", refused=True)
    why = f"the TLS handshake failed ({_said(reason) or 'unknown reason'})"
    return Stopped(why=why, check=f"{SETTINGS_PROTOCOL} and the broker's TLS versions", refused=True)


def _said(reason: str) -> str:
    """`SSLV3_ALERT_BAD_CERTIFICATE` -> `bad certificate`"""
    return reason.rpartition("ALERT_")[2].replace("_", " ").lower()


def _other_protocol() -> Stopped:
    why = "what listens there does not speak Kafka"
    return Stopped(why=why, check=f"{SETTINGS_ADDRESS} and {SETTINGS_PROTOCOL}", refused=True)


@contextlib.contextmanager
def _kafka_only() -> Iterator[None]:
    try:
        yield
    except (struct.error, UnicodeDecodeError):
        raise _other_protocol() from None


# ------------------------------------------------------------------------------------------------------- second glances
_PLAIN = Way(protocol="PLAINTEXT")


def _speaks_plainly(server: str, deadline: float) -> bool:
    with contextlib.suppress(Stopped, _HungUp), _session(server, _PLAIN, deadline) as session:
        session.ask(API_VERSIONS)
        return True
    return False


def _speaks_tls(server: str, deadline: float) -> bool:
    """Whom it is does not matter: nothing is said to it."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(Stopped), _session(server, Way(protocol="SSL", tls=anybody), deadline):
        return True
    return False


def _mechanisms(server: str, way: Way, deadline: float) -> list[str] | None:
    """What a listener with SASL offers; None of one without."""
    with contextlib.suppress(Stopped, _HungUp), _session(server, way, deadline) as session:
        answer = session.ask(SASL_HANDSHAKE, _text("-"))
        with _kafka_only():
            if answer.take(">h") == UNSUPPORTED_MECHANISM:
                return sorted(answer.take_bytes().decode() for _ in range(answer.take(">i")))
    return None


# -------------------------------------------------------------------------------------------------------------- private
def _parts(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _left(deadline: float) -> float:
    """0 would mean non-blocking."""
    return max(0.001, deadline - time.monotonic())
