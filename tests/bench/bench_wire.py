"""What the contract costs: microseconds a message, and the ratio to a bare `msgspec.json.decode` that checks nothing.

    python tests/bench/bench_wire.py [--messages 20000] [--repeats 7]

The budget: 12 us for a typical transcript of 300 bytes. Each figure is the best of its repeats, all of processor
time, in one run.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

import msgspec

from monitor.adapters import wire

NOW = 1_772_409_600.0
WORDS = ("the", "of", "and", "to", "in", "is", "you", "patient", "stable", "was", "for", "on", "ward", "from", "this")


def messages(count: int, *, escaped: bool, seed: int = 7) -> tuple[list[bytes], list[bytes]]:
    """Transcripts of about 300 bytes and references of about 180, without or with escapes in every text."""
    chance = random.Random(seed)
    transcripts, references = [], []
    for number in range(count):
        text = " ".join(chance.choices(WORDS, k=18)) + (' "ça"' if escaped else "")
        ts = f"2026-03-01T{number % 24:02}:{number % 60:02}:00.{number % 1000:03}Z"
        id_ = f"{chance.getrandbits(80):020x}"
        transcript = {
            "schema": 1, "id": id_, "ts": ts, "customer": "acme", "deployment": "wards", "text": text,
            "accent": "england", "language": "en", "model": "asr-1", "session": f"{number // 20:08x}",
            "attributes": {"site": "north", "sex": "f"},
        }  # fmt: skip
        reference = {"schema": 1, "id": id_, "ts": ts, "text": text, "revision": 1, "source": "sampled"}
        transcripts.append(json.dumps(transcript).encode())
        references.append(json.dumps(reference).encode())
    return transcripts, references


def microseconds(read: Callable[[bytes], object], values: list[bytes], repeats: int) -> float:
    """Best of the repeats, for one message."""
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        for value in values:
            read(value)
        best = min(best, time.process_time() - started)
    return best / len(values) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    bare = msgspec.json.Decoder().decode
    print(f"{'':28}{'bytes':>7}{'bare us':>9}{'wire us':>9}{'ratio':>7}")
    for escaped in (False, True):
        transcripts, references = messages(options.messages, escaped=escaped)
        for name, decode, values in (
            ("transcripts", wire.decode_transcript, transcripts),
            ("references", wire.decode_reference, references),
        ):
            floor = microseconds(bare, values, options.repeats)
            ours = microseconds(lambda value, decode=decode: decode(value, None, NOW), values, options.repeats)  # type: ignore[misc]
            size = sum(map(len, values)) // len(values)
            label = name + (", escapes" if escaped else "")
            print(f"{label:28}{size:>7}{floor:>9.2f}{ours:>9.2f}{ours / floor:>7.1f}")


if __name__ == "__main__":
    main()
