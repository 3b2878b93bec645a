"""Decides when rows reach SQLite: they are gathered and written many at a time, within the one open transaction.

A lookup asks the gathered rows first. The first failure of SQLite ends the use of this connection: what was committed
is then no longer known, and only opening the file again tells.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from monitor.adapters import store_rows as rows
from monitor.adapters.store_files import StorageFailed
from monitor.adapters.store_scan import Meta, TableSum, write_meta

BUFFER_ROWS = 1000
"""Rows gathered before they are handed to SQLite: at 100 a call costs twice as much a row, at 10,000 no less."""


_EVERYTHING = (1 << 63) - 1


class Database:
    """The connection with its one transaction."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self.connection = connection
        self.broken: str | None = None
        self.in_transaction = False

    def row(self, statement: str, number: int) -> bytes | None:
        self._refuse_if_broken()
        try:
            found: tuple[bytes] | None = self.connection.execute(statement, (number,)).fetchone()
        except sqlite3.Error as error:
            raise self.failed(error) from None
        return None if found is None else found[0]

    def rows(self, statement: str, *values: int) -> list[tuple[int, bytes]]:
        self._refuse_if_broken()
        try:
            found: list[tuple[int, bytes]] = self.connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self.failed(error) from None
        return found

    def write(self, statement: str, values: list[tuple[int, bytes]] | list[tuple[int]]) -> None:
        self._refuse_if_broken()
        try:
            self._begin()
            self.connection.executemany(statement, values)
        except sqlite3.Error as error:
            raise self.failed(error) from None

    def commit(self, meta: Meta) -> None:
        self._refuse_if_broken()
        try:
            self._begin()
            write_meta(self.connection, meta)
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self.failed(error) from None
        self.in_transaction = False

    def failed(self, error: Exception) -> StorageFailed:
        """Note that nothing more can be known through this connection."""
        cause = getattr(error, "sqlite_errorname", None) or str(error)
        self.broken = f"state {self._path}: {cause}"
        return StorageFailed(self.broken)

    def _begin(self) -> None:
        if not self.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")
            self.in_transaction = True

    def _refuse_if_broken(self) -> None:
        if self.broken is not None:
            raise StorageFailed(self.broken)


class Table:
    """One table of numbered rows, with the running count and sum of their checksums."""

    def __init__(self, database: Database, name: str, totals: TableSum) -> None:
        self._database = database
        self.totals = totals
        self._seed = rows.seed_of(name)
        self._gathered: dict[int, bytes | None] = {}
        self._select = f"SELECT row FROM {name} WHERE number = ?"
        self._select_range = f"SELECT number, row FROM {name} WHERE number > ? AND number <= ? ORDER BY number LIMIT ?"
        self._insert = f"INSERT OR REPLACE INTO {name} VALUES (?, ?)"
        self._delete = f"DELETE FROM {name} WHERE number = ?"
        self._delete_through = f"DELETE FROM {name} WHERE number <= ?"

    def next_number(self) -> int:
        """A number never used before in this table."""
        number = self.totals.next_number
        self.totals.next_number = number + 1
        return number

    def get(self, number: int) -> bytes:
        """The row as written, verified; a row must be there."""
        row = self._gathered.get(number)
        if row is not None:
            return row
        stored = self._database.row(self._select, number)
        if stored is None:
            raise self._database.failed(rows.Damaged(f"row {number} is missing"))
        self.payload(number, stored)
        return stored

    def payload(self, number: int, row: bytes) -> bytes:
        """What a row says, without its checksum."""
        try:
            return rows.verified(self._seed, number, row)
        except rows.Damaged as damage:
            raise self._database.failed(damage) from None

    def put(self, number: int, payload: bytes, replaced: bytes | None = None) -> bytes:
        """Write a row in place of `replaced`, the row that `get` gave, or of none. Returns the row."""
        checked = rows.checksum(self._seed, number, payload)
        totals = self.totals
        totals.total += checked
        if replaced is None:
            totals.count += 1
        else:
            totals.total -= rows.checksum_of(replaced)
        row = self._gathered[number] = rows.seal(checked, payload)
        if len(self._gathered) >= BUFFER_ROWS:
            self.flush()
        return row

    def delete(self, number: int, replaced: bytes) -> None:
        self.totals.count -= 1
        self.totals.total -= rows.checksum_of(replaced)
        self._gathered[number] = None
        if len(self._gathered) >= BUFFER_ROWS:
            self.flush()

    def delete_through(self, upto: int) -> bool:
        """Delete every row up to this number; whether there was one."""
        self.flush()
        found = self._database.rows(self._select_range, 0, upto, _EVERYTHING)
        for number, row in found:
            self.payload(number, row)
            self.totals.count -= 1
            self.totals.total -= rows.checksum_of(row)
        if found:
            self._database.write(self._delete_through, [(upto,)])
        return bool(found)

    def range(self, after: int, upto: int, limit: int) -> Iterator[tuple[int, bytes]]:
        """(number, payload) of the rows in after < number <= upto, ascending."""
        self.flush()
        for number, row in self._database.rows(self._select_range, after, upto, limit):
            yield number, self.payload(number, row)

    def flush(self) -> None:
        """Hand what was gathered to SQLite."""
        if not self._gathered:
            return
        written = [(number, row) for number, row in self._gathered.items() if row is not None]
        if written:
            self._database.write(self._insert, written)
        deleted = [(number,) for number, row in self._gathered.items() if row is None]
        if deleted:
            self._database.write(self._delete, deleted)
        self._gathered.clear()
