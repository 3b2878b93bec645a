"""What the log is told once a day."""

from __future__ import annotations

import structlog
from structlog.testing import LogCapture

from monitor.core.records import BlockRatio, UnitFit, View
from monitor.serving import DAY, warn_of_units


def seen(at: float, longer: str | None = "day") -> View:
    block = BlockRatio(block="day", ratio=5.6, z=20.0, blocks=80)
    fit = UnitFit(customer="acme", at=at, units=900, inflation=3.0, ratios=(block,), longer=longer)
    return View(at=at, started_at=0.0, dimensions=(), unit_fits=(fit,))


def test_units_that_are_too_short_are_logged_once_an_event_day_while_it_holds() -> None:
    """A view comes every few seconds; a warning as often is switched off, one that never returns forgotten."""
    warned: dict[str, float] = {}
    capture = LogCapture()
    log = structlog.wrap_logger(None, [capture], structlog.make_filtering_bound_logger("info"))
    for at, longer in ((0.0, "day"), (0.0, "day"), (DAY, "day"), (2 * DAY, None)):
        warn_of_units(log, seen(at, longer), warned)
    logged = capture.entries
    assert [entry["event"] for entry in logged] == ["unit_too_short"] * 2
    assert logged[0]["reason"] == "day" and "decide.unit" in logged[0]["summary"]
