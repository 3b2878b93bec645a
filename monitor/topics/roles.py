"""Decides how a process works on the partitions of one stage: opened as they come, made durable, closed as they go.

A role is a member of a consumer group and a worker for each partition that it was given. A state file that another
process on this node still has open is waited for; one that is not here is made again from the log, from its beginning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from monitor.adapters.kafka.port import LogConsumer, LogProducer, LogRecord, LogUnreachable, Partition, TopicFacts
from monitor.adapters.store import StateRefused, StorageFailed
from monitor.rotation import Rotation
from monitor.topics.following import Followed
from monitor.topics.partition_state import PartitionState
from monitor.topics.workers import DecideWorker, RouteWorker, ScoreWorker

RECORDS_AT_ONCE = 2_000
RETRY_SECONDS = 0.5
"""Between two tries to open a state: its former owner closes it within a second of losing the partition."""
REFUSED_SECONDS_MAX = 30.0
"""A state that is still refused after this long is not about to be closed by its former owner: the operator is told."""
TELL_SECONDS = 10.0
"""Between two commits of positions that did not move: a third of the session timeout."""
FLUSH_SECONDS = 10.0
"""How long brokers get to acknowledge a checkpoint before all of it is sent again: longer than they take to elect a new
leader. At half, a slow election doubles the traffic; at double, a dead connection is noticed that much later."""
AHEAD_SECONDS_MAX = 86_400.0
"""Event time that one partition may be read ahead of another of this process while both have a backlog."""
WAITING_MAX = 100_000
"""Records in memory that no broker has acknowledged: beyond it nothing more is read. About 50 MB of transcripts."""


class Worker(Protocol):
    """What a role needs of its workers."""

    state: PartitionState
    position: int | None

    def start_at(self, floor: int | None) -> int | None: ...

    def feed(self, records: Sequence[LogRecord]) -> None: ...

    def lose(self, position: int, lost: int) -> None: ...


W = TypeVar("W", RouteWorker, ScoreWorker, DecideWorker)


class Members(Generic[W]):
    """The partitions that this process has of one stage's topics, each with its worker."""

    def __init__(
        self,
        name: str,
        consumer: LogConsumer,
        open_worker: Callable[[Partition, TopicFacts], W],
        log: FilteringBoundLogger,
    ) -> None:
        self.name = name
        self.consumer = consumer
        self.followed = Followed(consumer)
        self.workers: dict[Partition, W] = {}
        self._open_worker: Callable[[Partition, TopicFacts], W] = open_worker
        self._log = log
        self._opening: dict[Partition, tuple[float, float]] = {}
        """Assigned but not opened: (first tried at, try again at), monotonic."""
        self._failing: set[Partition] = set()
        """Assigned, and their disk could not be read or written at the last try."""
        self._floors: dict[Partition, int] = {}
        self._lost: dict[Partition, list[tuple[str, int]]] = {}
        """(labels, records) that were met with since the last checkpoint: who opens the state anew meets them again."""
        self._rotations: dict[Partition, Rotation] = {}
        self._told: dict[Partition, int] = {}
        self._told_at = 0.0
        self.rejoined = False

    # --------------------------------------------------------------------------------------------------------- reading
    def step(self, wait_seconds: float) -> int:
        """Read what is there and feed it; returns how many records that were. Raises LogRefused, StateRefused."""
        polled = self.consumer.poll(RECORDS_AT_ONCE, wait_seconds)
        for change in self.consumer.changes():
            if change.assigned:
                self._opening[change.partition] = (time.monotonic(), 0.0)
            else:
                self._let_go(change.partition)
            self.rejoined = True
        if self._opening:
            self._open()
        taken = 0
        for partition, records in polled.items():
            worker = self.workers.get(partition)
            if worker is not None and records:
                try:
                    worker.feed(records)
                except StorageFailed as failure:
                    self.reopen(partition, failure)
                    continue
                self.followed.read(partition, records[-1].offset + 1)
                taken += len(records)
        for problem in self.consumer.problems():
            self._note(problem.partition, problem.problem, problem.position, problem.lost)
        return taken

    def _open(self) -> None:
        now = time.monotonic()
        for partition, (since, retry_at) in list(self._opening.items()):
            if now < retry_at:
                continue
            try:
                facts = self.consumer.facts(partition.topic)
                floor = self.consumer.committed([partition]).get(partition)
                bar = self._bar(partition, floor)
                worker = self._open_worker(partition, facts)
            except (LogUnreachable, StorageFailed) as failure:
                if isinstance(failure, StorageFailed):
                    self._failing.add(partition)
                self._log.warning("partition_waits", partition=str(partition), reason=str(failure))
            except StateRefused:
                if now - since > REFUSED_SECONDS_MAX:
                    raise
            else:
                self._begin(partition, worker, floor, bar)
                continue
            self._opening[partition] = (since, now + RETRY_SECONDS)

    def _bar(self, partition: Partition, floor: int | None) -> int:
        """How far the state must be to be as far as it was, if the log still has it: what is gone is not waited for."""
        if floor is None or self.consumer.beginnings([partition])[partition] >= floor:
            return 0
        return floor

    def _begin(self, partition: Partition, worker: W, floor: int | None, bar: int) -> None:
        del self._opening[partition]
        self._failing.discard(partition)
        self._floors[partition] = bar
        self.workers[partition] = worker
        self._rotations[partition] = Rotation(worker.state.store, self._log, str(partition))
        start = worker.start_at(floor)
        self.consumer.begin(partition, start)
        self.followed.start(partition, start)
        self._log.info(
            "partition_opened", partition=str(partition), offset=start or 0, recovered=worker.state.store.recovered
        )

    def _let_go(self, partition: Partition) -> None:
        self._opening.pop(partition, None)
        self._failing.discard(partition)
        self.followed.stop(partition)
        self._lost.pop(partition, None)
        worker = self.workers.pop(partition, None)
        if worker is not None:
            self.close_worker(worker)
            self._log.info("partition_closed", partition=str(partition))

    def close_worker(self, worker: W) -> None:
        """Release a worker's files; what was not made durable is dropped, and read again by whoever comes next."""
        if isinstance(worker, DecideWorker):
            worker.close()
        worker.state.close()

    def reopen(self, partition: Partition, failure: StorageFailed) -> None:
        """Its disk failed: drop what is in memory, and open it again when the disk can be written."""
        self._log.error("storage_failed", partition=str(partition), reason=str(failure))
        self._failing.add(partition)
        worker = self.workers.pop(partition)
        self.close_worker(worker)
        self.consumer.hold([partition])
        self._lost.pop(partition, None)
        now = time.monotonic()
        self._opening[partition] = (now, now + RETRY_SECONDS)

    def _note(self, partition: Partition, problem: str, position: int, lost: int) -> None:
        self._log.error("input_problem", source=str(partition), reason=problem, position=position, count=lost)
        worker = self.workers.get(partition)
        if worker is not None:
            try:
                worker.lose(position, lost)
            except StorageFailed as failure:
                self.reopen(partition, failure)
                return  # and finds the same gap again
            self._lost.setdefault(partition, []).append((f'topic="{partition.topic}",problem="{problem}"', lost))

    def losses(self) -> Iterator[tuple[str, int]]:
        """(labels, records) lost since the last call; ask after a checkpoint."""
        lost, self._lost = self._lost, {}
        for found in lost.values():
            yield from found

    # ------------------------------------------------------------------------------------------------------------ state
    def make_durable(self, partition: Partition, commit: Callable[[], None]) -> None:
        """Commit what a worker has taken in, and renew its state's second generation if that is due."""
        try:
            commit()
            self._rotations[partition].rotate_if_due()
        except StorageFailed as failure:
            self.reopen(partition, failure)

    def commit_to_group(self) -> None:
        """Tell the group how far each partition is durable: when that is news, or now and then, as a member that was
        fenced learns it by this alone. Raises LogRefused then.
        """
        positions = {
            partition: worker.state.position
            for partition, worker in self.workers.items()
            if worker.state.position is not None and self.past_floor(partition)
        }
        now = time.monotonic()
        news = positions != self._told or now - self._told_at > TELL_SECONDS
        if news and self.consumer.commit(positions):
            self._told, self._told_at = positions, now

    @property
    def behind_floor(self) -> int:
        """Records to read until every state is as far as the group ever was: what is being made again from the log."""
        return sum(
            max(0, self._floors[partition] - (worker.position or 0)) for partition, worker in self.workers.items()
        )

    def past_floor(self, partition: Partition) -> bool:
        return (self.workers[partition].state.position or 0) >= self._floors[partition]

    @property
    def ready(self) -> bool:
        """Whether everything that was given to us is open and as far as it was before."""
        return not self._opening and self.behind_floor == 0

    @property
    def storage_ok(self) -> bool:
        """Whether no partition waits for its disk."""
        return not self._failing

    def close(self) -> None:
        for partition in list(self.workers):
            self._let_go(partition)
        self.consumer.close()


