"""Decides the order of the stages: one record in, the effects of it out.

    feed(record) -> sample -> pair and score -> slice and track -> buffer for the decider
    the watermark passes a full hour of event time -> every customer's decider looks

The pipeline reads no clock: time is the event time of the records, its watermark the greatest of them minus the
lateness allowed. Its state is keyed documents (`changes`, `restore`) and the pair table.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from monitor.core.changes import Change
from monitor.core.deciding import Decider, DecideSettings
from monitor.core.pairing import Emission, Pairing, ReferenceFate, Scoring, TranscriptFate
from monitor.core.pairing_port import HeldReference, HeldTranscript, PairTable
from monitor.core.records import (
    OTHER,
    Kind,
    Observation,
    Outcome,
    Partial,
    Reason,
    Record,
    Reference,
    Rejected,
    Review,
    SliceRow,
    Tombstone,
    Transcript,
    Transition,
)
from monitor.core.sampling import Sampler, SamplingSettings, need_for_labels
from monitor.core.slicing import FIELDS, LabelReader, SliceSettings, Slicing
from monitor.core.snapshot import SliceMoments
from monitor.core.tracking import Tracker, slice_row

HOUR = 3600.0
EXPIRED_AT_ONCE = 1_000
"""Rows expired in one go: bounds the memory that a backlog takes."""
SEALED_AT = 4e9
"""Event time of a tombstone that came before any record had one (the year 2096): it must not expire at once."""
DIGEST_BYTES = 16
"""Of a transcript's SHA-256, kept to tell its versions apart: 64 bits of safety against a forged equal, and 15 MB less
for a million utterances."""
HELD = frozenset({"slots", "open_units", "cells", "watches"})
"""What a decider counts that is held now; its other counts are of what was late or let go."""
TRANSITIONS_KEPT = 500
"""Transitions shown by page and report; incidents.jsonl has them all."""

Message = Transcript | Reference | Tombstone | Partial | Rejected


class PipelineSettings(Record, frozen=True):
    """Everything the core needs to know, and nothing of files, ports or servers.

    lateness_seconds  how long after its event time a record may come and still be decided upon in order
    unit              field or attribute that names the session, call or interview
    """

    slices: SliceSettings = SliceSettings()
    sampling: SamplingSettings = SamplingSettings()
    decide: DecideSettings = DecideSettings()
    tenants: frozenset[str] = frozenset()
    """Customers to follow; empty: every customer, up to `customers_max`."""
    ttl_seconds: float = 30 * 86400.0
    lateness_seconds: float = HOUR
    unit: str = "session"
    reviews: bool = True
    early_warning: bool = True
    """Whether half-way evidence of drift raises a group's need for labels."""
    customers_max: int = 1_000


class Effects(msgspec.Struct):
    """What one record led to; filled by the pipeline, carried out by the agent."""

    emissions: list[Emission] = []
    reviews: list[Review] = []
    transitions: list[Transition] = []
    rejected: Rejected | None = None


class Customer:
    """One customer's slices, totals and decider: nothing is shared between customers."""

    def __init__(self, name: str, settings: PipelineSettings) -> None:
        self.slicing = Slicing(settings.slices, name)
        self.tracker = Tracker(self.slicing, name)
        self.decider = Decider(name, settings.decide, self.slicing)


class Progress(msgspec.Struct):
    """Where event time stands."""

    oldest_at: float | None = None
    newest_at: float | None = None
    next_look_at: float = 0.0


