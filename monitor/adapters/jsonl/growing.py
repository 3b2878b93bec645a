"""Decides what has been added to folders of append-only JSON Lines files since the last look.

Files appear and grow; a line counts once its end is there. How far each file was read is a byte offset, stored by the
agent with the state. A file that became shorter or was replaced is read from its beginning, one that vanished unread
is given up; each is reported, never passed over. A renamed file is a new file: reading it again does no harm
(duplicates have no effect), but costs time.
"""

from __future__ import annotations

import fnmatch
import heapq
import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from monitor.adapters.jsonl.lines import (
    LINE_BYTES_MAX,
    EventTimeReader,
    InputProblem,
    InputUnreadable,
    Line,
)
from monitor.core.records import Kind

READ_BYTES = 1 << 18
"""Of one file at a time."""

FILES_AT_ONCE = 32
"""Files of a kind that are merged at a time, first names first. With READ_BYTES it bounds what is read ahead at 16 MiB
however long the backlog is; half as many would put a day of hourly files out of order."""

_KIND_ORDER = {Kind.TRANSCRIPT: 0, Kind.REFERENCE: 1}


class GrowingDirectory:
    """Lines of growing files in two folders, merged by event time as far as they are there."""

    def __init__(self, transcripts: Path | str, references: Path | str, *, event_time: EventTimeReader) -> None:
        """Each path is a folder (its *.jsonl), a folder with a pattern as last part, or one file."""
        self._folders = (
            _Folder.named(Path(transcripts), Kind.TRANSCRIPT),
            _Folder.named(Path(references), Kind.REFERENCE),
        )
        self._event_time = event_time
        self._offsets: dict[str, int] = {}
        self._files: dict[str, _GrowingFile] = {}
        self._problems: list[InputProblem] = []

    @property
    def exhausted(self) -> bool:
        return False

    def poll(self, limit: int) -> list[Line]:
        active = self._look()
        heads = [file.head() for file in active if self._fill(file)]
        heapq.heapify(heads)
        lines: list[Line] = []
        while heads and len(lines) < limit:
            file = heads[0].file
            lines.append(file.ahead.popleft())
            if file.ahead or self._fill(file):
                heapq.heapreplace(heads, file.head())
            else:
                heapq.heappop(heads)
        return lines

    def seek(self, offsets: Mapping[str, int]) -> None:
        self._offsets = dict(offsets)
        self._files.clear()

    def problems(self) -> list[InputProblem]:
        problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        self._files.clear()

    # ------------------------------------------------------------------------------------------------------- looking
    def _look(self) -> list[_GrowingFile]:
        """Notice new, longer, shorter, replaced and vanished files; the files to read from now, a bounded number."""
        active: list[_GrowingFile] = []
        present: set[str] = set()
        for folder in self._folders:
            readable = 0
            for source, path in folder.files():
                try:
                    status = path.stat()
                except OSError:
                    continue  # it went between listing and asking: vanished, which the next look will say
                present.add(source)
                file = self._files.get(source)
                if file is None:
                    file = _GrowingFile(path, folder.kind, source, self._offsets.get(source, 0), status.st_ino)
                    self._files[source] = file
                self._problems.extend(file.notice(status.st_size, status.st_ino))
                if file.has_more and readable < FILES_AT_ONCE:
                    readable += 1
                    active.append(file)
        for source in self._files.keys() - present:
            file = self._files[source]
            self._problems.extend(file.notice_gone())
            if file.ahead:
                active.append(file)
            else:
                del self._files[source]
        return active

    def _fill(self, file: _GrowingFile) -> bool:
        """Whether the file has a line to give, reading on if it must."""
        while not file.ahead and file.has_more:
            try:
                file.read_on(self._event_time)
            except OSError:
                self._problems.extend(file.notice_unreadable())
                break
        return bool(file.ahead)


class _Head(NamedTuple):
    """The first line of a file, in the order that files are merged in."""

    at: float
    kind: int
    source: str
    position: int
    file: _GrowingFile


