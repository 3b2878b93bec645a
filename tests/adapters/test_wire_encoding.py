"""Wire: what is written is one stable ASCII line, with the names that commands.md and contract.md promise."""

from __future__ import annotations

import json

import pytest

from monitor.adapters import wire
from monitor.adapters.wire import table
from monitor.core.records import (
    Counts,
    Direction,
    IncidentKind,
    IncidentState,
    Level,
    Pointer,
    Reason,
    Review,
    Score,
    Transition,
)
from tests.builders import MARCH_2, outcome

TRANSITION = Transition(
    incident="acme-1",
    at=MARCH_2 + 0.25,
    state=IncidentState.FIRING,
    level=Level.PAGE,
    kind=IncidentKind.DRIFT,
    direction=Direction.WORSE,
    customer="acme",
    slices=("accent=england",),
    wer=0.22200000000000003,
    wer_before=None,
    wer_rest=float("nan"),
    gap=-1e-9,
    gap_low=0.05,
    gap_high=0.2,
    pairs=154,
    evidence=float("inf"),
    reason="drift",
    summary="england 22.2 % — é\nnext",
)


def test_an_incident_has_the_keys_of_commands_md_in_their_order() -> None:
    """Other programs read incidents.jsonl by these names."""
    line = json.loads(wire.encode_transition(TRANSITION))
    assert list(line) == [
        "incident", "at", "state", "level", "kind", "direction", "customer", "slices", "wer", "wer_before",
        "wer_rest", "gap", "gap_low", "gap_high", "pairs", "evidence", "reason", "summary",
        "since", "ratio", "ratio_low", "ratio_high", "changed",
    ]  # fmt: skip
    assert line["at"] == "2026-03-02T00:00:00.250Z"
    assert (line["state"], line["level"], line["kind"]) == ("firing", "page", "drift")


def test_measures_are_rounded_and_what_json_cannot_say_is_null() -> None:
    """The last bits of a sum differ between machines; the file must not. `NaN` is no JSON."""
    text = wire.encode_transition(TRANSITION).decode("ascii")
    assert '"wer":0.222,' in text
    assert '"gap":0.0,' in text
    assert '"wer_rest":null' in text
    assert '"evidence":null' in text


def test_an_outcome_says_everything_but_text() -> None:
    """This stream is the system of record for all that comes after: nothing may have to be looked up."""
    scored = outcome(
        0xABC,
        session="s-hash",
        score=Score(
            counts=Counts(hits=7, substitutions=2, deletions=1, insertions=3),
            strict_errors=1,
            strict_words=2,
            profile="whisper-en@1f2e3d4c",
            loop=True,
        ),
        inclusion_probability=1 / 3,
    )
    line = json.loads(wire.encode_outcome(scored, ("accent", "deployment")))
    assert line["id"] == "0000000000000abc"
    assert line["attributes"] == {"accent": "england", "deployment": "wards"}
    assert [line[name] for name in ("hits", "substitutions", "deletions", "insertions")] == [7, 2, 1, 3]
    assert (line["reference_words"], line["hypothesis_words"], line["flags"]) == (10, 12, ["loop"])
    assert line["inclusion_probability"] == 1 / 3
    assert line["reference_at"] == "2026-03-02T01:00:00.000Z"
    assert sorted(line) == sorted(wire.schema("outcome")["properties"])  # type: ignore[call-overload]


def test_every_line_is_one_line_of_ascii() -> None:
    """A newline or a terminal's escape inside a line would break every reader of the file."""
    review = Review(
        id="u\u202e1",
        event_at=MARCH_2,
        customer="acme",
        deployment="wards",
        text="a\n\u2028\x1b[31mé",
        language=None,
        labels={"accent": "yorùbá"},
        inclusion_probability=0.5,
        priority=0.25,
    )
    pointer = Pointer(topic="transcripts.jsonl", partition=0, offset=17, reason=Reason("syntax"), sha256="ab" * 32)
    lines = [
        wire.encode_transition(TRANSITION),
        wire.encode_outcome(outcome(), ("accent", "deployment")),
        wire.encode_review(review),
        wire.encode_pointer(pointer),
    ]
    for line in lines:
        assert line.isascii()
        assert all(0x20 <= byte < 0x7F for byte in line)
    assert json.loads(lines[2])["text"] == review.text
    assert list(json.loads(lines[3])) == ["topic", "partition", "offset", "reason", "sha256"]


@pytest.mark.parametrize("name", ["transcript", "reference", "outcome"])
def test_a_schema_is_a_2020_12_document(name: str) -> None:
    """Producers generate code from it."""
    schema = wire.schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert all(fragment["description"] for fragment in properties.values())


@pytest.mark.parametrize(("name", "fields"), [("transcript", table.TRANSCRIPT), ("reference", table.REFERENCE)])
def test_schema_and_decoder_agree_on_types(name: str, fields: tuple[table.Field, ...]) -> None:
    """One table makes both; this shows that neither reads a type of its own into it."""
    schema = wire.schema(name)
    decoder = wire.decode_transcript if name == "transcript" else wire.decode_reference
    good: dict[str, object] = {
        "schema": 1, "id": "u", "ts": "2026-03-02T00:00:00Z", "customer": "a", "deployment": "b", "text": "",
    }  # fmt: skip
    samples = {
        "string": "sampled",
        "integer": 1,
        "number": 0.5,
        "boolean": True,
        "null": None,
        "object": {},
        "array": [],
    }
    for field in fields:
        allowed = _types(schema["properties"][field.name])  # type: ignore[index]
        for type_, sample in samples.items():
            value = "2026-03-02T00:00:00Z" if field.name == "ts" and type_ == "string" else sample
            record = decoder(json.dumps({**good, field.name: value}).encode(), None, MARCH_2).record
            # An integer is a number too; 1 ms after 1970 is a right type for a time, though far too old.
            right = type_ in allowed or (type_ == "integer" and "number" in allowed)
            wrong = getattr(record, "reason", "") in (f"{field.name}_type", "source_value")
            assert right != wrong, (field.name, type_)


def _types(fragment: dict[str, object]) -> set[str]:
    if "anyOf" in fragment:
        return set().union(*(_types(option) for option in fragment["anyOf"]))  # type: ignore[attr-defined]
    if "enum" in fragment:
        return {"string"}
    types = fragment["type"]
    return {types} if isinstance(types, str) else set(types)  # type: ignore[call-overload]
