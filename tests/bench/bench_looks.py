"""What a customer costs a decider: an hour's look, a day's look and a picture for people, by slices and by corrections.

    PYTHONPATH=. .venv/bin/python tests/bench/bench_looks.py [--days 28]

One customer's outcomes over the decider's whole horizon, through DECIDE as it runs behind `outcomes`: sessions of four
sampled utterances, four in five corrected within a day. Timed are the last days, three quiet ones and three in which
one group's errors have doubled, so that looks have alarms to name and incidents to explain. CPU time: means of looks,
as their sum is what a day costs, and medians of the rest. The last column is how much larger the process has become.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from statistics import mean, median
from typing import NamedTuple

from monitor.core.apart import DecideStage, OutcomeEntry
from monitor.core.counters import Counters
from monitor.core.deciding import DecideSettings
from monitor.core.pairing import Emission
from monitor.core.pipeline import PipelineSettings
from monitor.core.records import Counts, Mark, Observation, Origin, Outcome, Score, Source, UtteranceKey
from monitor.core.slicing import SliceSettings

DAY, HOUR = 86_400.0, 3_600.0
BEGUN = 20_454 * DAY
SESSION = 4
CORRECTED = 0.8
TIMED_DAYS = 3
WORDS = 12
FAULT_FACTOR = 2.0


class Shape(NamedTuple):
    """Dimensions of so many values each, every pair of them intersected."""

    dimensions: int
    values: int

    @property
    def slices(self) -> int:
        pairs = self.dimensions * (self.dimensions - 1) // 2
        return 1 + self.dimensions * self.values + pairs * self.values**2


SHAPES = (Shape(2, 6), Shape(3, 12), Shape(4, 18))
"""49, 469 and 2,017 slices; an utterance lies in 4, 7 and 11 of them."""
MEASURED = ((SHAPES[0], 2_000), (SHAPES[1], 500), (SHAPES[1], 2_000), (SHAPES[2], 2_000))
"""With so many corrections a day."""


class Cost(NamedTuple):
    """Milliseconds of CPU, kilobytes resident more than at the start."""

    slices: int
    hour: float
    """Mean of an hour's look, midnight's apart."""
    day: float
    """Mean of midnight's look."""
    hour_alarmed: float
    day_alarmed: float
    """The same after the fault."""
    picture: float
    """The first after a look, by which units have closed."""
    again: float
    """Every other one, each two seconds."""
    changes: float
    """To list what a checkpoint writes after an hour's look."""
    resident: float


@dataclass
class Timed:
    """Samples of one window of days, milliseconds."""

    hours: list[float] = field(default_factory=list)
    days: list[float] = field(default_factory=list)
    pictures: list[float] = field(default_factory=list)
    agains: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)


def slicing(shape: Shape) -> SliceSettings:
    names = tuple(f"dimension-{number}" for number in range(shape.dimensions))
    pairs = tuple((one, other) for one, other in product(names, names) if one < other)
    return SliceSettings(dimensions=names, intersections=pairs, strata=names[:2], groups_max=2_000)


def emissions(shape: Shape, labels_a_day: int, days: int) -> Iterator[tuple[float, Emission]]:
    """(when it is told, what), of sessions at even distances."""
    rng = random.Random(1)
    sessions = round(days * labels_a_day / CORRECTED / SESSION)
    for number in range(sessions):
        labels = tuple(f"value-{rng.randrange(shape.values)}" for _ in range(shape.dimensions))
        at = BEGUN + number * days * DAY / sessions
        faulty = labels[0] == "value-0" and at > BEGUN + (days - TIMED_DAYS - 1) * DAY
        for turn in range(SESSION):
            seen = Observation(
                utterance=UtteranceKey(rng.getrandbits(64)), event_at=at + 5.0 * turn, customer="acme",
                deployment="wards", labels=labels, model="m", session=f"{number:016x}", speaker=None,
                inclusion_probability=0.05,
            )  # fmt: skip
            yield seen.event_at, seen
            if rng.random() < CORRECTED:
                wrong = sum(rng.random() < 0.1 * (FAULT_FACTOR if faulty else 1.0) for _ in range(WORDS))
                yield seen.event_at, corrected(seen, seen.event_at + rng.uniform(HOUR, 20 * HOUR), wrong)


