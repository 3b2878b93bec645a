"""Mapping: what becomes of messages in somebody else's JSON, by expressions and by presets for known recognisers."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import jmespath
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.adapters import wire
from monitor.adapters.wire import table
from monitor.config import load_settings
from monitor.core.records import Kind, Partial, Reference, Rejected, Tombstone, Transcript
from monitor.decoders import decoder_for, event_times, kinds
from monitor.expressions import (
    FAILED,
    NO_ENVELOPE,
    BadExpression,
    Envelope,
    Headers,
    Workbench,
    compile_expression,
)
from monitor.mapping_presets import PRESETS
from monitor.settings_mapping import ATTRIBUTES_MAX, FIELDS, REQUIRED
from tests.bare_loop import bare_loops
from tests.builders import DAY, MARCH_2

NOW = MARCH_2 + 10 * DAY
HEADERS: Headers = [("at", b"2026-03-11T08:00:00Z"), ("tenant", b"acme"), ("id", b"u-1")]
RULES: dict[str, str | Sequence[str]] = {
    "id": "call.id",
    "ts": "call.at",
    "customer": "$header.tenant",
    "deployment": "'wards'",
    "text": "heard.text",
}
MESSAGE: dict[str, object] = {
    "call": {"id": "u-1", "at": "2026-03-11T08:00:00.250Z"},
    "heard": {"text": "the patient is stable"},
}
VENDOR_MESSAGES = Path(__file__).parent / "vendor_messages"


def mapping(**rules: str | Sequence[str]) -> wire.MessageMapping:
    return wire.MessageMapping(Kind.TRANSCRIPT, texts({**RULES, **rules}))


def texts(rules: Mapping[str, str | Sequence[str]]) -> dict[str, Sequence[str]]:
    return {name.replace("__", "."): [rule] if isinstance(rule, str) else rule for name, rule in rules.items()}


def decode(by: wire.MessageMapping, message: object, headers: Headers = HEADERS) -> wire.Decoded:
    return wire.decode_mapped(by, json.dumps(message).encode(), b"k-1", headers, "calls", NOW)


def transcript(by: wire.MessageMapping, **more: object) -> Transcript:
    record = decode(by, {**MESSAGE, **more}).record
    assert isinstance(record, Transcript), record
    return record


def reason(by: wire.MessageMapping, message: object) -> str:
    record = decode(by, message).record
    return record.reason if isinstance(record, Rejected) else ""


# --------------------------------------------------------------------------------------------------------------- fields
def test_a_mapped_message_is_what_the_contract_s_own_would_be() -> None:
    """Nothing after the decoder may be able to tell whose JSON it was."""
    own = {"schema": 1, "id": "u-1", "ts": "2026-03-11T08:00:00.250Z", "customer": "acme", "deployment": "wards"}
    own |= {"text": "the patient is stable", "accent": "welsh", "attributes": {"site": "a", "floor": "2"}}
    expected = wire.decode_transcript(json.dumps(own).encode(), None, NOW).record
    by = mapping(accent="who.accent", attributes__site="where[0]", attributes__floor="where[1]", session="call.session")
    found = transcript(by, who={"accent": "welsh"}, where=["a", 2])
    assert isinstance(expected, Transcript)
    assert (found.attributes, found.session) == ((("floor", "2"), ("site", "a")), None)
    for name in Transcript.__struct_fields__:
        assert name == "digest" or getattr(found, name) == getattr(expected, name)


def test_a_duplicate_is_known_by_the_original_bytes() -> None:
    """Else a message that was sent twice would be two versions."""
    value = json.dumps(MESSAGE).encode()
    assert transcript(mapping()).digest == sha256(value).digest()


def test_a_reference_is_mapped_likewise() -> None:
    """Corrections come from an annotation tool, with a JSON of its own."""
    rules = {
        "id": ["task.ref"],
        "ts": ["done"],
        "text": ["task.text"],
        "source": ["why == 'bad' && 'flagged' || 'sampled'"],
    }
    by = wire.MessageMapping(Kind.REFERENCE, rules, ts_per_second=1)
    record = decode(by, {"task": {"ref": 77, "text": "yes"}, "done": 1773216000.5, "why": "bad"}).record
    assert isinstance(record, Reference)
    assert (record.id, record.event_at, record.source) == ("77", 1773216000.5, "flagged")
    assert record.digest == sha256(b"yes").digest()


def test_the_first_alternative_that_finds_something_counts() -> None:
    """Two versions of a producer write to one topic for months; a failed expression finds nothing."""
    by = mapping(text=["join(' ', parts)", "heard.text", "'never'"])
    assert transcript(by).text == "the patient is stable"
    assert transcript(by, parts=["a", "b"]).text == "a b"


def test_segments_are_joined() -> None:
    """Most recognisers answer in segments, each with its alternatives."""
    results = [
        {"alternatives": [{"transcript": "one"}, {"transcript": "won"}]},
        {},
        {"alternatives": [{"transcript": "two"}]},
    ]
    assert (
        transcript(mapping(text="join(' ', results[].alternatives[0].transcript)"), results=results).text == "one two"
    )


def test_key_headers_and_topic_are_reachable() -> None:
    """Ids are often the key and tenants often a header, and not in the message. The last header of a name counts."""
    by = mapping(id="$key", deployment="$topic", session="$header.x-session.id", model="$header.absent")
    headers = [*HEADERS, ("x-session.id", b"s-1"), ("x-session.id", b"s-2")]
    record = decode(by, MESSAGE, headers).record
    assert isinstance(record, Transcript)
    assert (record.id, record.customer, record.deployment) == ("k-1", "acme", "calls")
    assert (record.session, record.model) == ("s-2", None)
    bad = wire.decode_mapped(by, json.dumps(MESSAGE).encode(), b"\xff", HEADERS, "calls", NOW).record
    assert isinstance(bad, Rejected)
    assert bad.reason == "unmapped_id"


@pytest.mark.parametrize(
    ("unit", "at"),
    [
        (1, 1773216000.25),
        (1_000, 1773216000250),
        (1_000_000, 1773216000250000),
        (1_000_000_000, 1773216000250000000),
        (1_000, 1773216000250.0),
    ],
)
def test_the_unit_of_a_number_is_declared(unit: int, at: float) -> None:
    """Seconds that are taken for milliseconds are in January 1970; guessing by size would be wrong for old archives."""
    assert (
        transcript(
            wire.MessageMapping(Kind.TRANSCRIPT, texts({**RULES, "ts": "at"}), ts_per_second=unit), at=at
        ).event_at
        == 1773216000.25
    )


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (True, "ts_type"), ([], "ts_type"), ("1773216000250", "ts_format"), (1e300, "ts_format"),
        ("2026-03-11T08:00:00", "ts_format"), (0, "ts_too_old"), (1773389000000, "ts_future"),
    ],
)  # fmt: skip
def test_times_are_held_to_the_contract(at: object, why: str) -> None:
    """A local time without an offset is an hour off for half of the year."""
    assert reason(mapping(ts="at"), {**MESSAGE, "at": at}) == why


def test_numbers_that_json_cannot_write_are_no_times() -> None:
    """`to_number` makes NaN of "nan"; an event at NaN would be neither old nor new, and pass."""
    for text in ("nan", "inf", "-inf", "9" * 400):
        assert reason(mapping(ts="to_number(at)"), {**MESSAGE, "at": text}) == "ts_format"


def test_a_naive_time_is_completed_by_an_expression() -> None:
    """Documented as the way out for producers that write UTC without saying so."""
    assert transcript(mapping(ts="join('', [at, 'Z'])"), at="2026-03-11T08:00:00").event_at == 1773216000.0


def test_an_offset_within_the_recording_is_added() -> None:
    """Streams say when within the call something was said; the call's beginning comes from elsewhere."""
    by = mapping(ts_offset="start")
    assert transcript(by, start=62.5).event_at == 1773216000.25 + 62.5
    assert transcript(by).event_at == 1773216000.25
    assert reason(by, {**MESSAGE, "start": "62.5"}) == "ts_type"
    ticks = wire.MessageMapping(Kind.TRANSCRIPT, texts({**RULES, "ts_offset": "o"}), offset_per_second=10_000_000)
    assert transcript(ticks, o=15_000_000).event_at == 1773216000.25 + 1.5


