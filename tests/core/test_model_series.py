"""A new model is a new series by name: nobody is woken by it, and a bad one is never excused."""

from __future__ import annotations

from monitor.core.records import IncidentKind, Level
from tests.builders import DAY, MARCH_2
from tests.core.deciding_streams import Documents, Rate, decider, feed, messages, save, steady


def rolled_out(day: float) -> str:
    return "asr-1" if day < 9 else "asr-2"


def doubled_from(day: float) -> Rate:
    return lambda accent, at: steady(accent, at) * (2 if at >= day else 1)


def test_a_rollout_that_changes_nothing_is_a_note() -> None:
    """No page, no ticket; since when it is another model is known, and the baselines are the old ones."""
    watched = decider()
    told = feed(watched, messages(model=rolled_out, a_day=120))
    assert [one for one in told if one.kind in (IncidentKind.DRIFT, IncidentKind.OVERALL)] == []
    assert [(one.model, (one.since - MARCH_2) / DAY) for one in watched.series()] == [("asr-1", 0.0), ("asr-2", 9.0)]
    assert all(since < MARCH_2 + 9 * DAY for _, _, since in watched.baselines()[1])


def test_a_rollout_that_is_worse_pages_and_quotes_the_model() -> None:
    """What must be rolled back is exactly what a new series must not hide."""
    told = feed(decider(), messages(doubled_from(9.0), model=rolled_out, a_day=120))
    pages = [one for one in told if one.level == Level.PAGE]
    assert pages and "asr-2" in pages[0].summary


def test_a_canary_is_no_series() -> None:
    """A tenth of the traffic, or nine hours of it, is not what baselines are asked about."""
    watched = decider()
    feed(watched, messages(model=lambda day: "canary" if 9.1 < day < 9.5 else "asr-1", days=12.0))
    assert [one.model for one in watched.series()] == ["asr-1"]


def test_series_survive_a_restart() -> None:
    """Bit for bit, or a restart would log them anew."""
    watched, again, documents = decider(), decider(), Documents()
    feed(watched, messages(model=rolled_out, days=12.0))
    save(watched, documents)
    for (table, key), value in documents.items():
        again.restore(table, key, value)
    assert again.series() == watched.series() and again.changes() == []
