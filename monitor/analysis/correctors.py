"""Decides which generated utterances people correct, when, and what they first write: the references.

A uniform sample is corrected within hours to days: later when it is hard, and mostly not at week-ends. Some references
are first accepted as they stand and revised later, some arrive twice, some in the wrong order. Users also correct or
complain of their own accord, far more often about bad transcripts: those are `organic` and `flagged`, and biased.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from monitor.analysis.sentences import Words, written
from monitor.analysis.world import DAY, HOUR, is_weekend

SAMPLED_PROBABILITY = 0.24
"""Utterances that the customer's correctors take, whoever speaks."""

DELAY_MEDIAN_SECONDS = 5.0 * HOUR
DELAY_SPREAD = 0.9
"""Standard deviation of the log delay: 90 % within 16 hours, one in 25 after a day."""

HARDNESS_DELAY = 0.35
"""Delays grow with the utterance's error factor to this power: one four times as hard waits 1.6 times as long."""

WEEKEND_WAIT_PROBABILITY = 0.6
"""References due at a week-end that wait for Monday morning."""

REVISED_PROBABILITY = 0.04
REVISED_FIRST_PROBABILITY = 0.15
"""Revised references whose second revision arrives before the first."""

DUPLICATED_PROBABILITY = 0.03
ORGANIC_PROBABILITY = 0.012
FLAGGED_PROBABILITY = 0.006
"""For an utterance of usual quality; both grow with the share of its words that came out wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """One reference message to be."""

    at: float
    text: str
    revision: int
    source: str
    annotator: str


def corrections(
    *, at: float, words: Words, hypothesis: str, hardness: float, rng: random.Random
) -> Iterator[Correction]:
    """Every reference of an utterance spoken at `at` (seconds); most utterances have none.

    hardness is the utterance's own error factor, about 1.
    """
    draw = rng.random()
    if draw < SAMPLED_PROBABILITY:
        yield from _sampled(at=at, words=words, hypothesis=hypothesis, hardness=hardness, rng=rng)
        return
    complaint = _complaint(draw - SAMPLED_PROBABILITY, hardness)
    if complaint:
        sent_at = at + rng.lognormvariate(0.0, 1.0) * 0.5 * HOUR
        yield Correction(at=sent_at, text=written(words), revision=1, source=complaint, annotator="user")


def _complaint(draw: float, hardness: float) -> str | None:
    """The source of an unasked correction. `draw` is uniform on what sampling left, so one draw decides both."""
    organic = ORGANIC_PROBABILITY * min(hardness, 4.0) ** 2
    flagged = FLAGGED_PROBABILITY * min(hardness, 4.0) ** 2
    if draw < organic:
        return "organic"
    return "flagged" if draw < organic + flagged else None


def _sampled(*, at: float, words: Words, hypothesis: str, hardness: float, rng: random.Random) -> Iterator[Correction]:
    truth = written(words)
    annotator = f"corrector-{rng.randrange(1, 15):02d}"
    first_at = _corrected_at(at, hardness, rng)
    fate = rng.random()
    if fate >= REVISED_PROBABILITY + DUPLICATED_PROBABILITY:
        yield Correction(at=first_at, text=truth, revision=1, source="sampled", annotator=annotator)
        return
    again_at = first_at + rng.lognormvariate(1.0, 0.8) * HOUR
    if fate >= REVISED_PROBABILITY:
        once = Correction(at=first_at, text=truth, revision=1, source="sampled", annotator=annotator)
        yield once
        yield Correction(at=again_at, text=truth, revision=1, source="sampled", annotator=annotator)
        return
    if rng.random() < REVISED_FIRST_PROBABILITY:
        first_at, again_at = again_at, first_at
    lazy = hypothesis if rng.random() < 0.6 else _mistyped(truth, rng)
    yield Correction(at=first_at, text=lazy, revision=1, source="sampled", annotator=annotator)
    yield Correction(at=again_at, text=truth, revision=2, source="sampled", annotator="senior-corrector")


def _corrected_at(at: float, hardness: float, rng: random.Random) -> float:
    delay = DELAY_MEDIAN_SECONDS * rng.lognormvariate(0.0, DELAY_SPREAD) * math.pow(hardness, HARDNESS_DELAY)
    due_at = at + delay
    if is_weekend(due_at) and rng.random() < WEEKEND_WAIT_PROBABILITY:
        saturday = due_at // DAY - (0 if not is_weekend(due_at - DAY) else 1)
        due_at = max(due_at, (saturday + 2) * DAY + rng.uniform(7.0, 13.0) * HOUR)
    return due_at


def _mistyped(text: str, rng: random.Random) -> str:
    """Two neighbouring characters swapped somewhere, or the text itself if it is too short."""
    if len(text) < 4:
        return text
    at = rng.randrange(1, len(text) - 2)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
