"""Decides whether so much is rejected that reading on would drain an input into the dead letters."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 60.0
MESSAGES_MIN = 500
"""Below this a handful of bad messages after an idle night would stop the agent (contract.md)."""
SHARE = 0.5
SUSPICIOUS_MIN = 20
"""Rejects of a minute from which nothing is committed until it is known whether they are the beginning of a flood."""


REJECTED_MIN = 50
"""Rejects that were seen, whatever each stands for: half of a sample of 100 whose true share is 30 % is 4 sigma."""


class RejectionGuard:
    """Counts messages and rejects of the last minute, by whole seconds of `now`."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int, int, float]] = deque()
        """(second, messages, rejects seen, rejects that these stand for)"""
        self._suspicious_since: float | None = None
        self._seen = 0
        self._rejected = 0.0
        self.messages = 0

    @property
    def rejected(self) -> int:
        """Of `messages`, where some were passed over unread: an estimate."""
        return min(self.messages, round(self._rejected))

    def note(self, rejected: bool, now: float, stands_for: float = 1.0) -> bool:
        """Count one message; True when the agent must stop without committing past it.

        `stands_for`: one of a sample stands for those that were passed over by their id alone.

        >>> guard = RejectionGuard()
        >>> any(guard.note(True, 0.0) for _ in range(499)), guard.note(True, 0.0)
        (False, True)
        """
        self._count(1, int(rejected), stands_for if rejected else 0.0, now)
        return self.messages >= MESSAGES_MIN and self._seen >= REJECTED_MIN and self._half()

    def pass_over(self, messages: int, now: float) -> None:
        """Count messages that nobody had to read: those that were read stand for them."""
        if messages:
            self._count(messages, 0, 0.0, now)

    def suspicious(self, now: float) -> bool:
        """Whether half of what came may be the beginning of a flood: a minute of it that was none settles that."""
        self._forget(int(now))
        if self._seen < SUSPICIOUS_MIN or not self._half():
            self._suspicious_since = None
            return False
        if self._suspicious_since is None:
            self._suspicious_since = now
        return now - self._suspicious_since < WINDOW_SECONDS

    def _half(self) -> bool:
        return self._rejected >= SHARE * self.messages

    def _count(self, messages: int, seen: int, rejected: float, now: float) -> None:
        second = int(now)
        if self._seconds and self._seconds[-1][0] >= second:
            last, messages_before, seen_before, rejected_before = self._seconds.pop()
            self._seconds.append((last, messages_before + messages, seen_before + seen, rejected_before + rejected))
        else:
            self._seconds.append((second, messages, seen, rejected))
        self.messages += messages
        self._seen += seen
        self._rejected += rejected
        self._forget(self._seconds[-1][0])

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - WINDOW_SECONDS:
            _, messages, seen, rejected = self._seconds.popleft()
            self.messages -= messages
            self._seen -= seen
            self._rejected -= rejected
