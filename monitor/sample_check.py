"""Decides what a sample of somebody's messages would become, field by field, before anything is started.

Unlike everything else here it shows texts: the sample is the user's own file, and the terminal is theirs.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from monitor.adapters import wire
from monitor.adapters.instants import instant
from monitor.adapters.jsonl import InputUnreadable
from monitor.config import ConfigError, InputKind, Settings
from monitor.core.records import Kind, Partial, Reason, Record, Rejected, Tombstone, Transcript
from monitor.decoders import decoder_for, mapping_for, mapping_name
from monitor.expressions import FAILED, NO_ENVELOPE, Envelope
from monitor.settings_mapping import INPUT_NAMES, REQUIRED, Topics
from monitor.settings_source import Problem

SAMPLE_BYTES_MAX = 1 << 24
MESSAGES_MAX = 100
"""Whoever looks at a sample reads a few messages; more would scroll away what matters, the counts at the end."""
SHOWN_CHARACTERS_MAX = 100

_TS_NAME = "ts"
_BARE_WORD = re.compile(r"[A-Za-z0-9_-]+")


class SampleMessage(Record, frozen=True):
    """What one message became.

    record   the contract's fields as they were read; empty if the message was rejected
    found    what each rule of the mapping found, as far as it found something; empty without a mapping
    missing  rules that found nothing -> the expressions that were tried
    """

    number: int
    outcome: str
    """accepted, clipped, partial, erasure or rejected."""
    reason: str | None
    clipped: tuple[str, ...]
    record: dict[str, object]
    found: dict[str, object]
    by: dict[str, str]
    """Field -> the expression that found it."""
    missing: dict[str, str]
    failed: tuple[str, ...]
    """Those of `missing` whose expression could not be evaluated."""


class SampleReport(Record, frozen=True):
    """What a sample became."""

    sample: str
    kind: str
    topic: str | None
    mapping: str | None
    """Where the mapping is configured; None: the contract's own JSON."""
    messages: tuple[SampleMessage, ...]
    left_out: int
    """Messages beyond the first MESSAGES_MAX."""

    @property
    def ok(self) -> bool:
        return all(message.outcome != "rejected" for message in self.messages)


def check_sample(
    settings: Settings, sample: Path, *, topic: str | None = None, kind: Kind | None = None, now: float
) -> SampleReport:
    """What the messages of a file become: JSON Lines, one JSON document, or one array of messages.

    A message that needs its record's key or headers is written as
    `{"$key": "...", "$headers": {"name": "..."}, "$value": {...}}`. `now` judges ages (seconds). Raises ConfigError for
    a topic that is not configured, InputUnreadable for a file.
    """
    kind = _kind(settings, topic, kind)
    if settings.input.kind is InputKind.KAFKA and len(settings.input.paths(kind)) == 1:
        topic = settings.input.paths(kind)[0]
    decode = decoder_for(settings, kind, topic)
    mapping = mapping_for(settings, kind, topic)
    name = mapping_name(settings, kind, topic)
    values = _messages(sample)
    checked = []
    for number, value in enumerate(values[:MESSAGES_MAX], 1):
        content, envelope = _opened(value, topic)
        decoded = decode(content, envelope.key, envelope.headers, now)
        found = mapping.trace(content, envelope) if mapping is not None and content is not None else []
        checked.append(_described(number, _allowed(decoded, settings), found))
    return SampleReport(
        sample=str(sample),
        kind=INPUT_NAMES[kind],
        topic=topic,
        mapping=None if name is None else f"input.mapping.{name}",
        messages=tuple(checked),
        left_out=max(0, len(values) - MESSAGES_MAX),
    )


def _kind(settings: Settings, topic: str | None, kind: Kind | None) -> Kind:
    if topic is None:
        return kind or Kind.TRANSCRIPT
    topics = Topics(settings.input.transcripts, settings.input.references)
    found = topics.kind_of(topic) if settings.input.kind is InputKind.KAFKA else None
    if found is None or kind not in (None, found):
        known = ", ".join((*topics.transcripts, *topics.references)) if settings.input.kind is InputKind.KAFKA else ""
        want = f"one of {known}" if known else "nothing: input.kind is not kafka"
        raise ConfigError(
            [Problem(path="--topic", got=f'"{topic}"', want=want if found is None else f"--kind {found}s")]
        )
    return found


# ------------------------------------------------------------------------------------------------------------- reading
class _SampleRecord(msgspec.Struct):
    """A message with what a topic's record has beside it."""

    value: msgspec.Raw = msgspec.field(name="$value")
    key: str | None = msgspec.field(name="$key", default=None)
    headers: dict[str, str] = msgspec.field(name="$headers", default_factory=dict)


