"""Decides which model labels came, went or came back at a change: shares of a customer's transcripts by hour.

When a label was first seen does not tell a rollback, which brings an old label back. Counted over all of the customer's
transcripts, corrected or not: within a slice, declare `model` as a dimension.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from monitor.core.changes import Change
from monitor.core.records import OTHER, ModelMoved

HOUR = 3600.0

MODELS_A_HOUR_MAX = 20
"""Labels counted by name in one hour; further ones together. A label for each request would else fill the state."""
HOURS_COMPARED = 24
"""Hours with traffic on each side: a whole day's mix of models. At half, nights are compared with days; at double, what
came a day before a rollback blurs it."""
TRANSCRIPTS_MIN = 20
"""Fewer on a side say nothing of a share of 5 %."""
PRESENT = 0.05
ABSENT = 0.01
"""A label came or went when its share crossed from one to the other; a canary below 5 % decides nobody's WER."""
SHARE_MOVED_MIN = 0.20
"""A label that stayed has moved when this much of the traffic changed: at half, the mix of an hour's deployments is
called a rollout; at double, a rollout by halves is missed."""


class Models(msgspec.Struct, frozen=True):
    """`changed` is None where no transcript has a label, or where too few were counted."""

    changed: bool | None
    moved: tuple[ModelMoved, ...] = ()


class ModelShares:
    """Transcripts of each model label in each hour of event time, within the horizon. A document for each hour."""

    def __init__(self) -> None:
        self._hours: dict[int, dict[str, int]] = {}
        self._dirty: set[int] = set()

    def note(self, model: str, event_at: float) -> None:
        """One transcript more; called in event-time order."""
        hour = int(event_at // HOUR)
        counts = self._hours.setdefault(hour, {})
        name = model if model in counts or len(counts) < MODELS_A_HOUR_MAX else OTHER
        counts[name] = counts.get(name, 0) + 1
        self._dirty.add(hour)

    def forget(self, before: float) -> None:
        """Drop hours that ended by then."""
        for hour in [hour for hour in self._hours if (hour + 1) * HOUR <= before]:
            del self._hours[hour]
            self._dirty.add(hour)

    def around(self, low: float, high: float) -> Models:
        """What moved between the last day with traffic before `low` and the first one since `high`."""
        hours = sorted(self._hours)
        first = [hour for hour in hours if (hour + 1) * HOUR <= low]
        later = [hour for hour in hours if hour * HOUR >= high]
        before, after = self._sum(first[-HOURS_COMPARED:]), self._sum(later[:HOURS_COMPARED])
        total = sum(before.values()), sum(after.values())
        if min(total) < TRANSCRIPTS_MIN or not any(before.keys() | after.keys()):
            return Models(None)
        earlier = self._sum(first[:-HOURS_COMPARED])
        moved = [
            ModelMoved(
                model=model,
                share_before=before.get(model, 0) / total[0],
                share_after=after.get(model, 0) / total[1],
                seen_earlier=model in earlier,
            )
            for model in sorted(before.keys() | after.keys())
            if model and model != OTHER
        ]
        found = [model for model in moved if _has_moved(model)]
        found.sort(key=lambda model: (model.share_before - model.share_after, model.model))
        return Models(bool(found), tuple(found))

    def of_hours(self, until: float, hours: int) -> dict[str, int]:
        """Transcripts by label in the hours that ended by then."""
        last = int(until // HOUR)
        return self._sum(hour for hour in range(last - hours, last) if hour in self._hours)

    def _sum(self, hours: Iterable[int]) -> dict[str, int]:
        total: dict[str, int] = {}
        for hour in hours:
            for model, count in self._hours[hour].items():
                total[model] = total.get(model, 0) + count
        return total

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        written = []
        for hour in sorted(self._dirty):
            counts = self._hours.get(hour)
            value = None if counts is None else msgspec.msgpack.encode(sorted(counts.items()))
            written.append(Change("models", f"{hour:09d}", value))
        self._dirty.clear()
        return written

    def restore(self, key: str, value: bytes) -> None:
        """Take back one hour, in any order."""
        self._hours[int(key)] = dict(msgspec.msgpack.decode(value, type=list[tuple[str, int]]))


def _has_moved(model: ModelMoved) -> bool:
    least, most = sorted((model.share_before, model.share_after))
    return most - least >= SHARE_MOVED_MIN or (least < ABSENT and most >= PRESENT)
