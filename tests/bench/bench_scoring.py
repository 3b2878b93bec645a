"""What scoring costs: the ratio to the least that any scorer must do, and to the scorer that everybody writes.

    python -m tests.bench.bench_scoring [--data FOLDER ...] [--pairs 4000] [--rounds 7]

floor   `lower().split()` on both sides and rapidfuzz edit operations. Read speech: at most 3 times that.
naive   whisper-normalizer on both sides and `jiwer.process_words`. Conversation: at least 15 times as fast.

Everything is in: the strict score, the flags, the record. Without --data the texts are made here: read sentences of
nine words and turns of a conference call, with about the share of apostrophes, numbers and hesitations of real ones. A
folder holds `transcripts.jsonl` and `references.jsonl` of the contract. Each figure is the median over rounds in which
the scorers take turns, chunk by chunk, in processor time; a round before them fills the memory, reported as cold.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import TypeAlias

import jiwer
from rapidfuzz.distance import Levenshtein
from whisper_normalizer.english import EnglishTextNormalizer

from monitor.core.scoring import Scorer, ScoringSettings
from tests.core.scored_texts import misheard

Pair: TypeAlias = tuple[str, str]
"""Hypothesis and reference."""

CHUNK = 200
NAIVE_PAIRS = 600
"""The naive scorer is so slow that more would only take time."""

COMMON = """
the of to and a in that is was he for it with as his on be at by i this had but from they which or we an there her were
their been have you one all not no more so out up what about who said them can only other new some could time these two
may then do first any my now such like our over man me even most made after also did many before must through back years
where much your way well down should because each just those people too little state good very make would world still
own see men work long get here between both life being under never day same another know while last might us great old
year off come since against go came right used take three boy desert wind story shepherd journey treasure question
"""
SAID = """
it's don't i'm that's didn't can't he's you're i'll we've boy's wasn't let's they're couldn't world's
"""
BUSINESS = """
revenue quarter margin growth company customers business earnings results operating cash million percent year market
sales guidance capital costs expect continue strong increase share demand investment management strategy products third
"""
FIGURES = (
    "$5.2 million",
    "12%",
    "2019",
    "1,250",
    "Q3",
    "$1.15",
    "15%",
    "2020",
    "30 basis points",
    "third",
    "one",
    "two",
    "10",
)
FILLERS = ("uh,", "um,", "you know,", "I mean,", "well,", "so,", "mm-hmm.", "yeah,", "okay.")


def read_speech(count: int, seed: int = 1) -> list[Pair]:
    """Sentences that were read out, with a recogniser's capitals and punctuation on one side."""
    chance = random.Random(seed)
    vocabulary = COMMON.split()
    weights = [1 / (rank + 3) for rank in range(len(vocabulary))]
    pairs = []
    for _ in range(count):
        words = chance.choices(vocabulary, weights, k=chance.randrange(4, 16))
        if chance.random() < 0.24:
            words[chance.randrange(len(words))] = chance.choice(SAID.split())
        heard = words if chance.random() < 0.45 else misheard(words, chance, 0.2)
        pairs.append((" ".join(heard).capitalize() + ".", " ".join(words)))
    return pairs


def conversation(count: int, seed: int = 2) -> list[Pair]:
    """Turns of a conference call: numbers, money, hesitations, ellipses, contractions, punctuation everywhere."""
    chance = random.Random(seed)
    vocabulary = COMMON.split() + BUSINESS.split() * 2
    weights = [1 / (rank % 200 + 3) for rank in range(len(vocabulary))]
    pairs = []
    for _ in range(count):
        words = chance.choices(vocabulary, weights, k=chance.randrange(6, 48))
        for choices, share in (
            (FIGURES, 0.04),
            (FILLERS, 0.03),
            (SAID.split(), 0.03),
            (("and… we", "pre- acquisition"), 0.002),
        ):
            words = [chance.choice(choices) if chance.random() < share else word for word in words]
        written = [word + "," if chance.random() < 0.08 else word for word in words]
        pairs.append((" ".join(misheard(written, chance, 0.15)), " ".join(written).capitalize() + "."))
    return pairs


def archived(folder: Path, count: int) -> list[Pair]:
    """The first pairs of an archive."""
    lines = (folder / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()
    heard = {record["id"]: record["text"] for record in map(json.loads, lines)}
    lines = (folder / "references.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines[:count]]
    return [(heard[record["id"]], record["text"]) for record in records if record["id"] in heard]


def floor(pairs: Iterable[Pair]) -> None:
    for hypothesis, reference in pairs:
        Levenshtein.editops(reference.lower().split(), hypothesis.lower().split())


def naive() -> Callable[[Iterable[Pair]], None]:
    library = EnglishTextNormalizer()

    def score(pairs: Iterable[Pair]) -> None:
        for hypothesis, reference in pairs:
            if said := library(reference).strip():
                jiwer.process_words(said, library(hypothesis))

    return score


def ours(scorer: Scorer) -> Callable[[Iterable[Pair]], None]:
    def score(pairs: Iterable[Pair]) -> None:
        for hypothesis, reference in pairs:
            scorer.score(hypothesis, reference, "en")

    return score


def seconds(score: Callable[[Iterable[Pair]], None], pairs: list[Pair]) -> float:
    started = time.process_time()
    score(pairs)
    return time.process_time() - started


def ratios(
    one: Callable[[Iterable[Pair]], None], other: Callable[[Iterable[Pair]], None], pairs: list[Pair], rounds: int
) -> tuple[float, float, float]:
    """Median over rounds of time(one) / time(other), and the median microseconds a pair of both."""
    chunks = [pairs[at : at + CHUNK] for at in range(0, len(pairs), CHUNK)]
    rows = []
    for _ in range(rounds):
        times = [(seconds(one, chunk), seconds(other, chunk)) for chunk in chunks]
        rows.append((sum(first for first, _ in times), sum(second for _, second in times)))
    micro = 1e6 / len(pairs)
    return (
        median(first / second for first, second in rows),
        median(first for first, _ in rows) * micro,
        median(second for _, second in rows) * micro,
    )


def report(name: str, pairs: list[Pair], rounds: int) -> tuple[float, float]:
    """Prints one line; gives ours / floor and naive / ours."""
    score = ours(Scorer(ScoringSettings()))
    cold = seconds(score, pairs) / len(pairs) * 1e6
    to_floor, own, least = ratios(score, floor, pairs, rounds)
    to_naive, usual, _ = ratios(naive(), score, pairs[:NAIVE_PAIRS], rounds)
    print(
        f"{name:24} {len(pairs):6} pairs  score {own:6.2f} us (cold {cold:6.2f})  floor {least:5.2f} us: "
        f"{to_floor:5.2f} x floor   naive {usual:6.1f} us: {to_naive:5.1f} x faster"
    )
    return to_floor, to_naive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, nargs="*", default=[], help="folders of archives, beside the texts made here"
    )
    parser.add_argument("--pairs", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=7)
    wanted = parser.parse_args()
    to_floor, _ = report("read speech", read_speech(wanted.pairs), wanted.rounds)
    _, to_naive = report("conversation", conversation(wanted.pairs), wanted.rounds)
    for folder in wanted.data:
        report(folder.name, archived(folder, wanted.pairs), wanted.rounds)
    print(f"read speech: {to_floor:.2f} times the floor (goal: at most 3)")
    print(f"conversation: {to_naive:.1f} times as fast as the naive scorer (goal: at least 15)")


if __name__ == "__main__":
    main()
