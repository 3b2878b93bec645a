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

from monitor.adapters.jsonl import InputProblem, Line, LineSource
from monitor.adapters.store import Store
from monitor.adapters.wire import (
    encode_outcome,
    encode_pointer,
    encode_review,
    encode_transition,
)
from monitor.building import (
    INPUT_TABLE,
    build_pipeline,
)
from monitor.config import Settings
from monitor.core.customers import is_of_decide
from monitor.core.parity import failures, parity
from monitor.core.pipeline import UPSTREAM, Effects
from monitor.core.records import Kind, Outcome, Pointer, Rejected, View
from monitor.core.rejections import RejectionGuard
from monitor.core.routing import TENANT_NOT_ALLOWED
from monitor.core.scoring import Scorer
from monitor.core.snapshot import MetricsSnapshot
from monitor.decoders import Decoder, decoder_for, mapped_topics
from monitor.delivery import TABLE as FILES_TABLE
from monitor.delivery import Delivery, lengths_of
from monitor.ending import TooManyRejected
from monitor.mailbox import TABLES as NOTIFICATION_TABLES
from monitor.mailbox import Mailbox
from monitor.rotation import Rotation
from monitor.sending import Sender
from monitor.serving import empty_snapshot, tell, tell_series, warn_of_units
from monitor.topics.whole_input import TopicInput

LINES_AT_ONCE = 500
"""Lines between two looks at the clock: about 50 ms of work, so that a stop is noticed at once."""
LINES_A_CHECKPOINT = 5_000
"""Bounds what a crash makes us read again to about half a second of work, whatever the clock says."""
IDLE_SECONDS = 0.2
"""Pause when an input has nothing new: at half we burn a core's percent, at double a page comes no later to notice."""
AHEAD_SECONDS_MAX = 86_400.0
"""Event time that one partition may be read ahead of another while both have a backlog: a day of transcripts waits for
its references in the store. At half, partitions stop and go; at double, a week's backlog fills the storage budget."""
VIEW_SECONDS = 2.0
"""Age of what is served at most, while records flow: computing it costs some 10 ms for each hundred slices."""

STREAMS_WITHOUT_TEXT = ("incidents", "outcomes", "rejected")
STREAMS = (*STREAMS_WITHOUT_TEXT, "reviews")
"""What is handed out. Reviews carry text: replays and demos leave them out."""

