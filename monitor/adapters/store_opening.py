"""Decides which generation of the state is opened, and says what was recovered from; store_files.py names them."""

from __future__ import annotations

import sqlite3

from monitor.adapters import store_scan as scan
from monitor.adapters.store_files import StateFiles, StateRefused, StorageFailed, UnusableFile


def open_current(files: StateFiles, fingerprint: str) -> tuple[scan.Loaded, sqlite3.Connection, str | None]:
    """Open the current generation, or the previous one in its place; says what was recovered from."""
    last_commit = files.read_commit()
    if not files.current.exists() and not files.previous.exists():
        files.forget_companions()
        files.remove_leftovers()
        scan.create(files.arriving, fingerprint)
        files.arrive(files.current)
        loaded, connection = _open_verified(files, fingerprint)
        return loaded, connection, "nothing: both generations are missing, started anew" if last_commit else None
    try:
        loaded, connection = _open_verified(files, fingerprint)
    except UnusableFile as damage:
        _verify_previous(files, fingerprint, str(damage))
        files.replace_damaged()
        try:
            loaded, connection = _open_verified(files, fingerprint)
        except UnusableFile as again:
            raise StorageFailed(f"state {files.current}: a verified copy reads back damaged ({again})") from None
        return loaded, connection, f"previous generation: the current one {damage}"
    files.remove_leftovers()
    if last_commit is not None and loaded.meta.commit < last_commit:
        lost = last_commit - loaded.meta.commit
        return loaded, connection, f"an earlier commit: the last {lost} are missing from a damaged write-ahead log"
    return loaded, connection, None


def _open_verified(files: StateFiles, fingerprint: str) -> tuple[scan.Loaded, sqlite3.Connection]:
    files.check_header(files.current)
    try:
        connection = scan.connect(files.current)
    except scan.UNREADABLE as error:
        raise scan.failure_of(files.current, error) from None
    try:
        return scan.load(files.current, connection, fingerprint), connection
    except (UnusableFile, StateRefused, StorageFailed):
        connection.close()
        raise


def _verify_previous(files: StateFiles, fingerprint: str, damage: str) -> None:
    """Make sure that the previous generation is whole before it takes the place; else refuse, and touch nothing."""
    try:
        files.check_header(files.previous)
        scan.verify(files.previous, fingerprint)
    except UnusableFile as also:
        raise StateRefused(
            f"state {files.current} {damage}, and its previous generation {files.previous} {also}; restore one of them "
            f"from a backup, or move both away to start from the inputs' beginning"
        ) from None
