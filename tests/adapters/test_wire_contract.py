"""Wire against the contract restated: whatever the bytes, both say the same."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.adapters import wire
from monitor.core.records import Partial, Reference, Rejected, Tombstone, Transcript
from tests.adapters import contract_restated
from tests.builders import DAY, MARCH_2

NOW = MARCH_2 + 10 * DAY

GOOD_TRANSCRIPT: dict[str, object] = {
    "schema": 1,
    "id": "utterance-1",
    "ts": "2026-03-11T08:00:00.250Z",
    "customer": "acme",
    "deployment": "wards",
    "text": "the patient: is stable",
}
GOOD_REFERENCE: dict[str, object] = {
    "schema": 1,
    "id": "utterance-1",
    "ts": "2026-03-11T09:00:00+01:00",
    "text": "the patient is stable",
}

odd_characters = st.sampled_from(
    'a :"\\/{}[]\t\n\r\x00\x1f\x7f\x85\xa0é\u00ad\u200b\u202e\u2028\u2066\ue000\ufeff\U0001f600\u0378'
)
texts = st.text(odd_characters, max_size=70) | st.text(max_size=8)
numbers = st.one_of(
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([10**19 - 1, -(10**19) + 1, 2**31 - 1, 2**31, 0.5, 1.0]),
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
MOMENTS = [
    "2026-03-11t08:00:00z", "2026-03-11T08:00:60Z", "2026-03-11T08:00:61Z", "2026-03-11 08:00:00Z",
    "2026-03-11T08:00:00", "2026-02-30T08:00:00Z", "2026-03-11T24:00:00Z", "2026-03-11T08:00:00-24:00",
    "2026-03-11T08:00:00+05:60", "٢٠٢٦-03-11T08:00:00Z", "2026-03-11T08:00:00.Z", "0000-03-11T08:00:00Z",
    "2026-03-11T08:00:00.123456789-00:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "",
    "2026-03-12T00:04:59Z", "2026-03-12T00:05:00Z", "2026-03-13T00:00:00Z", "2026-03-13T00:00:00.001Z",
    "2025-02-05T00:00:00Z", "2025-02-04T23:59:59.999Z", "2026-03-11T08:00:00Z\n", "2026-W11-3T08:00:00Z",
    "2026-03-11T08:00:00,5Z", "20260311T080000Z", "2026-03-11T08:00Z",
]  # fmt: skip
LABELS = [
    None, "", "  ", "\n", "\u200b", " x ", "x" * 64, "x" * 65, " " * 64 + "x", "y" * 128, "y" * 129, "a\u2028b",
    "a\u2029b", "a\u0085b", "a\xa0b", "a\u202eb", "\ue000", "\u0378", "a\tb",
]  # fmt: skip
IDS = ["", "x" * 128, "x" * 129, "a b", "a\u00adb", "é\U0001f600", "a\u3000b", "a\nb", "\ue000", "\u0378", "\u2029"]
TENANTS = ["a" * 63, "a" * 64, "", "acme\n", "-a", "A.b_c-9", "ácme", "9"]
EXAMPLES: dict[str, list[object]] = {
    "ts": [*MOMENTS, 0, -1, True, 1.5],
    "id": [*IDS],
    "customer": [*TENANTS],
    "deployment": [*TENANTS],
    **{name: [*LABELS, 1, {}] for name in ("accent", "language", "model", "speaker", "session", "annotator")},
    "revision": [0, -1, 2**31 - 1, 2**31, True, 1.0, None],
    "source": ["sampled", "organic", "flagged", "Sampled", "", None, 1, []],
    "confidence": [0, 1, 0.0, 1.0, 1.1, -0.1, 2, True, None, "1"],
    "final": [True, False, None, 0, "false"],
    "text": ["", "\x00\x1f\x7f\x80\x9f", "\t\n\r", "\u200b\u2028", "a " * 20_000, "a " * 20_000 + "a"],
    "schema": [0, 1, 2, 1.0, True, "1", None, 10**18],
    "attributes": [None, [], {}, {"a": None, "b": 1, "c": "x\n"}, {"a" * 32: "x", "a" * 33: "x", "e\n": "x"}],
}  # fmt: skip
times = st.sampled_from(MOMENTS) | st.integers(int(NOW - 401 * DAY) * 1000, int(NOW + 2 * DAY) * 1000)
labels = texts | st.sampled_from(LABELS)
attribute_names = st.sampled_from(["site", "le", "Site", "a" * 32, "a" * 33, "x_1", "1x", "", "severity", "e\n"])
attribute_entries = st.dictionaries(
    attribute_names | st.from_regex("[a-z]{1,2}", fullmatch=True), labels | numbers, max_size=20
)
TRANSCRIPT_FIELDS = {
    "schema": st.just(1) | values,
    "final": st.booleans() | values,
    "id": texts | values | st.sampled_from(IDS),
    "ts": times | values,
    "customer": values | st.sampled_from(TENANTS),
    "deployment": values | st.sampled_from(TENANTS),
    "text": texts | values,
    "accent": labels | values,
    "language": labels,
    "model": labels,
    "speaker": labels | values,
    "session": labels,
    "attributes": attribute_entries | values,
    "confidence": st.floats(-0.5, 1.5) | st.integers(-1, 2) | values,
    "unknown": values,
    "erase": values,
}
REFERENCE_FIELDS = {
    **{name: TRANSCRIPT_FIELDS[name] for name in ("schema", "id", "ts", "text", "unknown", "erase")},
    "revision": st.integers(-1, 2**31) | values,
    "source": st.sampled_from(["sampled", "organic", "flagged", "Sampled", ""]) | values,
    "annotator": labels | values,
    "customer": values,
}


@st.composite
def written(draw: st.DrawFn, good: dict[str, object], fields: Mapping[str, st.SearchStrategy[object]]) -> bytes:
    """A good message with a few fields changed, left out, repeated or reordered, in some way of writing JSON."""
    message = dict(good)
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True)):
        message[name] = draw(fields[name])
    for name in draw(st.sampled_from([[]] * 20 + [["ts"], ["id"], ["schema"], ["text"], ["customer"]])):
        message.pop(name, None)
    items = draw(st.permutations(list(message.items())))
    ascii_only, blank = draw(st.booleans()), draw(st.sampled_from(["", " ", "\n\t"]))
    parts = [
        f"{json.dumps(k, ensure_ascii=ascii_only)}{blank}:{json.dumps(v, ensure_ascii=ascii_only)}" for k, v in items
    ]
    if draw(st.integers(0, 9)) == 0:
        parts.append(draw(st.sampled_from(ODD_PAIRS)))
    return ("{" + f"{blank},".join(parts) + "}" + blank).encode()


ODD_PAIRS = [
    '"i\\u0064":"again"', '"x":{"a":1,"\\u0061":2}', '"x":[[{"a":1,"a":1}]]', '"x":NaN', '"x":-Infinity', '"x":1e999',
    '"x":12345678901234567890', '"x":-12345678901234567890', '"x":"\\ud800"', '"x":"\\udc00\\ud800"',
    '"x":"\\ud83d\\ude00"', '"x":"\\\\ud800"', '"\\udfff":1', '"x":"a\\u003ab"', '"x:y":"z:"',
    '"x":' + "[" * 31 + "]" * 31,
    '"x":' + "[" * 32 + "]" * 32, '"x":"' + "[" * 40 + '"', '"x":01', '"x":1.', '"x":+1', '"x":\'y\'', '"x":tru', "x:1",
    '"x":"\x01"', '"x":"\\x41"', '"x":1,', '"":null', '"x":-0', '"x":1e5', '"x":1E-999', '"x":12345678901234567890.5',
    '"x":[12345678901234567890]', '"x":[[1.5,-12345678901234567890]]',
    '"x":"\\ud83d\\uec00"', '"x":"\\udbff\\ue000"', '"x":1,"x":"\\u003a"', '"x":1,"x":{"\\u003A":2}',
     '"x":"\\uD83D\\uDFFF"',
    '"x":1}{', '"x":{"a":"\\ud800","a":1}', '"x":"\\u003A","x":1',
]  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_borders_of_a_field_are_the_contracts(name: str) -> None:
    """Borders are where two readings of one rule part."""
    for example_ in EXAMPLES[name]:
        for good, decode, restated in (
            (GOOD_TRANSCRIPT, wire.decode_transcript, contract_restated.transcript),
            (GOOD_REFERENCE, wire.decode_reference, contract_restated.reference),
        ):
            value = json.dumps({**good, name: example_}).encode()
            check(value, decode(value, None, NOW), restated(value, NOW))


@pytest.mark.parametrize("pair", ODD_PAIRS)
def test_odd_bytes_within_a_good_message_are_judged_as_the_contract_says(pair: str) -> None:
    """Two parsers that read one message differently let one tenant write into another."""
    value = json.dumps(GOOD_TRANSCRIPT).encode()[:-1] + b"," + pair.encode() + b"}"
    check(value, wire.decode_transcript(value, None, NOW), contract_restated.transcript(value, NOW))


@given(written(GOOD_TRANSCRIPT, TRANSCRIPT_FIELDS))
def test_a_transcript_ends_as_the_contract_says(value: bytes) -> None:
    """The contract is what producers are told; the decoder is what they get."""
    check(value, wire.decode_transcript(value, None, NOW), contract_restated.transcript(value, NOW))


@given(written(GOOD_REFERENCE, REFERENCE_FIELDS))
def test_a_reference_ends_as_the_contract_says(value: bytes) -> None:
    """A correction that is read differently from its contract is a wrong word error rate."""
    check(value, wire.decode_reference(value, None, NOW), contract_restated.reference(value, NOW))


@given(st.binary(max_size=200))
@example(b"")
@example(b"null")
@example(b'"\\ud800"')
@example(b"[[1,{}]]")
def test_any_bytes_end_under_one_outcome(value: bytes) -> None:
    """A message that raises would stop a partition for good."""
    check(value, wire.decode_transcript(value, b"\xff", NOW), contract_restated.transcript(value, NOW))


@given(written(GOOD_TRANSCRIPT, TRANSCRIPT_FIELDS), st.data())
def test_damaged_messages_end_as_the_contract_says(value: bytes, data: st.DataObject) -> None:
    """A byte lost or changed on the way must not be repaired in another way than the contract's."""
    at = data.draw(st.integers(0, len(value) - 1))
    damaged = (
        value[:at]
        + data.draw(st.sampled_from([b"", b'"', b"\\", b"{", b"]", b"\xed\xa0\x80", b"\xc0\x80", b":"]))
        + value[at + 1 :]
    )
    check(damaged, wire.decode_transcript(damaged, None, NOW), contract_restated.transcript(damaged, NOW))