def test_whole_numbers_stand_for_ids_and_labels_only() -> None:
    """Ids and codes are numbers in many people's JSON; a text that is a number is a mistake in the mapping."""
    by = mapping(id="n", accent="n", text="heard.text")
    found = transcript(by, n=42)
    assert (found.id, found.accent) == ("42", "42")
    assert reason(mapping(text="n"), {**MESSAGE, "n": 42}) == "text_type"
    assert reason(mapping(id="n"), {**MESSAGE, "n": 1.5}) == "id_type"
    assert reason(mapping(id="n"), {**MESSAGE, "n": True}) == "id_type"


# -------------------------------------------------------------------------------------------------------------- rejects
MAPPED = {
    Kind.TRANSCRIPT: {field.name for field in table.TRANSCRIPT} - {"schema"},
    Kind.REFERENCE: {field.name for field in table.REFERENCE} - {"schema"},
}


@pytest.mark.parametrize("kind", Kind)
def test_a_field_that_cannot_be_mapped_has_a_reason_of_its_own(kind: Kind) -> None:
    """The operator must see at once which expression does not fit the topic any more."""
    for name in MAPPED[kind]:
        rules = {**RULES, "attributes.site" if name == "attributes" else name: "length(`1`)"}
        by = wire.MessageMapping(kind, {field: [str(rule)] for field, rule in rules.items()})
        assert reason(by, MESSAGE) == f"unmapped_{name}"
        assert f"unmapped_{name}" in wire.REASONS
    assert {r for r in wire.REASONS if r.startswith("unmapped_")} == {
        f"unmapped_{n}" for names in MAPPED.values() for n in names
    }


