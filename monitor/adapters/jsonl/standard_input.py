"""Decides which lines came on standard input, and whether each is a transcript or a reference (by a function given).

Resuming does not skip: a pipe has no beginning to count from. Line numbers go on from the stored one, so that offsets
never run backwards; a file piped in again is read again, and its duplicates have no effect.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeAlias

from monitor.adapters.jsonl.lines import LINE_BYTES_MAX, EventTimeReader, InputProblem, KindReader, Line

SOURCE = "stdin"
READ_BYTES = 1 << 18

PieceReader: TypeAlias = Callable[[int], bytes | None]
"""At most so many bytes: b"" at the end, None if there is nothing now."""


def read_when_ready(descriptor: int) -> PieceReader:
    """Reads a file descriptor without ever waiting for it."""

    def read(size: int) -> bytes | None:
        ready, _, _ = select.select([descriptor], [], [], 0)
        return os.read(descriptor, size) if ready else None

    return read


class StdinLines:
    """Lines of a stream that can only be read once, from start to end."""

    def __init__(self, read: PieceReader, *, event_time: EventTimeReader, kind_of: KindReader) -> None:
        self._read = read
        self._event_time = event_time
        self._kind_of = kind_of
        self._ahead: deque[Line] = deque()
        self._begun = bytearray()
        self._number = 0
        self._ended = False

    @property
    def exhausted(self) -> bool:
        return self._ended and not self._ahead

    def poll(self, limit: int) -> list[Line]:
        while len(self._ahead) < limit and not self._ended:
            piece = self._read(READ_BYTES)
            if piece is None:
                break
            self._cut(piece)
        return [self._ahead.popleft() for _ in range(min(limit, len(self._ahead)))]

    def seek(self, offsets: Mapping[str, int]) -> None:
        self._number = offsets.get(SOURCE, 0)

    def problems(self) -> list[InputProblem]:
        return []

    def close(self) -> None:
        self._ahead.clear()

    def _cut(self, piece: bytes) -> None:
        if not piece:
            self._ended = True
            if self._begun:
                self._end_line()
            return
        *ends, rest = piece.split(b"\n")
        for part in ends:
            self._begin(part)
            self._end_line()
        self._begin(rest)

    def _begin(self, part: bytes) -> None:
        self._begun += part[: LINE_BYTES_MAX + 1 - len(self._begun)]

    def _end_line(self) -> None:
        value = bytes(self._begun).rstrip(b"\r")
        self._begun.clear()
        self._number += 1
        if value.strip():
            kind = self._kind_of(value)
            at = self._event_time(kind, value)
            self._ahead.append(Line(SOURCE, self._number - 1, self._number, kind, value, at, SOURCE, self._number))
