"""Decides what the outside may see of the agent: the view, and each slice's mergeable moments."""

from __future__ import annotations

from monitor.core.records import Record, Slice, View


class SliceMoments(Record, frozen=True):
    """Running totals of one slice, exported as counters: they only ever grow, and add up over replicas.

    Sums over clusters are per session, never per utterance: words of one speaker are not independent.
    """

    customer: str
    slice: Slice
    traffic: int
    """Sampled transcripts, corrected or not."""
    utterances: int
    reference_words: float
    substitutions: float
    deletions: float
    insertions: float
    clusters: int
    errors_squared: float
    words_squared: float
    errors_times_words: float


class MetricsSnapshot(Record, frozen=True):
    """What a scrape and the status page read: immutable, swapped by assignment."""

    view: View
    moments: tuple[SliceMoments, ...] = ()
