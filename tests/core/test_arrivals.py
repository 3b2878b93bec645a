"""Arrivals: what comes twice counts once, and event time waits for whoever still has something to tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor.core.arrivals import CLOCKS_SECONDS, LOSSES_MAX, Arrivals
from monitor.core.records import Loss, Mark, Origin
from tests.builders import DAY, HOUR, MARCH_2

Documents = dict[tuple[str, str], bytes]


def origin(offset: int, part: int = 0, upstream: str = "a") -> Origin:
    return Origin(upstream=upstream, offset=offset, part=part)


def mark(
    upstream: str = "a",
    *,
    of: int = 2,
    reached_at: float | None = None,
    current: bool = False,
    at: float = 0.0,
    losses: Sequence[Loss] = (),
) -> Mark:
    return Mark(upstream=upstream, of=of, reached_at=reached_at, current=current, at=at, losses=tuple(losses))


def progress(arrivals: Arrivals) -> tuple[float | None, float | None]:
    return arrivals.reached, arrivals.newest_at


def save(arrivals: Arrivals, documents: Documents) -> None:
    for change in arrivals.changes():
        if change.value is None:
            documents.pop((change.table, change.key), None)
        else:
            documents[change.table, change.key] = change.value


def restored(documents: Documents, expected: int = 1) -> Arrivals:
    arrivals = Arrivals(expected)
    for (table, key), value in sorted(documents.items()):
        arrivals.restore(table, key, value)
    return arrivals


# ------------------------------------------------------------------------------------------------------------- identity
def test_a_record_counts_once_however_often_it_is_read_or_sent() -> None:
    """After a crash everything since the last acknowledged position is sent again, and again after the next."""
    arrivals = Arrivals()
    sent = [0, 1, 2, 1, 2, 3, 0, 1, 2, 3, 4]
    assert [offset for offset in sent if arrivals.is_new(origin(offset))] == [0, 1, 2, 3, 4]


def test_the_parts_of_one_record_are_told_apart() -> None:
    """A new version of a transcript is two outcomes from one record: the second must not pass for the first again."""
    arrivals = Arrivals()
    parts = [(3, 0), (3, 1), (3, 0), (3, 1), (3, 2), (5, 0), (4, 9)]
    assert [one for one in parts if arrivals.is_new(origin(*one))] == [(3, 0), (3, 1), (3, 2), (5, 0)]


def test_a_topic_that_was_made_again_is_another_upstream() -> None:
    """Its positions begin at 0 again, and all of them are new."""
    arrivals = Arrivals()
    assert arrivals.is_new(origin(700, upstream="pairs-0@aaaa"))
    assert arrivals.is_new(origin(0, upstream="pairs-0@bbbb"))


@settings(max_examples=200)
@given(st.data())
def test_whatever_is_sent_again_each_position_is_new_once_and_in_order(data: st.DataObject) -> None:
    """Two writers of one upstream, one of them stale, each going back to where it knows: none is lost or doubled."""
    arrivals, documents = Arrivals(), Documents()
    taken: list[tuple[str, int]] = []
    reached = {"a": 0, "b": 0}
    for _ in range(data.draw(st.integers(1, 12))):
        upstream = data.draw(st.sampled_from("ab"))
        start = data.draw(st.integers(0, reached[upstream]))
        end = start + data.draw(st.integers(0, 5))
        taken += [(upstream, at) for at in range(start, end) if arrivals.is_new(origin(at, upstream=upstream))]
        reached[upstream] = max(reached[upstream], end)
        if data.draw(st.booleans()):
            save(arrivals, documents)
            arrivals = restored(documents)
    for upstream, end in reached.items():
        assert [at for name, at in taken if name == upstream] == list(range(end))


# ----------------------------------------------------------------------------------------------------------- event time
def test_of_one_upstream_event_time_is_its_newest_record() -> None:
    """An archive, or a file that grows, waits for nobody."""
    arrivals = Arrivals()
    moved = [arrivals.note("input", at) for at in (5.0, 3.0, 9.0, 9.0)]
    assert (arrivals.oldest_at, arrivals.newest_at, arrivals.reached) == (3.0, 9.0, 9.0)
    assert moved == [True, False, True, False], "whether event time has come further by it"


def test_nothing_is_decided_before_every_upstream_was_heard_of() -> None:
    """References that were read first would otherwise let the hours pass that their transcripts are about."""
    arrivals = Arrivals(2)
    arrivals.note("references", MARCH_2 + DAY)
    assert progress(arrivals) == (None, MARCH_2 + DAY)
    arrivals.note("transcripts", MARCH_2)
    assert progress(arrivals) == (MARCH_2, MARCH_2 + DAY)


def test_it_waits_for_the_slowest_that_has_more_to_tell() -> None:
    """A backlog is read at different paces: what the slow one still has must not be late when it comes."""
    arrivals = Arrivals(3)
    for upstream, at in (("a", 10.0), ("b", 20.0), ("c", 30.0), ("c", 90.0), ("b", 40.0)):
        arrivals.note(upstream, at)
    assert arrivals.reached == 10.0
    arrivals.note("a", 60.0)
    assert arrivals.reached == 40.0


def test_it_does_not_wait_for_one_that_is_at_its_end() -> None:
    """A quiet ward's partition must not keep pages from everybody else's."""
    arrivals = Arrivals(2)
    arrivals.note("quiet", 10.0)
    arrivals.note("busy", 500.0)
    arrivals.mark(mark("quiet", current=True, at=1.0))
    assert arrivals.reached == 500.0
    arrivals.note("busy", 600.0)
    assert arrivals.reached == 500.0, "what came since may have siblings that nobody has read yet"
    arrivals.mark(mark("quiet", current=True, at=2.0))
    arrivals.mark(mark("quiet", current=True, at=3.0))
    assert arrivals.reached == 600.0


def test_with_everybody_at_the_end_the_newest_record_is_how_far_it_came() -> None:
    """Then nobody has anything to tell that is older."""
    arrivals = Arrivals(2)
    arrivals.note("a", 10.0)
    for upstream in "ab":
        arrivals.mark(mark(upstream, current=True, at=1.0))
    assert arrivals.reached == 10.0, "b never had a record, and is heard of all the same"
    assert not arrivals.note("b", 70.0) and arrivals.reached == 10.0
    for upstream in "abab":
        arrivals.mark(mark(upstream, current=True, at=2.0))
    assert arrivals.reached == 70.0


def test_one_that_falls_behind_again_is_waited_for_again() -> None:
    """Being at the end once is no promise: a producer comes back with an hour of backlog."""
    arrivals = Arrivals(2)
    arrivals.note("a", 10.0)
    arrivals.note("b", 100.0)
    arrivals.mark(mark("a", current=True, at=1.0))
    arrivals.mark(mark("a", current=False, at=2.0))
    arrivals.note("b", 200.0)
    assert arrivals.reached == 100.0, "never back to 10, and no further than when a was at its end"
    arrivals.note("a", 150.0)
    assert arrivals.reached == 150.0


def test_a_reader_that_fell_silent_vouches_for_nothing_more() -> None:
    """Nobody reads that partition now: what is in it would be late if event time went on without it."""
    arrivals = Arrivals(2)
    arrivals.note("a", 10.0)
    arrivals.note("b", 50.0)
    arrivals.mark(mark("a", current=True, at=0.0))
    for at in range(1, 100):
        arrivals.mark(mark("b", current=True, reached_at=900.0 + at, at=float(at)))
    assert arrivals.reached == 50.0
    for later in (100.0, 101.0):
        arrivals.mark(mark("a", current=True, at=later))
        arrivals.mark(mark("b", current=True, at=later))
    assert arrivals.reached == 999.0, "until somebody reads it to its end again"


def test_a_backlog_for_everybody_at_once_is_waited_for() -> None:
    """A producer that was away sends hours to two partitions; one of their readers notices before the other."""
    arrivals = Arrivals(2)
    for upstream in "ab":
        arrivals.note(upstream, 10.0)
        arrivals.mark(mark(upstream, current=True, at=1.0))
    arrivals.mark(mark("b", current=True, reached_at=21_600.0, at=4.0))
    assert arrivals.reached == 10.0
    arrivals.mark(mark("a", current=False, reached_at=3_600.0, at=5.0))
    assert arrivals.reached == 3_600.0, "and a is waited for, hour by hour"


def test_a_mark_that_was_long_on_its_way_does_not_vouch_for_what_came_meanwhile() -> None:
    """Its process could not send for a while: by the time it arrives, others have told what its reader never saw."""
    arrivals = Arrivals(2)
    for upstream in "ab":
        arrivals.mark(mark(upstream, current=True, reached_at=10.0, at=1.0))
    arrivals.mark(mark("b", current=False, reached_at=21_600.0, at=5.0))
    for at, read_at in ((4.0, 1.0), (8.0, 4.0)):
        arrivals.mark(replace(mark("a", current=True, reached_at=3_600.0, at=at), read_at=read_at))
    arrivals.mark(mark("b", current=True, at=8.0))
    assert arrivals.reached == 10.0, "a was at its end at 4, and b's hours came at 5"
    arrivals.mark(replace(mark("a", current=True, at=12.0), read_at=8.0))
    assert arrivals.reached == 21_600.0


def test_a_mark_alone_carries_event_time() -> None:
    """Behind a log nobody sees the records of the other partitions: a mark says how far they are."""
    arrivals = Arrivals()
    arrivals.mark(mark("a", reached_at=70.0))
    assert progress(arrivals) == (None, 70.0), "there is another upstream"
    arrivals.mark(mark("b", reached_at=60.0))
    assert progress(arrivals) == (60.0, 70.0)
    arrivals.mark(mark("b", reached_at=30.0))
    assert progress(arrivals) == (60.0, 70.0), "an older mark that was sent again"


def test_a_mark_makes_known_what_was_seen_of_its_records() -> None:
    """A reader that has just taken over a partition does not know its newest event time; who got the record does."""
    arrivals = Arrivals(2)
    arrivals.see(70.0, "a")
    arrivals.mark(mark("b", reached_at=90.0))
    assert progress(arrivals) == (None, 90.0)
    arrivals.mark(mark("a", reached_at=None))
    assert progress(arrivals) == (70.0, 90.0)


def test_a_partition_that_was_added_is_waited_for() -> None:
    """Its first records are as old as the moment it was added; nothing moves before they were heard of."""
    arrivals = Arrivals(1)
    arrivals.note("a", 10.0)
    arrivals.expect(2)
    arrivals.note("a", 20.0)
    assert arrivals.reached == 10.0
    arrivals.note("b", 15.0)
    assert arrivals.reached == 15.0


def test_who_is_far_ahead_is_named_only_while_somebody_is_behind() -> None:
    """Holding a partition costs nothing only as long as another one has a backlog to be read meanwhile."""
    arrivals = Arrivals(2)
    arrivals.note("references", MARCH_2)
    arrivals.note("transcripts", MARCH_2 + DAY + 1.0)
    assert arrivals.ahead(DAY) == {"transcripts"} and arrivals.ahead(DAY + HOUR) == frozenset()
    arrivals.mark(mark("references", current=True))
    assert arrivals.ahead(DAY) == frozenset()


# --------------------------------------------------------------------------------------------------------------- losses
def test_losses_are_told_once() -> None:
    """Every mark says all of them again: an operator is to be told what is new of it, also after a restart."""
    arrivals, documents = Arrivals(), Documents()
    assert arrivals.mark(mark(losses=[("transcripts-0", 40, 7)])) == {"transcripts-0": 7}
    assert arrivals.mark(mark(losses=[("transcripts-0", 40, 7)])) == {}
    save(arrivals, documents)
    again = restored(documents)
    more = [("transcripts-0", 40, 7), ("transcripts-0", 90, 2), ("transcripts-1", 0, 1)]
    assert again.mark(mark(losses=more)) == {"transcripts-0": 2, "transcripts-1": 1}
    assert again.mark(mark(losses=more[:1])) == {}, "a mark from before, sent again"
    assert list(again.losses) == more


def test_the_same_gap_found_by_another_reader_is_no_news() -> None:
    """Who lost its state reads from where retention left off, and finds the gap that was told already."""
    arrivals = Arrivals()
    assert arrivals.lose("transcripts-0", 40, 7) == 7
    assert arrivals.mark(mark("another", losses=[("transcripts-0", 40, 7)])) == {}
    assert arrivals.mark(mark("another", losses=[("transcripts-0", 40, 9)])) == {"transcripts-0": 2}, "it grew"


def test_a_stage_s_own_losses_go_on_with_those_from_further_up() -> None:
    """DECIDE learns of what SCORE and ROUTE lost by one mark."""
    arrivals = Arrivals()
    arrivals.mark(mark(losses=[("transcripts-0", 40, 7)]))
    arrivals.lose("pairs-0", 0, 3)
    arrivals.lose("pairs-0", 5, 2)
    assert arrivals.losses == (("pairs-0", 0, 3), ("pairs-0", 5, 2), ("transcripts-0", 40, 7))


def test_of_many_losses_the_last_are_remembered_and_none_is_told_twice() -> None:
    """A partition that loses records each hour must not make marks grow for ever."""
    arrivals, documents = Arrivals(), Documents()
    gaps = [("transcripts-0", 100 * number, 1) for number in range(30)]
    told = [arrivals.mark(mark(losses=gaps[max(0, number - LOSSES_MAX + 1) : number + 1])) for number in range(30)]
    assert told == [{"transcripts-0": 1}] * 30
    save(arrivals, documents)
    for one in (arrivals, restored(documents)):
        assert list(one.losses) == gaps[-LOSSES_MAX:]
        assert one.mark(mark(losses=gaps[-LOSSES_MAX - 5 : -5])) == {}, "marks from before, sent again"


def test_a_clock_that_was_wrong_once_holds_nobody_for_good() -> None:
    """A node that came up with tomorrow's date, and was set right, must not stop everybody's event time for a day."""
    arrivals = Arrivals(2)
    arrivals.mark(mark("a", reached_at=10.0, current=True, at=DAY))
    arrivals.mark(mark("b", reached_at=5.0, current=True, at=0.0))
    for at in (1.0, 2.0):
        arrivals.mark(mark("a", current=True, at=at))
        arrivals.mark(mark("b", current=True, at=at))
    assert progress(arrivals) == (10.0, 10.0)


# ----------------------------------------------------------------------------------------------------------- properties
UPSTREAMS = 3
NAMES = st.sampled_from("abc")
INSTANTS = st.integers(0, 20).map(float)
NOTES = st.tuples(NAMES, INSTANTS)
SIGHTS = st.tuples(st.just("see"), NAMES, INSTANTS)
MARKS = st.builds(
    mark,
    NAMES,
    of=st.just(UPSTREAMS),
    reached_at=st.none() | INSTANTS,
    current=st.booleans(),
    at=st.integers(0, 300).map(float),
    losses=st.lists(st.tuples(st.sampled_from(["x", "y"]), st.integers(0, 20), st.integers(1, 9)), max_size=4),
)
Event = tuple[str, float] | tuple[str, str, float] | Mark
EVENTS: st.SearchStrategy[list[Event]] = st.lists(st.one_of(NOTES, SIGHTS, MARKS), max_size=25)


def take(arrivals: Arrivals, event: Event) -> object:
    if isinstance(event, Mark):
        return arrivals.mark(event)
    if len(event) == 2:
        return arrivals.note(*event)
    arrivals.see(event[2], event[1])
    return False


def reached_by(events: Sequence[Event]) -> float | None:
    """How far event time may be after these, from nothing but what is written at the head of the module."""
    newest: dict[str, float] = {}
    last: dict[str, Mark] = {}
    asked: tuple[float, float] | None = None
    clock: float | None = None
    vouched = -math.inf
    seen: dict[str, float] = {}
    for event in events:
        if isinstance(event, tuple) and len(event) == 3:
            seen[event[1]] = max(event[2], seen.get(event[1], event[2]))
            continue
        name, at = (event.upstream, event.reached_at) if isinstance(event, Mark) else event
        if isinstance(event, Mark) and name in seen:
            at = max(at if at is not None else -math.inf, seen[name])
        if at is not None:
            newest[name] = max(at, newest.get(name, at))
        if not isinstance(event, Mark):
            continue
        last[name] = event
        if newest:
            clock = event.at if clock is None or clock > event.at + CLOCKS_SECONDS else max(clock, event.at)
            if asked is None or asked[0] > event.at + CLOCKS_SECONDS:
                asked = clock, max(newest.values())
            if all(one.at >= asked[0] for one in last.values() if one.current) and any(
                one.current for one in last.values()
            ):
                vouched, asked = asked[1], (clock, max(newest.values()))
    at_end = {name for name, one in last.items() if one.current}
    if len(newest.keys() | at_end) < UPSTREAMS:
        return None
    waited_for = [newest.get(name, -math.inf) for name in (newest.keys() | last.keys()) - at_end]
    return min([*waited_for, *([vouched] if at_end else [])])


@settings(max_examples=500)
@given(EVENTS)
def test_event_time_is_what_a_recount_from_the_beginning_says(events: list[Event]) -> None:
    """The running sums are there for speed: they must agree with the definition after every single event."""
    arrivals = Arrivals(UPSTREAMS)
    furthest = -math.inf
    for number, event in enumerate(events, 1):
        before = arrivals.reached
        moved = take(arrivals, event)
        now = reached_by(events[:number])
        furthest = max(furthest, -math.inf if now is None else now)
        assert arrivals.reached == (None if furthest == -math.inf else furthest)
        if not isinstance(event, Mark):
            assert moved == (arrivals.reached != before)


@settings(max_examples=300)
@given(EVENTS, st.sets(st.integers(0, 25)))
def test_restored_it_goes_on_as_if_nothing_had_happened(events: list[Event], restarts: set[int]) -> None:
    """A deployment must neither hold event time back nor let it run ahead, nor tell a loss twice."""
    straight, documents = Arrivals(UPSTREAMS), Documents()
    restarted = Arrivals(UPSTREAMS)
    for number, event in enumerate(events):
        if number in restarts:
            save(restarted, documents)
            restarted = restored(documents, UPSTREAMS)
        assert take(restarted, event) == take(straight, event)
        assert restarted.reached == straight.reached and restarted.losses == straight.losses
        assert (restarted.oldest_at, restarted.newest_at) == (straight.oldest_at, straight.newest_at)
