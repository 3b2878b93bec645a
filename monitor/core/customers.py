"""Decides what becomes of scores and traffic: slices, totals and a decider for each customer, on one clock.

Nothing is shared between customers but the hours at which their deciders look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from monitor.core.changes import Change
from monitor.core.counters import Counters
from monitor.core.deciding import Decider, DecideSettings
from monitor.core.pairing import Emission
from monitor.core.records import OTHER, Account, Missing, ModelSeries, Observation, SliceRow, Transition, UnitFit
from monitor.core.releasing import released_row
from monitor.core.sampling import need_for_labels
from monitor.core.slicing import SliceSettings, Slicing, slice_named
from monitor.core.snapshot import SliceMoments
from monitor.core.tracking import Tracker, claimed_totals, slice_row

HOUR = 3600.0
HELD = frozenset({"slots", "open_units", "cells", "watches"})
"""What a decider counts that is held now; its other counts are of what was late or let go."""
TRANSITIONS_KEPT = 500
"""Transitions shown by page and report; incidents.jsonl has them all."""


TABLES = frozenset({"groups", "totals", "clusters", "looks", "transitions"})
"""Documents of ours beside those of deciders."""


def is_of_decide(table: str) -> bool:
    """Whether a document is one of `Customers.changes`."""
    return table in TABLES or table.startswith("decide/")


class Customer:
    """One customer's slices, totals and decider."""

    def __init__(self, name: str, slices: SliceSettings, decide: DecideSettings) -> None:
        self.slicing = Slicing(slices, name)
        self.tracker = Tracker(self.slicing, name)
        self.decider = Decider(name, decide, self.slicing)


class Looks(msgspec.Struct):
    """Which full hour is looked at next."""

    next_at: float | None = None
    begun: bool = False
    """Some hour was looked at: earlier ones are over."""


