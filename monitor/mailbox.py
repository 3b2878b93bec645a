"""Decides who is owed which step of which incident, and remembers it in the state until it was delivered.

A step reaches the outbox in the transaction that decided it. Once that is durable the step is owed to receivers: at
once in memory, and with the next transaction, which lets go of the outbox's entry, as a document for each step. So it
is sent at least once, whatever dies; again under the same key.

A state that is made again from a log has told its past before: it is quiet until it is as far as it was, and then tells
what is still open, under the key that its receivers know.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from monitor.adapters.notify.notice import Notice, dedup_key
from monitor.adapters.store import Store
from monitor.core.changes import Change
from monitor.core.records import Direction, IncidentKind, Record, Transition
from monitor.sending import Item, Sender

STREAM = "notifications"
OWED = "notifications_owed"
TOLD = "notifications_told"
TABLES = (OWED, TOLD)

RESOLVED_MAX = 200
"""Resolved incidents whose key is remembered for a relapse, which comes within a day."""


class Entry(Record, frozen=True):
    """In the outbox. `quiet`: it was told before this state was lost."""

    told: Transition
    quiet: bool = False


class Owed(Record, frozen=True):
    """Document by number: a step, and who is still owed it."""

    notice: Notice
    channels: tuple[str, ...]


class Told(Record, frozen=True):
    """Document by incident: its last step, and who was told of it."""

    notice: Notice
    channels: tuple[str, ...]
    quiet: bool = False


class Mailbox:
    """What one state owes. One thread owns it; receivers' threads only say what is done."""

    def __init__(self, store: Store, sender: Sender, documents: Mapping[str, Mapping[str, bytes]]) -> None:
        """`documents`: of TABLES, by table and key."""
        self._store = store
        self._sender = sender
        self._owed: dict[int, Owed] = {}
        self._told: dict[str, Told] = {}
        self._done: deque[tuple[int, str]] = deque()
        self._open: tuple[Notice, ...] = ()
        for key, value in sorted(documents.get(TOLD, {}).items()):
            self._told[key] = msgspec.msgpack.decode(value, type=Told)
        for outlet in sender.outlets.values():
            outlet.know(self)
        self._show_open()
        for key, value in sorted(documents.get(OWED, {}).items()):
            owed = msgspec.msgpack.decode(value, type=Owed)
            self._owe(int(key), owed.notice, owed.channels)

    def note(self, transitions: Sequence[Transition], *, quiet: bool) -> None:
        """Into the outbox, with the transaction that is open."""
        for told in transitions:
            self._store.add_outbox(STREAM, msgspec.msgpack.encode(Entry(told=told, quiet=quiet)))

    def take(self, entries: Iterable[tuple[int, bytes]]) -> list[Change]:
        """Owe what is durable by now; the changes belong into the transaction that lets go of these entries."""
        changes: list[Change] = []
        owed: list[tuple[int, Notice, tuple[str, ...]]] = []
        for number, payload in entries:
            entry = msgspec.msgpack.decode(payload, type=Entry)
            notice = self._notice(entry.told)
            channels = () if entry.quiet else self._channels(notice)
            changes.append(self._remember(notice, channels, quiet=entry.quiet))
            if channels:
                changes.append(_document(OWED, _number(number), Owed(notice=notice, channels=channels)))
                owed.append((number, notice, channels))
        self._show_open()  # first: what is open is sent again by receivers' threads, and an end is not taken back
        for number, notice, channels in owed:
            self._owe(number, notice, channels)
        return [*changes, *self._forget_resolved()]

    def tell_at_end(self, transitions: Sequence[Transition]) -> None:
        """Of an input's end, which nobody remembers: the same end tells the same again, under the same keys."""
        owed: list[tuple[Notice, tuple[str, ...]]] = []
        for told in transitions:
            notice = self._notice(told)
            owed.append((notice, self._channels(notice)))
            self._remember(*owed[-1], quiet=False)
        self._show_open()
        for notice, channels in owed:
            for channel in channels:
                self._sender.outlets[channel].put(Item(notice, self, _nothing))

    def awake(self) -> None:
        """This state is as far as it ever was: what is still open is told again, by way of the outbox."""
        for incident, told in self._told.items():
            if told.quiet and not told.notice.resolved:
                self._told[incident] = replace(told, quiet=False)
                self.note([told.notice.told], quiet=False)

    def settle(self) -> None:
        """Before a commit: what was delivered since the last time is owed no more."""
        changes: dict[int, Change] = {}
        while self._done:
            number, channel = self._done.popleft()
            owed = self._owed.get(number)
            if owed is None:
                continue
            left = tuple(name for name in owed.channels if name != channel)
            if left:
                self._owed[number] = replace(owed, channels=left)
                changes[number] = _document(OWED, _number(number), self._owed[number])
            else:
                del self._owed[number]
                changes[number] = Change(OWED, _number(number), None)
        self._store.apply(changes.values())

    @property
    def has_news(self) -> bool:
        """Something was delivered that the state does not know of."""
        return bool(self._done)

    def open_notices(self) -> Sequence[Notice]:
        """Open incidents; any thread may ask."""
        return self._open

    def close(self) -> None:
        """Whoever has the state next owes what is left."""
        self._sender.forget(self)

    # --------------------------------------------------------------------------------------------------------- private
    def _notice(self, told: Transition) -> Notice:
        """A step under the key of its incident, which is given when that is first told."""
        former = self._told.get(told.incident)
        first = told if former is None else former.notice
        slice_ = first.slice if isinstance(first, Notice) else first.slices[0]
        ordinal = 1 if former is None else former.notice.ordinal
        taken = self._taken(told, first.kind, first.direction, slice_)
        while ordinal in taken:
            ordinal += 1
        return Notice(
            key=dedup_key(told.customer, first.kind, first.direction, slice_, ordinal),
            kind=first.kind,
            direction=first.direction,
            slice=slice_,
            fired_at=told.at if former is None else former.notice.fired_at,
            level_before=former.notice.told.level if former is not None and former.channels else None,
            told=told,
            queued_at=time.time(),
            ordinal=ordinal,
        )

    def _taken(self, told: Transition, kind: IncidentKind, direction: Direction, slice_: str) -> set[int]:
        """Ordinals of other open incidents with the same labels."""
        labels = (told.customer, kind, direction, slice_)
        return {
            other.notice.ordinal
            for incident, other in self._told.items()
            if incident != told.incident
            and not other.notice.resolved
            and (other.notice.told.customer, other.notice.kind, other.notice.direction, other.notice.slice) == labels
        }

    def _channels(self, notice: Notice) -> tuple[str, ...]:
        """Who is told: by level, and whoever was told of this incident before."""
        former = self._told.get(notice.told.incident)
        before = () if former is None else former.channels
        return tuple(
            channel
            for channel, outlet in self._sender.outlets.items()
            if notice.told.level in outlet.to.levels or channel in before
        )

    def _remember(self, notice: Notice, channels: Sequence[str], *, quiet: bool) -> Change:
        incident = notice.told.incident
        former = self._told.get(incident)
        known = tuple(sorted({*(former.channels if former is not None else ()), *channels}))
        self._told[incident] = Told(notice=notice, channels=known, quiet=quiet)
        return _document(TOLD, incident, self._told[incident])

    def _forget_resolved(self) -> list[Change]:
        resolved = [incident for incident, told in self._told.items() if told.notice.resolved]
        resolved.sort(key=lambda incident: (self._told[incident].notice.told.at, incident))
        forgotten = resolved[: max(0, len(resolved) - RESOLVED_MAX)]
        for incident in forgotten:
            del self._told[incident]
        return [Change(TOLD, incident, None) for incident in forgotten]

    def _owe(self, number: int, notice: Notice, channels: Sequence[str]) -> None:
        self._owed[number] = Owed(notice=notice, channels=tuple(channels))
        for channel in channels:
            if channel in self._sender.outlets:
                done = partial(self._done.append, (number, channel))
                self._sender.outlets[channel].put(Item(notice, self, done))
            else:  # of a configuration that is gone
                self._done.append((number, channel))

    def _show_open(self) -> None:
        told = self._told.values()
        self._open = tuple(one.notice for one in told if not one.quiet and not one.notice.resolved)


def _document(table: str, key: str, value: Record) -> Change:
    return Change(table, key, msgspec.msgpack.encode(value))


def _number(number: int) -> str:
    return f"{number:016d}"


def _nothing() -> None:
    """Nobody remembers it."""