class Pipeline:
    """The whole flow over one pair table. One thread owns it."""

    def __init__(self, settings: PipelineSettings, table: PairTable, scorer: Scoring, key: bytes) -> None:
        self.settings = settings
        self._table = table
        self._sampler = Sampler(settings.sampling, key, settings.ttl_seconds, settings.lateness_seconds)
        self._reader = LabelReader(settings.slices)
        self._strata_reader = LabelReader(
            SliceSettings(dimensions=settings.sampling.strata, strata=(), canonical=settings.slices.canonical)
        )
        self._pairing = Pairing(table, scorer, self._sampler.effective)
        self._customers: dict[str, Customer] = {}
        self._progress = Progress()
        self._progress_dirty = False
        self.transitions: list[Transition] = []
        self._transitions_dirty: list[int] = []
        self._transitions_total = 0
        self.counters: dict[str, int] = {}
        self._counters_dirty: set[str] = set()

    # ---------------------------------------------------------------------------------------------------- one record
    def feed(self, kind: Kind, message: Message, clipped: tuple[str, ...] = ()) -> Effects:
        """Take in one decoded message; each ends under exactly one outcome of `records_consumed_total`."""
        effects = Effects([], [], [])
        rejected = self._route(kind, message, effects)
        if rejected is not None:
            effects.rejected = rejected
            self.count(f'records_consumed_total{{topic="{kind}",outcome="rejected"}}')
            self.count(f'records_rejected_total{{topic="{kind}",reason="{rejected.reason}"}}')
        else:
            self.count(f'records_consumed_total{{topic="{kind}",outcome="{"clipped" if clipped else "accepted"}"}}')
            for field in clipped:
                self.count(f'fields_clipped_total{{field="{field}"}}')
        for emission in effects.emissions:
            self._account(emission)
        self._bound_storage()
        return effects

    def _route(self, kind: Kind, message: Message, effects: Effects) -> Rejected | None:
        match message:
            case Rejected():
                return message
            case Partial():
                self.count("partials_total")
            case Tombstone():
                self.count(f'tombstones_total{{topic="{kind}"}}')
                key = self._sampler.coin(message.id)
                if self._sampler.may_be_kept(key):
                    effects.emissions = self._pairing.erase(key, self._progress.newest_at or SEALED_AT)
            case Transcript():
                if not self._allowed(message.customer):
                    return Rejected(reason=Reason("tenant_not_allowed"), digest=message.digest)
                rejected = self._transcript(message, effects)
                self._advance(message.event_at, effects)
                return rejected
            case Reference():
                self._reference(message, effects)
                self._advance(message.event_at, effects)
        return None

    def _allowed(self, customer: str) -> bool:
        if self.settings.tenants:
            return customer in self.settings.tenants
        return customer in self._customers or len(self._customers) < self.settings.customers_max

    def _transcript(self, message: Transcript, effects: Effects) -> Rejected | None:
        labels = self._reader.labels(message)
        budgeted = self.settings.sampling.labels_per_day is not None
        stratum = self._strata_reader.labels(message) if budgeted else ()
        coin = self._sampler.coin(message.id)
        probability = self._sampler.probability(stratum, message.event_at)
        if not self._sampler.kept(coin, probability):
            self.count('transcripts_total{outcome="sampled_out"}')
            return None
        if message.event_at < (self._progress.newest_at or 0.0) - self.settings.ttl_seconds:
            self.count('transcripts_total{outcome="expired"}')
            return None
        session = self._unit_of(message)
        arrived = HeldTranscript(
            key=coin,
            event_at=message.event_at,
            customer=message.customer,
            deployment=message.deployment,
            labels=labels,
            model=message.model or "",
            language=message.language,
            session=session and self._sampler.pseudonym("unit", message.customer, session),
            speaker=message.speaker and self._sampler.pseudonym("speaker", message.customer, message.speaker),
            inclusion_probability=probability,
            digest=message.digest[:DIGEST_BYTES],
            text=message.text,
        )
        fate, effects.emissions = self._pairing.transcript(arrived)
        self.count(f'transcripts_total{{outcome="{fate}"}}')
        if fate == TranscriptFate.CONFLICT:
            return Rejected(reason=Reason("id_conflict"), digest=message.digest)
        corrected = any(isinstance(emission, Outcome) for emission in effects.emissions)
        if fate in (TranscriptFate.HELD, TranscriptFate.REPLACED) and self.settings.reviews and not corrected:
            effects.reviews.append(self._review(message, labels, probability, coin))
        return None

    def _reference(self, message: Reference, effects: Effects) -> None:
        coin = self._sampler.coin(message.id)
        if not self._sampler.may_be_kept(coin):
            self.count(f'references_total{{outcome="sampled_out",source="{message.source}"}}')
            return
        arrived = HeldReference(
            key=coin,
            event_at=message.event_at,
            revision=message.revision,
            digest=message.digest,
            source=message.source,
            annotator=message.annotator,
            text=message.text,
        )
        fate, effects.emissions = self._pairing.reference(arrived)
        self.count(f'references_total{{outcome="{fate}",source="{message.source}"}}')
        if fate == ReferenceFate.SCORED:
            self._note_delay(message, effects.emissions)

    def _note_delay(self, message: Reference, emissions: list[Emission]) -> None:
        for emission in emissions:
            if isinstance(emission, Outcome) and emission.counts > 0:
                delay = emission.reference_at - emission.event_at
                for bound in DELAY_BOUNDS:
                    if delay <= bound:
                        self.count(f'reference_delay_seconds_bucket{{le="{bound:g}"}}')
                self.count('reference_delay_seconds_bucket{le="+Inf"}')
                self.count("reference_delay_seconds_count")
                self.count("reference_delay_seconds_sum", max(0, round(delay)))

    def _account(self, emission: Emission) -> None:
        """Slice, track and buffer one emission for the decider."""
        customer = self._customer(emission.customer)
        if isinstance(emission, Observation):
            if emission.counts > 0 and OTHER in customer.slicing.fold(emission.labels):
                self.count("groups_folded_total")
            customer.tracker.observe(emission)
            customer.decider.observe(emission)
        else:
            customer.tracker.score(emission)
            customer.decider.score(emission)

    def _unit_of(self, message: Transcript) -> str | None:
        unit = self.settings.unit
        if unit == "session":
            return message.session
        if unit in FIELDS or unit == "speaker":
            declared = getattr(message, unit)
            return str(declared) if declared else None
        return dict(message.attributes).get(unit)

    def _review(self, message: Transcript, labels: tuple[str, ...], probability: float, coin: int) -> Review:
        return Review(
            id=message.id,
            event_at=message.event_at,
            customer=message.customer,
            deployment=message.deployment,
            text=message.text,
            language=message.language,
            labels=dict(zip(self.settings.slices.names, labels, strict=True)),
            inclusion_probability=probability,
            priority=coin / 2.0**64,
        )

    # ----------------------------------------------------------------------------------------------------- event time
    def _advance(self, event_at: float, effects: Effects) -> None:
        progress = self._progress
        if progress.newest_at is None or progress.oldest_at is None:
            progress.oldest_at = progress.newest_at = event_at
            progress.next_look_at = (event_at // HOUR + 1) * HOUR
            self._progress_dirty = True
        if event_at < progress.oldest_at:
            progress.oldest_at = event_at
            self._progress_dirty = True
        if event_at > progress.newest_at:
            progress.newest_at = event_at
            self._progress_dirty = True
        watermark = progress.newest_at - self.settings.lateness_seconds
        if progress.next_look_at < watermark:
            self._look_until(watermark, effects)

    def _look_until(self, watermark: float, effects: Effects) -> None:
        """Look at every full hour before the watermark: a record of that very hour may still come."""
        progress = self._progress
        while progress.next_look_at < watermark:
            self._look(progress.next_look_at, effects)
            progress.next_look_at += HOUR
        self._progress_dirty = True
        if self.settings.sampling.labels_per_day is not None:
            self._sampler.set_needs(self._needs())
        self._expire(watermark)
        self._sampler.lift_ceiling(watermark)

    def _look(self, at: float, effects: Effects) -> None:
        for name in sorted(self._customers):
            for transition in self._customers[name].decider.look(at):
                effects.transitions.append(transition)
                self._transitions_dirty.append(self._transitions_total)
                self._transitions_total += 1
                self.transitions = [*self.transitions, transition][-TRANSITIONS_KEPT:]

    def _needs(self) -> dict[tuple[str, str], float]:
        """Labels that each group needs, for the neediest customer that has it."""
        needs: dict[tuple[str, str], float] = {}
        for name in sorted(self._customers):
            decider = self._customers[name].decider
            for sums in decider.moments():  # what looks decided, not what has arrived since: plans know no arrival
                standing = decider.standing(sums.slice) if len(sums.slice) == 1 else None
                if standing is None:
                    continue
                wer, error = next(
                    ((wer, error) for window, wer, error, _ in standing.windows if window == "28d"), (0, 0)
                )
                evidence = standing.evidence if self.settings.early_warning else 0.0
                need = need_for_labels(wer, error, evidence)
                needs[sums.slice[0]] = max(need, needs.get(sums.slice[0], 0.0))
        return needs

    def _expire(self, watermark: float) -> None:
        before = watermark - self.settings.ttl_seconds
        while expired := self._table.expire_transcripts(before, EXPIRED_AT_ONCE):
            for held in expired:
                if not held.conflicted and not held.referenced:
                    self.count("references_missing_total")
                    self._customer(held.customer).tracker.missing(held.labels)
        while waited := self._table.expire_references(before, EXPIRED_AT_ONCE):
            for reference in waited:
                self.count(f'references_total{{outcome="expired",source="{reference.source}"}}')

    def _bound_storage(self) -> None:
        while self._table.held() > self.settings.sampling.pending_max:
            dropped = self._table.drop_above(self._sampler.lower_ceiling(self._progress.newest_at or 0.0))
            self.count("storage_budget_reached_total")
            self.count("storage_budget_dropped_total", dropped)

    def finish(self) -> Effects:
        """The input is at its end: look on until every unit is closed, as if time went by without records."""
        effects = Effects([], [], [])
        settled = max((customer.decider.settled_at for customer in self._customers.values()), default=0.0)
        if self._progress.newest_at is not None:
            self._look_until(max(settled, self._progress.newest_at) + HOUR / 2, effects)
        return effects

    # ------------------------------------------------------------------------------------------------------- to show
    @property
    def watermark(self) -> float | None:
        """Event time up to which records are decided upon; None before the first record."""
        newest = self._progress.newest_at
        return None if newest is None else newest - self.settings.lateness_seconds

    @property
    def event_times(self) -> tuple[float | None, float | None]:
        """First and last event time of all records."""
        return self._progress.oldest_at, self._progress.newest_at

    def winners(self) -> int:
        """Utterances that have a scored reference, of any source, empty ones included."""
        return sum(
            totals.pairs + totals.empty_references + totals.biased_pairs
            for customer in self._customers.values()
            for slice_, totals in customer.tracker.rows()
            if not slice_
        )

    def empty_references(self) -> int:
        """Winners whose reference normalises to nothing."""
        return sum(
            totals.empty_references
            for customer in self._customers.values()
            for slice_, totals in customer.tracker.rows()
            if not slice_
        )

    def waiting(self) -> int:
        """References whose transcript has not come."""
        return self._table.waiting()

    def slice_rows(self) -> Iterator[SliceRow]:
        """Every slice of every customer, most general first."""
        for name in sorted(self._customers):
            customer = self._customers[name]
            for slice_, totals in customer.tracker.rows():
                yield slice_row(name, slice_, totals, customer.decider.standing(slice_))

    def budgets(self) -> list[tuple[str, float, float]]:
        """(customer, granted, spent) false pages."""
        return [(name, *self._customers[name].decider.budget()) for name in sorted(self._customers)]

    def moments(self) -> list[SliceMoments]:
        """Mergeable sums of closed units, for the counters of each slice."""
        return [moments for name in sorted(self._customers) for moments in self._customers[name].decider.moments()]

    def gauges(self) -> dict[str, float]:
        """Sizes of everything that is bounded, and the watermark."""
        return {
            "event_watermark_timestamp_seconds": self.watermark or 0.0,
            "pending_utterances": float(self._table.pending()),
            "waiting_references": float(self._table.waiting()),
            "pending_bytes": float(self._table.held_bytes()),
            "sampling_ceiling_ratio": self._sampler.ceiling,
        }

    def bounds(self) -> tuple[dict[str, int], dict[str, int]]:
        """(times that something reached its bound or came too late, how much is held): every buffer has a line."""
        reached: dict[str, int] = {}
        held: dict[str, int] = {"customers": len(self._customers)}
        for customer in self._customers.values():
            reached["clusters_closed"] = reached.get("clusters_closed", 0) + customer.tracker.clusters_closed
            coverage = customer.decider.coverage()
            for name, value in coverage.counters.items():
                into = held if name in HELD else reached
                into[name] = into.get(name, 0) + value
        return reached, held

    def count(self, name: str, amount: int = 1) -> None:
        """Raise a counter of the catalogue; it survives restarts with the rest of the state."""
        self.counters[name] = self.counters.get(name, 0) + amount
        self._counters_dirty.add(name)

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        """Every document that changed since the last call."""
        written = self._sampler.changes()
        for name in sorted(self._customers):
            customer = self._customers[name]
            written += customer.slicing.changes()
            written += customer.tracker.changes()
            written += [
                Change(f"decide/{change.table}", f"{name}\x1f{change.key}", change.value)
                for change in customer.decider.changes()
            ]
        for name in sorted(self._counters_dirty):
            written.append(Change("counters", name, msgspec.msgpack.encode(self.counters[name])))
        self._counters_dirty.clear()
        if self._progress_dirty:
            written.append(Change("progress", "", msgspec.msgpack.encode(self._progress)))
            self._progress_dirty = False
        oldest = self._transitions_total - len(self.transitions)
        for index in self._transitions_dirty:
            if index >= oldest:
                value = msgspec.msgpack.encode(self.transitions[index - oldest])
                written.append(Change("transitions", f"{index:012d}", value))
                written.append(Change("transitions", f"{index - TRANSITIONS_KEPT:012d}", None))
        self._transitions_dirty.clear()
        return written

    def restore(self, table: str, key: str, value: bytes) -> None:
        """Take back one document, in the order of (table, key)."""
        match table:
            case "sampling":
                self._sampler.restore(table, key, value)
            case "groups":
                self._customer(key.split("\x1f", 1)[0]).slicing.restore(table, key, value)
            case "totals" | "clusters":
                self._customer(key.split("\x1f", 1)[0]).tracker.restore(table, key, value)
            case "counters":
                self.counters[key] = msgspec.msgpack.decode(value, type=int)
            case "progress":
                self._progress = msgspec.msgpack.decode(value, type=Progress)
            case "transitions":
                self.transitions.append(msgspec.msgpack.decode(value, type=Transition))
                self._transitions_total = int(key) + 1
            case _:
                name, _, rest = key.partition("\x1f")
                self._customer(name).decider.restore(table.removeprefix("decide/"), rest, value)

    # ------------------------------------------------------------------------------------------------------- private
    def _customer(self, name: str) -> Customer:
        customer = self._customers.get(name)
        if customer is None:
            customer = self._customers[name] = Customer(name, self.settings)
        return customer


DELAY_BOUNDS = (60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 172_800.0, 345_600.0, 604_800.0, 1_209_600.0)
"""Bounds of the reference delay histogram, 1 min to 14 d (observability.md)."""
