"""Decides what a member does when the log is not as expected: records deleted, truncated, undecodable, or silent.

librdkafka tells of a batch that it cannot decode by an error among the records, and reads on behind it. Of records that
are damaged under a right CRC it tells nothing, and asks for them again and again: so a partition that stands still
while its end is further on is looked into.
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError

from monitor.adapters.kafka import fast, poison
from monitor.adapters.kafka.fast_inquiries import FastInquiries, Seen
from monitor.adapters.kafka.fast_partitions import FIRST, Partitions
from monitor.adapters.kafka.fast_probe import FastProbe
from monitor.adapters.kafka.port import LogProblem, LogRefused, LogUnreachable, Partition

STILL_LOOKS = 3
"""Looks at which a partition has not moved although its end is further on, until that is looked into. At half, a busy
member looks into partitions that it only has not come to; at double, damage in silence costs half a minute."""


class Trouble:
    """What went wrong with the partitions of one member, until somebody asks."""

    def __init__(self, options: fast.Options, inquiries: FastInquiries, about: str, topics: Sequence[str]) -> None:
        """`options`: of the member, for probes. `about`: who it is, for messages."""
        self.refused: LogRefused | None = None
        """Why reading on is of no use."""
        self._options = options
        self._inquiries = inquiries
        self._about = about
        self._topics = frozenset(topics)
        self._problems: list[LogProblem] = []
        self._failures = poison.Failures()
        self._still: dict[Partition, tuple[int, int]] = {}
        self._identities: dict[str, str] = {}

    def problems(self) -> list[LogProblem]:
        """What went wrong since the last call."""
        problems, self._problems = self._problems, []
        return problems

    def verdict(self, what: str, error: KafkaError) -> LogRefused | LogUnreachable:
        return fast.refusal(error, self._about) or fast.unreachable(what, self._options, error)

    def refuse_if_final(self, error: KafkaError) -> None:
        """Also librdkafka's `error_cb`."""
        if self.refused is None:
            self.refused = fast.refusal(error, self._about)
        if self.refused is None and (error.fatal() or error.code() == KafkaError._FATAL):
            self.refused = LogRefused(f"{self._about}: the client gave up for good ({error.name()})")

    def compare_identity(self, topic: str, identity: str) -> None:
        """The broker says that this is the topic's identity now."""
        if topic in self._topics and self._identities.setdefault(topic, identity) != identity:
            self.refused = LogRefused(f"{topic} was deleted and re-created while it was read: start from a new state")

    def went_well(self, partition: Partition) -> None:
        """Records of it came, or it is not what it was: it came or went."""
        if self._failures:
            self._failures.succeeded(partition)
        if self._still:
            self._still.pop(partition, None)

    # ------------------------------------------------------------------------------------------- an error at a position
    def sort_out(
        self, partitions: Partitions, partition: Partition, position: int, offset: int, error: KafkaError
    ) -> bool:
        """An error came when everything before `position` had come; it says that it is about `offset`. Whether the
        partition is read from elsewhere now, so that what was fetched behind the error is not wanted.
        """
        code = error.code()
        if code == KafkaError._AUTO_OFFSET_RESET:
            self._out_of_range(partitions, partition, position, error)
        elif code in fast.UNDECODABLE:
            failed_at = max(position, offset)
            if self._failures.failed(partition, failed_at):
                self._search(partitions, partition, failed_at)
            else:
                partitions.go_to(partition, failed_at)
        else:
            self._still.pop(partition, None)  # it was told why nothing comes
            self.refuse_if_final(error)
            return False
        return True

    def skip(self, partition: Partition, offset: int, lost: int) -> None:
        """These offsets cannot be decoded. One problem tells all that lie side by side."""
        if self._problems:
            last = self._problems[-1]
            if (last.partition, last.problem, last.position + last.lost) == (partition, "poison", offset):
                self._problems[-1] = last._replace(lost=last.lost + lost)
                return
        self._problems.append(LogProblem(partition, "poison", offset, lost))

    def look_for_silence(self, partitions: Partitions, seen: Seen) -> None:
        """Look into what stands still."""
        for partition, end in seen.ends.items():
            if not partitions.reading(partition) or partitions.positions[partition] >= end:
                self._still.pop(partition, None)
                continue
            position = partitions.positions[partition]
            before, looks = self._still.get(partition, (position, 0))
            looks = looks + 1 if before == position else 1
            self._still[partition] = (position, looks)
            if looks > STILL_LOOKS:
                del self._still[partition]
                self._search(partitions, partition, position)

    # ---------------------------------------------------------------------------------------------------------- private
    def _out_of_range(self, partitions: Partitions, partition: Partition, position: int, error: KafkaError) -> None:
        """Records were deleted before we read them: count exactly which. Or the log is shorter than what we read."""
        try:
            beginning = self._inquiries.offsets([partition], first=True)[partition]
            end = self._inquiries.offsets([partition], first=False)[partition]
        except LogUnreachable:
            partitions.go_to(partition, position)  # and be told again
            return
        if position == FIRST:
            partitions.go_to(partition, position)
        elif position < beginning:
            self._problems.append(LogProblem(partition, "retention", position, beginning - position))
            partitions.go_to(partition, beginning)
        elif position > end or "Offset out of range" not in error.str():
            # If in range and yet refused: the leader's epoch shows that other records stand there now.
            self.refused = LogRefused(
                f"{partition} ends before offset {position}, up to which it was read: it was truncated, or the topic "
                "was deleted and created again. Counts made from it cannot be trusted to match; start from a new state "
                "to read it anew"
            )
        else:
            partitions.go_to(partition, position)

    def _search(self, partitions: Partitions, partition: Partition, offset: int) -> None:
        """Find out where it can be read again, and tell what is skipped."""
        try:
            if offset == FIRST:
                offset = self._inquiries.offsets([partition], first=True)[partition]
            end = self._inquiries.offsets([partition], first=False)[partition]
            with FastProbe(self._options, partition, bad_from=offset) as probe:
                good = offset if probe.readable(offset) else poison.find_end(offset, probe.readable, end)
        except LogUnreachable:
            good = offset  # the search begins again after the next failure
        if good > offset:
            self.skip(partition, offset, good - offset)
            self._failures.succeeded(partition)
        partitions.go_to(partition, good)
