"""`wervane run` over files: killed at any moment and started again, it ends where an uninterrupted run would have."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.traffic import Traffic, generate, recount

KILLS = 10
STAYS = ("slices.csv", "incidents.jsonl", "outcomes.jsonl", "reviews.jsonl", "rejected.jsonl")
"""What must be the same bytes. summary.json and metrics.prom carry times and process figures."""


def configure(folder: Path, traffic: Traffic, *, kind: str = "files", state: str = "state") -> Path:
    transcripts, references = traffic.write(folder / "in")
    config = folder / f"{state}.yaml"
    config.write_text(
        json.dumps({
            "input": {"kind": kind, "transcripts": [str(transcripts)], "references": [str(references)]},
            "state": {"path": str(folder / state), "checkpoint": "1s"},
            "serve": {"port": 0},
        })
    )  # fmt: skip
    return config


def start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "monitor", "run", "--config", str(config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def run(config: Path) -> None:
    process = start(config)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()


def slices(folder: Path) -> dict[str, tuple[int, ...]]:
    columns = ("pairs", "reference_words", "substitutions", "deletions", "insertions")
    with (folder / "slices.csv").open() as file:
        return {row["slice"]: tuple(int(row[name]) for name in columns) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(16_000, starts_at=time.time() - 20 * 86_400.0)


@pytest.fixture(scope="module")
def uninterrupted(traffic: Traffic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(configure(folder, traffic))
    return folder / "state"


def test_totals_equal_an_offline_recount(traffic: Traffic, uninterrupted: Path) -> None:
    """Duplicates, revisions, revisions backwards, early and missing references included: every pair counts once."""
    assert slices(uninterrupted) == recount(traffic)


def test_every_message_ends_under_exactly_one_outcome(traffic: Traffic, uninterrupted: Path) -> None:
    """Nothing is lost and nothing is counted twice; each reject leaves a pointer and no text."""
    summary = json.loads((uninterrupted / "summary.json").read_text())
    records = summary["records"]
    lines = len(traffic.transcripts) + len(traffic.references)
    assert records["accepted"] + records["clipped"] + records["rejected"] == lines
    pointers = [json.loads(line) for line in (uninterrupted / "rejected.jsonl").read_text().splitlines()]
    assert len(pointers) == records["rejected"] > 0
    assert {frozenset(pointer) for pointer in pointers} == {
        frozenset({"topic", "partition", "offset", "reason", "sha256"})
    }
    fates = summary["references"]
    assert sum(fates.values()) == len(traffic.references)


def test_sigkill_at_random_moments_changes_no_byte(traffic: Traffic, uninterrupted: Path, tmp_path: Path) -> None:
    """State, outbox and positions are one transaction; files are cut back to what it knows and written again."""
    config = configure(tmp_path, traffic)
    rng = random.Random(11)
    outcomes = tmp_path / "state" / "outcomes.jsonl"
    whole = (uninterrupted / "outcomes.jsonl").stat().st_size
    reached: list[int] = []
    while len(reached) < KILLS:
        process = start(config)
        # By progress, as a slower machine makes less of it in a second: from the start to shortly before the end.
        enough = whole * rng.uniform(0.0, 0.7)
        while process.poll() is None and (outcomes.stat().st_size if outcomes.exists() else 0) < enough:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.6))  # a moment that nobody chose, within opening or between two checkpoints
        if process.poll() is not None:
            shutil.rmtree(tmp_path / "state")  # it reached the end between two kills: once more from the beginning
            continue
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        reached.append(outcomes.stat().st_size if outcomes.exists() else 0)
    run(config)
    assert len(set(reached)) > 1, "the kills fell on different moments"
    for name in STAYS:
        assert (tmp_path / "state" / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def test_a_second_run_over_the_same_files_changes_nothing(traffic: Traffic, tmp_path: Path) -> None:
    """A restart after the end finds everything read: same files, nothing twice."""
    small = Traffic(traffic.transcripts[:1500], traffic.references[:800])
    config = configure(tmp_path, small)
    run(config)
    before = {name: (tmp_path / "state" / name).read_bytes() for name in STAYS}
    run(config)
    assert {name: (tmp_path / "state" / name).read_bytes() for name in STAYS} == before


def test_any_line_order_gives_the_same_bytes(traffic: Traffic, uninterrupted: Path, tmp_path: Path) -> None:
    """Queues, exports and `sort` shuffle lines; event time decides."""
    rng = random.Random(5)
    shuffled = Traffic([*traffic.transcripts], [*traffic.references])
    rng.shuffle(shuffled.transcripts)
    rng.shuffle(shuffled.references)
    run(configure(tmp_path, shuffled))
    for name in ("slices.csv", "incidents.jsonl", "outcomes.jsonl"):
        assert (tmp_path / "state" / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def test_files_that_changed_under_a_state_are_refused(traffic: Traffic, tmp_path: Path) -> None:
    """Positions would point at other lines: a named refusal, exit 4, and nothing changed."""
    small = Traffic(traffic.transcripts[:50], traffic.references[:20])
    config = configure(tmp_path, small)
    run(config)
    small.transcripts.append(traffic.transcripts[60])
    small.write(tmp_path / "in")
    process = start(config)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4
    assert b"input.kind: directory" in errors
