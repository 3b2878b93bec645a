"""Decides which closed units are remembered, and in what shape statistics read them.

Rows are kept by the hour of the look that closed them, oldest first; whole hours are forgotten beyond the horizon or
the bound. A row is written once and never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Generic, TypeVar

import msgspec
import numpy as np

from monitor.core.cells import ERRORS_CAP, Cells, IntArray, LabelArray
from monitor.core.changes import Change
from monitor.core.open_units import UnitRow
from monitor.core.records import Labels
from monitor.core.units import Units

ROWS_A_DOCUMENT = 2_000
"""Rows in one document (about 150 kB): the look at which maturity becomes known closes days at once."""


class CellRow(msgspec.Struct, array_like=True, frozen=True):
    """What the statistics keep of a labelled row; weighted integers, errors capped, their kinds not."""

    ended_at: float
    unit: str
    labels: Labels
    person: str
    utterances: int
    errors: int
    words: int
    plain_words: int
    first_at: float = 0.0
    """Event time of the unit's first utterance; 0 in rows that an earlier version wrote."""
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    speaker: str = ""
    """Keyed hash of the one speaker who was labelled in it; "" if there is none, or in rows of an earlier version."""


class TrafficRow(msgspec.Struct, array_like=True, frozen=True):
    """What coverage keeps of a row, labelled or not."""

    ended_at: float
    unit: str
    labels: Labels
    first_at: float
    seen: int
    weight: int
    scored: int
    labelled: int


def cell_of(row: UnitRow) -> CellRow | None:
    """The row for the statistics; None when nothing in it was labelled."""
    if not row.words:
        return None
    errors = min(row.errors, int(ERRORS_CAP * 2) * row.words // 2)
    kinds = (row.substitutions, row.deletions, row.insertions)
    sums = (row.labelled, errors, row.words, row.plain_words)
    return CellRow(row.ended_at, row.unit, row.labels, row.person, *sums, row.first_at, *kinds, row.speaker)


def traffic_of(row: UnitRow) -> TrafficRow:
    """The row for coverage."""
    return TrafficRow(row.ended_at, row.unit, row.labels, row.first_at, row.seen, row.traffic, row.scored, row.labelled)


def open_traffic(units: Units) -> list[TrafficRow]:
    """The same of units that are still open: a label that vanishes is seen before anything matures."""
    rows: list[TrafficRow] = []
    for unit, members in units.traffic():
        sums: dict[Labels, tuple[int, int]] = {}
        for labels, number, weight in members:
            seen, total = sums.get(labels, (0, 0))
            sums[labels] = (seen + number, total + weight)
        for labels, (seen, total) in sorted(sums.items()):
            rows.append(TrafficRow(unit.ended_at, unit.identity, labels, unit.first_at, seen, total, 0, 0))
    return rows


def units_of(rows: Iterable[CellRow]) -> Iterator[list[CellRow]]:
    """Rows of one unit lie together."""
    for _, unit in groupby(rows, key=lambda row: row.unit):
        yield list(unit)


RowType = TypeVar("RowType", CellRow, TrafficRow)


class Log(Generic[RowType]):
    """Rows in closing order, in bounded documents."""

    def __init__(self, table: str, row_type: type[RowType], rows_max: int) -> None:
        self._table = table
        self._decoder: msgspec.msgpack.Decoder[list[RowType]] = msgspec.msgpack.Decoder(list[row_type])  # type: ignore[valid-type]
        self._rows_max = rows_max
        self._chunks: dict[str, list[RowType]] = {}
        self._dirty: set[str] = set()
        self.rows = 0
        self.forgotten = 0
        """Rows forgotten because of the bound, before their time."""
        self.forgotten_look = float("-inf")
        """Newest look of which rows were forgotten."""
        self.version = 0
        """Rises with every change: what was computed from the rows is good for as long as it stays."""

    def append(self, look_at: float, rows: Sequence[RowType]) -> None:
        """Keep the rows that closed at this look."""
        for part, start in enumerate(range(0, len(rows), ROWS_A_DOCUMENT)):
            key = f"{int(look_at):012d}.{part:04d}"
            self._chunks[key] = list(rows[start : start + ROWS_A_DOCUMENT])
            self._dirty.add(key)
        if rows:
            self.rows += len(rows)
            self.version += 1

    def forget(self, before: float) -> None:
        """Drop what ended by `before`, and the oldest beyond the bound."""
        for key in list(self._chunks):
            chunk = self._chunks[key]
            if chunk[-1].ended_at > before and self.rows <= self._rows_max:
                break
            if chunk[-1].ended_at > before:
                self.forgotten += len(chunk)
            del self._chunks[key]
            self._dirty.add(key)
            self.forgotten_look = float(key.partition(".")[0])
            self.rows -= len(chunk)
            self.version += 1

    def __iter__(self) -> Iterator[RowType]:
        for chunk in self._chunks.values():
            yield from chunk

    def looks(self) -> list[float]:
        """Looks of which rows are held, oldest first."""
        return [float(look) for look in dict.fromkeys(key.partition(".")[0] for key in self._chunks)]

    def after(self, look: float) -> Iterator[tuple[float, list[RowType]]]:
        """(look, rows that closed at it) of every later look, oldest first."""
        for at, keys in groupby(self._chunks, key=lambda key: float(key.partition(".")[0])):
            if at > look:
                yield at, [row for key in keys for row in self._chunks[key]]

    def changes(self) -> list[Change]:
        written = []
        for key in sorted(self._dirty):
            chunk = self._chunks.get(key)
            written.append(Change(self._table, key, None if chunk is None else msgspec.msgpack.encode(chunk)))
        self._dirty.clear()
        return written

    def restore(self, key: str, value: bytes) -> None:
        """Take back one document, in any order."""
        chunk = self._decoder.decode(value)
        self._chunks[key] = chunk
        if len(self._chunks) > 1:
            *_, before, last = self._chunks
            if last < before:
                self._chunks = dict(sorted(self._chunks.items()))
        self.rows += len(chunk)
        self.version += 1


def to_cells(rows: Sequence[CellRow], names: Sequence[str]) -> Cells:
    """Arrays over rows in order. Weights are relative: their sum over all words is the number of words.

    Shares, rates and gaps are of weighted sums; how much evidence there is, of the words that were corrected.
    """
    words = np.array([row.words for row in rows], np.float64)
    errors = np.array([row.errors for row in rows], np.float64)
    weighted = sum(row.words for row in rows)
    unit_scale = sum(row.plain_words for row in rows) / weighted if weighted else 1.0
    return Cells(
        unit=_numbered([row.unit for row in rows]),
        errors=errors * unit_scale,
        words=words * unit_scale,
        ended_at=np.array([row.ended_at for row in rows], np.float64),
        utterances=np.array([row.utterances for row in rows], np.int64),
        labels=_labels([row.labels for row in rows], names),
        person=_numbered([row.person for row in rows]),
        first_at=np.array([row.first_at for row in rows], np.float64),
        kinds=np.array([(row.substitutions, row.deletions, row.insertions) for row in rows], np.float64).reshape(-1, 3)
        * unit_scale,
        spoken=np.array([row.plain_words for row in rows], np.float64),
    )


def _numbered(names: list[str]) -> IntArray:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def _labels(rows: list[Labels], names: Sequence[str]) -> dict[str, LabelArray]:
    columns: dict[str, LabelArray] = {}
    for position, name in enumerate(names):
        column = np.empty(len(rows), dtype=object)
        column[:] = [labels[position] for labels in rows]
        columns[name] = column
    return columns
