"""Decides what Prometheus would have scraped of the simulated deployment in 30 days: real stages on the stream's clock.

Every four hours the generated messages go over logs in memory through ROUTE, SCORE and DECIDE, and what `/metrics`
would answer is written down with that time and a target's labels: what Prometheus itself stores of a scrape.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from monitor.adapters.exposition import Exposition, process_registry
from monitor.analysis.simulate import DAY, FAULT, START, Fault, Message, demo_settings, traffic
from monitor.building import build_scorer
from monitor.core.records import Kind
from monitor.settings_source import flatten
from tests.topics.cluster import Clock, Cluster

DAYS = 30
SCRAPE_SECONDS = 4 * 3600.0
TARGET = 'job="wervane",instance="agent:9464"'
SEED = 5

TRANSCRIPTS_PER_WEEK = 2_000.0
"""A tenth of the demo's: every slice that a panel asks for has labels, and it takes seconds."""

FAULT_OF_30_DAYS = Fault(accent=FAULT.accent, site=FAULT.site, at=START + 20 * DAY, factor=5.0)
"""So large that a tenth of the traffic finds it within days."""


def write_backfill(file: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """OpenMetrics with a time on every sample, as `promtool tsdb create-blocks-from` reads it; returns the last one.

    The last scrape as it was lies beside it, in `last.prom`.
    """
    clock = Clock(START)
    clock.rule(monkeypatch)
    cluster = Cluster(scratch, clock, partitions=1, **settings())
    try:
        process = cluster.process()
        scorer = build_scorer(cluster.settings("node"))
        build = {"normalizer": scorer.normalizer, "aligner": scorer.aligner}
        exposition = Exposition(registry=process_registry(), build=build, hold_seconds=2 * SCRAPE_SECONDS)
        with file.open("wb") as written:
            for at, messages in by_scrape():
                for message in messages:
                    cluster.publish(TOPICS[message.kind], [value_of(message)])
                clock.at = at
                process.step()
                process.step()
                process.checkpoint()
                scrape = exposition.render(process.stages.snapshot(to_files=False), clock.at)
                written.writelines(stamped(scrape, at))
                written.write(f"up{{{TARGET}}} 1 {at:.0f}\n".encode())
            written.write(b"# EOF\n")
        file.with_name("last.prom").write_bytes(scrape)
    finally:
        cluster.close()
    return at


TOPICS = {Kind.TRANSCRIPT: "transcripts", Kind.REFERENCE: "references"}


def settings() -> dict[str, object]:
    """The demo's without the dimension of devices: so everything fits under the cap of series."""
    given, _ = flatten(demo_settings())
    given["slices.dimensions"] = ["accent", "deployment", "site"]
    given["slices.intersections"] = [["accent", "site"], ["accent", "deployment"]]
    return {name.replace(".", "__"): value for name, value in given.items()}


def by_scrape() -> Iterator[tuple[float, list[Message]]]:
    """(time of the scrape, what was published since the one before)."""
    at = START + SCRAPE_SECONDS
    messages: list[Message] = []
    for message in traffic(SEED, DAYS, fault=FAULT_OF_30_DAYS, transcripts_per_week=TRANSCRIPTS_PER_WEEK):
        while message.event_at >= at:
            yield at, messages
            at, messages = at + SCRAPE_SECONDS, []
        messages.append(message)
    yield at, messages


def value_of(message: Message) -> bytes:
    """A tombstone as files write it: the logs in memory go by the id inside."""
    if message.value is not None:
        return message.value
    return msgspec.json.encode({"schema": 1, "id": (message.key or b"").decode(), "erase": True})


def stamped(scrape: bytes, at: float) -> Iterator[bytes]:
    """Every sample with the target's labels and the time."""
    for line in scrape.splitlines():
        if line.startswith(b"#"):
            continue
        series, _, value = line.rpartition(b" ")
        labels = b"," if series.endswith(b"}") else b"{"
        yield b"%s%s%s} %s %d\n" % (series.removesuffix(b"}"), labels, TARGET.encode(), value, at)
