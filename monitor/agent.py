"""START HERE. Decides in which order things become true: read, decode, feed, make durable, hand out, publish.

    source -> wire -> pipeline -> store (one transaction: state, outbox, positions) -> files -> the view that is served

Nothing is handed out or shown before the transaction that contains it is durable, so a crash at any moment followed by
the same command ends where an uninterrupted run would have. One thread owns all of it; the HTTP threads read an
immutable snapshot that is swapped by assignment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from monitor.adapters.exposition import Exposition, process_registry
from monitor.adapters.http import Health, StatusServer
from monitor.adapters.jsonl import InputUnreadable, Line, LineSource, SortedArchive
from monitor.adapters.store import RotationFailed, StorageFailed, Store
from monitor.adapters.wire import (
    decode_reference,
    decode_transcript,
    encode_outcome,
    encode_pointer,
    encode_review,
    encode_transition,
)
from monitor.building import (
    INPUT_TABLE,
    build_pipeline,
    build_scorer,
    check_same_archive,
    open_source,
    state_fingerprint,
)
from monitor.config import InputKind, Settings
from monitor.core.parity import failures, parity
from monitor.core.pipeline import Effects
from monitor.core.records import Kind, Outcome, Pointer, Rejected, View
from monitor.core.rejections import RejectionGuard
from monitor.core.scoring import Scorer
from monitor.core.snapshot import MetricsSnapshot
from monitor.delivery import TABLE as FILES_TABLE
from monitor.delivery import Delivery, lengths_of
from monitor.results import write_results

LINES_AT_ONCE = 500
"""Lines between two looks at the clock: about 50 ms of work, so that a stop is noticed at once."""
LINES_A_CHECKPOINT = 5_000
"""Bounds what a crash makes us read again to about half a second of work, whatever the clock says."""
IDLE_SECONDS = 0.2
"""Pause when an input has nothing new: at half we burn a core's percent, at double a page comes no later to notice."""
ROTATE_SECONDS = 600.0
"""Age of the second generation at most: what is read again after the first is damaged."""
VIEW_SECONDS = 2.0
"""Age of what is served at most, while records flow: computing it costs some 10 ms for each hundred slices."""

STREAMS_WITHOUT_TEXT = ("incidents", "outcomes", "rejected")
STREAMS = (*STREAMS_WITHOUT_TEXT, "reviews")
"""What is handed out. Reviews carry text: replays and demos leave them out."""

REOPEN_SECONDS_FIRST = 0.5
REOPEN_SECONDS_MAX = 8.0
"""Back-off while the disk fails: recovery is noticed within 8 s, and a full disk is not hammered."""

Clock = Callable[[Line], float]


class TooManyRejected(InputUnreadable):
    """Half of the last minute's messages were rejected: nothing was committed past them."""

    def __init__(self, rejected: int, messages: int) -> None:
        super().__init__(
            "input",
            f"{rejected} of the last {messages} messages were rejected; stopped without committing past them "
            "(`wervane schema` says what is accepted): a producer's release is the likely cause",
        )