@pytest.mark.parametrize("name", REQUIRED[Kind.TRANSCRIPT])
def test_a_required_field_that_is_not_there_is_unmapped(name: str) -> None:
    """Null, absent and not mapped at all are the same to whoever has to repair it; an optional field is just absent."""
    assert reason(mapping(**{name: "nowhere"}), MESSAGE) == f"unmapped_{name}"
    rules = {field: [str(rule)] for field, rule in RULES.items() if field != name}
    assert reason(wire.MessageMapping(Kind.TRANSCRIPT, rules), MESSAGE) == f"unmapped_{name}"
    assert transcript(mapping(accent="nowhere", confidence="nowhere")).accent is None


def test_the_contract_s_limits_hold_after_the_mapping() -> None:
    """A mapping must be no way around them."""
    words = ["a"] * 20_001
    assert reason(mapping(text="join(' ', words)"), {**MESSAGE, "words": words}) == "too_long"
    assert reason(mapping(id="heard.text"), MESSAGE) == "id_chars"
    assert reason(mapping(customer="heard.text"), MESSAGE) == "customer_chars"
    assert (
        decode(mapping(accent="heard.text"), {**MESSAGE, "heard": {"text": "a\nb"}}).clipped == ("text", "accent")[1:]
    )


def test_bytes_are_guarded_as_the_contract_s_own() -> None:
    """Two parsers that read one message differently let one tenant write into another, whatever the JSON is called."""
    for value, why in (
        (b'{"call": 1, "call": 2}', "duplicate_key"), (b"[]", "not_object"), (b"\xff", "encoding"),
        (b'{"a": NaN}', "nonfinite"), (b" " * (1 << 20) + b"{", "too_large"), (b"[" * 33, "nesting"),
    ):  # fmt: skip
        record = wire.decode_mapped(mapping(), value, None, (), None, NOW).record
        assert record == Rejected(reason=record.reason, digest=sha256(value).digest())  # type: ignore[union-attr]
        assert record.reason == why


def test_nothing_of_a_rejected_message_is_kept() -> None:
    """The library puts values into its exceptions; none may leave the decoder."""
    by = mapping(text="length(heard.text || `1`)", accent="sum(heard.parts)")
    record = decode(by, {**MESSAGE, "heard": {"text": ["CANARY"], "parts": ["CANARY"]}}).record
    assert isinstance(record, Rejected)
    assert "CANARY" not in repr(record)


