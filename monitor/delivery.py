"""Decides when a result may leave the outbox: once its line is durable in the file, and the file's length in state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from monitor.adapters.files import OutputFolder
from monitor.adapters.store import Store
from monitor.core.changes import Change

ENTRIES_AT_ONCE = 5_000
"""Outbox entries held in memory at a time: about 3 MB of outcomes."""

TABLE = "files"
"""Documents with the length of each file at the last delivery."""


class Delivery:
    """Moves committed outbox entries into a folder's line files, each exactly once whatever dies."""

    def __init__(self, store: Store, folder: Path, lengths: Mapping[str, int], streams: Sequence[str]) -> None:
        self._store = store
        self._folder = OutputFolder(folder, lengths, streams=streams)
        self.lost_bytes = self._folder.lost_bytes()
        """Files that someone cut behind our back, and by how much."""

    def deliver(self) -> None:
        """Write what was committed; the next commit lets go of it."""
        last = 0
        while entries := self._store.outbox(last, ENTRIES_AT_ONCE):
            self._folder.append(entries)
            last = entries[-1][0]
        if last:
            self._folder.sync()
            self._store.apply(
                Change(TABLE, name, msgspec.msgpack.encode(length)) for name, length in self._folder.lengths().items()
            )
            self._store.forget_outbox(last)

    def append_at_end(self, stream: str, lines: Sequence[bytes]) -> None:
        """Lines of an input's end: not remembered, so that a longer input later starts where they did."""
        self._folder.append((0, stream, line) for line in lines)
        self._folder.sync()

    def close(self) -> None:
        self._folder.close()


def lengths_of(documents: Mapping[str, bytes]) -> dict[str, int]:
    """File name -> length, from the documents of TABLE."""
    return {name: msgspec.msgpack.decode(value, type=int) for name, value in documents.items()}