class Agent:
    """One process: a source, its pipeline, its state, and what it leaves for people."""

    def __init__(
        self,
        settings: Settings,
        *,
        source: LineSource,
        clock: Clock,
        store: Store,
        scorer: Scorer,
        folder: Path,
        log: FilteringBoundLogger,
        streams: Sequence[str] = STREAMS,
        on_effects: Callable[[Effects], None] | None = None,
        on_publish: Callable[[MetricsSnapshot], None] = lambda _snapshot: None,
        guard: RejectionGuard | None = None,
    ) -> None:
        self.settings = settings
        self.pipeline = build_pipeline(settings, store, scorer)
        self.snapshot = empty_snapshot(settings)
        self._source = source
        self._clock = clock
        self._store = store
        self._log = log
        self._guard = guard
        self._streams = streams
        self._on_effects = on_effects
        self._on_publish = on_publish
        self._started_at = self._durable_at = time.time()
        self._parity_failures = failures(parity(scorer))
        self._positions: dict[str, int] = {}
        self._lines_open = 0
        self._checkpoint_at = self._rotated_at = self._viewed_at = time.monotonic()
        self._rotation_seconds = 0.0
        self._view_is_old = False
        self._closed = False
        self._delivery = Delivery(store, folder, self._restore(), streams)
        self._delivery.deliver()
        for name, lost in self._delivery.lost_bytes.items():
            log.error("file_cut", file=name, bytes=lost)
        self._source.seek(store.offsets())
        self.publish()

    def _restore(self) -> dict[str, int]:
        """Take back the core's documents; returns the lengths of the files."""
        files: dict[str, bytes] = {}
        for table, key, value in self._store.documents():
            if table == FILES_TABLE:
                files[key] = value
            elif table != INPUT_TABLE:
                self.pipeline.restore(table, key, value)
        if self._store.recovered is not None:
            self._log.warning("state_recovered", recovered=self._store.recovered)
        return lengths_of(files)

    # ------------------------------------------------------------------------------------------------------ the loop
    def run(self, stop: threading.Event, on_lines: Callable[[int], None] | None = None) -> None:
        """Until the input is at its end or `stop` is set; what was read is durable on return."""
        while not stop.is_set():
            lines = self._source.poll(LINES_AT_ONCE)
            for line in lines:
                self.feed(line)
            self._note_problems()
            if self._checkpoint_due():
                self.checkpoint()
            if self._view_due():
                self.publish()
            if on_lines is not None and lines:
                on_lines(len(lines))
            if not lines:
                if self._source.exhausted:
                    break
                stop.wait(IDLE_SECONDS)
        self.checkpoint()
        self.publish()

    def feed(self, line: Line) -> None:
        """Take in one line; its effects become durable with the next checkpoint."""
        decode = decode_transcript if line.kind is Kind.TRANSCRIPT else decode_reference
        record, clipped = decode(line.value, None, self._clock(line))
        effects = self.pipeline.feed(line.kind, record, clipped)
        self._positions[line.source] = line.next_position
        self._lines_open += 1
        self._write_down(effects)
        rejected = effects.rejected
        if rejected is not None:
            self._store.add_outbox("rejected", encode_pointer(_pointer(line, rejected)))
        if self._guard is not None and self._guard.note(rejected is not None, time.monotonic()):
            raise TooManyRejected(self._guard.rejected, self._guard.messages)

    def _write_down(self, effects: Effects) -> None:
        for emission in effects.emissions:
            if isinstance(emission, Outcome):
                self._store.add_outbox("outcomes", encode_outcome(emission, self.settings.slices.names))
        for review in effects.reviews if "reviews" in self._streams else ():
            self._store.add_outbox("reviews", encode_review(review))
        for transition in effects.transitions:
            self._store.add_outbox("incidents", encode_transition(transition))
        self._tell(effects)

    def _tell(self, effects: Effects) -> None:
        """Say in the log, and to whoever listens, what was decided."""
        for transition in effects.transitions:
            self._log.warning(
                f"incident_{transition.state}",
                incident=transition.incident,
                priority=transition.level,
                kind=transition.kind,
                customer=transition.customer,
                slices=list(transition.slices),
                summary=transition.summary,
            )
        if self._on_effects is not None:
            self._on_effects(effects)

    # ---------------------------------------------------------------------------------------------------- durability
    def checkpoint(self) -> None:
        """Make everything so far durable, then hand it out, then show it."""
        self._store.apply(self.pipeline.changes())
        for source, position in self._positions.items():
            self._store.set_offset(source, position)
        self._positions.clear()
        self._store.commit()
        self._durable_at = time.time()
        self._delivery.deliver()
        self._lines_open = 0
        self._checkpoint_at = time.monotonic()
        if self._rotation_due():
            self._rotate()
        self._view_is_old = True

    def _rotation_due(self) -> bool:
        """Erased text is to leave the files soon, but rewriting them may take a tenth of the time at most."""
        waited = self._checkpoint_at - self._rotated_at
        soon = self._store.erasure_due and waited > 10.0 * self._rotation_seconds
        return soon or waited > ROTATE_SECONDS

    def _checkpoint_due(self) -> bool:
        if self._guard is not None and self._guard.suspicious(time.monotonic()):
            return False  # what may be a bad producer's release is not committed before it is known
        waited = time.monotonic() - self._checkpoint_at
        return self._lines_open >= LINES_A_CHECKPOINT or (
            self._lines_open > 0 and waited >= self.settings.state.checkpoint_seconds
        )

    def _view_due(self) -> bool:
        """Only what is durable may be shown."""
        waited = time.monotonic() - self._viewed_at
        return self._view_is_old and self._lines_open == 0 and waited > VIEW_SECONDS

    def _rotate(self) -> None:
        self._store.commit()
        started_at = time.monotonic()
        try:
            self._store.rotate()
        except RotationFailed:
            self._log.error("state_rotation_failed", path=str(self.settings.state.path))
        self._rotated_at = time.monotonic()
        self._rotation_seconds = self._rotated_at - started_at

    def finish(self) -> None:
        """The input will not grow: decide what is left. Not made durable: the same end gives the same again."""
        effects = self.pipeline.finish()
        self._delivery.append_at_end("incidents", [encode_transition(one) for one in effects.transitions])
        self._tell(effects)
        self.publish()

    def _note_problems(self) -> None:
        for problem in self._source.problems():
            self.pipeline.count(f'input_problems_total{{problem="{problem.problem}"}}')
            self._log.error(
                "input_problem",
                source=problem.source,
                reason=problem.problem,
                position=problem.position,
                bytes=problem.lost_bytes,
            )

    def publish(self) -> None:
        """Swap the snapshot that the HTTP threads read."""
        self._view_is_old = False
        self._viewed_at = time.monotonic()
        pipeline = self.pipeline
        reached, held = pipeline.bounds()
        self.snapshot = MetricsSnapshot(
            view=View(
                at=pipeline.watermark or 0.0,
                started_at=self._started_at,
                dimensions=self.settings.slices.names,
                slices=tuple(pipeline.slice_rows()),
                incidents=tuple(pipeline.transitions),
                counters={
                    **pipeline.counters,
                    **{f'bound_reached_total{{bound="{bound}"}}': count for bound, count in reached.items()},
                },
                gauges={
                    **pipeline.gauges(),
                    **{f'held_items{{kind="{kind}"}}': float(count) for kind, count in held.items()},
                    "checkpoint_last_success_timestamp_seconds": self._durable_at,
                    "storage_ok": 1.0,
                    "normalizer_parity_failures": float(self._parity_failures),
                },
                budget=tuple(pipeline.budgets()),
                config_sha256=self.settings.sha256,
            ),
            moments=tuple(pipeline.moments()),
        )
        self._on_publish(self.snapshot)

    def close(self) -> None:
        """Release files and locks, once; what was not made durable is dropped."""
        if self._closed:
            return
        self._closed = True
        self._delivery.close()
        self._store.close()


