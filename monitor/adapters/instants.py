"""Decides how an instant is written: RFC 3339 in UTC with milliseconds, the same on every machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(at: float) -> str:
    """Seconds since the epoch as people and other programs read them. OverflowError beyond the year 9999.

    >>> instant(1773446400.25)
    '2026-03-14T00:00:00.250Z'
    """
    seconds, milliseconds = divmod(round(at * 1000.0), 1000)
    day, seconds = divmod(seconds, 86_400)
    hour, seconds = divmod(seconds, 3600)
    return f"{_date(day)}T{hour:02d}:{seconds // 60:02d}:{seconds % 60:02d}.{milliseconds:03d}Z"


@lru_cache(maxsize=1024)  # instants of one stream lie on a few days
def _date(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).date().isoformat()
