"""What the metrics port does under attack, and how soon a page comes: both over the network's loopback.

    python tests/bench/bench_serving.py

The budgets: with 1,000 half-open connections a scrape below 1 s with at most 20 threads (T12), plain and over TLS;
first byte of the page within 50 ms with 500 slices; at most 200 kB.
"""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.adapters.access import Access
from monitor.adapters.http import StatusServer
from monitor.adapters.presentation import slice_url
from monitor.config import AuthSettings, ServeSettings, TlsSettings
from tests.bench.bench_scrape import many_slices
from tests.kafka.certificates import Certificates, make_certificates

HALF_OPEN = 1_000
ASKED = 20
SECONDS = 4.0
ONE = slice_url("northwind-health", "accent=accent-0001&deployment=contact-centre")


@contextlib.contextmanager
def served(made: Certificates | None) -> Iterator[StatusServer]:
    seen = many_slices(500)
    tls = TlsSettings(cert_file=None, key_file=None, client_ca_file=None)
    if made is not None:
        tls = TlsSettings(cert_file=str(made.server.certificate), key_file=str(made.server.key), client_ca_file=None)
    auth = AuthSettings(username=None, password_file=None)
    access = Access(ServeSettings(host="127.0.0.1", port=0, tls=tls, auth=auth))
    with contextlib.closing(StatusServer("127.0.0.1", 0, lambda: seen, access=access)) as server:
        yield server


def seconds(server: StatusServer, made: Certificates | None, path: str) -> tuple[float, int]:
    """(until the first byte, bytes that were sent), as a browser asks."""
    if made is None:
        connection = http.client.HTTPConnection("localhost", server.port, timeout=60)
    else:
        context = ssl.create_default_context(cafile=str(made.authority))
        connection = http.client.HTTPSConnection("localhost", server.port, timeout=60, context=context)
    with contextlib.closing(connection):
        began = time.perf_counter()
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        first = time.perf_counter() - began
        assert response.status == 200
        return first, len(response.read())


def under_attack(made: Certificates | None) -> tuple[float, int]:
    """(slowest of several scrapes, threads of the server) beside half-open connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))
    before = threading.active_count()
    with served(made) as server:
        half_open = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(HALF_OPEN)]
        slowest = max(seconds(server, made, "/metrics")[0] for _ in range(ASKED))
        threads = threading.active_count() - before
        for connection in half_open:
            connection.close()
    return slowest, threads


def first_byte(path: str) -> tuple[float, int]:
    """(median seconds until the first byte, bytes)."""
    with served(None) as server:
        seconds(server, None, path)
        asked = [seconds(server, None, path) for _ in range(ASKED)]
        return statistics.median(first for first, _ in asked), asked[0][1]


FLOOD = """
import http.client, sys, threading
def ask():
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
            connection.request("GET", sys.argv[2])
            connection.getresponse().read()
            connection.close()
        except OSError:
            pass
for _ in range(8):
    threading.Thread(target=ask, daemon=True).start()
sys.stdin.read()
"""
"""Eight that ask without end, in a process of their own."""


def speed_beside_flood(path: str) -> float:
    """How fast this process's own work goes on beside a flood of requests, against how fast it goes alone."""
    with served(None) as server:
        alone = counted(SECONDS)
        flood = subprocess.Popen([sys.executable, "-c", FLOOD, str(server.port), path], stdin=subprocess.PIPE)
        time.sleep(SECONDS)  # what may be done at once is done
        beside = counted(SECONDS)
        flood.communicate(b"")
        return beside / alone


def counted(seconds: float) -> int:
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(1_000):
            count += 1
    return count


def report() -> Iterator[tuple[str, float, int]]:
    with tempfile.TemporaryDirectory() as folder:
        made = make_certificates(Path(folder))
        for name, certificates in (("plain", None), ("TLS", made)):
            slowest, threads = under_attack(certificates)
            print(
                f"{HALF_OPEN} half-open, {name}: slowest of {ASKED} scrapes {1e3 * slowest:.0f} ms, {threads} threads"
            )
            yield name, slowest, threads
    for path in ("/", "/slices", "/" + ONE, "/incidents", "/coverage", "/budget"):
        median, size = first_byte(path)
        print(f"{path} with 500 slices: first byte after {1e3 * median:.1f} ms (median of {ASKED}), {size} bytes sent")
        yield path, median, size
    for path in ("/slices", "/metrics"):
        share = speed_beside_flood(path)
        print(f"work beside a flood of {path}: {share:.2f} of its speed alone")


@pytest.mark.bench
def test_served_within_its_budgets() -> None:
    """An observer's page must neither be a way to hurt its host nor keep people waiting."""
    for name, took, size in report():
        assert (took < 1.0 and size <= 20) if name in ("plain", "TLS") else (took <= 0.050 and size <= 200_000)


if __name__ == "__main__":
    for _ in report():
        pass
