"""Wire: each reason by example, what is clipped, what is kept apart, and how long hostile messages take."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256

import pytest

from monitor.adapters import wire
from monitor.core.records import Partial, Reference, Rejected, Source, Tombstone, Transcript
from tests.bare_loop import bare_loops
from tests.builders import DAY, MARCH_2

NOW = MARCH_2 + 10 * DAY
GOOD: dict[str, object] = {
    "schema": 1,
    "id": "u-1",
    "ts": "2026-03-11T08:00:00Z",
    "customer": "acme",
    "deployment": "wards",
    "text": "the patient is stable",
}
LEFT_OUT = object()
LABELS = ("accent", "language", "model", "speaker", "session")


def transcript_bytes(**changes: object) -> bytes:
    return json.dumps({name: value for name, value in {**GOOD, **changes}.items() if value is not LEFT_OUT}).encode()


def decode(**changes: object) -> wire.Decoded:
    return wire.decode_transcript(transcript_bytes(**changes), None, NOW)


def transcript(**changes: object) -> Transcript:
    record = decode(**changes).record
    assert isinstance(record, Transcript)
    return record


def reason(value: bytes | None, key: bytes | None = None, decoder: Callable[..., wire.Decoded] | None = None) -> str:
    record = (decoder or wire.decode_transcript)(value, key, NOW).record
    return record.reason if isinstance(record, Rejected) else ""


BAD_BYTES = {
    "too_large": b" " * (1 << 20) + b"{",
    "bom": b"\xef\xbb\xbf" + transcript_bytes(),
    "encoding": transcript_bytes(text="e").replace(b'"e"', b'"\xe9"'),
    "syntax": transcript_bytes() + b"}",
    "nesting": b"[" * 33,
    "duplicate_key": transcript_bytes().replace(b"{", b'{"custome\\u0072": "other", ', 1),
    "nonfinite": transcript_bytes(confidence=float("nan")),
    "number_range": transcript_bytes(x=10**19),
    "not_object": b"[]",
}
BAD_FIELDS: dict[str, dict[str, object]] = {
    "schema_type": {"schema": True},
    "schema_version": {"schema": 2},
    **{f"missing_{name}": {name: LEFT_OUT} for name in GOOD},
    **{
        f"{name}_type": {name: 7}
        for name in (*("id", "customer", "deployment", "text"), *LABELS, "attributes", "final")
    },
    "ts_type": {"ts": 1.5},
    "confidence_type": {"confidence": True},
    "id_chars": {"id": "a b"},
    "id_length": {"id": "x" * 129},
    "customer_chars": {"customer": "acme\n"},
    "customer_length": {"customer": "a" * 64},
    "deployment_chars": {"deployment": "-"},
    "deployment_length": {"deployment": ""},
    "ts_format": {"ts": "2026-03-11T08:00:00"},
    "ts_too_old": {"ts": int((NOW - 400 * DAY) * 1000) - 1},
    "ts_future": {"ts": int((NOW + DAY) * 1000) + 1},
    "too_long": {"text": "a " * 20_000 + "a"},
}
BAD_REFERENCES: dict[str, dict[str, object]] = {
    "revision_type": {"revision": 1.0},
    "revision_range": {"revision": 2**31},
    "source_value": {"source": "random"},
    "annotator_type": {"annotator": 5},
    "annotator_length": {"annotator": "x" * 129},
}
DECIDED_ELSEWHERE = {"tenant_not_allowed", "id_conflict"}
OF_MAPPINGS = {name for name in wire.REASONS if name.startswith("unmapped_")}  # test_mapping.py reaches them


@pytest.mark.parametrize("name", sorted(wire.REASONS - DECIDED_ELSEWHERE - OF_MAPPINGS))
def test_every_reason_is_reached(name: str) -> None:
    """A reason that nothing reaches is a row of the contract that nothing keeps."""
    if name == "tombstone_without_key":
        assert reason(None) == name
    elif name in BAD_BYTES:
        assert reason(BAD_BYTES[name]) == name
    elif name in BAD_FIELDS:
        assert reason(transcript_bytes(**BAD_FIELDS[name])) == name
    else:
        assert reason(transcript_bytes(**BAD_REFERENCES[name]), decoder=wire.decode_reference) == name


def test_nothing_of_a_rejected_message_is_kept() -> None:
    """The dead letters, the log and a crash report may be read by people who may not read transcripts."""
    value = transcript_bytes(text=["CANARY"], id="CANARY")
    record = wire.decode_transcript(value, b"CANARY", NOW).record
    assert record == Rejected(reason=record.reason, digest=sha256(value).digest())  # type: ignore[union-attr]
    assert "CANARY" not in repr(record)


def test_the_limits_themselves_are_within() -> None:
    """Off by one at a cap loses exactly the longest recordings."""
    assert transcript(text="a" * 200_000).text == "a" * 200_000
    assert len(transcript(text=" a" * 20_000).text) == 40_000
    assert transcript(id="x" * 128).id == "x" * 128
    assert transcript(accent="x" * 64).accent == "x" * 64
    assert not decode(x=10**19 - 1, y=json.loads("[" * 31 + "]" * 31)).clipped
    exact = transcript_bytes()[:-1] + b" " * ((1 << 20) - len(transcript_bytes())) + b"}"
    assert reason(exact) == ""
    assert reason(exact + b" ") == "too_large"


@pytest.mark.parametrize(
    ("clipped", "changes", "expected"),
    [
        ("ts", {"ts": "2026-03-12T00:05:00Z"}, {"event_at": NOW}),
        ("ts", {"ts": "2026-03-11T08:00:60.5Z"}, {"event_at": NOW - 16 * 3600 + 59.5}),
        ("text", {"text": "a\x00b\x9fc\td\r\n"}, {"text": "a b c\td\r\n"}),
        ("accent", {"accent": "eng\u202eland\n"}, {"accent": "england"}),
        ("accent", {"accent": "\u200b"}, {"accent": None}),
        ("speaker", {"speaker": "s" * 129}, {"speaker": "s" * 128}),
        ("confidence", {"confidence": 1.01}, {"confidence": None}),
        ("attributes", {"attributes": {"sample_rate": 24000, "site": "a"}}, {"attributes": (("site", "a"),)}),
        ("attributes", {"attributes": {"severity": "x", "Site": "a", "z": "1"}}, {"attributes": (("z", "1"),)}),
        ("attributes", {"attributes": {f"k{n}": "x" for n in range(17)}}, {}),
    ],
)  # fmt: skip
def test_what_can_be_mended_is_clipped_and_named(
    clipped: str, changes: dict[str, object], expected: dict[str, object]
) -> None:
    """A clip is scored; its counter must name the field, or nobody mends the producer."""
    decoded = decode(**changes)
    assert decoded.clipped == (clipped,)
    assert {name: getattr(decoded.record, name) for name in expected} == expected


def test_absence_is_no_clip() -> None:
    """Producers write null, nothing or blanks for "not asked"; that is `unknown`, not a fault."""
    decoded = decode(accent=None, language="", model=" \n", attributes={"site": " "})
    assert decoded.clipped == ()
    assert decoded.record == transcript(accent=None, language="", model=" \n", attributes={"site": " "})
    assert transcript(attributes={"b": "2", "a": "1"}).attributes == (("a", "1"), ("b", "2"))


def test_the_first_sixteen_attributes_are_kept() -> None:
    """Which ones are kept must not depend on a parser's order of keys."""
    kept = transcript(attributes={f"k{n}": "x" for n in range(99, 0, -1)}).attributes
    assert [name for name, _ in kept] == [f"k{n}" for n in range(84, 100)]


