"""What the state file promises a caller: one transaction, refusal by name, and no byte of an erased text."""

from __future__ import annotations

import random
import sqlite3
import struct
from pathlib import Path

import pytest

from monitor.adapters import store_rows
from monitor.adapters.store import RotationFailed, StateRefused, Store
from monitor.core.changes import Change
from tests.adapters.pair_table_contract import reference, transcript


def open_store(folder: Path, fingerprint: str = "c") -> Store:
    return Store.open(folder / "partition-0.db", config_sha256=fingerprint)


def every_byte(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


# -------------------------------------------------------------------------------------------------------- transaction
def test_state_outbox_and_offsets_come_back(tmp_path: Path) -> None:
    """A restart goes on from exactly what was committed."""
    store = open_store(tmp_path)
    store.apply([Change("cells", "b", b"2"), Change("cells", "a", b"1"), Change("drift", "a", b"x" * 9000)])
    store.apply([Change("cells", "b", None), Change("cells", "never", None)])
    store.set_offset("transcripts.jsonl", 41)
    store.set_offset("transcripts.jsonl", 42)
    store.add_outbox("incidents", b"{}")
    store.commit()
    store.close()
    store = open_store(tmp_path)
    assert list(store.documents()) == [("cells", "a", b"1"), ("drift", "a", b"x" * 9000)]
    assert store.offsets() == {"transcripts.jsonl": 42}
    assert store.outbox() == [(1, "incidents", b"{}")] and store.recovered is None


def test_uncommitted_work_is_dropped_whole(tmp_path: Path) -> None:
    """An offset without its state would lose records, a state without its offset would count them twice."""
    store = open_store(tmp_path)
    store.set_offset("t", 1)
    store.commit()
    for key in range(3000):  # more than is gathered in memory, so that some rows have reached SQLite
        store.put_transcript(transcript(key))
    store.set_offset("t", 3000)
    store.add_outbox("rejected", b"{}")
    store.close()
    store = open_store(tmp_path)
    assert (store.offsets(), store.pending(), store.outbox()) == ({"t": 1}, 0, [])


def test_outbox_shows_committed_entries_and_numbers_them_once(tmp_path: Path) -> None:
    """Publish after durable; a number used again would look published."""
    store = open_store(tmp_path)
    store.add_outbox("incidents", b"1")
    assert store.outbox() == []
    store.commit()
    for payload in (b"2", b"3"):
        store.add_outbox("outcomes", payload)
    store.commit()
    assert store.outbox(after=1, limit=1) == [(2, "outcomes", b"2")]
    store.forget_outbox(3)
    store.commit()
    store.close()
    store = open_store(tmp_path)
    store.add_outbox("reviews", b"4")
    store.commit()
    assert store.outbox() == [(4, "reviews", b"4")]


def test_commit_without_changes_writes_nothing(tmp_path: Path) -> None:
    """An idle agent must not wear out a disk."""
    store = open_store(tmp_path)
    store.set_offset("t", 1)
    store.commit()
    before = store.commits
    store.commit()
    assert store.commits == before


# ------------------------------------------------------------------------------------------------------------ refusal
def test_second_process_is_kept_out(tmp_path: Path) -> None:
    """Two writers would count every record twice. The lock is per open file, so one process shows it."""
    store = open_store(tmp_path)
    with pytest.raises(StateRefused, match=r"another wervane process uses state .*partition-0\.db"):
        open_store(tmp_path)
    store.close()
    open_store(tmp_path).close()


def test_other_settings_are_refused_and_change_nothing(tmp_path: Path) -> None:
    """Under another hash key no reference would ever find its transcript."""
    open_store(tmp_path).close()
    with pytest.raises(StateRefused, match=r"partition-0\.db was made under other settings"):
        open_store(tmp_path, "another")
    open_store(tmp_path).close()


def test_newer_format_is_refused_though_the_older_generation_could_be_read(tmp_path: Path) -> None:
    """After a downgrade the older generation is not the truth."""
    open_store(tmp_path).close()
    path = tmp_path / "partition-0.db"
    body = bytearray(path.read_bytes())
    struct.pack_into(">I", body, 60, 2)
    path.write_bytes(body)
    with pytest.raises(StateRefused, match=r"partition-0\.db has format 2 and this wervane reads up to 1; run"):
        open_store(tmp_path)
    assert path.read_bytes() == bytes(body)


def test_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Someone may have given the wrong path."""
    path = tmp_path / "partition-0.db"
    path.write_text("my novel\n" * 100)
    with pytest.raises(
        StateRefused, match=r"is not an SQLite file, and its previous generation .* is missing; restore"
    ):
        open_store(tmp_path)
    assert path.read_text() == "my novel\n" * 100


# ----------------------------------------------------------------------------------------------------------- recovery
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage"])
def test_previous_generation_takes_the_place(tmp_path: Path, damage: str) -> None:
    """With its own older input positions, so that the caller reads the rest again."""
    store = open_store(tmp_path)
    store.put_transcript(transcript(1))
    store.set_offset("t", 1)
    store.commit()
    store.rotate()
    store.put_transcript(transcript(2))
    store.set_offset("t", 2)
    store.commit()
    store.close()
    path = tmp_path / "partition-0.db"
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"" if damage == "empty" else random.Random(1).randbytes(20_000))
    store = open_store(tmp_path)
    assert store.recovered is not None and store.recovered.startswith("previous generation: the current one is ")
    assert (store.offsets(), store.transcript(1), store.transcript(2)) == ({"t": 1}, transcript(1), None)
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".db") == [
        "partition-0.db",
        "partition-0.previous.db",
    ]
    assert open_store(tmp_path).recovered is None


def test_both_generations_damaged_is_refused_and_nothing_touched(tmp_path: Path) -> None:
    """What a forensic restore could still use must not be overwritten."""
    open_store(tmp_path).close()
    for name in ("partition-0.db", "partition-0.previous.db"):
        (tmp_path / name).write_bytes(b"SQLite format 3\x00" + bytes(5000))
    before = every_byte(tmp_path)
    with pytest.raises(
        StateRefused, match=r"partition-0\.db is not .*partition-0\.previous\.db is not .*move both away"
    ):
        open_store(tmp_path)
    assert every_byte(tmp_path) == before


def test_two_generations_exist_from_the_start(tmp_path: Path) -> None:
    """Before anything is published, one damaged file must not be the end."""
    open_store(tmp_path).close()
    assert (tmp_path / "partition-0.previous.db").exists()


def test_vanished_state_is_said(tmp_path: Path) -> None:
    """Starting anew is right when the files were moved away, and must not look like a normal start."""
    store = open_store(tmp_path)
    store.set_offset("t", 1)
    store.commit()
    store.close()
    for path in tmp_path.glob("*.db"):
        path.unlink()
    store = open_store(tmp_path)
    assert store.recovered is not None and "missing" in store.recovered and store.offsets() == {}


def test_failed_rotation_leaves_the_store_usable(tmp_path: Path) -> None:
    """A full disk must not stop ingest for want of a second copy."""
    store = open_store(tmp_path)
    store.set_offset("t", 1)
    store.commit()
    (tmp_path / "partition-0.previous.db").unlink()
    (tmp_path / "partition-0.previous.db").mkdir()
    with pytest.raises(RotationFailed, match=r"partition-0\.previous\.db"):
        store.rotate()
    store.set_offset("t", 2)
    store.commit()
    assert store.offsets() == {"t": 2}


# ------------------------------------------------------------------------------------------------------------ erasure
def canary(number: int, rng: random.Random) -> str:
    """A phrase no other file holds, short enough to be stored as it is, or (each third) long enough to compress."""
    return f"canary {number} {rng.getrandbits(80):x} sings" + " in the mine" * (12 if number % 3 == 0 else 0)


@pytest.mark.parametrize("way", ["erase", "expire", "drop_above"])
def test_no_byte_of_removed_text_remains(tmp_path: Path, way: str) -> None:
    """Neither in the file, its log, its loose pages, nor the previous generation, after the next rotation."""
    rng = random.Random(way)
    store = open_store(tmp_path)
    phrases = [canary(number, rng) for number in range(2000)]
    keys = [rng.getrandbits(64) for _ in phrases]
    for number in rng.sample(range(2000), 2000):
        store.put_transcript(transcript(keys[number], event_at=float(number), text=phrases[number]))
        if number % 4 == 0:
            store.put_reference(reference(keys[number], event_at=float(number), text=phrases[number]))
    store.commit()
    store.rotate()
    assert phrases[1].encode() in every_byte(tmp_path) and not store.needs_rotation
    if way == "erase":
        removed = set(rng.sample(range(2000), 700))
        for number in removed:
            store.erase(keys[number])
    elif way == "expire":
        removed = set(range(900))
        assert len(store.expire_transcripts(900.0, 5000)) == 900
        store.expire_references(900.0, 5000)
    else:
        removed = {number for number, key in enumerate(keys) if key >= 1 << 63}
        store.drop_above(1 << 63)
    store.commit()
    assert (store.needs_rotation, store.erasure_due) == (True, way == "erase")
    store.rotate()
    assert (store.needs_rotation, store.erasure_due) == (False, False)
    found = every_byte(tmp_path)
    for number, phrase in enumerate(phrases):
        packed, _ = store_rows._pack_text(phrase)
        assert (phrase.encode() in found) is (number not in removed and number % 3 != 0)
        assert (packed in found) is (number not in removed)
    assert [store.transcript(keys[number]) is None for number in range(2000)] == [
        number in removed for number in range(2000)
    ]


def test_no_remnant_of_rows_that_moved(tmp_path: Path) -> None:
    """SQLite leaves copies behind when it balances pages, though secure_delete is on: about 1 of 1,000 removed rows."""
    rng = random.Random(8)
    store = open_store(tmp_path)
    held: dict[int, str] = {}
    gone: list[str] = []
    for commit in range(1, 251):
        for _ in range(rng.randrange(60)):
            key = rng.getrandbits(64) if rng.random() < 0.5 or not held else rng.choice(list(held))
            gone.extend([held.pop(key)] if key in held else [])
            if rng.random() < 0.7:
                held[key] = f"{rng.getrandbits(64):x} " + rng.randbytes(rng.choice((10, 40, 150, 450, 1500))).hex()
                store.put_transcript(transcript(key, text=held[key][:90] if commit % 2 else held[key]))
            else:
                store.erase(key)
        store.commit()
    store.rotate()
    found = every_byte(tmp_path)
    assert [
        text for text in gone if text[:90].encode() in found or store_rows._pack_text(text)[0][12:60] in found
    ] == []


def test_replaced_text_is_removed_text(tmp_path: Path) -> None:
    """A conflict seals an utterance by replacing it with an empty one: its words must go too."""
    store = open_store(tmp_path)
    store.put_transcript(transcript(1, text="canary of the mine"))
    store.commit()
    store.rotate()
    store.put_transcript(transcript(1, text=""))
    store.commit()
    assert store.needs_rotation and not store.erasure_due
    store.rotate()
    assert b"canary" not in every_byte(tmp_path)


def test_due_erasure_survives_a_crash(tmp_path: Path) -> None:
    """The tombstone was acknowledged; a restart must not forget to wipe."""
    store = open_store(tmp_path)
    store.put_transcript(transcript(1))
    store.commit()
    store.erase(1)
    store.commit()
    store.close()
    assert open_store(tmp_path).erasure_due


def test_files_are_private_and_pages_wiped(tmp_path: Path) -> None:
    """They hold transcripts."""
    store = open_store(tmp_path)
    store.rotate()
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir() if not path.name.endswith("-wal")} == {0}
    connection: sqlite3.Connection = store._database.connection
    pragmas = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("secure_delete", "synchronous", "journal_mode")
    ]
    assert pragmas == [1, 2, "wal"]
