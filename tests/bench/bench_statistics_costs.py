"""What the statistics cost: one slice's update, and 5,000 slices with 100 outcomes a second, beside a bare loop."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import NamedTuple

from monitor.core.apart import DecideStage, OutcomeEntry
from monitor.core.budget import DAY, Ledger
from monitor.core.counters import Counters
from monitor.core.deciding import DecideSettings
from monitor.core.drift import Baseline, StratumSums, Watch
from monitor.core.pairing import Emission
from monitor.core.pipeline import PipelineSettings
from monitor.core.records import Observation, Origin, UtteranceKey
from monitor.core.slicing import SliceSettings
from tests.bare_loop import bare_loop
from tests.bench.bench_looks import BEGUN, HOUR, WORDS, corrected, pass_hour, picture

VALUES = 40
"""Of three dimensions with all their pairs: 4,921 slices, seven of which an utterance lies in."""
LEARNED_DAYS = 12
LEARNED_SESSIONS = 40_000
"""25 for each pair of values: all slices have closed a baseline before the time that is measured."""
MEASURED_SECONDS = 1_200
OUTCOMES_A_SECOND = 100
SESSION = 10


def microseconds_of_a_bet(count: int = 100_000) -> float:
    """One slice's update with one closed unit, money included."""
    ledger = Ledger(pages=1.0, days=90.0)
    ledger.since = ledger.until = ledger.started = 0.0
    watch = Watch(slice=(), learning_since=0.0, baseline=Baseline({"": 0.12}, 1.1, 14.4))
    ledger.advance(float(count), (1, 0, 0))
    units = [(StratumSums("", errors, 120),) for errors in range(8, 21)]
    started = time.process_time()
    for number in range(count):
        watch.bet(units[number % 13], float(number), ledger)
    return (time.process_time() - started) / count * 1e6


class Busy(NamedTuple):
    """Processor seconds, of one process."""

    slices: int
    betting: int
    outcomes: int
    fed: float
    looks: float
    """Of 26 hours: the one in which outcomes came, to the one in which the last of them closed."""
    picture: float
    """Every slice for the page, when somebody looks."""


def busy() -> Busy:
    """5,000 slices that have learned; then MEASURED_SECONDS of full traffic, to the end of its maturity."""
    settings = PipelineSettings(slices=_slices(), decide=DecideSettings(maturity_seconds=DAY))
    stage, offset = DecideStage(settings, Counters()), 0
    learned = list(_sessions(BEGUN, LEARNED_DAYS * DAY, LEARNED_SESSIONS, 1))
    full_from = BEGUN + LEARNED_DAYS * DAY + 2 * DAY
    outcomes = MEASURED_SECONDS * OUTCOMES_A_SECOND
    measured = list(_sessions(full_from, MEASURED_SECONDS, outcomes // SESSION, SESSION))
    for emission in learned:
        stage.feed(OutcomeEntry(origin=Origin(upstream="pairs-0", offset=offset), emission=emission))
        offset += 1
    for hour in range(1, round((full_from - BEGUN) / HOUR) + 1):
        pass_hour(stage, BEGUN + hour * HOUR)
    started = time.process_time()
    for emission in measured:
        stage.feed(OutcomeEntry(origin=Origin(upstream="pairs-0", offset=offset), emission=emission))
        offset += 1
    fed = time.process_time()
    for hour in range(1, 27):
        pass_hour(stage, full_from + hour * HOUR)
        stage.changes()
    looked = time.process_time()
    picture(stage)
    shown = time.process_time()
    rows = list(stage.customers.slice_rows())
    betting = sum(row.standing is not None and not row.standing.learning for row in rows)
    return Busy(len(rows), betting, outcomes, fed - started, looked - fed, shown - looked)


def _slices() -> SliceSettings:
    names = tuple(f"dimension-{number}" for number in range(3))
    pairs = ((names[0], names[1]), (names[0], names[2]), (names[1], names[2]))
    return SliceSettings(dimensions=names, intersections=pairs, strata=(), groups_max=2_000)


def _sessions(begun: float, seconds: float, sessions: int, utterances: int) -> Iterator[Emission]:
    rng = random.Random(1)
    for number in range(sessions):
        at = begun + number * seconds / sessions
        labels = tuple(f"value-{rng.randrange(VALUES)}" for _ in range(3))
        for turn in range(utterances):
            seen = Observation(
                utterance=UtteranceKey(rng.getrandbits(64)), event_at=at + 0.5 * turn, customer="acme",
                deployment="wards", labels=labels, model="m", session=f"{begun}:{number:016x}", speaker=None,
                inclusion_probability=1.0,
            )  # fmt: skip
            yield seen
            yield corrected(seen, seen.event_at + HOUR, sum(rng.random() < 0.1 for _ in range(WORDS)))


def rows() -> list[tuple[str, ...]]:
    """Cells of a table: what, seconds of processor, as a part of a core, in bare loops."""
    bare, bet, of = bare_loop(), microseconds_of_a_bet(), busy()
    share = (of.fed + of.looks) / MEASURED_SECONDS
    return [
        ("one slice's update with one unit", f"{bet:.1f} µs", "", f"{bet / 1e6 / bare:.5f}"),
        (
            f"{of.slices:,} slices, {of.betting:,} of them betting: {of.outcomes:,} outcomes, {OUTCOMES_A_SECOND} a "
            f"second, taken in and looked at until they are closed",
            f"{of.fed:.1f} s + {of.looks:.1f} s",
            f"{share:.1%}",
            f"{(of.fed + of.looks) / bare:,.0f}",
        ),
        ("every slice for the page, once", f"{of.picture:.2f} s", "", f"{of.picture / bare:.1f}"),
    ]
