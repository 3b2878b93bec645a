"""Decides when what is owed to a receiver is sent, and how often it is tried: one thread each, so that nobody waits.

What waits is bounded, and tried until it is delivered: with a back-off of at most half a minute while a receiver fails,
or as long as it asks for. What a receiver refuses for its content (400) does not hold up the rest, and is given up at
last. A queue lives as long as the process; that nothing is lost with it is mailbox.py's part.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from monitor.adapters.notify.integrations import Integration, integrations
from monitor.adapters.notify.notice import Notice
from monitor.adapters.notify.posting import Answer, Request, Unreachable, post
from monitor.adapters.notify.secrets import SecretUnfit
from monitor.config import Settings
from monitor.core.records import Level

QUEUE_MAX = 1_000
"""Steps that wait for one receiver, about 3 MB: an agent with a hundred incidents a day fills it in ten days. At half,
a weekend's outage of a busy fleet loses digests; at double, nobody reads what comes at its end."""
BACKOFF_SECONDS_FIRST = 1.0
BACKOFF_SECONDS_MAX = 30.0
"""With the 10 s that one try may take, a receiver that is back is told within 40 s."""
RETRY_AFTER_SECONDS_MAX = 300.0
"""A receiver that asks for more is asked again after this: a page is not put off for a day by a wrong header."""
REFUSED_TRIES_MAX = 20
"""Tries of what a receiver refuses for its content: some ten minutes, in which a key may be put right."""
REFUSED = frozenset({400, 413, 415, 422})
"""The request is at fault, not the receiver: what waits behind it goes on."""
RESOLVED_AGAIN_SECONDS = 900.0
"""How long a resolved alert is sent again, as Prometheus does: an Alertmanager that restarts has forgotten it."""
ALERTS_AT_ONCE = 64
DIGEST_AT_ONCE = 45
"""What one message of Slack's holds."""
TELL_FAILING_SECONDS = 300.0
"""Between two log lines of a receiver that goes on failing."""
STOP_SECONDS = 2.0
"""How long a stop waits for what is on its way: it is sent again if it was not acknowledged."""
DAY = 86_400.0

Post = Callable[[Request], Answer]


class Outcome(StrEnum):
    DELIVERED = "delivered"
    FAILED = "failed"
    """A try that will be repeated."""
    REFUSED = "refused"
    """Given up: the receiver does not take this content."""
    DROPPED = "dropped"
    """The queue was full."""
    SUPERSEDED = "superseded"
    """A later step of the same incident was sent instead."""


class Item:
    """One step that one receiver is owed."""

    __slots__ = ("done", "not_before", "notice", "owner", "refusals", "tries")

    def __init__(self, notice: Notice, owner: object | None, done: Callable[[], None]) -> None:
        """`done` is called once, from the receiver's thread or from `put`, when nothing is owed any more."""
        self.notice = notice
        self.owner = owner
        self.done = done
        self.not_before = 0.0
        """Of the monotonic clock: a step of the wall clock puts nothing off."""
        self.tries = self.refusals = 0


class Open(Protocol):
    """Who knows which incidents are open."""

    def open_notices(self) -> Sequence[Notice]: ...