def test_partial_results_are_dropped_before_anything_else_is_looked_at() -> None:
    """Interim results often lack what final ones have."""
    by = mapping(final="done")
    assert decode(by, {"done": False}).record == Partial()
    assert transcript(by).text
    assert reason(by, {**MESSAGE, "done": "yes"}) == "final_type"


def test_tombstones_erase_by_key_or_by_line() -> None:
    """Erasure must work on topics with their own JSON, too: the key is the id, and a line says it in words."""
    by = mapping()
    assert wire.decode_mapped(by, None, b"u-1", (), "calls", NOW).record == Tombstone(id="u-1")
    assert decode(by, {"schema": 1, "id": "u-1", "erase": True}).record == Tombstone(id="u-1")
    record = wire.decode_mapped(by, None, None, (), "calls", NOW).record
    assert isinstance(record, Rejected)
    assert record.reason == "tombstone_without_key"


HOSTILE: dict[str, dict[str, object]] = {
    "many results": {"results": [{"alternatives": [{}]}] * 60_000},
    "many empty lists": {"results": [[]] * 300_000},
    "a long glue": {"glue": "x" * 400_000, "parts": [""] * 100_000},
    "many numbers to sort": {"n": list(range(170_000))},
    "many names": {"o": {f"{n}": 0 for n in range(90_000)}},
    "text that becomes longer when it is written": {"o": ["\\" * 480_000]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_message_takes_long(name: str) -> None:
    """T9 allows half a second for a message; here are several expressions at once, each looking at all of it."""
    by = mapping(
        text=["join(' ', results[].alternatives[0].transcript)", "join(glue, parts)"],
        accent="sort(n || `[]`)[0] && 'a'",
        model="keys(o || `{}`)[?length(@) > `1`] | [0]",
        session="to_string([to_string([to_string([o])])]) && 's'",
        language="results[?alternatives[?transcript]] | [0].a",
    )
    value = json.dumps(MESSAGE | HOSTILE[name]).encode()
    assert isinstance(wire.decode_mapped(by, value, b"k", HEADERS, "calls", NOW).record, Rejected | Transcript)
    assert bare_loops(lambda: wire.decode_mapped(by, value, b"k", HEADERS, "calls", NOW), 4.0) < 8.0


@given(st.binary(max_size=60), st.binary(max_size=8) | st.none())
@example(b'{"call":{"id":[],"at":{}}}', None)
def test_any_bytes_end_under_one_outcome(value: bytes, key: bytes | None) -> None:
    """A message that raises would stop a partition for good."""
    record = wire.decode_mapped(mapping(id="$key"), value, key, HEADERS, "calls", NOW).record
    assert isinstance(record, Rejected)
    assert record.reason in wire.REASONS


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "text"]), inner, max_size=3),
    max_leaves=8,
)


@given(values, st.sampled_from(sorted(MAPPED[Kind.TRANSCRIPT] - {"attributes"})))
def test_whatever_is_found_is_read_or_refused(found: object, name: str) -> None:
    """Expressions find anything; the readers were written for JSON, and see it through here."""
    record = decode(mapping(**{name: "found"}), {**MESSAGE, "found": found}).record
    assert isinstance(record, Transcript | Rejected | Partial)


# ---------------------------------------------------------------------------------------------------------- expressions
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "it is empty"),
        ("a[", "it ends too early, at character 3"),
        ("a.b[.c", 'unexpected ".", at character 5'),
        ("'acme", "unclosed ' delimiter, at character 1"),
        ("lenght(a)", "unknown function lenght(), at character 1; there is length"),
        ("a || length(a, b)", "length() takes 1 arguments, not 2, at character 6"),
        ("a[::0]", "a slice cannot have a step of 0"),
        ("$keys", 'what begins with "$" is $key, $topic or $header.<name>, and nothing else'),
        ("$header.", 'what begins with "$" is $key, $topic or $header.<name>, and nothing else'),
        ("a" * 1_001, "it is longer than 1000 characters"),
        ("(" * 900, "it is nested too deeply"),
        ("!" * 70 + "a", "it is nested more than 64 levels deep"),
        ("[@, @] | " * 11 + "@", "its lists and objects copy their input more than 1000 times"),
        ('`"\\ud800"`', "it has half a character in it (a lone surrogate)"),
    ],
)
def test_an_expression_that_cannot_be_compiled_says_where_and_why(text: str, what: str) -> None:
    """It is written into a YAML file, far from anything that colours syntax."""
    with pytest.raises(BadExpression) as raised:
        compile_expression(text, Workbench())
    assert str(raised.value) == what