def check(value: bytes, decoded: wire.Decoded, expected: contract_restated.Verdict) -> None:
    record = decoded.record
    if isinstance(record, Rejected):
        assert (expected.outcome, expected.reason) == ("rejected", record.reason)
        assert record.reason in wire.REASONS
        assert not decoded.clipped
        return
    assert expected.outcome == ("clipped" if decoded.clipped else "accepted"), expected
    assert expected.clipped == set(decoded.clipped)
    assert len(decoded.clipped) == len(expected.clipped)
    assert fields_of(record) == expected.fields


def fields_of(record: Transcript | Reference | Tombstone | Partial) -> dict[str, object]:
    """What was read, by the message's names."""
    if isinstance(record, Tombstone):
        return {"erased": record.id}
    if isinstance(record, Partial):
        return {"partial": True}
    names = ["id", "text"]
    names += (
        ["customer", "deployment", "accent", "language", "model", "speaker", "session", "confidence"]
        if isinstance(record, Transcript)
        else ["revision", "annotator"]
    )
    fields: dict[str, object] = {name: getattr(record, name) for name in names}
    fields["ts"] = record.event_at
    if isinstance(record, Transcript):
        assert list(record.attributes) == sorted(record.attributes)
        return {**fields, "attributes": dict(record.attributes)}
    return {**fields, "source": record.source.value}
