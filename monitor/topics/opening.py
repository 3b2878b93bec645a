"""Decides how a process becomes a member: connections, groups, and the topics that it writes to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

from monitor.adapters.kafka.connection import check_reachable, client_options, read_connection
from monitor.adapters.kafka.consumer import KafkaLogConsumer
from monitor.adapters.kafka.port import LogConsumer, LogProducer, LogRefused, LogUnreachable
from monitor.adapters.kafka.producer import KafkaLogProducer
from monitor.config import Settings
from monitor.topics.whole_input import TopicInput


def open_topic_input(settings: Settings) -> TopicInput:
    """Every partition of the input topics, for one process with all stages. Raises LogRefused, LogUnreachable."""
    transcripts, references = settings.input.transcripts, settings.input.references
    return TopicInput(open_consumer(settings, "", (*transcripts, *references)), transcripts, references)


def open_consumer(settings: Settings, role: str, topics: Sequence[str]) -> LogConsumer:
    """A member of the group of one role (`route`, `score`, `decide`), or of the process that has them all.

    Raises LogRefused and LogUnreachable in one clear sentence: whoever starts an agent is told at once.
    """
    connection = read_connection(settings.kafka)
    check_reachable(connection)
    group = f"{settings.kafka.group}-{role}" if role else settings.kafka.group
    consumer = KafkaLogConsumer(
        client_options(connection),
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
    connection = read_connection(settings.kafka)
    check_reachable(connection)
    return KafkaLogProducer(client_options(connection), client_id=_client_id("producer"))


class Connections(NamedTuple):
    """How a process of some stages becomes a member, and what it writes with."""

    consumer: Callable[[Settings, str, Sequence[str]], LogConsumer]
    producer: Callable[[Settings], LogProducer]


KAFKA = Connections(open_consumer, open_producer)


def _client_id(role: str) -> str:
    """What Kafka's own tools show of us: which process on which machine holds a partition."""
    return f"wervane-{role or 'agent'}-{socket.gethostname()}-{os.getpid()}"