PIECES = (
    *("a", "b", "c", "a.b", "[0]", "[*]", "[]", "[?a]", "*", "(", ")", "'x'", "`1`", "|", "||", "&&", "!", "@", "=="),
    *("<", "[-1]", "[0:2]", ".", "join(' ', ", "length(", "to_string(", "[a, b]", "{x: a}", "sort(", "map(&a, "),
    *("max_by(", ", &a)"),
)
DOCUMENTS: tuple[Mapping[str, object], ...] = (
    {"a": {"b": [1, "x", {"c": 2, "a": "q"}]}, "b": {"c": [{"a": 1}]}, "c": "t"},
    {"a": [["p", "q"], [{"a": ["z"]}]], "b": "s"},
    {"a": None, "b": [], "c": [{"a": 2}, {"a": 1}]},
)


def test_expressions_find_what_the_library_finds() -> None:
    """Paths are walked without the library's interpreter, for speed: that must not show."""
    chance, workbench, compiled = random.Random(1), Workbench(), 0
    for _ in range(20_000):
        text = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 6)))
        try:
            expression = compile_expression(text, workbench)
        except BadExpression:
            continue
        compiled += 1
        for document in DOCUMENTS:
            workbench.start()
            try:
                wanted = repr(jmespath.search(text, dict(document)))
            except (ValueError, TypeError):
                wanted = repr(FAILED)
            found = repr(expression.read(document, NO_ENVELOPE))
            assert found == wanted or "_Expression" in found, text
    assert compiled > 1_000


@given(st.text(alphabet="ab[]{}()'`\"\\.,:*?|&!@<=$0-9 ", max_size=12))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    """Whatever is in the file, the answer is a problem with a place, not a traceback."""
    try:
        compile_expression(text, Workbench()).read({"a": [1]}, Envelope())
    except BadExpression as error:
        assert error.what


