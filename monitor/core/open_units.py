"""Decides what is kept of a unit that is open, what is left of one that closed, and whom either counts as."""

from __future__ import annotations

import msgspec

from monitor.core.records import Labels
from monitor.core.slots import Seen, SlotKey


class OpenUnit(msgspec.Struct, gc=False):
    """A unit that may still grow or get references.

    labels     (folded) and `weight` of `number` utterances: most units have one kind. others: further kinds
    members    its utterances that have a slot; most units have none
    sealed_at  a late utterance from this time on was refused: the unit never reaches it, so that nothing of that
               utterance is ever taken for the unit's own
    """

    identity: str
    owner: str
    first_at: float
    ended_at: float
    labels: Labels = ()
    weight: int = 0
    number: int = 0
    others: dict[tuple[Labels, int], int] | None = None
    members: list[SlotKey] | None = None
    sealed_at: float | None = None

    def add(self, labels: Labels, weight: int) -> None:
        """One utterance more."""
        kind = (labels, weight)
        if kind == (self.labels, self.weight) or not (self.number or self.others):
            self.labels, self.weight, self.number = labels, weight, self.number + 1
            return
        if self.others is None:
            self.others = {}
        self.others[kind] = self.others.get(kind, 0) + 1

    def remove(self, labels: Labels, weight: int) -> None:
        """One utterance less, of those that were added with these labels."""
        added = self.added_weight(labels, weight)
        if added is None:
            return
        if (labels, added) == (self.labels, self.weight) and self.number:
            self.number -= 1
            return
        assert self.others is not None
        self.others[labels, added] -= 1
        if not self.others[labels, added]:
            del self.others[labels, added]

    def added_weight(self, labels: Labels, weight: int) -> int | None:
        """The weight that an utterance was added with, which now has `weight`; None if none has these labels.

        A lowered probability raises the weight: it was this one, else the next below.
        """
        others = self.others or {}
        if (self.number and (labels, weight) == (self.labels, self.weight)) or (labels, weight) in others:
            return weight
        known = [each for other, each, _ in self.traffic() if other == labels]
        return max((each for each in known if each < weight), default=min(known, default=None))

    def traffic(self) -> list[tuple[Labels, int, int]]:
        """(labels, weight of each, utterances), sorted: in which order they came leaves no trace."""
        first = [(self.labels, self.weight, self.number)] if self.number else []
        return sorted([*first, *((*kind, number) for kind, number in (self.others or {}).items())])

    def join(self, key: SlotKey) -> None:
        if self.members is None:
            self.members = []
        self.members.append(key)

    @property
    def person(self) -> str:
        return person_of(self.identity)


class UnitDocument(msgspec.Struct, array_like=True):
    """An open unit as it is stored; members follow from the slots. Traffic is sorted."""

    owner: str
    first_at: float
    ended_at: float
    traffic: list[tuple[Labels, int, int]]
    sealed_at: float | None = None


class UnitRow(msgspec.Struct, array_like=True, frozen=True):
    """A closed unit's utterances with one combination of labels. Sums are weighted integers (units of WEIGHT_ONE).

    person       the speaker if the whole unit has one speaker and no declared session, else the unit
    seen         utterances, corrected or not; traffic: their weight
    labelled     utterances with a sampled, non-empty reference at maturity; the sums are over these
    scored       utterances that anybody corrected by then
    """

    ended_at: float
    unit: str
    labels: Labels
    first_at: float
    person: str
    seen: int
    traffic: int
    scored: int
    labelled: int
    substitutions: int
    deletions: int
    insertions: int
    words: int
    plain_words: int
    speaker: str = ""
    """The one speaker of the corrected utterances, whatever makes the unit; "" if there is none or more than one."""

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def owner_of(seen: Seen) -> str:
    """Whose unit an utterance joins: of its session, else of its speaker; "" if it stands for itself."""
    return f"s:{seen.session}" if seen.session else f"p:{seen.speaker}" if seen.speaker else ""


def identity_of(owner: str, key: SlotKey) -> str:
    """A unit is named by its owner and first event, so that no order of arrival shows."""
    return f"{owner}@{key[1]!r}" if owner else f"u:{key[0]:016x}@{key[1]!r}"


def person_of(identity: str) -> str:
    """Whom a unit counts as: the speaker if there is one and no declared session, else the unit."""
    return identity.partition("@")[0] if identity.startswith("p:") else identity


def document_of(unit: OpenUnit) -> bytes:
    """What is stored of it."""
    return msgspec.msgpack.encode(
        UnitDocument(unit.owner, unit.first_at, unit.ended_at, unit.traffic(), unit.sealed_at)
    )
