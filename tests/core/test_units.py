"""Units: what belongs together, when it is closed, and what was known by then."""

from __future__ import annotations

import random

import pytest

from monitor.core.records import Observation, Outcome, Source
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.units import UnitRow, Units, UnitSettings
from tests.builders import DAY, HOUR, MARCH_2, observation, outcome, score

MINUTE = 60.0

Messages = list[Observation | Outcome]


def units(**settings: object) -> Units:
    return Units(UnitSettings(**settings), Slicing(SliceSettings(), "acme"))  # type: ignore[arg-type]


def closed(buffer: Units, messages: list[Observation | Outcome], maturity: float = DAY) -> list[UnitRow]:
    """Everything fed, then closed at hourly looks."""
    feed(buffer, messages)
    rows: list[UnitRow] = []
    for hour in range(24 * 8):
        buffer.take_in(MARCH_2 + HOUR * hour, maturity)
        rows += buffer.close(MARCH_2 + HOUR * hour, maturity)
    return rows


def feed(buffer: Units, messages: list[Observation | Outcome]) -> None:
    for message in messages:
        if isinstance(message, Outcome):
            buffer.score(message)
        else:
            buffer.observe(message)


def seen(key: int, minutes: float, **changes: object) -> Observation:
    return observation(key, event_at=MARCH_2 + minutes * MINUTE, **changes)


def scored(key: int, minutes: float, *, after: float = HOUR, errors: int = 1, **changes: object) -> Outcome:
    at = MARCH_2 + minutes * MINUTE
    return outcome(key, words=10, errors=errors, event_at=at, reference_at=at + after, **changes)


def test_a_speakers_burst_is_one_unit_until_a_pause() -> None:
    """Utterances of one consultation are one piece of evidence; the afternoon's visit is another."""
    rows = closed(units(), [seen(k, at, speaker="dr") for k, at in enumerate((0, 20, 45, 80))])
    assert [row.seen for row in rows] == [3, 1]
    assert {row.person for row in rows} == {"p:dr"}


def test_a_declared_session_is_one_unit_whatever_its_pauses() -> None:
    """A call on hold is one call; who speaks in it is not one person."""
    rows = closed(units(), [seen(k, at, session="call", speaker=f"p{k}") for k, at in enumerate((0, 90, 600))])
    assert [(row.seen, row.person) for row in rows] == [(3, rows[0].unit)]


def test_an_utterance_of_nobody_is_its_own_unit() -> None:
    """Without speaker and session nothing is known to belong together."""
    assert len(closed(units(), [seen(k, k) for k in range(3)])) == 3


def test_no_unit_is_longer_than_a_day() -> None:
    """A constant session id would else never close, and the customer would never be watched."""
    rows = closed(units(), [seen(k, 60 * k, session="constant") for k in range(100)])
    assert [row.seen for row in rows] == [25, 25, 25, 25]


def test_what_counts_is_the_best_version_at_maturity() -> None:
    """A revision a week later changes estimates, not what the detector has seen."""
    rows = closed(
        units(),
        [
            seen(1, 0),
            scored(1, 0, errors=5, revision=1),
            scored(1, 0, errors=2, revision=2, after=20 * HOUR),
            scored(1, 0, errors=0, revision=3, after=25 * HOUR),
        ],
    )
    assert [(row.errors >> 16, row.words >> 16) for row in rows] == [(2, 10)]


@pytest.mark.parametrize("source", [Source.ORGANIC, Source.FLAGGED])
def test_only_sampled_corrections_are_evidence(source: Source) -> None:
    """Complaints alone read 19.5 % where the truth is 12.0 %. They do show that somebody is there."""
    (row,) = closed(units(), [seen(1, 0), scored(1, 0, source=source)])
    assert (row.labelled, row.scored, row.words) == (0, 1, 0)


def test_a_winning_empty_reference_has_no_rate() -> None:
    """Nobody spoke: the words of an earlier revision were never said."""
    empty = score(0, 0)
    (row,) = closed(units(), [seen(1, 0), scored(1, 0), scored(1, 0, revision=2, score=empty)])
    assert (row.labelled, row.scored) == (0, 1)


