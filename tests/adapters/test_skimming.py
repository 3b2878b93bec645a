"""Wire, at a glance: what is passed over is what the whole reader would have sampled out, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.adapters.wire import decode_reference, decode_transcript
from monitor.adapters.wire.guard import BYTES_MAX
from monitor.adapters.wire.skimming import event_time_of_glance, glance_at
from monitor.core.counters import Counters
from monitor.core.records import Kind, Reference, Rejected, Transcript
from monitor.core.routing import Message, Router
from monitor.core.sampling import Sampler, SamplingSettings
from monitor.core.slicing import SliceSettings
from monitor.topics.skimming import skim
from tests.builders import DAY, HOUR, MARCH_2

NOW = MARCH_2 + HOUR


def router(probability: float = 0.3, **sampling: object) -> tuple[Router, Counters]:
    counters = Counters()
    chosen = SamplingSettings(probability=probability, **sampling)  # type: ignore[arg-type]
    made = Router(
        slices=SliceSettings(),
        sampler=Sampler(chosen, b"test", 30 * DAY),
        counters=counters,
        tenants=frozenset(),
        customers_max=1000,
        unit="session",
        reviews=False,
    )
    return made, counters


def message(id_: str = "u1", **changes: object) -> dict[str, object]:
    """A transcript; also a reference, with a few fields that nobody reads."""
    fields = {"schema": 1, "id": id_, "ts": "2026-03-02T00:00:00Z", "customer": "acme", "deployment": "wards"}
    return {**fields, "text": "right right", **changes}


def encoded(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields).encode()


def read_whole(kind: Kind, value: bytes | None) -> Message:
    decode = decode_transcript if kind is Kind.TRANSCRIPT else decode_reference
    return decode(value, b"u1", NOW).record


def is_passed_over(by: Router, value: bytes | None) -> bool:
    seen = glance_at(value)
    return seen is not None and rules_out(by, seen.id)


def rules_out(by: Router, id_: str) -> bool:
    coins = by.coins()
    return coins is not None and coins[0](id_) >= coins[1]


def some_id(by: Router, *, kept: bool) -> str:
    return next(id_ for number in range(1000) if rules_out(by, id_ := f"u{number}") is not kept)


# --------------------------------------------------------------------------------------------------------- differential
IDS = st.one_of(
    st.integers(0, 60).map(lambda number: f"u{number}"),
    st.text(max_size=4),
    st.sampled_from(["", "a b", "x\u200b", "n\u0301", "\ud800", "z" * 128, "z" * 129, "e\u00e9"]),
    st.sampled_from([None, 5, 1.5, True, ["u1"]]),
)
INSTANTS: st.SearchStrategy[object] = st.one_of(
    st.sampled_from(["2026-03-02T00:00:00Z", "2026-03-01T23:59:60+00:00", "2026-03-02 00:00:00Z", "", "soon"]),
    st.integers(-(10**20), 10**20),
    st.integers(int(MARCH_2 - DAY) * 1000, int(MARCH_2) * 1000),
    st.sampled_from([1.5, True, None, {}]),
)
OTHERS: st.SearchStrategy[dict[str, object]] = st.fixed_dictionaries(
    {},
    optional={
        "schema": st.sampled_from([1, 2, "1", True, 1.0, None]),
        "final": st.sampled_from([True, False, None, 1]),
        "erase": st.sampled_from([True, False, None]),
        "customer": st.sampled_from(["acme", "two words", None]),
        "text": st.sampled_from(["", "right", None, "\x00", "\u202e"]),
        "accent": st.sampled_from(["scottish", None, 5]),
        "revision": st.sampled_from([0, 1, -1, True]),
        "more": st.recursive(st.none() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=2)),
    },
)
FIELDS = st.builds(lambda id_, ts, others: message(**{"id_": id_, "ts": ts, **others}), IDS, INSTANTS, OTHERS)
DROPPED = st.sets(st.sampled_from(["schema", "id", "ts", "customer", "text"]), max_size=1)
MESSAGES = st.builds(lambda fields, gone: {key: fields[key] for key in fields if key not in gone}, FIELDS, DROPPED)
ERASURES = st.builds(lambda id_: {"schema": 1, "id": id_, "erase": True}, IDS)


@settings(max_examples=500)
@given(MESSAGES | ERASURES, st.sampled_from(Kind))
def test_passed_over_is_what_would_have_been_sampled_out(fields: dict[str, object], kind: Kind) -> None:
    """A label rests on the coin alone; whatever else the glance let go of would be missing from the sample."""
    by, _ = router()
    value = encoded(fields)
    whole = read_whole(kind, value)
    passed_over = is_passed_over(by, value)
    if isinstance(whole, Transcript | Reference):
        sampled_out = by.route(whole).routed is None
        plain = fields.get("final", True) is True and "erase" not in fields
        assert passed_over == (sampled_out and plain)
    elif isinstance(whole, Rejected):
        assert not (passed_over and whole.reason in ("missing_id", "id_type", "id_length", "id_chars"))
    else:
        assert not passed_over, "a partial result or an erasure"


@settings(max_examples=500)
@given(st.data())
def test_damaged_messages_are_passed_over_only_if_their_id_is_plain(data: st.DataObject) -> None:
    """Some damage is let pass with the nineteen of twenty; none may make one utterance of another."""
    by, _ = router()
    value = encoded(data.draw(MESSAGES))
    start = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(start, min(len(value), start + 8)))
    damaged = value[:start] + data.draw(st.binary(max_size=4)) + value[end:]
    for kind in Kind:
        whole = read_whole(kind, damaged)
        if is_passed_over(by, damaged):
            assert isinstance(whole, Transcript | Reference | Rejected)
            if not isinstance(whole, Rejected):
                assert by.route(whole).routed is None


# ---------------------------------------------------------------------------------------------------- never passed over
SPECIAL_MESSAGES: dict[str, dict[str, object]] = {
    "a partial result": message(final=False),
    "an erasure": {"schema": 1, "id": "u1", "erase": True},
    "an erasure with more to it": message(erase=True),
    "another version": message(schema=2),
    "no id": {key: value for key, value in message().items() if key != "id"},
}


@pytest.mark.parametrize("fields", SPECIAL_MESSAGES.values(), ids=SPECIAL_MESSAGES)
def test_what_is_no_plain_message_is_read_whole(fields: dict[str, object]) -> None:
    """An erasure must reach what is held, and a partial result its own counter, whatever the coin says."""
    assert glance_at(encoded(fields)) is None


def test_a_tombstone_is_read_whole() -> None:
    """Its id is the key, and there is nothing else."""
    assert glance_at(None) is None


HOSTILE = {
    "nothing": b"",
    "no object": b"[1]",
    "deep": b'{"id":' + b"[" * 200_000,
    "deep and closed": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"id":"u1","schema":1,"ts":1}',
    "too large": encoded(message(text="x" * BYTES_MAX)),
    "no text": b'{"schema":1,"id":"\xff","ts":1}',
    "half a surrogate": b'{"schema":1,"id":"\\ud800","ts":1}',
    "a bom": b"\xef\xbb\xbf" + encoded(message()),
    "huge number": b'{"schema":1,"id":"u1","ts":' + b"9" * 400_000 + b"}",
    "huge id": encoded(message("u" * 500_000)),
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_left_to_the_whole_reader(value: bytes) -> None:
    """It knows a reason for each of them; a glance that raises would stop the partition for good."""
    assert glance_at(value) is None


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_no_bytes_make_a_glance_raise(value: bytes) -> None:
    """Nothing does."""
    glance_at(value)


# ----------------------------------------------------------------------------------------------------------- event time
@pytest.mark.parametrize(
    ("ts", "event_at"),
    [
        ("2026-03-02T00:00:00.250Z", MARCH_2 + 0.25),
        ("2026-03-02T01:00:00+01:00", MARCH_2),
        (int(MARCH_2 * 1000), MARCH_2),
        ("2026-03-02T23:59:60Z", MARCH_2 + DAY - 1.0),
        ("yesterday", None),
        (-1, None),
        (10**15, None),
    ],
)
def test_event_time_at_a_glance_is_the_message_s(ts: str | int, event_at: float | None) -> None:
    """Where almost everything is passed over, event time would stand still without it."""
    seen = glance_at(encoded(message(ts=ts)))
    assert seen is not None and event_time_of_glance(seen) == event_at
    whole = read_whole(Kind.TRANSCRIPT, encoded(message(ts=ts)))
    if isinstance(whole, Transcript):
        assert whole.event_at == min(NOW, event_at or 0.0)


# ------------------------------------------------------------------------------------------------------------ one batch
class Read(NamedTuple):
    """One record of a batch."""

    offset: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def batch(*messages: Mapping[str, object]) -> list[Read]:
    return [Read(offset, encoded(fields)) for offset, fields in enumerate(messages)]


def test_a_batch_is_counted_as_if_it_had_been_read_whole() -> None:
    """Counters are what a broker's figures are compared with: passed over is consumed."""
    records = batch(*(message(f"u{number}") for number in range(60)), message("u5", final=False), message("a b"))
    skimming, counted = router()
    skimmed = skim(skimming, Kind.TRANSCRIPT, records, NOW)
    assert 20 < skimmed.passed_over < 60
    whole, expected = router()
    for by, chosen in ((skimming, skimmed.records), (whole, records)):
        for record in chosen:
            decoded = decode_transcript(record.value, record.key, NOW)
            by.account(Kind.TRANSCRIPT, by.route(decoded.record).rejected, decoded.clipped)
    assert counted.values == expected.values


