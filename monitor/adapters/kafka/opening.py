"""Decides that a client of kafka-python which cannot connect leaves nothing behind.

Its constructors start a thread of input and output, and give no way to stop it when they raise: an outage in which we
try again each second would leave thousands of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from kafka import errors
from kafka.net.compat import KafkaNetClient

Client = TypeVar("Client")


def opened(kind: Callable[..., Client], options: Mapping[str, object]) -> Client:
    """A KafkaConsumer, KafkaProducer or KafkaAdminClient. Raises what their constructors raise."""
    made: list[KafkaNetClient] = []

    def net_client(**configuration: object) -> KafkaNetClient:
        made.append(KafkaNetClient(**configuration))
        return made[-1]

    try:
        return kind(**{**options, "kafka_client": net_client})
    except errors.KafkaError:
        for each in made:
            each.close()
        raise
