"""Decides how a process runs some of the stages over Kafka: one loop over its roles, one picture of them all.

    ROUTE: input topics -> pairs      SCORE: pairs -> outcomes      DECIDE: outcomes -> incidents

Any number of such processes share the partitions by Kafka's consumer groups. Each hop is: read, make state durable,
send, tell the group, show. What is read or sent twice after a failure is seen once, by its origin.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from monitor.adapters.files import write_atomically
from monitor.adapters.kafka.port import LogProducer, LogUnreachable, Partition, TopicFacts
from monitor.baselines import with_state_file
from monitor.building import build_scorer, hash_key, pipeline_settings, state_fingerprint
from monitor.config import Settings
from monitor.core.apart import DecideStage, RouteStage, ScoreStage
from monitor.core.counters import Counters
from monitor.core.customers import Customers
from monitor.core.parity import failures, parity
from monitor.core.records import Kind, Transition, View
from monitor.core.rejections import RejectionGuard
from monitor.core.scoring import Scorer
from monitor.core.snapshot import MetricsSnapshot
from monitor.decoders import decoder_for, mapping_name
from monitor.ending import TooManyRejected
from monitor.results import write_results
from monitor.sending import Sender, open_sender
from monitor.serving import Served, empty_snapshot, serve, tell, tell_series, warn_of_units
from monitor.topics.opening import KAFKA, Connections
from monitor.topics.partition_state import PartitionState
from monitor.topics.roles import DecideRole, Members, RouteRole, ScoreRole
from monitor.topics.workers import FOREIGN, DecideWorker, RouteWorker, ScoreWorker, Topics
from monitor.topics.workers import TooManyRejected as Rejecting

WAIT_SECONDS = 0.1
"""How long the loop waits for something new: a stop is noticed after it, and idle members cost 1 % of a core."""
VIEW_SECONDS = 2.0
"""Age of what is served at most."""
NEEDED = {"route": ("pairs", "reviews", "dead_letters"), "score": ("outcomes", "reviews", "dead_letters"), "decide": ()}
"""Topics that a stage writes to."""

Role = RouteRole | ScoreRole | DecideRole


class Stages:
    """One process: its roles, and what is shown of them."""

    def __init__(
        self,
        settings: Settings,
        stages: Sequence[str],
        log: FilteringBoundLogger,
        scorer: Scorer,
        *,
        connect: Connections = KAFKA,
        sender: Sender | None = None,
    ) -> None:
        """Connects; raises LogRefused and LogUnreachable."""
        self._settings = settings
        self._connect = connect
        self._log = log
        self._warned: dict[str, float] = {}
        self._scorer = scorer
        self._sender = sender
        self._core = pipeline_settings(settings)
        self._key = hash_key(settings)
        self._fingerprint = state_fingerprint(settings)
        self._folder = Path(settings.state.path)
        self._counters = Counters()
        self._guard = RejectionGuard()
        self._started_at = self._durable_at = time.time()
        self._parity_failures = failures(parity(scorer))
        self._unreachable = False
        self.is_ready = False
        """As of the last picture: HTTP threads ask."""
        self._foreign_told = False
        self._shown: set[Partition] = set()
        self._view = empty_snapshot(settings).view
        self.roles: list[Role] = []
        names = settings.kafka.topics
        self._producer: LogProducer = connect.producer(settings)
        with ExitStack() as undo:
            undo.callback(self.close)
            needed = sorted(
                getattr(names, name)
                for name in {name for stage in stages for name in NEEDED[stage]}
                if name != "reviews" or settings.privacy.reviews
            )
            self._transcript_partitions = 1
            self._topics = Topics(names, self._producer, needed, self._fingerprint[:16])
            for stage in stages:
                self.roles.append(self._open_role(stage))
            undo.pop_all()

    def _open_role(self, stage: str) -> Role:
        settings, log = self._settings, self._log
        match stage:
            case "route":
                inputs = (*settings.input.transcripts, *settings.input.references)
                partitions = (self._producer.partitions(topic) for topic in settings.input.transcripts)
                self._transcript_partitions = sum(partitions)
                routes = Members("route", self._connect.consumer(settings, "route", inputs), self._route_worker, log)
                return RouteRole(routes, self._producer, inputs)
            case "score":
                topics = (settings.kafka.topics.pairs,)
                scores = Members("score", self._connect.consumer(settings, "score", topics), self._score_worker, log)
                return ScoreRole(scores, self._producer)
            case _:
                topics = (settings.kafka.topics.outcomes,)
                decides = Members(
                    "decide", self._connect.consumer(settings, "decide", topics), self._decide_worker, log
                )
                return DecideRole(decides)

    # --------------------------------------------------------------------------------------------------------- workers
    def _state(self, partition: Partition, facts: TopicFacts, *, keyed: bool = True) -> PartitionState:
        return PartitionState.open(self._folder, partition, facts, self._fingerprint, keyed=keyed)

    def _route_worker(self, partition: Partition, facts: TopicFacts) -> RouteWorker:
        state = self._state(partition, facts, keyed=False)
        kind = Kind.TRANSCRIPT if partition.topic in self._settings.input.transcripts else Kind.REFERENCE
        stage = RouteStage(self._core, self._key, self._counters, state.upstream, self._transcript_partitions)
        return RouteWorker(
            state,
            stage,
            kind=kind,
            decode=decoder_for(self._settings, kind, partition.topic),
            may_skim=mapping_name(self._settings, kind, partition.topic) is None,
            topics=self._topics,
            dimensions=self._settings.slices.names,
            counters=self._counters,
            guard=self._guard,
            reviews=self._settings.privacy.reviews,
        )

    def _score_worker(self, partition: Partition, facts: TopicFacts) -> ScoreWorker:
        state = self._state(partition, facts)
        stage = ScoreStage(
            self._core, state.store, self._scorer, self._key, self._counters, state.upstream, facts.partitions
        )
        names = self._settings.slices.names
        return ScoreWorker(state, stage, topics=self._topics, dimensions=names, counters=self._counters)

    def _decide_worker(self, partition: Partition, facts: TopicFacts) -> DecideWorker:
        state = self._state(partition, facts)
        try:
            return DecideWorker(
                state,
                DecideStage(self._core, self._counters),
                folder=self._folder,
                dimensions=self._settings.slices.names,
                counters=self._counters,
                tell=self._tell,
                sender=self._sender,
            )
        except BaseException:  # its folder cannot be written: the state must not be locked when it is tried again
            state.close()
            raise

    def _tell(self, told: Sequence[Transition]) -> None:
        tell(self._log, told)

    # -------------------------------------------------------------------------------------------------------- the loop
    def run(self, stop: threading.Event, publish: Callable[[MetricsSnapshot, bool], None]) -> None:
        """Until `stop` is set. Raises LogRefused, StateRefused, TooManyRejected."""
        checkpoint_at = viewed_at = time.monotonic()
        busy = False
        while not stop.is_set():
            busy = self._step(0.0 if busy else WAIT_SECONDS / len(self.roles))
            now = time.monotonic()
            if now - checkpoint_at < self._settings.state.checkpoint_seconds:
                continue
            self.checkpoint()
            checkpoint_at = time.monotonic()
            if checkpoint_at - viewed_at >= VIEW_SECONDS:  # here alone: what is shown is durable
                self._publish(publish)
                viewed_at = checkpoint_at
        self.checkpoint()
        self._publish(publish)

    def _publish(self, publish: Callable[[MetricsSnapshot, bool], None]) -> None:
        """Show all roles. What a partition's state brings with it was shown before, by whoever had it."""
        shown = {worker.state.partition for worker in self._decided() if not worker.fresh}
        snapshot, restored = self.snapshot(to_files=False), not shown <= self._shown
        warn_of_units(self._log, snapshot.view, self._warned)
        if not restored:
            tell_series(self._log, self._view, snapshot.view)
        publish(snapshot, restored)
        self._shown, self._view = shown, snapshot.view
        self.is_ready = self.ready

    def _step(self, wait_seconds: float) -> bool:
        try:
            return sum(role.step(wait_seconds) for role in self.roles) > 0
        except Rejecting:
            raise TooManyRejected(self._guard.rejected, self._guard.messages) from None

    def checkpoint(self) -> None:
        """Every role in turn. With no broker in reach nothing is lost: all of it is sent again next time.

        What may be a bad producer's release is not committed before it is known; the other roles go on.
        """
        suspicious = self._guard.suspicious(time.monotonic())
        unreachable = False
        for role in self.roles:
            if suspicious and isinstance(role, RouteRole):
                continue
            try:
                role.checkpoint()
            except LogUnreachable as failure:
                unreachable = True
                if not self._unreachable:
                    self._log.warning("broker_unreachable", reason=str(failure))
                continue
            for labels, lost in role.members.losses():
                self._counters.count(f"input_lost_records_total{{{labels}}}", lost)
        self._unreachable = unreachable
        if not unreachable:
            self._durable_at = time.time()
        if FOREIGN in self._counters.values and not self._foreign_told:
            self._foreign_told = True
            reason = "agents of another hash key, dimensions or profiles write to the same topics: ids do not join"
            self._log.error("foreign_agents", topic=self._settings.kafka.topics.pairs, reason=reason)

    @property
    def ready(self) -> bool:
        """Whether every partition that was given to us is open, and its state as far as it was before."""
        return not self._unreachable and all(role.members.ready for role in self.roles)

    def close(self) -> None:
        for role in self.roles:
            role.members.close()
        self._producer.close()

    # ------------------------------------------------------------------------------------------------------- to show
    def snapshot(self, *, to_files: bool = True) -> MetricsSnapshot:
        """An immutable picture of every role. Only files for the data's owner may have all of each slice."""
        deciders = list(self._decided())
        reached: dict[str, int] = {}
        held: dict[str, int] = {}
        for worker in deciders:
            for into, counts in zip((reached, held), worker.stage.customers.bounds(), strict=True):
                for name, value in counts.items():
                    into[name] = into.get(name, 0) + value
        incidents = sorted((one for worker in deciders for one in worker.stage.customers.transitions), key=_told_at)
        rows_of = Customers.slice_rows if to_files else Customers.shown_rows
        view = View(
            at=self._watermark(),
            started_at=self._started_at,
            dimensions=self._settings.slices.names,
            slices=tuple(row for worker in deciders for row in rows_of(worker.stage.customers)),
            incidents=tuple(incidents),
            counters={
                **self._counters.values,
                **{f'bound_reached_total{{bound="{bound}"}}': count for bound, count in reached.items()},
            },
            gauges={
                **self._gauges(),
                **{f'held_items{{kind="{kind}"}}': float(count) for kind, count in held.items()},
            },
            budget=tuple(row for worker in deciders for row in worker.stage.customers.budgets()),
            unit_fits=tuple(fit for worker in deciders for fit in worker.stage.customers.unit_fits()),
            series=tuple(one for worker in deciders for one in worker.stage.customers.series()),
            decides=any(isinstance(role, DecideRole) for role in self.roles),
            config_sha256=self._settings.sha256,
        )
        moments = tuple(moments for worker in deciders for moments in worker.stage.customers.moments())
        return MetricsSnapshot(view=view, moments=moments)

    def _decided(self) -> Iterator[DecideWorker]:
        """Deciders whose state is as far as it was before: counters of older ones would run backwards."""
        for role in self.roles:
            if isinstance(role, DecideRole):
                for partition, worker in sorted(role.members.workers.items()):
                    if role.members.past_floor(partition):
                        yield worker

    def _watermark(self) -> float:
        """The least of those who have one: nobody has decided anything later."""
        known = [
            worker.stage.watermark
            for role in self.roles
            if not isinstance(role, RouteRole)
            for worker in role.members.workers.values()
        ]
        return min((watermark for watermark in known if watermark is not None), default=0.0)

    def _gauges(self) -> dict[str, float]:
        gauges: dict[str, float] = {
            "event_watermark_timestamp_seconds": self._watermark(),
            "checkpoint_last_success_timestamp_seconds": self._durable_at,
            "storage_ok": float(all(role.members.storage_ok for role in self.roles)),
            "normalizer_parity_failures": float(self._parity_failures),
            "broker_reachable": float(
                not self._unreachable and all(role.members.followed.reachable for role in self.roles)
            ),
        }
        for role in self.roles:
            members = role.members
            gauges[f'partitions_assigned{{stage="{members.name}"}}'] = float(len(members.workers))
            gauges[f'state_behind_records{{stage="{members.name}"}}'] = float(members.behind_floor)
            for topic, lag in members.followed.lag.items():
                gauges[f'consumer_lag_records{{topic="{topic}"}}'] = float(lag)
            if isinstance(role, ScoreRole):
                for worker in role.members.workers.values():
                    _add(gauges, worker.stage.gauges())
        return gauges

    # --------------------------------------------------------------------------------------------------- for people
    def write_results(self) -> None:
        """What DECIDE leaves in its folder when it stops: totals, summary, report, incidents of all partitions."""
        deciders = list(self._decided())
        if not any(isinstance(role, DecideRole) for role in self.roles):
            return
        write_results(self._folder, self.snapshot(), Totals(deciders))
        lines: list[bytes] = []
        for worker in deciders:
            lines += (worker.folder / "incidents.jsonl").read_bytes().splitlines(keepends=True)
        lines.sort(key=_line_told_at)
        write_atomically(self._folder / "incidents.jsonl", b"".join(lines))