def corrected(seen: Observation, reference_at: float, wrong: int) -> Outcome:
    counts = Counts(hits=WORDS - wrong, substitutions=wrong, deletions=0, insertions=0)
    return Outcome(
        utterance=seen.utterance, event_at=seen.event_at, customer=seen.customer, deployment=seen.deployment,
        labels=seen.labels, model=seen.model, session=seen.session, speaker=None,
        inclusion_probability=seen.inclusion_probability, reference_at=reference_at, revision=1,
        reference_digest=b"01234567", source=Source.SAMPLED,
        score=Score(counts=counts, strict_errors=0, strict_words=0, profile="whisper-en"),
        counts=1, holds=True, aligner="rapidfuzz",
    )  # fmt: skip


def cost(shape: Shape, labels_a_day: int, days: int) -> Cost:
    settings = PipelineSettings(slices=slicing(shape), decide=DecideSettings(maturity_seconds=DAY))
    stage = DecideStage(settings, Counters())
    told = iter(sorted(emissions(shape, labels_a_day, days), key=lambda pair: pair[0]))
    resident = resident_kilobytes()
    quiet, alarmed = Timed(), Timed()
    waiting, offset = next(told, None), 0
    for hour in range(1, days * 24):
        now = BEGUN + hour * HOUR
        while waiting is not None and waiting[0] <= now:
            stage.feed(OutcomeEntry(origin=Origin(upstream="pairs-0", offset=offset), emission=waiting[1]))
            waiting, offset = next(told, None), offset + 1
        look = milliseconds(lambda at=now: pass_hour(stage, at))  # type: ignore[misc]
        listed = milliseconds(stage.changes)
        fault = (days - TIMED_DAYS) * 24
        window = alarmed if hour >= fault else quiet if fault - 24 > hour >= fault - 24 * (1 + TIMED_DAYS) else None
        if window is not None:
            (window.days if hour % 24 == 0 else window.hours).append(look)
            window.changes.append(listed)
            window.pictures.append(milliseconds(lambda: picture(stage)))
            window.agains.append(milliseconds(lambda: picture(stage)))
    return Cost(
        sum(1 for _ in stage.customers.slice_rows()), mean(quiet.hours), mean(quiet.days), mean(alarmed.hours),
        mean(alarmed.days), median(quiet.pictures), median(quiet.agains), median(quiet.changes),
        resident_kilobytes() - resident,
    )  # fmt: skip


def pass_hour(stage: DecideStage, now: float) -> None:
    """A mark by which the full hour before `now` is over."""
    stage.feed_mark(Mark(upstream="pairs-0", of=1, reached_at=now + HOUR + 1.0, current=False, at=now))


def picture(stage: DecideStage) -> None:
    """What a process shows every other second."""
    customers = stage.customers
    tuple(customers.slice_rows())
    tuple(customers.moments())
    customers.budgets()
    customers.bounds()


def milliseconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def resident_kilobytes() -> float:
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--one", nargs=3, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        dimensions, values, labels = options.one
        print(" ".join(f"{value:.2f}" for value in cost(Shape(dimensions, values), labels, options.days)))
        return
    print(
        "slices  corrections a day   an hour's look, midnight's   the same with alarms   picture, again   changes  "
        "resident"
    )
    for shape, labels in MEASURED:  # each in a process of its own: memory is that of one customer
        command = [sys.executable, __file__, "--days", str(options.days), "--one", *map(str, (*shape, labels))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = Cost(*map(float, done.stdout.split()))  # type: ignore[arg-type]
        print(
            f"{found.slices:6.0f} {labels:19d} {found.hour:11.1f} ms {found.day:8.1f} ms {found.hour_alarmed:9.1f} ms "
            f"{found.day_alarmed:6.1f} ms {found.picture:7.1f} ms {found.again:4.1f} ms {found.changes:5.1f} ms "
            f"{found.resident / 1e3:6.1f} MB"
        )


if __name__ == "__main__":
    main()
