"""Scenarios that a responsible-AI lead can read and write: what traffic came, and whom the monitor may wake.

A scenario is a text file; `#` begins a comment, times count from midnight on a Monday (`9d`, `3h`, `1d12h`).

    from 0d to 9d every 1h 4x accent=scottish deployment=wards words=20 errors=2 speakers=30
        traffic: 4 utterances each hour, of 20 words, 2 of them wrong on average, by 30 speakers. Other keys:
        source=flagged (complaints; also organic), corrected=50% (the others nobody corrects), model=asr-2
    at 9d change accent=scottish errors=5          from then on, for traffic that was accent=scottish; errors=x2 doubles
    at 9d no longer declared accent                from then on, nobody says which accent an utterance is in
    references after 3h to 20h                     when corrections come, spread evenly; `references after 3h` at once
    never referenced accent=scottish from 8d       nobody corrects these any more; `never referenced`: nobody ever
    expect by 13d page drift{accent="scottish"}    or ticket, digest; `A or B` allows two names for the same thing
    expect resolved by 20d                         of the incident expected last
    expect no page before 9d                       or `expect no page`, `expect no ticket`
    expect nothing else                            no incident fires but the expected ones

The real pipeline runs on it, with a scorer that compares word by word. The same file always gives the same traffic.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from monitor.core.pairing_port import MemoryPairTable
from monitor.core.pipeline import Pipeline, PipelineSettings
from monitor.core.records import (
    Counts,
    IncidentState,
    Kind,
    Reference,
    Score,
    Source,
    Transcript,
    Transition,
)
from tests.builders import DAY, HOUR, MARCH_2

SECONDS = {"d": DAY, "h": HOUR, "m": 60.0}
LABELS = ("accent", "deployment", "model")
DEFAULTS = {"deployment": "wards", "model": "asr-1", "words": "20", "errors": "2", "speakers": "30"}


class ScenarioError(Exception):
    """A line that means nothing: names the line and what would."""


# ------------------------------------------------------------------------------------------------------ what is written
@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One `from` line, and what `change` lines make of it."""

    starts_at: float
    ends_at: float
    every: float
    each_time: int
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From `at` on, traffic that matches has other values."""

    at: float
    only: Mapping[str, str]
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncorrected:
    """Utterances from `since` on that match get no reference."""

    since: float
    only: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One incident that must fire by `by`, under one of these names."""

    line: str
    by: float
    names: tuple[str, ...]


@dataclass(slots=True)
class Scenario:
    traffic: list[Traffic] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    uncorrected: list[Uncorrected] = field(default_factory=list)
    delay: tuple[float, float] = (3 * HOUR, 3 * HOUR)
    wanted: list[Wanted] = field(default_factory=list)
    resolved: list[tuple[Wanted, float]] = field(default_factory=list)
    unwanted: list[tuple[str, float]] = field(default_factory=list)
    """(level, before when)"""
    nothing_else: bool = False


# -------------------------------------------------------------------------------------------------------------- reading
def read(text: str) -> Scenario:
    """Raises ScenarioError with the line's number and what can stand there."""
    scenario = Scenario()
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if said:
            try:
                _read_line(said, scenario)
            except ScenarioError as error:
                raise ScenarioError(f"line {number}, {said!r}: {error}") from None
    if not scenario.traffic or not (scenario.wanted or scenario.unwanted or scenario.nothing_else):
        raise ScenarioError("want at least one `from` line and one `expect` line")
    return scenario


def _read_line(said: str, scenario: Scenario) -> None:
    match said.split():
        case ["from", start, "to", end, "every", step, times, *values]:
            scenario.traffic.append(
                Traffic(
                    starts_at=_moment(start),
                    ends_at=_moment(end),
                    every=_duration(step),
                    each_time=_times(times),
                    values={**DEFAULTS, **_pairs(values, TRAFFIC_KEYS)},
                )
            )
        case ["at", moment, "change", *values]:
            given = _pairs(values, ("accent", "deployment", "words", "errors", "model", "corrected"))
            only = {key: value for key, value in given.items() if key in ("accent", "deployment")}
            new = {key: value for key, value in given.items() if key not in only}
            if not new:
                raise ScenarioError("want something to change: words, errors, model or corrected")
            scenario.changes.append(Change(at=_moment(moment), only=only, values=new))
        case ["at", moment, "no", "longer", "declared", label] if label in ("accent", "model"):
            scenario.changes.append(Change(at=_moment(moment), only={}, values={label: ""}))
        case ["references", "after", delay]:
            scenario.delay = (_duration(delay), _duration(delay))
        case ["references", "after", soonest, "to", latest]:
            scenario.delay = (_duration(soonest), _duration(latest))
        case ["never", "referenced", *values]:
            since = 0.0
            if "from" in values:
                values, since = values[: values.index("from")], _duration(values[-1])
            scenario.uncorrected.append(Uncorrected(since=MARCH_2 + since, only=_pairs(values, LABELS)))
        case ["expect", *expectation]:
            _read_expectation(said, expectation, scenario)
        case _:
            raise ScenarioError("want from, at, references, never referenced or expect")


