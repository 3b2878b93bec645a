"""Decides who may ask on the metrics port: over TLS, with a certificate of a known authority, with a password.

Files may change while the agent runs (certificates expire, passwords are replaced): they are read again, and what
cannot be read leaves what was read before. Health paths need no password, as a kubelet has none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import secrets
import ssl
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from threading import Lock

from monitor.config import ServeSettings

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""They tell whether the agent is well, and nothing of anybody's speech."""

PASSWORD_BYTES_MAX = 1_024

SCRYPT = (2**14, 8, 1)
"""Cost of a hashed password: 16 MiB and some 40 ms, as its authors give it for a login that somebody waits for."""

HASHES_PER_SECOND = 4
"""A guess at a hashed password costs 40 ms of the host's time, so there are at most so many a second. Who knows the
password is not slowed down: a header that was right once is known by a digest."""

MARK = "scrypt"


class ServeFailed(OSError):
    """What was configured cannot be served; says which setting, and what to do."""


OPEN_TO_ALL = "any host can read metrics and page: set serve.auth or serve.tls.client_ca_file, or listen on 127.0.0.1"
"""Why that is worth a warning: names of customers and groups, and how well each is understood."""


def is_open_to_all(serve: ServeSettings) -> bool:
    """Whether anybody who reaches the port may read it, from elsewhere than this host."""
    if serve.auth.username is not None or serve.tls.client_ca_file is not None:
        return False
    return not _is_this_host(serve.host)


