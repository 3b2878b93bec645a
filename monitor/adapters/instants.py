"""Decides how an instant is written: RFC 3339 in UTC with milliseconds, the same on every machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(at: float) -> str:
    """Seconds since the epoch as people and other programs read them. OverflowError beyond the year 9999.

    >>> instant(1773446400.25)
    '2026-03-14T00:00:00.250Z'
    """
    moment = _EPOCH + timedelta(milliseconds=round(at * 1000.0))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