@pytest.mark.parametrize("changes", [{"probability": 1.0}, {"labels_per_day": 100.0}], ids=["everything", "budget"])
def test_nothing_is_passed_over_where_all_traffic_is_needed(changes: dict[str, float]) -> None:
    """A label budget plans by the traffic of each stratum, and cannot know a stratum at a glance."""
    by, counted = router(**changes)
    records = batch(*(message(f"u{number}") for number in range(20)))
    assert skim(by, Kind.TRANSCRIPT, records, NOW)[:3] == (records, 0, None)
    assert counted.values == {}


@pytest.mark.parametrize(
    ("ts", "event_at"),
    [
        ("2026-03-02T00:30:00Z", MARCH_2 + HOUR / 2),
        ("2026-03-02T02:00:00Z", None),
        ("2024-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        (0, None),
        ("never", None),
    ],
)
def test_a_batch_s_event_time_is_believed_within_the_contract(ts: str | int, event_at: float | None) -> None:
    """Ahead of our clock it would make everybody late; long ago, deciders would look at every hour since."""
    by, _ = router()
    records = batch(message(some_id(by, kept=True)), message(some_id(by, kept=False), ts=ts))
    skimmed = skim(by, Kind.REFERENCE, records, NOW)
    assert (len(skimmed.records), skimmed.passed_over, skimmed.event_at) == (1, 1, event_at)
