"""Decides how an archive is replayed: the same agent, on the archive's own clock, over a state that is thrown away."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from monitor.adapters.decisions import write_decisions
from monitor.adapters.jsonl import Line, SortedArchive
from monitor.adapters.store import Store
from monitor.agent import STREAMS_WITHOUT_TEXT, Agent
from monitor.building import build_scorer, state_fingerprint
from monitor.config import Settings
from monitor.decoders import event_times
from monitor.results import Summary, write_results

Progress = Callable[[float, str], None]
READING_SHARE = 0.1
"""Reading and sorting takes about a tenth of a replay's time: the progress bar's first part."""


def replay(
    settings: Settings,
    *,
    transcripts: Sequence[Path],
    references: Sequence[Path],
    out: Path,
    now: float | None,
    progress: Progress,
    log: FilteringBoundLogger,
) -> Summary:
    """Put archives through the agent in event-time order and leave the results in `out`.

    now   pins the clock that ages and futures are judged by (seconds); None: the archive's own. Raises InputUnreadable.
    """
    # Its results are exact: they are for whoever has the archive, and nobody can look twice.
    settings = replace(settings, privacy=replace(settings.privacy, release_min=1))
    out.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".wervane-replay-", dir=out))
    try:
        source = SortedArchive(
            transcripts,
            references,
            event_time=event_times(settings),
            spool=scratch,
            on_read=lambda done, total: progress(READING_SHARE * done / max(total, 1), "reading"),
        )

        def clock(line: Line) -> float:
            return now if now is not None else source.clock(line)

        store = Store.open(scratch / "partition-0.db", config_sha256=state_fingerprint(settings))
        agent = Agent(
            settings,
            source=source,
            clock=clock,
            store=store,
            scorer=build_scorer(settings),
            folder=out,
            log=log,
            streams=STREAMS_WITHOUT_TEXT,
        )
        try:
            done = 0

            def on_lines(lines: int) -> None:
                nonlocal done
                done += lines
                progress(READING_SHARE + (1 - READING_SHARE) * done / max(source.count, 1), "scoring")

            agent.run(threading.Event(), on_lines)
            agent.finish()
            write_decisions(out, state_fingerprint(settings), agent.decisions())
            return write_results(out, agent.snapshot, agent.pipeline)
        finally:
            agent.close()
            source.close()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
