"""Decides how one request leaves: to an allowed host, within a time and a size, following nothing.

A receiver that hangs, drips, answers with a redirect or with ten megabytes costs a bounded time and a bounded memory.
Proxies of the environment are not asked. Addresses that no receiver has but a cloud's metadata service (link-local) are
refused, whatever a name resolves to.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from monitor import __version__

CONNECT_SECONDS = 5.0
"""A receiver beyond an ocean answers within 0.5 s; at half, a lost first packet (sent again after 1, 3 s) fails."""
TOTAL_SECONDS = 10.0
"""From the first packet to the last byte read. At double, a receiver that hangs would be tried too rarely to be told
within a minute of its recovery."""
ANSWER_BYTES_MAX = 64 * 1024
"""Read of an answer: receivers answer with some hundred bytes, and the status says what counts."""


class Request(NamedTuple):
    """One POST of JSON."""

    url: str
    body: bytes
    headers: dict[str, str]
    tls: ssl.SSLContext | None = None
    """Whom to trust, instead of the system's authorities."""


class Answer(NamedTuple):
    status: int
    retry_after_seconds: float | None = None


class Unreachable(Exception):
    """No answer. `reason` is of a closed set, fit for a log: names and addresses are not in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def post(request: Request, *, connect_seconds: float = CONNECT_SECONDS, total_seconds: float = TOTAL_SECONDS) -> Answer:
    """Send it, and read what came back. Raises Unreachable."""
    deadline = time.monotonic() + total_seconds
    parts = urlsplit(request.url)
    assert parts.hostname is not None
    raw = _connected(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), connect_seconds, deadline)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=total_seconds)
    # Given its socket, the connection neither looks up a name nor a proxy.
    connection.sock = opened = raw
    late = threading.Event()

    def give_up() -> None:
        late.set()
        _shut(opened)  # not connection.sock: that is None once an answer's head says that the connection will close

    watch = threading.Timer(max(0.0, deadline - time.monotonic()), give_up)
    watch.daemon = True
    watch.start()
    try:
        raw.settimeout(total_seconds)
        if parts.scheme == "https":
            context = request.tls if request.tls is not None else ssl.create_default_context()
            secured = context.wrap_socket(raw, server_hostname=parts.hostname, do_handshake_on_connect=False)
            connection.sock = opened = secured
            secured.do_handshake()
        path = parts.path or "/"
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"wervane/{__version__}",
            "Connection": "close",
            **request.headers,
        }
        connection.request("POST", path + (f"?{parts.query}" if parts.query else ""), request.body, headers)
        response = connection.getresponse()
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            response.read(ANSWER_BYTES_MAX)  # the status is the answer, whatever becomes of the rest
        return Answer(response.status, _retry_after(response.getheader("Retry-After")))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable("timeout" if late.is_set() else _reason(error)) from None
    finally:
        watch.cancel()
        connection.close()


def _connected(host: str, port: int, connect_seconds: float, deadline: float) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unreachable("name_not_found") from None
    reason = "address_refused"
    for family, kind, protocol, _, address in found:
        if not _may_be_asked(str(address[0])):
            continue
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(max(0.1, min(connect_seconds, deadline - time.monotonic())))
            opened.connect(address)
            return opened
        except OSError as error:
            opened.close()
            reason = _reason(error)
    raise Unreachable(reason)


def _may_be_asked(address: str) -> bool:
    """
    >>> [_may_be_asked(a) for a in ("169.254.169.254", "fe80::1%eth0", "::ffff:169.254.169.254", "10.0.0.1", "::1")]
    [False, False, False, True, True]
    """
    known = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is not None:
        known = known.ipv4_mapped
    return not (known.is_link_local or known.is_multicast or known.is_unspecified)


def _shut(opened: socket.socket) -> None:
    """Wake whoever reads from it, in another thread. By the base class: TLS must not be told."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _retry_after(given: str | None) -> float | None:
    """Seconds; a date, which clocks may read otherwise, is not waited for."""
    if given is None or not given.isascii() or not given.strip().isdigit():
        return None
    return float(given.strip()[:9])


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return "certificate_refused"
        case ssl.SSLError():
            return "tls_failed"
        case TimeoutError():
            return "timeout"
        case ConnectionRefusedError():
            return "connection_refused"
        case ConnectionError() | http.client.IncompleteRead():
            return "connection_lost"
        case http.client.HTTPException() | ValueError():
            return "no_http"
        case _:
            return "unreachable"
