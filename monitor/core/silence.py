"""Decides whether anything can be seen at all: vanished labels, references that stopped, traffic that nobody scores.

Each condition either holds or not; what an incident makes of it is `incidents`' work.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from monitor.core.cells import FloatArray, LabelArray
from monitor.core.closed_units import TrafficRow
from monitor.core.coverage import SHIFT_POINTS, ShareShift, Stale, share_shift, stale
from monitor.core.describing import Why, blind_sentence, label_sentence, loss_sentence, stale_sentence
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.groupings import encode
from monitor.core.records import UNKNOWN, Level, Slice
from monitor.core.telling import Condition

HOUR = 3600.0
DAY = 86400.0

BLIND_SECONDS = 3 * DAY
"""Traffic without a score for this long pages. At half, a weekend (Friday evening to Monday morning, 63 h) would page;
at double, a broken reference feed hides every fault of a week."""
BLIND_UTTERANCES = 60
"""Fewer utterances in the last day are no traffic worth waking somebody for. At half a test client pages."""


class Traffic(msgspec.Struct, array_like=True):
    """Utterances by event hour over the last day, and when somebody last corrected one. Mutable, part of the clock.

    upcoming  hours of references that are buffered but whose hour no look has passed yet
    """

    hours: dict[int, int] = {}
    last_scored_at: float | None = None
    upcoming: list[int] = []

    def count(self, event_at: float) -> None:
        hour = int(event_at // HOUR)
        self.hours[hour] = self.hours.get(hour, 0) + 1

    def scored(self, reference_at: float) -> None:
        """Note a correction, whenever it arrives: only its hour counts, and from the look after that hour on."""
        hour = int(reference_at // HOUR)
        if hour not in self.upcoming and (self.last_scored_at is None or hour >= self.last_scored_at // HOUR):
            self.upcoming = sorted([*self.upcoming, hour])

    def pass_hour(self, now: float) -> None:
        """A look at `now`: what happened before counts from here on."""
        for hour in [hour for hour in self.hours if (hour + 1) * HOUR <= now - DAY]:
            del self.hours[hour]
        passed = [hour for hour in self.upcoming if (hour + 1) * HOUR <= now]
        if passed:
            self.last_scored_at = max(self.last_scored_at or 0.0, (passed[-1] + 1) * HOUR)
            self.upcoming = [hour for hour in self.upcoming if hour not in passed]

    def blind(self, now: float, first_at: float, maturity: float) -> int | None:
        """Utterances of the last day if nobody has scored any for too long, else None."""
        utterances = sum(self.hours.values())
        since = max(first_at, self.last_scored_at or 0.0)
        if utterances < BLIND_UTTERANCES or now - since < max(BLIND_SECONDS, maturity + DAY):
            return None
        return utterances


class TrafficTable:
    """Traffic rows as arrays, one row for each (unit, labels)."""

    def __init__(self, rows: Sequence[TrafficRow], names: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        self._unit = np.array([numbers.setdefault(row.unit, len(numbers)) for row in rows], np.int64)
        self._ended_at = np.array([row.ended_at for row in rows], np.float64)
        self._first_at = np.array([row.first_at for row in rows], np.float64)
        self._weight = np.array([row.weight for row in rows], np.float64) / WEIGHT_ONE
        self._seen = np.array([row.seen for row in rows], np.float64)
        self._labelled = np.array([float(row.labelled > 0) for row in rows], np.float64)
        self._rows = rows
        self._names = list(names)

    def vanished(self, dimension: str, now: float) -> ShareShift | None:
        """The shift if the share of utterances without this label rose by 10 points beyond chance."""
        if len(self._rows) == 0:
            return None
        shift = share_shift(self._first_at, self._unit, self._unlabelled(dimension), now, self._size())
        return shift if shift is not None and shift.fires else None

    def still_vanished(self, dimension: str, before: float, now: float) -> bool:
        """Whether the last day's share is still more than half the smallest shift above what it was."""
        recent = self._first_at > now - DAY
        size = float(self._size()[recent].sum())
        if not size > 0:
            return True
        return float(self._unlabelled(dimension)[recent].sum()) / size > before + SHIFT_POINTS / 2

    def stopped(self, dimensions: Sequence[str], now: float, maturity: float) -> dict[Slice, Stale]:
        """All traffic if none of it has a reference any more; else the groups that have none."""
        if len(self._rows) == 0:
            return {}
        mature = self._ended_at + maturity
        found = stale(self._unit, mature, self._labelled, now)
        if found is not None:
            return {(): found}
        groups: dict[Slice, Stale] = {}
        for name in dimensions:
            values, code = encode(self._column(name))
            for number, value in enumerate(values if len(values) > 1 else ()):
                rows = code == number
                found = stale(self._unit[rows], mature[rows], self._labelled[rows], now)
                if found is not None:
                    groups[((name, value),)] = found
        return groups

    def labelled_since(self, slice_: Slice, since: float, maturity: float) -> bool:
        """Whether a session of the slice that matured after `since` has a reference."""
        rows = (self._labelled > 0) & (self._ended_at + maturity > since)
        for name, value in slice_:
            rows &= np.asarray(self._column(name) == value, np.bool_)
        return bool(rows.any())

    def _size(self) -> FloatArray:
        """Weighted utterances, scaled so that their sum is the number seen: z and thresholds count utterances."""
        return np.asarray(self._weight * (self._seen.sum() / self._weight.sum()))

    def _unlabelled(self, dimension: str) -> FloatArray:
        return np.asarray(np.where(self._column(dimension) == UNKNOWN, self._size(), 0.0))

    def _column(self, name: str) -> LabelArray:
        position = self._names.index(name)
        column = np.empty(len(self._rows), dtype=object)
        column[:] = [row.labels[position] for row in self._rows]
        return column


# ---------------------------------------------------------------------------------------------------------- conditions
def blind_conditions(traffic: Traffic, now: float, first_at: float, maturity: float) -> dict[Slice, Condition]:
    """A page when traffic flows and nobody scores any."""
    utterances = traffic.blind(now, first_at, maturity)
    if utterances is None:
        return {}
    sentence = blind_sentence(utterances, traffic.last_scored_at)
    return {(): Condition(Level.PAGE, float(utterances), Why.NOTHING_SCORED, sentence, {})}


def coverage_conditions(table: TrafficTable, dimension: str, now: float) -> dict[Slice, Condition]:
    """A page when a label vanishes."""
    shift = table.vanished(dimension, now)
    if shift is None:
        return {}
    sentence, since = label_sentence(dimension, shift), now - shift.days * DAY
    condition = Condition(Level.PAGE, shift.z, Why.LABEL_VANISHED, sentence, {}, since=since, level_before=shift.before)
    return {((dimension, UNKNOWN),): condition}


def loss_condition(partition: str, lost: int, before: int) -> Condition:
    """A ticket when messages are gone unread: nobody can know whose they were."""
    total = before + lost
    return Condition(Level.TICKET, float(total), Why.RECORDS_LOST, loss_sentence(partition, lost, total), {})


def stale_conditions(
    table: TrafficTable, dimensions: Sequence[str], now: float, maturity: float
) -> dict[Slice, Condition]:
    """A ticket for each slice whose references stopped."""
    return {
        slice_: Condition(
            Level.TICKET,
            float(found.sessions),
            Why.REFERENCES_STOPPED,
            stale_sentence(slice_, found),
            {},
            since=now - found.days * DAY,
        )
        for slice_, found in table.stopped(dimensions, now, maturity).items()
    }
