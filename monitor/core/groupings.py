"""Decides how cells are added up: by slice, stratum and age, in a few array operations for any number of slices.

The slices along one tuple of dimensions are disjoint, so one number for each cell says which of them it is in. All sums
are bincounts over (slice, age bin); a window is a running sum over its bins. No matrix of slices x cells ever exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.cells import BoolArray, Cells, FloatArray, IntArray, LabelArray
from monitor.core.records import OTHER, UNKNOWN, Slice
from monitor.core.slicing import ALL

DAY = 86400.0
WINDOWS = (0.125, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 16.0)
"""Days: the candidate answers to "since when", 1.4 to 2 apart, so that a change between two of them keeps most of its
likelihood. Twice as many cost twice the time and find little more; half as many date a change badly. Those below a
day are for a fault that hits everybody: its alarms come within hours, and a day that is mostly good explains none."""
WHOLE_DAYS = np.array(WINDOWS) >= 1.0
"""Windows that hold a day's mix of traffic."""
SHORT_TOLLS = np.where(WHOLE_DAYS, 0.0, 2.0)
"""Nats that a shorter window must be better by: as much as a slice that takes over a name. At half, an hour's mix names
the incident; at double, a fault that hits everybody is told as one of its parts until a day is over."""
CLAIM_PREFIX = "claim-"
"""Of the dimensions that are verified claims: who is outside of one is no slice."""
BINS = len(WINDOWS) + 1
"""Disjoint age bins: younger than each window, and the past before all of them. Bins 0..j together are window j."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """The slices along one tuple of dimensions; `code` (n,) is the position of each cell's slice, -1 for none."""

    depth: int
    slices: tuple[Slice, ...]
    code: IntArray


@dataclass(frozen=True, slots=True)
class Candidate:
    """A slice present in the cells; `mask` (n,) is where."""

    slice: Slice
    depth: int
    mask: BoolArray


# ------------------------------------------------------------------------------------------------------------- slices
def groupings(cells: Cells, axes: Sequence[tuple[str, ...]]) -> list[Grouping]:
    """ALL first, then one grouping for each of `axes`, one-way before two-way, of slices that have a cell.

    A dimension with one value in these cells is left out: its slice is ALL under another name. `unknown` and `_other`
    are one-way slices, never part of an intersection: what their members share is only that nobody said more.
    """
    coded = {name: encode(cells.labels[name]) for names in axes for name in names}
    found = [Grouping(0, (ALL,), np.zeros(len(cells), np.int64))]
    for names in sorted(axes, key=len):
        if names and all(len(coded[name][0]) > 1 for name in names):
            found.append(_grouping(names, [coded[name] for name in names], len(cells)))
    return found


def _grouping(names: tuple[str, ...], coded: list[tuple[list[str], IntArray]], n: int) -> Grouping:
    code = np.zeros(n, np.int64)
    inside = np.ones(n, np.bool_)
    for values, numbers in coded:
        code = code * len(values) + numbers
        if len(names) > 1 or names[0].startswith(CLAIM_PREFIX):
            inside &= np.array([value not in (UNKNOWN, OTHER) for value in values])[numbers]
    present, position = np.unique(code[inside], return_inverse=True)
    result = np.full(n, -1, np.int64)
    result[inside] = position
    slices: list[Slice] = []
    for number in present.tolist():
        pairs = []
        for name, (values, _) in zip(reversed(names), reversed(coded), strict=True):
            number, position_of_value = divmod(number, len(values))
            pairs.append((name, values[position_of_value]))
        slices.append(tuple(sorted(pairs)))
    return Grouping(len(names), tuple(slices), result)


def candidates(cells: Cells, axes: Sequence[tuple[str, ...]]) -> list[Candidate]:
    """The slices of `groupings`, each with its mask: for callers that look at a few of them."""
    return [
        Candidate(slice_, grouping.depth, grouping.code == number)
        for grouping in groupings(cells, axes)
        for number, slice_ in enumerate(grouping.slices)
    ]


def mask_of(cells: Cells, slice_: Slice) -> BoolArray:
    """Where (n,) cells lie in a slice: nowhere, if a claim that it names is no more."""
    mask = np.ones(len(cells), np.bool_)
    for name, value in slice_:
        column = cells.labels.get(name)
        mask &= np.asarray(column == value, np.bool_) if column is not None else False
    return mask


# ------------------------------------------------------------------------------------------------------------- strata
def strata(cells: Cells, names: Sequence[str], epoch: IntArray | None = None) -> IntArray:
    """Stratum (n,), 0.. without holes: the combination of labels `names`, apart in every epoch."""
    code = np.zeros(len(cells), np.int64) if epoch is None else dense(epoch)
    for name in names:
        values, numbers = encode(cells.labels[name])
        code = dense(code * len(values) + numbers)
    return code


def encode(values: LabelArray) -> tuple[list[str], IntArray]:
    """Distinct values in order, and the position (n,) of each cell's. A dictionary is faster than sorting objects."""
    listed: list[str] = values.tolist()
    names = sorted(set(listed))
    number = {value: position for position, value in enumerate(names)}
    return names, np.fromiter((number[value] for value in listed), np.int64, len(listed))


def dense(numbers: IntArray) -> IntArray:
    """The same partition, numbered 0.. without holes."""
    return np.unique(numbers, return_inverse=True)[1].astype(np.int64)


# ------------------------------------------------------------------------------------------------------------- windows
def age_bins(ended_at: FloatArray, now: float) -> IntArray:
    """Bin (n,) of each cell's age: 0 is younger than the first window, the last is before all windows."""
    return np.searchsorted(np.array(WINDOWS, np.float64), (now - ended_at) / DAY, side="right").astype(np.int64)


def window_sums(grouping: Grouping, bins: IntArray, columns: Sequence[FloatArray]) -> FloatArray:
    """Sums (columns, slices, bins), running from the youngest bin."""
    inside = np.flatnonzero(grouping.code >= 0)
    size = len(grouping.slices)
    place = grouping.code[inside] * BINS + bins[inside]
    sums = [np.bincount(place, column[inside], size * BINS).reshape(size, BINS) for column in columns]
    return np.asarray(np.cumsum(np.stack(sums), axis=2))


def unit_counts(grouping: Grouping, unit: IntArray, bins: IntArray) -> IntArray:
    """Distinct units (slices, bins), running. All cells of a unit end together, so a unit lies in one bin.

    unit  (n,) numbered 0.. without holes
    """
    slice_of, unit_of, _ = unit_pairs(grouping, unit)
    bin_of = np.zeros(int(unit.max(initial=-1)) + 1, np.int64)
    bin_of[unit] = bins
    size = len(grouping.slices)
    counts = np.bincount(slice_of * BINS + bin_of[unit_of], minlength=size * BINS).reshape(size, BINS)
    return np.asarray(counts.cumsum(axis=1), np.int64)


def unit_pairs(grouping: Grouping, unit: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Distinct (slice, unit) pairs: their slices, their units, and which pair each cell inside the grouping is of."""
    inside = grouping.code >= 0
    units = max(int(unit.max(initial=-1)) + 1, 1)
    pairs, pair = np.unique(grouping.code[inside] * units + unit[inside], return_inverse=True)
    return pairs // units, pairs % units, pair.astype(np.int64)
