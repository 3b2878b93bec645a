"""Decides what is counted of the flow: counters of the catalogue, which survive a restart with their state."""

from __future__ import annotations

import msgspec

from monitor.core.changes import Change


class Counters:
    """Counters by their series, `name{label="value"}`. They only ever rise."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self._dirty: set[str] = set()

    def count(self, series: str, amount: int = 1) -> None:
        self.values[series] = self.values.get(series, 0) + amount
        self._dirty.add(series)

    def changes(self) -> list[Change]:
        written = [
            Change("counters", series, msgspec.msgpack.encode(self.values[series])) for series in sorted(self._dirty)
        ]
        self._dirty.clear()
        return written

    def restore(self, key: str, value: bytes) -> None:
        self.values[key] = msgspec.msgpack.decode(value, type=int)
