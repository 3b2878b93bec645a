"""Decides which slices take a baseline that was learned elsewhere, and when.

A slice takes what is offered at the first look at which it exists, if it has nothing that was learned later: neither a
baseline, nor the knowledge that its level has changed since (it re-opened learning). What was offered is written down
with the state, so that a restart without the file goes on the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from monitor.core.budget import Ledger
from monitor.core.changes import Change
from monitor.core.drift import Baseline, Watch
from monitor.core.records import Record, Slice
from monitor.core.watching import Watches


class Offered(Record, frozen=True):
    """Baselines of one customer, learned elsewhere or before.

    maturity_seconds  how long units waited for their labels when these were learned; None: not known
    """

    baselines: tuple[tuple[Slice, Baseline], ...]
    maturity_seconds: float | None = None


class Imports:
    """What one customer's slices are offered."""

    def __init__(self, offered: Offered | None) -> None:
        self.maturity = None if offered is None else offered.maturity_seconds
        self._offers: dict[Slice, Baseline] = {} if offered is None else dict(offered.baselines)
        self._dirty = offered is not None

    def close_baselines(self, watches: Watches, now: float, ledger: Ledger) -> list[Slice]:
        """Let slices take what is newer than what they know; the slices that did."""
        if not self._offers:
            return []
        taken = []
        for watch in watches:
            offer = self._offers.get(watch.slice)
            if offer is not None and _knows_less(watch, offer):
                watch.adopt(offer, now, ledger)
                watches.touch(watch.slice)
                taken.append(watch.slice)
        return taken

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        if not self._dirty:
            return []
        self._dirty = False
        document = Offered(tuple(sorted(self._offers.items(), key=lambda item: item[0])), self.maturity)
        return [Change("imported", "", msgspec.msgpack.encode(document))]

    def restore(self, value: bytes) -> None:
        """Of two offers for a slice the one that was learned later holds, wherever it came from."""
        stored = msgspec.msgpack.decode(value, type=Offered)
        merged = _merged(dict(stored.baselines), self._offers)
        maturity = stored.maturity_seconds if self.maturity is None else self.maturity
        self._dirty = Offered(tuple(sorted(merged.items(), key=lambda item: item[0])), maturity) != stored
        self._offers, self.maturity = merged, maturity


def _merged(first: Mapping[Slice, Baseline], second: Mapping[Slice, Baseline]) -> dict[Slice, Baseline]:
    merged = dict(first)
    for slice_, offer in second.items():
        other = merged.get(slice_)
        if other is None or (offer.learned_until, offer.version) > (other.learned_until, other.version):
            merged[slice_] = offer
    return merged


def _knows_less(watch: Watch, offer: Baseline) -> bool:
    # A baseline that an earlier version closed does not say until when it was learned.
    known = None if watch.baseline is None else watch.baseline.learned_until or watch.closed_at
    if known is not None and known >= offer.learned_until:
        return False
    return watch.reopened_at is None or watch.reopened_at < offer.learned_until
