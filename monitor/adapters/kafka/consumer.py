"""Decides how a member of a consumer group reads with kafka-python: where it begins, and what it does when the log, the
group or the network is not as expected.

kafka-python applies assignments only inside `poll`, while our thread waits in it, and calls the listener on a thread of
its own, where nothing may block or raise. So the listener only notes what came and went, and pauses what came; the rest
is done by whoever owns this consumer, after `poll`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition, errors
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from monitor.adapters.kafka import codecs, poison
from monitor.adapters.kafka.inquiries import Inquiries
from monitor.adapters.kafka.opening import opened
from monitor.adapters.kafka.port import Change, LogProblem, LogRecord, LogRefused, LogUnreachable, Partition, TopicFacts
from monitor.adapters.kafka.probe import Probe
from monitor.adapters.kafka.verdicts import refusal, unreachable

READING: Mapping[str, object] = MappingProxyType(
    {
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "fetch_max_bytes": 8 * 1024 * 1024,
        "request_timeout_ms": 10_000,
        "reconnect_backoff_max_ms": 1_000,
        "metadata_max_age_ms": 30_000,
        "metrics_enabled": False,
    }
)
"""What makes reading safe (no silent reset, no commit of what is not durable), bounded in memory, and quick to come
back. metadata_max_age_ms is also how long a re-created topic or an added partition can go unnoticed.
"""

STEP_SECONDS = 0.1
"""kafka-python's poll does not return for an assignment, only for records or time: so it is called in steps. At half,
an idle member takes twice the CPU (0.3 % of a core); at double, a new partition waits twice as long to be begun."""

JOIN_SECONDS_MAX = 3.0
"""How much longer than asked `poll` may take while it joins the group; after that another member is late, perhaps as it
loads its state. At half, a group with such members joins again and again; at double, flushing and committing of what
was read before wait as long."""

LOOK_SECONDS = 1.0
"""Under load, identities are compared this often; that costs nothing but is wanted less often than records."""

PULSE_SECONDS = 5.0
"""An idle member with a name (`group_instance_id`) notices this late that another took it."""

_NOTHING: Mapping[Partition, Sequence[LogRecord]] = MappingProxyType({})


class KafkaLogConsumer:
    """`LogConsumer` by kafka-python. LogUnreachable or LogRefused if it cannot be made."""

    def __init__(
        self,
        options: Mapping[str, object],
        *,
        group: str,
        topics: Sequence[str],
        client_id: str | None = None,
        group_instance_id: str | None = None,
        session_timeout_seconds: float = 30.0,
        heartbeat_seconds: float = 1.0,
        ask_seconds: float = 5.0,
        assignors: Sequence[type] = (CooperativeStickyAssignor,),
    ) -> None:
        """`options`: how to connect (`connection`); they win over READING. `ask_seconds`: the longest wait for an
        answer, of `commit` a fifth of it.
        """
        codecs.install()
        poison.guard_reader()
        self._options: dict[str, object] = {**READING, **options}
        if client_id is not None:
            self._options["client_id"] = client_id
        self._topics = list(topics)
        self._group = group
        self._ask_ms = round(ask_seconds * 1000)
        self._assigned: dict[TopicPartition, Partition] = {}
        self._begun: dict[TopicPartition, Partition] = {}
        self._held: set[TopicPartition] = set()
        self._changes: list[Change] = []
        self._problems: list[LogProblem] = []
        self._floors: dict[TopicPartition, OffsetAndMetadata] = {}
        self._failures = poison.Failures()
        self._identities: dict[str, object] = {}
        self._refused: LogRefused | None = None
        self._named = group_instance_id is not None
        self._look_at = 0.0
        self._pulse_at = time.monotonic() + PULSE_SECONDS
        self._inquiries = Inquiries(self._options, ask_seconds=ask_seconds)
        try:
            membership: dict[str, object] = {
                "group_id": group,
                "group_instance_id": group_instance_id,
                "session_timeout_ms": round(session_timeout_seconds * 1000),
                "heartbeat_interval_ms": round(min(heartbeat_seconds, session_timeout_seconds / 3) * 1000),
                "partition_assignment_strategy": list(assignors),
            }
            self._kafka: KafkaConsumer = opened(KafkaConsumer, {**self._options, **membership})
        except errors.KafkaError as error:
            raise self._refusal(error) or self._unreachable("connecting", error) from None
        self._reachable_at = time.monotonic()
        self._kafka.subscribe(self._topics, listener=_Listener(self))

    # ---------------------------------------------------------------------------------------------------------- reading
    def poll(self, records_max: int, wait_seconds: float) -> Mapping[Partition, Sequence[LogRecord]]:
        deadline = time.monotonic() + wait_seconds
        step = min(wait_seconds, STEP_SECONDS)
        while True:
            if self._refused is not None:
                raise self._refused
            found = self._poll_once(records_max, step)
            now = time.monotonic()
            if found:
                self._reachable_at = now
            if not found or now >= self._look_at:
                self._look_around(now)
            if found:
                return found
            if self._changes:
                deadline = min(deadline, now)
            left = deadline - now
            if (not self._joining() and left <= 0.0) or left < -JOIN_SECONDS_MAX:
                return _NOTHING
            step = min(left, STEP_SECONDS) if left > 0.0 else STEP_SECONDS

    def changes(self) -> list[Change]:
        changes, self._changes = self._changes, []
        return changes

    def begin(self, partition: Partition, offset: int | None) -> None:
        mine = TopicPartition(*partition)
        if mine not in self._assigned:
            return  # it went in the same poll in which it came
        self._problems = [found for found in self._problems if found.partition != partition]  # they are met again
        if offset is None:
            self._kafka.seek_to_beginning(mine)
        else:
            self._kafka.seek(mine, offset)
        self._held.discard(mine)
        self._begun[mine] = partition
        self._kafka.resume(mine)

    def hold(self, partitions: Sequence[Partition]) -> None:
        held = [mine for mine in _theirs(partitions) if mine in self._begun]
        self._held.update(held)
        self._kafka.pause(*held)

    def go_on(self, partitions: Sequence[Partition]) -> None:
        freed = [mine for mine in _theirs(partitions) if mine in self._held]
        self._held.difference_update(freed)
        self._kafka.resume(*freed)

    # -------------------------------------------------------------------------------------------------------- the group
    def commit(self, positions: Mapping[Partition, int]) -> bool:
        floors = {
            mine: OffsetAndMetadata(position, "", -1)
            for mine, position in zip(_theirs(positions), positions.values(), strict=True)
            if mine in self._assigned
        }
        if not floors:
            return True
        try:
            self._kafka.commit(floors, timeout_ms=self._ask_ms // 5)
        except errors.KafkaError as error:
            self._refuse_if_final(error)
            if self._refused is not None:
                raise self._refused from None
            return False
        self._answered()
        self._floors.update(floors)
        return True

    def committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        floors: dict[Partition, int] = {}
        try:
            for partition in partitions:
                floor = self._kafka.committed(TopicPartition(*partition), timeout_ms=self._ask_ms)
                if floor is not None:
                    floors[partition] = floor
        except errors.KafkaError as error:
            raise self._refusal(error) or self._unreachable("asking for committed offsets", error) from None
        self._answered()
        return floors

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        return self._offsets(partitions, first=False, timeout_ms=self._ask_ms)

    def beginnings(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        return self._offsets(partitions, first=True, timeout_ms=self._ask_ms)

    def position(self, partition: Partition) -> int | None:
        mine = TopicPartition(*partition)
        if mine not in self._begun:
            return None
        # KafkaConsumer.position looks at every partition, and asks the network if one of them has no position yet.
        position = self._kafka._subscription.position(mine)
        return None if position is None else int(position.offset)

    def facts(self, topic: str) -> TopicFacts:
        facts = self._inquiries.facts(topic)
        self._answered()
        return facts

    def problems(self) -> list[LogProblem]:
        problems, self._problems = self._problems, []
        return problems

    @property
    def reachable_at(self) -> float | None:
        """Members that have nothing to read still get answers to their heartbeats."""
        return max(self._reachable_at, float(self._kafka._coordinator.heartbeat.last_receive))

    def close(self) -> None:
        with suppress(errors.KafkaError):
            self._kafka.close(autocommit=False, timeout_ms=self._ask_ms // 5)
        self._inquiries.close()

    # ------------------------------------------------------------------------------------------ reading, if all is well
    def _poll_once(self, records_max: int, seconds: float) -> Mapping[Partition, Sequence[LogRecord]]:
        self._unpark()
        try:
            found = self._kafka.poll(timeout_ms=seconds * 1000, max_records=records_max)
        except errors.OffsetOutOfRangeError as error:
            self._out_of_range(error.args[0])
            return _NOTHING
        except errors.LogTruncationError as error:
            self._truncated(error.divergent_offsets)
            return _NOTHING
        except poison.UNDECODABLE as error:
            self._undecodable(error)
            return _NOTHING
        except errors.KafkaError as error:
            self._refuse_if_final(error)
            time.sleep(min(seconds, STEP_SECONDS))  # some of these come at once, and poll would be called at once again
            return _NOTHING
        begun = self._begun
        records = {begun[mine]: records for mine, records in found.items() if mine in begun}
        if self._failures:
            for partition in records:
                self._failures.succeeded(partition)
        return records

    def _unpark(self) -> None:
        """Let what was fetched before a pause come after it. kafka-python 3.0.12 parks it, and takes it back only while
        nothing is in line; but what was in line stays there when it is empty. The partition then stands still for good.
        """
        fetcher = self._kafka._fetcher
        if fetcher._paused_partition_records and not fetcher._next_partition_records:
            fetcher._next_partition_records = None

    def _joining(self) -> bool:
        """Whether an answer to our JoinGroup is under way. One that comes between two polls of kafka-python is dropped:
        then it joins once more, and the whole group with it (seen: 78 times in a row). Or it does not, if it joined
        because of new partitions: then it has no assignment and sends no heartbeat, for good; so it is told to.
        """
        if self._kafka.group_metadata().state is not MemberState.REBALANCING:
            return False
        self._kafka._coordinator.request_rejoin()
        return True

    def _look_around(self, now: float) -> None:
        self._look_at = now + LOOK_SECONDS
        self._compare_identities()
        if now < self._pulse_at:
            return
        self._pulse_at = now + PULSE_SECONDS
        floors = {mine: floor for mine, floor in self._floors.items() if mine in self._assigned}
        if self._named and floors:
            # Of what is committed already: it changes nothing, and tells whether another member took our name.
            with suppress(errors.KafkaError):
                self._kafka.commit_async(floors, callback=self._pulsed)

    def _pulsed(self, _floors: Mapping[TopicPartition, OffsetAndMetadata], answer: object) -> None:
        """kafka-python calls this inside poll, on our thread."""
        if isinstance(answer, errors.KafkaError):
            self._refuse_if_final(answer)

    # ------------------------------------------------------------------------------------- reading, if something is not
    def _out_of_range(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Records were deleted before we read them: count exactly which. Or the log is shorter than what we read."""
        asked = [Partition(*theirs) for theirs in offsets]
        try:
            beginnings = self._offsets(asked, first=True, timeout_ms=self._ask_ms)
            ends = self._offsets(asked, first=False, timeout_ms=self._ask_ms)
        except LogUnreachable:
            return  # the next poll raises it again
        for partition, offset in zip(asked, offsets.values(), strict=True):
            beginning = beginnings[partition]
            if offset < beginning:
                self._problems.append(LogProblem(partition, "retention", offset, beginning - offset))
                self._go_to(partition, beginning)
            elif offset > ends[partition]:
                self._refuse_truncated(partition, offset)

    def _truncated(self, divergent: Mapping[TopicPartition, object]) -> None:
        for theirs in divergent:
            self._refuse_truncated(Partition(*theirs), None)

    def _refuse_truncated(self, partition: Partition, offset: int | None) -> None:
        where = "before what was read" if offset is None else f"before offset {offset}, up to which it was read"
        self._refused = LogRefused(
            f"{partition} ends {where}: it was truncated, or the topic was deleted and created again. "
            "Counts made from it cannot be trusted to match; start from a new state to read it anew"
        )

    def _undecodable(self, error: Exception) -> None:
        assert isinstance(error, poison.UnreadableBatch)
        partition, offset = error.partition, error.offset
        if not self._failures.failed(partition, offset):
            return
        try:
            end = self._offsets([partition], first=False, timeout_ms=self._ask_ms)[partition]
            with Probe(self._options, partition, wait_ms=self._ask_ms) as probe:
                good = poison.find_end(offset, probe.readable, end, error.end)
        except LogUnreachable:
            return  # the search begins again after the next failure
        self._problems.append(LogProblem(partition, "poison", offset, good - offset))
        self._failures.succeeded(partition)
        self._go_to(partition, good)

    def _go_to(self, partition: Partition, offset: int) -> None:
        mine = TopicPartition(*partition)
        if mine in self._assigned:
            self._kafka.seek(mine, offset)

    def _compare_identities(self) -> None:
        """kafka-python keeps the identities it got with its metadata, which it renews by itself: no request of ours."""
        for topic in self._topics:
            identity = self._kafka._cluster.topic_id(topic)
            if identity is not None and self._identities.setdefault(topic, identity) != identity:
                self._refused = LogRefused(
                    f"{topic} was deleted and re-created while it was read: start from a new state"
                )

    # ---------------------------------------------------------------------------------------------------------- private
    def _offsets(self, partitions: Sequence[Partition], *, first: bool, timeout_ms: int) -> dict[Partition, int]:
        if not partitions:
            return {}
        ask = self._kafka.beginning_offsets if first else self._kafka.end_offsets
        try:
            offsets = ask(_theirs(partitions), timeout_ms=timeout_ms)
        except errors.KafkaError as error:
            raise self._refusal(error) or self._unreachable("asking for offsets", error) from None
        except KeyError:  # a leader that does not know the offset yet, just after an election
            raise self._unreachable("asking for offsets") from None
        self._answered()
        return {partition: offsets[TopicPartition(*partition)] for partition in partitions}

    def _answered(self) -> None:
        self._reachable_at = time.monotonic()

    def _refuse_if_final(self, error: errors.KafkaError) -> None:
        self._refused = self._refused or self._refusal(error)

    def _refusal(self, error: errors.KafkaError) -> LogRefused | None:
        return refusal(error, f"group {self._group} of {', '.join(self._topics)}")

    def _unreachable(self, what: str, error: errors.KafkaError | None = None) -> LogUnreachable:
        return unreachable(what, self._options.get("bootstrap_servers"), error)

    # ----------------------------------------------------------------- called by the listener, on kafka-python's thread
    def _came(self, theirs: Iterable[TopicPartition]) -> None:
        for mine in sorted(theirs):
            self._assigned[mine] = partition = Partition(*mine)
            self._begun.pop(mine, None)
            self._changes.append(Change(partition, assigned=True))
            # Without a position, poll would raise for a partition that nothing was committed of, or read from there.
            self._kafka.pause(mine)
            self._kafka.seek(mine, 0)

    def _went(self, theirs: Iterable[TopicPartition], *, lost: bool) -> None:
        for mine in sorted(theirs):
            partition = self._assigned.pop(mine, None)
            self._begun.pop(mine, None)
            self._held.discard(mine)
            self._floors.pop(mine, None)
            if partition is not None:
                self._failures.succeeded(partition)
                self._changes.append(Change(partition, assigned=False, lost=lost))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Raises nothing: kafka-python would begin at the committed offset, two polls later."""

    def __init__(self, consumer: KafkaLogConsumer) -> None:
        self._consumer = consumer

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        with suppress(errors.KafkaError, KeyError):
            self._consumer._came(assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._consumer._went(revoked, lost=False)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._consumer._went(lost, lost=True)


def _theirs(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*partition) for partition in partitions]