class Outlet:
    """The queue of one receiver, and the thread that empties it."""

    def __init__(self, channel: str, to: Integration, log: FilteringBoundLogger, post: Post) -> None:
        self.channel = channel
        self.to = to
        self.counts: Counter[Outcome] = Counter(dict.fromkeys(Outcome, 0))
        self._log = log.bind(integration=to.integration)
        self._post = post
        self._chance = random.Random()
        self._changed = threading.Condition()
        self._queue: list[Item] = []
        self._sending: list[Item] = []
        self._open: list[Open] = []
        self._stopped = False
        self._failures = 0
        self._not_before = 0.0
        self._failing_since = self._told_failing_at = 0.0
        self._full_told = False
        self._resend_at = 0.0
        self._not_kept_up = 0
        """Open alerts that could not be sent again: their receiver will take them for ended."""
        self._resolved: dict[str, tuple[Notice, float]] = {}
        self._thread = threading.Thread(target=self._run, name=f"notify-{to.integration}", daemon=True)

    # ------------------------------------------------------------------------------------------------- from the agent
    def start(self) -> None:
        self._thread.start()

    def put(self, item: Item) -> None:
        """Owe one more step; when full, the least important one is let go."""
        if self.to.digest_hour is not None and item.notice.told.level == Level.DIGEST:
            due_in = next_digest(item.notice.queued_at, self.to.digest_hour) - time.time()
            item.not_before = time.monotonic() + min(due_in, DAY)
        with self._changed:
            self._queue.append(item)
            dropped = self._queue.pop(_least(self._queue)) if len(self._queue) > QUEUE_MAX else None
            if dropped is not None:
                self.counts[Outcome.DROPPED] += 1
            tell_full = dropped is not None and not self._full_told
            self._full_told = self._full_told or tell_full
            self._changed.notify()
        if dropped is not None:
            dropped.done()
        if tell_full:
            self._log.error("notification_queue_full", limit=QUEUE_MAX)

    def know(self, source: Open) -> None:
        """Its open incidents are sent again and again, if this receiver needs that."""
        with self._changed:
            self._open = [*self._open, source]

    def forget(self, owner: object) -> None:
        """What it is owed by `owner` is somebody else's from now on; one that is on its way may arrive twice."""
        with self._changed:
            self._queue = [item for item in self._queue if item.owner is not owner]
            for item in self._sending:
                item.owner = None if item.owner is owner else item.owner
            self._open = [source for source in self._open if source is not owner]

    @property
    def waiting(self) -> int:
        """Steps that could be sent now: what collects for a digest is not waiting."""
        now = time.monotonic()
        with self._changed:
            collecting = self.to.digest_hour is not None
            due = (
                item
                for item in self._queue
                if not collecting or item.notice.told.level != Level.DIGEST or item.not_before <= now
            )
            return sum(1 for _ in due) + len(self._sending) + self._not_kept_up

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    # ------------------------------------------------------------------------------------------------------ the thread
    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped:
                    now = time.monotonic()
                    batch, wait = self._next(now)
                    again = [] if batch else self._due_again(now)
                    if batch or again:
                        self._sending = batch
                        break
                    self._changed.wait(wait)
                if self._stopped:
                    return
            if batch:
                self._send(batch)
            else:
                self._send_again(again)

    def _next(self, now: float) -> tuple[list[Item], float]:
        """What to send now, and else how long to wait. Steps of one incident keep their order."""
        if now < self._not_before:
            return [], min(self._not_before - now, 60.0)
        self._supersede()
        wait, seen = self._until_resend(now), set[str]()
        for position, item in enumerate(self._queue):
            key = item.notice.key
            if key in seen:
                continue
            seen.add(key)
            if item.not_before > now:
                wait = min(wait, item.not_before - now)
                continue
            if self.to.digest_hour is None or item.notice.told.level != Level.DIGEST or item.refusals:
                return [self._queue.pop(position)], 0.0
            return self._take_digest(now), 0.0
        self._full_told = self._full_told and bool(self._queue)
        return [], min(wait, 60.0)

    def _take_digest(self, now: float) -> list[Item]:
        due = (item for item in self._queue if item.notice.told.level == Level.DIGEST and item.not_before <= now)
        batch = [item for item in due if not item.refusals][:DIGEST_AT_ONCE]
        self._queue = [item for item in self._queue if item not in batch]
        return batch

    def _supersede(self) -> None:
        """A receiver that shows the present state has no use for a former one; the last level it knew goes along."""
        if not self.to.newest_only:
            return
        newest = {item.notice.key: item for item in self._queue}
        former = [item for item in self._queue if newest[item.notice.key] is not item]
        for item in reversed(former):
            kept = newest[item.notice.key]
            kept.notice = replace(kept.notice, level_before=item.notice.level_before)
            self.counts[Outcome.SUPERSEDED] += 1
            item.done()
        if former:
            self._queue = [item for item in self._queue if newest[item.notice.key] is item]

    def _until_resend(self, now: float) -> float:
        return 60.0 if self.to.resend_seconds is None else max(0.0, self._resend_at - now)

    def _due_again(self, now: float) -> list[Notice]:
        if self.to.resend_seconds is None or now < max(self._resend_at, self._not_before):
            return []
        self._resend_at = now + self.to.resend_seconds
        waiting = {item.notice.key for item in self._queue}
        self._resolved = {key: kept for key, kept in self._resolved.items() if kept[1] > now}
        again = {notice.key: notice for notice, _ in self._resolved.values()}
        for source in self._open:
            again.update((notice.key, notice) for notice in source.open_notices())
        due = (n for key, n in again.items() if key not in waiting and n.told.level in self.to.levels)
        return [replace(notice, level_before=None) for notice in due]  # the end of a former level was told

    # --------------------------------------------------------------------------------------------------------- sending
    def _send(self, batch: list[Item]) -> None:
        reason, retry_after, refused = self._try([item.notice for item in batch])
        done = batch
        if reason is not None:
            done = self._keep(batch, reason, retry_after, refused)
        for item in done:
            if reason is None:
                self._remember(item.notice)
                event, tries = "notification_delivered", item.tries + 1
                self._log.info(event, incident=item.notice.told.incident, state=item.notice.told.state, count=tries)
            else:
                self._log.error("notification_refused", incident=item.notice.told.incident, reason=reason)
            item.done()
        with self._changed:  # only now: who waits for an empty queue finds everything noted
            self._sending = []
            self.counts[Outcome.DELIVERED if reason is None else Outcome.REFUSED] += len(done)

    def _keep(self, batch: list[Item], reason: str, retry_after: float | None, refused: bool) -> list[Item]:
        """Put back what failed, in its place; returns what is given up."""
        now, given_up = time.monotonic(), []
        for item in batch:
            item.tries += 1
            item.refusals += refused
            if item.refusals >= REFUSED_TRIES_MAX:
                given_up.append(item)
        kept = [item for item in batch if item not in given_up]
        if refused:
            for item in kept:
                item.not_before = now + self._backoff(item.refusals)
        else:
            self._fail(now, reason, retry_after)
        with self._changed:
            self.counts[Outcome.FAILED] += len(kept)
            self._queue = [*(item for item in kept if item.owner is not None), *self._queue]
        if refused and kept and kept[0].refusals == 1:
            self._log.warning("notification_failed", reason=reason, count=len(kept))
        return given_up

    def _send_again(self, notices: Sequence[Notice]) -> None:
        for first in range(0, len(notices), ALERTS_AT_ONCE):
            reason, retry_after, _ = self._try(notices[first : first + ALERTS_AT_ONCE])
            if reason is not None:
                self._fail(time.monotonic(), reason, retry_after)
                self._resend_at = 0.0  # as soon as it may be tried again
                with self._changed:
                    self.counts[Outcome.FAILED] += 1
                    self._not_kept_up = len(notices) - first
                return
        self._not_kept_up = 0

    def _try(self, notices: Sequence[Notice]) -> tuple[str | None, float | None, bool]:
        """Post once: (reason of a failure, seconds that the receiver asks for, whether the content is refused)."""
        try:
            answer = self._post(self.to.request(notices, time.time()))
        except SecretUnfit:
            return "secret_unfit", None, False
        except Unreachable as unreachable:
            return unreachable.reason, None, False
        if 200 <= answer.status < 300:
            self._recover()
            return None, None, False
        if 300 <= answer.status < 400:
            return "redirect", None, False
        return f"status_{answer.status}", answer.retry_after_seconds, answer.status in REFUSED

    def _remember(self, notice: Notice) -> None:
        if self.to.resend_seconds is None:
            return
        if notice.resolved:
            self._resolved[notice.key] = (notice, time.monotonic() + RESOLVED_AGAIN_SECONDS)
        else:
            self._resolved.pop(notice.key, None)

    def _fail(self, now: float, reason: str, retry_after: float | None) -> None:
        self._failures += 1
        wait = self._backoff(self._failures)
        if retry_after is not None:  # never 0, or two that insist would keep each other busy
            wait = min(max(retry_after, BACKOFF_SECONDS_FIRST), RETRY_AFTER_SECONDS_MAX)
        self._not_before = now + wait
        if self._failures == 1:
            self._failing_since = now
        if self._failures == 1 or now >= self._told_failing_at + TELL_FAILING_SECONDS:
            self._told_failing_at = now
            seconds = round(now - self._failing_since)
            self._log.warning("notification_failed", reason=reason, count=self._failures, waited_seconds=seconds)

    def _recover(self) -> None:
        if self._failures:
            seconds = round(time.monotonic() - self._failing_since)
            self._log.info("notification_recovered", count=self._failures, waited_seconds=seconds)
        self._failures, self._not_before = 0, 0.0

    def _backoff(self, failures: int) -> float:
        """Doubling, with half of it left to chance: agents that failed together do not come back together."""
        longest = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_FIRST * 2.0 ** min(failures - 1, 10))
        return longest * self._chance.uniform(0.5, 1.0)


