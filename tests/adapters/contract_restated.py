"""The message contract a second time: slow, plain, and from the document alone. Shares no code with `adapters.wire`."""

from __future__ import annotations

import calendar
import json
import re
import unicodedata
from typing import NamedTuple

LABELS = {"accent": 64, "language": 64, "model": 64, "speaker": 128, "session": 128}
RESERVED = (
    *("le", "quantile", "job", "instance", "customer", "deployment", "accent", "language", "model", "speaker"),
    *("session", "id", "ts", "group", "namespace", "pod", "container", "alertname", "severity"),
)


class Verdict(NamedTuple):
    """`outcome` is accepted, clipped or rejected; `fields` what is kept, by the message's names."""

    outcome: str
    reason: str = ""
    clipped: frozenset[str] = frozenset()
    fields: dict[str, object] = {}  # noqa: RUF012


class Refused(Exception):
    pass


def transcript(value: bytes, now: float) -> Verdict:
    return judge(value, now, ["customer", "deployment"])


def reference(value: bytes, now: float) -> Verdict:
    return judge(value, now, [])


def judge(value: bytes, now: float, tenants: list[str]) -> Verdict:
    clipped: set[str] = set()
    try:
        message = parse(value)
        fields = read(message, now, tenants, clipped)
    except Refused as refused:
        return Verdict("rejected", str(refused))
    return Verdict("clipped" if clipped else "accepted", "", frozenset(clipped), fields)


# --------------------------------------------------------------------------------------------------------------- bytes
def parse(value: bytes) -> dict[str, object]:
    if len(value) > 1024 * 1024:
        raise Refused("too_large")
    if value[:3] == b"\xef\xbb\xbf":
        raise Refused("bom")
    try:
        text = str(value, "utf-8", "strict")
    except UnicodeDecodeError:
        raise Refused("encoding") from None
    if depth(text) > 32:
        raise Refused("nesting")
    found: set[str] = set()

    def integer(digits: str) -> int:
        if len(digits.lstrip("-")) > 19:
            found.add("number_range")
            return 0
        return int(digits)

    def real(digits: str) -> float:
        if float(digits) in (float("inf"), float("-inf")):
            found.add("nonfinite")
        return float(digits)

    def constant(_: str) -> None:
        found.add("nonfinite")

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        if len({key for key, _ in items}) < len(items):
            found.add("duplicate_key")
        return Pairs(items)

    try:
        message = json.loads(
            text, object_pairs_hook=pairs, parse_int=integer, parse_float=real, parse_constant=constant
        )
    except ValueError:
        raise Refused("syntax") from None
    if has_surrogate(message):
        found.add("encoding")
    for reason in ("encoding", "duplicate_key", "nonfinite", "number_range"):
        if reason in found:
            raise Refused(reason)
    if not isinstance(message, dict):
        raise Refused("not_object")
    return message


class Pairs(dict[str, object]):
    """An object that still knows the values a repeated key hid."""

    def __init__(self, items: list[tuple[str, object]]) -> None:
        super().__init__(items)
        self.all = items


def has_surrogate(item: object) -> bool:
    if isinstance(item, str):
        return any("\ud800" <= character <= "\udfff" for character in item)
    if isinstance(item, Pairs):
        return any(has_surrogate(key) or has_surrogate(value) for key, value in item.all)
    return isinstance(item, list) and any(map(has_surrogate, item))


def depth(text: str) -> int:
    deepest = level = 0
    inside = escaped = False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            level += 1
            deepest = max(deepest, level)
        elif character in "]}":
            level -= 1
    return deepest