Clock = Callable[[Line], float]


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
        on_publish: Callable[[MetricsSnapshot, bool], None] = lambda _snapshot, _restored: None,
        on_behind: Callable[[MetricsSnapshot], None] = lambda _snapshot: None,
        guard: RejectionGuard | None = None,
        topics: TopicInput | None = None,
        sender: Sender | None = None,
    ) -> None:
        """`topics`: the source again, if it is one: it says how far each of its partitions is, and is told what is
        durable. `on_publish` is told each picture, and whether it is the first that a restored state gives.
        """
        self.settings = settings
        self.pipeline = build_pipeline(settings, store, scorer, folder)
        self.snapshot = self._shown = empty_snapshot(settings)
        self._source = source
        self._clock = clock
        self._store = store
        self._log = log
        self._guard = guard
        self._topics = topics
        self._streams = streams
        self._on_effects = on_effects
        self._on_publish = on_publish
        self._on_behind = on_behind
        self._started_at = self._durable_at = time.time()
        self._parity_failures = failures(parity(scorer))
        self._positions: dict[str, int] = {}
        self._decoders: dict[tuple[Kind, str | None], Decoder] = {}
        self._lines_open = 0
        self._checkpoint_at = self._viewed_at = time.monotonic()
        self._rotation = Rotation(store, log, str(settings.state.path))
        self._view_is_old = False
        self._closed = False
        self._restored = True
        self._warned: dict[str, float] = {}
        """Event time of the last warning for each customer whose units are too short."""
        """Nothing was published yet."""
        documents = self._restore()
        self._mailbox = None if sender is None else Mailbox(store, sender, documents)
        self._delivery = Delivery(store, folder, lengths_of(documents[FILES_TABLE]), streams, self._mailbox)
        try:
            self._delivery.deliver()
        except BaseException:
            self._delivery.close()
            raise
        for name, lost in self._delivery.lost_bytes.items():
            log.error("file_cut", file=name, bytes=lost)
        self._source.seek(store.offsets())
        if topics is not None:
            self.pipeline.expect(topics.sources)
            topics.skim_by(self.pipeline.router, mapped_topics(settings))
        self.publish()

    def _restore(self) -> dict[str, dict[str, bytes]]:
        """Take back the core's documents; returns those of the shell, by table."""
        ours: dict[str, dict[str, bytes]] = {table: {} for table in (FILES_TABLE, INPUT_TABLE, *NOTIFICATION_TABLES)}
        for table, key, value in self._store.documents():
            if table in ours:
                ours[table][key] = value
            else:
                self.pipeline.restore(table, key, value)
        if self._store.recovered is not None:
            self._log.warning("state_recovered", recovered=self._store.recovered)
        return ours

    # ------------------------------------------------------------------------------------------------------ the loop
    def run(self, stop: threading.Event, on_lines: Callable[[int], None] | None = None) -> None:
        """Until the input is at its end or `stop` is set; what was read is durable on return."""
        while not stop.is_set():
            lines = self._source.poll(LINES_AT_ONCE)
            self._note_passed_over()
            for line in lines:
                self.feed(line)
            self._note_problems()
            self._note_progress()
            if self._checkpoint_due():
                self.checkpoint()
            if self._view_due():
                self.publish()
            if on_lines is not None and lines:
                on_lines(len(lines))
            if not lines:
                if self._source.exhausted:
                    break
                if self._topics is None:  # which waits itself, and wakes when something comes
                    stop.wait(IDLE_SECONDS)
        self.checkpoint()
        self.publish()

    def feed(self, line: Line) -> None:
        """Take in one line; its effects become durable with the next checkpoint."""
        decode = self._decoders.get((line.kind, line.file if self._topics is not None else None))
        if decode is None:
            decode = self._decoder(line)
        record, clipped = decode(line.value, line.key, line.headers, self._clock(line))
        effects = self.pipeline.feed(line.kind, record, clipped, line.source if self._topics is not None else UPSTREAM)
        self._positions[line.source] = line.next_position
        self._lines_open += 1
        self._write_down(effects)
        rejected = effects.rejected
        if rejected is not None and rejected.reason == TENANT_NOT_ALLOWED:
            rejected = None  # others' traffic on a shared topic: one counter, and no other trace
        if rejected is not None:
            self._store.add_outbox("rejected", encode_pointer(_pointer(line, rejected)))
        if self._guard is not None and self._guard.note(rejected is not None, time.monotonic(), line.stands_for):
            raise TooManyRejected(self._guard.rejected, self._guard.messages)

    def _decoder(self, line: Line) -> Decoder:
        topic = line.file if self._topics is not None else None
        decoder = self._decoders[line.kind, topic] = decoder_for(self.settings, line.kind, topic)
        return decoder

    def _write_down(self, effects: Effects) -> None:
        for emission in effects.emissions:
            if isinstance(emission, Outcome):
                self._store.add_outbox("outcomes", encode_outcome(emission, self.settings.slices.names))
        for review in effects.reviews if "reviews" in self._streams else ():
            self._store.add_outbox("reviews", encode_review(review))
        for transition in effects.transitions:
            self._store.add_outbox("incidents", encode_transition(transition))
        if self._mailbox is not None and effects.transitions:
            self._mailbox.note(effects.transitions, quiet=not self._past_floor())
        self._tell(effects)

    def _tell(self, effects: Effects) -> None:
        """Say in the log, and to whoever listens, what was decided; but not what was told before a state was lost."""
        if self._past_floor():
            tell(self._log, effects.transitions)
        if self._on_effects is not None:
            self._on_effects(effects)

    def _past_floor(self) -> bool:
        """Whether the state is as far as it ever was: what it made before that, it had told."""
        return self._topics is None or self._topics.past_floor(self._store.offsets())

    # ---------------------------------------------------------------------------------------------------- durability
    def checkpoint(self) -> None:
        """Make everything so far durable, then hand it out, then show it."""
        self._store.apply(self.pipeline.changes())
        for source, position in self._positions.items():
            self._store.set_offset(source, position)
        self._positions.clear()
        if self._mailbox is not None:
            self._mailbox.settle()
            if self._past_floor():
                self._mailbox.awake()
        self._store.commit()
        self._durable_at = time.time()
        if self._topics is not None:
            self._topics.durable(self._store.offsets())
        self._delivery.deliver()
        self._lines_open = 0
        self._checkpoint_at = time.monotonic()
        self._rotation.rotate_if_due()
        self._view_is_old = True

    def _checkpoint_due(self) -> bool:
        if self._guard is not None and self._guard.suspicious(time.monotonic()):
            return False  # what may be a bad producer's release is not committed before it is known
        waited = time.monotonic() - self._checkpoint_at
        news = self._lines_open > 0 or self._delivery.has_news
        return self._lines_open >= LINES_A_CHECKPOINT or (news and waited >= self.settings.state.checkpoint_seconds)

    def _view_due(self) -> bool:
        """Only what is durable may be shown."""
        waited = time.monotonic() - self._viewed_at
        return self._view_is_old and self._lines_open == 0 and waited > VIEW_SECONDS

    def finish(self) -> None:
        """The input will not grow: decide what is left. Not made durable: the same end gives the same again."""
        effects = self.pipeline.finish()
        self._delivery.append_at_end("incidents", [encode_transition(one) for one in effects.transitions])
        if self._mailbox is not None:
            self._mailbox.tell_at_end(effects.transitions)
        self._tell(effects)
        self.publish()

    def decisions(self) -> list[tuple[str, str, bytes]]:
        """Documents of DECIDE as they are now; of no use to go on from after this."""
        documents = {(table, key): value for table, key, value in self._store.documents() if is_of_decide(table)}
        for change in self.pipeline.changes():
            if change.value is None:
                documents.pop((change.table, change.key), None)
            elif is_of_decide(change.table):
                documents[change.table, change.key] = change.value
        return [(*name, value) for name, value in sorted(documents.items())]

    def _note_problems(self) -> None:
        for problem in self._source.problems():
            self.pipeline.count(f'input_problems_total{{problem="{problem.problem}"}}')
            self._log.error(
                "input_problem",
                source=problem.source,
                reason=problem.problem,
                position=problem.position,
                bytes=problem.lost_bytes,
                count=problem.lost_records,
            )
            if problem.lost_records:
                self._note_loss(problem)

    def _note_loss(self, problem: InputProblem) -> None:
        """The loss becomes durable with the position behind it: it is reported once, whatever dies."""
        name = problem.source.partition("@")[0]
        behind = problem.position + problem.lost_records  # records from there on may have been read in the same poll
        self._positions[problem.source] = max(self._positions.get(problem.source, 0), behind)
        self._lines_open += 1
        self._write_down(self.pipeline.lose(name, problem.position, problem.lost_records, time.time(), problem.problem))

    def _note_passed_over(self) -> None:
        """What need not be read counts when it is weighed how much is rejected."""
        if self._topics is not None and self._guard is not None:
            for read in self._topics.read():
                self._guard.pass_over(read.passed_over, time.monotonic())

    def _note_progress(self) -> None:
        """How far each partition of a topic is: who is at its end waits for nobody, who is far ahead is held."""
        if self._topics is None:
            return
        for read in self._topics.read():
            self._positions[read.source] = read.next_position
            self._lines_open += 1
            if read.event_at is not None:
                self._write_down(self.pipeline.pass_over(read.source, read.event_at))
        for mark in self._topics.marks():
            self._write_down(self.pipeline.mark(mark))
            self._lines_open += 1
        self._topics.hold(self.pipeline.ahead(AHEAD_SECONDS_MAX))

    def publish(self) -> None:
        """Swap the snapshot that the HTTP threads read; `snapshot` has rows as files for the data's owner have them."""
        self._view_is_old = False
        self._viewed_at = time.monotonic()
        pipeline = self.pipeline
        from_topics = {} if self._topics is None else self._topics.gauges(self._store.offsets())
        if not self._past_floor():
            # What was published before was further: counters must not run backwards.
            self.snapshot, self._shown = (
                replace(one, view=replace(one.view, gauges={**one.view.gauges, **from_topics}))
                for one in (self.snapshot, self._shown)
            )
            self._on_behind(self._shown)
            return
        reached, held = pipeline.bounds()
        before = self.snapshot.view
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
                    **from_topics,
                    **{f'held_items{{kind="{kind}"}}': float(count) for kind, count in held.items()},
                    "checkpoint_last_success_timestamp_seconds": self._durable_at,
                    "storage_ok": 1.0,
                    "normalizer_parity_failures": float(self._parity_failures),
                },
                budget=tuple(pipeline.budgets()),
                unit_fits=tuple(pipeline.unit_fits()),
                series=tuple(pipeline.series()),
                config_sha256=self.settings.sha256,
            ),
            moments=tuple(pipeline.moments()),
        )
        shown_rows = tuple(pipeline.shown_rows())
        self._shown = replace(self.snapshot, view=replace(self.snapshot.view, slices=shown_rows))
        warn_of_units(self._log, self.snapshot.view, self._warned)
        if not self._restored:
            tell_series(self._log, before, self.snapshot.view)
        self._on_publish(self._shown, self._restored)
        self._restored = False

    def close(self) -> None:
        """Release files and locks, once; what was not made durable is dropped."""
        if self._closed:
            return
        self._closed = True
        self._delivery.close()
        self._store.close()


def _pointer(line: Line, rejected: Rejected) -> Pointer:
    return Pointer(
        topic=line.file,
        partition=line.partition,
        offset=line.place,
        reason=rejected.reason,
        sha256=rejected.digest.hex(),
    )


# --------------------------------------------------------------------------------------------------------- wervane run