class Sender:
    """All receivers of one process."""

    def __init__(self, to: Mapping[str, Integration], log: FilteringBoundLogger, post: Post = post) -> None:
        self.outlets = {channel: Outlet(channel, integration, log, post) for channel, integration in to.items()}

    def start(self) -> None:
        for outlet in self.outlets.values():
            outlet.start()

    def forget(self, owner: object) -> None:
        for outlet in self.outlets.values():
            outlet.forget(owner)

    @property
    def waiting(self) -> int:
        return sum(outlet.waiting for outlet in self.outlets.values())

    def drain(self, seconds: float, stop: threading.Event) -> int:
        """Wait until nothing waits, for at most so long; returns what still does."""
        deadline = time.monotonic() + seconds
        while (waiting := self.waiting) and time.monotonic() < deadline and not stop.wait(0.05):
            pass
        return waiting

    def close(self) -> None:
        """What is not delivered stays owed."""
        for outlet in self.outlets.values():
            outlet.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for outlet in self.outlets.values():
            outlet.join(max(0.0, deadline - time.monotonic()))

    # --------------------------------------------------------------------------------------------------------- to show
    def counters(self) -> dict[str, int]:
        """notifications_total, born at 0 for every integration that is configured."""
        found: Counter[str] = Counter()
        for outlet in self.outlets.values():
            for outcome in Outcome:
                labels = f'integration="{outlet.to.integration}",outcome="{outcome}"'
                found[f"notifications_total{{{labels}}}"] += outlet.counts[outcome]
        return dict(found)

    def gauges(self) -> dict[str, float]:
        found: Counter[str] = Counter()
        for outlet in self.outlets.values():
            found[f'notifications_waiting{{integration="{outlet.to.integration}"}}'] += outlet.waiting
        return {name: float(count) for name, count in found.items()}


def open_sender(settings: Settings, log: FilteringBoundLogger) -> Sender | None:
    """Receivers as configured, with their threads; None if there are none. Raises ConfigError."""
    to = integrations(settings.notify)
    if not to:
        return None
    sender = Sender(to, log)
    sender.start()
    return sender


def next_digest(queued_at: float, hour: int) -> float:
    """The first full `hour` (UTC) after a moment.

    >>> next_digest(10 * 3600.0, 9) / 3600, next_digest(8 * 3600.0, 9) / 3600
    (33.0, 9.0)
    """
    today = queued_at // DAY * DAY + hour * 3600.0
    return today if today > queued_at else today + DAY


def _least(queue: Sequence[Item]) -> int:
    """Position of what is spared best: a step with a later one of its incident, else the oldest of the least level."""
    later: set[str] = set()
    for position in range(len(queue) - 1, -1, -1):
        if queue[position].notice.key in later:
            return position
        later.add(queue[position].notice.key)
    order = {Level.DIGEST: 0, Level.TICKET: 1, Level.PAGE: 2}
    return min(range(len(queue)), key=lambda position: (order[queue[position].notice.told.level], position))
