"""Decides whether so much is rejected that reading on would drain an input into the dead letters."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 60.0
MESSAGES_MIN = 500
"""Below this a handful of bad messages after an idle night would stop the agent (contract.md)."""
SHARE = 0.5
SUSPICIOUS_MIN = 20
"""Rejects of a minute from which nothing is committed until it is known whether they are the beginning of a flood."""


class RejectionGuard:
    """Counts messages and rejects of the last minute, by whole seconds of `now`."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int, int]] = deque()
        self.messages = 0
        self.rejected = 0

    def note(self, rejected: bool, now: float) -> bool:
        """Count one message; True when the agent must stop without committing past it.

        >>> guard = RejectionGuard()
        >>> any(guard.note(True, 0.0) for _ in range(499)), guard.note(True, 0.0)
        (False, True)
        """
        self._count(1, int(rejected), now)
        return self.messages >= MESSAGES_MIN and self.rejected >= SHARE * self.messages

    def pass_over(self, messages: int, now: float) -> None:
        """Count messages that nobody had to read: they are most of the traffic, and none of them was rejected."""
        if messages:
            self._count(messages, 0, now)

    def suspicious(self, now: float) -> bool:
        """Whether at least half of the last minute was rejected: at most a minute passes before this is settled."""
        self._forget(int(now))
        return self.rejected >= SUSPICIOUS_MIN and self.rejected >= SHARE * self.messages

    def _count(self, messages: int, rejected: int, now: float) -> None:
        second = int(now)
        if self._seconds and self._seconds[-1][0] >= second:
            last, before, bad = self._seconds.pop()
            self._seconds.append((last, before + messages, bad + rejected))
        else:
            self._seconds.append((second, messages, rejected))
        self.messages += messages
        self.rejected += rejected
        self._forget(self._seconds[-1][0])

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - WINDOW_SECONDS:
            _, messages, bad = self._seconds.popleft()
            self.messages -= messages
            self.rejected -= bad
