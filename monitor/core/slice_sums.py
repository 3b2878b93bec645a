"""Decides what each slice exports as counters: sums over closed units that only ever grow and add up over replicas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from monitor.core.changes import Change
from monitor.core.estimators import WEIGHT_ONE, Moments
from monitor.core.records import Labels, Slice
from monitor.core.slicing import Slicing, slice_name
from monitor.core.snapshot import SliceMoments
from monitor.core.units import UnitRow


class SliceSums(msgspec.Struct):
    """One slice. Mutable, private to the table. Weighted sums are integers in units of WEIGHT_ONE.

    traffic   utterances taken in; matured: of those, in closed units; missing: of those, without any reference by then
    moments   over units with a reference, errors not capped
    """

    slice: Slice
    traffic: int = 0
    matured: int = 0
    missing: int = 0
    utterances: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    moments: Moments = msgspec.field(default_factory=Moments)
    last_reference_at: float | None = None
    weight: int = 0
    """Of the traffic: utterances that it stands for, in units of WEIGHT_ONE; from an older state only of later ones."""


class SliceTable:
    """Every slice of one customer."""

    def __init__(self, slicing: Slicing) -> None:
        self._slicing = slicing
        self._sums: dict[Slice, SliceSums] = {}
        self._dirty: set[Slice] = set()

    def taken_in(self, labels: Labels, weight: int) -> None:
        """Count an utterance as traffic."""
        for slice_ in self._slicing.slices_of(labels):
            sums = self._touch(slice_)
            sums.traffic += 1
            sums.weight += weight

    def referenced(self, labels: Labels, reference_at: float) -> None:
        """Note when a slice's newest reference was given."""
        for slice_ in self._slicing.slices_of(labels):
            sums = self._touch(slice_)
            sums.last_reference_at = max(reference_at, sums.last_reference_at or reference_at)

    def closed(self, rows: Iterable[UnitRow]) -> None:
        """Add closed units; the rows of a unit lie together."""
        for _, unit in groupby(rows, key=lambda row: row.unit):
            clusters: dict[Slice, tuple[int, int]] = {}
            for row in unit:
                for slice_ in self._slicing.slices_of(row.labels):
                    self._add(self._touch(slice_), row)
                    errors, words = clusters.get(slice_, (0, 0))
                    clusters[slice_] = (errors + row.errors, words + row.words)
            for slice_, (errors, words) in clusters.items():
                if words:
                    self._sums[slice_].moments.replace(0, 0, errors, words)

    def get(self, slice_: Slice) -> SliceSums | None:
        return self._sums.get(slice_)

    def __iter__(self) -> Iterator[SliceSums]:
        """Most general first."""
        return iter(sorted(self._sums.values(), key=lambda sums: (len(sums.slice), sums.slice)))

    def _touch(self, slice_: Slice) -> SliceSums:
        self._dirty.add(slice_)
        sums = self._sums.get(slice_)
        if sums is None:
            sums = self._sums[slice_] = SliceSums(slice_)
        return sums

    def _add(self, sums: SliceSums, row: UnitRow) -> None:
        sums.matured += row.seen
        sums.missing += row.seen - row.scored
        sums.utterances += row.labelled
        sums.substitutions += row.substitutions
        sums.deletions += row.deletions
        sums.insertions += row.insertions

    def changes(self) -> list[Change]:
        written = [
            Change("slices", slice_name(slice_), msgspec.msgpack.encode(self._sums[slice_]))
            for slice_ in sorted(self._dirty)
        ]
        self._dirty.clear()
        return written

    def restore(self, value: bytes) -> None:
        """Take back one slice, in any order."""
        sums = msgspec.msgpack.decode(value, type=SliceSums)
        self._sums[sums.slice] = sums


def exported(customer: str, sums: SliceSums) -> SliceMoments:
    """As floats, in words: with every probability at 1 they are whole numbers."""
    moments = sums.moments
    return SliceMoments(
        customer=customer,
        slice=sums.slice,
        traffic=sums.traffic,
        utterances=sums.utterances,
        reference_words=moments.w / WEIGHT_ONE,
        substitutions=sums.substitutions / WEIGHT_ONE,
        deletions=sums.deletions / WEIGHT_ONE,
        insertions=sums.insertions / WEIGHT_ONE,
        clusters=moments.clusters,
        errors_squared=moments.ee / WEIGHT_ONE**2,
        words_squared=moments.ww / WEIGHT_ONE**2,
        errors_times_words=moments.ew / WEIGHT_ONE**2,
    )