class Customers:
    """Every customer of one process, or of one partition of the outcomes log."""

    def __init__(
        self,
        slices: SliceSettings,
        decide: DecideSettings,
        counters: Counters,
        decide_of: Mapping[str, DecideSettings] | None = None,
    ) -> None:
        self._slices = slices
        self._decide = decide
        self._decide_of = decide_of or {}
        self._counters = counters
        self._customers: dict[str, Customer] = {}
        self._looks = Looks()
        self._looks_dirty = False
        self.transitions: list[Transition] = []
        self._transitions_dirty: list[int] = []
        self._transitions_total = 0

    def account(self, emission: Emission | Missing) -> None:
        """Slice and track one emission, and buffer it for the decider."""
        customer = self._customer(emission.customer)
        if isinstance(emission, Observation):
            if emission.counts > 0 and OTHER in customer.slicing.fold(emission.labels):
                self._counters.count("groups_folded_total")
            customer.tracker.observe(emission)
            customer.decider.observe(emission)
        elif isinstance(emission, Missing):
            customer.tracker.missing(emission.labels)
        else:
            customer.tracker.score(emission)
            customer.decider.score(emission)

    # ----------------------------------------------------------------------------------------------------- event time
    def start(self, event_at: float) -> None:
        """Hours are looked at from the earliest record on, whichever input it comes from."""
        looks = self._looks
        if looks.next_at is None or (not looks.begun and event_at < looks.next_at - HOUR):
            looks.next_at = (event_at // HOUR + 1) * HOUR
            self._looks_dirty = True

    def is_due(self, watermark: float) -> bool:
        """Whether a full hour lies before the watermark that was not looked at."""
        return self._looks.next_at is not None and self._looks.next_at < watermark

    def look_until(self, watermark: float) -> list[Transition]:
        """Look at every full hour before the watermark: a record of that very hour may still come."""
        told: list[Transition] = []
        assert self._looks.next_at is not None
        while self._looks.next_at < watermark:
            for name in sorted(self._customers):
                told += self._customers[name].decider.look(self._looks.next_at)
            self._looks.next_at += HOUR
        self._looks.begun = self._looks_dirty = True
        for transition in told:
            self._remember(transition)
        return told

    def report_loss(self, partition: str, lost: int, newest_at: float) -> list[Transition]:
        """Messages are gone unread: a coverage incident for each customer, any of whom may have been in them.

        It is dated by the hour that deciders have come to, or before any look by the newest record's.
        """
        looks = self._looks
        at = looks.next_at - HOUR if looks.begun and looks.next_at is not None else newest_at
        told = [
            transition
            for name in sorted(self._customers)
            for transition in self._customers[name].decider.report_loss(partition, lost, at)
        ]
        for transition in told:
            self._remember(transition)
        return told

    def _remember(self, transition: Transition) -> None:
        self._transitions_dirty.append(self._transitions_total)
        self._transitions_total += 1
        self.transitions = [*self.transitions, transition][-TRANSITIONS_KEPT:]

    @property
    def settled_at(self) -> float:
        """Event time of the look by which everything so far is decided."""
        return max((customer.decider.settled_at for customer in self._customers.values()), default=0.0)

    def needs(self, *, early_warning: bool) -> dict[tuple[str, str], float]:
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
                need = need_for_labels(wer, error, standing.evidence if early_warning else 0.0)
                needs[sums.slice[0]] = max(need, needs.get(sums.slice[0], 0.0))
        return needs

    # ------------------------------------------------------------------------------------------------------- to show
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

    def slice_rows(self) -> Iterator[SliceRow]:
        """Every slice of every customer, most general first."""
        for name in sorted(self._customers):
            customer = self._customers[name]
            for slice_, totals in customer.tracker.rows():
                yield slice_row(name, slice_, totals, customer.decider.standing(slice_))
            for sums in customer.decider.claimed():
                yield slice_row(name, sums.slice, claimed_totals(sums), customer.decider.standing(sums.slice))

    def shown_rows(self) -> Iterator[SliceRow]:
        """The same rows as the outside may see them while the agent runs."""
        for row in self.slice_rows():
            decider = self._customers[row.customer].decider
            yield released_row(row, decider.released(slice_named(row.slice)), decider.release_min)

    def budgets(self) -> list[Account]:
        """Each customer's account."""
        return [decider.account() for _, decider in self.deciders()]

    def unit_fits(self) -> list[UnitFit]:
        """Of each customer with enough units."""
        return [fit for _, decider in self.deciders() if (fit := decider.unit_fit()) is not None]

    def series(self) -> list[ModelSeries]:
        """Each customer's."""
        return [one for _, decider in self.deciders() for one in decider.series()]

    def moments(self) -> list[SliceMoments]:
        """Mergeable sums of closed units, for the counters of each slice."""
        return [moments for name in sorted(self._customers) for moments in self._customers[name].decider.moments()]

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

    def deciders(self) -> Iterator[tuple[str, Decider]]:
        """Each customer's, by name."""
        for name in sorted(self._customers):
            yield name, self._customers[name].decider

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        """Every document that changed since the last call."""
        written: list[Change] = []
        for name in sorted(self._customers):
            customer = self._customers[name]
            written += customer.slicing.changes()
            written += customer.tracker.changes()
            written += [
                Change(f"decide/{change.table}", f"{name}\x1f{change.key}", change.value)
                for change in customer.decider.changes()
            ]
        if self._looks_dirty:
            written.append(Change("looks", "", msgspec.msgpack.encode(self._looks)))
            self._looks_dirty = False
        oldest = self._transitions_total - len(self.transitions)
        for index in self._transitions_dirty:
            if index >= oldest:
                value = msgspec.msgpack.encode(self.transitions[index - oldest])
                written.append(Change("transitions", f"{index:012d}", value))
                written.append(Change("transitions", f"{index - TRANSITIONS_KEPT:012d}", None))
        self._transitions_dirty.clear()
        return written

    def restore(self, table: str, key: str, value: bytes) -> str | None:
        """Take back one document, in the order of (table, key); returns the customer that it is of, if any."""
        name, _, rest = key.partition("\x1f")
        match table:
            case "groups":
                self._customer(name).slicing.restore(table, key, value)
            case "totals" | "clusters":
                self._customer(name).tracker.restore(table, key, value)
            case "looks":
                self._looks = msgspec.msgpack.decode(value, type=Looks)
                return None
            case "transitions":
                self.transitions.append(msgspec.msgpack.decode(value, type=Transition))
                self._transitions_total = int(key) + 1
                return None
            case _:
                self._customer(name).decider.restore(table.removeprefix("decide/"), rest, value)
        return name

    def _customer(self, name: str) -> Customer:
        customer = self._customers.get(name)
        if customer is None:
            decide = self._decide_of.get(name, self._decide)
            customer = self._customers[name] = Customer(name, self._slices, decide)
        return customer
