"""Decides what a decider carries from look to look beside its units, watches and incidents."""

from __future__ import annotations

import msgspec

from monitor.core.budget import Ledger
from monitor.core.records import Record, Slice, UnitFit
from monitor.core.silence import Traffic

DAY = 86400.0

MODELS_MAX = 200
"""Model labels remembered, to say which are new. Beyond it none is called new."""


class Coverage(Record, frozen=True):
    """What is not seen.

    unlabelled  dimension -> share of utterances taken in without a value
    missing     slice -> (utterances of closed units, those without any reference by maturity)
    counters    late records and everything that reached a bound
    """

    unlabelled: dict[str, float]
    missing: dict[Slice, tuple[int, int]]
    counters: dict[str, int]


class Clock(msgspec.Struct):
    """Where event time stands, and the small things that go with it. Mutable, private to its decider."""

    ledger: Ledger
    looked_at: float | None = None
    first_at: float | None = None
    last_at: float = 0.0
    maturity: float | None = None
    calls_at: float | None = None
    """Closed event time of the last daily look at few long units."""
    few: bool = False
    models: dict[str, float] = {}
    """Model label -> first event time."""
    traffic: Traffic = msgspec.field(default_factory=Traffic)
    counters: dict[str, int] = {}
    unit_fit: UnitFit | None = None
    """As the last daily look found it."""

    def note_model(self, model: str, event_at: float) -> None:
        """Remember when a model label was first seen; called in event-time order."""
        if len(self.models) < MODELS_MAX:
            self.models.setdefault(model, event_at)

    def new_models(self, since: float, now: float) -> list[str]:
        """Model labels first seen from a day before the change on: what on-call looks at first."""
        if len(self.models) >= MODELS_MAX:
            return []
        return sorted(model for model, first in self.models.items() if model and since - DAY < first <= now)
