"""T14: small groups are not exposed by what is shown of a slice, nor by differences of what is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor.core.estimators import WEIGHT_ONE, Moments
from monitor.core.open_units import UnitRow
from monitor.core.records import Slice
from monitor.core.releasing import released_row
from monitor.core.slice_sums import Released, SliceSums, SliceTable, exported
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.snapshot import SliceMoments
from tests.adapters.views import slices

LEAST = 11
SLICES = SliceSettings(dimensions=("accent", "site"), intersections=(("accent", "site"),), strata=("accent",))
ACCENTS = ("england", "scottish", "yoruba", "unknown")
SITES = ("north", "south", "unknown")

Look = Sequence[Sequence[UnitRow]]
"""Units that close at one look; what is shown before and after it are two scrapes."""


def row(unit: str, accent: str, site: str, labelled: int, errors: int) -> UnitRow:
    return UnitRow(
        ended_at=0.0, unit=unit, labels=(accent, site), first_at=0.0, person=unit, seen=labelled + 1,
        traffic=(labelled + 1) * WEIGHT_ONE, scored=labelled, labelled=labelled, substitutions=errors * WEIGHT_ONE,
        deletions=0, insertions=0, words=9 * labelled * WEIGHT_ONE, plain_words=9 * labelled,
    )  # fmt: skip


@st.composite
def looks(draw: st.DrawFn, *, straddling: bool = False) -> list[list[list[UnitRow]]]:
    """Up to 25 looks at which 0 to 14 units close: rare and frequent groups, of 0 to 6 corrected utterances."""
    chosen = st.tuples(
        st.sampled_from(ACCENTS), st.sampled_from(SITES), st.integers(0, 6), st.integers(0, 40), st.booleans()
    )
    units = draw(st.lists(st.lists(chosen, max_size=14), max_size=25))
    made = []
    for at, closing in enumerate(units):
        made.append(
            [
                [row(f"{at}-{number}", accent, site, labelled, errors if labelled else 0)]
                + (
                    [row(f"{at}-{number}", "england", "south", 2, 1)]
                    if straddling and both and accent != "england"
                    else []
                )
                for number, (accent, site, labelled, errors, both) in enumerate(closing)
            ]
        )
    return made


def taken(table: SliceTable, look: Look) -> None:
    """One look: what closes was traffic before."""
    for unit in look:
        for each in unit:
            for _ in range(each.seen):
                table.taken_in(each.labels, WEIGHT_ONE)
    table.closed(each for unit in look for each in unit)


def shown(table: SliceTable) -> dict[Slice, SliceMoments]:
    return {sums.slice: exported("acme", sums) for sums in table}


def scrapes(stream: Sequence[Look], least: int = LEAST) -> Iterator[dict[Slice, SliceMoments]]:
    """What is shown after each look."""
    table = SliceTable(Slicing(SLICES, "acme"), least)
    for look in stream:
        taken(table, look)
        yield shown(table)


NOTHING = exported("acme", SliceSums((), released=Released()))


def differences(stream: Sequence[Look]) -> Iterator[tuple[dict[Slice, SliceMoments], dict[Slice, SliceMoments]]]:
    """Every two scrapes, the earlier first."""
    yield from combinations([{}, *scrapes(stream)], 2)


@given(looks(straddling=True))
@settings(max_examples=150, deadline=None)
def test_what_is_shown_of_a_slice_moves_by_enough_or_not_at_all_and_never_back(
    stream: list[list[list[UnitRow]]],
) -> None:
    """T14: any difference between two scrapes of a slice is 0 or at least 11 utterances; counters only grow."""
    for before, after in differences(stream):
        for slice_, now in after.items():
            past = before.get(slice_, NOTHING)
            values = [(getattr(past, name), getattr(now, name)) for name in NUMBERS]
            assert all(old <= new for old, new in values)
            for old, new in values[:2]:
                assert new == old or new - old >= LEAST
            if now.utterances == past.utterances:
                assert all(old == new for old, new in values[1:]), "nothing moves without its utterances"


NUMBERS = ("traffic", "utterances", "reference_words", "substitutions", "clusters", "errors_squared", "words_squared")


@given(looks())
@settings(max_examples=150, deadline=None)
def test_nor_does_any_difference_of_slices(stream: list[list[list[UnitRow]]]) -> None:
    """All traffic minus the other groups is a group; a group minus its intersections is who declared no site."""
    for before, after in differences(stream):
        for kept, others in subtractions(after):
            for count in ("clusters", "traffic"):
                moved = [
                    getattr(after.get(one, NOTHING), count) - getattr(before.get(one, NOTHING), count)
                    for one in (kept, *others)
                ]
                left = moved[0] - sum(moved[1:])
                assert left == 0 or abs(left) >= LEAST
                assert left % LEAST == 0, "so is any other combination"


def subtractions(found: dict[Slice, SliceMoments]) -> Iterator[tuple[Slice, list[Slice]]]:
    """(a slice, slices in it that do not overlap): all but one group of a dimension; all intersections of a group."""
    for names in (("accent",), ("site",)):
        groups = [one for one in found if tuple(name for name, _ in one) == names]
        for left in groups:
            yield (), [one for one in groups if one != left]
        for group in groups:
            yield group, [one for one in found if len(one) == 2 and group[0] in one]


@given(looks(straddling=True))
@settings(max_examples=150, deadline=None)
def test_it_is_the_sum_over_the_first_whole_batches(stream: list[list[list[UnitRow]]]) -> None:
    """Added up anew from the beginning: nothing is lost, and at most ten sessions are held back, of all traffic too."""
    slicing = Slicing(SLICES, "acme")
    parts: dict[Slice, list[UnitRow]] = {}
    for each in (each for look in stream for unit in look for each in unit):
        for slice_ in slicing.slices_of(each.labels):
            parts.setdefault(slice_, []).extend([each] if each.labelled else [])
    *_, last = [{}, *scrapes(stream)]
    for slice_, rows in parts.items():
        whole = rows[: len(rows) // LEAST * LEAST]
        found = last[slice_]
        assert found.utterances == sum(each.labelled for each in whole)
        assert found.substitutions == sum(each.substitutions for each in whole) / WEIGHT_ONE
        assert found.clusters == len({each.unit for each in whole})
        by_unit = [sum(each.words for each in whole if each.unit == unit) for unit in {each.unit for each in whole}]
        assert found.words_squared == sum(words**2 for words in by_unit) / WEIGHT_ONE**2


@given(looks(straddling=True), st.integers(0, 24))
@settings(max_examples=100, deadline=None)
def test_a_restart_shows_what_was_shown(stream: list[list[list[UnitRow]]], at: int) -> None:
    """A restart must not let go what was held back, nor run backwards: the batches are part of the state."""
    table = SliceTable(Slicing(SLICES, "acme"), LEAST)
    for look in stream[:at]:
        taken(table, look)
    again = SliceTable(Slicing(SLICES, "acme"), LEAST)
    for change in reversed(table.changes()):
        assert change.value is not None
        again.restore(change.value)
    assert shown(again) == shown(table)
    for look in stream[at:]:
        taken(table, look)
        taken(again, look)
    assert shown(again) == shown(table)


def test_with_one_everything_is_shown_at_once() -> None:
    """Whoever may see everything sets it to 1, and loses nothing."""
    look = [[row("u", "yoruba", "north", 1, 2)]]
    (seen,) = scrapes([look], least=1)
    assert (seen[()].utterances, seen[()].traffic, seen[()].substitutions, seen[()].clusters) == (1, 2, 2.0, 1)


def test_an_older_state_shows_what_it_showed() -> None:
    """It had no batches: less would be a counter that runs backwards, and what it showed is known already."""
    old = SliceSums((), traffic=30, utterances=17, substitutions=3 * WEIGHT_ONE, moments=Moments.of(5, 100))
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=dict[str, object])
    table = SliceTable(Slicing(SLICES, "acme"), LEAST)
    table.restore(msgspec.msgpack.encode({name: stored[name] for name in stored if name not in ("parts", "released")}))
    assert (shown(table)[()].traffic, shown(table)[()].utterances, shown(table)[()].clusters) == (30, 17, 1)
    taken(table, [[row(f"u{number}", "yoruba", "north", 1, 0)] for number in range(LEAST)])
    assert shown(table)[()].utterances == 17 + LEAST


@pytest.mark.parametrize("units", [0, 10, 11, 40])
def test_estimates_over_few_sessions_are_not_shown(units: int) -> None:
    """A WER of the last six hours that is one person's is that person's."""
    _, whole = slices()[1]
    assert whole.standing is not None
    windows = (("6h", 0.3, 0.1, 2), ("28d", 0.2, 0.1, units))
    standing = replace(whole.standing, windows=windows, history=((0.0, 0.3, 0.1, 0.5),), history_units=(units,))
    seen = released_row(replace(whole, standing=standing), Released(), LEAST)
    assert seen.standing is not None
    enough = units >= LEAST
    assert [window[0] for window in seen.standing.windows] == ["28d"] * enough
    assert len(seen.standing.history) == len(seen.standing.history_units) == enough
    assert (seen.standing.gap is not None) == (seen.standing.detectable_gap is not None) == enough
    assert seen.wer is None and seen.pairs == 0


def test_every_count_of_a_row_is_let_go_in_batches() -> None:
    """Page and API are on the same port as the metrics: one exact count there, and all else was for nothing."""
    released = Released(40, 22, 50, 3 * WEIGHT_ONE, WEIGHT_ONE, 0, Moments(22, 4 * WEIGHT_ONE, 90 * WEIGHT_ONE))
    for _, whole in slices():
        seen = released_row(whole, released, LEAST)
        assert (seen.pairs, seen.counts.reference_words, seen.counts.errors, seen.clusters) == (50, 90, 4, 22)
        floors = [seen.transcripts, seen.hallucinated_words, seen.strict_errors, seen.strict_words, seen.missing]
        floors += [count for _, *counts in seen.missing_by_age for count in counts]
        assert [count % LEAST for count in floors] == [0] * len(floors)
        assert released_row(whole, released, 1) == whole
