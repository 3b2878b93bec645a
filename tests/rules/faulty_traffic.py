"""Decides what the end-to-end test's customer sends: sessions of three accents, one of which a fault makes worse."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

from tests.traffic import WORDS, Traffic

DAY, HOUR = 86_400.0, 3600.0
SHARES = {"yoruba": 0.2, "england": 0.5, "indian": 0.3}
SESSIONS_PER_DAY = 200
UTTERANCES = 3
WORDS_PER_UTTERANCE = 12
USUAL, FAULTY = 0.10, 0.35
"""Errors per word. Three and a half times as many is a broken device, and seen within a day."""


def days(first: int, last: int, *, starts_at: float, faulty: bool = False, seed: int = 1) -> Traffic:
    """Days first to last - 1 after `starts_at`; `faulty`: yoruba is heard badly. Corrected within the hour."""
    rng = random.Random(f"{seed} {first}")
    traffic = Traffic()
    accents = rng.choices(list(SHARES), list(SHARES.values()), k=(last - first) * SESSIONS_PER_DAY)
    for number, accent in enumerate(accents):
        began = starts_at + first * DAY + number * DAY / SESSIONS_PER_DAY
        rate = (FAULTY if faulty and accent == "yoruba" else USUAL) * rng.lognormvariate(-0.02, 0.2)
        for turn in range(UTTERANCES):
            said = rng.choices(WORDS, k=WORDS_PER_UTTERANCE)
            heard = [rng.choice(WORDS) if rng.random() < rate * 16 / 15 else word for word in said]
            at, name = began + 20.0 * turn, f"{seed}-{first}-{number}-{turn}"
            fields = {"id": name, "customer": "clinic", "deployment": "wards", "accent": accent, "language": "en"}
            session = {"session": f"{seed}-{first}-{number}", "speaker": f"{accent}-{rng.randrange(60)}", "model": "m1"}
            traffic.transcripts.append(_line(at, heard, **fields, **session))
            traffic.references.append(_line(at + 0.5 * HOUR, said, id=name))
    return traffic


def _line(at: float, words: list[str], **fields: str) -> str:
    ts = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"schema": 1, "ts": ts, "text": " ".join(words), **fields})
