"""Decides what a verified claim becomes: a slice of its own, which learns, bets and is shown like a declared one.

Claims overlap, so each is a dimension by itself, `claim-c3`, whose one value is the claim's predicate; whoever is
outside is `_other`, whoever cannot be placed `unknown`. It is computed from the labels of closed units, which never
change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from monitor.core.cells import Cells
from monitor.core.estimators import WEIGHT_ONE, Moments
from monitor.core.groupings import CLAIM_PREFIX, dense, mask_of
from monitor.core.predicates import Predicate, holds, masks, parse
from monitor.core.records import OTHER, UNKNOWN, Labels, Record, Slice

Verified = tuple[str, str]
"""A claim's id, and its predicate in canonical form."""


class ClaimedSums(Record, frozen=True):
    """One claim's slice over the closed units that are remembered, weighted like all estimates."""

    slice: Slice
    utterances: int
    words: int
    substitutions: int
    deletions: int
    insertions: int
    moments: Moments


class StandingClaims:
    """The verified claims of one customer."""

    def __init__(self, names: Sequence[str], verified: Sequence[Verified]) -> None:
        """`names`: what labels are. Raises PredicateError."""
        self._names = tuple(names)
        self._predicates: dict[Slice, Predicate] = {
            ((f"{CLAIM_PREFIX}{identity}", where),): parse(where, names) for identity, where in verified
        }
        self.dimensions = tuple(slice_[0][0] for slice_ in self._predicates)
        self._sums: tuple[Cells, list[ClaimedSums]] | None = None

    def lost(self, slices: Iterable[Slice]) -> list[Slice]:
        """Those that are of a claim which is none of these any more."""
        return [
            one
            for one in slices
            if any(name.startswith(CLAIM_PREFIX) for name, _ in one) and one not in self._predicates
        ]

    @property
    def axes(self) -> list[tuple[str, ...]]:
        return [(name,) for name in self.dimensions]

    def slices_of(self, labels: Labels) -> tuple[Slice, ...]:
        """Claims' slices that contain these labels."""
        return tuple(
            slice_ for slice_, predicate in self._predicates.items() if holds(predicate, self._names, labels) is True
        )

    def with_columns(self, cells: Cells) -> Cells:
        """The cells with a column of labels for each claim."""
        if not self._predicates:
            return cells
        columns = dict(cells.labels)
        for slice_, predicate in self._predicates.items():
            inside, outside = masks(predicate, cells.labels, len(cells))
            column = np.full(len(cells), UNKNOWN, dtype=object)
            column[outside], column[inside] = OTHER, slice_[0][1]
            columns[slice_[0][0]] = column
        return dataclasses.replace(cells, labels=columns)

    def sums(self, cells: Cells) -> list[ClaimedSums]:
        """Each claim's, made anew when units have closed. `cells`: with their columns."""
        if self._sums is None or self._sums[0] is not cells:
            self._sums = cells, [_sums(cells, slice_) for slice_ in self._predicates]
        return self._sums[1]


def _sums(cells: Cells, slice_: Slice) -> ClaimedSums:
    own = cells.select(mask_of(cells, slice_))
    moments = Moments()
    if len(own):
        unit = dense(own.unit)
        for errors, words in zip(np.bincount(unit, own.errors), np.bincount(unit, own.words), strict=True):
            moments.replace(0, 0, round(float(errors) * WEIGHT_ONE), round(float(words) * WEIGHT_ONE))
    kinds = own.kinds.sum(axis=0)
    return ClaimedSums(
        slice=slice_,
        utterances=int(own.utterances.sum()),
        words=round(float(own.words.sum())),
        substitutions=round(float(kinds[0])),
        deletions=round(float(kinds[1])),
        insertions=round(float(kinds[2])),
        moments=moments,
    )