TRAFFIC_KEYS = (*LABELS, "words", "errors", "speakers", "source", "corrected")


def _read_expectation(said: str, words: Sequence[str], scenario: Scenario) -> None:
    match words:
        case ["nothing", "else"]:
            scenario.nothing_else = True
        case ["no", ("page" | "ticket") as level]:
            scenario.unwanted.append((level, math.inf))
        case ["no", ("page" | "ticket") as level, "before", moment]:
            scenario.unwanted.append((level, _moment(moment)))
        case ["resolved", "by", moment]:
            if not scenario.wanted:
                raise ScenarioError("want an expected incident before it")
            scenario.resolved.append((scenario.wanted[-1], _moment(moment)))
        case ["by", moment, ("page" | "ticket" | "digest") as level, *rest] if rest:
            names = tuple(f"{level} {_incident(name)}" for name in " ".join(rest).split(" or "))
            scenario.wanted.append(Wanted(line=said, by=_moment(moment), names=names))
        case _:
            raise ScenarioError(
                "want `by 13d page drift{...}`, `no page [before 9d]`, `resolved by 20d`, `nothing else`"
            )


def _incident(name: str) -> str:
    """`drift{accent="scottish"}` as the monitor writes it: `drift accent=scottish`; `overall` is about `all`."""
    pair = r'\w+="[^"]+"'
    kinds = "drift|overall|coverage|stale|disparity|blind"
    found = re.fullmatch(rf"({kinds})(?:\{{({pair}(?:,\s*{pair})*)\}})?", name.strip())
    if found is None:
        raise ScenarioError(
            'want e.g. drift{accent="scottish"}, overall, blind, stale{...}, coverage{...}, disparity{...}'
        )
    pairs = dict(re.findall(r'(\w+)="([^"]+)"', found[2] or ""))
    return f"{found[1]} {'&'.join(f'{key}={pairs[key]}' for key in sorted(pairs)) or 'all'}"


