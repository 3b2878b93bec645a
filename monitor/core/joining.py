"""Decides what becomes of what was routed: pairs it, scores it, lets it expire, and keeps within the storage budget."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from monitor.core.counters import Counters
from monitor.core.pairing import Emission, Pairing, ReferenceFate, Scoring, TranscriptFate
from monitor.core.pairing_port import HeldReference, HeldTranscript, PairTable
from monitor.core.records import Missing, Outcome, UtteranceKey
from monitor.core.routing import Erasure, Routed
from monitor.core.sampling import Sampler

EXPIRED_AT_ONCE = 1_000
"""Rows expired in one go: bounds the memory that a backlog takes."""
SEALED_AT = 4e9
"""Event time of a tombstone that came before any record had one (the year 2096): it must not expire at once."""
DELAY_BOUNDS = (60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 172_800.0, 345_600.0, 604_800.0, 1_209_600.0)
"""Bounds of the reference delay histogram, 1 min to 14 d (observability.md)."""


class Joined(msgspec.Struct):
    """What taking in one routed record led to."""

    emissions: list[Emission] = []
    conflict: bool = False
    """The utterance's id is used by two tenants: the message is a reject after all."""
    sealed: bool = False
    """Nothing of the utterance may be held any more: it was erased, or two tenants use its id."""
    reviewable: bool = False
    """A hypothesis is held that nobody has corrected."""


class Joiner:
    """One pair table, and what bounds it."""

    def __init__(
        self,
        *,
        table: PairTable,
        scorer: Scoring,
        sampler: Sampler,
        counters: Counters,
        ttl_seconds: float,
        pending_max: int,
    ) -> None:
        self._table = table
        self._sampler = sampler
        self._counters = counters
        self._ttl_seconds = ttl_seconds
        self._pending_max = pending_max
        self._pairing = Pairing(table, scorer, sampler.effective)

    def join(self, routed: Routed, reached: float | None, newest_at: float | None) -> Joined:
        """Take in one record. `reached`: event time that all inputs have reached; `newest_at`: that any has."""
        match routed:
            case HeldTranscript():
                return self._transcript(routed, reached)
            case HeldReference():
                return self._reference(routed)
            case Erasure():
                return Joined(self._pairing.erase(routed.key, newest_at or SEALED_AT), sealed=True)

    def is_sealed(self, key: int) -> bool:
        """Whether the utterance was erased, or is two tenants'."""
        held = self._table.transcript(key)
        return held is not None and held.conflicted

    def _transcript(self, arrived: HeldTranscript, reached: float | None) -> Joined:
        if not self._sampler.may_be_kept(UtteranceKey(arrived.key)):
            self._counters.count('transcripts_total{outcome="sampled_out"}')
            return Joined()
        if arrived.event_at < (reached or 0.0) - self._ttl_seconds:
            self._counters.count('transcripts_total{outcome="expired"}')
            return Joined()
        fate, emissions = self._pairing.transcript(arrived)
        self._counters.count(f'transcripts_total{{outcome="{fate}"}}')
        if fate == TranscriptFate.CONFLICT:
            return Joined(emissions, conflict=True, sealed=True)
        if fate == TranscriptFate.ERASED:
            return Joined(emissions, sealed=True)
        corrected = any(isinstance(emission, Outcome) for emission in emissions)
        return Joined(emissions, reviewable=fate in (TranscriptFate.HELD, TranscriptFate.REPLACED) and not corrected)

    def _reference(self, arrived: HeldReference) -> Joined:
        if not self._sampler.may_be_kept(UtteranceKey(arrived.key)):
            self._counters.count(f'references_total{{outcome="sampled_out",source="{arrived.source}"}}')
            return Joined()
        fate, emissions = self._pairing.reference(arrived)
        self._counters.count(f'references_total{{outcome="{fate}",source="{arrived.source}"}}')
        if fate == ReferenceFate.SCORED:
            self._note_delay(emissions)
        return Joined(emissions)

    def _note_delay(self, emissions: list[Emission]) -> None:
        count = self._counters.count
        for emission in emissions:
            if isinstance(emission, Outcome) and emission.counts > 0:
                delay = emission.reference_at - emission.event_at
                for bound in DELAY_BOUNDS:
                    if delay <= bound:
                        count(f'reference_delay_seconds_bucket{{le="{bound:g}"}}')
                count('reference_delay_seconds_bucket{le="+Inf"}')
                count("reference_delay_seconds_count")
                count("reference_delay_seconds_sum", max(0, round(delay)))

    def expire(self, watermark: float) -> Iterator[Missing]:
        """Let go of what has waited too long; yields the transcripts that nobody corrected."""
        before = watermark - self._ttl_seconds
        while expired := self._table.expire_transcripts(before, EXPIRED_AT_ONCE):
            for held in expired:
                if not held.conflicted and not held.referenced:
                    self._counters.count("references_missing_total")
                    yield Missing(customer=held.customer, labels=held.labels)
        while waited := self._table.expire_references(before, EXPIRED_AT_ONCE):
            for reference in waited:
                self._counters.count(f'references_total{{outcome="expired",source="{reference.source}"}}')
        self._sampler.lift_ceiling(watermark)

    def bound_storage(self, newest_at: float | None) -> None:
        """Keep within the storage budget: lower the threshold and let go of what lies above it."""
        while self._table.held() > self._pending_max:
            dropped = self._table.drop_above(self._sampler.lower_ceiling(newest_at or 0.0))
            self._counters.count("storage_budget_reached_total")
            self._counters.count("storage_budget_dropped_total", dropped)

    # ------------------------------------------------------------------------------------------------------- to show
    def waiting(self) -> int:
        """References whose transcript has not come."""
        return self._table.waiting()

    def gauges(self) -> dict[str, float]:
        """How much is held, against its bounds."""
        return {
            "pending_utterances": float(self._table.pending()),
            "waiting_references": float(self._table.waiting()),
            "pending_bytes": float(self._table.held_bytes()),
            "sampling_ceiling_ratio": self._sampler.ceiling,
        }
