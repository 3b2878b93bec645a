"""Decides whether a record was seen before, and how far event time has come when several upstreams arrive at own pace.

Intuition     An upstream is whatever delivers in order: an archive, or one partition of a log. Records of one upstream
              are identified by their position in it, so that what comes again after a crash is known by comparing two
              numbers. Event time has come as far as the slowest upstream that still has something to tell: a reader
              that catches up reads one topic days ahead of the other.
Guarantee     `is_new` is true once for each position of an upstream, whatever is read or produced twice, as long as
              each upstream's records keep their order. `reached` never goes back.
Not covered   Records that are behind their own upstream's newest by more than the lateness allowed: they are late.
Source        Akidau et al., "The Dataflow Model", VLDB 2015, section 2.2 (watermarks); the minimum over inputs as in
              Carbone et al., "Apache Flink", 2015.

An upstream is *current* when its reader has been at its end: it holds nobody back from what was known by then, and from
nothing more. A partition that nobody reads any more holds event time where it was, which a stalled watermark shows.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from enum import Enum

import msgspec

from monitor.core.changes import Change
from monitor.core.records import Loss, Mark, Origin

CLOCKS_SECONDS = 60.0
"""Readers' clocks differ by less, or one of them was wrong and is right now."""

GONE_SECONDS = 600.0
"""Silence after which an upstream beyond the number that there are is gone: longer than any agent takes to restart."""

LOSSES_MAX = 10
"""Gaps of one partition that are remembered, and told in each mark: the last. Everybody downstream forgets alike."""

PREFIX = "arrivals/"
"""Of the tables that hold these documents."""
SEEN, LOSS, UPSTREAM, PROGRESS = (PREFIX + part for part in ("seen", "losses", "upstreams", "progress"))


class Upstream(msgspec.Struct):
    """What is known of one upstream."""

    newest_at: float | None = None
    current: bool = False
    marked_at: float = 0.0
    """Its reader's clock at its last mark."""
    read_at: float = 0.0
    """If current: all that was there at this moment has been read."""
    seen_at: float | None = None
    """The newest event time among its records, which its next mark makes known: a reader that has just taken over does
    not know it."""


class Progress(msgspec.Struct):
    """Event time over all upstreams."""

    oldest_at: float | None = None
    newest_at: float | None = None
    reached: float | None = None
    vouched_at: float | None = None
    """Event time that the current upstreams vouch for."""
    told_at: float | None = None
    """The readers' clock, by the latest of all marks."""
    asked_at: float | None = None
    """The readers' clock, at which `asked_of` was the newest event time: vouched for once all have read that far."""
    asked_of: float = 0.0


class Pace(Enum):
    """What event time waits for."""

    UNHEARD = 0
    """An upstream that has not been heard of."""
    BEHIND = 1
    """The slowest of those that still have something to tell."""
    CURRENT = 2
    """Nobody: it is the newest event time there is."""


