"""Decides what plans are made of: what a decider remembers, and how much traffic and how many labels a day that is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from monitor.core.budget import Ledger
from monitor.core.cells import IntArray
from monitor.core.closed_units import CellRow, TrafficRow
from monitor.core.decide_settings import DecideSettings
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.open_units import person_of
from monitor.core.records import Labels, Slice
from monitor.core.standings import Gap
from monitor.core.watching import Watches

DAY = 86400.0
TRAFFIC_DAYS = 7.0
"""Rates of traffic and labels are of the last week: in half of one there may be no weekend, twice as long it is old."""


class Remembered(NamedTuple):
    """What a decider knows that plans are made of.

    epoch      (n,) of the rows: 0, or the incident that explains it
    few        calls: slices do not bet
    groups     that bet on their gap; reserved: part of the budget that other detectors are paid
    """

    rows: Sequence[CellRow]
    epoch: IntArray
    traffic: Sequence[TrafficRow]
    watches: Watches
    gaps: Mapping[Slice, Gap]
    ledger: Ledger
    settings: DecideSettings
    few: bool
    groups: int = 0
    reserved: float = 0.0

    @property
    def newest_at(self) -> float:
        """Event time of the newest closed traffic: a replay's clock goes on after it."""
        return max((row.ended_at for row in self.traffic), default=0.0)


Chance = Callable[[Labels], float]
"""Probability that an utterance with these labels is corrected."""


def traffic_a_day(known: Remembered, positions: Sequence[int]) -> dict[Labels, float]:
    """Utterances a day of the last week, by the values of the labels at these positions."""
    since = known.newest_at - TRAFFIC_DAYS * DAY
    oldest = min((row.first_at for row in known.traffic), default=known.newest_at)
    days = min(TRAFFIC_DAYS, max((known.newest_at - oldest) / DAY, 1.0))
    daily: dict[Labels, float] = {}
    for row in known.traffic:
        if row.ended_at > since:
            stratum = tuple(row.labels[position] for position in positions)
            daily[stratum] = daily.get(stratum, 0.0) + row.weight / WEIGHT_ONE / days
    return daily


class Flow:
    """A slice's traffic. Mutable while it is added up.

    week, labels, seen  utterances of the last week: all of them (estimated), labelled, sampled
    units               sessions of the last week that were sampled
    persons             when each was first and last seen, over all that is remembered
    """

    def __init__(self) -> None:
        self.week = self.labels = self.seen = 0.0
        self.units: set[str] = set()
        self.persons: dict[str, tuple[float, float]] = {}


def flows_of(known: Remembered, chance: Chance | None) -> dict[Slice, Flow]:
    """Each watched slice's traffic. chance: as labels are to come; None: as they come today."""
    flows: dict[Slice, Flow] = defaultdict(Flow)
    since = known.newest_at - TRAFFIC_DAYS * DAY
    for row in known.traffic:
        person = person_of(row.unit)
        for slice_ in known.watches.slices_of(row.labels):
            flow = flows[slice_]
            first, last = flow.persons.get(person, (row.first_at, row.ended_at))
            flow.persons[person] = (min(first, row.first_at), max(last, row.ended_at))
            if row.ended_at > since:
                flow.week += row.weight / WEIGHT_ONE
                flow.labels += row.labelled if chance is None else chance(row.labels) * row.weight / WEIGHT_ONE
                flow.seen += row.seen
                flow.units.add(row.unit)
    return flows
