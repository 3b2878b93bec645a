"""Decides whether a generation of state is whole: every page, every row, and that none is missing.

Opening reads every row once. Each must match its checksum, and the number and sum of checksums of each table must be
those that `meta` recorded in the same transaction; so a flipped bit, a vanished row and a page of an older commit are
all noticed. The same pass builds the indexes and counts that the store keeps in memory.
"""

from __future__ import annotations

import sqlite3
from array import array
from pathlib import Path

import msgspec
import numpy as np

from monitor.adapters import store_rows as rows
from monitor.adapters.store_files import APPLICATION_ID, FORMAT_VERSION, StateRefused, StorageFailed, UnusableFile
from monitor.adapters.store_index import SortedPairs

PROFILES, TRANSCRIPTS, REFERENCES, DOCUMENTS, OUTBOX = TABLES = (
    "profiles",
    "held_transcripts",
    "held_references",
    "documents",
    "outbox",
)
ROW_OVERHEAD_BYTES = 11
"""What SQLite adds to a row: its number, two lengths, a type and a pointer (measured: 10 to 12)."""

_SCHEMA = {name: f"CREATE TABLE {name} (number INTEGER PRIMARY KEY, row BLOB NOT NULL)" for name in (*TABLES, "meta")}
_META = rows.seed_of("meta")
_CACHE_KIB = 32 * 1024
"""Pages kept in memory: a quarter of a million rows, which is more than a day of references goes back to."""
_LOG_BYTES_MAX = 64 * 1024 * 1024
_WORLD = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
    }
)
"""Primary codes of errors that are the disk's or the system's, not the file's: moving the file aside would lose it."""
_SHORT_READ = 522  # SQLITE_IOERR_SHORT_READ: the one error of input that means the file ends too soon

UNREADABLE = (sqlite3.Error, TypeError, UnicodeDecodeError)
"""What a damaged file makes the sqlite3 module raise: its own errors, TypeError when a blob became a number or text,
and UnicodeDecodeError when it quotes a damaged definition in a message."""


class TableSum(msgspec.Struct):
    """How many rows a table has, the sum of their checksums (any order), and the next free number."""

    count: int = 0
    total: int = 0
    next_number: int = 1


class Meta(msgspec.Struct):
    """What is written once a commit, in its transaction."""

    fingerprint: str
    commit: int
    removed: bool
    """Rows with text were removed and their bytes may still lie about."""
    erased: bool
    """As `removed`, because someone asked for it."""
    tables: dict[str, TableSum]


class Loaded:
    """What one pass over a generation found."""

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self.profiles: dict[int, rows.Profile] = {}
        self.profile_uses: dict[int, int] = {}
        self.documents: dict[tuple[str, str], int] = {}
        self.transcripts = SortedPairs("Q")
        """(key, number)"""
        self.transcript_times = SortedPairs("d")
        """(event_at, key)"""
        self.references = SortedPairs("Q")
        """(key, number)"""
        self.waiting_times = SortedPairs("d")
        """(event_at, key) of references without transcript"""
        self.pending = 0
        self.held_bytes = 0


# ------------------------------------------------------------------------------------------------------- connections
def connect(path: Path) -> sqlite3.Connection:
    """Open the current generation for its one writer."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0.0, cached_statements=64)
    try:
        # EXCLUSIVE before the first read keeps the log's index in memory: no -shm file, no page of it to go bad.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        mode: tuple[str] = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode[0] != "wal":
            raise UnusableFile("cannot be opened with a write-ahead log")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES_MAX}")
    except (*UNREADABLE, UnusableFile):
        connection.close()
        raise
    return connection


def create(path: Path, fingerprint: str) -> None:
    """Write an empty generation."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA page_size=4096")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
        connection.execute("BEGIN")
        for statement in _SCHEMA.values():
            connection.execute(statement)
        meta = Meta(fingerprint, 0, False, False, {name: TableSum() for name in TABLES})
        write_meta(connection, meta)
        connection.execute("COMMIT")
    finally:
        connection.close()


def write_meta(connection: sqlite3.Connection, meta: Meta) -> None:
    payload = msgspec.msgpack.encode(meta)
    row = rows.seal(rows.checksum(_META, 1, payload), payload)
    connection.execute("INSERT OR REPLACE INTO meta VALUES (1, ?)", (row,))


