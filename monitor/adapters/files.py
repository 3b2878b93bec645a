"""Decides how results reach files: append-only lines exactly once across crashes, and whole files never half written.

Lines come from the store's outbox. The order that makes them exactly once:

1. The state transaction with the outbox entries is committed.
2. `OutputFolder.append` writes the entries, `sync` makes them durable.
3. `lengths` is stored, and the entries are forgotten, in one later transaction.

After a crash anywhere, `OutputFolder` cuts each file back to the length last stored (whatever was written after it is
still in the outbox) and the entries are written again. A file that is shorter than it should be was changed by someone
else: it is continued as it is, and `lost_bytes` says so.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from monitor.adapters.instants import instant
from monitor.core.records import SliceRow, Verdict

STREAMS: Mapping[str, str] = {
    "incidents": "incidents.jsonl",
    "outcomes": "outcomes.jsonl",
    "reviews": "reviews.jsonl",
    "rejected": "rejected.jsonl",
}
"""Stream of the outbox -> file of commands.md."""

SLICE_COLUMNS = (
    "customer", "slice", "transcripts", "pairs", "reference_words", "hits", "substitutions", "deletions", "insertions",
    "wer", "wer_low", "wer_high", "clusters", "verdict", "detectable_gap", "last_reference_at",
)  # fmt: skip
"""Of slices.csv, as commands.md promises them."""


class OutputFolder:
    """The line files of one folder, continued at the lengths that the state remembers."""

    def __init__(self, folder: Path, lengths: Mapping[str, int], *, streams: Iterable[str] = STREAMS) -> None:
        """`lengths`: file name -> length at the last checkpoint; files not named start empty. OSError as it comes."""
        folder.mkdir(parents=True, exist_ok=True)
        self._files = {
            stream: LineFile(folder / STREAMS[stream], expected_length=lengths.get(STREAMS[stream], 0))
            for stream in streams
        }

    def append(self, entries: Iterable[tuple[int, str, bytes]]) -> None:
        """Write outbox entries (sequence, stream, line) in their order; those of streams without a file are
        dropped.
        """
        lines: dict[str, list[bytes]] = {}
        for _, stream, line in entries:
            lines.setdefault(stream, []).append(line)
        for stream, batch in lines.items():
            if stream in self._files:
                self._files[stream].append(batch)

    def sync(self) -> None:
        for file in self._files.values():
            file.sync()

    def lengths(self) -> dict[str, int]:
        """What to store with the state once `sync` has returned."""
        return {file.path.name: file.length for file in self._files.values()}

    def lost_bytes(self) -> dict[str, int]:
        """Files that were shorter than remembered, and by how much."""
        return {file.path.name: file.lost_bytes for file in self._files.values() if file.lost_bytes}

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class LineFile:
    """An append-only file of lines whose length is known; what lies beyond it does not count."""

    def __init__(self, path: Path, *, expected_length: int) -> None:
        """Open or create, and cut off what was written after the length that the state remembers."""
        self.path = path
        mode = 0o600 if path.name == STREAMS["reviews"] else 0o644  # the one file with text and ids
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        size = os.fstat(self._descriptor).st_size
        self.length = min(size, expected_length)
        self.lost_bytes = expected_length - self.length
        self._torn = size > self.length
        self._dirty = self._torn
        self._cut_torn_end()
        _sync_folder(path.parent)

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines (without their newline). After an OSError nothing was added, and the call may be repeated."""
        if not lines:
            return
        self._cut_torn_end()
        content = memoryview(b"\n".join(lines) + b"\n")
        self._torn = self._dirty = True
        written = 0
        while written < len(content):
            written += os.pwrite(self._descriptor, content[written:], self.length + written)
        self.length += written
        self._torn = False

    def sync(self) -> None:
        """Make what was appended durable."""
        if self._dirty:
            self._cut_torn_end()
            os.fsync(self._descriptor)
            self._dirty = False

    def close(self) -> None:
        os.close(self._descriptor)

    def _cut_torn_end(self) -> None:
        if self._torn:
            os.ftruncate(self._descriptor, self.length)
            self._torn = False


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file as a whole: a reader sees the old or the new content, also after a crash."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def slices_csv(rows: Iterable[SliceRow]) -> bytes:
    """slices.csv: one row for each slice, by customer, then from `all` to the deepest intersection, then by name."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(SLICE_COLUMNS)
    for row in sorted(rows, key=lambda row: (row.customer, row.depth, row.slice)):
        writer.writerow(_slice_cells(row))
    return table.getvalue().encode()


def _slice_cells(row: SliceRow) -> tuple[str | int, ...]:
    standing = row.standing
    return (
        row.customer,
        row.slice,
        row.transcripts,
        row.pairs,
        row.counts.reference_words,
        row.counts.hits,
        row.counts.substitutions,
        row.counts.deletions,
        row.counts.insertions,
        _decimal(row.wer),
        _decimal(row.wer_low),
        _decimal(row.wer_high),
        row.clusters,
        (standing.verdict if standing else Verdict.INSUFFICIENT).value,
        _decimal(standing.detectable_gap if standing else None),
        "" if row.last_reference_at is None else instant(row.last_reference_at),
    )


def _decimal(value: float | None) -> str:
    """Six decimals, never a negative zero; empty if unknown."""
    return "" if value is None else f"{round(value, 6) + 0.0:.6f}"


def summary_json(summary: Mapping[str, object]) -> bytes:
    """summary.json, indented for people. ValueError for NaN or an infinite number, which JSON does not have."""
    return json.dumps(summary, indent=2, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"


def _sync_folder(folder: Path) -> None:
    """Make the folder's entries durable: without it a new file's name may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
