"""Decides what a stage has to write down: keyed documents that changed since the last checkpoint."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Change(NamedTuple):
    """One document to write; a value of None deletes it."""

    table: str
    key: str
    value: bytes | None


class Restorable(Protocol):
    """A stage whose state survives a restart: construct it, restore every document, and it goes on bit for bit."""

    def changes(self) -> list[Change]:
        """Documents that changed since the last call, in a deterministic order."""
        ...

    def restore(self, table: str, key: str, value: bytes) -> None:
        """Take back one document written by `changes`."""
        ...
