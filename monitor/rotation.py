"""Decides when the second generation of a state is renewed: now and then, and soon after an erasure."""

from __future__ import annotations

import time

from structlog.typing import FilteringBoundLogger

from monitor.adapters.store import RotationFailed, Store

ROTATE_SECONDS = 600.0
"""Age of the second generation at most: what is read again after the first is damaged."""
TIMES_WAITED = 10.0
"""Erased text is to leave the files soon, but rewriting them may take a tenth of the time at most."""


class Rotation:
    """When one store was rewritten, and how long that took."""

    def __init__(self, store: Store, log: FilteringBoundLogger, state: str) -> None:
        """`state`: what the log calls it."""
        self._store = store
        self._log = log
        self._state = state
        self._at = time.monotonic()
        self._seconds = 0.0

    def rotate_if_due(self) -> None:
        """After a commit: what is not durable would become so. A rotation that fails is tried again later."""
        waited = time.monotonic() - self._at
        soon = self._store.erasure_due and waited > TIMES_WAITED * self._seconds
        if not soon and waited <= ROTATE_SECONDS:
            return
        started_at = time.monotonic()
        try:
            self._store.commit()
            self._store.rotate()
        except RotationFailed:
            self._log.error("state_rotation_failed", path=self._state)
        self._at = time.monotonic()
        self._seconds = self._at - started_at
