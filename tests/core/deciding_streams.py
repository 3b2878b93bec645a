"""A small customer for tests of the whole decider: utterances spread over days, corrected an hour later."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from monitor.core.deciding import Decider, DecideSettings
from monitor.core.records import Observation, Outcome, Transition
from monitor.core.slicing import SliceSettings, Slicing
from tests.builders import DAY, HOUR, MARCH_2, observation, outcome

Message = Observation | Outcome
Rate = Callable[[str, float], float]
Documents = dict[tuple[str, str], bytes]

SLICES = SliceSettings(strata=("accent", "deployment"))


def decider(slices: SliceSettings = SLICES, **settings: object) -> Decider:
    fixed = {"maturity_seconds": DAY, **settings}
    return Decider("acme", DecideSettings(**fixed), Slicing(slices, "acme"))  # type: ignore[arg-type]


def steady(accent: str, day: float) -> float:
    """WER of a customer with whom nothing ever happens."""
    return 0.2 if accent == "indian" else 0.1


def messages(
    rate: Rate = steady,
    *,
    days: float = 14.0,
    a_day: int = 60,
    seed: int = 1,
    accents: Sequence[str] = ("us", "us", "england", "indian"),
    deployment: str = "wards",
    labelled: Callable[[str, float], bool] = lambda accent, day: True,
    declared: Callable[[str, float], str] = lambda accent, day: accent,
    model: Callable[[float], str] = lambda day: "asr-1",
) -> list[Message]:
    """Observations and outcomes; `rate`, `labelled`, `declared` and `model` see accent and day."""
    chance = random.Random(seed)
    made: list[Message] = []
    for key in range(int(days * a_day)):
        at = MARCH_2 + (key + chance.random()) * DAY / a_day
        day = (at - MARCH_2) / DAY
        accent = accents[key % len(accents)]
        said = {
            "event_at": at,
            "labels": (declared(accent, day), deployment),
            "model": model(day),
            "speaker": f"p{key}",
        }
        made.append(observation(key, **said))
        errors = sum(chance.random() < rate(accent, day) for _ in range(10))
        if labelled(accent, day):
            made.append(outcome(key, words=10, errors=errors, reference_at=at + HOUR, **said))
    return made


CALLS = SliceSettings(
    dimensions=("accent", "deployment", "sector"), intersections=(), strata=("accent", "deployment", "sector")
)


def calls(seed: int, worse_from: float = 99.0, worse_until: float = 99.0, days: int = 16) -> list[Message]:
    """Three calls a day in four sectors, 12 utterances of 60 words each; tech gets 5 times worse."""
    chance = random.Random(seed)
    made: list[Message] = []
    for call in range(3 * days):
        day, sector = call / 3, ("tech", "energy", "health", "goods")[call % 4]
        worse = sector == "tech" and worse_from <= day < worse_until
        level = 0.08 * chance.gammavariate(8, 1 / 8) * (5 if worse else 1)
        for k in range(12):
            key, at = 12 * call + k, MARCH_2 + day * DAY + k * 120.0
            said = {"event_at": at, "labels": ("unknown", "desk", sector), "session": f"call {call}"}
            errors = sum(chance.random() < level for _ in range(60))
            made.append(observation(key, **said))
            made.append(outcome(key, words=60, errors=errors, reference_at=at + HOUR, **said))
    return made


def arrival(message: Message) -> float:
    return message.reference_at if isinstance(message, Outcome) else message.event_at


def feed(decider: Decider, made: Iterable[Message], until: float | None = None) -> list[Transition]:
    """In the order of arrival, looking at each full hour an hour late; then until everything is closed."""
    told: list[Transition] = []
    hour = MARCH_2 + HOUR
    for message in sorted(made, key=arrival):
        while hour <= arrival(message) - HOUR:
            told += decider.look(hour)
            hour += HOUR
        take(decider, message)
    return told + look_on(decider, hour, until)


def take(decider: Decider, message: Message) -> None:
    if isinstance(message, Outcome):
        decider.score(message)
    else:
        decider.observe(message)


def look_on(decider: Decider, hour: float, until: float | None = None) -> list[Transition]:
    told: list[Transition] = []
    while hour <= (decider.settled_at if until is None else until):
        told += decider.look(hour)
        hour += HOUR
    return told


def save(decider: Decider, documents: Documents) -> None:
    for change in decider.changes():
        if change.value is None:
            documents.pop((change.table, change.key), None)
        else:
            documents[change.table, change.key] = change.value