def _is_this_host(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may lead anywhere


PASSWORD_IN_CLEAR = "whoever sees the network sees the password: set serve.tls, or listen on 127.0.0.1"


def is_password_in_clear(serve: ServeSettings) -> bool:
    """Whether the password crosses a network without TLS."""
    return serve.auth.username is not None and serve.tls.cert_file is None and not _is_this_host(serve.host)


class Answer(StrEnum):
    YES = "yes"
    WHO = "who"
    LATER = "later"


class Access:
    """What the configuration asks of clients. Without arguments everybody may ask, in clear text.

    Raises ServeFailed if a file cannot be used.
    """

    def __init__(self, serve: ServeSettings | None = None, on_stale: Callable[[str], None] = lambda path: None) -> None:
        """`on_stale`: told of a file that changed and cannot be used, whose old contents stay."""
        self._on_stale = on_stale
        self._cert = self._key = self._authorities = self._password = None
        self._username = ""
        if serve is not None:
            self._cert, self._key, self._authorities = serve.tls.cert_file, serve.tls.key_file, serve.tls.client_ca_file
            self._username, self._password = serve.auth.username or "", serve.auth.password_file
        self._seen = self._stamps()
        self.context = self._tls()
        self._login = self._read_login()

    @property
    def is_tls(self) -> bool:
        return self.context is not None

    def answer(self, path: str, authorization: str | None, now: float) -> Answer:
        """Whether this request may be answered. Called from several threads. `now`: a monotonic clock, seconds."""
        login = self._login
        if login is None or path in OPEN_PATHS:
            return Answer.YES
        return login.answer(authorization, now)

    def reread(self) -> None:
        """Take what changed in the files. Half-written ones are tried again next time."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        try:
            context, login = self._tls(), self._read_login()
        except ServeFailed:
            changed = [path for path, stamp in stamps.items() if self._seen.get(path) != stamp]
            for path in changed:
                self._on_stale(path)
            return
        self.context, self._login, self._seen = context, login, stamps

    def _stamps(self) -> dict[str, tuple[int, int, int] | None]:
        """What tells a file from another under the same name: mounted secrets are swapped by a link."""
        found: dict[str, tuple[int, int, int] | None] = {}
        for path in (self._cert, self._key, self._authorities, self._password):
            if path is not None:
                try:
                    status = os.stat(path)
                    found[path] = (status.st_ino, status.st_mtime_ns, status.st_size)
                except OSError:
                    found[path] = None
        return found

    def _tls(self) -> ssl.SSLContext | None:
        if self._cert is None or self._key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _usable("serve.tls.cert_file", self._cert)
        _usable("serve.tls.key_file", self._key)
        try:
            context.load_cert_chain(self._cert, self._key, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            raise ServeFailed(
                f"serve.tls: {self._cert} and {self._key} are not a certificate (PEM, with those between it and its "
                "authority) and its key (PEM, without a passphrase)"
            ) from error
        if self._authorities is not None:
            _usable("serve.tls.client_ca_file", self._authorities)
            try:
                context.load_verify_locations(self._authorities)
            except ssl.SSLError as error:
                raise ServeFailed(
                    f"serve.tls.client_ca_file: {self._authorities} holds no certificate in PEM"
                ) from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _read_login(self) -> Login | None:
        if self._password is None:
            return None
        _usable("serve.auth.password_file", self._password)
        written = Path(self._password).read_bytes().strip(b"\r\n")
        if not 0 < len(written) <= PASSWORD_BYTES_MAX:
            raise ServeFailed(
                f"serve.auth.password_file: {self._password} should hold one password of 1 to {PASSWORD_BYTES_MAX} "
                "bytes, or what `wervane hash-password` makes of it"
            )
        return Login(self._username.encode(), written, self._password)


def _usable(setting: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ServeFailed(f"{setting}: {path} cannot be read: {error.strerror or type(error).__name__}") from error


# ----------------------------------------------------------------------------------------------------------- passwords
class Login:
    """One user's name and password, plain or hashed. What is compared is compared in constant time."""

    def __init__(self, username: bytes, written: bytes, path: str) -> None:
        self._username = username
        self._hashed = _Hashed.read(written, path) if written.startswith(f"{MARK}$".encode()) else None
        self._process_key = secrets.token_bytes(32)
        self._known = b""
        """Digest of the header that is right: of a hashed password once it has been seen."""
        if self._hashed is None:
            self._known = self._digest(b"Basic " + base64.b64encode(username + b":" + written))
        self._lock = Lock()
        self._tokens, self._at = float(HASHES_PER_SECOND), float("-inf")

    def answer(self, authorization: str | None, now: float) -> Answer:
        header = (authorization or "").encode("latin-1", "replace")
        if hmac.compare_digest(self._digest(header), self._known):
            return Answer.YES
        given = _user_and_password(header)
        if self._hashed is None or given is None:
            return Answer.WHO
        with self._lock:
            if not self._take_token(now):
                return Answer.LATER
            user, password = given
            right_password = self._hashed.fits(password)
            if not (hmac.compare_digest(user, self._username) and right_password):
                return Answer.WHO
            self._known = self._digest(header)
            return Answer.YES

    def _digest(self, header: bytes) -> bytes:
        return hashlib.blake2b(header, key=self._process_key).digest()

    def _take_token(self, now: float) -> bool:
        if self._at > float("-inf"):
            self._tokens = min(float(HASHES_PER_SECOND), self._tokens + HASHES_PER_SECOND * (now - self._at))
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def _user_and_password(header: bytes) -> tuple[bytes, bytes] | None:
    kind, _, encoded = header.partition(b" ")
    if kind.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon and len(password) <= PASSWORD_BYTES_MAX else None


class _Hashed:
    def __init__(self, cost: tuple[int, int, int], salt: bytes, key: bytes) -> None:
        self._cost, self._salt, self._key = cost, salt, key

    @staticmethod
    def read(written: bytes, path: str) -> _Hashed:
        """From what `hash_password` wrote; another cost than ours is fine while it needs at most 64 MiB."""
        try:
            _, n, r, p, salt, key = written.decode("ascii").split("$")
            cost = (int(n), int(r), int(p))
            read = _Hashed(cost, base64.b64decode(salt, validate=True), base64.b64decode(key, validate=True))
            read.fits(b"")
        except (ValueError, OverflowError, MemoryError) as error:
            raise ServeFailed(
                f"serve.auth.password_file: {path} is not as `wervane hash-password` writes it"
            ) from error
        return read

    def fits(self, password: bytes) -> bool:
        return hmac.compare_digest(_scrypt(password, self._salt, self._cost, len(self._key)), self._key)


def hash_password(password: bytes) -> str:
    """A line for `serve.auth.password_file` from which the password cannot be read."""
    salt = secrets.token_bytes(16)
    key = _scrypt(password, salt, SCRYPT, 32)
    n, r, p = SCRYPT
    return f"{MARK}${n}${r}${p}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def _scrypt(password: bytes, salt: bytes, cost: tuple[int, int, int], size: int) -> bytes:
    n, r, p = cost
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, dklen=size, maxmem=72 * 2**20)