class Totals:
    """What a summary needs to know of several deciders."""

    def __init__(self, deciders: Sequence[DecideWorker]) -> None:
        self._stages = [worker.stage for worker in deciders]

    @property
    def event_times(self) -> tuple[float | None, float | None]:
        times = [stage.event_times for stage in self._stages]
        oldest = [first for first, _ in times if first is not None]
        newest = [last for _, last in times if last is not None]
        return min(oldest, default=None), max(newest, default=None)

    def winners(self) -> int:
        return sum(stage.customers.winners() for stage in self._stages)

    def empty_references(self) -> int:
        return sum(stage.customers.empty_references() for stage in self._stages)

    def waiting(self) -> int:
        """References without their transcripts wait in SCORE."""
        return 0


def _told_at(transition: Transition) -> float:
    return transition.at


def _line_told_at(line: bytes) -> bytes:
    """Instants of one length and zone sort as bytes."""
    return line.partition(b'"at":"')[2][:24]


def _add(gauges: dict[str, float], more: Mapping[str, float]) -> None:
    """Sizes add up over partitions; of ratios the least counts."""
    for name, value in more.items():
        if name.endswith("_ratio"):
            gauges[name] = min(value, gauges.get(name, value))
        else:
            gauges[name] = gauges.get(name, 0.0) + value


# --------------------------------------------------------------------------------------------------------- wervane run
def run_stages(settings: Settings, stages: Sequence[str], *, stop: threading.Event, log: FilteringBoundLogger) -> None:
    """`wervane run --stages ...`: until SIGTERM."""
    Path(settings.state.path).mkdir(parents=True, exist_ok=True)
    settings = with_state_file(settings)
    if settings.privacy.hash_key_file is None:
        log.warning("hash_key_missing", reason="pseudonyms can be guessed; set privacy.hash_key_file")
    scorer = build_scorer(settings)
    sender = open_sender(settings, log) if "decide" in stages else None
    served = Served(empty_snapshot(settings), sender)
    running = Stages(settings, stages, log, scorer, sender=sender)
    try:
        served.is_ready = lambda: running.is_ready
        server = serve(settings, served, scorer, log)
        try:
            log.info("started", address=server.address, stages=list(stages), config_sha256=settings.sha256)
            running.run(stop, served.show)
            running.write_results()
            log.info("stopped")
        finally:
            server.close()
    finally:
        running.close()
        if sender is not None:
            sender.close()