def _pairs(words: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    pairs = dict(word.partition("=")[::2] for word in words)
    for key, value in pairs.items():
        if key not in known or not value:
            raise ScenarioError(f"{key}={value}: want one of {', '.join(known)}, with a value")
    return pairs


def _times(word: str) -> int:
    if not re.fullmatch(r"\d+x", word):
        raise ScenarioError(f"{word}: want how many utterances each time, e.g. 4x")
    return int(word[:-1])


def _moment(word: str) -> float:
    return MARCH_2 + _duration(word)


def _duration(word: str) -> float:
    if not re.fullmatch(r"(\d+[dhm])+", word):
        raise ScenarioError(f"{word}: want a time such as 9d, 3h, 30m or 1d12h")
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([dhm])", word))


# -------------------------------------------------------------------------------------------------------------- traffic
def messages(scenario: Scenario) -> list[Transcript | Reference]:
    """Every message in the order of its event time, which is the order of arrival here."""
    chance = random.Random(20260302)
    made: list[Transcript | Reference] = []
    for group, traffic in enumerate(scenario.traffic):
        for number, at in enumerate(_moments(traffic, chance)):
            made += _utterance(f"{group}-{number}", at, traffic, scenario, chance)
    return sorted(made, key=lambda message: (message.event_at, message.id))


def _moments(traffic: Traffic, chance: random.Random) -> Iterator[float]:
    slots = round((traffic.ends_at - traffic.starts_at) / traffic.every)
    for slot in range(slots):
        at = traffic.starts_at + slot * traffic.every
        yield from sorted(at + chance.random() * traffic.every for _ in range(traffic.each_time))


def _utterance(
    id_: str, at: float, traffic: Traffic, scenario: Scenario, chance: random.Random
) -> Iterator[Transcript | Reference]:
    values = dict(traffic.values)
    declared = traffic.values
    for change in scenario.changes:
        if at >= change.at and all(declared.get(key) == value for key, value in change.only.items()):
            values.update({key: _changed(values.get(key, ""), value) for key, value in change.values.items()})
    words = int(values["words"])
    rate = float(values["errors"]) / words
    wrong = [chance.random() < rate for _ in range(words)]
    speaker = f"{id_.partition('-')[0]}-{chance.randrange(int(values['speakers']))}"
    delay = chance.uniform(*scenario.delay)
    corrected = chance.random() < _share(values.get("corrected", "100%"))
    yield Transcript(
        id=id_,
        event_at=at,
        customer="acme",
        deployment=values["deployment"],
        accent=values.get("accent") or None,
        model=values["model"],
        speaker=speaker,
        text=" ".join("wrong" if one else "right" for one in wrong),
        digest=sha256(id_.encode()).digest(),
    )
    never = any(
        at >= rule.since and all(declared.get(key) == value for key, value in rule.only.items())
        for rule in scenario.uncorrected
    )
    if corrected and not never:
        text = " ".join(["right"] * words)
        source = Source(values.get("source", "sampled"))
        digest = sha256(text.encode()).digest()
        yield Reference(id=id_, event_at=at + delay, text=text, digest=digest, source=source)


def _changed(before: str, value: str) -> str:
    return str(float(before) * float(value[1:])) if value.startswith("x") else value


def _share(percent: str) -> float:
    return float(percent.removesuffix("%")) / 100


class WordByWord:
    """Scores by comparing words at the same place: what a reader of a scenario would count."""

    aligner = "word by word"

    def score(self, hypothesis: str, reference: str, language: str | None) -> Score:
        heard, said = hypothesis.split(), reference.split()
        wrong = sum(one != other for one, other in zip(heard, said, strict=True))
        counts = Counts(hits=len(said) - wrong, substitutions=wrong, deletions=0, insertions=0)
        return Score(counts=counts, strict_errors=0, strict_words=0, profile="scenario@0")


# -------------------------------------------------------------------------------------------------------------- judging
def play(scenario: Scenario, settings: PipelineSettings | None = None) -> list[Transition]:
    """Everything the pipeline told, in order."""
    pipeline = Pipeline(settings or PipelineSettings(), MemoryPairTable(), WordByWord(), b"scenario")
    told: list[Transition] = []
    for message in messages(scenario):
        kind = Kind.TRANSCRIPT if isinstance(message, Transcript) else Kind.REFERENCE
        told += pipeline.feed(kind, message).transitions
    return told + pipeline.finish().transitions


def problems(scenario: Scenario, told: Sequence[Transition]) -> list[str]:
    """What was expected and did not happen, or happened and was not expected; empty if all is well."""
    found: list[str] = []
    expected: dict[str, Wanted] = {}
    fired = [transition for transition in told if transition.state == IncidentState.FIRING]
    for wanted in scenario.wanted:
        first = next((t for t in fired if name_of(t) in wanted.names and t.incident not in expected), None)
        if first is None:
            found.append(f"`{wanted.line}` did not happen")
            continue
        expected[first.incident] = wanted
        if first.at > wanted.by:
            found.append(f"`{wanted.line}` happened late, {_shown(first)}")
    for wanted, by in scenario.resolved:
        ends = [t.at for t in told if t.state == IncidentState.RESOLVED and expected.get(t.incident) == wanted]
        if not ends or min(ends) > by:
            found.append(f"`{wanted.line}` was not resolved in time: {[f'{(at - MARCH_2) / DAY:.1f}d' for at in ends]}")
    for transition in fired:
        early = any(transition.level == level and transition.at < before for level, before in scenario.unwanted)
        if early or (scenario.nothing_else and transition.incident not in expected):
            found.append(f"not expected: {_shown(transition)}")
    return found


def name_of(transition: Transition) -> str:
    return f"{transition.level} {transition.kind} {' '.join(transition.slices)}"


def _shown(transition: Transition) -> str:
    return f"{(transition.at - MARCH_2) / DAY:.1f}d {name_of(transition)}: {transition.summary}"


__all__ = ["ScenarioError", "messages", "name_of", "play", "problems", "read"]
