"""What else is in use, on the same streams: river's detectors as they come, and the two rules of thumb of the demo.

Every rule hears BASELINE + BEFORE units in which nothing changes and AFTER units at the new level, a hundred units a
day, labels at once. River's detectors hear utterances: the WER of each, the binary ones whether it has an error.
None is told how often it may alarm: each has its own false alarms beside its delay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from monitor.analysis.naive import NaiveRule, NaiveRules
from monitor.core.cells import IntArray
from tests.statistics.delays import AFTER, BASELINE, BEFORE
from tests.statistics.unit_sums import Sums, Traffic, draw

if TYPE_CHECKING:
    from river.base import BinaryDriftDetector, DriftDetector

CHANGE = BASELINE + BEFORE
UNIT_SECONDS = 864.0


class Rival(NamedTuple):
    """Utterances between alarms before the change (None without one), and from it to the first alarm."""

    name: str
    streams: int
    false_alarms: int
    quiet_utterances: int
    delay: float
    missed: int

    @property
    def run_length(self) -> float | None:
        return self.quiet_utterances / self.false_alarms if self.false_alarms else None


class Hearing(NamedTuple):
    """A detector: what it makes of an utterance's errors and words, and whether it alarms."""

    hear: Callable[[int, int], None]
    alarms: Callable[[], bool]


def detectors() -> dict[str, Callable[[], Hearing]]:
    """New ones as river sets them. The import takes two seconds."""
    from river.drift import ADWIN, KSWIN, PageHinkley
    from river.drift.binary import DDM, HDDMW

    return {
        "ADWIN": lambda: _numbers(ADWIN()),  # type: ignore[no-untyped-call]
        "PageHinkley": lambda: _numbers(PageHinkley()),
        "KSWIN": lambda: _numbers(KSWIN(seed=1)),
        "HDDM_W": lambda: _bits(HDDMW()),  # type: ignore[no-untyped-call]
        "DDM": lambda: _bits(DDM()),
    }


def _numbers(detector: DriftDetector) -> Hearing:
    return Hearing(lambda errors, words: detector.update(errors / words), lambda: detector.drift_detected)


def _bits(detector: BinaryDriftDetector) -> Hearing:
    return Hearing(lambda errors, _: detector.update(errors > 0), lambda: detector.drift_detected)


def whole_streams(seed: int, traffic: Traffic, level: float, count: int) -> Sums:
    """Shape (count, BASELINE + BEFORE + AFTER)."""
    random = np.random.default_rng(seed)
    return draw(random, traffic, (count, CHANGE)).then(draw(random, traffic.at(level), (count, AFTER)))


def of_river(name: str, seed: int, sums: Sums) -> Rival:
    """A detector of river on every stream. An alarm before the change counts as false and starts it again."""
    new = detectors()[name]
    random = np.random.default_rng(seed)
    false_alarms, missed, waits = 0, 0, []
    for number in range(len(sums.errors)):
        detector, quiet = new(), int(sums.utterances[number, :CHANGE].sum())
        wait = None
        for heard, (errors, words) in enumerate(_utterances(random, sums, number), start=1):
            detector.hear(errors, words)
            if detector.alarms() and heard > quiet:
                wait = heard - quiet
                break
            false_alarms += detector.alarms()
        missed += wait is None
        waits.append(int(sums.utterances[number, CHANGE:].sum()) if wait is None else wait)
    quiet_utterances = int(sums.utterances[:, :CHANGE].sum())
    return Rival(name, len(sums.errors), false_alarms, quiet_utterances, float(np.mean(waits)), missed)


def _utterances(random: np.random.Generator, sums: Sums, number: int) -> Iterator[tuple[int, int]]:
    """Errors and words of each utterance of a stream: the session's, spread over its words by chance."""
    columns: tuple[IntArray, ...] = tuple(column[number] for column in sums)
    for utterances, errors, words in zip(*columns, strict=True):
        lengths = 1 + random.multinomial(words - utterances, np.full(utterances, 1.0 / utterances))
        parts = random.multinomial(errors, lengths / words)
        yield from zip(parts.tolist(), lengths.tolist(), strict=True)


def of_rules(sums: Sums) -> list[Rival]:
    """Three sigma and +25 % on every stream."""
    false_alarms, missed = dict.fromkeys(NaiveRule, 0), dict.fromkeys(NaiveRule, 0)
    waits: dict[NaiveRule, list[float]] = {rule: [] for rule in NaiveRule}
    ends = (np.arange(sums.errors.shape[1]) + 1) * UNIT_SECONDS
    change = float(ends[CHANGE - 1])
    for number in range(len(sums.errors)):
        rules = NaiveRules(starts_at=0.0, baseline_seconds=BASELINE * UNIT_SECONDS, maturity_seconds=0.0)
        errors_words = zip(sums.errors[number].tolist(), sums.words[number].tolist(), strict=True)
        for end, (errors, words) in zip(ends.tolist(), errors_words, strict=True):
            rules.add(end, end, [()], errors, words)
        pages = rules.pages_until(float(ends[-1]))
        for rule in NaiveRule:
            at = [page.at for page in pages if page.rule is rule]
            false_alarms[rule] += sum(page <= change for page in at)
            first = next((page for page in at if page > change), None)
            missed[rule] += first is None
            heard = ends <= (ends[-1] if first is None else first)
            waits[rule].append(float(sums.utterances[number, heard].sum() - sums.utterances[number, :CHANGE].sum()))
    watched = int(sums.utterances[:, BASELINE:CHANGE].sum())
    return [
        Rival(rule, len(sums.errors), false_alarms[rule], watched, float(np.mean(waits[rule])), missed[rule])
        for rule in NaiveRule
    ]
