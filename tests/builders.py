"""Values for tests: every builder names only what counts, the rest is plausible."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import numpy as np

from monitor.core.cells import Cells, FloatArray, IntArray, LabelArray
from monitor.core.pairing_port import HeldReference, HeldTranscript
from monitor.core.records import Counts, Observation, Outcome, Score, Source, Transcript, UtteranceKey

MARCH_2 = 1_772_409_600.0
"""2026-03-02T00:00:00Z, a Monday."""
HOUR = 3600.0
DAY = 86400.0


def held_transcript(
    key: int = 1,
    *,
    text: str = "the patient is stable",
    event_at: float = MARCH_2,
    customer: str = "acme",
    deployment: str = "wards",
    labels: tuple[str, ...] = ("england", "wards"),
    session: str | None = None,
    speaker: str | None = None,
    probability: float = 1.0,
) -> HeldTranscript:
    return HeldTranscript(
        key=key,
        event_at=event_at,
        customer=customer,
        deployment=deployment,
        labels=labels,
        model="asr-1",
        language="en",
        session=session,
        speaker=speaker,
        inclusion_probability=probability,
        digest=sha256(f"{customer}{deployment}{text}{event_at}".encode()).digest(),
        text=text,
    )


def held_reference(
    key: int = 1,
    *,
    text: str = "the patient is stable",
    event_at: float = MARCH_2 + HOUR,
    revision: int = 1,
    source: Source = Source.SAMPLED,
) -> HeldReference:
    return HeldReference(
        key=key,
        event_at=event_at,
        revision=revision,
        digest=sha256(text.encode()).digest(),
        source=source,
        annotator=None,
        text=text,
    )


def transcript(id_: str = "u1", **changes: object) -> Transcript:
    fields: dict[str, object] = {
        "id": id_,
        "event_at": MARCH_2,
        "customer": "acme",
        "deployment": "wards",
        "text": "the patient is stable",
        "digest": sha256(repr((id_, sorted(changes.items()))).encode()).digest(),
        "accent": "england",
    }
    return Transcript(**{**fields, **changes})  # type: ignore[arg-type]


def counts(words: int, errors: int) -> Counts:
    """An alignment with `errors` substitutions among `words` reference words."""
    return Counts(hits=words - errors, substitutions=errors, deletions=0, insertions=0)


def score(words: int, errors: int) -> Score:
    return Score(counts=counts(words, errors), strict_errors=0, strict_words=0, profile="test@0")


def observation(key: int = 1, **changes: object) -> Observation:
    fields: dict[str, object] = {
        "utterance": UtteranceKey(key),
        "event_at": MARCH_2,
        "customer": "acme",
        "deployment": "wards",
        "labels": ("england", "wards"),
        "model": "asr-1",
        "session": None,
        "speaker": None,
        "inclusion_probability": 1.0,
    }
    return Observation(**{**fields, **changes})  # type: ignore[arg-type]


def outcome(key: int = 1, *, words: int = 10, errors: int = 1, **changes: object) -> Outcome:
    fields: dict[str, object] = {
        "utterance": UtteranceKey(key),
        "event_at": MARCH_2,
        "customer": "acme",
        "deployment": "wards",
        "labels": ("england", "wards"),
        "model": "asr-1",
        "session": None,
        "speaker": None,
        "inclusion_probability": 1.0,
        "reference_at": MARCH_2 + HOUR,
        "revision": 1,
        "reference_digest": key.to_bytes(8, "big"),
        "source": Source.SAMPLED,
        "score": score(words, errors),
        "counts": 1,
        "holds": True,
        "aligner": "test 0",
    }
    return Outcome(**{**fields, **changes})  # type: ignore[arg-type]


def cells_of(
    unit: IntArray,
    errors: FloatArray,
    words: FloatArray,
    ended_at: FloatArray,
    utterances: IntArray,
    labels: Mapping[str, LabelArray],
    person: IntArray,
) -> Cells:
    """Closed units whose errors are all substitutions and that began as they ended."""
    none = np.zeros(len(unit))
    kinds = np.stack([np.asarray(errors, np.float64), none, none], axis=1)
    return Cells(unit, errors, words, ended_at, utterances, labels, person, first_at=ended_at, kinds=kinds)
