"""Decides what each stage does when a log lies between it and the next.

    ROUTE, one for each input partition -> pairs -> SCORE, one for each partition -> outcomes -> DECIDE, one for each

Every record carries its origin, so that what is read or produced twice counts once; marks carry event time and losses
from one stage to all of the next. A stage's state is keyed documents, as the pipeline's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec.structs import replace

from monitor.core.arrivals import PREFIX as ARRIVALS
from monitor.core.arrivals import Arrivals
from monitor.core.changes import Change
from monitor.core.counters import Counters
from monitor.core.customers import Customers
from monitor.core.pairing import Emission, Scoring
from monitor.core.pairing_port import PairTable
from monitor.core.pipeline import PipelineSettings, joiner_of, router_of
from monitor.core.records import (
    Counts,
    Kind,
    Mark,
    Missing,
    Origin,
    Reason,
    Record,
    Rejected,
    Review,
    Score,
    Tombstone,
    Transition,
)
from monitor.core.routing import Erasure, Message, Routed
from monitor.core.sampling import Sampler, SamplingSettings


class PairEntry(Record, frozen=True):
    """What ROUTE appends to the pairs log."""

    origin: Origin
    sha256: bytes
    """Of the original message, for a pointer to it."""
    routed: Routed


class OutcomeEntry(Record, frozen=True):
    """What SCORE appends to the outcomes log."""

    origin: Origin
    emission: Emission | Missing


class RoutedMessage(msgspec.Struct):
    """What one message led to in ROUTE."""

    entry: PairEntry | None = None
    review: Review | None = None
    rejected: Rejected | None = None


class RouteStage:
    """One input partition."""

    def __init__(self, settings: PipelineSettings, key: bytes, counters: Counters, upstream: str, of: int) -> None:
        """`of`: partitions of this input, which share its label budget equally."""
        sampling = settings.sampling
        if sampling.labels_per_day is not None:
            share = sampling.labels_per_day / of
            sampling = replace(sampling, labels_per_day=share, per_stratum_min=sampling.per_stratum_min / of)
        self._upstream = upstream
        self._counters = counters
        self._arrivals = Arrivals()
        self._sampler = Sampler(sampling, key, settings.ttl_seconds, settings.lateness_seconds)
        self._sampler.write_widest()  # also where no transcript comes by: references are kept as their transcripts were
        self.router = router_of(settings, self._sampler, counters, erases_all=True)

    def feed(self, kind: Kind, message: Message, clipped: tuple[str, ...], offset: int, sha256: bytes) -> RoutedMessage:
        """Take in one decoded message."""
        routing = self.router.route(message)
        if isinstance(message, Tombstone):
            self._counters.count(f'tombstones_total{{topic="{kind}"}}')
        if routing.event_at is not None:
            self._arrivals.note(self._upstream, routing.event_at)
        self.router.account(kind, routing.rejected, clipped)
        entry = None
        if routing.routed is not None:
            entry = PairEntry(
                origin=Origin(upstream=self._upstream, offset=offset), sha256=sha256, routed=routing.routed
            )
        return RoutedMessage(entry, routing.review, routing.rejected)

    @property
    def newest_at(self) -> float | None:
        return self._arrivals.newest_at

    def note(self, event_at: float) -> None:
        """A message of this event time was passed over."""
        self._arrivals.note(self._upstream, event_at)

    def lose(self, partition: str, first: int, lost: int) -> None:
        self._arrivals.lose(partition, first, lost)

    def mark(self, *, of: int, current: bool, at: float, read_at: float | None = None) -> Mark:
        """What to tell everybody downstream; `of`: partitions of all inputs."""
        return Mark(
            upstream=self._upstream,
            of=of,
            reached_at=self._arrivals.newest_at,
            current=current,
            at=at,
            read_at=read_at,
            losses=self._arrivals.losses,
        )

    def changes(self) -> list[Change]:
        return [*self._sampler.changes(), *self._arrivals.changes()]

    def restore(self, table: str, key: str, value: bytes) -> None:
        if table == "sampling":
            self._sampler.restore(table, key, value)
        else:
            self._arrivals.restore(table, key, value)


class ScoredEntry(msgspec.Struct):
    """What one record of the pairs log led to in SCORE."""

    entries: list[OutcomeEntry] = []
    rejected: Rejected | None = None
    """The original message is a reject after all: two tenants use its id."""
    sealed: bool = False
    """What correctors were shown of the utterance must go, too."""


class Quiet(Counters):
    """Counts for the process, but for what is made again from the log: it was counted when it came."""

    def __init__(self, counters: Counters) -> None:
        super().__init__()
        self._counters = counters
        self.quiet = False

    def count(self, series: str, amount: int = 1) -> None:
        if not self.quiet:
            self._counters.count(series, amount)


class Resting:
    """A scorer that rests while nobody will hear of its scores."""

    NOTHING = Score(
        counts=Counts(hits=0, substitutions=0, deletions=0, insertions=0), strict_errors=0, strict_words=0, profile=""
    )

    def __init__(self, scorer: Scoring) -> None:
        self._scorer = scorer
        self.aligner = scorer.aligner
        self.resting = False

    def score(self, hypothesis: str, reference: str, language: str | None) -> Score:
        return self.NOTHING if self.resting else self._scorer.score(hypothesis, reference, language)


class ScoreStage:
    """One partition of the pairs log.

    A state that is made again from the log is quiet up to the group's floor: everything before it was told to DECIDE
    and counted when it came, and only what is held matters now.
    """

    def __init__(
        self,
        settings: PipelineSettings,
        table: PairTable,
        scorer: Scoring,
        key: bytes,
        counters: Counters,
        upstream: str,
        of: int,
    ) -> None:
        """`of`: partitions of the pairs log, among which the storage budget is shared equally."""
        self._upstream = upstream
        self._of = of
        self._lateness_seconds = settings.lateness_seconds
        self._counters = Quiet(counters)
        self._scorer = Resting(scorer)
        self._quiet_until = 0
        self._arrivals = Arrivals()
        everything = SamplingSettings(pending_max=max(1, settings.sampling.pending_max // of))
        self._sampler = Sampler(everything, key, settings.ttl_seconds, settings.lateness_seconds)
        self._joiner = joiner_of(
            replace(settings, sampling=everything), table, self._scorer, self._sampler, self._counters
        )

    def be_quiet_until(self, offset: int) -> None:
        """Records before this offset led to entries that were sent already."""
        self._quiet_until = offset
        self._hush(0)

    def _hush(self, offset: int) -> None:
        quiet = offset < self._quiet_until
        self._counters.quiet = self._scorer.resting = quiet

    def feed(self, entry: PairEntry, offset: int) -> ScoredEntry:
        """Take in one routed record; `offset` is its place in this partition."""
        if self._scorer.resting:
            self._hush(offset)
        if not self._arrivals.is_new(entry.origin):
            self._counters.count('log_records_total{topic="pairs",outcome="repeated"}')
            # Read again after a crash, a transcript was shown to correctors again.
            return ScoredEntry(sealed=self._joiner.is_sealed(entry.routed.key))
        self._counters.count('log_records_total{topic="pairs",outcome="new"}')
        if not isinstance(entry.routed, Erasure):
            self._arrivals.see(entry.routed.event_at, entry.origin.upstream)
        joined = self._joiner.join(entry.routed, self._arrivals.reached, self._arrivals.newest_at)
        self._joiner.bound_storage(self._arrivals.newest_at)
        rejected = None
        if joined.conflict:
            self._counters.count('records_rejected_total{topic="transcript",reason="id_conflict"}')
            rejected = None if self._scorer.resting else Rejected(reason=Reason("id_conflict"), digest=entry.sha256)
        sealed = joined.sealed and not self._scorer.resting
        return ScoredEntry(list(self._entries(joined.emissions, offset)), rejected, sealed)

    def feed_mark(self, mark: Mark, offset: int) -> ScoredEntry:
        """An input partition has come this far."""
        if self._scorer.resting:
            self._hush(offset)
        self._arrivals.mark(mark)
        watermark = self.watermark
        if watermark is None:
            return ScoredEntry()
        return ScoredEntry(list(self._entries(self._joiner.expire(watermark), offset)))

    def lose(self, partition: str, first: int, lost: int) -> None:
        self._arrivals.lose(partition, first, lost)

    def _entries(self, emissions: Iterable[Emission | Missing], offset: int) -> Iterator[OutcomeEntry]:
        for part, emission in enumerate(emissions):
            if self._scorer.resting:
                continue
            yield OutcomeEntry(origin=Origin(upstream=self._upstream, offset=offset, part=part), emission=emission)

    def mark(self, at: float) -> Mark:
        """What to tell every decider: they wait for the slowest partition of the pairs log, whoever reads it.

        Marks lie between the records that they vouch for and later ones, so that what ROUTE vouches for, we do.
        """
        read_at = self._arrivals.read_at
        return Mark(
            upstream=self._upstream,
            of=self._of,
            reached_at=self._arrivals.reached,
            current=read_at is not None,
            at=at,
            read_at=read_at,
            losses=self._arrivals.losses,
        )

    @property
    def watermark(self) -> float | None:
        reached = self._arrivals.reached
        return None if reached is None else reached - self._lateness_seconds

    def gauges(self) -> dict[str, float]:
        """Sizes of what is held."""
        return self._joiner.gauges()

    def changes(self) -> list[Change]:
        return [*self._sampler.changes(), *self._arrivals.changes()]

    def restore(self, table: str, key: str, value: bytes) -> None:
        if table == "sampling":
            self._sampler.restore(table, key, value)
        else:
            self._arrivals.restore(table, key, value)


class DecideStage:
    """One partition of the outcomes log: the customers whose outcomes are in it."""

    def __init__(self, settings: PipelineSettings, counters: Counters) -> None:
        self._lateness_seconds = settings.lateness_seconds
        self._counters = counters
        self._arrivals = Arrivals()
        self.customers = Customers(settings.slices, settings.decide, counters, settings.decide_of)

    def feed(self, entry: OutcomeEntry) -> None:
        """Take in one emission; nothing is decided before event time comes further."""
        if not self._arrivals.is_new(entry.origin):
            self._counters.count('log_records_total{topic="outcomes",outcome="repeated"}')
            return
        self._counters.count('log_records_total{topic="outcomes",outcome="new"}')
        emission = entry.emission
        if not isinstance(emission, Missing):
            self._arrivals.see(emission.event_at)
            self.customers.start(emission.event_at)
        self.customers.account(emission)

    def feed_mark(self, mark: Mark) -> list[Transition]:
        """A partition of the pairs log has come this far."""
        told: list[Transition] = []
        for partition, lost in self._arrivals.mark(mark).items():
            told += self.customers.report_loss(partition, lost, self._arrivals.newest_at or mark.at)
        watermark = self.watermark
        if watermark is not None and self.customers.is_due(watermark):
            told += self.customers.look_until(watermark)
        return told

    def lose(self, partition: str, first: int, lost: int, at: float) -> list[Transition]:
        newly = self._arrivals.lose(partition, first, lost)
        return self.customers.report_loss(partition, newly, self._arrivals.newest_at or at) if newly > 0 else []

    @property
    def watermark(self) -> float | None:
        reached = self._arrivals.reached
        return None if reached is None else reached - self._lateness_seconds

    @property
    def event_times(self) -> tuple[float | None, float | None]:
        return self._arrivals.oldest_at, self._arrivals.newest_at

    def changes(self) -> list[Change]:
        return [*self._arrivals.changes(), *self.customers.changes()]

    def restore(self, table: str, key: str, value: bytes) -> None:
        if table.startswith(ARRIVALS):
            self._arrivals.restore(table, key, value)
        else:
            self.customers.restore(table, key, value)
