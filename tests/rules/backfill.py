"""Decides how a Prometheus comes to hold counters of the past: sessions, as two replicas would have exported them."""

from __future__ import annotations

import random
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.deploy.servers import required

MOMENTS = (
    "slice_clusters_total",
    "slice_reference_words_total",
    "slice_word_errors_total",
    "slice_cluster_word_errors_squared_total",
    "slice_cluster_reference_words_squared_total",
    "slice_cluster_word_errors_times_reference_words_total",
)


class Session(NamedTuple):
    """A cluster: its words of one speaker resemble each other."""

    at: float
    replica: str
    group: str
    errors: int
    words: int


def sessions(count: int, *, begins: float, ends: float, rates: Mapping[str, float], seed: int) -> list[Session]:
    """Evenly over time, replicas and groups by chance; a session's rate varies by half of itself."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        group = rng.choice(list(rates))
        words = round(rng.lognormvariate(4.0, 0.6)) + 3
        rate = min(0.9, rates[group] * rng.lognormvariate(-0.125, 0.5))
        errors = sum(rng.random() < rate for _ in range(words))
        at = begins + (ends - begins) * (number + 0.5) / count
        found.append(Session(at, rng.choice("ab"), group, errors, words))
    return found


def exposed(
    given: Sequence[Session], times: Sequence[float], *, gone: Mapping[str, float], restarts: Mapping[str, float]
) -> Iterator[str]:
    """OpenMetrics: counters of each replica at these times, until it is `gone`; a restart begins again at 0."""
    rows: dict[str, dict[tuple[str, str, str], list[str]]] = {name: defaultdict(list) for name in MOMENTS}
    for replica in "ab":
        sums: dict[str, list[int]] = defaultdict(lambda: [0] * len(MOMENTS))
        mine = sorted(session for session in given if session.replica == replica)
        place, before = 0, times[0]
        for now in times:
            if now >= gone.get(replica, float("inf")):
                break
            if before < restarts.get(replica, -1.0) <= now:
                sums.clear()
            while place < len(mine) and mine[place].at <= now:
                one = mine[place]
                place += 1
                squares = (one.errors**2, one.words**2, one.errors * one.words)
                for group in ("all", one.group):
                    for column, added in enumerate((1, one.words, one.errors, *squares)):
                        sums[group][column] += added
            for label in ("all", *sorted({session.group for session in given})):
                dimension = "all" if label == "all" else "accent"
                for name, value in zip(MOMENTS, sums[label], strict=True):
                    rows[name][replica, dimension, label].append(f"{value} {now:.3f}")
            before = now
    for name, series in rows.items():
        yield f"# TYPE wervane_{name.removesuffix('_total')} counter"
        for (replica, dimension, name_of), samples in series.items():
            slice_ = f'customer="clinic",dimension="{dimension}",group="{name_of}"'
            labels = f'job="wervane",instance="{replica}:9464",{slice_}'
            more = ',type="substitution"' if name == "slice_word_errors_total" else ""
            yield from (f"wervane_{name}{{{labels}{more}}} {sample}" for sample in samples)
    yield "# EOF"


def put(lines: Iterator[str] | Sequence[str], folder: Path) -> Path:
    """A storage for Prometheus with these samples."""
    path = folder / "backfill.om"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    storage = folder / "prometheus"
    command = [required("promtool", install="package prometheus"), "tsdb", "create-blocks-from", "openmetrics"]
    done = subprocess.run(
        [*command, "--max-block-duration=720h", str(path), str(storage)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return storage
