"""Decides what a line of an input is, and how files (plain, .gz, .zst) are cut into lines within bounded memory."""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias

import zstandard

from monitor.core.records import Kind

LINE_BYTES_MAX = 1 << 20
"""A longer line is outside the contract; its first byte beyond is kept so that it is seen to be too large."""

ENDINGS = (".jsonl", ".ndjson")
COMPRESSED_ENDINGS = ("", ".gz", ".zst")

EventTimeReader: TypeAlias = Callable[[Kind, bytes], float | None]
"""The event time that a line of this kind states (seconds, UTC), None if it cannot be read."""

KindReader: TypeAlias = Callable[[bytes], Kind]
"""Whether a line that came without a topic is a transcript or a reference."""


class Line(NamedTuple):
    """One line, where it was found, and where to go on after it."""

    source: str
    """The key of the offset to store; one offset for each source."""
    position: int
    """Of this line in its source: rank (archive), byte offset (directory) or number (standard input)."""
    next_position: int
    """What to store as the source's offset once this line's effects are durable."""
    kind: Kind
    value: bytes | None
    """Without the line's end. Of an over-long line only the first LINE_BYTES_MAX + 1 bytes, so that its digest is not
    that of the whole line. None: a topic's tombstone."""
    event_at: float | None
    file: str
    """Name of the file or topic, for a pointer."""
    place: int
    """Line number from 1 (archive, standard input), byte offset (directory) or offset (topic), for a pointer."""
    key: bytes | None = None
    """A topic's record key."""
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int = 0
    stands_for: float = 1.0
    """Of a topic that is sampled: how many messages like it there are."""


class InputProblem(NamedTuple):
    """Something about an input that must not pass in silence, though reading goes on."""

    source: str
    problem: str
    """truncated, replaced, vanished or unreadable; of topics: retention or poison."""
    position: int
    """How far the source had been read."""
    lost_bytes: int
    """Bytes that are known to be gone unread."""
    lost_records: int = 0
    """Of topics: records from `position` on that are gone unread."""


class InputUnreadable(Exception):
    """An input cannot be read: names the path and the cause, never content. Exit code 4."""

    def __init__(self, path: Path | str, cause: str) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = str(path)
        self.cause = cause


class LineSource(Protocol):
    """Where lines come from."""

    @property
    def exhausted(self) -> bool:
        """Whether no line will come any more."""

    def poll(self, limit: int) -> list[Line]:
        """At most `limit` lines that are there now, in order; never waits. InputUnreadable if the input is gone."""

    def seek(self, offsets: Mapping[str, int]) -> None:
        """Go on at these positions (source -> next position, as stored); sources not named start at the beginning."""

    def problems(self) -> list[InputProblem]:
        """What went wrong since the last call."""

    def close(self) -> None:
        """Release files; delete scratch."""


def expand(paths: tuple[Path | str, ...] | list[Path | str]) -> list[Path]:
    """The files meant by files, folders and globs, each once, sorted by name. InputUnreadable for one that means
    none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        matches = _matches(Path(path))
        if not matches:
            raise InputUnreadable(path, "no such file, or a folder or pattern without JSON Lines files")
        found.update(dict.fromkeys(matches))
    return sorted(found)


def _matches(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        endings = tuple(ending + compressed for ending in ENDINGS for compressed in COMPRESSED_ENDINGS)
        return [file for file in path.iterdir() if file.name.endswith(endings) and file.is_file()]
    return [Path(match) for match in glob.glob(str(path), recursive=True) if Path(match).is_file()]


class DigestingReader(io.RawIOBase):
    """Passes a file's bytes on, and keeps count and SHA-256 of them (as they are on disk, before decompression)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = io.FileIO(path)
        self._sha256 = hashlib.sha256()
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        content = self._file.read(size)
        self._sha256.update(content)
        self.bytes_read += len(content)
        return content

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def digest(self) -> bytes:
        return self._sha256.digest()

    def close(self) -> None:
        self._file.close()
        super().close()


class _ZstandardFrames(io.RawIOBase):
    """One or more zstd frames as one stream. zstandard's own stream reader takes a truncated file for a whole one."""

    _PIECE_BYTES = 4096
    """Compressed bytes at a time: at most 128 MiB of output even of a bomb, a few kilobytes of any real archive."""

    def __init__(self, compressed: io.RawIOBase) -> None:
        super().__init__()
        self._compressed = io.BufferedReader(compressed, 1 << 18)
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._frame_started = False
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._output:
            piece = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
                self._frame_started = False
            piece = piece or self._compressed.read(self._PIECE_BYTES)
            if not piece:
                if self._frame_started:
                    raise EOFError
                return 0
            self._frame_started = True
            self._output = memoryview(self._frame.decompress(piece))
        size = min(len(buffer), len(self._output))
        buffer[:size] = self._output[:size]
        self._output = self._output[size:]
        return size


def read_lines(path: Path, raw: DigestingReader) -> Iterator[tuple[int, bytes]]:
    """(number from 1, value) of each line that is not blank; InputUnreadable if the file is damaged or cut off."""
    try:
        for number, value in enumerate(cut(_decompressed(path, raw)), 1):
            if value.strip():
                yield number, value
    except (EOFError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile) as damage:
        raise InputUnreadable(path, f"damaged or cut off ({type(damage).__name__})") from None
    except OSError as failure:
        raise InputUnreadable(path, failure.strerror or type(failure).__name__) from None


def _decompressed(path: Path, raw: DigestingReader) -> BinaryIO | io.BufferedReader:
    if path.name.endswith(".gz"):
        return io.BufferedReader(gzip.GzipFile(fileobj=io.BufferedReader(raw, 1 << 18), mode="rb"), 1 << 18)
    if path.name.endswith(".zst"):
        return io.BufferedReader(_ZstandardFrames(raw), 1 << 18)
    return io.BufferedReader(raw, 1 << 18)


def cut(stream: BinaryIO | io.BufferedReader) -> Iterator[bytes]:
    """Lines without their end (LF or CR LF), blank ones too; over-long ones cut to LINE_BYTES_MAX + 1 bytes."""
    while line := stream.readline(LINE_BYTES_MAX + 2):
        if line.endswith(b"\n"):
            yield line.rstrip(b"\r\n")
            continue
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(1 << 18)
        yield line[: LINE_BYTES_MAX + 1]