class Arrivals:
    """The upstreams of one pipeline or stage."""

    def __init__(self, expected: int = 1) -> None:
        """`expected`: upstreams to hear of before event time is known at all; marks may raise it."""
        self._expected = expected
        self._upstreams: dict[str, Upstream] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._losses: dict[tuple[str, int], int] = {}
        self._progress = Progress()
        self._pace = Pace.UNHEARD
        self._slowest = ""
        self._dirty: set[tuple[str, str]] = set()

    # ------------------------------------------------------------------------------------------------------ identity
    def is_new(self, origin: Origin) -> bool:
        """Whether this record comes for the first time; notes that it came."""
        position = (origin.offset, origin.part)
        if position <= self._seen.get(origin.upstream, (-1, -1)):
            return False
        self._seen[origin.upstream] = position
        self._dirty.add((SEEN, origin.upstream))
        return True

    # ---------------------------------------------------------------------------------------------------- event time
    @property
    def oldest_at(self) -> float | None:
        return self._progress.oldest_at

    @property
    def newest_at(self) -> float | None:
        """The greatest event time of any record."""
        return self._progress.newest_at

    @property
    def reached(self) -> float | None:
        """Event time up to which every upstream has told what it has; None while one was not heard of."""
        return self._progress.reached

    @property
    def read_at(self) -> float | None:
        """The moment up to which all that was there has been read, of every upstream; None while one is behind."""
        if self._pace is not Pace.CURRENT:
            return None
        return min((state.read_at for state in self._upstreams.values()), default=None)

    def expect(self, upstreams: int) -> None:
        """How many upstreams there are; one more may appear while we run."""
        if upstreams != self._expected:
            self._expected = upstreams
            self._settle()

    def keep(self, upstreams: Collection[str]) -> None:
        """These are all there are: one that is read no more must not hold event time where it was."""
        for gone in self._upstreams.keys() - set(upstreams):
            self._forget(gone)
        self._expected = len(upstreams)
        self._settle()

    def _forget(self, upstream: str) -> None:
        del self._upstreams[upstream]
        self._dirty.add((UPSTREAM, upstream))

    def note(self, upstream: str, event_at: float) -> bool:
        """A record of this event time came; whether event time has come further by it."""
        self.see(event_at)
        state = self._upstreams.get(upstream)
        if state is None:
            state = self._upstreams[upstream] = Upstream()
        unheard = state.newest_at is None
        if state.newest_at is not None and event_at <= state.newest_at:
            return False
        state.newest_at = event_at
        self._dirty.add((UPSTREAM, upstream))
        if unheard or self._slowest == upstream or self._pace is Pace.UNHEARD:
            return self._settle()
        return False

    def see(self, event_at: float, upstream: str | None = None) -> None:
        """A record of this event time came; how far its upstream is, marks say.

        `upstream`: for its next mark to make known, where marks tell of an upstream's own records.
        """
        if upstream is not None:
            state = self._upstreams.setdefault(upstream, Upstream())
            if state.seen_at is None or event_at > state.seen_at:
                state.seen_at = event_at
                self._dirty.add((UPSTREAM, upstream))
        progress = self._progress
        if progress.oldest_at is None or event_at < progress.oldest_at:
            progress.oldest_at = event_at
            self._dirty.add((PROGRESS, ""))
        if progress.newest_at is None or event_at > progress.newest_at:
            progress.newest_at = event_at
            self._dirty.add((PROGRESS, ""))

    def ahead(self, seconds: float) -> frozenset[str]:
        """Upstreams whose newest record is this much newer than that of the slowest which has more to tell."""
        if self._pace is not Pace.BEHIND:
            return frozenset()
        slowest = self._upstreams[self._slowest].newest_at
        if slowest is None:
            return frozenset()
        return frozenset(
            name
            for name, state in self._upstreams.items()
            if state.newest_at is not None and state.newest_at > slowest + seconds
        )

    def mark(self, mark: Mark) -> dict[str, int]:
        """What a reader says of its upstream; returns what was lost since it was last said, by partition."""
        state = self._upstreams.setdefault(mark.upstream, Upstream())
        reached_at = max((at for at in (mark.reached_at, state.seen_at) if at is not None), default=None)
        if reached_at is not None and (state.newest_at is None or reached_at > state.newest_at):
            state.newest_at = reached_at
            self._progress.newest_at = max(reached_at, self._progress.newest_at or reached_at)
            self._dirty.add((PROGRESS, ""))
        state.current = mark.current
        state.read_at = mark.at if mark.read_at is None else mark.read_at
        state.marked_at = mark.at
        self._dirty.add((UPSTREAM, mark.upstream))
        self._expected = mark.of
        self._forget_gone(mark.at)
        self._vouch(mark.at)
        self._settle()
        newly: dict[str, int] = {}
        for partition, first, lost in mark.losses:
            more = self._note_loss(partition, first, lost)
            if more > 0:
                newly[partition] = newly.get(partition, 0) + more
        return newly

    def _forget_gone(self, now: float) -> None:
        """A topic that is read no more, or was made again, leaves upstreams too many: those that are silent longest."""
        while len(self._upstreams) > self._expected:
            name, state = min(self._upstreams.items(), key=lambda item: (item[1].marked_at, item[0]))
            if state.marked_at > now - GONE_SECONDS:
                return
            self._forget(name)

    def lose(self, partition: str, first: int, lost: int) -> int:
        """Records of this partition, from `first` on, are gone unread; returns how many of them are news."""
        return self._note_loss(partition, first, lost)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What was lost, here and further up."""
        return tuple((partition, first, lost) for (partition, first), lost in sorted(self._losses.items()))

    def _note_loss(self, partition: str, first: int, lost: int) -> int:
        """Known by where it began: whoever reads there again, on another node, finds the same gap."""
        newly = lost - self._losses.get((partition, first), 0)
        if newly <= 0:
            return 0
        known = sorted(begun for name, begun in self._losses if name == partition)
        if len(known) == LOSSES_MAX and first < known[0]:
            return 0  # forgotten, in a mark from before that was sent again
        if len(known) == LOSSES_MAX and first not in known:
            del self._losses[partition, known[0]]
            self._dirty.add((LOSS, _loss_key(partition, known[0])))
        self._losses[partition, first] = lost
        self._dirty.add((LOSS, _loss_key(partition, first)))
        return newly

    def _settle(self) -> bool:
        """Find what event time waits for, and how far it has come; whether that is further than before."""
        heard = [item for item in self._upstreams.items() if item[1].newest_at is not None or item[1].current]
        if len(heard) < self._expected:
            self._pace, self._slowest = Pace.UNHEARD, ""
            return False
        behind = [
            (-math.inf if state.newest_at is None else state.newest_at, name)
            for name, state in heard
            if not state.current
        ]
        vouched_at = self._progress.vouched_at
        reached = math.inf if len(behind) == len(heard) else -math.inf if vouched_at is None else vouched_at
        self._pace, self._slowest = Pace.CURRENT, ""
        if behind:
            self._pace = Pace.BEHIND
            slowest, self._slowest = min(behind)
            reached = min(reached, slowest)
        return self._reach(reached)

    def _vouch(self, now: float) -> None:
        """What the current upstreams vouch for together: the newest event time that was known when each was at its end.

        What others have told since may have siblings among them that nobody has read yet, as when a producer that was
        away sends hours to every partition at once.
        """
        progress = self._progress
        told = [state.newest_at for state in self._upstreams.values() if state.newest_at is not None]
        if not told:
            return
        # A mark that was long on its way must not date what others have told since.
        wrong = progress.told_at is None or progress.told_at > now + CLOCKS_SECONDS
        progress.told_at = told_at = now if wrong else max(now, progress.told_at or now)
        if progress.asked_at is None or progress.asked_at > now + CLOCKS_SECONDS:
            progress.asked_at, progress.asked_of = told_at, max(told)
        current = [state.read_at for state in self._upstreams.values() if state.current]
        if current and min(current) >= progress.asked_at:
            progress.vouched_at = progress.asked_of
            progress.asked_at, progress.asked_of = told_at, max(told)
        self._dirty.add((PROGRESS, ""))

    def _reach(self, reached: float) -> bool:
        if reached <= (-math.inf if self._progress.reached is None else self._progress.reached):
            return False
        self._progress.reached = reached
        self._dirty.add((PROGRESS, ""))
        return True

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        written = []
        for table, key in sorted(self._dirty):
            value: object = self._progress
            if table == SEEN:
                value = self._seen[key]
            elif table == UPSTREAM:
                value = self._upstreams.get(key)
            elif table == LOSS:
                value = self._losses.get(_read_loss_key(key))
            written.append(Change(table, key, None if value is None else msgspec.msgpack.encode(value)))
        self._dirty.clear()
        return written

    def restore(self, table: str, key: str, value: bytes) -> None:
        if table == SEEN:
            self._seen[key] = msgspec.msgpack.decode(value, type=tuple[int, int])
        elif table == UPSTREAM:
            self._upstreams[key] = msgspec.msgpack.decode(value, type=Upstream)
        elif table == LOSS:
            self._losses[_read_loss_key(key)] = msgspec.msgpack.decode(value, type=int)
        else:
            self._progress = msgspec.msgpack.decode(value, type=Progress)


def _loss_key(partition: str, first: int) -> str:
    return f"{partition}/{first:020d}"


def _read_loss_key(key: str) -> tuple[str, int]:
    partition, _, first = key.rpartition("/")
    return partition, int(first)
