"""One looping hypothesis is not a change: what a single unit can do is bounded, however wrong it is."""

from __future__ import annotations

from monitor.core.closed_units import CellRow, cell_of
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.open_units import UnitRow
from tests.statistics.streams import DAY, START, pages, stream, watched


def looped(at: float) -> CellRow:
    """A unit of ten words whose hypothesis says the same word 5,000 times, as recognisers do on silence."""
    row = UnitRow(
        at, "loop", ("england", "north"), at, "loop", seen=1, traffic=WEIGHT_ONE, scored=1, labelled=1,
        substitutions=0, deletions=0, insertions=5_000 * WEIGHT_ONE, words=10 * WEIGHT_ONE, plain_words=10,
    )  # fmt: skip
    cell = cell_of(row)
    assert cell is not None
    return cell


def test_one_looping_hypothesis_does_not_page() -> None:
    """WER 499 of one utterance would outweigh a month: it counts as 1.5 errors a word. 5 streams with a loop each."""
    for seed in range(400, 405):
        rows = stream(seed, units=1_000)
        rows = sorted([*rows, looped(START + 10.5 * DAY)], key=lambda row: row.ended_at)
        found, _ = watched(rows)
        assert not any(abs(alarm.ended_at - (START + 10.5 * DAY)) < 1.0 for alarm in pages(found))
