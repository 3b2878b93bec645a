"""What scoring costs against its floor, and against the library pair that it replaces.

    python tests/bench/bench_scoring.py [--rounds 7] [--pairs 3000] [--transcripts F --references F]

Floor: `lower().split()` on both sides and rapidfuzz `editops` (the goal: at most 3 times that on read speech). Library:
whisper-normalizer on both sides and `jiwer.process_words` (the goal: at least 15 times faster on conversational text).
The texts are generated, or read from two JSON Lines files. Rounds alternate in one process; medians of processor time.
The scorer remembers from the first round on, as it does in service; its first round is printed apart.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jiwer
from rapidfuzz.distance import Levenshtein
from whisper_normalizer.english import EnglishTextNormalizer

from monitor.analysis.recognizer import Style, hear
from monitor.analysis.sentences import CALLS, CLINICAL, written
from monitor.core.scoring import Scorer, ScoringSettings

Pairs = list[tuple[str, str]]
LIBRARY_PAIRS = 300
"""The library is slow: so many pairs show its cost to a per cent."""


def generated(pairs: int, sentences: int, rate: float) -> Pairs:
    """(hypothesis, reference); one sentence is read speech, several are conversation."""
    chance = random.Random(5)
    made = []
    for _ in range(pairs):
        said = [chance.choice((CALLS, CLINICAL)).say(chance) for _ in range(chance.randint(1, sentences))]
        words = [word for sentence in said for word in sentence]
        made.append((hear(words, rate, chance.choice(list(Style)), chance), written(words)))
    return made


def read(transcripts: Path, references: Path, pairs: int) -> Pairs:
    heard = {fields["id"]: fields["text"] for fields in map(json.loads, transcripts.open())}
    given = (json.loads(line) for line in references.open())
    return [(heard[fields["id"]], fields["text"]) for fields in given if fields["id"] in heard][:pairs]


def cost(pairs: Pairs, score: Callable[[str, str], object]) -> float:
    """Microseconds of processor time a pair."""
    started = time.process_time()
    for hypothesis, reference in pairs:
        score(hypothesis, reference)
    return (time.process_time() - started) / len(pairs) * 1e6


def compare(name: str, pairs: Pairs, rounds: int) -> None:
    scorer, library = Scorer(ScoringSettings()), EnglishTextNormalizer()

    def ours(hypothesis: str, reference: str) -> object:
        return scorer.score(hypothesis, reference, "en")

    def floor(hypothesis: str, reference: str) -> object:
        return Levenshtein.editops(reference.lower().split(), hypothesis.lower().split())

    def theirs(hypothesis: str, reference: str) -> object:
        return jiwer.process_words(library(reference) or "-", library(hypothesis))

    first = cost(pairs, ours)
    measured = [(cost(pairs, ours), cost(pairs, floor), cost(pairs[:LIBRARY_PAIRS], theirs)) for _ in range(rounds)]
    us, bare, lib = (statistics.median(column) for column in zip(*measured, strict=True))
    to_floor = statistics.median(ours / floor for ours, floor, _ in measured)
    faster = statistics.median(lib / ours for ours, _, lib in measured)
    print(f"{name}: {len(pairs)} pairs, medians of {rounds} rounds")
    print(f"  ours {us:.1f} us a pair, {to_floor:.1f} times the floor ({bare:.1f} us); first round {first:.1f} us")
    print(f"  whisper-normalizer + jiwer {lib:.0f} us: {faster:.0f} times ours")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--pairs", type=int, default=3_000)
    options.add_argument("--transcripts", type=Path)
    options.add_argument("--references", type=Path)
    chosen = options.parse_args()
    if chosen.transcripts and chosen.references:
        compare("given texts", read(chosen.transcripts, chosen.references, chosen.pairs), chosen.rounds)
        return
    compare("read speech", generated(chosen.pairs, 1, 0.1), chosen.rounds)
    compare("conversation", generated(chosen.pairs, 4, 0.14), chosen.rounds)


if __name__ == "__main__":
    main()