def test_a_partial_result_is_neither_scored_nor_rejected() -> None:
    """Streaming recognisers send several for each utterance; only the final one is a hypothesis."""
    assert decode(final=False).record == Partial()
    assert decode(final=False, text=7).record == Partial()
    assert isinstance(decode(final=True).record, Transcript)


def test_times_with_offsets_and_milliseconds_are_the_same_instant() -> None:
    """Event time orders everything: an hour lost in an offset moves a reference before its transcript."""
    instants = ["2026-03-11T08:00:00.25Z", "2026-03-11t13:30:00.250+05:30", 1773216000250]
    assert {transcript(ts=ts).event_at for ts in instants} == {1773216000.25}


def test_digests_tell_versions_apart() -> None:
    """A duplicate is known by the message's bytes, a reference's version by its text alone."""
    assert transcript().digest == sha256(transcript_bytes()).digest()
    reference = wire.decode_reference(transcript_bytes(revision=2, source="flagged"), None, NOW).record
    assert isinstance(reference, Reference)
    assert reference.digest == sha256(b"the patient is stable").digest()
    assert (reference.revision, reference.source) == (2, Source.FLAGGED)


@pytest.mark.parametrize("decoder", [wire.decode_transcript, wire.decode_reference])
def test_tombstones_erase_by_key_or_by_line(decoder: Callable[..., wire.Decoded]) -> None:
    """Files have no keys: without a line that means a tombstone, an archive could never erase."""
    assert decoder(None, b"u-1", NOW).record == Tombstone(id="u-1")
    assert decoder(b'{"schema":1,"id":"u-1","erase":true}', None, NOW).record == Tombstone(id="u-1")
    bad_keys = {b"": "id_length", b"a b": "id_chars", b"x" * 129: "id_length", b"\xff": "encoding"}
    assert {key: reason(None, key, decoder) for key in bad_keys} == bad_keys
    assert reason(b'{"schema":1,"id":"u-1","erase":false}', None, decoder) == "missing_ts"
    assert reason(b'{"schema":1,"id":"u-1","erase":true,"x":1}', None, decoder) == "missing_ts"
    assert reason(b'{"schema":1,"id":"a b","erase":true}', None, decoder) == "id_chars"


