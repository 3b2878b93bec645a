"""What was acknowledged survives SIGKILL and a full disk, and the state is always at exactly one commit's border."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.adapters.store import StorageFailed, Store
from monitor.core.changes import Change
from tests.adapters.pair_table_contract import reference, transcript

ROOT = Path(__file__).resolve().parents[2]
ROWS_A_COMMIT = 40

CHILD = """
import sys
from pathlib import Path
from tests.adapters.test_store_crash import write_for_ever
write_for_ever(Path(sys.argv[1]), int(sys.argv[2]))
"""


def write_commit(store: Store, number: int) -> None:
    """Everything that a commit may hold, all of it derived from its number."""
    for row in range(ROWS_A_COMMIT):
        key = (number * ROWS_A_COMMIT + row) * 0x9E3779B97F4A7C15 % (1 << 64)
        store.put_transcript(transcript(key, event_at=float(number), text=f"sentence {number} {row} " * (row % 9)))
        if row % 3 == 0:
            store.put_reference(reference(key, event_at=float(number)))
        if row % 5 == 0:
            store.mark_referenced(key)
    store.expire_transcripts(float(number - 20), 1000)
    store.expire_references(float(number - 20), 1000)
    store.apply(
        [Change("cells", "total", number.to_bytes(8, "little")), Change("cells", f"{number % 7}", b"%d" % number)]
    )
    store.add_outbox("incidents", b"%d" % number)
    store.forget_outbox(number - 5)
    store.set_offset("t", number)
    store.commit()


def write_for_ever(folder: Path, file_bytes_max: int) -> None:
    """Commit and acknowledge until killed, or until a commit fails; each eighth commit rotates."""
    store = Store.open(folder / "partition-0.db", config_sha256="c")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if file_bytes_max:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))
    number = store.offsets().get("t", 0)
    while True:
        number += 1
        try:
            write_commit(store, number)
        except StorageFailed as failed:
            print("failed", number, failed, flush=True)
            return
        print("committed", number, flush=True)
        if number % 8 == 0 and not file_bytes_max:
            store.rotate()


def assert_exactly_one_commit(store: Store, number: int) -> None:
    """State, outbox and offsets are those of commit `number`, no row more or less."""
    assert store.offsets().get("t", 0) == number and store.recovered is None
    if number == 0:
        return
    documents = {key: value for _, key, value in store.documents()}
    assert documents["total"] == number.to_bytes(8, "little") and documents[f"{number % 7}"] == b"%d" % number
    assert [payload for _, _, payload in store.outbox()] == [
        b"%d" % kept for kept in range(max(1, number - 4), number + 1)
    ]
    kept_commits = min(number, 21)
    assert store._transcript_rows.totals.count == kept_commits * ROWS_A_COMMIT
    assert store.pending() == kept_commits * (ROWS_A_COMMIT - 14) and store.waiting() == 0


def test_acknowledged_commits_survive_kills(tmp_path: Path) -> None:
    """Ten kills at random moments, within commits, rotations and recovery alike."""
    rng = random.Random(20)
    acknowledged = 0
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        first = child.stdout.readline()  # it is past its start-up; from here the moment is random
        timer = threading.Timer(rng.uniform(0.0, 0.25), child.kill)
        timer.start()
        lines = [first, *child.stdout]
        assert child.wait() == -signal.SIGKILL
        timer.join()
        child.stdout.close()
        acknowledged = max(acknowledged, *(int(line.split()[1]) for line in lines if line.endswith("\n")))
        store = Store.open(tmp_path / "partition-0.db", config_sha256="c")
        assert store.offsets()["t"] in (acknowledged, acknowledged + 1)
        acknowledged = store.offsets()["t"]
        assert_exactly_one_commit(store, acknowledged)
        store.close()
    assert acknowledged > 30


def test_full_disk_fails_the_commit_and_loses_nothing(tmp_path: Path) -> None:
    """A limit on file size stands for the full disk: the write fails in the middle of a commit."""
    for limit in (150_000, 170_000, 260_000):
        finished = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path), str(limit)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        *committed, failed = finished.stdout.splitlines()
        assert failed.startswith("failed") and "partition-0.db: SQLITE_" in failed
        store = Store.open(tmp_path / "partition-0.db", config_sha256="c")
        last = store.offsets().get("t", 0)
        if committed:
            assert last in (int(committed[-1].split()[1]), int(failed.split()[1]))
        assert_exactly_one_commit(store, last)
        store.close()


def test_a_failed_store_stays_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an ambiguous commit nothing in memory can be trusted; going on would part it from the file."""
    store = Store.open(tmp_path / "partition-0.db", config_sha256="c")
    store.set_offset("t", 1)
    store.commit()
    store.set_offset("t", 2)
    store._database.connection.close()
    with pytest.raises(StorageFailed):
        store.commit()
    with pytest.raises(StorageFailed):
        store.commit()
    store.close()
    assert Store.open(tmp_path / "partition-0.db", config_sha256="c").offsets() == {"t": 1}


