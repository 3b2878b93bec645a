"""Decides how a process becomes a member: connections, groups, and the topics that it writes to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

from monitor.adapters.kafka.connection import (
    Connection,
    Options,
    check_reachable,
    client_options,
    librdkafka_options,
    read_connection,
)
from monitor.adapters.kafka.consumer import KafkaLogConsumer
from monitor.adapters.kafka.port import LogConsumer, LogProducer, LogRefused, LogUnreachable
from monitor.adapters.kafka.producer import KafkaLogProducer
from monitor.config import ConfigError, KafkaClient, Settings
from monitor.settings_source import Problem
from monitor.topics.whole_input import TopicInput


def open_topic_input(settings: Settings) -> TopicInput:
    """Every partition of the input topics, for one process with all stages. Raises LogRefused, LogUnreachable."""
    transcripts, references = settings.input.transcripts, settings.input.references
    return TopicInput(open_consumer(settings, "", (*transcripts, *references)), transcripts, references)


def open_consumer(settings: Settings, role: str, topics: Sequence[str]) -> LogConsumer:
    """A member of the group of one role (`route`, `score`, `decide`), or of the process that has them all.

    Raises LogRefused and LogUnreachable in one clear sentence: whoever starts an agent is told at once.
    """
    library = _library(settings)
    connection = read_connection(settings.kafka)
    check_reachable(connection)
    group = f"{settings.kafka.group}-{role}" if role else settings.kafka.group
    consumer = library.consumer(
        library.options(connection),
        group=group,
        topics=topics,
        client_id=_client_id(role),
        group_instance_id=settings.kafka.instance,
        session_timeout_seconds=settings.kafka.session_timeout_seconds,
    )
    try:
        for topic in topics:  # one that is not there would be waited for, in silence
            consumer.facts(topic)
    except (LogRefused, LogUnreachable):
        consumer.close()
        raise
    return consumer


def open_producer(settings: Settings) -> LogProducer:
    """For the topics between stages. Raises LogRefused, LogUnreachable."""
    library = _library(settings)
    connection = read_connection(settings.kafka)
    check_reachable(connection)
    return library.producer(library.options(connection), client_id=_client_id("producer"))


class Connections(NamedTuple):
    """How a process of some stages becomes a member, and what it writes with."""

    consumer: Callable[[Settings, str, Sequence[str]], LogConsumer]
    producer: Callable[[Settings], LogProducer]


KAFKA = Connections(open_consumer, open_producer)


class _Library(NamedTuple):
    """A client library: what reads with it, what writes, and how these are told to connect."""

    consumer: Callable[..., LogConsumer]
    producer: Callable[..., LogProducer]
    options: Callable[[Connection], Options]


def _library(settings: Settings) -> _Library:
    """The one that is chosen. Raises ConfigError if it is not installed: confluent-kafka is an extra."""
    if settings.kafka.client is KafkaClient.KAFKA_PYTHON:
        return _Library(KafkaLogConsumer, KafkaLogProducer, client_options)
    try:
        from monitor.adapters.kafka.fast_consumer import FastLogConsumer
        from monitor.adapters.kafka.fast_producer import FastLogProducer
    except ImportError:
        want = "the extra: pip install 'wervane[fast]'"
        raise ConfigError([Problem(path="kafka.client", got="confluent", want=want)]) from None
    return _Library(FastLogConsumer, FastLogProducer, librdkafka_options)


def _client_id(role: str) -> str:
    """What Kafka's own tools show of us: which process on which machine holds a partition."""
    return f"wervane-{role or 'agent'}-{socket.gethostname()}-{os.getpid()}"
