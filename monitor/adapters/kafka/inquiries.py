"""Decides what is known about a topic beyond its records: its identity, partitions and largest batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar
from uuid import UUID

from kafka import KafkaAdminClient, errors
from kafka.admin import ConfigResource, ConfigResourceType

from monitor.adapters.kafka.opening import opened
from monitor.adapters.kafka.port import LogRefused, TopicFacts
from monitor.adapters.kafka.verdicts import refusal, unreachable

BATCH_BYTES_MAX_DEFAULT = 1_048_588
"""Kafka's own default of max.message.bytes; used where we may not read the topic's configuration."""

_PAUSE_SECONDS = 0.1

Answer = TypeVar("Answer")


class Inquiries:
    """Asks by a connection of its own, made when first needed. One thread at a time."""

    def __init__(self, options: Mapping[str, object], *, ask_seconds: float) -> None:
        self._options = {key: value for key, value in options.items() if key in KafkaAdminClient.DEFAULT_CONFIG}
        self._options |= {
            "request_timeout_ms": round(ask_seconds * 1000),
            "bootstrap_timeout_ms": round(ask_seconds * 1000),
        }
        self._ask_seconds = ask_seconds
        self._admin: KafkaAdminClient | None = None

    def facts(self, topic: str) -> TopicFacts:
        """LogUnreachable; LogRefused if there is no such topic or we may not see it."""
        (described,) = self._ask(topic, lambda admin: admin.describe_topics([topic]))
        error = errors.for_code(described["error_code"])
        if error is errors.UnknownTopicOrPartitionError:
            raise LogRefused(f"{topic}: there is no such topic (wervane topics create makes its own topics)")
        if error is not errors.NoError:
            raise refusal(error(), topic) or unreachable(f"describing {topic}", self._servers, error())
        identity = described["topic_id"]
        return TopicFacts(UUID(str(identity)).hex, len(described["partitions"]))

    def batch_bytes_max(self, topic: str) -> int:
        """The topic's max.message.bytes. LogUnreachable."""
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, ["max.message.bytes"])
        try:
            answer = self._ask(topic, lambda admin: admin.describe_configs([resource], config_filter="all"))
        except LogRefused:
            return BATCH_BYTES_MAX_DEFAULT
        configuration = answer.get("topic", {}).get(topic, {})
        return int(configuration.get("max.message.bytes", {}).get("value", BATCH_BYTES_MAX_DEFAULT))

    def close(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    # ---------------------------------------------------------------------------------------------------------- private
    @property
    def _servers(self) -> object:
        return self._options.get("bootstrap_servers")

    def _ask(self, topic: str, question: Callable[[KafkaAdminClient], Answer]) -> Answer:
        deadline = time.monotonic() + self._ask_seconds
        while True:
            try:
                if self._admin is None:
                    self._admin = opened(KafkaAdminClient, self._options)
                return question(self._admin)
            except errors.KafkaError as error:
                refused = refusal(error, topic)
                if refused is not None:
                    raise refused from None
                if not isinstance(error, errors.RetriableError) or time.monotonic() >= deadline:
                    self.close()
                    raise unreachable(f"asking about {topic}", self._servers, error) from None
            time.sleep(_PAUSE_SECONDS)
