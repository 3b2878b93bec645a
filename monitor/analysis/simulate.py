"""Decides what the generated deployment sends: two weeks of transcripts and references, with one fault in them.

The stream of `wervane demo` and of the simulation tests: contract messages in the order in which they are published,
the same for the same seed. On the second Monday the new handsets at one hospital double the errors of one accent there;
the average over all traffic moves by less than a point. What nothing may page for is in it too: ordinary differences
between accents, speakers who return, nights and week-ends, late and revised labels, complaints, loops and bad messages.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from monitor.analysis.correctors import Correction, corrections
from monitor.analysis.recognizer import hear
from monitor.analysis.sentences import DRUGS, Words
from monitor.analysis.world import (
    ACCENTS,
    CUSTOMER,
    DAY,
    HOUR,
    SITES,
    UNDECLARED,
    UTTERANCE_SPREAD,
    UTTERANCES_MEAN,
    Rosters,
    Session,
    starts,
)
from monitor.core.records import Kind, Slice

__all__ = ["DAY", "FAULT", "START", "Fault", "Message", "demo_settings", "traffic"]

START = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
"""A Sunday."""

TRANSCRIPTS_PER_WEEK = 26_500.0
"""At half, the faulty cell pages too late to see within two weeks; at double the demo takes over a minute."""

BASE_RATE = 0.094
"""Errors per spoken word before any factor: WER comes to about 0.11."""

LATE_PROBABILITY = 0.004
"""Transcripts that are published minutes after they were spoken (some after their own reference)."""

REPEATED_PROBABILITY = 0.004
PARTIAL_PROBABILITY = 0.04
"""Utterances of streaming devices that send an interim result first."""

NOISE_PROBABILITY = 0.004
"""Recordings without speech: the reference is empty, and every word of the hypothesis is made up."""

MALFORMED_PER_DAY = 3.0
MODEL = "clara-3.1"


class Message(NamedTuple):
    """One line of either input.

    event_at is when it was published, in seconds, and orders the stream; its own `ts` is the same but for late
    transcripts. A value of None is a tombstone for the id in `key`.
    """

    kind: Kind
    event_at: float
    value: bytes | None
    key: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The truth: from `at` on, the error rate of one declared accent at one site is multiplied by `factor`."""

    accent: str
    site: str
    at: float
    factor: float

    @property
    def cell(self) -> Slice:
        """The slice it hits."""
        return (("accent", self.accent), ("site", self.site))

    def names(self, slice_name: str) -> bool:
        """Whether a slice, as incidents write it, names this fault: the accent, alone or with the site."""
        return slice_name in (f"accent={self.accent}", f"accent={self.accent}&site={self.site}")

    def touches(self, slice_: Slice) -> bool:
        """Whether some of a slice's traffic is faulty; true of all traffic, too."""
        mine = dict(self.cell)
        return all(mine.get(dimension, value) == value for dimension, value in slice_)


FAULT = Fault(accent="scottish", site="st-brigid", at=START + 8 * DAY + 6.5 * HOUR, factor=2.15)
"""The second Monday, half an hour before the day shift."""


def demo_settings() -> dict[str, object]:
    """The configuration of the demo, as `config.load_settings` takes it."""
    return {
        "slices": {
            "dimensions": ["accent", "deployment", "site", "device"],
            "intersections": [["accent", "site"], ["accent", "deployment"], ["accent", "device"], ["device", "site"]],
            "strata": ["accent", "site"],
        },
        "sampling": {"probability": 1.0},
        "labels": {"maturity": "24h", "ttl": "30d"},
        "scoring": {"keywords": list(DRUGS)},
        "decide": {"unit": "session", "page_budget": 1.0, "page_budget_days": 90},
    }


