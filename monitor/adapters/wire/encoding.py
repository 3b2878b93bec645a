"""Decides how results are written: one compact JSON line each, the same bytes for the same value on every
machine.

Lines are ASCII (any reader and any terminal can take them), have no newline inside or at the end, and keep
the order of keys given here. Measures are rounded to six decimals, so that the last bits of a sum, which may
depend on a mathematics library, never show; probabilities and times are not measures and are exact (times to
the millisecond). Only a review carries text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import msgspec

from monitor.adapters.instants import instant
from monitor.core.records import Changed, Outcome, Pointer, Review, Transition

_FAST = msgspec.json.Encoder()
_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))

DECIMALS = 6

_STRING: Mapping[str, object] = {"type": "string"}
_OPTIONAL: Mapping[str, object] = {"type": ["string", "null"]}
_INSTANT: Mapping[str, object] = {"type": "string", "format": "date-time"}
_COUNT: Mapping[str, object] = {"type": "integer", "minimum": 0}

OUTCOME: tuple[tuple[str, Mapping[str, object], str], ...] = (
    ("id", {"type": "string", "pattern": "^[0-9a-f]{16}$"}, "Keyed hash of the utterance's id."),
    ("event_at", _INSTANT, "When the utterance was spoken."),
    ("reference_at", _INSTANT, "When this version of its reference was made."),
    ("customer", _STRING, "From the transcript."),
    ("deployment", _STRING, "From the transcript."),
    ("model", _STRING, "Recogniser, `unknown` if not declared."),
    ("attributes", {"type": "object", "additionalProperties": _STRING}, "Declared value of each dimension."),
    ("session", _OPTIONAL, "Keyed hash of the declared unit."),
    ("speaker", _OPTIONAL, "Keyed hash of the declared speaker."),
    ("substitutions", _COUNT, "S"),
    ("deletions", _COUNT, "D"),
    ("insertions", _COUNT, "I; with `empty_reference`, hallucinated words, outside WER."),
    ("hits", _COUNT, "H"),
    ("reference_words", _COUNT, "H + S + D"),
    ("hypothesis_words", _COUNT, "H + S + I"),
    ("strict_errors", _COUNT, "Errors among numbers, units, negations and keywords."),
    ("strict_words", _COUNT, "Reference words among those."),
    (
        "inclusion_probability",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "Weigh by its inverse.",
    ),
    ("source", {"enum": ["sampled", "organic", "flagged"]}, "Only `sampled` is evidence."),
    ("revision", _COUNT, "Of the reference."),
    ("reference_digest", {"type": "string", "pattern": "^[0-9a-f]{16}$"}, "Names the reference's version."),
    ("profile", _STRING, "Normaliser profile and its hash."),
    ("aligner", _STRING, "Aligner and its version."),
    ("flags", {"type": "array", "items": _STRING}, "Any of empty_reference, empty_hypothesis, loop."),
    ("counts", {"enum": [-1, 0, 1]}, "What happens to totals: +1 now wins, -1 no longer does, 0 never did."),
    ("holds", {"type": "boolean"}, "Whether this version may be the winner as of an earlier moment."),
)
"""Fields of an outcome: name, JSON Schema fragment, meaning."""


def encode_outcome(outcome: Outcome, dimensions: Sequence[str]) -> bytes:
    """A line of outcomes.jsonl; `dimensions` names the outcome's labels, in their order."""
    counts, score = outcome.score.counts, outcome.score
    flags = [
        name
        for name, raised in (
            ("empty_reference", score.empty_reference),
            ("empty_hypothesis", score.empty_hypothesis),
            ("loop", score.loop),
        )
        if raised
    ]
    return _line(
        {
            "id": _hexadecimal(outcome.utterance),
            "event_at": instant(outcome.event_at),
            "reference_at": instant(outcome.reference_at),
            "customer": outcome.customer,
            "deployment": outcome.deployment,
            "model": outcome.model,
            "attributes": dict(zip(dimensions, outcome.labels, strict=True)),
            "session": outcome.session,
            "speaker": outcome.speaker,
            "substitutions": counts.substitutions,
            "deletions": counts.deletions,
            "insertions": counts.insertions,
            "hits": counts.hits,
            "reference_words": counts.reference_words,
            "hypothesis_words": counts.hypothesis_words,
            "strict_errors": score.strict_errors,
            "strict_words": score.strict_words,
            "inclusion_probability": outcome.inclusion_probability,
            "source": outcome.source.value,
            "revision": outcome.revision,
            "reference_digest": outcome.reference_digest.hex(),
            "profile": score.profile,
            "aligner": outcome.aligner,
            "flags": flags,
            "counts": outcome.counts,
            "holds": outcome.holds,
        }
    )


