"""Decides whether some combination of declared attributes that nobody tracks is worse off: one half of the persons
proposes, the other half tests.

Intuition. Among a thousand combinations the worst-looking one is luck. So persons are split in two by a hash: whatever
the first half suggests is a guess, and what the second half says about a handful of guesses is evidence.
Guarantee. With chance 1 - alpha nothing is found that is not there (Holm over the proposals, one-sided t by persons):
every combination told is worse than the others at its tasks by more than the margin, and also worse than what
remains of each tracked slice that contains it. The split depends on the person alone: asking again changes nothing.
Not covered. Combinations with fewer than ten persons in either half. A run on the next month's labels is another run
with its own alpha. A person who is told apart by session only counts once for each session.
Source. Sample splitting (Cox 1975); Holm 1979; intersection-union test (Berger 1982) for "and also worse than".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b
from itertools import combinations

import numpy as np

from monitor.core.cells import BoolArray, Cells, IntArray
from monitor.core.groupings import dense, encode, strata
from monitor.core.matched_gaps import PERSONS_MIN, MatchedGap, fixed_tasks, matched_gap
from monitor.core.predicates import masks, of_slice
from monitor.core.records import OTHER, UNKNOWN, Record, Slice

ALPHA = 0.05
"""Chance that a run on traffic without such a combination finds one all the same."""
MARGIN = 0.02
"""Smallest gap worth a claim: that of standing gaps."""
PROPOSALS_MAX = 5
"""Guesses that are tested. Twice as many would cost each of them a fifth of a standard error, half as many miss the
right one more often than that buys."""
COMBINATIONS_MAX = 5_000
"""Combinations looked at, those with the most persons first: a minute on a month of labels."""


class Tested(Record, frozen=True):
    """One proposal, as the second half sees it."""

    slice: Slice
    gap: MatchedGap
    chance: float
    """The largest of the p-values that it had to pass."""
    found: bool


class Search(Record, frozen=True):
    """What was looked at, and what came of it: proposals, the surest first."""

    combinations: int
    """Untracked combinations that occur."""
    large_enough: int
    """Of these, with the persons to propose and to test."""
    tested: tuple[Tested, ...]

    @property
    def found(self) -> tuple[Tested, ...]:
        """The combinations that are worse off, the one with the largest sure gap first."""
        sure = [one for one in self.tested if one.found]
        return tuple(sorted(sure, key=lambda one: -one.gap.low(ALPHA)))


def discover(
    cells: Cells,
    persons: Sequence[str],
    names: Sequence[str],
    tracked: Collection[tuple[str, ...]],
    strata_names: Sequence[str],
    demographics: Collection[str],
    depth: int,
) -> Search:
    """Search the combinations of up to `depth` of these attributes, but for those along `tracked` axes.

    cells    all closed cells; persons: whose each of them is, as a name that stays the same from run to run
    tracked  tuples of attribute names, each sorted
    """
    axes = [
        axis
        for size in range(1, depth + 1)
        for axis in combinations(sorted(names), size)
        if axis not in {tuple(sorted(one)) for one in tracked}
    ]
    first = np.array([_half(person) for person in persons], np.bool_)
    halves = cells.select(first), cells.select(~first)
    present = sorted(_present(cells, axes, first), key=lambda found: (-found[1], len(found[0]), found[0]))
    large = [slice_ for slice_, smaller in present if smaller >= PERSONS_MIN][:COMBINATIONS_MAX]
    context = _Context(tuple(tuple(sorted(one)) for one in tracked), tuple(strata_names), tuple(demographics))
    guesses = _proposed(halves[0], large, context)
    tested = [found for found in (context.test(halves[1], slice_) for slice_ in guesses) if found is not None]
    return Search(combinations=len(present), large_enough=len(large), tested=tuple(_holm(tested)))


def _half(person: str) -> bool:
    return blake2b(f"discover\x1f{person}".encode(), digest_size=1).digest()[0] < 128


def _present(cells: Cells, axes: Sequence[tuple[str, ...]], first: BoolArray) -> Iterator[tuple[Slice, int]]:
    """Each combination that occurs, and its persons in the half where it has fewer."""
    coded = {name: encode(cells.labels[name]) for axis in axes for name in axis}
    known = {
        name: np.array([value not in (UNKNOWN, OTHER) for value in values], np.bool_)[number]
        for name, (values, number) in coded.items()
    }
    person = dense(cells.person)
    for axis in axes:
        inside = np.logical_and.reduce([known[name] for name in axis])
        if not inside.any() or any(len(coded[name][0]) < 2 for name in axis):
            continue
        code = np.zeros(len(cells), np.int64)
        for name in axis:
            code = code * len(coded[name][0]) + coded[name][1]
        groups, group = np.unique(code[inside], return_inverse=True)
        members = np.unique(np.stack([group, person[inside], first[inside]]), axis=1)
        sizes = np.bincount(members[0] * 2 + members[2], minlength=2 * len(groups)).reshape(-1, 2)
        example = np.zeros(len(groups), np.int64)
        example[group] = np.flatnonzero(inside)
        for number, row in enumerate(example.tolist()):
            slice_ = tuple((name, coded[name][0][int(coded[name][1][row])]) for name in axis)
            yield slice_, int(sizes[number].min())


def _proposed(cells: Cells, large: Sequence[Slice], context: _Context) -> list[Slice]:
    """The guesses of the first half: those that lie farthest above the margin, in standard errors."""
    ranked = []
    for slice_ in large:
        gap = context.gap(cells, slice_)
        if gap is not None and gap.error > 0 and gap.gap > MARGIN:
            ranked.append(((gap.gap - MARGIN) / gap.error, slice_))
    return [slice_ for _, slice_ in sorted(ranked, key=lambda one: (-one[0], one[1]))[:PROPOSALS_MAX]]


class _Context:
    """Against whom a combination is compared."""

    def __init__(
        self, tracked: tuple[tuple[str, ...], ...], strata_names: tuple[str, ...], demographics: tuple[str, ...]
    ) -> None:
        self._tracked, self._strata, self._demographics = tracked, strata_names, demographics
        self._strata_of: dict[tuple[int, tuple[str, ...]], IntArray] = {}

    def gap(self, cells: Cells, slice_: Slice, within: Slice = ()) -> MatchedGap | None:
        """Against everybody else at the same tasks, or against the rest of a slice that contains it."""
        inside, outside = masks(of_slice(slice_), cells.labels, len(cells))
        told = [name for name, _ in slice_]
        fixed = fixed_tasks(self._strata, told, self._demographics)
        if within:
            outside &= masks(of_slice(within), cells.labels, len(cells))[0]
            own = {name for name, _ in slice_} - {name for name, _ in within}
            fixed = tuple(name for name in fixed if name not in own)
        key = (id(cells), fixed)
        if key not in self._strata_of:
            self._strata_of[key] = strata(cells, fixed)
        return matched_gap(cells, inside, outside, self._strata_of[key])

    def test(self, cells: Cells, slice_: Slice) -> Tested | None:
        """p of "not worse than the others by the margin, or not worse than the rest of a tracked slice"."""
        gap = self.gap(cells, slice_)
        if gap is None:
            return None
        chance = gap.tail(MARGIN)
        for axis in self._tracked:
            within = tuple((name, value) for name, value in slice_ if name in axis)
            if len(within) != len(axis) or len(within) == len(slice_):
                continue
            beyond = self.gap(cells, slice_, within)
            if beyond is not None:  # else the tracked slice is this one, but for a few
                chance = max(chance, beyond.tail(0.0))
        return Tested(slice=slice_, gap=gap, chance=chance, found=False)


def _holm(tested: Sequence[Tested]) -> Iterator[Tested]:
    passed = True
    for position, one in enumerate(sorted(tested, key=lambda one: (one.chance, one.slice))):
        passed = passed and one.chance <= ALPHA / (len(tested) - position)
        yield Tested(slice=one.slice, gap=one.gap, chance=one.chance, found=passed)