def empty_snapshot(settings: Settings) -> MetricsSnapshot:
    """What is served before the state was read."""
    return MetricsSnapshot(view=View(at=0.0, started_at=time.time(), dimensions=settings.slices.names))


def _pointer(line: Line, rejected: Rejected) -> Pointer:
    return Pointer(
        topic=line.file, partition=0, offset=line.place, reason=rejected.reason, sha256=rejected.digest.hex()
    )


# --------------------------------------------------------------------------------------------------------- wervane run
def run_agent(settings: Settings, *, stop: threading.Event, log: FilteringBoundLogger) -> None:
    """`wervane run`: until SIGTERM or the end of a finite input."""
    folder = Path(settings.state.path)
    folder.mkdir(parents=True, exist_ok=True)
    if settings.privacy.hash_key_file is None:
        log.warning("hash_key_missing", reason="pseudonyms can be guessed; set privacy.hash_key_file")
    if settings.input.kind is InputKind.DIRECTORY:
        for path in (*settings.input.transcripts, *settings.input.references):
            if not Path(path).exists() and not Path(path).parent.is_dir():
                log.warning("input_missing", path=path)
    source = open_source(settings)
    scorer = build_scorer(settings)
    served = Served(empty_snapshot(settings))

    def build() -> Agent:
        store = Store.open(folder / "partition-0.db", config_sha256=state_fingerprint(settings))
        try:
            if isinstance(source, SortedArchive):
                check_same_archive(store, source.signature)
            return Agent(
                settings,
                source=source,
                clock=lambda _line: time.time(),
                store=store,
                scorer=scorer,
                folder=folder,
                log=log,
                streams=STREAMS if settings.privacy.reviews else STREAMS_WITHOUT_TEXT,
                guard=RejectionGuard(),
                on_publish=served.show,
            )
        except BaseException:
            store.close()
            raise

    agent = build()
    server = serve(settings, served, scorer)
    try:
        log.info("started", address=server.address, input_kind=settings.input.kind, config_sha256=settings.sha256)
        while not stop.is_set():
            try:
                agent.run(stop)
                break
            except StorageFailed as failure:
                agent.close()
                if settings.input.kind is InputKind.STDIN:
                    raise  # what was read since the last checkpoint cannot be read again
                log.error("storage_failed", reason=str(failure))
                reopened = _reopened(build, served, stop, log)
                if reopened is None:
                    return  # asked to stop: everything acknowledged is in the state
                agent = reopened
        if source.exhausted and not stop.is_set():
            agent.finish()
        write_results(folder, agent.snapshot, agent.pipeline)
        log.info("stopped")
    finally:
        server.close()
        agent.close()
        source.close()


