"""What a month of uncorrected traffic costs: the whole agent with a million pending utterances, on disk and resident.

    python tests/bench/bench_pending.py [--utterances 1000000]

Transcripts of 29 days, none corrected, through `wervane run` on files. Printed: megabytes of the state file, resident
megabytes of the process at its end, and microseconds of processor time a transcript.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DAYS = 29.0
WORDS = (
    *("the", "patient", "was", "given", "two", "tablets", "of", "aspirin", "this", "morning"),
    *("and", "feels", "better", "now", "doctor", "will", "see", "him", "again"),
)


def write_inputs(folder: Path, utterances: int) -> None:
    chance = random.Random(1)
    starts_at = time.time() - (DAYS + 0.5) * 86_400.0
    with (folder / "transcripts.jsonl").open("w") as file:
        for number in range(utterances):
            fields: dict[str, object] = {
                "schema": 1,
                "id": f"{chance.getrandbits(80):020x}",
                "ts": round((starts_at + number * DAYS * 86_400.0 / utterances) * 1000.0),
                "customer": "acme",
                "deployment": "wards" if number // 8 % 2 else "clinic",
                "text": " ".join(chance.choices(WORDS, k=11)),
                "language": "en",
                "model": "asr-1",
                "speaker": f"speaker-{number // 8 % 4000}",
                "session": f"session-{number // 8}",
            }
            if number // 8 % 3 == 0:
                fields["accent"] = ("us", "england", "indian")[number // 24 % 3]
            file.write(json.dumps(fields) + "\n")
    (folder / "references.jsonl").touch()
    configuration = {
        "input": {
            "kind": "files",
            "transcripts": [str(folder / "transcripts.jsonl")],
            "references": [str(folder / "references.jsonl")],
        },
        "state": {"path": str(folder / "state")},
        "labels": {"ttl": "31d", "maturity": "96h"},
        "privacy": {"reviews": False},
        "serve": {"port": 0},
    }
    (folder / "wervane.yaml").write_text(json.dumps(configuration))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--utterances", type=int, default=1_000_000)
    utterances = options.parse_args().utterances
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, utterances)
        command = [sys.executable, "-m", "monitor", "run", "--config", str(folder / "wervane.yaml")]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        on_disk = (folder / "state" / "partition-0.db").stat().st_size
        summary = json.loads((folder / "state" / "summary.json").read_text())
        print(f"{utterances} pending utterances of {DAYS:g} days: {summary['transcripts']}")
        print(f"  state file  {on_disk / 1e6:7.1f} MB ({on_disk / utterances:.0f} bytes an utterance)")
        print(f"  resident    {used.ru_maxrss / 1e3:7.1f} MB at most")
        print(f"  processor   {used.ru_utime / utterances * 1e6:7.1f} us a transcript, sorting and start included")


if __name__ == "__main__":
    main()
