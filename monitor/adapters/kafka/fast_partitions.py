"""Decides from where each partition of a member is read on: what came and went, and every way back to reading.

librdkafka fetches on threads of its own, ahead of us; what it fetched for an old position it drops by itself once it is
told of a new one. So whenever something is in doubt, `go_to` is called with the position that we know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from monitor.adapters.kafka.port import Change, LogRecord, Partition

FIRST = -1
"""Position of a partition that begins with its first record, before that record came."""


class Partitions:
    """Those that are assigned to one member. Its methods `came`, `went` and `lost` are for `Consumer.subscribe`."""

    def __init__(self, kafka: Consumer) -> None:
        self._kafka = kafka
        self.assigned: set[Partition] = set()
        self.positions: dict[Partition, int] = {}
        """Of those that were begun."""
        self.held: set[Partition] = set()
        self.ahead: list[Message] = []
        """Taken out of librdkafka's queue, and not given out yet."""
        self.changes: list[Change] = []

    def reading(self, partition: Partition) -> bool:
        """Whether anything of it is wanted now."""
        return partition in self.positions and partition not in self.held

    def begin(self, partition: Partition, offset: int | None) -> None:
        if partition in self.assigned:  # else it went in the same poll in which it came
            self.held.discard(partition)
            self.go_to(partition, FIRST if offset is None else offset)

    def hold(self, partitions: Iterable[Partition]) -> None:
        held = {partition for partition in partitions if self.reading(partition)}
        self.held |= held
        self._forget(held)
        with suppress(KafkaException):  # on their way to another member
            self._kafka.pause([TopicPartition(*partition) for partition in held])

    def go_on(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            if partition in self.held:
                self.held.discard(partition)
                self.go_to(partition, self.positions[partition])

    def go_to(self, partition: Partition, position: int) -> None:
        """Read on from there, as soon as it is not held."""
        self.positions[partition] = position
        self._forget({partition})
        if partition in self.held:
            return
        mine = TopicPartition(*partition, OFFSET_BEGINNING if position == FIRST else position)
        try:
            # In this order: the other way round librdkafka rests for a second.
            self._kafka.resume([mine])
            self._kafka.seek(mine)
        except KafkaException:
            # Its fetcher has not begun yet, or has stopped because of an error: it has to be made anew.
            with suppress(KafkaException):  # on its way to another member
                self._kafka.incremental_unassign([mine])
                self._kafka.incremental_assign([mine])
                self._kafka.resume([mine])

    def move(self, found: Mapping[Partition, Sequence[LogRecord]], passed: Mapping[Partition, int]) -> None:
        """Records were read; of others it is known how far they were passed over."""
        for partition, records in found.items():
            if records:
                self.positions[partition] = max(self.positions[partition], records[-1].offset + 1)
        for partition, position in passed.items():
            self.positions[partition] = max(self.positions[partition], position)

    # ------------------------------------------------------------------- called by librdkafka, inside consume and close
    def came(self, _: Consumer, theirs: Iterable[TopicPartition]) -> None:
        for partition in _sorted(theirs):
            self.assigned.add(partition)
            self._drop(partition)
            self.changes.append(Change(partition, assigned=True))
            # With a position of ours it begins neither at the committed one nor with an error because there is none.
            mine = TopicPartition(*partition, 0)
            with suppress(KafkaException):  # on its way to another member
                self._kafka.incremental_assign([mine])
                self._kafka.pause([mine])

    def went(self, _: Consumer, theirs: Collection[TopicPartition]) -> None:
        self._leave(theirs, lost=False)

    def lost(self, _: Consumer, theirs: Collection[TopicPartition]) -> None:
        self._leave(theirs, lost=True)

    # ---------------------------------------------------------------------------------------------------------- private
    def _leave(self, theirs: Collection[TopicPartition], *, lost: bool) -> None:
        for partition in _sorted(theirs):
            if partition in self.assigned:
                self.assigned.discard(partition)
                self._drop(partition)
                self.changes.append(Change(partition, assigned=False, lost=lost))
        with suppress(KafkaException):
            self._kafka.incremental_unassign(list(theirs))

    def _drop(self, partition: Partition) -> None:
        self.positions.pop(partition, None)
        self.held.discard(partition)
        self._forget({partition})

    def _forget(self, partitions: set[Partition]) -> None:
        if self.ahead:
            self.ahead = [each for each in self.ahead if (each.topic(), each.partition()) not in partitions]


def _sorted(theirs: Iterable[TopicPartition]) -> list[Partition]:
    return sorted(Partition(each.topic, each.partition) for each in theirs)
