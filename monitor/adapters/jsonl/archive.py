"""Decides in which order an archive is replayed: by event time, whatever the order of its lines and files.

All lines are first spooled into a scratch database and sorted there, so that memory stays bounded. The file is
unlinked as soon as it is open: transcripts do not stay behind, however the process ends.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from monitor.adapters.jsonl.lines import (
    DigestingReader,
    EventTimeReader,
    InputProblem,
    InputUnreadable,
    Line,
    expand,
    read_lines,
)
from monitor.core.records import Kind

SOURCE = "archive"

STRAY_SECONDS = 400 * 86_400.0
"""The contract's age limit. A line farther than this from the middle of its archive is a wrong clock, not history."""

_KINDS = (Kind.TRANSCRIPT, Kind.REFERENCE)
"""At the same instant a transcript comes before a reference: no reference has to wait for nothing."""

_SPOOL_ROWS = 5_000


class SortedArchive:
    """Transcripts and references of JSON Lines files (plain, .gz, .zst; folders and globs), merged by event time.

    Order: event time, transcripts before references, SHA-256 of the line; lines without a readable time come last:
    they will be rejected, and at the beginning a few hundred of them would look like a broken producer. Reading happens
    in the constructor; InputUnreadable names the first file that is missing or damaged.
    """

    def __init__(
        self,
        transcripts: Sequence[Path | str],
        references: Sequence[Path | str],
        *,
        event_time: EventTimeReader,
        spool: Path | None = None,
        on_read: Callable[[int, int], None] | None = None,
    ) -> None:
        """`spool`: folder for the scratch file. `on_read(bytes read, bytes in all)` is called now and then."""
        self._event_time = event_time
        self._on_read = on_read
        self._position = 0
        self._files = [
            (kind, path)
            for kind, paths in zip(_KINDS, (transcripts, references), strict=True)
            for path in expand([*paths])
        ]
        self._bytes_total = sum(path.stat().st_size for _, path in self._files)
        self._bytes_done = 0
        self._database = _scratch_database(spool)
        try:
            self.signature = self._spool()
            self._rank()
        except BaseException:
            self._database.close()
            raise
        self.count, dated = self._numbers("SELECT count(*), count(at) FROM ranked")
        """Lines in all, for a progress bar."""
        self.median_at = self._at((dated + 1) // 2)
        """The middle of the archive; None if no line has a readable time."""
        self.first_at = self._at(1)
        self.last_at = self._at(dated)

    @property
    def exhausted(self) -> bool:
        return self._position >= self.count

    def poll(self, limit: int) -> list[Line]:
        rows: Iterator[tuple[int, float | None, int, int, int, bytes]] = self._database.execute(
            "SELECT rowid, at, kind, file, number, value FROM ranked WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (self._position, limit),
        )
        lines = [
            Line(SOURCE, rank - 1, rank, _KINDS[kind], value, at, _named(self._files[file][1]), number)
            for rank, at, kind, file, number, value in rows
        ]
        self._position += len(lines)
        return lines

    def seek(self, offsets: Mapping[str, int]) -> None:
        """Positions are ranks: they mean the same lines only while `signature` is the same."""
        self._position = offsets.get(SOURCE, 0)

    def problems(self) -> list[InputProblem]:
        return []

    def close(self) -> None:
        self._database.close()

    def clock(self, line: Line) -> float:
        """What time it is when this line arrives: its own event time, or the archive's middle for a stray one."""
        middle = self.median_at if self.median_at is not None else 0.0
        if line.event_at is None or abs(line.event_at - middle) > STRAY_SECONDS:
            return middle
        return line.event_at

    # ------------------------------------------------------------------------------------------------------ building
    def _spool(self) -> str:
        """Copy every line into the scratch database; the signature tells other files, or the same after a change."""
        parts: list[bytes] = []
        for index, (kind, path) in enumerate(self._files):
            try:
                raw = DigestingReader(path)
            except OSError as failure:
                raise InputUnreadable(path, failure.strerror or type(failure).__name__) from None
            with raw:
                self._spool_file(index, _KINDS.index(kind), path, raw)
                parts.append(f"{kind.value}\0{path.name}\0{raw.bytes_read}\0".encode() + raw.digest())
                self._bytes_done += raw.bytes_read
        self._report(0)
        return sha256(b"".join(sorted(parts))).hexdigest()

    def _spool_file(self, index: int, kind: int, path: Path, raw: DigestingReader) -> None:
        rows: list[tuple[float | None, int, bytes, int, int, bytes]] = []
        for number, value in read_lines(path, raw):
            rows.append((self._event_time(_KINDS[kind], value), kind, sha256(value).digest(), index, number, value))
            if len(rows) == _SPOOL_ROWS:
                self._insert(rows)
                self._report(raw.bytes_read)
        self._insert(rows)

    def _insert(self, rows: list[tuple[float | None, int, bytes, int, int, bytes]]) -> None:
        self._database.executemany("INSERT INTO spooled VALUES (?, ?, ?, ?, ?, ?)", rows)
        rows.clear()

    def _report(self, bytes_read: int) -> None:
        if self._on_read is not None:
            self._on_read(self._bytes_done + bytes_read, self._bytes_total)

    def _rank(self) -> None:
        """A line's rank is its row number: SQLite sorts on disk."""
        self._database.execute(
            "INSERT INTO ranked SELECT at, kind, file, number, value FROM spooled"
            " ORDER BY at IS NULL, at, kind, digest, file, number"
        )
        self._database.execute("DROP TABLE spooled")

    def _numbers(self, query: str) -> tuple[int, int]:
        first, second = self._database.execute(query).fetchone()
        return int(first), int(second)

    def _at(self, rank: int) -> float | None:
        row = self._database.execute("SELECT at FROM ranked WHERE rowid = ?", (rank,)).fetchone()
        return None if row is None or row[0] is None else float(row[0])


def _named(path: Path) -> str:
    """Folder and file: inputs of both kinds are often called alike."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def _scratch_database(folder: Path | None) -> sqlite3.Connection:
    """A database in a file without a name: it takes no journal, and is gone with the process."""
    descriptor, name = tempfile.mkstemp(prefix=".wervane-archive-", dir=folder)
    os.close(descriptor)
    database = sqlite3.connect(name, isolation_level=None)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -32768")
        database.execute("BEGIN")
        database.execute(
            "CREATE TABLE spooled (at REAL, kind INTEGER, digest BLOB, file INTEGER, number INTEGER, value BLOB)"
        )
        database.execute("CREATE TABLE ranked (at REAL, kind INTEGER, file INTEGER, number INTEGER, value BLOB)")
    finally:
        os.unlink(name)
    return database
