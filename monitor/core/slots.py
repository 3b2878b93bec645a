"""Decides what is remembered of one utterance until its unit closes: what was seen of it, and its scored versions.

Tuples are sorted, so that no document tells in which order things arrived; they are tuples because most are empty or
shared with the whole session.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from monitor.core.estimators import weight_of
from monitor.core.records import Labels, Observation, Outcome, Source

SHARED_MAX = 10_000
"""Observations remembered so that later ones of the session can share them; at half, busy hours share less."""

SlotKey = tuple[int, float]
"""(utterance, event time): another version of a transcript is another slot."""


class Seen(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """What an observation said."""

    labels: Labels
    model: str
    session: str
    speaker: str
    weight: int


class Version(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """One scored version of a reference. Sorts by rank."""

    revision: int
    reference_at: float
    digest: bytes
    sampled: bool
    weight: int
    substitutions: int
    deletions: int
    insertions: int
    words: int
    empty: bool


class Slot(msgspec.Struct, array_like=True, gc=False):
    """One utterance (of one event time), about 400 bytes.

    seen   (what, how often it was seen less how often withdrawn)
    void   versions that no longer hold; a version stays void whatever comes after
    unit   the unit it was put into, "" before a look took it in
    """

    seen: tuple[tuple[Seen, int], ...] = ()
    versions: tuple[Version, ...] = ()
    void: tuple[Version, ...] = ()
    unit: str = ""

    def present(self) -> Seen | None:
        """The observation that holds, or None if it was withdrawn."""
        return max((seen for seen, count in self.seen if count > 0), default=None)

    def first_reference_at(self) -> float | None:
        """When the first sampled reference was given, whatever became of it later."""
        return min((version.reference_at for version in self.versions if version.sampled), default=None)

    def best(self, deadline: float) -> Version | None:
        """The sampled version that won as of the deadline. An empty reference has no WER, but wins all the same."""
        known = (v for v in self.versions if v.sampled and v.reference_at <= deadline and v not in self.void)
        return max(known, default=None)

    def scored(self, deadline: float) -> bool:
        """Whether anybody corrected it by the deadline, sampled or not."""
        return any(version.reference_at <= deadline for version in self.versions)

    def note(self, seen: Seen, count: int) -> None:
        """It was seen once more, or once less.

        A lowered probability raises the weight between the two: of equal observations the greatest weight is kept,
        which needs no order of arrival.
        """
        same = [pair for pair in self.seen if replace(pair[0], weight=seen.weight) == seen]
        greatest = replace(seen, weight=max([seen.weight, *(known.weight for known, _ in same)]))
        others = (pair for pair in self.seen if pair not in same)
        self.seen = tuple(sorted([*others, (greatest, count + sum(known for _, known in same))]))

    def add(self, outcome: Outcome) -> None:
        """A version was scored, or became void."""
        version = version_of(outcome)
        if outcome.holds and version not in self.versions:
            self.versions = tuple(sorted((*self.versions, version)))
        elif not outcome.holds and version not in self.void:
            self.void = tuple(sorted((*self.void, version)))


class SharedSeen:
    """Hands out one value for equal observations: utterances of a session come together and say the same."""

    def __init__(self) -> None:
        self._known: dict[Seen, tuple[tuple[Seen, int], ...]] = {}

    def once(self, seen: Seen) -> tuple[tuple[Seen, int], ...]:
        """`Slot.seen` of an utterance that was seen once."""
        shared = self._known.get(seen)
        if shared is None:
            if len(self._known) >= SHARED_MAX:
                self._known.clear()
            shared = self._known[seen] = ((seen, 1),)
        return shared


def seen_of(record: Observation | Outcome) -> Seen:
    """What a record says of its transcript; an outcome repeats it."""
    return Seen(
        record.labels,
        record.model,
        record.session or "",
        record.speaker or "",
        weight_of(record.inclusion_probability),
    )


def version_of(outcome: Outcome) -> Version:
    """What a scored reference counts."""
    counts = outcome.score.counts
    return Version(
        outcome.revision,
        outcome.reference_at,
        outcome.reference_digest,
        outcome.source == Source.SAMPLED,
        weight_of(outcome.inclusion_probability),
        counts.substitutions,
        counts.deletions,
        counts.insertions,
        counts.reference_words,
        outcome.score.empty_reference or counts.reference_words == 0,
    )


def slot_name(key: SlotKey) -> str:
    """The key of a slot's document."""
    return f"{key[0]:016x}@{key[1]!r}"


def slot_key(name: str) -> SlotKey:
    """The reverse of `slot_name`."""
    utterance, _, at = name.partition("@")
    return (int(utterance, 16), float(at))
