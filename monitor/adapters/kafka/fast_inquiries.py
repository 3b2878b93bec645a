"""Decides what is known about topics beyond their records, by confluent-kafka: identity, partitions, offsets, size.

What `poll` wants to know is asked without waiting (`look`, then `seen`); every other question waits for its answer.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Unanswered
from typing import NamedTuple, TypeVar, cast

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are its public names all the same
    AdminClient,
    ConfigEntry,
    ConfigResource,
    ListOffsetsResultInfo,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from monitor.adapters.kafka import fast
from monitor.adapters.kafka.inquiries import BATCH_BYTES_MAX_DEFAULT
from monitor.adapters.kafka.port import LogRefused, LogUnreachable, Partition, TopicFacts

_PAUSE_SECONDS = 0.1
_GRACE_SECONDS = 1.0
"""How much later than asked librdkafka may say that nobody answered."""

_UNKNOWN = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)

Answer = TypeVar("Answer")


class Seen(NamedTuple):
    """What a look found; what it could not find is left out."""

    identities: Mapping[str, str]
    ends: Mapping[Partition, int]


class FastInquiries:
    """Asks by a client of its own, made when first needed. One thread at a time."""

    def __init__(self, options: fast.Options, *, ask_seconds: float) -> None:
        self._options = options
        self._ask_seconds = ask_seconds
        self._admin: AdminClient | None = None
        self._described: list[Future[TopicDescription]] = []
        self._listed: dict[Partition, Future[ListOffsetsResultInfo]] = {}
        self._denied: KafkaError | None = None
        self.answered_at: float | None = None
        """Monotonic time of the last answer from a broker."""

    def facts(self, topic: str) -> TopicFacts:
        """LogUnreachable; LogRefused if there is no such topic or we may not see it."""
        (described,) = self._ask(topic, lambda client: self._describe(client, [topic]))
        return TopicFacts(_hexadecimal(described.topic_id), len(described.partitions))

    def batch_bytes_max(self, topic: str) -> int:
        """The topic's max.message.bytes, or Kafka's default if we may not know. LogUnreachable; LogRefused if there is
        no such topic.
        """
        resource = ConfigResource(ResourceType.TOPIC, topic)

        def configuration(client: AdminClient) -> list[Future[dict[str, ConfigEntry]]]:
            return list(client.describe_configs([resource], request_timeout=self._ask_seconds).values())

        try:
            (entries,) = self._ask(topic, configuration)
        except LogRefused:
            self.facts(topic)  # raises if that is why
            return BATCH_BYTES_MAX_DEFAULT
        entry = entries.get("max.message.bytes")
        return BATCH_BYTES_MAX_DEFAULT if entry is None or entry.value is None else int(entry.value)

    def offsets(self, partitions: Sequence[Partition], *, first: bool) -> dict[Partition, int]:
        """Of each the first offset that is still there, or the one after its last stable record. LogUnreachable."""
        if not partitions:
            return {}
        about = ", ".join(sorted({partition.topic for partition in partitions}))

        def listed(client: AdminClient) -> list[Future[ListOffsetsResultInfo]]:
            asked = self._list(client, partitions, first=first)
            return [asked[partition] for partition in partitions]

        answers = self._ask(about, listed)
        return {partition: answer.offset for partition, answer in zip(partitions, answers, strict=True)}

    # ------------------------------------------------------------------------------------------------- without waiting
    def look(self, topics: Sequence[str], partitions: Sequence[Partition]) -> None:
        """Ask for the identities of topics and the ends of partitions, unless the last answers have not come yet."""
        if self._described:
            return
        client = self._client()
        self._described = self._describe(client, topics)
        self._listed = self._list(client, partitions, first=False) if partitions else {}
        for asked in self._asked():
            asked.add_done_callback(self._heard)

    def seen(self) -> Seen | None:
        """The answers to `look`, once they have all come or failed."""
        if not self._described or not all(asked.done() for asked in self._asked()):
            return None
        described = [future.result() for future in self._described if future.exception() is None]
        listed = {each: future.result() for each, future in self._listed.items() if future.exception() is None}
        self._described, self._listed = [], {}
        return Seen(
            {topic.name: _hexadecimal(topic.topic_id) for topic in described},
            {partition: found.offset for partition, found in listed.items() if _is_answer(found)},
        )

    def close(self) -> None:
        self._described, self._listed = [], {}
        self._admin = None

    # ---------------------------------------------------------------------------------------------------------- private
    def _client(self) -> AdminClient:
        if self._admin is None:
            try:
                options = fast.silent(self._options, error_cb=self._told)
                # Its type knows nothing of callbacks; the client does.
                self._admin = AdminClient(cast("dict[str, str | int | float | bool]", options), logger=fast.nobody())
            except KafkaException as failure:
                raise fast.unfit(self._options, failure) from None
        return self._admin

    def _asked(self) -> list[Future[TopicDescription] | Future[ListOffsetsResultInfo]]:
        return [*self._described, *self._listed.values()]

    def _describe(self, client: AdminClient, topics: Sequence[str]) -> list[Future[TopicDescription]]:
        return list(client.describe_topics(TopicCollection(list(topics)), request_timeout=self._ask_seconds).values())

    def _list(
        self, client: AdminClient, partitions: Sequence[Partition], *, first: bool
    ) -> dict[Partition, Future[ListOffsetsResultInfo]]:
        spec = OffsetSpec.earliest() if first else OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = client.list_offsets(
            {TopicPartition(*partition): spec for partition in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=self._ask_seconds,
        )
        return {Partition(theirs.topic, theirs.partition): future for theirs, future in asked.items()}

    def _ask(self, about: str, question: Callable[[AdminClient], list[Future[Answer]]]) -> list[Answer]:
        """Ask until it is answered: a broker may not know yet who leads. LogUnreachable, LogRefused."""
        deadline = time.monotonic() + self._ask_seconds
        while True:
            try:
                return [self._answer(future) for future in question(self._client())]
            except KafkaException as failure:
                error = fast.reason(failure)
                verdict = self._verdict(about, error)
                passing = error.code() > 0 and isinstance(verdict, LogUnreachable)
                if not passing or time.monotonic() >= deadline:
                    raise verdict from None
            time.sleep(_PAUSE_SECONDS)

    def _answer(self, future: Future[Answer]) -> Answer:
        try:
            answer = future.result(self._ask_seconds + _GRACE_SECONDS)
        except Unanswered:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
        if not _is_answer(answer):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        self.answered_at = time.monotonic()
        return answer

    def _verdict(self, about: str, error: KafkaError) -> LogRefused | LogUnreachable:
        self._denied = None
        self._client().poll(0)  # tells why nobody answered
        if error.code() in _UNKNOWN:
            return fast.no_such_topic(about)
        return fast.refusal(self._denied or error, about) or fast.unreachable(
            f"asking about {about}", self._options, error
        )

    def _told(self, error: KafkaError) -> None:
        if fast.refusal(error, "") is not None:
            self._denied = error

    def _heard(self, answer: Future[TopicDescription] | Future[ListOffsetsResultInfo]) -> None:
        """On a thread of librdkafka."""
        if answer.exception() is None and _is_answer(answer.result()):
            self.answered_at = time.monotonic()


def _is_answer(answer: object) -> bool:
    """Whether a broker gave it. If none did in time, confluent-kafka 2.16 gives the offset -1001, and no error."""
    return not isinstance(answer, ListOffsetsResultInfo) or answer.offset >= 0


def _hexadecimal(identity: Uuid) -> str:
    """As kafka-python's identities are written, which states know topics by."""
    return base64.urlsafe_b64decode(f"{identity}==").hex()