MEBIBYTE = 1 << 20
HOSTILE = {
    "an integer of a million digits": b'{"x":' + b"9" * (MEBIBYTE - 6) + b"}",
    "a fraction of a million digits": b'{"x":0.' + b"9" * (MEBIBYTE - 8) + b"}",
    "brackets": b"[" * MEBIBYTE,
    "empty arrays": b"[" + b"[]," * 349_000 + b"[]]",
    "empty objects": b'{"x":[' + b"{}," * 349_000 + b"{}]}",
    "quotes": b'"\\' * (MEBIBYTE // 2),
    "open string of escapes": b'{"x":"' + b"[\\" * (MEBIBYTE // 2 - 4),
    "surrogates": b'{"x":"' + b"\\ud83d\\ude00" * 87_000 + b'"}',
    "keys": json.dumps({f"{n}": 0 for n in range(95_000)}).encode(),
    "attributes": transcript_bytes(attributes={f"a{n}": "" for n in range(60_000)}),
    "a label of format characters": transcript_bytes(accent="\u200b" * 170_000),
    "a text of control characters": transcript_bytes(text="\x01" * 170_000),
    "a time of a million digits": transcript_bytes(ts="2026-03-11T08:00:00." + "1" * 1_000_000 + "Z"),
    "zeros": b"[" + b"0," * 520_000 + b"0]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_message_takes_long(name: str) -> None:
    """T9 allows 500 ms for a message, of which decoding may take half: four bare loops, where they take 62 ms each."""
    assert bare_loops(lambda: wire.decode_transcript(HOSTILE[name], None, NOW), 2.0) < 4.0


def test_reading_a_time_or_a_kind_never_fails() -> None:
    """Archives are sorted by time before anything is validated."""
    assert wire.event_time(transcript_bytes()) == 1773216000.0
    assert wire.event_time(b'{"ts": 1773216000250}') == 1773216000.25
    for value in (
        b"",
        b"\xff",
        b"[]",
        b'{"ts":true}',
        b'{"ts":"x"}',
        b'{"ts":1e400}',
        b'{"ts":%d}' % 10**30,
        b"[" * 9999,
    ):
        assert wire.event_time(value) is None
        assert wire.kind_of(value) == "reference"
    assert wire.kind_of(transcript_bytes()) == "transcript"
