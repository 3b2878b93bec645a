"""Decides what pairing may keep between a hypothesis and its late references, and how it asks for it.

The port has two implementations that one contract suite holds to the same behaviour: `MemoryPairTable` here, for
tests and short-lived runs, and `monitor.adapters.store.Store`, whose rows survive the process.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from monitor.core.records import Labels, Record, Source


class HeldTranscript(Record, frozen=True):
    """A hypothesis that waits for its references, with what an outcome needs to know of it."""

    key: int
    """Keyed hash of the utterance id, 0 <= key < 2**64."""
    event_at: float
    customer: str
    deployment: str
    labels: Labels
    model: str
    language: str | None
    session: str | None
    speaker: str | None
    inclusion_probability: float
    digest: bytes
    """SHA-256 of the message's bytes or, as the storage figure reckons with, its first 16: tells a duplicate."""
    text: str
    conflicted: bool = False
    """Two different versions of this utterance arrived: neither is scored."""
    referenced: bool = False
    """Some reference of it was scored."""


class HeldReference(Record, frozen=True):
    """One version of a human correction; `(key, revision, event_at, digest)` is its identity."""

    key: int
    event_at: float
    revision: int
    digest: bytes
    """SHA-256 of the text in UTF-8."""
    source: Source
    annotator: str | None
    text: str

    @property
    def rank(self) -> tuple[int, float, bytes]:
        """The greatest rank wins, whatever order references arrive in."""
        return (self.revision, self.event_at, self.digest)


class PairTable(Protocol):
    """What is held of each utterance until its references came, its time is over, or it is erased."""

    def transcript(self, key: int) -> HeldTranscript | None:
        """The hypothesis held under `key`."""
        ...

    def put_transcript(self, held: HeldTranscript) -> None:
        """Insert, or replace the one held under the same key."""
        ...

    def mark_referenced(self, key: int) -> None:
        """Set `referenced` of a held transcript, which costs less than putting it again; nothing if none is held."""
        ...

    def references(self, key: int) -> list[HeldReference]:
        """Every version held under `key`, lowest rank first."""
        ...

    def put_reference(self, held: HeldReference) -> None:
        """Insert, or replace the one of the same identity."""
        ...

    def drop_reference(self, held: HeldReference) -> None:
        """Remove the reference of this identity, if it is held."""
        ...

    def erase(self, key: int) -> None:
        """Forget the transcript and all references of `key`; no byte of text remains after the next checkpoint."""
        ...

    def expire_transcripts(self, before: float, limit: int) -> list[HeldTranscript]:
        """Remove at most `limit` transcripts older than `before` with their references; returns the transcripts,
        ordered (event_at, key), with text "".
        """
        ...

    def expire_references(self, before: float, limit: int) -> list[HeldReference]:
        """Remove and return at most `limit` references older than `before` whose transcript is not held, with text "".

        Ordered (event_at, key, revision, digest).
        """
        ...

    def drop_above(self, threshold: int) -> int:
        """Remove every transcript and reference with key >= `threshold`; returns how many transcripts went."""
        ...

    def pending(self) -> int:
        """Transcripts held without a reference."""
        ...

    def waiting(self) -> int:
        """References held without a transcript."""
        ...

    def held(self) -> int:
        """Transcripts and references held: what `state.pending_max` bounds."""
        ...

    def held_bytes(self) -> int:
        """About how many bytes the held rows take: what a storage budget is compared with."""
        ...


class MemoryPairTable:
    """The port over dictionaries: the executable form of the contract."""

    def __init__(self) -> None:
        self._transcripts: dict[int, HeldTranscript] = {}
        self._references: dict[int, dict[tuple[int, float, bytes], HeldReference]] = {}

    def transcript(self, key: int) -> HeldTranscript | None:
        return self._transcripts.get(key)

    def put_transcript(self, held: HeldTranscript) -> None:
        self._transcripts[held.key] = held

    def mark_referenced(self, key: int) -> None:
        held = self._transcripts.get(key)
        if held is not None:
            self._transcripts[key] = msgspec.structs.replace(held, referenced=True)

    def references(self, key: int) -> list[HeldReference]:
        versions = self._references.get(key, {})
        return [versions[rank] for rank in sorted(versions)]

    def put_reference(self, held: HeldReference) -> None:
        self._references.setdefault(held.key, {})[held.rank] = held

    def drop_reference(self, held: HeldReference) -> None:
        versions = self._references.get(held.key, {})
        versions.pop(held.rank, None)
        if not versions:
            self._references.pop(held.key, None)

    def erase(self, key: int) -> None:
        self._transcripts.pop(key, None)
        self._references.pop(key, None)

    def expire_transcripts(self, before: float, limit: int) -> list[HeldTranscript]:
        old = [held for held in self._transcripts.values() if held.event_at < before]
        old.sort(key=lambda held: (held.event_at, held.key))
        for held in old[:limit]:
            self.erase(held.key)
        return [msgspec.structs.replace(held, text="") for held in old[:limit]]

    def expire_references(self, before: float, limit: int) -> list[HeldReference]:
        old = [
            held
            for key, versions in self._references.items()
            if key not in self._transcripts
            for held in versions.values()
            if held.event_at < before
        ]
        old.sort(key=lambda held: (held.event_at, held.key, held.revision, held.digest))
        for held in old[:limit]:
            versions = self._references[held.key]
            del versions[held.rank]
            if not versions:
                del self._references[held.key]
        return [msgspec.structs.replace(held, text="") for held in old[:limit]]

    def drop_above(self, threshold: int) -> int:
        dropped = [key for key in self._transcripts if key >= threshold]
        for key in dropped:
            del self._transcripts[key]
        for key in [key for key in self._references if key >= threshold]:
            del self._references[key]
        return len(dropped)

    def pending(self) -> int:
        return sum(1 for key in self._transcripts if key not in self._references)

    def waiting(self) -> int:
        return sum(len(versions) for key, versions in self._references.items() if key not in self._transcripts)

    def held(self) -> int:
        return len(self._transcripts) + sum(len(versions) for versions in self._references.values())

    def held_bytes(self) -> int:
        transcripts = sum(96 + len(held.text.encode()) for held in self._transcripts.values())
        references = sum(
            96 + len(held.text.encode()) for versions in self._references.values() for held in versions.values()
        )
        return transcripts + references
