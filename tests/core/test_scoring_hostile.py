"""Scoring within the contract never takes long: the interpreter is held for as long as it takes.

The promise is 250 ms for a pair. A test that asserts seconds fails on a slow machine, so this one asserts a ratio: four
times a bare loop over 200,000 words, which takes 62 ms where the promise was measured.
"""

from __future__ import annotations

import time

import pytest

from monitor.core.scoring import Scorer, ScoringSettings
from tests.core.scored_texts import HOSTILE

BARE_LOOPS_MAX = 4.0
"""0.25 s over 0.062 s."""
SCORER = Scorer(ScoringSettings(keywords=("metformin", "vitamin b twelve")))


@pytest.fixture(scope="module")
def bare_loop() -> float:
    """Processor time of making, counting and sorting 200,000 words, the median of five."""
    taken = []
    for _ in range(5):
        started = time.process_time()
        counts: dict[str, int] = {}
        for word in map(str, range(200_000)):
            counts[word] = counts.get(word, 0) + 1
        " ".join(sorted(counts))
        taken.append(time.process_time() - started)
    return sorted(taken)[2]


def seconds(hypothesis: str, reference: str, language: str, enough: float) -> float:
    """Processor time for one pair, the best of up to three."""
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        SCORER.score(hypothesis, reference, language)
        best = min(best, time.process_time() - started)
        if best < enough:
            break
    return best


@pytest.mark.parametrize("language", ["en", "hi", "zh"])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_within_the_contract_takes_long(name: str, language: str, bare_loop: float) -> None:
    """Two hostile texts against each other: slow rules on both sides, and an alignment where nothing matches."""
    hypothesis, reference = HOSTILE[name](1), HOSTILE[name](2)
    assert len(hypothesis) <= 200_000 and len(hypothesis.split()) <= 20_000
    allowed = BARE_LOOPS_MAX * bare_loop
    assert seconds(hypothesis, reference, language, allowed / 2) < allowed