class Served:
    """What the HTTP threads read while agents come and go: the last snapshot, and whether it can be trusted."""

    def __init__(self, snapshot: MetricsSnapshot) -> None:
        self.snapshot = snapshot
        self.storage_ok = True

    def show(self, snapshot: MetricsSnapshot) -> None:
        self.snapshot, self.storage_ok = snapshot, True

    def storage_failed(self) -> None:
        """Go on serving what was durable, and say that nothing new is."""
        view = self.snapshot.view
        gauges = {**view.gauges, "storage_ok": 0.0}
        self.snapshot = replace(self.snapshot, view=replace(view, gauges=gauges))
        self.storage_ok = False

    def health(self) -> Health:
        """Alive: a full disk is no reason to restart the process, which would only lose what is in memory."""
        return True, {"storage_ok": self.storage_ok, "watermark": self.snapshot.view.at}

    def readiness(self) -> Health:
        return self.storage_ok, {"storage_ok": self.storage_ok}


def serve(settings: Settings, served: Served, scorer: Scorer) -> StatusServer:
    """Metrics and page on the configured address. Raises ServeFailed."""
    exposition = Exposition(
        registry=process_registry(),
        start=served.snapshot,
        build={"normalizer": scorer.normalizer, "aligner": scorer.aligner},
    )
    return StatusServer(
        settings.serve.host,
        settings.serve.port,
        lambda: served.snapshot,
        exposition=exposition,
        get_health=served.health,
        get_readiness=served.readiness,
    )


def _reopened(
    build: Callable[[], Agent], served: Served, stop: threading.Event, log: FilteringBoundLogger
) -> Agent | None:
    """The agent over a state opened anew, once the disk can be written again; None if asked to stop before."""
    served.storage_failed()
    wait = REOPEN_SECONDS_FIRST
    while not stop.wait(wait):
        try:
            return build()
        except StorageFailed as failure:
            log.error("storage_failed", reason=str(failure))
            wait = min(2 * wait, REOPEN_SECONDS_MAX)
    return None