# -------------------------------------------------------------------------------------------------------------- fields
def read(message: dict[str, object], now: float, tenants: list[str], clipped: set[str]) -> dict[str, object]:
    is_transcript = bool(tenants)
    schema = needed(message, "schema")
    if isinstance(schema, bool) or not isinstance(schema, int):
        raise Refused("schema_type")
    if schema != 1:
        raise Refused("schema_version")
    if sorted(message) == ["erase", "id", "schema"] and message["erase"] is True:
        return {"erased": identifier(message["id"])}
    if is_transcript and "final" in message:
        if not isinstance(message["final"], bool):
            raise Refused("final_type")
        if not message["final"]:
            return {"partial": True}
    fields: dict[str, object] = {
        "id": identifier(needed(message, "id")),
        "ts": moment(needed(message, "ts"), now, clipped),
    }
    for name in tenants:
        fields[name] = tenant(name, needed(message, name))
    fields["text"] = prose(needed(message, "text"), clipped)
    if is_transcript:
        for name, longest in LABELS.items():
            fields[name] = label(name, message.get(name), longest, clipped)
        fields["attributes"] = attributes(message.get("attributes", {}), clipped)
        fields["confidence"] = confidence(message.get("confidence", 0.5), clipped)
        if "confidence" not in message:
            fields["confidence"] = None
        return fields
    revision = message.get("revision", 1)
    if isinstance(revision, bool) or not isinstance(revision, int):
        raise Refused("revision_type")
    if revision < 0 or revision > 2147483647:
        raise Refused("revision_range")
    if message.get("source", "sampled") not in ["sampled", "organic", "flagged"]:
        raise Refused("source_value")
    annotator = message.get("annotator")
    if isinstance(annotator, str) and len(annotator) > 128:
        raise Refused("annotator_length")
    return {
        **fields,
        "revision": revision,
        "source": message.get("source", "sampled"),
        "annotator": label("annotator", annotator, 128, clipped),
    }


def needed(message: dict[str, object], name: str) -> object:
    if name not in message:
        raise Refused(f"missing_{name}")
    return message[name]


def identifier(value: object) -> str:
    if not isinstance(value, str):
        raise Refused("id_type")
    if len(value) < 1 or len(value) > 128:
        raise Refused("id_length")
    for character in value:
        if character.isspace() or unicodedata.category(character)[0] in "CZ":
            raise Refused("id_chars")
    return value


def moment(value: object, now: float, clipped: set[str]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise Refused("ts_type")
    at = value / 1000 if isinstance(value, int) else timestamp(value, clipped)
    if at > now + 24 * 3600:
        raise Refused("ts_future")
    if at < now - 400 * 24 * 3600:
        raise Refused("ts_too_old")
    if at >= now + 5 * 60:
        clipped.add("ts")
        return now
    return at


def timestamp(value: str, clipped: set[str]) -> float:
    shape = r"(\d{4})-(\d\d)-(\d\d)[tT](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([zZ])|([+-])(\d\d):(\d\d))"
    match = re.fullmatch(shape, value, re.ASCII)
    if match is None:
        raise Refused("ts_format")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if second == 60:
        clipped.add("ts")
        second = 59
    ahead = 0
    if match[8] is None:
        if int(match[10]) > 23 or int(match[11]) > 59:
            raise Refused("ts_format")
        ahead = (int(match[10]) * 60 + int(match[11])) * (60 if match[9] == "+" else -60)
    right = year >= 1 and 1 <= month <= 12 and hour <= 23 and minute <= 59 and second <= 59
    if not right or not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise Refused("ts_format")
    fraction = float("0." + match[7][:6]) if match[7] else 0.0
    return calendar.timegm((year, month, day, hour, minute, second)) - ahead + fraction


def tenant(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise Refused(f"{name}_type")
    if len(value) < 1 or len(value) > 63:
        raise Refused(f"{name}_length")
    if re.match(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z", value) is None:
        raise Refused(f"{name}_chars")
    return value


def prose(value: object, clipped: set[str]) -> str:
    if not isinstance(value, str):
        raise Refused("text_type")
    clean = "".join(
        " " if unicodedata.category(character) == "Cc" and character not in "\t\n\r" else character
        for character in value
    )
    if len(value) > 200_000 or len(clean.split()) > 20_000:
        raise Refused("too_long")
    if clean != value:
        clipped.add("text")
    return clean


def label(name: str, value: object, longest: int, clipped: set[str], says: str = "") -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refused(f"{name}_type")
    if value.strip() == "":
        return None
    clean = "".join(character for character in value if unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp"))
    if clean[:longest] != value:
        clipped.add(says or name)
    return clean[:longest] if clean[:longest].strip() else None


def attributes(value: object, clipped: set[str]) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Refused("attributes_type")
    kept: dict[str, str] = {}
    for key, entry in value.items():
        if not isinstance(entry, str) or not re.match(r"[a-z][a-z0-9_]{0,31}\Z", key) or key in RESERVED:
            clipped.add("attributes")
        elif len(kept) < 16:
            clean = label(key, entry, 64, clipped, "attributes")
            if clean is not None:
                kept[key] = clean
        elif entry.strip():
            clipped.add("attributes")
    return kept


def confidence(value: object, clipped: set[str]) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused("confidence_type")
    if not 0 <= value <= 1:
        clipped.add("confidence")
        return None
    return float(value)
