"""Traffic for whole-path tests, and its recount: what any monitor must arrive at, without the code under test."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import jiwer

WORDS = (
    *("alpha", "bravo", "cargo", "delta", "ember", "fable", "grape", "hazel"),
    *("ivory", "jolly", "karma", "lemon", "mango", "noble", "ocean", "piano"),
)
ACCENTS = ("england", "indian", "yoruba", None)
SITES = ("wards", "clinic")


@dataclass
class Traffic:
    """Lines of both inputs, in the order of their delivery."""

    transcripts: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> tuple[Path, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / "transcripts.jsonl", folder / "references.jsonl"
        for path, lines in zip(paths, (self.transcripts, self.references), strict=True):
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return paths


def generate(utterances: int, *, starts_at: float, days: float = 6.0, seed: int = 1) -> Traffic:
    """Duplicates (10 %), revisions (5 %, half of them delivered backwards), never (25 %), early and malformed ones."""
    rng = random.Random(seed)
    traffic = Traffic()
    delivered: list[tuple[float, str]] = []
    for number in range(utterances):
        at = starts_at + days * 86_400.0 * number / utterances
        said = [rng.choice(WORDS) for _ in range(rng.randint(3, 14))]
        fields = {
            "schema": 1,
            "id": f"u{seed}-{number:06d}",
            "ts": _instant(at),
            "customer": "acme",
            "deployment": rng.choice(SITES),
            "text": " ".join(_misheard(said, rng)),
            "language": "en",
            "model": "m1",
            "speaker": f"s{number // 9 % 70}",
        }
        accent = ACCENTS[number // 9 % 70 % len(ACCENTS)]
        if accent is not None:
            fields["accent"] = accent
        traffic.transcripts += [json.dumps(fields)] * (2 if rng.random() < 0.1 else 1)
        if rng.random() < 0.01:
            traffic.transcripts.append('{"schema": 1, "id": "cut off')
        if rng.random() < 0.25:
            continue
        wrong = [rng.choice(WORDS) for _ in said]
        versions = [(1, wrong), (2, said)] if rng.random() < 0.05 else [(1, said)]
        for revision, words in versions:
            lag = rng.uniform(-600.0, 40 * 3600.0) if revision == 1 else rng.uniform(0.0, 60 * 3600.0)
            given = {"ts": _instant(at + lag), "text": " ".join(words), "revision": revision}
            line = json.dumps({"schema": 1, "id": fields["id"], **given})
            delivered += [(at + lag, line)] * (2 if rng.random() < 0.1 else 1)
    delivered.sort(key=lambda pair: pair[0])
    traffic.references = [line for _, line in delivered]
    return traffic


def recount(traffic: Traffic) -> dict[str, tuple[int, int, int, int, int]]:
    """slice -> (pairs, reference words, S, D, I) of the final state, by jiwer over the lines as they are."""
    transcripts = {}
    for line in traffic.transcripts:
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        transcripts[fields["id"]] = fields
    final: dict[str, tuple[int, str, str]] = {}
    for line in traffic.references:
        reference = json.loads(line)
        rank = (reference["revision"], reference["ts"], reference["text"])
        final[reference["id"]] = max(final.get(reference["id"], (0, "", "")), rank)
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for id_, (_, _, text) in final.items():
        fields = transcripts[id_]
        accent, site = fields.get("accent", "unknown"), fields["deployment"]
        slices = ["all", f"accent={accent}", f"deployment={site}"]
        if accent != "unknown":
            slices.append(f"accent={accent}&deployment={site}")
        counted = jiwer.process_words(text, fields["text"])
        words = counted.hits + counted.substitutions + counted.deletions
        for name in slices:
            for column, value in enumerate((1, words, counted.substitutions, counted.deletions, counted.insertions)):
                sums[name][column] += value
    return {name: (row[0], row[1], row[2], row[3], row[4]) for name, row in sums.items()}


def _misheard(said: list[str], rng: random.Random) -> list[str]:
    heard: list[str] = []
    for word in said:
        fate = rng.random()
        if fate < 0.06:
            heard.append(rng.choice(WORDS))
        elif fate < 0.1:
            continue
        else:
            heard.append(word)
        if fate > 0.97:
            heard.append(rng.choice(WORDS))
    return heard


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
