"""`wervane run` as a process of its own: started, asked over HTTP, stopped; and the files it is given."""

from __future__ import annotations

import csv
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.traffic import Traffic, recount

PATIENCE_SECONDS = 60.0
"""How long anything may take on a busy machine before a test fails."""

Totals = dict[str, tuple[int, int, int, int, int]]
"""Slice -> (pairs, reference words, S, D, I), as `tests.traffic.recount` gives them."""

Found = TypeVar("Found")


def configure(
    folder: Path, traffic: Traffic | None = None, *, kind: str = "files", **sections: Mapping[str, object]
) -> Path:
    """Write the inputs and a configuration for them; sections are laid over the usual ones."""
    transcripts, references = (traffic or Traffic([], [])).write(folder / "in")
    inputs = {"transcripts": [str(transcripts)], "references": [str(references)]} if kind != "stdin" else {}
    usual: dict[str, Mapping[str, object]] = {
        "input": {"kind": kind, **inputs},
        "state": {"path": str(folder / "state"), "checkpoint": "1s"},
        "serve": {"port": 0},
        "privacy": {"release_min": 1},  # tests compare what is shown with recounts
    }
    for name, section in sections.items():
        usual[name] = {**usual.get(name, {}), **section}
    config = folder / "wervane.yaml"
    config.write_text(json.dumps(usual))
    return config


def growing(folder: Path, **sections: Mapping[str, object]) -> Path:
    """A configuration over two files that are empty so far."""
    config = configure(folder, None, kind="directory", **sections)
    for name in ("transcripts", "references"):
        (folder / "in" / f"{name}.jsonl").write_text("")
    return config


class Running:
    """One process; what it logs goes to a file beside its configuration."""

    def __init__(self, config: Path, *, stdin: int | None = subprocess.DEVNULL, options: Sequence[str] = ()) -> None:
        """`options` of `wervane run`, beside its configuration."""
        self.log_path = config.with_name("stderr.log")
        with self.log_path.open("ab") as log:
            self._log_begins = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "monitor", "run", "--config", str(config), *options],
                stdin=stdin, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip

    # -------------------------------------------------------------------------------------------------------------- log
    def stderr(self) -> str:
        """What this process wrote so far."""
        return self.log_path.read_bytes()[self._log_begins :].decode()

    def events(self, name: str) -> list[dict[str, object]]:
        """Log events of this name so far."""
        lines = [line for line in self.stderr().splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for line in lines if (event := json.loads(line)).get("event") == name]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, from the event that names them (port 0 was asked for)."""
        (started,) = self.wait_for(lambda: self.events("started"))
        host, _, port = str(started["address"]).removeprefix("http://").rstrip("/").rpartition(":")
        return host, int(port)

    # ------------------------------------------------------------------------------------------------------------- http
    def ask(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """Every series of one scrape."""
        _, body = self.ask("/metrics")
        lines = (line for line in body.splitlines() if line and not line.startswith("#"))
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}

    def seen(self) -> tuple[int, Totals]:
        """Transcripts and totals that are shown at this moment; `/metrics` holds new counters at 0 for a while."""
        rows = json.loads(self.ask("/api/v1/slices")[1])["slices"]
        transcripts = sum(row["transcripts"] for row in rows if row["slice"] == "all")
        return transcripts, {row["slice"]: _totals(row["pairs"], row["counts"]) for row in rows if row["pairs"]}

    def wait_until_seen(self, traffic: Traffic) -> None:
        """Until exactly this traffic is shown, references without a transcript apart."""
        wanted = to_be_seen(traffic)
        self.wait_for(lambda: self.seen() == wanted, f"{wanted} transcripts and totals")

    # -------------------------------------------------------------------------------------------------------------- end
    def wait_for(self, look: Callable[[], Found], why: str = "an event", within: float = PATIENCE_SECONDS) -> Found:
        """What `look` gives once it gives something; the process must be alive or have said it before it ended."""
        deadline = time.monotonic() + within
        while not (found := look()):
            ended = self.process.poll() is not None
            if ended and (found := look()):
                break
            assert not ended and time.monotonic() < deadline, f"{why} did not come:\n{self.stderr()}"
            time.sleep(0.05)
        return found

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> int:
        return self.process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def running(config: Path, *, stdin: int | None = subprocess.DEVNULL) -> Iterator[Running]:
    """A process that does not outlive the test."""
    started = Running(config, stdin=stdin)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()
        if started.process.stdin is not None:
            started.process.stdin.close()


def run_to_end(config: Path) -> Running:
    """A finite input: returns when the process has ended, whatever its exit code."""
    with running(config) as started:
        started.end()
        return started


def slices(folder: Path) -> dict[str, tuple[int, ...]]:
    """slices.csv in the form of `tests.traffic.recount`."""
    columns = ("pairs", "reference_words", "substitutions", "deletions", "insertions")
    with (folder / "slices.csv").open() as file:
        return {row["slice"]: tuple(int(row[name]) for name in columns) for row in csv.DictReader(file)}


def to_be_seen(traffic: Traffic) -> tuple[int, Totals]:
    """What `seen` gives when exactly this traffic was read, references without a transcript apart."""
    known = {json.loads(line)["id"] for line in traffic.transcripts if line.endswith("}")}
    return len(known), recount(matched(traffic))


def matched(traffic: Traffic) -> Traffic:
    """Without references whose transcript is not there: a recount knows no waiting."""
    known = {json.loads(line)["id"] for line in traffic.transcripts if line.endswith("}")}
    return Traffic(traffic.transcripts, [line for line in traffic.references if json.loads(line)["id"] in known])


def _totals(pairs: int, counts: Mapping[str, int]) -> tuple[int, int, int, int, int]:
    hits, wrong = counts["hits"], [counts[name] for name in ("substitutions", "deletions", "insertions")]
    return (pairs, hits + wrong[0] + wrong[1], wrong[0], wrong[1], wrong[2])


def counters(series: Mapping[str, float]) -> dict[str, float]:
    """The series of a scrape that may only grow."""
    endings = ("_total", "_count", "_sum", "_bucket")
    return {name: value for name, value in series.items() if name.partition("{")[0].endswith(endings)}
