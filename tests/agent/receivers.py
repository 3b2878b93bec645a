"""A receiver of notifications that records what it is sent and misbehaves on request, and traffic that makes a page."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.traffic import Traffic

DAY = 86_400.0
PATIENCE_SECONDS = 60.0
HUGE_BYTES = 10 * 1024 * 1024


class Post(NamedTuple):
    """One request that was received whole."""

    path: str
    headers: dict[str, str]
    body: bytes
    mode: str

    def json(self) -> dict[str, object]:
        decoded: dict[str, object] = json.loads(self.body)
        return decoded


class Receiver:
    """An HTTP server on a free loopback port. `mode`: ok, hang, drip, trickle, reset, redirect, huge, or a status."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.mode = "ok"
        self.posts: list[Post] = []
        self.retry_after = "1"
        self.redirected = 0
        """Requests at the address that a redirect names."""
        self._over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with suppress(ConnectionError):  # who has seen enough of ten megabytes hangs up
                    receiver._answer(self)

            def do_GET(self) -> None:
                receiver.redirected += 1

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            # Hands are shaken by the thread of the request: a client that refuses us must not stop the server.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{'http' if tls is None else 'https'}://{self.address}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        mode = self.mode
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        self.posts.append(Post(request.path, dict(request.headers.items()), body, mode))
        match mode:
            case "hang":
                self._over.wait(PATIENCE_SECONDS)
            case "drip":
                while not self._over.wait(0.1):  # a header that never ends
                    request.wfile.write(b"H")
            case "trickle":  # an answer as it should be, but for a body that never ends
                request.send_response(200)
                request.send_header("Connection", "close")
                request.end_headers()
                while not self._over.wait(0.1):
                    request.wfile.write(b"x")
            case "reset":
                request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                request.connection.close()
            case "redirect":
                request.send_response(302)
                request.send_header("Location", f"{self.url}/latest/meta-data/")
                request.end_headers()
            case "huge":
                request.send_response(500)
                request.end_headers()
                request.wfile.write(b"x" * HUGE_BYTES)
            case _:
                status = 202 if mode == "ok" else int(mode)
                request.send_response(status)
                if status == 429:
                    request.send_header("Retry-After", self.retry_after)
                request.send_header("Content-Length", "0")
                request.end_headers()

    def taken(self) -> list[Post]:
        """What was answered with success."""
        return [post for post in self.posts if post.mode == "ok"]

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver(tls)
    try:
        yield receiver
    finally:
        receiver.close()


def wait_until(look: Callable[[], object], why: str, within: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + within
    while not look():
        assert time.monotonic() < deadline, why
        time.sleep(0.02)


# -------------------------------------------------------------------------------------------------------------- traffic
def blind_traffic(
    *customers: str, days: int = 5, first_day: int = 0, corrected: bool = False, now: float | None = None
) -> Traffic:
    """Days of traffic, a hundred utterances each; nobody corrects any of it, which pages after three days."""
    begins = ((time.time() if now is None else now) // DAY - 20 + first_day) * DAY
    made = Traffic()
    for number in range(100 * days):
        at = begins + number * DAY / 100
        for customer in customers:
            id_ = f"{customer}-{first_day}-{number}"
            said = {"schema": 1, "id": id_, "ts": _instant(at), "text": "give five milligrams of it"}
            who = {"customer": customer, "deployment": "wards", "accent": "england", "speaker": f"s{number % 40}"}
            made.transcripts.append(json.dumps({**said, **who}))
            if corrected:
                made.references.append(json.dumps({**said, "ts": _instant(at + 600.0)}))
    return made


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