# -------------------------------------------------------------------------------------------------------------- scan
def load(path: Path, connection: sqlite3.Connection, fingerprint: str) -> Loaded:
    """Verify a generation and load what the store keeps in memory.

    Raises UnusableFile if it is damaged, StateRefused if it belongs to other settings, StorageFailed if the disk fails.
    """
    try:
        loaded = Loaded(_read_meta(connection))
        _check_fingerprint(path, loaded.meta, fingerprint)
        _check_pages(connection)
        _load_small(connection, loaded)
        _load_held(connection, loaded)
        return loaded
    except rows.Damaged as damage:
        raise UnusableFile(f"is damaged: {damage}") from None
    except UNREADABLE as error:
        raise failure_of(path, error) from None


def check_copy(path: Path, meta: Meta) -> None:
    """Verify that a generation just written holds exactly the rows that the store counts.

    Raises UnusableFile if it does not, StorageFailed if the disk fails.
    """
    connection = _connect_unchanging(path)
    try:
        for name in TABLES:
            _check_sum(name, meta, *_sum_of(connection, name))
    except rows.Damaged as damage:
        raise UnusableFile(f"is damaged: {damage}") from None
    except UNREADABLE as error:
        raise failure_of(path, error) from None
    finally:
        connection.close()


def verify(path: Path, fingerprint: str) -> None:
    """Verify a generation that nobody has open, without changing a byte of it. Raises as `load` does."""
    connection = _connect_unchanging(path)
    try:
        load(path, connection, fingerprint)
    finally:
        connection.close()


def read_documents(path: Path, fingerprint: str) -> list[tuple[str, str, bytes]]:
    """The documents of a generation that nobody changes, verified row by row. Raises as `load` does."""
    connection = _connect_unchanging(path)
    try:
        meta = _read_meta(connection)
        _check_fingerprint(path, meta, fingerprint)
        found, total, seed = [], 0, rows.seed_of(DOCUMENTS)
        for number, row in connection.execute(f"SELECT number, row FROM {DOCUMENTS}"):
            found.append(rows.decode_document(rows.verified(seed, number, row)))
            total += rows.checksum_of(row)
        _check_sum(DOCUMENTS, meta, len(found), total)
        return found
    except rows.Damaged as damage:
        raise UnusableFile(f"is damaged: {damage}") from None
    except UNREADABLE as error:
        raise failure_of(path, error) from None
    finally:
        connection.close()


