"""Decides which slices an utterance belongs to: declared dimensions, their intersections, and what is folded.

A slice is declared, never inferred: its values come from the message's own fields and attributes. Absent values are
`unknown`, a slice of its own that no intersection contains; groups beyond the cap are folded into `_other`, so that the
groups of one dimension always add up to all traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from monitor.core.changes import Change
from monitor.core.records import OTHER, UNKNOWN, Labels, Record, Slice, Transcript

FIELDS = ("accent", "deployment", "language", "model")
"""Dimensions that name a transcript's field; any other name is an attribute."""

ALL: Slice = ()

Combination: TypeAlias = tuple[str, ...]


class SliceSettings(Record, frozen=True):
    """Which slices exist.

    canonical   dimension -> {declared value: canonical value}, compared case-folded
    groups_max  distinct values tracked for each dimension, and combinations for each intersection
    """

    dimensions: tuple[str, ...] = ("accent", "deployment")
    intersections: tuple[tuple[str, str], ...] = (("accent", "deployment"),)
    strata: tuple[str, ...] = ("accent", "deployment")
    demographics: tuple[str, ...] = ()
    """Sliced like dimensions, but only where a speaker reported them; never part of a stratum by default."""
    canonical: Mapping[str, Mapping[str, str]] = {}
    groups_max: int = 200

    @property
    def names(self) -> tuple[str, ...]:
        """Every dimension whose value a record carries: sliced ones, then those only used for strata."""
        return tuple(dict.fromkeys((*self.dimensions, *self.demographics, *self.strata)))


class LabelReader:
    """Reads the declared labels off a transcript, with canonical names."""

    def __init__(self, settings: SliceSettings) -> None:
        self._names = settings.names
        self._canonical = {
            name: {value.casefold(): canonical for value, canonical in names.items()}
            for name, names in settings.canonical.items()
        }

    def labels(self, transcript: Transcript) -> Labels:
        """One value for each of `SliceSettings.names`; UNKNOWN where nothing was declared."""
        attributes = dict(transcript.attributes)
        return tuple(self._value(name, transcript, attributes) for name in self._names)

    def _value(self, name: str, transcript: Transcript, attributes: Mapping[str, str]) -> str:
        declared = getattr(transcript, name) if name in FIELDS else attributes.get(name)
        if not declared:
            return UNKNOWN
        canonical = self._canonical.get(name)
        return canonical.get(declared.casefold(), declared) if canonical else str(declared)


class Slicing:
    """Assigns slices to labels of one customer, and folds groups beyond the cap.

    Membership is decided once, by the order of first appearance, and never changes: a correction is taken back from the
    slice it was added to.
    """

    def __init__(self, settings: SliceSettings, customer: str) -> None:
        self.settings = settings
        self.names = settings.names
        self.sliced = (*settings.dimensions, *settings.demographics)
        self._customer = customer
        self._index = {name: position for position, name in enumerate(self.names)}
        self._axes: tuple[tuple[str, ...], ...] = (
            *((name,) for name in self.names),
            *(tuple(sorted(pair)) for pair in settings.intersections),
        )
        self._known: dict[tuple[str, ...], set[Combination]] = {axes: set() for axes in self._axes}
        self._known_changed: list[tuple[tuple[str, ...], Combination]] = []
        self._cache: dict[Labels, tuple[Labels, tuple[Slice, ...]]] = {}

    def fold(self, labels: Labels) -> Labels:
        """The labels with every value beyond its dimension's cap replaced by OTHER."""
        return self._assign(labels)[0]

    def slices_of(self, labels: Labels) -> tuple[Slice, ...]:
        """ALL first, then one-way slices, then intersections (none that contains UNKNOWN)."""
        return self._assign(labels)[1]

    def strata_key(self, labels: Labels) -> Combination:
        """The values of the stratum's dimensions, folded."""
        folded = self.fold(labels)
        return tuple(folded[self._index[name]] for name in self.settings.strata)

    def values(self, name: str) -> list[str]:
        """Values of a dimension that have a group of their own, sorted."""
        return sorted(values[0] for values in self._known[name,])

    def matches(self, slice_: Slice, labels: Labels) -> bool:
        """Whether folded labels lie in the slice."""
        return all(labels[self._index[name]] == value for name, value in slice_)

    def _assign(self, labels: Labels) -> tuple[Labels, tuple[Slice, ...]]:
        found = self._cache.get(labels)
        if found is None:
            found = self._assign_anew(labels)
            if len(self._cache) < 4 * self.settings.groups_max:
                self._cache[labels] = found
        return found

    def _assign_anew(self, labels: Labels) -> tuple[Labels, tuple[Slice, ...]]:
        folded = list(labels)
        slices: list[Slice] = [ALL]
        for axes in self._axes:
            values = tuple(folded[self._index[name]] for name in axes)
            if len(axes) == 1:
                kept = self._admit(axes, values)
                folded[self._index[axes[0]]] = kept[0]
                if axes[0] in self.sliced:  # a dimension that only makes strata is folded, but no slice
                    slices.append(((axes[0], kept[0]),))
            elif UNKNOWN not in values:
                slices.append(tuple(zip(axes, self._admit(axes, values), strict=True)))
        return tuple(folded), tuple(slices)

    def _admit(self, axes: tuple[str, ...], values: Combination) -> Combination:
        if UNKNOWN in values:
            return values
        known = self._known[axes]
        if values in known:
            return values
        if len(known) < self.settings.groups_max:
            known.add(values)
            self._known_changed.append((axes, values))
            return values
        return (OTHER,) * len(values)

    # ------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        """Groups admitted since the last call; they are never removed."""
        written = [
            Change("groups", "\x1f".join((self._customer, *axes, *values)), b"") for axes, values in self._known_changed
        ]
        self._known_changed.clear()
        return written

    def restore(self, table: str, key: str, value: bytes) -> None:
        """Take back one admitted group."""
        assert table == "groups" and not value
        _, *parts = key.split("\x1f")
        half = len(parts) // 2
        self._known[tuple(parts[:half])].add(tuple(parts[half:]))


def slice_name(slice_: Slice) -> str:
    """How people and files name a slice.

    >>> slice_name(())
    'all'
    >>> slice_name((("accent", "yoruba"), ("deployment", "clinical")))
    'accent=yoruba&deployment=clinical'
    >>> slice_name((("accent", "r&b"),))
    'accent=r%26b'
    """
    return "&".join(f"{name}={_escaped(value)}" for name, value in slice_) or "all"


def slice_named(name: str) -> Slice:
    """The reverse of `slice_name`.

    >>> slice_named("accent=r%26b&deployment=clinical")
    (('accent', 'r&b'), ('deployment', 'clinical'))
    """
    if name == "all":
        return ALL
    pairs = (part.partition("=") for part in name.split("&"))
    return tuple((dimension, _unescaped(value)) for dimension, _, value in pairs)


def _unescaped(value: str) -> str:
    return value.replace("%3D", "=").replace("%26", "&").replace("%25", "%")


def _escaped(value: str) -> str:
    """Declared values are free text: one with a separator in it must not name another slice."""
    if "%" in value or "&" in value or "=" in value:
        return value.replace("%", "%25").replace("&", "%26").replace("=", "%3D")
    return value


def parents(slice_: Slice) -> tuple[Slice, ...]:
    """More general slices that contain this one, the most general first."""
    if not slice_:
        return ()
    if len(slice_) == 1:
        return (ALL,)
    return (ALL, *((pair,) for pair in slice_))