def traffic(
    seed: int,
    days: float = 14.0,
    *,
    fault: Fault | None = FAULT,
    transcripts_per_week: float = TRANSCRIPTS_PER_WEEK,
) -> Iterator[Message]:
    """Every message of the first `days` days from START, in order of `event_at`; without a fault, if None.

    >>> first = next(traffic(1))
    >>> first.kind, first.event_at >= START
    (<Kind.TRANSCRIPT: 'transcript'>, True)
    """
    rng = random.Random(f"wervane {seed}")
    deployment = _Deployment(rng, fault, transcripts_per_week / UTTERANCES_MEAN)
    ends_at = START + days * DAY
    hour_at = START
    while hour_at < ends_at:
        deployment.generate(hour_at)
        hour_at += HOUR
        yield from deployment.published_before(min(hour_at, ends_at))


class _Deployment:
    """Generates an hour of sessions at a time and holds what is to be published later."""

    def __init__(self, rng: random.Random, fault: Fault | None, sessions_per_week: float) -> None:
        self._rng = rng
        self._fault = fault
        self._sessions_per_week = sessions_per_week
        self._rosters = Rosters(rng)
        self._waiting: list[tuple[float, int, Message]] = []
        self._published = 0
        self._erasure_at = START + 5.6 * DAY

    def generate(self, hour_at: float) -> None:
        for site in SITES:
            for at in starts(site, hour_at, self._sessions_per_week, self._rng):
                self._hold_session(self._rosters.session(site, at))
        if self._rng.random() < MALFORMED_PER_DAY / 24.0:
            kind, value = self._rng.choice(_MALFORMED)
            self._hold(kind, hour_at + self._rng.random() * HOUR, value)

    def published_before(self, until: float) -> Iterator[Message]:
        while self._waiting and self._waiting[0][0] < until:
            yield heappop(self._waiting)[2]

    def _hold(self, kind: Kind, at: float, value: bytes | None, key: bytes | None = None) -> None:
        """Messages of one instant keep the order in which they were made."""
        heappush(self._waiting, (at, self._published, Message(kind, at, value, key)))
        self._published += 1

    def _hold_session(self, session: Session) -> None:
        rng = self._rng
        fields, base = _fields(session), _session_rate(session)
        at = session.started_at
        for _ in range(session.utterances):
            at = round(at, 3)
            hardness = rng.lognormvariate(-(UTTERANCE_SPREAD**2) / 2, UTTERANCE_SPREAD)
            worse = self._factor(session, at)
            words: Words = [] if rng.random() < NOISE_PROBABILITY else session.site.grammar.say(rng)
            rate = base * hardness * worse
            hypothesis = hear(words, rate, session.speaker.device.style, rng)
            utterance_id = f"{rng.getrandbits(80):020x}"
            self._hold_transcript(fields, utterance_id, at, hypothesis, rate, session)
            for correction in corrections(
                at=at, words=words, hypothesis=hypothesis, hardness=hardness * worse, rng=rng
            ):
                self._hold_reference(utterance_id, correction)
            at += 0.45 * len(words) + 4.0 + rng.expovariate(1.0 / 20.0)

    def _factor(self, session: Session, at: float) -> float:
        fault = self._fault
        hit = (
            fault is not None
            and at >= fault.at
            and session.speaker.accent == fault.accent
            and session.site.name == fault.site
        )
        return fault.factor if hit and fault is not None else 1.0

    def _hold_transcript(
        self, fields: dict[str, object], utterance_id: str, at: float, text: str, rate: float, session: Session
    ) -> None:
        rng = self._rng
        ts: str | int = _rfc3339(at) if session.site.deployment == "wards" else round(at * 1000.0)
        confidence = min(1.0, max(0.0, round(1.0 - rate + rng.gauss(0.0, 0.05), 3)))
        message = {**fields, "id": utterance_id, "ts": ts, "text": text, "confidence": confidence}
        value = msgspec.json.encode(message)
        published_at = at
        fate = rng.random()
        if fate < LATE_PROBABILITY:
            published_at += rng.uniform(2.0, 45.0) * 60.0
        elif fate < LATE_PROBABILITY + REPEATED_PROBABILITY:
            self._hold(Kind.TRANSCRIPT, at + rng.uniform(1.0, 600.0), value)
        elif fate < LATE_PROBABILITY + REPEATED_PROBABILITY + PARTIAL_PROBABILITY:
            interim = {**message, "text": text[: len(text) // 2], "final": False}
            self._hold(Kind.TRANSCRIPT, at, msgspec.json.encode(interim))
            published_at += 0.8
        self._hold(Kind.TRANSCRIPT, published_at, value)
        if at >= self._erasure_at:
            self._erasure_at = float("inf")
            self._erase(utterance_id, at)

    def _hold_reference(self, utterance_id: str, correction: Correction) -> None:
        at = round(correction.at, 3)
        message = {
            "schema": 1,
            "id": utterance_id,
            "ts": _rfc3339(at),
            "text": correction.text,
            "revision": correction.revision,
            "source": correction.source,
            "annotator": correction.annotator,
        }
        self._hold(Kind.REFERENCE, at, msgspec.json.encode(message))

    def _erase(self, utterance_id: str, at: float) -> None:
        """One patient asks to be forgotten three hours later: a tombstone on both inputs."""
        key = utterance_id.encode()
        self._hold(Kind.TRANSCRIPT, at + 3.0 * HOUR, None, key)
        self._hold(Kind.REFERENCE, at + 3.0 * HOUR + 1.0, None, key)


def _fields(session: Session) -> dict[str, object]:
    """What all transcripts of a session have in common."""
    speaker = session.speaker
    attributes: dict[str, object] = {"site": session.site.name, "device": speaker.device.name}
    if speaker.device.metres and session.started_at % 50.0 < 1.0:
        attributes["battery"] = 81
    fields: dict[str, object] = {
        "schema": 1,
        "customer": CUSTOMER,
        "deployment": session.site.deployment,
        "language": "en",
        "model": MODEL,
        "session": session.id,
        "attributes": attributes,
    }
    if speaker.accent != UNDECLARED:
        fields["accent"] = speaker.accent
    if not session.anonymous:
        fields["speaker"] = speaker.id
    return fields


def _session_rate(session: Session) -> float:
    speaker = session.speaker
    return BASE_RATE * ACCENTS.get(speaker.accent, 1.0) * speaker.device.factor * speaker.factor * session.factor


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


_VALID_TIME = b'"ts": %d' % round(START * 1000.0)
_MALFORMED: tuple[tuple[Kind, bytes], ...] = (
    (Kind.TRANSCRIPT, b'{"schema": 1, "id": "cut-off-in-transit", "ts": "2026-03-04T10:0'),
    (Kind.TRANSCRIPT, b'{"schema": 2, "id": "x", %s, "customer": "c", "deployment": "d", "text": ""}' % _VALID_TIME),
    (Kind.TRANSCRIPT, b'{"schema": 1, "id": "x", %s, "customer": "c", "deployment": "d"}' % _VALID_TIME),
    (Kind.TRANSCRIPT, b'{"schema": 1, "id": "x", "id": "y", %s, "customer": "c", "text": ""}' % _VALID_TIME),
    (Kind.TRANSCRIPT, b'\xef\xbb\xbf{"schema": 1}'),
    (
        Kind.TRANSCRIPT,
        b'{"schema": 1, "id": "x", "ts": "2026-03-04T10:00:00", "customer": "c", "deployment": "d", "text": ""}',
    ),
    (Kind.REFERENCE, b'{"schema": 1, "id": "x", %s, "text": "as said", "source": "guessed"}' % _VALID_TIME),
    (Kind.REFERENCE, b'{"schema": 1, "id": "two words", %s, "text": "as said"}' % _VALID_TIME),
    (Kind.REFERENCE, b'{"schema": 1, "id": "x", %s, "text": "as said", "revision": 1.0}' % _VALID_TIME),
    (Kind.REFERENCE, b'["not", "an", "object"]'),
)
"""Messages that the contract rejects, each for its own reason."""
