"""Decides which decoder reads which topic or file: the contract's own, or the mapping that is configured for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from monitor.adapters import wire
from monitor.config import ConfigError, InputKind, Settings
from monitor.core.records import Kind
from monitor.expressions import Headers
from monitor.settings_mapping import INPUT_NAMES, PER_SECOND, entry_for
from monitor.settings_source import Problem

Decoder: TypeAlias = Callable[[bytes | None, bytes | None, Headers, float], wire.Decoded]
"""Of a record's value, key, headers and the moment by which ages are judged."""

EventTimes: TypeAlias = Callable[[Kind, bytes], float | None]
Kinds: TypeAlias = Callable[[bytes], Kind]


def decoder_for(settings: Settings, kind: Kind, topic: str | None) -> Decoder:
    """The decoder of a topic's records, or of a line that came without a topic (from a file or standard input).

    Compiles expressions: to be called once for each topic. What it returns is for one thread.
    """
    mapping = mapping_for(settings, kind, topic)
    if mapping is not None:
        return lambda value, key, headers, now: wire.decode_mapped(mapping, value, key, headers, topic, now)
    decode = wire.decode_transcript if kind is Kind.TRANSCRIPT else wire.decode_reference
    return lambda value, key, _headers, now: decode(value, key, now)


def event_times(settings: Settings) -> EventTimes:
    """The event time that a line of a file states, by which archives are sorted."""
    readers = {kind: _event_time_reader(settings, kind) for kind in Kind}
    return lambda kind, value: readers[kind](value)


def _event_time_reader(settings: Settings, kind: Kind) -> Callable[[bytes], float | None]:
    mapping = mapping_for(settings, kind, None)
    return wire.event_time if mapping is None else wire.event_time_of(mapping)


def kinds(settings: Settings) -> Kinds:
    """Which kind a line of standard input is: a transcript if it names a customer, mapped or not.

    Raises ConfigError if the mapping of transcripts has the customer from elsewhere than the message.
    """
    mapping = mapping_for(settings, Kind.TRANSCRIPT, None)
    if mapping is None:
        return wire.kind_of
    if not mapping.tells_kind:
        want = "an expression over the message: on standard input, what names a customer is a transcript"
        location = f"input.mapping.{INPUT_NAMES[Kind.TRANSCRIPT]}.customer"
        raise ConfigError([Problem(path=location, got="a constant, key or header", want=want)])
    return lambda value: Kind.TRANSCRIPT if mapping.names_customer(value) else Kind.REFERENCE


def mapped_topics(settings: Settings) -> frozenset[str]:
    """Topics whose messages are not the contract's own."""
    return frozenset(
        topic
        for kind in Kind
        for topic in settings.input.paths(kind)
        if mapping_name(settings, kind, topic) is not None
    )


def mapping_for(settings: Settings, kind: Kind, topic: str | None) -> wire.MessageMapping | None:
    """The mapping that holds, compiled; None for the contract's own JSON."""
    name = mapping_name(settings, kind, topic)
    if name is None:
        return None
    configured = settings.input.mapping[name]
    return wire.MessageMapping(
        kind,
        configured.rules,
        ts_per_second=PER_SECOND[configured.ts_unit],
        offset_per_second=PER_SECOND[configured.ts_offset_unit],
    )


def mapping_name(settings: Settings, kind: Kind, topic: str | None) -> str | None:
    """The entry of `input.mapping` that holds."""
    topics = settings.input.paths(kind) if settings.input.kind is InputKind.KAFKA else ()
    return entry_for(settings.input.mapping, kind, topic, topics)
