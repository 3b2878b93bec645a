"""Decides what librdkafka's errors mean, and keeps it silent: what all clients by confluent-kafka have in common.

confluent-kafka is an extra (`pip install 'wervane[fast]'`): importing this module without it raises ImportError. What
librdkafka says of an error is never told, as it quotes what it was working on: only the error's name is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException
from kafka import errors

from monitor.adapters.kafka import verdicts
from monitor.adapters.kafka.port import LogRefused, LogUnreachable

Options = Mapping[str, object]
"""Properties of librdkafka."""


class Record(NamedTuple):
    """One record, taken out of librdkafka's memory: a `LogRecord`."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] | tuple[()]


def silent(options: Options, **callbacks: Callable[..., None]) -> dict[str, object]:
    """What to make a client of, so that nothing is written to stderr or to anybody's log."""
    return {**options, **callbacks, "log_level": 0, "log.connection.close": False}


def nobody() -> logging.Logger:
    """Where librdkafka's log goes. It bypasses Python and writes to stderr unless it is given a logger."""
    logger = logging.Logger("librdkafka", logging.CRITICAL + 1)
    logger.addHandler(logging.NullHandler())
    return logger


def reason(failure: KafkaException) -> KafkaError:
    """What an exception is about."""
    error = failure.args[0]
    assert isinstance(error, KafkaError)
    return error


def refusal(error: KafkaError, about: str) -> LogRefused | None:
    """The error as a refusal, if trying again cannot help. `about`: topics or group, for the message."""
    code = error.code()
    if code in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
        return verdicts.refusal(errors.SaslAuthenticationFailedError(), about)
    if code == KafkaError._UNSUPPORTED_FEATURE:
        return verdicts.refusal(errors.UnsupportedVersionError(), about)
    if code == KafkaError._FATAL and "group.instance.id" in error.str():
        code = KafkaError.FENCED_INSTANCE_ID  # which is told to a commit, but to an idle member only in words
    # The brokers' own codes are the same for every client.
    return verdicts.refusal(errors.for_code(code)(), about) if code > 0 else None


def unreachable(what: str, options: Options, error: KafkaError | None = None) -> LogUnreachable:
    """`what` could not be done."""
    kind = f" ({error.name().lstrip('_')})" if error is not None else ""
    servers = options.get("bootstrap.servers")
    return LogUnreachable(
        f"{what}: no answer from {servers}{kind}; check address, port, network and that a broker runs"
    )


def unfit(options: Options, failure: KafkaException) -> LogRefused:
    """No client can be made of these options."""
    return LogRefused(
        f"{options.get('bootstrap.servers')}: librdkafka does not take the configuration ({reason(failure).name()}); "
        "check kafka.security, or set kafka.client: kafka-python"
    )


def no_such_topic(topic: str) -> LogRefused:
    return LogRefused(f"{topic}: there is no such topic (wervane topics create makes its own topics)")


def close(client: Consumer, wait_seconds: float) -> None:
    """Leave its group, and wait for that at most so long. By itself librdkafka waits for brokers: for their answer to
    leaving 5 s, to a commit for ever. What is left behind goes on with it, and ends with the process.
    """
    # The thread keeps the client: to drop it here would be to wait as long.
    leaving = threading.Thread(target=_leave, args=(client,), name="leaving", daemon=True)
    leaving.start()
    leaving.join(wait_seconds)


def _leave(client: Consumer) -> None:
    with suppress(KafkaException):
        client.close()


UNDECODABLE = frozenset(
    {
        KafkaError._BAD_MSG,  # a bad CRC
        KafkaError._BAD_COMPRESSION,
        KafkaError._NOT_IMPLEMENTED,  # an unknown codec or format
        KafkaError._CRIT_SYS_RESOURCE,  # no memory for what it would expand to
        KafkaError.INVALID_MSG,  # the broker itself says that its log is damaged there
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
"""What librdkafka says of a batch that it cannot read. Of one whose records are damaged under the right CRC it says
nothing, and asks for it again and again: see `fast_consumer`."""