def test_an_erased_utterance_is_nowhere() -> None:
    """Neither traffic nor evidence, in whatever order the withdrawal came."""
    withdrawn: Messages = [seen(1, 0, counts=-1), scored(1, 0, counts=-1, holds=False)]
    messages: Messages = [seen(1, 0), scored(1, 0), *withdrawn, seen(2, 5)]
    for order in (messages, messages[::-1]):
        assert [row.seen for row in closed(units(), list(order))] == [1]


def test_a_later_version_of_a_transcript_replaces_the_earlier_one() -> None:
    """The hypothesis was published again with another time: its scores are of the new text."""
    messages: Messages = [
        seen(1, 0),
        scored(1, 0, errors=9),
        scored(1, 0, errors=9, counts=-1, holds=False),
        seen(1, 0, counts=-1),
        seen(1, 3),
        scored(1, 3, errors=1),
    ]
    assert [row.errors >> 16 for row in closed(units(), messages)] == [1]


def test_the_weight_is_one_over_the_probability() -> None:
    """A quarter of the traffic stands for all of it."""
    (row,) = closed(units(), [seen(1, 0, inclusion_probability=0.25), scored(1, 0, inclusion_probability=0.25)])
    assert (row.errors >> 16, row.words >> 16, row.plain_words) == (4, 40, 10)


def test_what_comes_late_is_counted_and_ignored() -> None:
    """The detector has looked at that hour: letting more in would make decisions depend on arrival."""
    buffer = units()
    closed(buffer, [seen(1, 0), scored(1, 0)])
    feed(buffer, [seen(2, 5), scored(1, 0, revision=2), scored(2, 5)])
    assert buffer.counters == {"observations_late": 1, "versions_late": 2}
    assert len(buffer) == 0


def test_the_buffer_is_bounded() -> None:
    """A customer with 10 times the traffic loses evidence, not the process."""
    buffer = units(slots_max=10)
    feed(buffer, [seen(k, k) for k in range(25)])
    assert len(buffer) == 10 and buffer.counters == {"slots_dropped": 15}


def some_traffic() -> list[Observation | Outcome]:
    chance = random.Random(4)
    messages: list[Observation | Outcome] = []
    for key in range(120):
        minutes = chance.random() * 3 * 24 * 60
        owners: tuple[dict[str, object], ...] = ({"session": f"s{key % 5}"}, {"speaker": f"p{key % 4}"}, {})
        who = owners[key % 3]
        messages.append(seen(key, minutes, **who))
        for revision in range(chance.randrange(3)):
            after = chance.random() * 40 * HOUR
            made = scored(key, minutes, errors=revision, after=after, **{"revision": revision, **who})
            messages.append(made)
    return messages


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_arrival_closes_the_same_units(seed: int) -> None:
    """Names and sums of units are what documents and incidents are made of."""
    messages = some_traffic()
    shuffled = random.Random(seed).sample(messages, len(messages))
    first, second = units(), units()
    feed(first, messages)
    feed(second, shuffled)
    assert first.changes() == second.changes()
    assert closed(first, []) == closed(second, [])


@pytest.mark.parametrize("hours", [0, 5, 30, 50, 80])
def test_a_restored_buffer_goes_on_as_if_nothing_had_happened(hours: int) -> None:
    """Open units are put together again from their slots, in any order of documents."""
    straight, cut = units(), units()
    feed(straight, some_traffic())
    feed(cut, some_traffic())
    documents = {}
    for buffer in (straight, cut):
        for hour in range(hours):
            buffer.take_in(MARCH_2 + HOUR * hour, DAY)
            buffer.close(MARCH_2 + HOUR * hour, DAY)
        documents = {(change.table, change.key): change.value for change in buffer.changes()}
    restored = units()
    restored.taken_until, restored.counters = cut.taken_until, cut.counters
    for table, key in random.Random(1).sample(sorted(documents), len(documents)):
        value = documents[table, key]
        if value is not None:
            restored.restore(table, key, value)
    assert closed(restored, []) == closed(straight, [])
    assert restored.counters == straight.counters