# -------------------------------------------------------------------------------------------------------------- presets
def preset_cases() -> list[tuple[str, str, object, object]]:
    return [
        (path.stem, case["says"], case["message"], case["becomes"])
        for path in sorted(VENDOR_MESSAGES.glob("*.json"))
        for case in json.loads(path.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(("preset", "says", "message", "becomes"), preset_cases(), ids=lambda part: str(part)[:40])
def test_a_preset_reads_what_the_vendor_documents(
    preset: str, says: str, message: object, becomes: object, tmp_path: Path
) -> None:
    """A newcomer's first topic must work by naming its recogniser; what is no result must not be scored as silence."""
    open_fields = {"id": "$header.id", "ts": "$header.at", "customer": "$header.tenant", "deployment": "'wards'"}
    entry = {
        "preset": preset,
        **{name: rule for name, rule in open_fields.items() if name not in PRESETS[preset].rules},
    }
    path = tmp_path / "wervane.yaml"
    path.write_text(json.dumps({"input": {"mapping": {"transcripts": entry}}}))
    decode_one = decoder_for(load_settings(path, {}), Kind.TRANSCRIPT, None)
    decoded = decode_one(json.dumps(message).encode(), None, HEADERS, NOW)
    record = decoded.record
    if not isinstance(becomes, dict):
        assert (
            record == Partial() if becomes == "partial" else isinstance(record, Rejected) and record.reason == becomes
        )
        return
    assert isinstance(record, Transcript), record
    assert decoded.clipped == ()
    defaults = {"id": "u-1", "ts": "2026-03-11T08:00:00.000Z"}
    expected = {**{name: None for name in FIELDS[Kind.TRANSCRIPT] if name != "final"}, **defaults, **becomes}
    expected |= {"customer": "acme", "deployment": "wards"}
    ts = expected.pop("ts")
    assert wire.event_time(json.dumps({"ts": ts}).encode()) == pytest.approx(record.event_at, abs=5e-4)
    assert {name: getattr(record, name) for name in expected} == expected


def test_every_preset_has_its_samples() -> None:
    """A preset that no test reads is a guess."""
    assert {path.stem for path in VENDOR_MESSAGES.glob("*.json")} == set(PRESETS)
    assert all(preset.source.startswith("https://") for preset in PRESETS.values())


# ------------------------------------------------------------------------------------------------------------- settings
def test_the_fields_are_the_contract_s() -> None:
    """The configuration cannot import the wire module; what both know must be the same."""
    for kind, rows in ((Kind.TRANSCRIPT, table.TRANSCRIPT), (Kind.REFERENCE, table.REFERENCE)):
        assert set(FIELDS[kind]) == {row.name for row in rows} - {"schema", "attributes"}
        assert set(REQUIRED[kind]) == {row.name for row in rows if row.required} - {"schema"}
    assert ATTRIBUTES_MAX == table.ATTRIBUTES_MAX


KAFKA = """
kafka: {bootstrap_servers: ["b:9093"]}
input:
  kind: kafka
  transcripts: [calls, clinic]
  references: corrections
  mapping:
    transcripts: {id: a, ts: ts, customer: tenant, deployment: site, text: words}
    clinic: {id: b, ts: ts, customer: tenant, deployment: site, text: words, ts_unit: s}
"""


def test_a_topic_s_own_mapping_wins_over_its_input_s(tmp_path: Path) -> None:
    """Several topics, each from another team."""
    path = tmp_path / "wervane.yaml"
    path.write_text(KAFKA)
    settings = load_settings(path, {})
    message = {"a": "a-1", "b": "b-1", "ts": 1773216000, "tenant": "acme", "site": "wards", "words": "yes"}
    clinic = decoder_for(settings, Kind.TRANSCRIPT, "clinic")(json.dumps(message).encode(), None, (), NOW).record
    assert isinstance(clinic, Transcript)
    assert (clinic.id, clinic.event_at) == ("b-1", 1773216000.0)
    calls = decoder_for(settings, Kind.TRANSCRIPT, "calls")(json.dumps(message).encode(), None, (), NOW).record
    assert isinstance(calls, Rejected)
    assert calls.reason == "ts_too_old"  # milliseconds, as nothing else is said


def test_the_contract_s_own_json_needs_no_mapping(tmp_path: Path) -> None:
    """One of two topics may be ours already."""
    path = tmp_path / "wervane.yaml"
    path.write_text(KAFKA)
    value = b'{"schema":1,"id":"u-1","ts":"2026-03-11T08:00:00Z","text":"yes"}'
    decoded = decoder_for(load_settings(path, {}), Kind.REFERENCE, "corrections")(value, None, (), NOW)
    assert decoded == wire.decode_reference(value, None, NOW)


def test_archives_are_sorted_and_told_apart_by_mapped_fields(tmp_path: Path) -> None:
    """Files have no topics, and standard input not even files."""
    path = tmp_path / "wervane.yaml"
    path.write_text("input: {mapping: {transcripts: {id: i, ts: t, ts_unit: s, customer: c, deployment: d, text: x}}}")
    settings = load_settings(path, {})
    at = event_times(settings)
    assert at(Kind.TRANSCRIPT, b'{"t": 1773216000.5}') == 1773216000.5
    assert at(Kind.REFERENCE, b'{"ts": 1773216000500}') == 1773216000.5
    for value in (b"", b"[]", b'{"t": []}', b'{"t": "x"}', b'{"ts": 1}', b'{"t": 1e400}'):
        assert at(Kind.TRANSCRIPT, value) is None
    kind_of = kinds(settings)
    assert kind_of(b'{"c": "acme"}') is Kind.TRANSCRIPT
    assert kind_of(b'{"customer": "acme"}') is kind_of(b"[]") is Kind.REFERENCE
