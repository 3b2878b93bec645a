"""Decides what each slice adds up to: exact integer totals, and cluster moments for the error of its WER.

Every sum is an integer (weights are fixed-point), so a correction subtracts exactly what it had added and the order of
arrival leaves no trace. WER counts winners of source `sampled` with a non-empty reference; organic and flagged
corrections and the words hallucinated over empty references are kept apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from monitor.core.changes import Change
from monitor.core.estimators import Moments, weight_of
from monitor.core.records import Counts, Observation, Outcome, Slice, SliceRow, SliceStanding, Source
from monitor.core.slicing import Slicing, slice_name
from monitor.core.standing_claims import ClaimedSums

CLUSTERS_MAX = 200_000
"""Sessions and speakers whose sums stay open, for each customer (about 100 MB). One that was closed and returns counts
as a new cluster: the interval gets slightly too narrow, the totals stay exact."""

DAY = 86400.0

COHORT_DAYS = 40
"""Event days whose transcripts are counted by day. Corrections come within the TTL, 30 days by default; with half as
many days the oldest ones that can still be corrected would be out of sight, twice as many only make documents longer.
"""

AGE_BANDS = (("<1d", 0, 1), ("1-3d", 1, 3), ("3-7d", 3, 7), ("7d+", 7, COHORT_DAYS))
"""(name, from, below): whole days between a transcript's event day and its customer's newest one."""


class Cohorts(msgspec.Struct, array_like=True):
    """Transcripts by event day (UTC), counted back from the newest day that the customer has seen."""

    newest_day: int = 0
    """Days since the Unix epoch; of any transcript, also of one that was withdrawn since."""
    seen: list[int] = msgspec.field(default_factory=lambda: [0] * COHORT_DAYS)
    """Place i: how many are i days older than the newest day."""
    corrected: list[int] = msgspec.field(default_factory=lambda: [0] * COHORT_DAYS)
    """How many of those have a winning reference, of any source."""

    def advance(self, day: int) -> None:
        """A newer day has come: all are older by as much, and the oldest are let go."""
        days = min(day - self.newest_day, COHORT_DAYS)
        self.newest_day = day
        self.seen = [0] * days + self.seen[: COHORT_DAYS - days]
        self.corrected = [0] * days + self.corrected[: COHORT_DAYS - days]

    def age(self, day: int) -> int | None:
        """Where the day is counted; None if it is too old to be."""
        age = self.newest_day - day
        return age if 0 <= age < COHORT_DAYS else None

    def missing_by_age(self) -> tuple[tuple[str, int, int], ...]:
        """(age band, transcripts, those of them without a reference)."""
        rows = []
        for band, first, last in AGE_BANDS:
            seen = sum(self.seen[first:last])
            rows.append((band, seen, seen - sum(self.corrected[first:last])))
        return tuple(rows)


class SliceTotals(msgspec.Struct):
    """Sums of one slice since the state began. Mutable, private to its tracker."""

    slice: Slice
    transcripts: int = 0
    pairs: int = 0
    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    empty_references: int = 0
    hallucinated_words: int = 0
    strict_errors: int = 0
    strict_words: int = 0
    biased_pairs: int = 0
    """Corrections that somebody chose (organic, flagged): reported apart, never in the WER."""
    biased_errors: int = 0
    biased_words: int = 0
    missing: int = 0
    """Transcripts whose time for a correction ran out without one."""
    last_reference_at: float | None = None
    moments: Moments = msgspec.field(default_factory=Moments)
    cohorts: Cohorts = msgspec.field(default_factory=Cohorts)


class Cluster(msgspec.Struct):
    """Weighted errors and words of one session or speaker in each of its slices."""

    sums: dict[int, tuple[int, int]] = {}


class Tracker:
    """Totals of one customer's slices."""

    def __init__(self, slicing: Slicing, customer: str) -> None:
        self._slicing = slicing
        self._customer = customer
        self._totals: list[SliceTotals] = []
        self._index: dict[Slice, int] = {}
        self._clusters: dict[str, Cluster] = {}
        self._dirty_slices: set[int] = set()
        self._dirty_clusters: set[str] = set()
        self._newest_day = 0
        self.clusters_closed = 0
        """Clusters closed early because CLUSTERS_MAX was reached."""

    def observe(self, observation: Observation) -> None:
        """Count a transcript in its slices, or take it back."""
        day = self._day(observation.event_at)
        for index in self._indices(observation.labels):
            totals = self._totals[index]
            totals.transcripts += observation.counts
            if (age := totals.cohorts.age(day)) is not None:
                totals.cohorts.seen[age] += observation.counts
            self._dirty_slices.add(index)

    def missing(self, labels: tuple[str, ...]) -> None:
        """Count a transcript that nobody corrected in time."""
        for index in self._indices(labels):
            self._totals[index].missing += 1
            self._dirty_slices.add(index)

    def score(self, outcome: Outcome) -> None:
        """Add a winner to its slices, or subtract one that no longer wins."""
        day = self._day(outcome.event_at)
        indices = self._indices(outcome.labels)
        for index in indices:
            totals = self._totals[index]
            if outcome.holds and (totals.last_reference_at or 0.0) < outcome.reference_at:
                totals.last_reference_at = outcome.reference_at
                self._dirty_slices.add(index)
            if outcome.counts:
                _add(totals, outcome)
                if (age := totals.cohorts.age(day)) is not None:
                    totals.cohorts.corrected[age] += outcome.counts
                self._dirty_slices.add(index)
        if outcome.counts and outcome.source == Source.SAMPLED and not outcome.score.empty_reference:
            self._add_to_cluster(outcome, indices)

    def rows(self) -> Iterator[tuple[Slice, SliceTotals]]:
        """Every slice with its totals, most general first."""
        for totals in sorted(self._totals, key=lambda totals: (len(totals.slice), totals.slice)):
            yield totals.slice, totals

    # ------------------------------------------------------------------------------------------------------- private
    def _day(self, event_at: float) -> int:
        """The event day. A new newest one moves every slice on at once, touched or not: no order leaves a trace."""
        day = int(event_at // DAY)
        if day > self._newest_day:
            self._newest_day = day
            for totals in self._totals:
                totals.cohorts.advance(day)
            self._dirty_slices.update(range(len(self._totals)))
        return day

    def _indices(self, labels: tuple[str, ...]) -> list[int]:
        return [self._slot(slice_) for slice_ in self._slicing.slices_of(labels)]

    def _slot(self, slice_: Slice) -> int:
        index = self._index.get(slice_)
        if index is None:
            index = self._index[slice_] = len(self._totals)
            self._totals.append(SliceTotals(slice_, cohorts=Cohorts(self._newest_day)))
        return index

    def _add_to_cluster(self, outcome: Outcome, indices: list[int]) -> None:
        weight = outcome.counts * weight_of(outcome.inclusion_probability)
        errors = weight * outcome.score.counts.errors
        words = weight * outcome.score.counts.reference_words
        name = outcome.session or outcome.speaker
        if name is None:  # the utterance is its own cluster: nothing to remember
            for index in indices:
                moments = self._totals[index].moments
                if outcome.counts > 0:
                    moments.replace(0, 0, errors, words)
                else:
                    moments.replace(-errors, -words, 0, 0)
            return
        cluster = self._clusters.pop(name, None) or Cluster({})
        self._clusters[name] = cluster  # most recently used last
        for index in indices:
            old_errors, old_words = cluster.sums.get(index, (0, 0))
            new = (old_errors + errors, old_words + words)
            self._totals[index].moments.replace(old_errors, old_words, *new)
            if new == (0, 0):
                cluster.sums.pop(index, None)
            else:
                cluster.sums[index] = new
        self._dirty_clusters.add(name)
        if len(self._clusters) > CLUSTERS_MAX:
            closed = next(iter(self._clusters))
            del self._clusters[closed]
            self._dirty_clusters.add(closed)
            self.clusters_closed += 1

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        """Slices and clusters that changed since the last call."""
        written = [
            Change("totals", f"{self._customer}\x1f{index}", msgspec.msgpack.encode(self._totals[index]))
            for index in sorted(self._dirty_slices)
        ]
        for name in sorted(self._dirty_clusters):
            cluster = self._clusters.get(name)
            value = msgspec.msgpack.encode(cluster) if cluster is not None else None
            written.append(Change("clusters", f"{self._customer}\x1f{name}", value))
        self._dirty_slices.clear()
        self._dirty_clusters.clear()
        return written

    def restore(self, table: str, key: str, value: bytes) -> None:
        """Take back one document. Slices may come in any order."""
        name = key.split("\x1f", 1)[1]
        if table == "clusters":
            self._clusters[name] = msgspec.msgpack.decode(value, type=Cluster)
            return
        assert table == "totals"
        totals = msgspec.msgpack.decode(value, type=SliceTotals)
        index = int(name)
        while len(self._totals) <= index:
            self._totals.append(SliceTotals(()))
        self._totals[index] = totals
        self._index[totals.slice] = index
        self._newest_day = max(self._newest_day, totals.cohorts.newest_day)


def slice_row(customer: str, slice_: Slice, totals: SliceTotals, standing: SliceStanding | None) -> SliceRow:
    """A row of slices.csv: raw counts, and the WER weighted by inclusion probability with its interval."""
    wer = totals.moments.ratio()
    low, high = totals.moments.interval() if wer is not None else (None, None)
    return SliceRow(
        customer=customer,
        slice=slice_name(slice_),
        depth=len(slice_),
        transcripts=totals.transcripts,
        pairs=totals.pairs,
        counts=Counts(
            hits=totals.hits,
            substitutions=totals.substitutions,
            deletions=totals.deletions,
            insertions=totals.insertions,
        ),
        wer=wer,
        wer_low=low,
        wer_high=high,
        clusters=totals.moments.clusters,
        hallucinated_words=totals.hallucinated_words,
        strict_errors=totals.strict_errors,
        strict_words=totals.strict_words,
        standing=standing,
        last_reference_at=totals.last_reference_at,
        missing=totals.missing,
        missing_by_age=totals.cohorts.missing_by_age(),
    )


def claimed_totals(sums: ClaimedSums) -> SliceTotals:
    """A verified claim's slice as totals: of its corrected utterances in the closed units that are kept."""
    return SliceTotals(
        slice=sums.slice,
        transcripts=sums.utterances,
        pairs=sums.utterances,
        hits=max(sums.words - sums.substitutions - sums.deletions, 0),
        substitutions=sums.substitutions,
        deletions=sums.deletions,
        insertions=sums.insertions,
        moments=sums.moments,
    )


def _add(totals: SliceTotals, outcome: Outcome) -> None:
    sign, score, counts = outcome.counts, outcome.score, outcome.score.counts
    if outcome.source != Source.SAMPLED:
        totals.biased_pairs += sign
        totals.biased_errors += sign * counts.errors
        totals.biased_words += sign * counts.reference_words
    elif score.empty_reference:
        totals.empty_references += sign
        totals.hallucinated_words += sign * counts.insertions
    else:
        totals.pairs += sign
        totals.hits += sign * counts.hits
        totals.substitutions += sign * counts.substitutions
        totals.deletions += sign * counts.deletions
        totals.insertions += sign * counts.insertions
        totals.strict_errors += sign * score.strict_errors
        totals.strict_words += sign * score.strict_words
