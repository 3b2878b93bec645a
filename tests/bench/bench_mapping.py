"""What a mapping costs: microseconds a message, and the ratio to the contract's own JSON of the same content.

    python tests/bench/bench_mapping.py [--messages 5000] [--repeats 7]

`paths`: nested names only, eleven fields. `join`: the text in two segments, joined. Then the first sample message of
each preset, beside the contract's own message of 300 bytes. Each figure is the best of its repeats, all of processor
time, in one run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from monitor.adapters import wire
from monitor.core.records import Kind
from monitor.expressions import Headers
from monitor.mapping_presets import PRESETS
from tests.bench.bench_wire import NOW, messages, microseconds

VENDOR_MESSAGES = Path(__file__).parent.parent / "adapters" / "vendor_messages"
HEADERS: Headers = [("id", b"u-1"), ("at", b"2026-03-01T08:00:00Z"), ("tenant", b"acme")]
OPEN = {"id": "$header.id", "ts": "$header.at", "customer": "$header.tenant", "deployment": "'wards'"}

PATHS = {
    "id": "call.id", "ts": "call.at", "customer": "tenant.name", "deployment": "tenant.site", "text": "heard.text",
    "accent": "who.accent", "language": "heard.language", "model": "heard.model", "session": "call.session",
    "attributes.site": "tags.site", "attributes.sex": "tags.sex",
}  # fmt: skip
JOINED = {**PATHS, "text": "join(' ', heard.segments[].alternatives[0].text)"}


def in_their_own_json(value: bytes) -> bytes:
    own = json.loads(value)
    words = own["text"].split()
    segments = [{"alternatives": [{"text": " ".join(part)}]} for part in (words[:9], words[9:])]
    theirs = {
        "call": {"id": own["id"], "at": own["ts"], "session": own["session"]},
        "tenant": {"name": own["customer"], "site": own["deployment"]},
        "heard": {"text": own["text"], "segments": segments, "language": own["language"], "model": own["model"]},
        "who": {"accent": own["accent"]},
        "tags": own["attributes"],
    }
    return json.dumps(theirs).encode()


def reader(rules: dict[str, str | tuple[str, ...]] | dict[str, str]) -> Callable[[bytes], object]:
    expressions = {
        name: (rule,) if isinstance(rule, str) else rule for name, rule in rules.items() if not name.endswith("_unit")
    }
    mapping = wire.MessageMapping(Kind.TRANSCRIPT, expressions)
    return lambda value: wire.decode_mapped(mapping, value, None, HEADERS, None, NOW)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    own, _ = messages(options.messages, escaped=False)
    theirs = [in_their_own_json(value) for value in own]
    floor = microseconds(lambda value: wire.decode_transcript(value, None, NOW), own, options.repeats)
    print(f"{'':30}{'bytes':>7}{'us':>8}{'ratio':>7}")

    def tell(label: str, values: list[bytes], read: Callable[[bytes], object]) -> None:
        cost = microseconds(read, values, options.repeats)
        print(f"{label:30}{sum(map(len, values)) // len(values):>7}{cost:>8.2f}{cost / floor:>7.2f}")

    tell("the contract's own", own, lambda value: wire.decode_transcript(value, None, NOW))
    tell("paths", theirs, reader(PATHS))
    tell("join", theirs, reader(JOINED))
    for name, preset in PRESETS.items():
        case = json.loads((VENDOR_MESSAGES / f"{name}.json").read_text(encoding="utf-8"))[0]
        value = json.dumps(case["message"]).encode()
        tell(name, [value] * (options.messages // 5), reader({**OPEN, **preset.rules}))


if __name__ == "__main__":
    main()
