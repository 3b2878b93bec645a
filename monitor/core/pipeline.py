"""Decides the order of the stages in one process: one record in, the effects of it out.

    feed(record) -> route -> pair and score -> slice and track -> buffer for the decider
    the watermark passes a full hour of event time -> every customer's decider looks

The pipeline reads no clock: time is the event time of the records, its watermark what all inputs have reached minus the
lateness allowed. Its state is keyed documents (`changes`, `restore`) and the pair table. The same stages with a log
between them are in apart.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from monitor.core.arrivals import PREFIX as ARRIVALS
from monitor.core.arrivals import Arrivals
from monitor.core.changes import Change
from monitor.core.counters import Counters
from monitor.core.customers import Customers
from monitor.core.deciding import DecideSettings
from monitor.core.joining import Joiner
from monitor.core.pairing import Emission, Scoring
from monitor.core.pairing_port import PairTable
from monitor.core.records import (
    Account,
    Kind,
    Mark,
    ModelSeries,
    Reason,
    Record,
    Rejected,
    Review,
    SliceRow,
    Tombstone,
    Transcript,
    Transition,
    UnitFit,
)
from monitor.core.routing import Message as Message
from monitor.core.routing import Router
from monitor.core.sampling import Sampler, SamplingSettings
from monitor.core.slicing import SliceSettings
from monitor.core.snapshot import SliceMoments

HOUR = 3600.0
UPSTREAM = "input"
"""Name of the one input of a pipeline that has no several."""


class PipelineSettings(Record, frozen=True):
    """Everything the core needs to know, and nothing of files, ports or servers.

    lateness_seconds  how long after its event time a record may come and still be decided upon in order
    unit              field or attribute that names the session, call or interview
    """

    slices: SliceSettings = SliceSettings()
    sampling: SamplingSettings = SamplingSettings()
    decide: DecideSettings = DecideSettings()
    decide_of: dict[str, DecideSettings] = msgspec.field(default_factory=dict)
    """Customers who have settings of their own."""
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


class Pipeline:
    """The whole flow over one pair table. One thread owns it."""

    def __init__(self, settings: PipelineSettings, table: PairTable, scorer: Scoring, key: bytes) -> None:
        self.settings = settings
        self._counters = Counters()
        self._arrivals = Arrivals()
        self._sampler = Sampler(settings.sampling, key, settings.ttl_seconds, settings.lateness_seconds)
        self.router = router_of(settings, self._sampler, self._counters)
        self._joiner = joiner_of(settings, table, scorer, self._sampler, self._counters)
        self._customers = Customers(settings.slices, settings.decide, self._counters, settings.decide_of)

    # ---------------------------------------------------------------------------------------------------- one record
    def feed(self, kind: Kind, message: Message, clipped: tuple[str, ...] = (), upstream: str = UPSTREAM) -> Effects:
        """Take in one decoded message; each ends under exactly one outcome of `records_consumed_total`."""
        effects = Effects([], [], [])
        routing = self.router.route(message)
        effects.rejected = routing.rejected
        if isinstance(message, Tombstone):
            self.count(f'tombstones_total{{topic="{kind}"}}')
        if routing.routed is not None:
            joined = self._joiner.join(routing.routed, self._arrivals.reached, self._arrivals.newest_at)
            effects.emissions = joined.emissions
            if joined.conflict and isinstance(message, Transcript):
                effects.rejected = Rejected(reason=Reason("id_conflict"), digest=message.digest)
            if routing.review is not None and joined.reviewable:
                effects.reviews.append(routing.review)
        if routing.event_at is not None:
            self.advance(upstream, routing.event_at, effects)
        self.router.account(kind, effects.rejected, clipped)
        for emission in effects.emissions:
            self._customers.account(emission)
        self._joiner.bound_storage(self._arrivals.newest_at)
        return effects

    # ----------------------------------------------------------------------------------------------------- event time
    def advance(self, upstream: str, event_at: float, effects: Effects) -> None:
        """An input has come as far as this event time."""
        self._customers.start(event_at)
        self._arrivals.note(upstream, event_at)
        self._look_if_due(effects)

    def pass_over(self, upstream: str, event_at: float) -> Effects:
        """Messages up to this event time were passed over."""
        effects = Effects([], [], [])
        self.advance(upstream, event_at, effects)
        return effects

    def mark(self, mark: Mark) -> Effects:
        """What is known of an input beside its records: whether all of it was read."""
        effects = Effects([], [], [])
        self._arrivals.mark(mark)
        self._look_if_due(effects)
        return effects

    def lose(self, partition: str, first: int, lost: int, at: float, problem: str) -> Effects:
        """Messages of this partition are gone unread; `at`: event time if none is known yet."""
        effects = Effects([], [], [])
        newly = self._arrivals.lose(partition, first, lost)
        if newly > 0:
            topic = partition.rpartition("-")[0]
            self.count(f'input_lost_records_total{{topic="{topic}",problem="{problem}"}}', newly)
            effects.transitions += self._customers.report_loss(partition, newly, self._arrivals.newest_at or at)
        return effects

    def ahead(self, seconds: float) -> frozenset[str]:
        """Inputs that are read this much further in event time than the slowest that has more to tell."""
        return self._arrivals.ahead(seconds)

    def expect(self, upstreams: Collection[str]) -> None:
        """Which inputs there are, when there are several."""
        self._arrivals.keep(upstreams)

    def _look_if_due(self, effects: Effects) -> None:
        watermark = self.watermark
        if watermark is not None and self._customers.is_due(watermark):
            self._look_until(watermark, effects)

    def _look_until(self, watermark: float, effects: Effects) -> None:
        effects.transitions += self._customers.look_until(watermark)
        if self.settings.sampling.labels_per_day is not None:
            self._sampler.set_needs(self._customers.needs(early_warning=self.settings.early_warning))
        for missing in self._joiner.expire(watermark):
            self._customers.account(missing)

    def finish(self) -> Effects:
        """The input is at its end: look on until every unit is closed, as if time went by without records."""
        effects = Effects([], [], [])
        newest_at = self._arrivals.newest_at
        if newest_at is not None:
            self._look_until(max(self._customers.settled_at, newest_at) + HOUR / 2, effects)
        return effects

    # ------------------------------------------------------------------------------------------------------- to show
    @property
    def watermark(self) -> float | None:
        """Event time up to which records are decided upon; None before every input was heard of."""
        reached = self._arrivals.reached
        return None if reached is None else reached - self.settings.lateness_seconds

    @property
    def event_times(self) -> tuple[float | None, float | None]:
        """First and last event time of all records."""
        return self._arrivals.oldest_at, self._arrivals.newest_at

    @property
    def counters(self) -> dict[str, int]:
        return self._counters.values

    @property
    def transitions(self) -> list[Transition]:
        """The last transitions, oldest first."""
        return self._customers.transitions

    def winners(self) -> int:
        """Utterances that have a scored reference, of any source, empty ones included."""
        return self._customers.winners()

    def empty_references(self) -> int:
        """Winners whose reference normalises to nothing."""
        return self._customers.empty_references()

    def waiting(self) -> int:
        """References whose transcript has not come."""
        return self._joiner.waiting()

    def slice_rows(self) -> Iterator[SliceRow]:
        """Every slice of every customer, most general first."""
        return self._customers.slice_rows()

    def shown_rows(self) -> Iterator[SliceRow]:
        """The same rows as the outside may see them while the agent runs."""
        return self._customers.shown_rows()

    def budgets(self) -> list[Account]:
        """Each customer's account."""
        return self._customers.budgets()

    def unit_fits(self) -> list[UnitFit]:
        """Whether each customer's units are long enough."""
        return self._customers.unit_fits()

    def series(self) -> list[ModelSeries]:
        """Each customer's."""
        return self._customers.series()

    def moments(self) -> list[SliceMoments]:
        """Mergeable sums of closed units, for the counters of each slice."""
        return self._customers.moments()

    def gauges(self) -> dict[str, float]:
        """Sizes of everything that is bounded, and the watermark."""
        return {"event_watermark_timestamp_seconds": self.watermark or 0.0, **self._joiner.gauges()}

    def bounds(self) -> tuple[dict[str, int], dict[str, int]]:
        """(times that something reached its bound or came too late, how much is held): every buffer has a line."""
        return self._customers.bounds()

    def count(self, name: str, amount: int = 1) -> None:
        """Raise a counter of the catalogue; it survives restarts with the rest of the state."""
        self._counters.count(name, amount)

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        """Every document that changed since the last call."""
        return [
            *self._sampler.changes(),
            *self._arrivals.changes(),
            *self._customers.changes(),
            *self._counters.changes(),
        ]

    def restore(self, table: str, key: str, value: bytes) -> None:
        """Take back one document, in the order of (table, key)."""
        if table == "sampling":
            self._sampler.restore(table, key, value)
        elif table == "counters":
            self._counters.restore(key, value)
        elif table.startswith(ARRIVALS):
            self._arrivals.restore(table, key, value)
        else:
            customer = self._customers.restore(table, key, value)
            if customer is not None:
                self.router.know(customer)


def router_of(settings: PipelineSettings, sampler: Sampler, counters: Counters, *, erases_all: bool = False) -> Router:
    """ROUTE as configured."""
    return Router(
        slices=settings.slices,
        sampler=sampler,
        counters=counters,
        tenants=settings.tenants,
        customers_max=settings.customers_max,
        unit=settings.unit,
        reviews=settings.reviews,
        erases_all=erases_all,
    )


def joiner_of(
    settings: PipelineSettings, table: PairTable, scorer: Scoring, sampler: Sampler, counters: Counters
) -> Joiner:
    """SCORE as configured."""
    return Joiner(
        table=table,
        scorer=scorer,
        sampler=sampler,
        counters=counters,
        ttl_seconds=settings.ttl_seconds,
        pending_max=settings.sampling.pending_max,
    )
