"""What the budget of false pages is worth where speakers return: realised over nominal, by session and longer unit.

`python -m tests.statistics.units_too_short` prints the second table of docs/units.md, in about a minute.
"""

from __future__ import annotations

from collections.abc import Callable

from monitor.core.closed_units import CellRow
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.slicing import SliceSettings, Slicing
from tests.builders import DAY, MARCH_2
from tests.core.test_unit_fit import judged, sessions
from tests.statistics.streams import START, pages, watched

Key = Callable[[CellRow, str], str]
BUDGET = 20.0
"""False pages in 90 days: 20 times the default, so that 60 streams of 28 days count."""


def rows_of(seed: int, key: Key, **how: object) -> tuple[list[CellRow], float]:
    """A stream's rows, in the units that `key` makes of its sessions, and the day's variance ratio."""
    cells, speakers = sessions(seed, **how)  # type: ignore[arg-type]
    fit = judged(cells, speakers)
    groups: dict[str, list[CellRow]] = {}
    for number, speaker in enumerate(speakers):
        at = START + float(cells.ended_at[number]) - MARCH_2
        errors, words = int(cells.errors[number]), int(cells.words[number])
        accent = (str(cells.labels["accent"][number]),)
        row = CellRow(at, f"s{number}", accent, "", 1, errors * WEIGHT_ONE, words * WEIGHT_ONE, words, at)
        groups.setdefault(key(row, speaker), []).append(row)
    rows = []
    for unit, members in groups.items():
        for labels in sorted({row.labels for row in members}):
            own = [row for row in members if row.labels == labels]
            sums = (
                len(own),
                sum(row.errors for row in own),
                sum(row.words for row in own),
                sum(row.plain_words for row in own),
            )
            rows.append(CellRow(max(row.ended_at for row in members), unit, labels, unit, *sums))
    ratio = next(ratio.ratio for ratio in fit.ratios if ratio.block == "day") if fit is not None else 1.0
    return sorted(rows, key=lambda row: (row.ended_at, row.unit, row.labels)), ratio


def realised(runs: int, key: Key, **how: object) -> str:
    slices = SliceSettings(dimensions=("accent",), intersections=(), strata=("accent",))
    alarms, spent, ratios = 0, 0.0, 0.0
    for seed in range(runs):
        rows, ratio = rows_of(seed, key, **how)
        found, ledger = watched(rows, pages=BUDGET, by=Slicing(slices, "acme"))
        alarms, spent, ratios = alarms + len(pages(found)), spent + ledger.spent, ratios + ratio / runs
    return f"{alarms} pages of {spent:.0f} budgeted, {alarms / spent:.2f}; ratio of a day {ratios:.2f}"


def session(row: CellRow, speaker: str) -> str:
    return row.unit


def speaker_day(row: CellRow, speaker: str) -> str:
    return f"{speaker}.{int((row.ended_at - START) // DAY)}"


def day(row: CellRow, speaker: str) -> str:
    return f"d{int((row.ended_at - START) // DAY)}"


if __name__ == "__main__":
    print("independent:", realised(60, session))
    print("8 speakers for good:", realised(60, session, people=8, spread=0.4))
    print("100 speakers for good:", realised(60, session, people=100, spread=0.3))
    print("20 speakers for 4 days:", realised(60, session, people=20, roster_days=4, spread=0.3))
    for days in (1, 4):
        for unit in (session, speaker_day, day):
            said = realised(30, unit, people=4, roster_days=days, spread=0.4)
            print(f"4 speakers for {days} days, by {unit.__name__}:", said)
