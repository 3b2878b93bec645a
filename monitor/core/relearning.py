"""Decides which slices begin to learn anew because an operator says that their level is meant to be another one.

An order holds from its event time on, which is the same in a replay. What was ordered, and whether it was done, is
written down with the state: a restart without the file goes on the same, and nothing is done twice.
"""

from __future__ import annotations

import msgspec

from monitor.core.changes import Change
from monitor.core.records import Record, Slice
from monitor.core.watching import Watches

DONE_KEPT = 200
"""Orders remembered as done: at half, a file of years begins to be done again."""


class Order(Record, frozen=True):
    """Learn a new baseline from units that end after `since`: of a slice and what lies within, () for everything."""

    id: str
    slice: Slice
    since: float


class Relearning:
    """Orders of one customer."""

    def __init__(self, orders: tuple[Order, ...]) -> None:
        self._waiting: dict[str, Order] = {order.id: order for order in orders}
        self._done: tuple[str, ...] = ()
        self._dirty = bool(orders)

    def take(self, watches: Watches, now: float, closed_at: float) -> list[Order]:
        """Re-open learning where that is ordered by now; what was done, with the time that it counts from.

        closed_at  event time by which units are closed
        """
        due = sorted((one for one in self._waiting.values() if one.since <= now), key=lambda one: (one.since, one.id))
        done = []
        for order in due:
            since = max(order.since, closed_at)
            for watch in watches:
                if set(order.slice) <= set(watch.slice) and watch.learning_since < since:
                    watch.reopen(since)
                    watches.touch(watch.slice)
            del self._waiting[order.id]
            self._done = (*self._done, order.id)[-DONE_KEPT:]
            self._dirty = True
            done.append(Order(id=order.id, slice=order.slice, since=since))
        return done

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        if not self._dirty:
            return []
        self._dirty = False
        waiting = [self._waiting[name] for name in sorted(self._waiting)]
        return [Change("relearning", "", msgspec.msgpack.encode((waiting, self._done)))]

    def restore(self, value: bytes) -> None:
        """What the file says beside it is new, unless it was done."""
        waiting, done = msgspec.msgpack.decode(value, type=tuple[list[Order], tuple[str, ...]])
        known = {order.id: order for order in waiting}
        fresh = {name: one for name, one in self._waiting.items() if name not in done and name not in known}
        self._waiting, self._done, self._dirty = known | fresh, done, bool(fresh)
