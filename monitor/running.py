"""Decides how `wervane run` with all stages in one process begins, goes on after a failure or a rebalance, and ends.

The agent itself is agent.py; over Kafka, stages apart are run by topics/stages.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from monitor.adapters.jsonl import SortedArchive
from monitor.adapters.kafka.port import LogUnreachable
from monitor.adapters.store import StorageFailed, Store
from monitor.agent import STREAMS, STREAMS_WITHOUT_TEXT, Agent
from monitor.baselines import with_state_file
from monitor.building import build_scorer, check_same_archive, open_source, state_fingerprint
from monitor.config import InputKind, Settings
from monitor.core.rejections import RejectionGuard
from monitor.results import write_results
from monitor.sending import Sender, open_sender
from monitor.serving import Served, empty_snapshot, serve
from monitor.topics.opening import open_topic_input
from monitor.topics.whole_input import Interrupted, TopicInput

REOPEN_SECONDS_FIRST = 0.5
REOPEN_SECONDS_MAX = 8.0
"""Back-off while the disk fails: recovery is noticed within 8 s, and a full disk is not hammered."""

END_SECONDS = 45.0
"""How long the end of a finite input waits for receivers that fail: two tries after the longest back-off. What they did
not take by then is sent by the next run."""


def run_agent(settings: Settings, *, stop: threading.Event, log: FilteringBoundLogger) -> None:
    """`wervane run`: until SIGTERM or the end of a finite input."""
    folder = Path(settings.state.path)
    folder.mkdir(parents=True, exist_ok=True)
    settings = with_state_file(settings)
    sender = open_sender(settings, log)
    if settings.privacy.hash_key_file is None:
        log.warning("hash_key_missing", reason="pseudonyms can be guessed; set privacy.hash_key_file")
    if settings.input.kind is InputKind.DIRECTORY:
        for path in (*settings.input.transcripts, *settings.input.references):
            if not Path(path).exists() and not Path(path).parent.is_dir():
                log.warning("input_missing", path=path)
    topics = open_topic_input(settings) if settings.input.kind is InputKind.KAFKA else None
    source = open_source(settings) if topics is None else topics
    scorer = build_scorer(settings)
    served = Served(empty_snapshot(settings), sender)

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
                on_behind=served.show_behind,
                topics=topics,
                sender=sender,
            )
        except BaseException:
            store.close()
            raise

    # A topic's partitions may be long in coming, and are waited for in public; any other input is open or refused now.
    agent = build() if topics is None else None
    server = serve(settings, served, scorer, log)
    try:
        log.info("started", address=server.address, input_kind=settings.input.kind, config_sha256=settings.sha256)
        while not stop.is_set():
            agent = agent or _opened(build, topics, served, stop, log)
            if agent is None:
                return  # asked to stop: everything acknowledged is in the state
            if _watched(agent, topics, served, stop, log):
                break
            agent.close()
            agent = None
        if agent is not None:
            if source.exhausted and not stop.is_set():
                _finish(agent, sender, stop, log)
            write_results(folder, agent.snapshot, agent.pipeline)
        log.info("stopped")
    finally:
        server.close()
        if agent is not None:
            agent.close()
        source.close()
        if sender is not None:
            sender.close()


def _finish(agent: Agent, sender: Sender | None, stop: threading.Event, log: FilteringBoundLogger) -> None:
    """The input is at its end: so are we, once receivers have what they are owed, or have had their time."""
    if sender is None:
        agent.finish()
        return
    began = time.monotonic()
    sender.drain(END_SECONDS, stop)
    agent.checkpoint()  # what was delivered is not sent again by the next run
    agent.finish()
    waiting = sender.drain(max(1.0, END_SECONDS - (time.monotonic() - began)), stop)
    if waiting:
        log.error("notifications_undelivered", count=waiting)


def _watched(
    agent: Agent, topics: TopicInput | None, served: Served, stop: threading.Event, log: FilteringBoundLogger
) -> bool:
    """Run until the input ends or `stop` is set; False if what is in memory must be dropped and read again."""
    try:
        agent.run(stop)
    except Interrupted:
        log.warning("partitions_moved", count=0 if topics is None else topics.held)
        return False
    except StorageFailed as failure:
        if agent.settings.input.kind is InputKind.STDIN:
            raise  # what was read since the last checkpoint cannot be read again
        log.error("storage_failed", reason=str(failure))
        served.storage_failed()
        return False
    return True


def _opened(
    build: Callable[[], Agent],
    topics: TopicInput | None,
    served: Served,
    stop: threading.Event,
    log: FilteringBoundLogger,
) -> Agent | None:
    """The agent over its state, once every partition is ours and the disk can be written; None if stopped before."""
    wait = REOPEN_SECONDS_FIRST
    waiting_for_partitions = False
    if not served.storage_ok:
        stop.wait(wait)
    while not stop.is_set():
        try:
            if topics is None or topics.whole():
                return build()
            if not waiting_for_partitions:
                waiting_for_partitions = True
                served.waits_for_input()
                log.info("waiting_for_partitions", count=topics.held)
            continue
        except LogUnreachable as failure:
            served.waits_for_input()
            log.warning("broker_unreachable", reason=str(failure))
        except Interrupted:
            continue
        except StorageFailed as failure:
            if not served.started:
                raise  # a state that cannot be opened at all is for the operator
            log.error("storage_failed", reason=str(failure))
        stop.wait(wait)
        wait = min(2 * wait, REOPEN_SECONDS_MAX)
    return None
