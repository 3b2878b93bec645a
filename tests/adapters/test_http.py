"""The metrics port: what it answers, and that it cannot be used against us."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from monitor.adapters import web_server
from monitor.adapters.exposition import Exposition
from monitor.adapters.http import LANES, ServeFailed, StatusServer
from monitor.adapters.web_server import ANSWERS_AT_ONCE, UNREAD_MAX, WAITING_MAX, Query, Response, Server
from tests.adapters.views import snapshot


@pytest.fixture
def server() -> Iterator[StatusServer]:
    """A server on a free port that shows the invented hospital."""
    seen = snapshot()
    health = (False, {"storage_ok": False})
    running = StatusServer("127.0.0.1", 0, lambda: seen, get_health=lambda: health, get_readiness=lambda: (True, {}))
    yield running
    running.close()


def ask(server: StatusServer, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_routes_answer_their_content(server: StatusServer) -> None:
    """The paths that Prometheus, probes, browsers and programs rely on."""
    response, body = ask(server, "/metrics")
    assert response.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    assert b"wervane_slice_utterances_total{" in body and b"process_resident_memory_bytes" in body
    slices = json.loads(ask(server, "/api/v1/slices")[1])
    assert len(slices["slices"]) == len(snapshot().view.slices)
    incidents = json.loads(ask(server, "/api/v1/incidents")[1])["incidents"]
    assert [incident["state"] for incident in incidents] == ["updated", "firing", "resolved"]
    assert incidents[0]["fired_at"] == "2026-03-12T04:48:00Z"


def test_health_is_200_or_503_with_reasons(server: StatusServer) -> None:
    """A probe reads the status, a person the reason; readiness is another question than health."""
    response, body = ask(server, "/healthz")
    assert (response.status, json.loads(body)) == (503, {"ok": False, "storage_ok": False})
    assert ask(server, "/readyz")[0].status == 200


def test_page_comes_with_a_policy_that_allows_nothing_foreign(server: StatusServer) -> None:
    """Group names are customers' data: should one ever break out of the page, it can load and run nothing."""
    response, body = ask(server, "/")
    policy = response.getheader("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert b"http-equiv" not in body and b'http-equiv="refresh" content="10"' in ask(server, "/?refresh=10")[1]


@pytest.mark.parametrize(("method", "path", "status"), [
    ("POST", "/metrics", 405), ("DELETE", "/", 405), ("GET", "/etc/passwd", 404), ("GET", "/../page", 404),
    ("HEAD", "/", 200), ("GET", "/?" + "q" * 9000, 414),
])  # fmt: skip
def test_only_reading_known_paths(server: StatusServer, method: str, path: str, status: int) -> None:
    """Nothing here changes anything or reads files; HEAD sends no body."""
    response, body = ask(server, path, method)
    assert response.status == status
    assert method != "HEAD" or (body == b"" and int(response.getheader("Content-Length") or 0) > 10_000)


def test_silent_connections_cannot_lock_out_a_scrape(server: StatusServer) -> None:
    """Half-open sockets are free for an attacker: the oldest make room, and none costs a thread (T12)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))  # both ends are in this process
    before = threading.active_count()
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(1_000)]
    for connection in silent[::2]:
        with contextlib.suppress(OSError):  # cut already
            connection.sendall(b"GET /metr")
    for _ in range(ANSWERS_AT_ONCE + 1):
        response, _ = ask(server, "/metrics")
        assert response.status == 200
    assert threading.active_count() - before <= ANSWERS_AT_ONCE
    with contextlib.suppress(ConnectionResetError):  # what it sent was not read
        assert silent[0].recv(1) == b"", "the oldest was not cut"
    assert len(os.listdir("/proc/self/fd")) < 1_000 + WAITING_MAX + 100
    for connection in silent:
        connection.close()


def test_readers_that_never_read_are_cut(server: StatusServer) -> None:
    """Whoever asks and does not read would hold an answer in memory each: the oldest of them makes room."""
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    unread = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(2 * UNREAD_MAX)]
    for connection in unread:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.sendall(request)
    assert ask(server, "/healthz")[0].status == 503
    for connection in unread:
        connection.close()


def test_a_flood_of_pages_holds_up_neither_probe_nor_scrape() -> None:
    """Somebody's script that opens pages without end must not get the agent restarted, nor blind Prometheus."""
    go_on = threading.Event()

    def slow(_: Query) -> Response:
        go_on.wait(60)
        return Response(HTTPStatus.OK, "text/plain", b"slow")

    def quick(_: Query) -> Response:
        return Response(HTTPStatus.OK, "text/plain", b"quick")

    with contextlib.closing(Server({"/": slow, "/metrics": quick, "/healthz": quick}, port=0, lanes=LANES)) as running:
        running.start()
        flood = [socket.create_connection(("127.0.0.1", running.port), timeout=60) for _ in range(50)]
        for connection in flood:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert asked(running.port, "/metrics") == asked(running.port, "/healthz") == b"quick"
        go_on.set()
        assert flood[0].recv(100).startswith(b"HTTP/1.1 200")
        for connection in flood:
            connection.close()


def asked(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


def test_pages_take_no_more_than_their_share_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent runs in the pod of what it watches: whoever asks without end slows down himself."""
    monkeypatch.setattr(web_server, "BURST_SECONDS", 0.05)
    monkeypatch.setattr(web_server, "SHARE_MAX", 0.25)

    def busy(_: Query) -> Response:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        return Response(HTTPStatus.OK, "text/plain", b"done")

    with contextlib.closing(Server({"/": busy}, port=0)) as running:
        running.start()
        began = time.monotonic()
        for _ in range(5):
            assert asked(running.port, "/") == b"done"
        # Before the last, 4 x 0.05 s were spent, of which 0.05 were there; the rest has to be earned at 0.25.
        assert time.monotonic() - began >= (4 * 0.05 - 0.05) / 0.25


def test_a_fault_of_ours_is_a_500_that_is_told() -> None:
    """An answer that fails must neither hang a scrape nor pass unseen; what it says stays inside."""
    faults: list[BaseException] = []

    def fail() -> tuple[bool, dict[str, object]]:
        raise KeyError("a phrase that somebody said")

    running = StatusServer("127.0.0.1", 0, snapshot, get_health=fail, on_fault=faults.append)
    response, body = ask(running, "/healthz")
    assert (response.status, body, len(faults)) == (500, b"our fault\n", 1)
    assert ask(running, "/metrics")[0].status == 200
    running.close()


def test_pages_are_compressed_and_scrapes_are_not(server: StatusServer) -> None:
    """A phone's line is slow; a scrape crosses a pod, where compressing costs the host more than it saves."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/", headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    body = response.read()
    assert response.getheader("Content-Encoding") == "gzip" and len(body) < 20_000
    assert gzip.decompress(body) == ask(server, "/")[1]
    connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
    assert connection.getresponse().getheader("Content-Encoding") is None


def test_port_in_use_is_named(server: StatusServer) -> None:
    """The message must say which address and what to do, not `Errno 98`."""
    with pytest.raises(ServeFailed, match=rf"127\.0\.0\.1:{server.port}: .*in use.*--port"):
        StatusServer("127.0.0.1", server.port, snapshot, exposition=Exposition())


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no such host", 0)])
def test_impossible_addresses_are_named(host: str, port: int) -> None:
    """A typing error in the configuration is the operator's to mend, so it names itself."""
    with pytest.raises(ServeFailed, match="--port"):
        StatusServer(host, port, snapshot)