def _messages(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            content = file.read(SAMPLE_BYTES_MAX + 1)
    except OSError as failure:
        raise InputUnreadable(path, failure.strerror or type(failure).__name__) from None
    if len(content) > SAMPLE_BYTES_MAX:
        raise InputUnreadable(path, "more than 16 MiB: a sample of a few messages is enough")
    found = _document(content.strip()) or [line for line in content.splitlines() if line.strip()]
    if not found:
        raise InputUnreadable(path, "no message in it")
    return found


def _document(content: bytes) -> list[bytes]:
    """The messages of one JSON document over several lines; none if it is no such document."""
    if content[:1] == b"{":
        try:
            msgspec.json.decode(content)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return []
        return [content]
    try:
        return [bytes(item) for item in msgspec.json.decode(content, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []


def _opened(value: bytes, topic: str | None) -> tuple[bytes | None, Envelope]:
    if b'"$value"' in value:
        try:
            record = msgspec.json.decode(value, type=_SampleRecord)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return value, NO_ENVELOPE._replace(topic=topic)
        content = bytes(record.value)
        key = None if record.key is None else record.key.encode()
        headers = [(name, text.encode()) for name, text in record.headers.items()]
        return None if content == b"null" else content, Envelope(key, headers, topic)
    return value, NO_ENVELOPE._replace(topic=topic)


# ---------------------------------------------------------------------------------------------------------- describing
def _allowed(decoded: wire.Decoded, settings: Settings) -> wire.Decoded:
    """What the agent says of customers whom it does not watch."""
    record, allow = decoded.record, settings.tenants.allow
    if isinstance(record, Transcript) and allow and record.customer not in allow:
        return wire.Decoded(Rejected(reason=Reason("tenant_not_allowed"), digest=record.digest))
    return decoded


def _described(number: int, decoded: wire.Decoded, traced: list[wire.Found]) -> SampleMessage:
    outcome, reason = "clipped" if decoded.clipped else "accepted", None
    fields: dict[str, object] = {}
    match decoded.record:
        case Rejected(reason=why):
            outcome, reason = "rejected", why
        case Partial():
            outcome = "partial"
        case Tombstone(id=id_):
            outcome, fields["id"] = "erasure", id_
        case record:
            fields.update(_fields(record))
    return SampleMessage(
        number=number,
        outcome=outcome,
        reason=reason,
        clipped=decoded.clipped,
        record=fields,
        found={one.name: one.value for one in traced if not _nothing(one)},
        by={one.name: one.expression for one in traced if not _nothing(one)},
        missing={one.name: one.expression for one in traced if _nothing(one)},
        failed=tuple(one.name for one in traced if one.value is FAILED),
    )


def _nothing(found: wire.Found) -> bool:
    return found.value is None or found.value is FAILED


def _fields(record: msgspec.Struct) -> Iterator[tuple[str, object]]:
    """The contract's names, in its order, without what is absent."""
    for name, value in msgspec.structs.asdict(record).items():
        if name == "event_at":
            yield _TS_NAME, instant(value)
        elif name == "attributes":
            yield from ((f"attributes.{key}", content) for key, content in value)
        elif name != "digest" and value is not None:
            yield name, value


def as_text(report: SampleReport) -> Iterator[str]:
    """For people."""
    of_topic = f" of topic {report.topic}" if report.topic else ""
    how = f"by {report.mapping}" if report.mapping else "as the contract's own JSON (no input.mapping holds for them)"
    yield f"{report.sample}: {report.kind}{of_topic}, read {how}"
    for message in report.messages:
        yield ""
        yield f"message {message.number}: {_verdict(message)}"
        yield from _table(message, report.kind)
    yield ""
    yield _counts(report)


def _table(message: SampleMessage, kind: str) -> Iterator[str]:
    """What was not found first: it is what the reader has to repair."""
    texts = {name: _shown(value) for name, value in (message.record or message.found).items()}
    required = REQUIRED[next(one for one, called in INPUT_NAMES.items() if called == kind)]
    missing = {
        name: "(could not be evaluated)" if name in message.failed else "(nothing)"
        for name in message.missing
        if message.outcome == "rejected" and name in (*required, *message.failed)  # others are no news
    }
    width = max((len(name) for name in (*texts, *missing)), default=0)
    texts_width = min(40, max((len(text) for text in (*texts.values(), *missing.values())), default=0))
    for name, what in missing.items():
        tried = message.missing[name]
        hint = f"""; for a constant write "'{tried}'\"""" if _BARE_WORD.fullmatch(tried) else ""
        yield f"  {name:{width}}  {what:{texts_width}}  <- {tried}{hint}"
    for name, text in texts.items():
        by = f"  <- {message.by[name]}" if name in message.by else ""
        yield f"  {name:{width}}  {text:{texts_width}}{by}".rstrip()


def _verdict(message: SampleMessage) -> str:
    match message.outcome:
        case "rejected":
            return f"rejected, {message.reason}"
        case "clipped":
            return f"taken, but for what was changed in {', '.join(message.clipped)}"
        case "partial":
            return "a partial result: counted, not scored"
        case "erasure":
            return "erases an utterance"
        case _:
            return "taken"


def _shown(value: object) -> str:
    """On one line, and nothing that a terminal would obey."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if not text.isprintable():
        text = json.dumps(text)
    if len(text) > SHOWN_CHARACTERS_MAX:
        return f"{text[:SHOWN_CHARACTERS_MAX]}... ({len(text):,} characters)"
    return text


def _counts(report: SampleReport) -> str:
    counted = Counter(message.outcome for message in report.messages)
    order = ("accepted", "clipped", "partial", "erasure", "rejected")
    counts = ", ".join(f"{counted[outcome]} {outcome}" for outcome in order if counted[outcome])
    left_out = f" ({report.left_out} more in the file)" if report.left_out else ""
    number = len(report.messages)
    return f"{number} message{'s' * (number != 1)}{left_out}: {counts}"