class _GrowingFile:
    """One file: the lines read ahead of the agent, and where to read on."""

    def __init__(self, path: Path, kind: Kind, source: str, position: int, inode: int) -> None:
        self.path = path
        self.kind = kind
        self.source = source
        self.ahead: deque[Line] = deque()
        self._inode = inode
        self._size = position
        self._read_at = position
        self._line_at = position
        """Where the line begins whose end is not there yet; its bytes so far, at most one more than allowed:"""
        self._begun = bytearray()
        self._broken = False

    @property
    def has_more(self) -> bool:
        return bool(self.ahead) or self._size > self._read_at

    def head(self) -> _Head:
        line = self.ahead[0]
        at = float("-inf") if line.event_at is None else line.event_at
        return _Head(at, _KIND_ORDER[self.kind], self.source, line.position, self)

    def notice(self, size: int, inode: int) -> Iterator[InputProblem]:
        """Take in the file's size and identity; yield what is wrong with them."""
        if inode != self._inode or size < self._read_at:
            yield self._problem("truncated" if inode == self._inode else "replaced")
            # Lines already read ahead are still given, but the offset after them means nothing in the new content.
            self.ahead = deque(line._replace(next_position=0) for line in self.ahead)
            self._begun.clear()
            self._read_at = self._line_at = 0
        self._size, self._inode = size, inode

    def notice_gone(self) -> Iterator[InputProblem]:
        if self._size > self._line_at:
            yield self._problem("vanished")
            self._size = self._read_at = self._line_at

    def notice_unreadable(self) -> Iterator[InputProblem]:
        """Once for as long as it lasts: the file is tried again at each poll."""
        if not self._broken:
            self._broken = True
            yield self._problem("unreadable")

    def _problem(self, problem: str) -> InputProblem:
        return InputProblem(self.source, problem, self._line_at, max(0, self._size - self._line_at))

    def read_on(self, event_time: EventTimeReader) -> None:
        """Cut the next piece of the file into whole lines. OSError if it cannot be read."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._read_at)
            piece = file.read(READ_BYTES)
        self._broken = False
        if not piece:  # shorter than a moment ago: the next look will say so
            self._size = self._read_at
            return
        begin = 0
        while (end := piece.find(b"\n", begin)) >= 0:
            self._begin(piece[begin:end])
            begin = end + 1
            self._end(self._read_at + begin, event_time)
        self._begin(piece[begin:])
        self._read_at += len(piece)

    def _begin(self, part: bytes) -> None:
        self._begun += part[: LINE_BYTES_MAX + 1 - len(self._begun)]

    def _end(self, next_line_at: int, event_time: EventTimeReader) -> None:
        value = bytes(self._begun).rstrip(b"\r")
        self._begun.clear()
        if value.strip():
            at = event_time(self.kind, value)
            self.ahead.append(
                Line(
                    self.source,
                    self._line_at,
                    next_line_at,
                    self.kind,
                    value,
                    at,
                    f"{self.path.parent.name}/{self.path.name}",
                    self._line_at,
                )
            )
        self._line_at = next_line_at


class _Folder(NamedTuple):
    """Where files of one kind appear."""

    kind: Kind
    path: Path
    pattern: str

    @classmethod
    def named(cls, path: Path, kind: Kind) -> _Folder:
        if path.is_dir():
            return cls(kind, path, "*.jsonl")
        return cls(kind, path.parent, path.name)

    def files(self) -> list[tuple[str, Path]]:
        """(source, path) of each file that is there, by name."""
        try:
            with os.scandir(self.path) as entries:
                names = [
                    entry.name for entry in entries if fnmatch.fnmatchcase(entry.name, self.pattern) and entry.is_file()
                ]
        except OSError as failure:
            raise InputUnreadable(self.path, failure.strerror or type(failure).__name__) from None
        return [(f"{self.kind.value}s/{name}", self.path / name) for name in sorted(names)]
