"""Decides what of the input goes on: allowed tenants, one of the contract's outcomes, and the sampling coin.

What goes on is what pairing may keep: keyed hashes for ids, sessions and speakers, declared labels in their order, and
the probability that the utterance was kept with.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from monitor.core.counters import Counters
from monitor.core.pairing_port import HeldReference, HeldTranscript
from monitor.core.records import (
    Kind,
    Labels,
    Partial,
    Reason,
    Record,
    Reference,
    Rejected,
    Review,
    Tombstone,
    Transcript,
    UtteranceKey,
)
from monitor.core.sampling import Sampler
from monitor.core.slicing import FIELDS, LabelReader, SliceSettings

DIGEST_BYTES = 16
"""Of a transcript's SHA-256, kept to tell its versions apart: 64 bits of safety against a forged equal, and 15 MB less
for a million utterances."""

TENANT_NOT_ALLOWED = Reason("tenant_not_allowed")

Message = Transcript | Reference | Tombstone | Partial | Rejected


class Erasure(Record, frozen=True):
    """A request to forget one utterance."""

    key: UtteranceKey


Routed = HeldTranscript | HeldReference | Erasure


class Routing(msgspec.Struct):
    """What one message led to."""

    routed: Routed | None = None
    """What pairing is to take in."""
    review: Review | None = None
    """The same for human correctors, if pairing holds it."""
    rejected: Rejected | None = None
    event_at: float | None = None


class Router:
    """Looks at every message once. `sampler` and `counters` may be shared with later stages of the same process."""

    def __init__(
        self,
        *,
        slices: SliceSettings,
        sampler: Sampler,
        counters: Counters,
        tenants: frozenset[str],
        customers_max: int,
        unit: str,
        reviews: bool,
        erases_all: bool = False,
    ) -> None:
        """`erases_all`: what is held elsewhere may have been kept by rules that this sampler does not know."""
        self._erases_all = erases_all
        self._names = slices.names
        self._sampler = sampler
        self._counters = counters
        self._tenants = tenants
        self._customers: set[str] = set()
        self._customers_max = customers_max
        self._unit = unit
        self._reviews = reviews
        self._reader = LabelReader(slices)
        self._budgeted = sampler.settings.labels_per_day is not None
        self._strata_reader = LabelReader(
            SliceSettings(dimensions=sampler.settings.strata, strata=(), canonical=slices.canonical)
        )

    def know(self, customer: str) -> None:
        """A customer that is followed already: the bound on their number does not turn it away."""
        self._customers.add(customer)

    def coins(self) -> tuple[Callable[[str], int], int] | None:
        """(coin of an id, first coin that cannot be kept), by which a message can be passed over unread; None if every
        message must be read: all may be kept, a label budget needs all traffic, other tenants' are refused one by one.
        """
        if self._sampler.keeps_all or self._budgeted or self._tenants:
            return None
        return self._sampler.coin, self._sampler.limit

    def note_passed_over(self, kind: Kind, messages: int) -> None:
        """Count messages that were passed over."""
        self._counters.count(f'records_consumed_total{{topic="{kind}",outcome="accepted"}}', messages)
        series = (
            'transcripts_total{outcome="sampled_out"}'
            if kind is Kind.TRANSCRIPT
            else 'references_total{outcome="sampled_out",source="unread"}'
        )
        self._counters.count(series, messages)

    def route(self, message: Message) -> Routing:
        """Decide about one decoded message."""
        match message:
            case Rejected():
                return Routing(rejected=message)
            case Partial():
                self._counters.count("partials_total")
                return Routing()
            case Tombstone():
                key = self._sampler.coin(message.id)
                kept = self._erases_all or self._sampler.may_be_kept(key)
                return Routing(routed=Erasure(key=key) if kept else None)
            case Transcript():
                return self._transcript(message)
            case Reference():
                return self._reference(message)

    def account(self, kind: Kind, rejected: Rejected | None, clipped: tuple[str, ...]) -> None:
        """Count the message under exactly one outcome."""
        count = self._counters.count
        if rejected is not None:
            count(f'records_consumed_total{{topic="{kind}",outcome="rejected"}}')
            count(f'records_rejected_total{{topic="{kind}",reason="{rejected.reason}"}}')
            return
        count(f'records_consumed_total{{topic="{kind}",outcome="{"clipped" if clipped else "accepted"}"}}')
        for field in clipped:
            count(f'fields_clipped_total{{field="{field}"}}')

    # ------------------------------------------------------------------------------------------------------- private
    def _allowed(self, customer: str) -> bool:
        if customer in self._customers:
            return True
        if self._tenants:
            return customer in self._tenants
        return len(self._customers) < self._customers_max

    def _transcript(self, message: Transcript) -> Routing:
        if not self._allowed(message.customer):
            return Routing(rejected=Rejected(reason=TENANT_NOT_ALLOWED, digest=message.digest))
        labels = self._reader.labels(message)
        stratum = self._strata_reader.labels(message) if self._budgeted else ()
        coin = self._sampler.coin(message.id)
        probability = self._sampler.probability(stratum, message.event_at)
        if not self._sampler.kept(coin, probability):
            self._counters.count('transcripts_total{outcome="sampled_out"}')
            return Routing(event_at=message.event_at)
        self._customers.add(message.customer)
        session = self._unit_of(message)
        held = HeldTranscript(
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
        review = self._review(message, labels, probability, coin) if self._reviews else None
        return Routing(routed=held, review=review, event_at=message.event_at)

    def _reference(self, message: Reference) -> Routing:
        coin = self._sampler.coin(message.id)
        if not self._sampler.may_be_kept(coin):
            self._counters.count(f'references_total{{outcome="sampled_out",source="{message.source}"}}')
            return Routing(event_at=message.event_at)
        held = HeldReference(
            key=coin,
            event_at=message.event_at,
            revision=message.revision,
            digest=message.digest,
            source=message.source,
            annotator=message.annotator,
            text=message.text,
        )
        return Routing(routed=held, event_at=message.event_at)

    def _unit_of(self, message: Transcript) -> str | None:
        unit = self._unit
        if unit == "session":
            return message.session
        if unit in FIELDS or unit == "speaker":
            declared = getattr(message, unit)
            return str(declared) if declared else None
        return dict(message.attributes).get(unit)

    def _review(self, message: Transcript, labels: Labels, probability: float, coin: int) -> Review:
        return Review(
            id=message.id,
            event_at=message.event_at,
            customer=message.customer,
            deployment=message.deployment,
            text=message.text,
            language=message.language,
            labels=dict(zip(self._names, labels, strict=True)),
            inclusion_probability=probability,
            priority=coin / 2.0**64,
        )
