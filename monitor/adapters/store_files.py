"""Decides which files make up one partition's state, and how one replaces another with no moment of neither.

    partition-0.db            the current generation, with partition-0.db-wal beside it while open
    partition-0.previous.db   a whole and verified older generation, with the input positions of its time
    partition-0.commit        number of the last acknowledged commit: shows that the write-ahead log lost some
    partition-0.lock          held by the one process that uses the state

A damaged current generation is moved to `partition-0.damaged.db` while the previous one is copied into its place, and
deleted right after: it holds transcripts, and nobody would think of erasing them there. If neither can be used,
nothing is touched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import zlib
from pathlib import Path

APPLICATION_ID = 0x77657276  # "werv", at byte 68 of the file
FORMAT_VERSION = 1
_VERSIONS_MAX = 1000  # no release will get there: more is damage, not a newer version
_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100


class StateRefused(Exception):
    """The state cannot be used as it is; the message names the file and the next step. Exit code 4."""


class StorageFailed(Exception):
    """A write may or may not have happened: drop what is in memory, close, and open again."""


class RotationFailed(StorageFailed):
    """The older generation could not be renewed; the store goes on, and `rotate` may be tried again later."""


class UnusableFile(Exception):
    """This generation is damaged or missing; the message says how it was noticed."""


class StateFiles:
    """The names of one partition's files, the lock on them, and the moves between them."""

    def __init__(self, path: Path) -> None:
        stem = path.with_suffix("")
        self.current = path
        self.previous = stem.with_name(stem.name + ".previous.db")
        self.arriving = stem.with_name(stem.name + ".arriving.db")
        """A generation being written; whatever is left of one at opening is rubbish."""
        self.damaged = stem.with_name(stem.name + ".damaged.db")
        self._commit_path = stem.with_name(stem.name + ".commit")
        self.lock_path = stem.with_name(stem.name + ".lock")
        self._lock_file = -1
        self._commit_file = -1

    # ------------------------------------------------------------------------------------------------------- lock
    def lock(self) -> None:
        """Take the lock, or raise StateRefused if another process has it."""
        try:
            self.current.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._commit_file = os.open(self._commit_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.unlock()
            raise StateRefused(
                f"state {self.current}: {error.strerror}; make its folder writable for this user or choose another"
            ) from None
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.unlock()
            raise StateRefused(
                f"another wervane process uses state {self.current}; stop it, or give this one its own state folder"
            ) from None

    def unlock(self) -> None:
        for opened in (self._commit_file, self._lock_file):
            if opened >= 0:
                os.close(opened)
        self._lock_file = self._commit_file = -1

    # --------------------------------------------------------------------------------------- last acknowledged commit
    def write_commit(self, number: int) -> None:
        """Note an acknowledged commit.

        Not synced: after a power cut it may lag behind, which claims less than is true. It never runs ahead.
        """
        body = number.to_bytes(8, "little")
        try:
            os.pwrite(self._commit_file, body + zlib.crc32(body).to_bytes(4, "little"), 0)
        except OSError as error:
            raise StorageFailed(f"{self._commit_path}: {error.strerror}") from None

    def read_commit(self) -> int | None:
        """The last acknowledged commit, or None if that is not known."""
        noted = os.pread(self._commit_file, 13, 0)
        if len(noted) != 12 or zlib.crc32(noted[:8]).to_bytes(4, "little") != noted[8:]:
            return None
        return int.from_bytes(noted[:8], "little")

    # -------------------------------------------------------------------------------------------------- generations
    def remove_leftovers(self) -> None:
        """Delete what an interrupted move left behind: each such file may hold text."""
        for path in (self.arriving, self.damaged):
            for name in (path, *_companions(path)):
                name.unlink(missing_ok=True)

    def check_header(self, path: Path) -> None:
        """Read a generation's first bytes, before SQLite may change any.

        Raises UnusableFile if it is missing or no state, StateRefused if a newer wervane wrote it.
        """
        try:
            with path.open("rb") as opened:
                header = opened.read(_HEADER_BYTES)
        except FileNotFoundError:
            raise UnusableFile("is missing") from None
        except OSError as error:
            raise StateRefused(
                f"state {path}: {error.strerror}; make it readable for this user, then start again"
            ) from None
        if not header:
            raise UnusableFile("is empty")
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            raise UnusableFile("is not an SQLite file")
        if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
            raise UnusableFile("is not a wervane state file")
        if header[18] not in (1, 2) or header[19] not in (1, 2):
            raise UnusableFile("has a damaged header")
        version = int.from_bytes(header[60:64], "big")
        if FORMAT_VERSION < version <= _VERSIONS_MAX:
            raise StateRefused(
                f"state {path} has format {version} and this wervane reads up to {FORMAT_VERSION}; "
                f"run the version that wrote it or a later one, "
                f"or move {path.parent} away to start from the inputs' beginning"
            )
        if version != FORMAT_VERSION:
            raise UnusableFile("has a damaged header")

    def replace_damaged(self) -> None:
        """Put a copy of the previous generation in the current one's place. The caller has verified it."""
        for path, aside in zip(
            (self.current, *_companions(self.current)), (self.damaged, *_companions(self.damaged)), strict=True
        ):
            if path.exists():
                path.replace(aside)
        sync_folder(self.current.parent)
        self.copy_previous()
        self.remove_leftovers()

    def copy_previous(self) -> None:
        """Replace the current generation, which nobody may have open, by a copy of the previous one."""
        for companion in _companions(self.current):
            assert not companion.exists() or companion.stat().st_size == 0, "a log would be replayed into another file"
            companion.unlink(missing_ok=True)
        shutil.copyfile(self.previous, self.arriving)
        self.arrive(self.current)

    def arrive(self, place: Path) -> None:
        """Make the arriving generation durable, then let it take its place at one stroke."""
        self.arriving.chmod(0o600)
        opened = os.open(self.arriving, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
        self.arriving.replace(place)
        sync_folder(place.parent)

    def forget_companions(self) -> None:
        """Before a first generation is made: a stray log must not be replayed into it."""
        for companion in _companions(self.current):
            companion.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _companions(path: Path) -> tuple[Path, Path, Path]:
    """What SQLite keeps beside a database."""
    return (
        path.with_name(path.name + "-wal"),
        path.with_name(path.name + "-shm"),
        path.with_name(path.name + "-journal"),
    )
