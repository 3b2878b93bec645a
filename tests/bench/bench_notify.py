"""What receivers that misbehave cost ingest (T7): the same archive with and without notifications, side by side.

    python tests/bench/bench_notify.py [--customers 10] [--rounds 5]

Each customer's traffic is corrected for 5 days, then by nobody: tickets and a page each. A run with notifications has
PagerDuty, Slack, Alertmanager (sent again each second) and a webhook at a receiver in a process of its own that
misbehaves in one way. Printed: the CPU of receivers' threads as a share of the ingesting thread's, in the same run
(they share one interpreter lock: what they take, ingest waits for); then medians over rounds of CPU and wall seconds
with, over those without in the same round, which on a busy machine say more of the machine. Goal: 5 %, 1.05.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import structlog

from monitor.adapters.jsonl import SortedArchive
from monitor.adapters.store import Store
from monitor.agent import Agent
from monitor.building import build_scorer, state_fingerprint
from monitor.config import Settings, load_settings
from monitor.decoders import event_times
from monitor.sending import Sender, open_sender
from tests.agent.receivers import Receiver, blind_traffic
from tests.traffic import Traffic

MODES = ("ok", "hang", "drip", "500", "429", "reset", "redirect", "huge")
LOG = structlog.wrap_logger(None, [structlog.testing.LogCapture()], structlog.make_filtering_bound_logger("error"))


class Measured(NamedTuple):
    cpu: float
    """Of the process."""
    beside: float
    """Of that, what other threads than the one that ingests took."""
    wall: float
    tried: int
    """Steps that were delivered, or failed at least once."""


def _receive(mode: str, told: Connection) -> None:
    receiver = Receiver()
    receiver.mode = mode
    told.send(receiver.url)
    threading.Event().wait()


@contextmanager
def receiving(mode: str) -> Iterator[str]:
    """A receiver in a process of its own: its work must not count as ours."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_receive, args=(mode, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()
        process.join()


def settings_for(folder: Path, url: str | None) -> Settings:
    given: dict[str, object] = {
        "input.kind": "files",
        "input.transcripts": [str(folder / "transcripts.jsonl")],
        "input.references": [str(folder / "references.jsonl")],
        "labels.maturity": "24h",
    }
    if url is not None:
        (folder / "key").write_text("key")
        (folder / "slack").write_text(f"{url}/slack")
        given |= {
            "notify.hosts": ["127.0.0.1"],
            "notify.pagerduty.routing_key_file": str(folder / "key"),
            "notify.pagerduty.url": f"{url}/pagerduty",
            "notify.slack.webhook_url_file": str(folder / "slack"),
            "notify.alertmanager.urls": [url],
            "notify.alertmanager.resend": "1s",
            "notify.webhook.urls": [f"{url}/hook"],
        }
    return load_settings(None, {}, given)


def ingest(folder: Path, url: str | None) -> Measured:
    settings = settings_for(folder, url)
    with tempfile.TemporaryDirectory() as scratch:
        state = Path(scratch)
        store = Store.open(state / "partition-0.db", config_sha256=state_fingerprint(settings))
        source = SortedArchive(settings.input.transcripts, settings.input.references, event_time=event_times(settings))
        sender: Sender | None = open_sender(settings, LOG)
        agent = Agent(
            settings,
            source=source,
            clock=lambda _line: time.time(),
            store=store,
            scorer=build_scorer(settings),
            folder=state,
            log=LOG,
            sender=sender,
        )
        cpu, own, wall = time.process_time(), time.thread_time(), time.monotonic()
        agent.run(threading.Event())
        cpu, own, wall = time.process_time() - cpu, time.thread_time() - own, time.monotonic() - wall
        tried = 0
        if sender is not None:
            tried = sum(sender.counters().values())
            sender.close()
        agent.close()
        source.close()
        return Measured(cpu, cpu - own, wall, tried)


def traffic(customers: int) -> Traffic:
    names = [f"customer-{number}" for number in range(customers)]
    made = blind_traffic(*names, corrected=True)
    blind = blind_traffic(*names, days=10, first_day=5)
    return Traffic(made.transcripts + blind.transcripts, made.references)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as inputs, ExitStack() as receivers:
        folder = Path(inputs)
        made = traffic(given.customers)
        made.write(folder)
        urls = {mode: receivers.enter_context(receiving(mode)) for mode in MODES}
        ingest(folder, None)  # warm
        print(f"{len(made.transcripts) + len(made.references)} messages a run, {given.rounds} rounds")
        rounds = [_round(folder, urls) for _ in range(given.rounds)]
        without = [found.pop("") for found in rounds]
        alone = statistics.median(each.beside / (each.cpu - each.beside) for each in without)
        print(f"without: {statistics.median(each.wall for each in without):.1f} s, threads {100 * alone:.1f} %")
        for mode in MODES:
            pairs = [(untold, found[mode]) for untold, found in zip(without, rounds, strict=True)]
            cpu = statistics.median(told.cpu / untold.cpu for untold, told in pairs)
            wall = statistics.median(told.wall / untold.wall for untold, told in pairs)
            tried = statistics.median(told.tried for _, told in pairs)
            beside = statistics.median(told.beside / (told.cpu - told.beside) for _, told in pairs)
            print(
                f"{mode:<9} threads {100 * beside:.1f} %  cpu x{cpu:.3f}  wall x{wall:.3f}  ({tried:.0f} steps tried)"
            )


def _round(folder: Path, urls: dict[str, str]) -> dict[str, Measured]:
    """One run of each, in an order that changes; \"\" is the mean of three without, spread among them."""
    order = [*urls]
    random.shuffle(order)
    found: dict[str, Measured] = {}
    without: list[Measured] = []
    for number, mode in enumerate(order):
        if number % 3 == 0:
            without.append(ingest(folder, None))
        found[mode] = ingest(folder, urls[mode])
    mean = [statistics.mean(part) for part in zip(*without, strict=True)]
    return {**found, "": Measured(mean[0], mean[1], mean[2], 0)}


if __name__ == "__main__":
    main()
