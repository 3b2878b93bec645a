"""Wire, between stages: what is written comes back as it was, and nothing else is taken for it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.adapters import wire
from monitor.adapters.wire.encoding import OUTCOME
from monitor.adapters.wire.entries import EntryRefused, decode_entry, decode_pair, encode_entry, encode_pair
from monitor.core.apart import OutcomeEntry, PairEntry
from monitor.core.pairing_port import HeldReference, HeldTranscript
from monitor.core.records import (
    Counts,
    Mark,
    Missing,
    Observation,
    Origin,
    Outcome,
    Score,
    Source,
    UtteranceKey,
)
from monitor.core.routing import Erasure
from tests.builders import MARCH_2, held_reference, held_transcript, observation, outcome

DIMENSIONS = ("accent", "deployment")
ORIGIN = Origin(upstream="pairs-3@1f2e3d4c", offset=41, part=1)
CANARY = "purple elephants recite quietly"


def pair(**changes: object) -> PairEntry:
    return PairEntry(**{"origin": ORIGIN, "sha256": b"s" * 32, "routed": held_transcript(), **changes})  # type: ignore[arg-type]


def entry(emission: Observation | Outcome | Missing) -> OutcomeEntry:
    return OutcomeEntry(origin=ORIGIN, emission=emission)


# ----------------------------------------------------------------------------------------------------------- round trip
KEYS = st.integers(0, 2**64 - 1)
INSTANTS = st.floats(0.0, 4e9, allow_nan=False)
WORDS = st.text(max_size=12).filter(lambda text: text.isprintable())
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
LABELS = st.tuples(WORDS, WORDS)
PROBABILITIES = st.floats(0.0, 1.0, exclude_min=True)
HASHES = st.none() | st.integers(0, 2**64 - 1).map(lambda key: f"{key:016x}")
COUNTS = st.integers(0, 20_000)
SOURCES = st.sampled_from(Source)
ORIGINS = st.builds(Origin, upstream=WORDS, offset=st.integers(0, 2**63 - 1), part=st.integers(0, 40))
MARKS = st.builds(
    Mark,
    upstream=WORDS,
    of=st.integers(1, 1000),
    reached_at=st.none() | INSTANTS,
    current=st.booleans(),
    at=INSTANTS,
    losses=st.lists(st.tuples(WORDS, st.integers(0, 2**40), st.integers(1, 2**40)), max_size=3).map(tuple),
)
ROUTED = st.one_of(
    st.builds(
        HeldTranscript,
        key=KEYS,
        event_at=INSTANTS,
        customer=WORDS,
        deployment=WORDS,
        labels=LABELS,
        model=WORDS,
        language=st.none() | WORDS,
        session=HASHES,
        speaker=HASHES,
        inclusion_probability=PROBABILITIES,
        digest=st.binary(max_size=32),
        text=TEXTS,
        conflicted=st.booleans(),
        referenced=st.booleans(),
    ),
    st.builds(
        HeldReference,
        key=KEYS,
        event_at=INSTANTS,
        revision=st.integers(0, 2**31 - 1),
        digest=st.binary(max_size=32),
        source=SOURCES,
        annotator=st.none() | WORDS,
        text=TEXTS,
    ),
    st.builds(Erasure, key=KEYS.map(UtteranceKey)),
)
PAIRS = st.one_of(MARKS, st.builds(PairEntry, origin=ORIGINS, sha256=st.binary(max_size=32), routed=ROUTED))
SCORES = st.builds(
    Score,
    counts=st.builds(Counts, hits=COUNTS, substitutions=COUNTS, deletions=COUNTS, insertions=COUNTS),
    strict_errors=COUNTS,
    strict_words=COUNTS,
    profile=WORDS,
    empty_reference=st.booleans(),
    empty_hypothesis=st.booleans(),
    loop=st.booleans(),
)
UTTERANCES = KEYS.map(UtteranceKey)
EMISSIONS = st.one_of(
    st.builds(
        Observation,
        utterance=UTTERANCES,
        event_at=INSTANTS,
        customer=WORDS,
        deployment=WORDS,
        labels=LABELS,
        model=WORDS,
        session=HASHES,
        speaker=HASHES,
        inclusion_probability=PROBABILITIES,
        counts=st.sampled_from([1, -1]),
    ),
    st.builds(
        Outcome,
        utterance=UTTERANCES,
        event_at=INSTANTS,
        customer=WORDS,
        deployment=WORDS,
        labels=LABELS,
        model=WORDS,
        session=HASHES,
        speaker=HASHES,
        inclusion_probability=PROBABILITIES,
        reference_at=INSTANTS,
        revision=st.integers(0, 2**31 - 1),
        reference_digest=st.binary(min_size=8, max_size=8),
        source=SOURCES,
        score=SCORES,
        counts=st.sampled_from([-1, 0, 1]),
        holds=st.booleans(),
        aligner=WORDS,
    ),
    st.builds(Missing, customer=WORDS, labels=LABELS),
)
ENTRIES = st.one_of(MARKS, st.builds(OutcomeEntry, origin=ORIGINS, emission=EMISSIONS))


@settings(max_examples=300)
@given(PAIRS)
def test_what_is_routed_comes_back_as_it_was(written: PairEntry | Mark) -> None:
    """A last bit that changed on the way would subtract what was never added."""
    assert decode_pair(encode_pair(written, DIMENSIONS), DIMENSIONS) == written


@settings(max_examples=300)
@given(ENTRIES)
def test_what_is_scored_comes_back_as_it_was(written: OutcomeEntry | Mark) -> None:
    """DECIDE apart must decide what DECIDE in one process does, to the bit."""
    assert decode_entry(encode_entry(written, DIMENSIONS), DIMENSIONS) == written


# --------------------------------------------------------------------------------------------------- the public outcome
def test_an_outcome_on_the_log_is_the_public_line_with_one_key_more() -> None:
    """Other programs read this topic by its documented fields; what is ours alone must not get in their way."""
    scored = outcome(0xABC, event_at=MARCH_2 + 0.0004)
    line = json.loads(encode_entry(entry(scored), DIMENSIONS))
    own = line.pop("wervane")
    assert line == json.loads(wire.encode_outcome(scored, DIMENSIONS))
    assert list(line) == [name for name, _, _ in OUTCOME]
    assert own["event_at"] == scored.event_at, "exact, where the public one has milliseconds"


def test_what_is_no_outcome_has_none_of_its_fields() -> None:
    """A reader of outcomes tells them from our own entries by `id`, without knowing anything of those."""
    for written in (entry(observation()), entry(Missing(customer="acme", labels=("england", "wards"))), mark()):
        assert set(json.loads(encode_entry(written, DIMENSIONS))) == {"wervane"}


def test_no_text_reaches_the_outcomes_log() -> None:
    """It is read by more people than pairs is, and kept for longer."""
    said = held_transcript(text=CANARY, labels=("england", "wards"))
    assert CANARY.encode() in encode_pair(pair(routed=said), DIMENSIONS)
    fields = {*Observation.__struct_fields__, *Outcome.__struct_fields__, *Missing.__struct_fields__}
    assert not fields & {"text", "hypothesis", "reference", "annotator", "id"}


def mark() -> Mark:
    return Mark(upstream="transcripts-0@1f2e3d4c", of=4, reached_at=MARCH_2, current=False, at=MARCH_2 + 1.0)


# -------------------------------------------------------------------------------------------------------------- refused
RUBBISH = [
    None,
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"wervane":{}}',
    b'{"wervane":null}',
    b"\xff\xfe",
    b'{"schema":1,"id":"' + CANARY.encode() + b'","ts":1,"text":"x"}',
    b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("value", RUBBISH, ids=range(len(RUBBISH)))
def test_what_somebody_else_wrote_is_refused_without_its_content(value: bytes | None) -> None:
    """Nobody can keep a stranger's producer off a topic for sure; a stage that dies of one record dies for ever."""
    for decode in (decode_pair, decode_entry):
        with pytest.raises(EntryRefused) as raised:
            decode(value, DIMENSIONS)
        assert not raised.value.args, "no content"
        assert raised.value.__context__ is None or raised.value.__suppress_context__, "nor by what was raised before it"