def encode_review(review: Review) -> bytes:
    """A line of reviews.jsonl, for human correctors: the only line that carries text."""
    return _line(
        {
            "id": review.id,
            "event_at": instant(review.event_at),
            "customer": review.customer,
            "deployment": review.deployment,
            "text": review.text,
            "language": review.language,
            "labels": review.labels,
            "inclusion_probability": review.inclusion_probability,
            "priority": review.priority,
        }
    )


def encode_pointer(pointer: Pointer) -> bytes:
    """A line of rejected.jsonl: where a rejected message lies, and why; nothing of its content."""
    return _line(
        {
            "topic": pointer.topic,
            "partition": pointer.partition,
            "offset": pointer.offset,
            "reason": pointer.reason,
            "sha256": pointer.sha256,
        }
    )


def encode_transition(transition: Transition) -> bytes:
    """A line of incidents.jsonl, with the keys of commands.md and, after them, what tells more."""
    return _line(
        {
            "incident": transition.incident,
            "at": instant(transition.at),
            "state": transition.state.value,
            "level": transition.level.value,
            "kind": transition.kind.value,
            "direction": transition.direction.value,
            "customer": transition.customer,
            "slices": list(transition.slices),
            "wer": _measure(transition.wer),
            "wer_before": _measure(transition.wer_before),
            "wer_rest": _measure(transition.wer_rest),
            "gap": _measure(transition.gap),
            "gap_low": _measure(transition.gap_low),
            "gap_high": _measure(transition.gap_high),
            "pairs": transition.pairs,
            "evidence": _measure(transition.evidence),
            "reason": transition.reason,
            "summary": transition.summary,
            "since": None if transition.since is None else instant(transition.since),
            "ratio": _measure(transition.ratio),
            "ratio_low": _measure(transition.ratio_low),
            "ratio_high": _measure(transition.ratio_high),
            "changed": None if transition.changed is None else _changed(transition.changed),
        }
    )


def _changed(changed: Changed) -> dict[str, object]:
    """The key `changed`: docs/incidents.md says what each one below it means."""
    fields: dict[str, object] = {name: _rounded(value) for name, value in msgspec.to_builtins(changed).items()}
    return {**fields, "since_low": instant(changed.since_low), "since_high": instant(changed.since_high)}


def _rounded(value: object) -> object:
    """Every measure in a nested value."""
    if isinstance(value, Mapping):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return _measure(value) if isinstance(value, float) else value


def _measure(value: float | None) -> float | None:
    """Rounded, never a negative zero; null for what JSON cannot say (an infinite e-value, the WER of no words)."""
    return None if value is None or not math.isfinite(value) else round(value, DECIMALS) + 0.0


def _hexadecimal(key: int) -> str:
    return f"{key:016x}"


def _line(fields: Mapping[str, object]) -> bytes:
    """Nearly every line is ASCII as it is, and the faster encoder does; no float in it is NaN or infinite."""
    line = _FAST.encode(fields)
    return line if line.isascii() else _ENCODER.encode(fields).encode("ascii")
