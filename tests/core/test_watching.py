"""Which units a baseline is made of, however the rows are walked."""

from __future__ import annotations

from itertools import groupby

import msgspec

from monitor.core.budget import Ledger
from monitor.core.closed_units import CellRow
from monitor.core.drift import LearnSettings, StratumSums, learn
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.records import Slice
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.watching import Watches

DAY = 86_400.0
SETTINGS = LearnSettings()


def row(number: int, accent: str, site: str, errors: int, words: int) -> CellRow:
    ended_at = number * DAY / 20
    unit = f"u{number:05d}"
    sums = (1, errors * WEIGHT_ONE, words * WEIGHT_ONE, words)
    return CellRow(ended_at, unit, (accent, site), unit, *sums, ended_at)


def calls() -> list[CellRow]:
    """120 calls in six days, in each of which one accent speaks, every third one at two sites."""
    rows = []
    for number in range(120):
        accent, errors = ("us", "welsh")[number % 2], number % 7
        rows.append(row(number, accent, "north", errors, 20))
        if number % 3 == 0:
            rows.append(row(number, accent, "south", errors + 1, 15))
    return rows


def units_of(rows: list[CellRow], slicing: Slicing, slice_: Slice) -> list[tuple[StratumSums, ...]]:
    """Written for one slice and without haste."""
    units = []
    for _, together in groupby(rows, key=lambda row: row.unit):
        inside = [row for row in together if slicing.matches(slice_, row.labels)]
        parts = [StratumSums("\x1f".join(row.labels), row.errors, row.words) for row in inside]
        if parts:
            units.append(tuple(sorted(parts)))
    return units


def test_a_baseline_is_made_of_the_units_of_its_slice() -> None:
    """The walk that serves all learning slices at once must not mix their units or split those of several strata."""
    slicing = Slicing(SliceSettings(("accent", "site"), (("accent", "site"),), ("accent", "site")), "acme")
    watches, ledger, rows = Watches(slicing, SETTINGS), Ledger(pages=1.0, days=90.0), calls()
    ledger.since = ledger.until = ledger.started = 0.0
    assert watches.take(rows, [], 0.0, 6 * DAY, ledger) == []
    closed = watches.close_baselines(rows, 6 * DAY, ledger)
    assert len(closed) == 1 + 4 + 2  # the pairs of the south have 20 units each: they may close after ten days
    for watch in watches:
        expected = learn(units_of(rows, slicing, watch.slice), SETTINGS) if watch.slice in closed else None
        assert watch.baseline == (expected and msgspec.structs.replace(expected, learned_until=6 * DAY))
