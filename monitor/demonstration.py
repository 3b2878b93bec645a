"""Decides what a newcomer sees: two weeks of generated traffic through the real agent, its one incident, and what two
rules of thumb would have paged on the same corrections."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

from monitor.adapters.jsonl import InputProblem, Line
from monitor.adapters.store import Store
from monitor.agent import STREAMS_WITHOUT_TEXT, Agent
from monitor.analysis.naive import NaiveRules, tally
from monitor.analysis.simulate import DAY, FAULT, START, demo_settings, traffic
from monitor.building import build_scorer, state_fingerprint
from monitor.config import load_settings
from monitor.core.pipeline import Effects
from monitor.core.records import IncidentState, Level, Outcome, Source, Transition
from monitor.core.slicing import Slicing, slice_name
from monitor.results import write_results
from monitor.serving import Served, empty_snapshot, serve
from monitor.settings_source import flatten

SEED = 7
DAYS = 14.0
MESSAGES_ABOUT = 75_000
"""Messages of the demo, for the progress bar only."""

Say = Callable[[str], None]
Progress = Callable[[float, str], None]


class GeneratedTraffic:
    """The simulated deployment as a line source."""

    SOURCE = "generated"

    def __init__(self, seed: int, days: float) -> None:
        self._messages = enumerate(traffic(seed, days))
        self.exhausted = False

    def poll(self, limit: int) -> list[Line]:
        lines = []
        for number, message in islice(self._messages, limit):
            value = message.value
            if value is None:  # a tombstone, as files write it
                value = msgspec.json.encode({"schema": 1, "id": (message.key or b"").decode(), "erase": True})
            lines.append(
                Line(self.SOURCE, number, number + 1, message.kind, value, message.event_at, self.SOURCE, number + 1)
            )
        self.exhausted = len(lines) < limit
        return lines

    def seek(self, offsets: Mapping[str, int]) -> None:
        assert not offsets, "a demo starts anew"

    def problems(self) -> list[InputProblem]:
        return []

    def close(self) -> None:
        return None


@dataclass(slots=True)
class Ledger:
    """What is noted while the traffic runs, for the comparison at its end."""

    slicing: Slicing
    naive: NaiveRules
    say: Say
    pages: list[Transition] = field(default_factory=list)
    labels: list[tuple[float, float, bool]] = field(default_factory=list)
    """(reference at, event at, whether of the faulty slice) of each corrected utterance."""

    def note(self, effects: Effects) -> None:
        for emission in effects.emissions:
            if not isinstance(emission, Outcome) or emission.counts <= 0 or emission.source != Source.SAMPLED:
                continue
            slices = self.slicing.slices_of(emission.labels)
            faulty = FAULT.cell in slices
            self.labels.append((emission.reference_at, emission.event_at, faulty))
            counts = emission.score.counts
            self.naive.add(emission.reference_at, emission.event_at, slices, counts.errors, counts.reference_words)
        for transition in effects.transitions:
            self.note_transition(transition)

    def note_transition(self, transition: Transition) -> None:
        if transition.level == Level.PAGE and transition.state == IncidentState.FIRING:
            self.pages.append(transition)
        day = (transition.at - START) / DAY
        self.say(f"day {day:4.1f}  {transition.level.upper():6s} {transition.state:8s} {transition.summary}")


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How the demo went: `passed` if it paged the faulty accent and nothing else."""

    passed: bool
    document: dict[str, object]


def demo(
    *,
    port: int,
    out: Path | None,
    leave: bool,
    say: Say,
    progress: Progress,
    stop: threading.Event,
    log: FilteringBoundLogger,
) -> DemoResult:
    """Run the traffic through the agent, print what happens, and serve the page until `stop` unless `leave`."""
    settings = load_settings(None, {}, {**flatten(demo_settings())[0], "serve.port": port})
    scratch = Path(tempfile.mkdtemp(prefix="wervane-demo-"))
    folder = out if out is not None else scratch
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(Slicing(settings.slices, ""), NaiveRules(starts_at=START), say)
    scorer = build_scorer(settings)
    served = Served(empty_snapshot(settings))
    store = Store.open(scratch / "partition-0.db", config_sha256=state_fingerprint(settings))
    agent = Agent(
        settings,
        source=GeneratedTraffic(SEED, DAYS),
        clock=lambda line: line.event_at or START,
        store=store,
        scorer=scorer,
        folder=folder,
        log=log,
        streams=STREAMS_WITHOUT_TEXT,
        on_effects=ledger.note,
        on_publish=served.show,
    )
    server = serve(settings, served, scorer, log)
    try:
        say(f"status page {server.address}")
        say(f"two weeks of traffic of a hospital group and its contact centre; on day {(FAULT.at - START) / DAY:.1f} "
            f"{FAULT.accent} speakers at {FAULT.site} get a new scanner that hums, and their WER doubles")  # fmt: skip
        done = 0

        def on_lines(lines: int) -> None:
            nonlocal done
            done += lines
            progress(min(1.0, done / MESSAGES_ABOUT), "traffic")

        agent.run(stop, on_lines)
        agent.finish()
        write_results(folder, agent.snapshot, agent.pipeline)
        result = _verdict(ledger)
        for line in _comparison(ledger, result):
            say(line)
        if out is not None:
            say(f"results in {out}: open {out / 'report.html'}")
        if not leave and not stop.is_set():
            say(f"serving {server.address} until Ctrl-C")
            with suppress(KeyboardInterrupt):
                stop.wait()
        return result
    finally:
        server.close()
        agent.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _verdict(ledger: Ledger) -> DemoResult:
    """Whether the pages were right, and the numbers beside them."""
    right = [page for page in ledger.pages if any(FAULT.names(name) for name in page.slices)]
    page = right[0] if right else None
    until = page.at if page is not None else START + DAYS * DAY
    tallies = tally(ledger.naive.pages_until(until), fault_at=FAULT.at, touches=FAULT.touches)
    arrived = [label for label in ledger.labels if label[0] <= until]
    document: dict[str, object] = {
        "passed": len(ledger.pages) == len(right) == 1,
        "fault": {"slice": slice_name(FAULT.cell), "at": FAULT.at, "factor": FAULT.factor},
        "pages": [page.summary for page in ledger.pages],
        "detected_after_hours": None if page is None else round((page.at - FAULT.at) / 3600.0, 1),
        "labels": len(arrived),
        "labels_of_the_faulty_slice_since": sum(faulty and event_at >= FAULT.at for _, event_at, faulty in arrived),
        "naive_pages": {
            str(rule): {"false": counted.before + counted.after_other, "right": counted.after_faulty}
            for rule, counted in tallies.items()
        },
    }
    return DemoResult(passed=bool(document["passed"]), document=document)


def _comparison(ledger: Ledger, result: DemoResult) -> list[str]:
    document = result.document
    hours = document["detected_after_hours"]
    if not isinstance(hours, float):
        return ["no page named the faulty accent"]
    lines = [
        "",
        f"detected {hours / 24.0:.1f} days after the fault, a day of which is waiting for corrections to mature",
        f"cost: {document['labels_of_the_faulty_slice_since']} corrections of the faulty slice since the fault, "
        f"{document['labels']} of all traffic since the beginning",
        f"pages until then: wervane {len(ledger.pages)}, right; on the same corrections and the same slices:"
        if result.passed
        else f"pages until then: wervane {len(ledger.pages)}; on the same corrections and the same slices:",
    ]
    naive = document["naive_pages"]
    assert isinstance(naive, dict)
    for rule, counted in naive.items():
        lines.append(f"  {rule:18s} {counted['false']:4d} false, {counted['right']:2d} right")
    return lines