@pytest.mark.parametrize("version", [0, 2, "1", True, None])
def test_another_version_is_refused(version: object) -> None:
    """During an upgrade an old process may read what a new one wrote: better counted than misread."""
    routed = json.loads(encode_pair(pair(), DIMENSIONS))
    with pytest.raises(EntryRefused):
        decode_pair(json.dumps({**routed, "schema": version}).encode(), DIMENSIONS)
    for written in (entry(observation()), entry(outcome()), mark()):
        line = json.loads(encode_entry(written, DIMENSIONS))
        line["wervane"]["schema"] = version
        with pytest.raises(EntryRefused):
            decode_entry(json.dumps(line).encode(), DIMENSIONS)


OTHERS = [("accent",), ("accent", "language"), ("deployment", "accent"), ("accent", "deployment", "language"), ()]


@pytest.mark.parametrize("others", OTHERS, ids="+".join)
def test_labels_of_other_dimensions_are_refused(others: tuple[str, ...]) -> None:
    """The log outlives a change of `slices.dimensions`: a deployment must not be counted as an accent."""
    with pytest.raises(EntryRefused):
        decode_pair(encode_pair(pair(), DIMENSIONS), others)
    emissions = (observation(), Missing(customer="acme", labels=("england", "wards")), outcome())
    for emission in emissions if set(others) != set(DIMENSIONS) else emissions[:2]:
        with pytest.raises(EntryRefused):
            decode_entry(encode_entry(entry(emission), DIMENSIONS), others)


def test_what_has_no_labels_is_read_whatever_the_dimensions() -> None:
    """References, erasures and marks mean the same as before."""
    for written in (pair(routed=held_reference()), pair(routed=Erasure(key=UtteranceKey(7))), mark()):
        assert decode_pair(encode_pair(written, DIMENSIONS), ("language",)) == written
    assert decode_entry(encode_entry(mark(), DIMENSIONS), ("language",)) == mark()


LINES = [
    *(encode_pair(pair(routed=routed), DIMENSIONS) for routed in (held_transcript(), held_reference())),
    *(encode_entry(entry(emission), DIMENSIONS) for emission in (observation(), outcome())),
    encode_entry(mark(), DIMENSIONS),
]


@settings(max_examples=500)
@given(st.data())
def test_damaged_entries_are_refused_or_read_and_nothing_else_is_raised(data: st.DataObject) -> None:
    """Whatever a broken writer leaves, the worst is a record that is counted as refused."""
    line = data.draw(st.sampled_from(LINES))
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, min(len(line), start + 12)))
    damaged = (
        line[:start] + data.draw(st.binary(max_size=6) | st.sampled_from([b"null", b"0", b'""', b"-1"])) + line[end:]
    )
    for decode in (decode_pair, decode_entry):
        try:
            read = decode(damaged, DIMENSIONS)
        except EntryRefused:
            continue
        assert isinstance(read, PairEntry | OutcomeEntry | Mark)