class Crash(BaseException):
    """The process ends here."""


EFFECTS = [(Path, "replace"), (Path, "unlink"), (os, "fsync"), (shutil, "copyfile")]


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the effect of this number on the folder, and those after it, not happen."""
    counted = 0

    def guarded(effect: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **named: object) -> object:
            nonlocal counted
            counted += 1
            if counted >= number:
                raise Crash
            return effect(*arguments, **named)

        return run

    for owner, name in EFFECTS:
        monkeypatch.setattr(owner, name, guarded(getattr(owner, name)))


def moved_after(folder: Path, case: Path, monkeypatch: pytest.MonkeyPatch, number: int, rotate: bool) -> bool:
    """Open (and rotate) the state, crash at effect `number`, leave in `case` what is on disk. False: it got through."""
    shutil.rmtree(case, ignore_errors=True)
    live = case.with_name("live")
    shutil.rmtree(live, ignore_errors=True)
    shutil.copytree(folder, live)
    store: Store | None = None
    crashed = False
    with monkeypatch.context() as patched:
        try:
            if rotate:
                store = Store.open(live / "partition-0.db", config_sha256="c")
            crash_at(patched, number)
            if store is None:
                store = Store.open(live / "partition-0.db", config_sha256="c")
            else:
                store.rotate()
        except Crash:
            crashed = True
    shutil.copytree(live, case)
    if store is not None:
        store.close()
    return crashed


def test_crash_between_any_two_moves_of_a_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is never a moment without a whole generation, and the erasure that was due stays due until it is done."""
    folder = tmp_path / "state"
    store = Store.open(folder / "partition-0.db", config_sha256="c")
    store.put_transcript(transcript(1, text="canary of the mine"))
    write_commit(store, 1)
    store.rotate()
    store.erase(1)
    store.commit()
    store.close()
    number = 1
    while moved_after(folder, tmp_path / "case", monkeypatch, number, rotate=True):
        store = Store.open(tmp_path / "case" / "partition-0.db", config_sha256="c")
        assert_exactly_one_commit(store, 1)
        assert store.transcript(1) is None
        if store.needs_rotation:
            store.rotate()
        assert not any(b"canary" in path.read_bytes() for path in (tmp_path / "case").iterdir())
        store.close()
        number += 1
    assert number > 10


def test_crash_between_any_two_moves_of_a_recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that is killed while it recovers must not refuse its state for ever."""
    folder = tmp_path / "state"
    store = Store.open(folder / "partition-0.db", config_sha256="c")
    write_commit(store, 1)
    store.rotate()
    write_commit(store, 2)
    store.close()
    (folder / "partition-0.db").write_bytes(b"\x00" * 9000)
    number = 1
    while moved_after(folder, tmp_path / "case", monkeypatch, number, rotate=False):
        store = Store.open(tmp_path / "case" / "partition-0.db", config_sha256="c")
        assert store.offsets() == {"t": 1} and store.recovered is not None
        store.close()
        assert not list((tmp_path / "case").glob("*.damaged*"))
        number += 1
    assert number > 8