class RouteRole:
    """ROUTE: input partitions, to the pairs log."""

    def __init__(self, members: Members[RouteWorker], producer: LogProducer, topics: Sequence[str]) -> None:
        self.members = members
        self._producer = producer
        self._topics = topics
        self._of: int | None = None

    def step(self, wait_seconds: float) -> int:
        if sum(worker.waiting for worker in self.members.workers.values()) > WAITING_MAX:
            return 0  # heartbeats go on by themselves
        return self.members.step(wait_seconds)

    def checkpoint(self) -> None:
        """Send, then move positions, then tell the group. Raises LogUnreachable: all of it is sent again next time."""
        members = self.members
        self._mark()
        try:
            reviewed = [worker.send_reviews(self._producer) for worker in members.workers.values()]
            if any(reviewed):
                self._producer.flush(FLUSH_SECONDS)
            for worker in members.workers.values():
                worker.reviews_sent()
            for worker in members.workers.values():
                worker.send(self._producer)
            self._producer.flush(FLUSH_SECONDS)
        except LogUnreachable:
            for worker in members.workers.values():
                worker.unsent()
            raise
        for partition, worker in list(members.workers.items()):
            try:
                worker.sent()
            except StorageFailed as failure:
                members.reopen(partition, failure)
        members.commit_to_group()

    def _mark(self) -> None:
        members = self.members
        if not members.followed.look():
            return
        if self._of is None or members.rejoined:
            members.rejoined = False
            self._of = sum(members.consumer.facts(topic).partitions for topic in self._topics)
        for partition, worker in members.workers.items():
            worker.mark(
                of=self._of, current=members.followed.current(partition), age_seconds=members.followed.age_seconds
            )
        self._align()

    def _align(self) -> None:
        """Hold what is far ahead of the slowest partition that still has a backlog."""
        followed = self.members.followed
        reached = {partition: worker.reached_at for partition, worker in self.members.workers.items()}
        behind = [at for partition, at in reached.items() if at is not None and not followed.current(partition)]
        slowest = min(behind, default=None)
        followed.hold(
            set()
            if slowest is None
            else {partition for partition, at in reached.items() if at is not None and at > slowest + AHEAD_SECONDS_MAX}
        )


