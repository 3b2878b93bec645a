"""Decides when a result may leave the outbox: once its line is durable in the file, and the file's length in state.

A notification leaves it once what is owed to receivers is in the state instead (mailbox.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from monitor.adapters.files import OutputFolder
from monitor.adapters.store import StorageFailed, Store
from monitor.core.changes import Change
from monitor.mailbox import STREAM, Mailbox

ENTRIES_AT_ONCE = 5_000
"""Outbox entries held in memory at a time: about 3 MB of outcomes."""

TABLE = "files"
"""Documents with the length of each file at the last delivery."""


class Delivery:
    """Moves committed outbox entries into a folder's line files, each exactly once whatever dies."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        lengths: Mapping[str, int],
        streams: Sequence[str],
        mailbox: Mailbox | None = None,
    ) -> None:
        """Raises StorageFailed, like `deliver`: results on a full disk are waited for as the state is."""
        self._store = store
        self._mailbox = mailbox
        try:
            with _storage_errors(folder):
                self._folder = OutputFolder(folder, lengths, streams=streams)
        except BaseException:
            if mailbox is not None:
                mailbox.close()  # its receivers must not be told by two
            raise
        self._path = folder
        self.lost_bytes = self._folder.lost_bytes()
        """Files that someone cut behind our back, and by how much."""

    def deliver(self) -> None:
        """Write what was committed; the next commit lets go of it."""
        last = 0
        notifications: list[tuple[int, bytes]] = []
        with _storage_errors(self._path):
            while entries := self._store.outbox(last, ENTRIES_AT_ONCE):
                self._folder.append(entries)
                notifications += [(number, payload) for number, stream, payload in entries if stream == STREAM]
                last = entries[-1][0]
            if last:
                self._folder.sync()
        if last:
            self._store.apply(
                Change(TABLE, name, msgspec.msgpack.encode(length)) for name, length in self._folder.lengths().items()
            )
            self._store.forget_outbox(last)
        if self._mailbox is not None:
            self._store.apply(self._mailbox.take(notifications))

    def append_at_end(self, stream: str, lines: Sequence[bytes]) -> None:
        """Lines of an input's end: not remembered, so that a longer input later starts where they did."""
        self._folder.append((0, stream, line) for line in lines)
        self._folder.sync()

    @property
    def has_news(self) -> bool:
        """Receivers have taken something, which the next commit may remember."""
        return self._mailbox is not None and self._mailbox.has_news

    def close(self) -> None:
        self._folder.close()
        if self._mailbox is not None:
            self._mailbox.close()


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"results {folder}: {error.strerror or type(error).__name__}") from None


def lengths_of(documents: Mapping[str, bytes]) -> dict[str, int]:
    """File name -> length, from the documents of TABLE."""
    return {name: msgspec.msgpack.decode(value, type=int) for name, value in documents.items()}
