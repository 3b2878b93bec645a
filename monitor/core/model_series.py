"""Decides since when which model made a customer's transcripts: a new one begins a new series, knowingly.

A series is a note, no more. Baselines stay what they were, so that a bad rollout is never excused: if the new model is
worse it pages, and the page quotes it; if it is as good, nobody is woken by the change itself; if it is better, the
improvement's own bet re-opens learning.
"""

from __future__ import annotations

import msgspec

from monitor.core.changes import Change
from monitor.core.model_shares import ModelShares
from monitor.core.records import OTHER, ModelSeries

HOUR = 3600.0
HOURS = 24
"""Looked at once a day: a canary of some hours is no series."""
SHARE_MIN = 0.95
"""A series is nearly all traffic. At .5, a rollout by halves would be two; at 1, one straggling client hides it."""
TRANSCRIPTS_MIN = 20
"""Fewer do not show a share of 95 %."""
KEPT = 50
"""Series remembered: a year of weekly releases."""


class SeriesBook:
    """One customer's series, oldest first. A document."""

    def __init__(self, customer: str) -> None:
        self._customer = customer
        self.series: tuple[ModelSeries, ...] = ()
        self._dirty = False

    def look(self, shares: ModelShares, now: float) -> None:
        """Once a day: whether one model made nearly all transcripts of the last one, and not those before."""
        counts = {model: count for model, count in shares.of_hours(now, HOURS).items() if model and model != OTHER}
        total = sum(shares.of_hours(now, HOURS).values())
        if total < TRANSCRIPTS_MIN or not counts:
            return
        model = max(sorted(counts), key=lambda name: counts[name])
        if counts[model] < SHARE_MIN * total or (self.series and self.series[-1].model == model):
            return
        self.series = (*self.series, ModelSeries(self._customer, model, now - HOURS * HOUR))[-KEPT:]
        self._dirty = True

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        if not self._dirty:
            return []
        self._dirty = False
        return [Change("series", "", msgspec.msgpack.encode(self.series))]

    def restore(self, value: bytes) -> None:
        self.series = msgspec.msgpack.decode(value, type=tuple[ModelSeries, ...])