def failure_of(path: Path, error: Exception) -> Exception:
    """Whose fault an error of SQLite is: the file's (UnusableFile) or the disk's (StorageFailed)."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int) and code != _SHORT_READ and code & 0xFF in _WORLD:
        return StorageFailed(f"state {path}: {getattr(error, 'sqlite_errorname', 'SQLITE_ERROR')}")
    return UnusableFile(f"is damaged: {getattr(error, 'sqlite_errorname', type(error).__name__)}")


def _connect_unchanging(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    connection.execute("PRAGMA cell_size_check=ON")
    return connection


def _read_meta(connection: sqlite3.Connection) -> Meta:
    schema: dict[str, str] = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
    if schema != _SCHEMA:
        raise rows.Damaged("the tables are not those of this format")
    found: list[tuple[int, bytes]] = connection.execute("SELECT number, row FROM meta").fetchall()
    if [number for number, _ in found] != [1]:
        raise rows.Damaged("meta is not one row")
    try:
        meta = msgspec.msgpack.decode(rows.verified(_META, 1, found[0][1]), type=Meta)
    except msgspec.DecodeError:
        raise rows.Damaged("meta cannot be read") from None
    if set(meta.tables) != set(TABLES):
        raise rows.Damaged("meta does not count the tables of this format")
    return meta


def _check_fingerprint(path: Path, meta: Meta, fingerprint: str) -> None:
    if meta.fingerprint != fingerprint:
        raise StateRefused(
            f"state {path} was made under other settings that cannot change under it (hash key, dimensions, "
            f"unit, scoring); restore those settings, or move {path.parent} away to start a new series from the "
            "inputs' beginning (baselines exported under another scoring are refused, too)"
        )


def _check_pages(connection: sqlite3.Connection) -> None:
    """Without this a broken list of free pages would be noticed only after it had overwritten a used one."""
    verdict: list[tuple[str]] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != [("ok",)]:
        raise rows.Damaged("SQLite's own check of its pages fails")


def _load_small(connection: sqlite3.Connection, loaded: Loaded) -> None:
    for name in (PROFILES, DOCUMENTS, OUTBOX):
        seed, count, total = rows.seed_of(name), 0, 0
        for number, row in connection.execute(f"SELECT number, row FROM {name} ORDER BY number"):
            payload = rows.verified(seed, number, row)
            count += 1
            total += rows.checksum_of(row)
            if name == PROFILES:
                loaded.profiles[number] = rows.decode_profile(payload)
            elif name == DOCUMENTS:
                table, key, _ = rows.decode_document(payload)
                loaded.documents[table, key] = number
        _check_sum(name, loaded.meta, count, total)


def _load_held(connection: sqlite3.Connection, loaded: Loaded) -> None:
    """Read transcripts and references: a million of them, so the loop is written out, and the indexes built at once."""
    columns: dict[str, tuple[array[int], array[float], array[int]]] = {}
    uses = [0] * (1 << 16)
    for name in (TRANSCRIPTS, REFERENCES):
        seed, count, total, size = rows.seed_of(name), 0, 0, 0
        keys, times, numbers = columns.setdefault(name, (array("Q"), array("d"), array("Q")))
        verified, key_and_time, profile_of_row = rows.verified, rows.key_and_time, rows.profile_of_row
        transcripts = name == TRANSCRIPTS
        for number, row in connection.execute(f"SELECT number, row FROM {name} ORDER BY number"):
            verified(seed, number, row)
            count += 1
            total += int.from_bytes(row[:4], "little")
            size += len(row)
            key, event_at = key_and_time(row)
            keys.append(key)
            times.append(event_at)
            numbers.append(number)
            if transcripts:
                profile = profile_of_row(row)
                if profile is not None:
                    uses[profile] += 1
        _check_sum(name, loaded.meta, count, total)
        loaded.held_bytes += size + ROW_OVERHEAD_BYTES * count
    loaded.profile_uses = {number: uses[number] for number in loaded.profiles}
    if sum(loaded.profile_uses.values()) != sum(uses):
        raise rows.Damaged("a transcript refers to a profile that is missing")
    _index_held(loaded, columns)


def _index_held(loaded: Loaded, columns: dict[str, tuple[array[int], array[float], array[int]]]) -> None:
    keys, times, numbers = columns[TRANSCRIPTS]
    transcript_keys = np.frombuffer(keys, dtype=np.uint64)
    loaded.transcripts = SortedPairs.of("Q", transcript_keys, np.frombuffer(numbers, dtype=np.uint64))
    loaded.transcript_times = SortedPairs.of("d", np.frombuffer(times, dtype=np.float64), transcript_keys)
    keys, times, numbers = columns[REFERENCES]
    reference_keys = np.frombuffer(keys, dtype=np.uint64)
    loaded.references = SortedPairs.of("Q", reference_keys, np.frombuffer(numbers, dtype=np.uint64))
    waiting = ~np.isin(reference_keys, transcript_keys)
    times_waiting = np.frombuffer(times, dtype=np.float64)[waiting]
    loaded.waiting_times = SortedPairs.of("d", times_waiting, reference_keys[waiting])
    loaded.pending = int(np.count_nonzero(~np.isin(transcript_keys, reference_keys)))


def _sum_of(connection: sqlite3.Connection, name: str) -> tuple[int, int]:
    seed, count, total = rows.seed_of(name), 0, 0
    for number, row in connection.execute(f"SELECT number, row FROM {name}"):
        rows.verified(seed, number, row)
        count += 1
        total += rows.checksum_of(row)
    return count, total


def _check_sum(name: str, meta: Meta, count: int, total: int) -> None:
    expected = meta.tables[name]
    if (count, total) != (expected.count, expected.total):
        raise rows.Damaged(f"{name} has {count} rows with another sum than the {expected.count} written")
