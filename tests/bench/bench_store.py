"""What the state file costs: microseconds a record beside a dictionary and bare SQLite, and what a million rows take.

    python tests/bench/bench_store.py [--rows 1000000] [--folder /some/disk]

Ratios are from one run. The budget: put and lookup 8 us each; a million pending utterances of about 60 characters in
150 MB on disk and 300 MB resident, opened and verified within 5 s.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from monitor.adapters.store import Store
from monitor.core.pairing_port import HeldTranscript

clock = time.process_time
"""Seconds of processor: neither a busy machine nor a slow fsync decides. --wall measures what a caller waits."""

COMMIT_EVERY = 2000
WORDS = (
    "the",
    "and",
    "ward",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "patient",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "his",
)


def transcripts(count: int, seed: int = 7) -> Iterator[HeldTranscript]:
    """Utterances of about 60 characters from 2,000 profiles, nearly in the order of their time."""
    rng = random.Random(seed)
    for number in range(count):
        text = " ".join(rng.choices(WORDS, k=17))[:60]
        yield HeldTranscript(
            key=rng.getrandbits(64),
            event_at=1.7e9 + number * 0.01 + rng.random(),
            customer=f"customer-{number % 5}",
            deployment=f"deployment-{number % 20}",
            labels=(f"accent-{number % 100}", f"site-{number % 4}", "unknown"),
            model="model-1",
            language="en",
            session=rng.randbytes(8).hex(),
            speaker=rng.randbytes(8).hex(),
            inclusion_probability=0.05 + rng.random() / 1000,
            digest=rng.randbytes(16),
            text=text,
        )


def bare_dictionary(held: list[HeldTranscript]) -> float:
    table: dict[int, HeldTranscript] = {}
    started = clock()
    for one in held:
        table.get(one.key)
        table[one.key] = one
    return clock() - started


def bare_sqlite(held: list[HeldTranscript], folder: Path) -> float:
    """The same bytes under a running number, without checksums, index or lookup: the floor of any durable form."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE held (number INTEGER PRIMARY KEY, row BLOB)")
    rows = [(number, bytes(80) + one.text.encode()) for number, one in enumerate(held)]
    started = clock()
    for start in range(0, len(rows), COMMIT_EVERY):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR REPLACE INTO held VALUES (?, ?)", rows[start : start + COMMIT_EVERY])
        connection.execute("COMMIT")
    elapsed = clock() - started
    connection.close()
    return elapsed


def store_costs(held: list[HeldTranscript], folder: Path) -> dict[str, float]:
    """Seconds for every record: duplicate check and put with commits, then lookups and marks in random order."""
    store = Store.open(folder / "partition-0.db", config_sha256="bench")
    started = clock()
    for number, one in enumerate(held, 1):
        store.transcript(one.key)
        store.put_transcript(one)
        if number % COMMIT_EVERY == 0:
            store.set_offset("bench", number)
            store.commit()
    store.commit()
    put = clock() - started
    keys = [one.key for one in held]
    random.Random(1).shuffle(keys)
    keys = keys[:50_000]
    scale = len(held) / len(keys)
    started = clock()
    for key in keys:
        store.transcript(key)
    lookup = (clock() - started) * scale
    started = clock()
    for number, key in enumerate(keys, 1):
        store.mark_referenced(key)
        if number % COMMIT_EVERY == 0:
            store.commit()
    store.commit()
    mark = (clock() - started) * scale
    started = clock()
    expired = len(store.expire_transcripts(float("inf"), 20_000))
    store.commit()
    expire = (clock() - started) * len(held) / expired
    store.close()
    return {"lookup miss + put + commit": put, "lookup, random": lookup, "mark_referenced": mark, "expire": expire}


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def fill(folder: Path, rows: int) -> None:
    clock = time.perf_counter
    store = Store.open(folder / "partition-0.db", config_sha256="bench")
    started = clock()
    for number, one in enumerate(transcripts(rows), 1):
        store.put_transcript(one)
        if number % COMMIT_EVERY == 0:
            store.commit()
    store.commit()
    print(f"  filled in {clock() - started:.1f} s, resident {resident_mb():.0f} MB")
    store.close()
    on_disk = (folder / "partition-0.db").stat().st_size
    print(f"  {rows} rows: {on_disk / 1e6:.1f} MB on disk, {on_disk / rows:.1f} bytes a row")


def reopen(folder: Path) -> None:
    clock = time.perf_counter
    before = resident_mb()
    started = clock()
    store = Store.open(folder / "partition-0.db", config_sha256="bench")
    opened = clock() - started
    print(f"  opened and verified in {opened:.2f} s; resident {resident_mb():.0f} MB ({before:.0f} before)")
    started = clock()
    store.rotate()
    print(f"  rotate: {clock() - started:.2f} s; resident {resident_mb():.0f} MB; pending {store.pending()}")
    store.erase(next(transcripts(1)).key)
    store.commit()
    started = clock()
    store.rotate()
    print(f"  rotate after an erasure: {clock() - started:.2f} s")
    store.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--throughput-rows", type=int, default=200_000)
    options.add_argument("--folder", type=Path, default=None)
    options.add_argument("--step", choices=("fill", "reopen"), default=None)
    options.add_argument("--wall", action="store_true")
    chosen = options.parse_args()
    if chosen.wall:
        global clock
        clock = time.perf_counter
    if chosen.step == "fill":
        fill(chosen.folder, chosen.rows)
        return
    if chosen.step == "reopen":
        reopen(chosen.folder)
        return
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        held = list(transcripts(chosen.throughput_rows))
        costs = {
            "bare dict: get + set": bare_dictionary(held),
            "bare sqlite: executemany + commit": bare_sqlite(held, Path(name)),
        }
        costs |= store_costs(held, Path(name))
        floor = costs["bare sqlite: executemany + commit"]
        for what, seconds in costs.items():
            print(f"{what:36} {seconds / len(held) * 1e6:7.2f} us a record, {seconds / floor:5.2f} x bare sqlite")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        print(f"{chosen.rows} pending utterances")
        for step in ("fill", "reopen"):  # each in a process of its own, so that resident memory is that of the store
            command = [sys.executable, __file__, "--step", step, "--folder", name, "--rows", str(chosen.rows)]
            subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


if __name__ == "__main__":
    main()
