"""Decides what each slice exports as counters: sums over closed units that only ever grow and add up over replicas.

Intuition   Sums are let go in batches: of every `release_min` parts (a part: a unit's corrected utterances with one
            combination of labels, so nearly always a session), not of every unit. What is shown of a slice is the sum
            over its first m parts, where m is a multiple of `release_min`, whatever came since.
Guarantee   Every part adds 1 to the number of parts of each slice that it is in, and all numbers shown are multiples of
            `release_min`. So is every sum and difference of them: of two moments, of all traffic and the groups of a
            dimension, of slices and their intersections, over any agents. No such combination is the sum over a set
            of 1 to `release_min` - 1 parts. A slice, all traffic too, lags by fewer than `release_min` parts.
Not covered A combination whose parts cancel in number (one of this group minus one of that) can be formed; a long
            session is one part, whoever speaks in it; and whoever knows all others of a batch knows the last one.
Source      Rounding to a base, as statistical offices publish small counts (Hundepool et al., Statistical Disclosure
            Control, 2012, chapter 5), here applied to a number of persons' sessions with all its sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from monitor.core.changes import Change
from monitor.core.estimators import WEIGHT_ONE, Moments
from monitor.core.open_units import UnitRow
from monitor.core.records import Labels, Slice
from monitor.core.slicing import Slicing, slice_name
from monitor.core.snapshot import SliceMoments


class Released(msgspec.Struct, array_like=True):
    """What of a slice's sums is let go.

    traffic  a multiple of `release_min`, as long as that stays what it is
    parts    of which the sums are, likewise
    """

    traffic: int = 0
    parts: int = 0
    utterances: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    moments: Moments = msgspec.field(default_factory=Moments)


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
    parts: int = 0
    """Units' corrected utterances with one combination of labels; from an older state only later ones."""
    released: Released | None = None
    """None only in a state of an older version, which showed everything at once."""


class SliceTable:
    """Every slice of one customer."""

    def __init__(self, slicing: Slicing, release_min: int = 1) -> None:
        """`release_min`: in batches of how many parts sums are let go; 1: at once."""
        self._slicing = slicing
        self._release_min = release_min
        self._sums: dict[Slice, SliceSums] = {}
        self._dirty: set[Slice] = set()

    def taken_in(self, labels: Labels, weight: int) -> None:
        """Count an utterance as traffic."""
        for slice_ in self._slicing.slices_of(labels):
            sums = self._touch(slice_)
            sums.traffic += 1
            sums.weight += weight
            if sums.traffic % self._release_min == 0:
                _released(sums).traffic = sums.traffic

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
                    sums = self._touch(slice_)
                    self._add(sums, row)
                    if row.words:
                        errors, words = clusters.get(slice_, (0, 0))
                        clusters[slice_] = (errors + row.errors, words + row.words)
                        sums.moments.replace(errors, words, *clusters[slice_])
                        self._count_part(sums)

    def _count_part(self, sums: SliceSums) -> None:
        """One more: at a multiple of `release_min` all of them are let go."""
        sums.parts += 1
        if sums.parts % self._release_min:
            return
        released = _released(sums)
        released.parts = sums.parts
        released.utterances = sums.utterances
        released.substitutions, released.deletions = sums.substitutions, sums.deletions
        released.insertions = sums.insertions
        released.moments = sums.moments + Moments()

    def get(self, slice_: Slice) -> SliceSums | None:
        return self._sums.get(slice_)

    def __iter__(self) -> Iterator[SliceSums]:
        """Most general first."""
        return iter(sorted(self._sums.values(), key=lambda sums: (len(sums.slice), sums.slice)))

    def _touch(self, slice_: Slice) -> SliceSums:
        self._dirty.add(slice_)
        sums = self._sums.get(slice_)
        if sums is None:
            sums = self._sums[slice_] = SliceSums(slice_, released=Released())
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
        _released(sums)
        self._sums[sums.slice] = sums


def _released(sums: SliceSums) -> Released:
    """What is let go; of a state of an older version, all that it has: it was shown."""
    if sums.released is None:
        kinds = (sums.substitutions, sums.deletions, sums.insertions)
        sums.released = Released(sums.traffic, 0, sums.utterances, *kinds, sums.moments + Moments())
    return sums.released


def exported(customer: str, sums: SliceSums) -> SliceMoments:
    """What is let go, as floats, in words: with every probability at 1 they are whole numbers."""
    released = _released(sums)
    moments = released.moments
    return SliceMoments(
        customer=customer,
        slice=sums.slice,
        traffic=released.traffic,
        utterances=released.utterances,
        reference_words=moments.w / WEIGHT_ONE,
        substitutions=released.substitutions / WEIGHT_ONE,
        deletions=released.deletions / WEIGHT_ONE,
        insertions=released.insertions / WEIGHT_ONE,
        clusters=moments.clusters,
        errors_squared=moments.ee / WEIGHT_ONE**2,
        words_squared=moments.ww / WEIGHT_ONE**2,
        errors_times_words=moments.ew / WEIGHT_ONE**2,
    )
