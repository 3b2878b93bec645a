"""The rate that a gap's bet is placed against: known before the block, and of the others alone."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from monitor.core import gap_bets
from monitor.core.budget import Ledger
from monitor.core.closed_units import CellRow
from monitor.core.gap_bets import MEMORY, GapBets
from monitor.core.matched_stakes import OTHERS_MAX, Counted, Margin, Weights, block_factors
from monitor.core.standing_gaps import GapSettings
from tests.statistics.gap_streams import SLICES, START, gaps_found, stream

BLOCK = ["yoruba", "us", "us", "yoruba"]


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """(others in the block, rate) of each bet against the first margin."""
    seen: list[tuple[int, float]] = []

    def noted(
        own: Counted,
        others: Sequence[Counted],
        rate: float,
        mean_words: float,
        margin: Margin,
        weights: tuple[Weights, Weights],
    ) -> tuple[float, float, float, float]:
        if margin.factor == 1.0:
            seen.append((len(others), rate))
        return block_factors(own, others, rate, mean_words, margin, weights)

    monkeypatch.setattr(gap_bets, "block_factors", noted)
    return seen


def expected(rows: Sequence[CellRow], at: int) -> tuple[int, float]:
    """By hand, for the unit at `at`: how many others since the group's last in its stratum, and their rate before."""
    stratum = [row for row in rows[:at] if row.labels[1] == rows[at].labels[1]]
    own = [k for k, row in enumerate(stratum) if row.labels[0] == rows[at].labels[0]]
    block = max(own[-1] + 1 if own else 0, len(stratum) - OTHERS_MAX)
    errors = words = 0.0
    for age, row in enumerate(reversed(stratum[:block])):
        if row.labels[0] != rows[at].labels[0]:
            errors, words = errors + row.errors * MEMORY**age, words + row.words * MEMORY**age
    return len(stratum) - block, errors / words


def test_the_rate_is_the_others_before_the_block(rates: list[tuple[int, float]]) -> None:
    """Own units are taken out exactly, though they fade with all; else a group would be its own comparator."""
    rows = stream(1, units=900, share=0.2)
    gaps_found(rows)
    own = [k for k, row in enumerate(rows) if row.labels[0] == "yoruba"]
    by_hand = [found for found in (expected(rows, k) for k in own[-20:]) if found[0]]
    assert len(by_hand) > 10
    for others, rate in by_hand:
        assert any(others == number and rate == pytest.approx(used) for number, used in rates)


def test_what_a_block_hears_does_not_move_its_rate(rates: list[tuple[int, float]]) -> None:
    """Predictable: a rate, or a memory, that followed the errors bet on would make wealth of noise."""
    rows = stream(2, units=900, share=0.2)
    last = max(k for k, row in enumerate(rows) if [one.labels[0] for one in rows[k - 3 : k + 1]] == BLOCK)
    gaps_found(rows[: last + 1])
    before = list(rates)
    rates.clear()
    gaps_found([*rows[: last - 2], *(_silent(row) for row in rows[last - 2 : last + 1])])
    assert rates == before and len(before) > 100


def _silent(row: CellRow) -> CellRow:
    return msgspec.structs.replace(row, errors=0)


def test_a_group_that_comes_first_after_an_upgrade_is_bet_on() -> None:
    """An earlier version kept no weights: the first block after it divided by the largest of none, at each start."""
    rows = stream(1, units=900, share=0.2)
    first = next(k for k in range(600, 900) if rows[k].labels == ("yoruba", "easy"))
    ledger = Ledger(pages=1.0, days=90.0, since=START, until=START, started=START)
    before, after = (GapBets(SLICES, GapSettings(), 0.05, on=True) for _ in range(2))
    before.take(rows[:600], ledger)
    for change in before.changes():
        assert change.value is not None
        after.restore(change.table, change.key, _of_earlier_version(change.table, change.value))
    after.take(rows[first : first + 1], ledger)
    group = next(group for group in after if group.slice == (("accent", "yoruba"),))
    assert all(course.log for course in group.courses)


def _of_earlier_version(table: str, value: bytes) -> bytes:
    if table == "gap_groups":
        group = msgspec.msgpack.decode(value, type=dict[str, object])
        return msgspec.msgpack.encode({k: v for k, v in group.items() if k not in ("corrected", "weight_max")})
    dimension, stratum, number, sums, last = msgspec.msgpack.decode(value, type=list[object])[:5]
    assert isinstance(sums, list) and isinstance(last, list)
    kept = [[*met[:3], met[3][:3]] for met in last]
    return msgspec.msgpack.encode([dimension, stratum, number, sums[:3], kept])