class ScoreRole:
    """SCORE: partitions of the pairs log, to the outcomes log."""

    def __init__(self, members: Members[ScoreWorker], producer: LogProducer) -> None:
        self.members = members
        self._producer = producer
        self._unsent = False

    def step(self, wait_seconds: float) -> int:
        return 0 if self._unsent else self.members.step(wait_seconds)

    def checkpoint(self) -> None:
        """Make durable, then send, then tell the group. Raises LogUnreachable: all of it is sent again next time."""
        members = self.members
        looked = members.followed.look()
        for partition, worker in list(members.workers.items()):
            if looked:
                worker.mark()
            members.make_durable(partition, worker.commit)
        self._send()
        members.commit_to_group()

    def _send(self) -> None:
        members = self.members
        waiting = list(members.workers)
        while waiting:
            try:
                waiting = [partition for partition in waiting if not self._send_next(partition)]
                self._producer.flush(FLUSH_SECONDS)
            except LogUnreachable:
                self._unsent = True
                for worker in members.workers.values():
                    worker.unsent()
                raise
        self._unsent = False
        for partition, worker in list(members.workers.items()):
            try:
                worker.sent()
            except StorageFailed as failure:
                members.reopen(partition, failure)

    def _send_next(self, partition: Partition) -> bool:
        """Whether that was all that this partition has to send now: of one whose disk fails, nothing more."""
        try:
            return self.members.workers[partition].send(self._producer)
        except StorageFailed as failure:
            self.members.reopen(partition, failure)
            return True


class DecideRole:
    """DECIDE: partitions of the outcomes log, to files."""

    def __init__(self, members: Members[DecideWorker]) -> None:
        self.members = members

    def step(self, wait_seconds: float) -> int:
        return self.members.step(wait_seconds)

    def checkpoint(self) -> None:
        """Make durable, then hand to files, then tell the group."""
        members = self.members
        members.followed.look()
        for partition, worker in list(members.workers.items()):
            members.make_durable(partition, worker.commit)
        members.commit_to_group()
