"""What a replay of conversations costs: 13,587 long transcripts of 44 calls with references, through `wervane replay`.

    python tests/bench/bench_replay.py [--transcripts 13587] [--repeats 3]

Printed: seconds of the whole command, start and report included (the goal is 30), and the ratio to the bare loop that
only decodes the lines and aligns lower-case words (`json.loads`, `split`, rapidfuzz `editops`), in the same run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from monitor.analysis.recognizer import Style, hear
from monitor.analysis.sentences import CALLS, CLINICAL, written

CALL_COUNT = 44
STARTS_AT = 1_772_409_600.0
RATE = 0.14


def write_inputs(folder: Path, transcripts: int) -> None:
    chance = random.Random(3)
    heard: list[str] = []
    given: list[str] = []
    for number in range(transcripts):
        words = [word for _ in range(chance.randint(1, 4)) for word in chance.choice((CALLS, CLINICAL)).say(chance)]
        call = number * CALL_COUNT // transcripts
        at = STARTS_AT + 14 * 86_400.0 * call / CALL_COUNT + 12.0 * (number % (transcripts // CALL_COUNT))
        fields = {
            "schema": 1, "id": f"{number:020x}", "ts": round(at * 1000), "customer": "earnings", "deployment": "prod",
            "text": hear(words, RATE, chance.choice(list(Style)), chance), "language": "en", "model": "m1",
            "speaker": f"s{call}-{number % 9}",
            "attributes": {"call": f"call-{call}", "sector": f"sector-{call % 9}"},
        }  # fmt: skip
        heard.append(json.dumps(fields))
        late = at + chance.lognormvariate(0.0, 0.5) * 30 * 3600.0
        given.append(json.dumps({"schema": 1, "id": fields["id"], "ts": round(late * 1000), "text": written(words)}))
    (folder / "transcripts.jsonl").write_text("\n".join(heard) + "\n")
    (folder / "references.jsonl").write_text("\n".join(given) + "\n")
    slices = {"dimensions": ["accent", "deployment", "sector"], "intersections": "two-way"}
    (folder / "wervane.yaml").write_text(json.dumps({"slices": slices, "decide": {"unit": "call"}}))


def replay(folder: Path) -> float:
    command = [
        *(sys.executable, "-m", "monitor", "replay", "--config", str(folder / "wervane.yaml")),
        *("--transcripts", str(folder / "transcripts.jsonl"), "--references", str(folder / "references.jsonl")),
        *("--out", str(folder / "out")),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def bare_loop(folder: Path) -> float:
    started = time.perf_counter()
    heard = {}
    for line in (folder / "transcripts.jsonl").open():
        fields = json.loads(line)
        heard[fields["id"]] = fields["text"]
    for line in (folder / "references.jsonl").open():
        fields = json.loads(line)
        Levenshtein.editops(fields["text"].lower().split(), heard[fields["id"]].lower().split())
    return time.perf_counter() - started


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--transcripts", type=int, default=13_587)
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, chosen.transcripts)
        whole, bare = [], []
        for _ in range(chosen.repeats):
            whole.append(replay(folder))
            bare.append(bare_loop(folder))
        words = json.loads((folder / "out" / "summary.json").read_text())
    seconds, floor = statistics.median(whole), statistics.median(bare)
    print(f"replay of {chosen.transcripts} transcripts with references, {words['pairs']} pairs scored:")
    print(f"  {seconds:.1f} s (median of {chosen.repeats}), {seconds / floor:.0f} times the bare loop ({floor:.2f} s)")


if __name__ == "__main__":
    main()
