"""Decides how what DECIDE knows is handed to tools that look at it: its documents, without text, in one file.

A state folder holds them among everything else; a replay, whose state is thrown away, leaves this file instead.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import zstandard

from monitor.adapters import store_scan as scan
from monitor.adapters.files import write_atomically
from monitor.adapters.store_files import StateFiles, StateRefused, UnusableFile

FILE = "decisions.zst"
"""What a replay leaves."""

_BYTES_MAX = 1 << 31

Document = tuple[str, str, bytes]
"""(table, key, value)"""


class _File(msgspec.Struct):
    fingerprint: str
    documents: list[Document]


def write_decisions(folder: Path, fingerprint: str, documents: Iterable[Document]) -> None:
    """Leave the documents in a folder; the file is whole or as it was."""
    encoded = msgspec.msgpack.encode(_File(fingerprint, list(documents)))
    write_atomically(folder / FILE, zstandard.compress(encoded, 3))


def read_decisions(folder: Path, fingerprint: str) -> Iterator[Document]:
    """The documents that a replay or an agent left in a folder, ordered by table and key.

    Of an agent that runs they are those of its last rotation (at most ten minutes old): its state itself is locked.
    Raises StateRefused if there are none, or if other settings made them.
    """
    if (folder / FILE).is_file():
        yield from sorted(_left(folder / FILE, fingerprint))
        return
    states = [StateFiles(path) for path in sorted(folder.glob("*.db")) if path.stem.rpartition(".")[2] not in _ASIDE]
    if not states:
        raise StateRefused(f"{folder}: neither a state nor what a replay left; name the folder of one of them")
    found: list[Document] = []
    for files in states:
        found += _of_state(files, fingerprint)
    yield from sorted(found)


_ASIDE = frozenset({"previous", "arriving", "damaged"})
"""Generations that are not the current one."""


def _left(path: Path, fingerprint: str) -> list[Document]:
    try:
        encoded = zstandard.ZstdDecompressor().decompress(path.read_bytes(), max_output_size=_BYTES_MAX)
        left = msgspec.msgpack.decode(encoded, type=_File)
    except (zstandard.ZstdError, msgspec.MsgspecError):
        raise StateRefused(f"{path}: damaged, or of another version; replay again") from None
    if left.fingerprint != fingerprint:
        raise StateRefused(
            f"{path} was made under other settings (hash key, dimensions, unit, scoring); give their file by --config"
        )
    return left.documents


def _of_state(files: StateFiles, fingerprint: str) -> list[Document]:
    path = files.current if _stopped(files) else files.previous
    try:
        files.check_header(path)
        return scan.read_documents(path, fingerprint)
    except UnusableFile as damage:
        raise StateRefused(f"state {path} {damage}; an agent that starts with it recovers it or says why not") from None


def _stopped(files: StateFiles) -> bool:
    """Whether the current generation is nobody's, and whole without a log beside it."""
    log = files.current.with_name(files.current.name + "-wal")
    if log.exists() and log.stat().st_size:
        return False
    try:
        lock = os.open(files.lock_path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return files.current.exists()
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(lock)
