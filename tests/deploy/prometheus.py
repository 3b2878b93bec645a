"""Decides how tests ask a real Prometheus: one of their own, over blocks made of a text file, on a free port."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.deploy.servers import PATIENCE_SECONDS, required

INSTALL = "package prometheus"


class Series(NamedTuple):
    """One series of an answer."""

    labels: dict[str, str]
    values: list[float]


class Prometheus:
    """One that scrapes nothing."""

    def __init__(self, address: str) -> None:
        self.address = address

    def instant(self, query: str, at: float) -> list[Series]:
        """Its value at one time."""
        found = self._ask("query", query=query, time=f"{at:.0f}")
        return [Series(each["metric"], [float(each["value"][1])]) for each in found["result"]]

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """Its values over a time range."""
        times = {"start": f"{start:.0f}", "end": f"{end:.0f}", "step": f"{step:.0f}"}
        found = self._ask("query_range", query=query, **times)
        return [Series(each["metric"], [float(value) for _, value in each["values"]]) for each in found["result"]]

    def label_values(self, label: str, series: str) -> list[str]:
        """As Grafana's `label_values(series, label)`, over all time."""
        values: list[str] = self._ask(f"label/{label}/values", **{"match[]": series})
        return values

    def _ask(self, path: str, **parameters: str):  # type: ignore[no-untyped-def]  # JSON of a shape that tests know
        url = f"{self.address}/api/v1/{path}"
        try:
            form = urllib.parse.urlencode(parameters)
            if path.startswith("label"):
                answer = urllib.request.urlopen(f"{url}?{form}", timeout=PATIENCE_SECONDS)
            else:
                answer = urllib.request.urlopen(url, form.encode(), timeout=PATIENCE_SECONDS)
            with answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{parameters}: {refusal.read().decode()}") from None


def are_numbers(found: list[Series]) -> bool:
    """Whether there is something, all of it finite."""
    return bool(found) and all(math.isfinite(value) for each in found for value in each.values)


@contextmanager
def over_blocks(samples: Path, folder: Path, lookback: str) -> Iterator[Prometheus]:
    """A Prometheus that holds what an OpenMetrics file with times holds. `lookback`: how old a value may be."""
    promtool, prometheus = required("promtool", install=INSTALL), required("prometheus", install=INSTALL)
    made = ["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=720h", "--quiet"]
    subprocess.run([promtool, *made, str(samples), str(folder / "data")], check=True, capture_output=True)
    config = folder / "prometheus.yml"
    config.write_text("{}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [prometheus, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}", f"--query.lookback-delta={lookback}",
             "--storage.tsdb.retention.time=100y"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_ready(address, server, folder / "prometheus.log")
        yield Prometheus(address)
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_SECONDS)


def _wait_until_ready(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{address}/-/ready", timeout=5):
                return
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
