"""Decides how records are written between stages, in the logs `pairs` and `outcomes`, and how they are read again.

An outcome is the public line of `encode_outcome` with one more key, `wervane`, for what the next stage needs beyond it:
what kind of entry it is, where it comes from, and times without rounding. Everything else on these logs has that key
alone. Ids are keyed hashes throughout; text is in pairs only.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from monitor.adapters.wire.encoding import encode_outcome
from monitor.core.apart import OutcomeEntry, PairEntry
from monitor.core.pairing_port import HeldReference, HeldTranscript
from monitor.core.records import (
    Counts,
    Labels,
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

VERSION: Literal[1] = 1


class EntryRefused(Exception):
    """An entry of our own log cannot be read: another version wrote it, or somebody else did. No content."""


class _Pair(msgspec.Struct, omit_defaults=True):
    schema: Literal[1] = 1
    origin: Origin | None = None
    sha256: bytes = b""
    dimensions: tuple[str, ...] = ()
    """What the transcript's labels are about."""
    transcript: HeldTranscript | None = None
    reference: HeldReference | None = None
    erase: Erasure | None = None
    mark: Mark | None = None


class _Exact(msgspec.Struct, omit_defaults=True):
    """What of an outcome its public line rounds or leaves out."""

    schema: Literal[1] = 1
    origin: Origin | None = None
    event_at: float = 0.0
    reference_at: float = 0.0
    dimensions: tuple[str, ...] = ()
    """What the labels are about that stand without names."""
    observation: Observation | None = None
    missing: Missing | None = None
    mark: Mark | None = None


class _Line(msgspec.Struct):
    """The public line of an outcome, as far as it is read again."""

    wervane: _Exact
    id: str = ""
    customer: str = ""
    deployment: str = ""
    model: str = ""
    attributes: dict[str, str] = {}
    session: str | None = None
    speaker: str | None = None
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    hits: int = 0
    strict_errors: int = 0
    strict_words: int = 0
    inclusion_probability: float = 1.0
    source: Source = Source.SAMPLED
    revision: int = 1
    reference_digest: str = ""
    profile: str = ""
    aligner: str = ""
    flags: tuple[str, ...] = ()
    counts: int = 0
    holds: bool = True


class _Own(msgspec.Struct):
    wervane: _Exact


_ENCODER = msgspec.json.Encoder()
_PAIRS = msgspec.json.Decoder(_Pair)
_LINES = msgspec.json.Decoder(_Line)


# --------------------------------------------------------------------------------------------------------------- pairs
def encode_pair(entry: PairEntry | Mark, dimensions: tuple[str, ...]) -> bytes:
    """A record of the pairs log: carries text, for SCORE alone. `dimensions` names labels, in their order."""
    if isinstance(entry, Mark):
        return _ENCODER.encode(_Pair(mark=entry))
    line = _Pair(origin=entry.origin, sha256=entry.sha256)
    match entry.routed:
        case HeldTranscript():
            line.transcript = entry.routed
            line.dimensions = dimensions
        case HeldReference():
            line.reference = entry.routed
        case Erasure():
            line.erase = entry.routed
    return b'{"schema":1,' + _ENCODER.encode(line)[1:]


def decode_pair(value: bytes | None, dimensions: tuple[str, ...]) -> PairEntry | Mark:
    """Raises EntryRefused, also for a transcript that was routed with other dimensions."""
    try:
        line = _PAIRS.decode(value or b"")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise EntryRefused from None
    if line.mark is not None:
        return line.mark
    routed = line.transcript or line.reference or line.erase
    if routed is None or line.origin is None:
        raise EntryRefused
    if isinstance(routed, HeldTranscript):
        _check_labels(routed.labels, line.dimensions, dimensions)
    return PairEntry(origin=line.origin, sha256=line.sha256, routed=routed)


# ------------------------------------------------------------------------------------------------------------ outcomes
def encode_entry(entry: OutcomeEntry | Mark, dimensions: tuple[str, ...]) -> bytes:
    """A record of the outcomes log; `dimensions` names labels, in their order. No text."""
    if isinstance(entry, Mark):
        return _ENCODER.encode(_Own(_Exact(mark=entry)))
    match entry.emission:
        case Outcome() as outcome:
            exact = _Exact(origin=entry.origin, event_at=outcome.event_at, reference_at=outcome.reference_at)
            return encode_outcome(outcome, dimensions)[:-1] + b',"wervane":' + _ENCODER.encode(exact) + b"}"
        case Observation() as observation:
            return _ENCODER.encode(_Own(_Exact(origin=entry.origin, dimensions=dimensions, observation=observation)))
        case Missing() as missing:
            return _ENCODER.encode(_Own(_Exact(origin=entry.origin, dimensions=dimensions, missing=missing)))


def decode_entry(value: bytes | None, dimensions: tuple[str, ...]) -> OutcomeEntry | Mark:
    """Raises EntryRefused, also for an entry that was made with other dimensions."""
    try:
        line = _LINES.decode(value or b"")
        exact = line.wervane
        if exact.mark is not None:
            return exact.mark
        if exact.origin is None:
            raise EntryRefused
        unnamed = exact.observation or exact.missing
        if unnamed is not None:
            _check_labels(unnamed.labels, exact.dimensions, dimensions)
            return OutcomeEntry(origin=exact.origin, emission=unnamed)
        if line.attributes.keys() != set(dimensions):
            raise EntryRefused
        return OutcomeEntry(origin=exact.origin, emission=_outcome(line, exact, dimensions))
    except (msgspec.MsgspecError, ValueError, KeyError, RecursionError):
        raise EntryRefused from None


def _check_labels(labels: Labels, stated: tuple[str, ...], dimensions: tuple[str, ...]) -> None:
    """Under other names they would be counted in other slices, in silence."""
    if stated != dimensions or len(labels) != len(dimensions):
        raise EntryRefused


def _outcome(line: _Line, exact: _Exact, dimensions: tuple[str, ...]) -> Outcome:
    counts = Counts(
        hits=line.hits, substitutions=line.substitutions, deletions=line.deletions, insertions=line.insertions
    )
    return Outcome(
        utterance=UtteranceKey(int(line.id, 16)),
        event_at=exact.event_at,
        customer=line.customer,
        deployment=line.deployment,
        labels=tuple(line.attributes[name] for name in dimensions),
        model=line.model,
        session=line.session,
        speaker=line.speaker,
        inclusion_probability=line.inclusion_probability,
        reference_at=exact.reference_at,
        revision=line.revision,
        reference_digest=bytes.fromhex(line.reference_digest),
        source=line.source,
        score=Score(
            counts=counts,
            strict_errors=line.strict_errors,
            strict_words=line.strict_words,
            profile=line.profile,
            empty_reference="empty_reference" in line.flags,
            empty_hypothesis="empty_hypothesis" in line.flags,
            loop="loop" in line.flags,
        ),
        counts=line.counts,
        holds=line.holds,
        aligner=line.aligner,
    )
