"""Decides which reference belongs to which hypothesis, and what a new arrival changes.

Whatever order transcripts, references, revisions, duplicates and tombstones arrive in, the outcomes add up to the same:
an utterance's outcomes are a pure function of what is held of it, and every arrival emits the difference between before
and after. The old side of a difference is scored again rather than stored: it is needed for 1 utterance in 50.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from msgspec.structs import replace

from monitor.core.pairing_port import HeldReference, HeldTranscript, PairTable
from monitor.core.records import Observation, Outcome, Score, Source, UtteranceKey

VERSIONS_MAX = 16
"""Distinct references held for one utterance. Real utterances have 1 to 3; a runaway producer could send millions."""

Emission = Observation | Outcome


class Scoring(Protocol):
    """What pairing needs of a scorer."""

    aligner: str

    def score(self, hypothesis: str, reference: str, language: str | None) -> Score: ...


class TranscriptFate(StrEnum):
    """What became of an accepted transcript."""

    HELD = "held"
    REPLACED = "replaced"
    DUPLICATE = "duplicate"
    OUTDATED = "outdated"
    """Another version of the utterance, held already, wins."""
    ERASED = "erased"
    """The utterance was erased; nothing of it is taken in again."""
    CONFLICT = "conflict"


class ReferenceFate(StrEnum):
    """What became of an accepted reference, on arrival."""

    SCORED = "scored"
    """It wins now."""
    SUPERSEDED = "superseded"
    """A greater one was there first."""
    DUPLICATE = "duplicate"
    WAITING = "waiting"
    """Its transcript has not come yet."""
    ERASED = "erased"
    CONFLICT = "conflict"
    """Its utterance id is used by two tenants: nobody can know whose it is."""
    OVERFLOW = "overflow"
    """The utterance already has VERSIONS_MAX references that are greater."""


class Pairing:
    """Joins the two inputs over a table of what is held; emits differences of outcomes."""

    def __init__(self, table: PairTable, scorer: Scoring, effective_probability: Callable[[float], float]) -> None:
        self._table = table
        self._scorer = scorer
        self._effective = effective_probability

    def transcript(self, arrived: HeldTranscript) -> tuple[TranscriptFate, list[Emission]]:
        """Take in a transcript that the sampler keeps."""
        held = self._table.transcript(arrived.key)
        if held is None:
            return TranscriptFate.HELD, self._take(arrived)
        if held.conflicted:
            erased = not held.customer
            return (TranscriptFate.ERASED if erased else TranscriptFate.CONFLICT), []
        if (held.customer, held.deployment) != (arrived.customer, arrived.deployment):
            withdrawn = self._withdraw(held)
            self._seal(held.key, max(held.event_at, arrived.event_at), customer=held.customer)
            return TranscriptFate.CONFLICT, withdrawn
        if held.digest == arrived.digest:
            return TranscriptFate.DUPLICATE, []
        if (arrived.event_at, arrived.digest) < (held.event_at, held.digest):
            return TranscriptFate.OUTDATED, []
        return TranscriptFate.REPLACED, [*self._withdraw(held), *self._take(arrived)]

    def reference(self, arrived: HeldReference) -> tuple[ReferenceFate, list[Emission]]:
        """Take in a reference whose utterance the sampler may keep."""
        before = self._table.references(arrived.key)
        same = next((version for version in before if version.rank == arrived.rank), None)
        if same is not None and same.source >= arrived.source:
            return ReferenceFate.DUPLICATE, []
        transcript = self._table.transcript(arrived.key)
        if transcript is not None and transcript.conflicted:
            erased = not transcript.customer
            return (ReferenceFate.ERASED if erased else ReferenceFate.CONFLICT), []
        let_go = same
        if same is None and len(before) >= VERSIONS_MAX:
            let_go = min(before, key=lambda version: version.rank)
            if arrived.rank < let_go.rank:
                return ReferenceFate.OVERFLOW, []
            self._table.drop_reference(let_go)
        self._table.put_reference(arrived)
        if transcript is None:
            return ReferenceFate.WAITING, []
        if not transcript.referenced:
            transcript = self._mark_referenced(transcript)
        after = [*(version for version in before if version is not let_go), arrived]
        emitted = _difference(self._outcomes(transcript, before), self._outcomes(transcript, after))
        wins = arrived.rank == max(version.rank for version in after)
        return (ReferenceFate.SCORED if wins else ReferenceFate.SUPERSEDED), emitted

    def erase(self, key: UtteranceKey, at: float) -> list[Emission]:
        """Forget an utterance: its texts, its outcomes, and whatever of it arrives until `at` + TTL."""
        held = self._table.transcript(key)
        withdrawn = self._withdraw(held) if held is not None and not held.conflicted else []
        self._seal(key, at, customer="")
        return withdrawn

    # ------------------------------------------------------------------------------------------------------- private
    def _take(self, arrived: HeldTranscript) -> list[Emission]:
        references = self._table.references(arrived.key)
        probability = self._effective(arrived.inclusion_probability)
        arrived = replace(arrived, referenced=bool(references), inclusion_probability=probability)
        self._table.put_transcript(arrived)
        return [_observation(arrived, 1), *_difference({}, self._outcomes(arrived, references))]

    def _mark_referenced(self, held: HeldTranscript) -> HeldTranscript:
        """From its first reference on, an utterance keeps the probability it was scored with: deltas cancel exactly."""
        probability = self._effective(held.inclusion_probability)
        if probability == held.inclusion_probability:
            self._table.mark_referenced(held.key)
            return held
        held = replace(held, referenced=True, inclusion_probability=probability)
        self._table.put_transcript(held)
        return held

    def _withdraw(self, held: HeldTranscript) -> list[Emission]:
        outcomes = self._outcomes(held, self._table.references(held.key))
        return [*_difference(outcomes, {}), _observation(held, -1)]

    def _seal(self, key: int, at: float, *, customer: str) -> None:
        """Keep the key alone, so that later arrivals of it are known; no customer: it was erased."""
        self._table.erase(key)
        self._table.put_transcript(
            HeldTranscript(
                key=key, event_at=at, customer=customer, deployment="", labels=(), model="", language=None,
                session=None, speaker=None, inclusion_probability=1.0, digest=b"", text="", conflicted=True,
            )
        )  # fmt: skip

    def _outcomes(self, transcript: HeldTranscript, references: list[HeldReference]) -> dict[_Version, Outcome]:
        """Every held version scored; `counts` is 1 for the winner and 0 for the others."""
        if not references:
            return {}
        winner = max(version.rank for version in references)
        sampled = any(version.source == Source.SAMPLED for version in references)
        return {
            version.rank: self._outcome(transcript, version, sampled, counts=int(version.rank == winner))
            for version in references
        }

    def _outcome(self, transcript: HeldTranscript, version: HeldReference, sampled: bool, counts: int) -> Outcome:
        # A complaint about an utterance that the sampler had chosen anyway must not take it out of the sample.
        return Outcome(
            utterance=UtteranceKey(transcript.key),
            event_at=transcript.event_at,
            customer=transcript.customer,
            deployment=transcript.deployment,
            labels=transcript.labels,
            model=transcript.model,
            session=transcript.session,
            speaker=transcript.speaker,
            inclusion_probability=transcript.inclusion_probability,
            reference_at=version.event_at,
            revision=version.revision,
            reference_digest=version.digest[:8],
            source=Source.SAMPLED if sampled else version.source,
            score=self._scorer.score(transcript.text, version.text, transcript.language),
            counts=counts,
            holds=True,
            aligner=self._scorer.aligner,
        )


_Version = tuple[int, float, bytes]


def _difference(before: dict[_Version, Outcome], after: dict[_Version, Outcome]) -> list[Emission]:
    """What turns the outcomes `before` into `after`: subtractions first, so that totals never count a pair twice."""
    subtracted: list[Emission] = []
    added: list[Emission] = []
    for version, old in before.items():
        new = after.get(version)
        if new is None or new.source != old.source:
            subtracted.append(replace(old, counts=-old.counts, holds=False))
        elif new.counts < old.counts:
            subtracted.append(replace(new, counts=-1, holds=True))
        elif new.counts > old.counts:
            added.append(replace(new, counts=1, holds=True))
    for version, new in after.items():
        old_version = before.get(version)
        if old_version is None or old_version.source != new.source:
            added.append(new)
    return subtracted + added


def _observation(held: HeldTranscript, counts: int) -> Observation:
    return Observation(
        utterance=UtteranceKey(held.key),
        event_at=held.event_at,
        customer=held.customer,
        deployment=held.deployment,
        labels=held.labels,
        model=held.model,
        session=held.session,
        speaker=held.speaker,
        inclusion_probability=held.inclusion_probability,
        counts=counts,
    )
