"""Decides what agents on Kafka are compared with: streams in which somebody is worse off, and a replay of them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from monitor.analysis import simulate
from monitor.core.records import Kind
from monitor.generating import days_to_move, moved
from tests.kafka.producing import REFERENCES, TRANSCRIPTS, Sent, in_order
from tests.traffic import Traffic, generate

DAY = 86_400.0
WATERMARK = "wervane_event_watermark_timestamp_seconds"
"""Event time up to which every hour was looked at."""

Sections = Mapping[str, Mapping[str, object]]


def worsening(utterances: int, customers: int = 1) -> tuple[list[Sent], Sections]:
    """Two weeks of each customer; from the tenth day on every second word of one accent is misheard."""
    starts_at = time.time() - 20 * DAY
    both = Traffic([], [])
    for seed in range(1, customers + 1):
        traffic = generate(utterances, starts_at=starts_at, days=14.0, seed=seed)
        both.transcripts += [_worsened(line, "england", starts_at + 9.5 * DAY, seed) for line in traffic.transcripts]
        both.references += traffic.references
    return in_order(both), {"labels": {"maturity": "48h"}}


def _worsened(line: str, accent: str, from_at: float, customer: int) -> str:
    if not line.endswith("}"):
        return line
    fields = json.loads(line)
    if fields.get("accent") == accent and instant(fields["ts"]) >= from_at:
        fields["text"] = " ".join("zulu" if at % 2 else word for at, word in enumerate(fields["text"].split()))
    return json.dumps({**fields, "customer": f"customer-{customer}"})


def demo() -> tuple[list[Sent], Sections]:
    """The demo's two weeks, moved to end yesterday. Its tombstone is left out: no line of a file says it."""
    names = {Kind.TRANSCRIPT: TRANSCRIPTS, Kind.REFERENCE: REFERENCES}
    shift = days_to_move(time.time())
    sent = [
        (names[message.kind], moved(message.value, shift).decode())
        for message in simulate.traffic(seed=1)
        if message.value is not None
    ]
    settings = simulate.demo_settings()
    return sent, {name: section for name, section in settings.items() if isinstance(section, Mapping)}


def replay(folder: Path, traffic: Traffic, sections: Sections) -> Path:
    """`wervane replay` of these lines in files."""
    transcripts, references = traffic.write(folder / "in")
    config = folder / "wervane.yaml"
    config.write_text(json.dumps(sections))
    command = [sys.executable, "-m", "monitor", "replay", "--config", str(config), "--out", str(folder / "out")]
    command += ["--transcripts", str(transcripts), "--references", str(references)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "out"


def table(folder: Path) -> list[list[str]]:
    """slices.csv up to the column of clusters: what follows depends on the last look, which a replay takes later."""
    with (folder / "slices.csv").open() as file:
        return [row[:13] for row in csv.reader(file)]


def incidents(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "incidents.jsonl").read_text().splitlines()]


def last_metrics(folder: Path) -> dict[str, float]:
    """What an agent left when it stopped."""
    lines = (line for line in (folder / "metrics.prom").read_text().splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
