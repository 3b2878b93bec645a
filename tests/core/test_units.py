"""Units: what belongs together, when it is closed, and what was known by then."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest

from monitor.core.open_units import UnitRow
from monitor.core.records import Observation, Outcome, Source
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.units import Units, UnitSettings
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


# ---------------------------------------------------------------------------------------------------------------- late
def taken(buffer: Units, messages: Messages, hour: float, maturity: float | None = DAY) -> Units:
    """Everything fed, then one look."""
    feed(buffer, messages)
    buffer.take_in(MARCH_2 + HOUR * hour, maturity)
    return buffer


def test_a_late_utterance_joins_the_unit_that_it_continues() -> None:
    """A partition that lags must not take its utterances out of their session: its errors are of the same call."""
    buffer = taken(units(), [seen(1, 0, session="call"), seen(2, 24, session="call")], 1)
    late: Messages = [seen(3, 12, session="call"), seen(4, 40, session="call")]
    feed(buffer, [*late, *(scored(k, at, session="call") for k, at in ((1, 0), (2, 24), (3, 12), (4, 40)))])
    (row,) = closed(buffer, [])
    assert (row.seen, row.labelled, row.scored, row.ended_at) == (4, 4, 4, MARCH_2 + 40 * MINUTE)
    assert buffer.counters == {"observations_late_taken": 2}


@pytest.mark.parametrize("late", [{"session": "other"}, {}, {"speaker": "dr"}])
def test_nothing_of_a_refused_utterance_is_counted(late: dict[str, Any]) -> None:
    """Its corrections would be labels of utterances that are not there, its withdrawal would take another's place."""
    buffer = taken(units(), [seen(1, 5, speaker="dr"), seen(2, 10, session="call")], 3)
    feed(buffer, [seen(3, 50, **late), scored(3, 50, **late), seen(3, 50, counts=-1, **late)])
    assert sorted((row.seen, row.labelled) for row in closed(buffer, [])) == [(1, 0), (1, 0)]
    assert buffer.counters == {"observations_late": 1, "versions_late": 1, "withdrawals_late": 1}


def test_a_unit_never_reaches_an_utterance_that_it_refused() -> None:
    """The refused one lies within a unit that other late ones prolong: its version must not be taken for theirs."""
    buffer = taken(units(), [seen(1, 0, speaker="dr")], 3)
    feed(buffer, [seen(2, 50, speaker="dr"), seen(3, 25, speaker="dr"), seen(4, 55, speaker="dr")])
    feed(buffer, [scored(2, 50, speaker="dr"), seen(2, 50, counts=-1, speaker="dr")])
    (row,) = closed(buffer, [])
    assert (row.seen, row.labelled, row.ended_at) == (2, 0, MARCH_2 + 25 * MINUTE)
    assert buffer.counters["observations_late"] == 2


def test_a_late_utterance_that_is_withdrawn_takes_itself_away() -> None:
    """Erasure of one must not lessen the others."""
    buffer = taken(units(), [seen(1, 0, session="call"), seen(2, 24, session="call")], 1)
    feed(buffer, [seen(3, 12, session="call"), seen(3, 12, session="call", counts=-1)])
    assert [row.seen for row in closed(buffer, [])] == [2]


@pytest.mark.parametrize("when", [0.0, 1.0])
def test_a_withdrawal_finds_its_utterance_whatever_became_of_its_probability(when: float) -> None:
    """The storage ceiling was lowered between the two: erasure must still reach the unit, with the weight it had."""
    spoken: dict[str, Any] = {"session": "call", "inclusion_probability": 0.5}
    lowered: dict[str, Any] = {"session": "call", "inclusion_probability": 0.25}
    withdrawn: Messages = [scored(1, 0, **lowered), scored(1, 0, counts=-1, holds=False, **lowered)]
    withdrawn.append(seen(1, 0, counts=-1, **lowered))
    buffer = taken(units(), [seen(1, 0, **spoken), seen(2, 5, **spoken), seen(3, 6, **spoken)], when - 1 / 60)
    (row,) = closed(buffer, withdrawn)
    assert (row.seen, row.traffic, row.labelled) == (2, 2 * 2 << 16, 0)


def test_withdrawals_with_another_weight_leave_no_trace_of_their_order() -> None:
    """Documents are the same bytes for any order of arrival before the look."""
    messages: Messages = [seen(1, 0), seen(1, 0, counts=-1, inclusion_probability=0.5), seen(1, 0, model="asr-2")]
    documents = []
    for order in (messages, messages[::-1]):
        buffer = units()
        feed(buffer, list(order))
        documents.append(buffer.changes())
    assert documents[0] == documents[1]


def test_a_restored_buffer_knows_what_it_refused() -> None:
    """A restart between a refusal and its version must neither take the version in nor lose what was taken late."""
    straight = taken(units(), [seen(1, 0, speaker="dr")], 3)
    feed(straight, [seen(2, 50, speaker="dr"), seen(3, 25, speaker="dr")])
    restored = units()
    restored.taken_until, restored.maturity, restored.counters = straight.taken_until, DAY, dict(straight.counters)
    for change in straight.changes():
        assert change.value is not None
        restored.restore(change.table, change.key, change.value)
    for buffer in (straight, restored):
        feed(buffer, [seen(4, 55, speaker="dr"), scored(2, 50, speaker="dr"), scored(3, 25, speaker="dr")])
        assert [(row.seen, row.labelled) for row in closed(buffer, [])] == [(2, 1)]
    assert straight.counters == restored.counters


# ------------------------------------------------------------------------------------------------------- long sessions
@pytest.mark.parametrize("varying", ["speaker", "labels"])
def test_a_session_that_never_ends_costs_what_its_utterances_cost(varying: str) -> None:
    """A customer that sends one constant session id must not stall the loop: no work grows with the unit."""

    def steps(count: int) -> int:
        buffer, calls = units(), 0
        for k in range(count):
            said: dict[str, Any] = {"session": "default"}
            said |= {"speaker": f"p{k}"} if varying == "speaker" else {}
            said |= {"labels": (f"accent {k}", "wards")} if varying == "labels" else {}
            buffer.observe(seen(k, k / 1000, **said))

        def trace(frame: object, event: str, arg: object) -> object:
            nonlocal calls
            calls += 1
            return trace

        sys.settrace(trace)  # type: ignore[arg-type]
        buffer.take_in(MARCH_2 + HOUR, DAY)
        sys.settrace(None)
        return calls

    assert steps(1600) < 2.5 * steps(800)


def test_labels_beyond_the_cap_are_one_entry_of_a_unit() -> None:
    """Made-up accents of one session must neither fill memory nor its document."""
    buffer = Units(UnitSettings(), Slicing(SliceSettings(groups_max=3), "acme"))
    taken(buffer, [seen(k, k / 1000, session="default", labels=(f"accent {k}", "wards")) for k in range(50)], 1)
    ((_, traffic),) = buffer.traffic()
    assert sorted((labels[0], number) for labels, number, _ in traffic) == [
        ("_other", 47), ("accent 0", 1), ("accent 1", 1), ("accent 2", 1)
    ]  # fmt: skip
