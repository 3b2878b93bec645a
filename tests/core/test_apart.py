"""Stages apart: with logs between them, duplicates and restarts, in any interleaving, they decide what one does."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from zlib import crc32

import pytest
from msgspec.structs import replace

from monitor.core.apart import DecideStage, OutcomeEntry, PairEntry, RouteStage, ScoreStage
from monitor.core.changes import Change
from monitor.core.counters import Counters
from monitor.core.pairing_port import MemoryPairTable
from monitor.core.pipeline import Message, PipelineSettings
from monitor.core.records import (
    IncidentKind,
    Kind,
    Mark,
    Partial,
    Reason,
    Reference,
    Rejected,
    SliceRow,
    Source,
    Tombstone,
    Transcript,
    Transition,
)
from monitor.core.sampling import SamplingSettings
from tests.builders import DAY, MARCH_2
from tests.core.test_pipeline import Fed, corrected, feed, made, said, traffic
from tests.scenario_language import WordByWord

KEY = b"test"
Documents = dict[tuple[str, str], bytes]


# ------------------------------------------------------------------------------------------ three stages and their logs
@dataclass
class Saved:
    """What one worker's state file holds."""

    documents: Documents = field(default_factory=dict)
    position: int = 0
    table: MemoryPairTable = field(default_factory=MemoryPairTable)
    outbox: list[OutcomeEntry] = field(default_factory=list)

    def take(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.value is None:
                self.documents.pop((change.table, change.key), None)
            else:
                self.documents[change.table, change.key] = change.value

    def give(self, stage: RouteStage | ScoreStage | DecideStage) -> None:
        for (table, key), value in sorted(self.documents.items()):
            stage.restore(table, key, value)


class Log:
    """One partition: what is sent may arrive twice, the end of it again and again, never in another order."""

    def __init__(self) -> None:
        self.records: list[PairEntry | OutcomeEntry | Mark] = []


class Route:
    """One input partition and its worker."""

    def __init__(self, flow: Flow, name: str, kind: Kind, messages: Sequence[Message], of: int) -> None:
        self._flow, self._name, self._kind, self._messages, self._of = flow, name, kind, messages, of
        self._saved = Saved()
        self.restart()

    def restart(self) -> None:
        self.stage = RouteStage(self._flow.settings, KEY, self._flow.counters, f"{self._name}@id", self._of)
        self._saved.give(self.stage)
        self._position = self._saved.position

    @property
    def at_end(self) -> bool:
        return self._position == len(self._messages)

    def step(self, number: int) -> None:
        for message in self._messages[self._position : self._position + number]:
            digest = message.digest if isinstance(message, Transcript) else b""
            led = self.stage.feed(self._kind, message, (), self._position, digest)
            self._position += 1
            if led.entry is not None:
                self._flow.pairs[led.entry.routed.key % len(self._flow.pairs)].records.append(led.entry)

    def checkpoint(self) -> None:
        mark = self.stage.mark(of=len(self._flow.routes), current=self.at_end, at=self._flow.tick())
        for log in self._flow.pairs:
            log.records.append(mark)
        self._saved.take(self.stage.changes())
        self._saved.position = self._position


class Score:
    """One partition of the pairs log and its worker."""

    def __init__(self, flow: Flow, number: int) -> None:
        self._flow, self._number = flow, number
        self._saved = Saved()
        self.rejected: list[Rejected] = []
        self.restart()

    def restart(self) -> None:
        flow = self._flow
        self._table = deepcopy(self._saved.table)
        self.stage = ScoreStage(
            flow.settings, self._table, WordByWord(), KEY, flow.counters, f"pairs-{self._number}@id", len(flow.pairs)
        )
        self._saved.give(self.stage)
        self._position = self._saved.position
        self._outbox = list(self._saved.outbox)

    @property
    def at_end(self) -> bool:
        return self._position == len(self._flow.pairs[self._number].records)

    def step(self, number: int) -> None:
        for record in self._flow.pairs[self._number].records[self._position : self._position + number]:
            if isinstance(record, Mark):
                scored = self.stage.feed_mark(record, self._position)
            else:
                assert isinstance(record, PairEntry)
                scored = self.stage.feed(record, self._position)
            self._outbox += scored.entries
            self.rejected += [scored.rejected] if scored.rejected is not None else []
            self._position += 1

    def checkpoint(self, sent: float = 1.0) -> None:
        """Make durable, then send; `sent` below 1 loses the connection in the middle: all of it is sent again."""
        self._saved.take(self.stage.changes())
        self._saved.position, self._saved.table = self._position, deepcopy(self._table)
        self._saved.outbox = list(self._outbox)
        logs = self._flow.outcomes
        for entry in self._outbox[: round(sent * len(self._outbox))]:
            logs[crc32(entry.emission.customer.encode()) % len(logs)].records.append(entry)
        if sent < 1.0:
            return
        self._outbox.clear()
        mark = self.stage.mark(self._flow.tick())
        for log in logs:
            log.records.append(mark)


class Decide:
    """One partition of the outcomes log and its worker."""

    def __init__(self, flow: Flow, number: int) -> None:
        self._flow, self._number = flow, number
        self._saved = Saved()
        self._told: list[Transition] = []
        self.restart()

    def restart(self) -> None:
        self.stage = DecideStage(self._flow.settings, self._flow.counters)
        self._saved.give(self.stage)
        self._position = self._saved.position
        self.told = list(self._told)

    @property
    def at_end(self) -> bool:
        return self._position == len(self._flow.outcomes[self._number].records)

    def step(self, number: int) -> None:
        for record in self._flow.outcomes[self._number].records[self._position : self._position + number]:
            if isinstance(record, Mark):
                self.told += self.stage.feed_mark(record)
            else:
                assert isinstance(record, OutcomeEntry)
                self.stage.feed(record)
            self._position += 1

    def checkpoint(self) -> None:
        self._saved.take(self.stage.changes())
        self._saved.position, self._told = self._position, list(self.told)


class Flow:
    """Messages by input partition, through all stages."""

    def __init__(
        self, inputs: Sequence[Sequence[Fed]], *, pairs: int = 3, outcomes: int = 2, **settings: object
    ) -> None:
        self.settings = PipelineSettings(**settings)  # type: ignore[arg-type]
        self.counters = Counters()
        self.pairs = [Log() for _ in range(pairs)]
        self.outcomes = [Log() for _ in range(outcomes)]
        self._now = 0.0
        self.routes = [
            Route(self, f"input-{number}", fed[0][0], [message for _, message in fed], len(inputs) // 2)
            for number, fed in enumerate(inputs)
        ]
        self.scores = [Score(self, number) for number in range(pairs)]
        self.decides = [Decide(self, number) for number in range(outcomes)]

    def tick(self) -> float:
        self._now += 0.001
        return self._now

    def disturb(self, chance: random.Random, steps: int) -> None:
        """Any worker reads a little, saves, loses a connection, or dies and goes on with what it had saved."""
        workers: list[Route | Score | Decide] = [*self.routes, *self.scores, *self.decides]
        for _ in range(steps):
            worker = chance.choice(workers)
            fate = chance.random()
            if fate < 0.6:
                worker.step(chance.randrange(60))
            elif fate < 0.7:
                worker.restart()
            elif fate < 0.8 and isinstance(worker, Score):
                worker.checkpoint(sent=chance.random() * 0.99)
            else:
                worker.checkpoint()

    def finish(self) -> None:
        """Everybody reads on to the end, and says so again and again, as live readers do: what is known by one mark is
        vouched for by the next.
        """
        workers: list[Route | Score | Decide] = [*self.routes, *self.scores, *self.decides]
        for _ in range(4):
            for worker in workers:
                finish(worker)

    def counted(self, series: str) -> int:
        return self.counters.values.get(series, 0)

    def rows(self) -> list[SliceRow]:
        rows = [row for decide in self.decides for row in decide.stage.customers.slice_rows()]
        return sorted(rows, key=lambda row: row.customer)

    def told(self) -> list[Transition]:
        return by_customer([transition for decide in self.decides for transition in decide.told])


def finish(worker: Route | Score | Decide) -> None:
    while not worker.at_end:
        worker.step(1000)
    worker.checkpoint()


def by_customer(told: Iterable[Transition]) -> list[Transition]:
    return sorted(told, key=lambda transition: transition.customer)


def spread(messages: Sequence[Fed], partitions: int) -> list[list[Fed]]:
    """Each kind over its partitions, by anything but the utterance: the two topics are not partitioned alike."""
    inputs: dict[tuple[Kind, int], list[Fed]] = {}
    for kind in Kind:
        for number in range(partitions):
            inputs[kind, number] = []
    for kind, message in messages:
        name = repr(message.id) if isinstance(message, Transcript | Reference | Tombstone) else "?"
        inputs[kind, crc32(f"{kind}{name}".encode()) % partitions].append((kind, message))
    return [fed for fed in inputs.values() if fed]


def all_traffic(seed: int) -> list[Fed]:
    """Three customers' in the order of event time, with everything that may happen."""
    streams = [traffic(9.5, 40, customer=name, seed=3 * seed + at) for at, name in enumerate(("acme", "beta", "city"))]
    dated: list[tuple[float, Fed]] = []
    for stream in streams:
        last = MARCH_2
        for fed in stream:
            message = fed[1]
            if isinstance(message, Transcript | Reference):
                last = max(last, message.event_at)
            dated.append((last, fed))
    return [fed for _, fed in sorted(dated, key=lambda pair: pair[0])]


def dated_traffic(seed: int) -> list[Fed]:
    """Without what changes the past at a moment that no event time tells: erasures, complaints."""
    messages: list[Fed] = []
    for kind, message in all_traffic(seed):
        if isinstance(message, Reference):
            message = replace(message, source=Source.SAMPLED)
        if not isinstance(message, Tombstone):
            messages.append((kind, message))
    return messages


# --------------------------------------------------------------------------------------------------------- equal to one
def one_process(messages: Sequence[Fed]) -> tuple[list[SliceRow], list[Transition]]:
    pipeline = made()
    told = [transition for effects in feed(pipeline, messages) for transition in effects.transitions]
    return list(pipeline.slice_rows()), by_customer(told)


def disturbed(messages: Sequence[Fed], seed: int) -> Flow:
    chance = random.Random(seed)
    flow = Flow(spread(messages, 2), pairs=chance.randint(1, 4), outcomes=chance.randint(1, 3))
    flow.disturb(chance, 400)
    flow.finish()
    repeated = [flow.counted(f'log_records_total{{topic="{log}",outcome="repeated"}}') for log in ("pairs", "outcomes")]
    assert sum(repeated) > 50, "want duplicates"
    return flow


def settled(rows: Iterable[SliceRow]) -> list[SliceRow]:
    """But for when the last reference was seen, be it one that was superseded at once."""
    return [
        replace(row, last_reference_at=None, standing=row.standing and replace(row.standing, last_reference_at=None))
        for row in rows
    ]


def totals(rows: Iterable[SliceRow]) -> list[SliceRow]:
    return [replace(row, last_reference_at=None, standing=None) for row in rows]


def compare(seed: int) -> None:
    messages = dated_traffic(seed)
    rows, told = one_process(messages)
    flow = disturbed(messages, seed)
    assert settled(flow.rows()) == settled(rows)
    assert flow.told() == told != []


def compare_totals(seed: int) -> None:
    messages = all_traffic(seed)
    assert totals(disturbed(messages, seed).rows()) == totals(one_process(messages)[0])


@pytest.mark.parametrize("seed", range(3))
def test_apart_the_stages_decide_what_one_process_does(seed: int) -> None:
    """How many processes share the work must change nothing: not a total, not a verdict, not an incident."""
    compare(seed)


@pytest.mark.parametrize("seed", range(3))
def test_apart_the_stages_count_what_one_process_does(seed: int) -> None:
    """The same of totals alone, with erasures and complaints, whose moment decides what was seen before them."""
    compare_totals(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 103))
def test_apart_they_do_so_in_a_hundred_ways(seed: int) -> None:
    """The same, over more interleavings and more ways to share the work."""
    compare(seed)
    compare_totals(seed)


# ------------------------------------------------------------------------------------------------------- what is shared
def test_a_label_budget_is_shared_by_the_partitions_of_an_input() -> None:
    """Nobody can pay for the labels twice because there are two partitions."""
    budget = SamplingSettings(labels_per_day=200, per_stratum_min=40, strata=("accent",))
    messages = [
        said(f"u{number}", MARCH_2 + number * 30.0, accent="welsh" if number % 20 == 0 else "english")
        for number in range(4 * 2880)
    ]
    inputs = spread(messages, 4)
    settings = PipelineSettings(sampling=budget)
    kept: list[Transcript] = []
    for number, part in enumerate(inputs):
        stage = RouteStage(settings, KEY, Counters(), f"input-{number}", len(inputs))
        for offset, (kind, message) in enumerate(part):
            assert isinstance(message, Transcript)
            if stage.feed(kind, message, (), offset, b"").entry is not None and message.event_at >= MARCH_2 + 3 * DAY:
                kept.append(message)
    welsh = [message for message in kept if message.accent == "welsh"]
    assert abs(len(kept) - 200) < 4 * 200**0.5, "4 sigma of a Poisson count"
    assert len(welsh) > 40 - 4 * 40**0.5, "the floor of a rare stratum"


def test_the_storage_budget_is_shared_by_the_partitions_of_the_pairs_log() -> None:
    """`state.pending_max` says how much a deployment holds, not each of its processes."""
    flow = Flow(
        [[said(f"u{number}", MARCH_2 + number) for number in range(3000)]], sampling=SamplingSettings(pending_max=300)
    )
    flow.finish()
    held = [score.stage.gauges()["pending_utterances"] for score in flow.scores]
    assert sum(held) <= 300 and min(held) > 20
    assert {score.stage.gauges()["sampling_ceiling_ratio"] for score in flow.scores} <= {1 / 16, 1 / 32}


# ------------------------------------------------------------------------------------------------------- what each does
def test_a_conflict_is_a_reject_of_the_original_message() -> None:
    """ROUTE cannot know it: the pointer must name the message as it lies in the input topic, not the pairs log."""
    first, second = said("u1"), said("u1", deployment="clinic")
    flow = Flow([[first, second], [corrected("u1")]])
    flow.finish()
    (rejected,) = [rejected for score in flow.scores for rejected in score.rejected]
    assert isinstance(second[1], Transcript)
    assert (rejected.reason, rejected.digest) == ("id_conflict", second[1].digest)
    assert flow.counted('records_rejected_total{topic="transcript",reason="id_conflict"}') == 1
    assert [row for row in flow.rows() if row.transcripts or row.pairs] == []


@pytest.mark.parametrize("seed", range(3))
def test_what_nobody_corrects_is_missing_once(seed: int) -> None:
    """It is let go of when event time passes, which a restarted SCORE sees again."""
    utterances = [said(f"u{number}", accent="welsh" if number < 3 else "english") for number in range(9)]
    later = [said(f"late{day}", MARCH_2 + day * DAY, accent="english") for day in range(1, 14)]
    inputs = [[*utterances, *later], [corrected("u7"), corrected("u8"), corrected("late12", MARCH_2 + 13 * DAY)]]
    flow = Flow(inputs, ttl_seconds=10 * DAY)
    flow.disturb(random.Random(seed), 60)
    flow.finish()
    missing = {row.slice: row.missing for row in flow.rows() if "&" not in row.slice}
    assert (missing["all"], missing["accent=welsh"]) == (7 + 2, 3)


@pytest.mark.parametrize("erased_on", list(Kind))
def test_an_erasure_reaches_the_totals(erased_on: Kind) -> None:
    """Whichever topic the request comes on: what was counted of the utterance is taken back in DECIDE."""
    inputs = [[said("u1"), said("u2")], [corrected("u1"), corrected("u2")]]
    flow = Flow(inputs)
    flow.finish()
    assert everything(flow) == (2, 2)
    inputs[erased_on is Kind.REFERENCE].append((erased_on, Tombstone(id="u1")))
    again = Flow(inputs)
    again.finish()
    assert everything(again) == (1, 1)
    assert again.counted(f'tombstones_total{{topic="{erased_on}"}}') == 1


def everything(flow: Flow) -> tuple[int, int]:
    (row,) = [row for row in flow.rows() if row.slice == "all"]
    return row.transcripts, row.pairs


def test_what_goes_no_further_than_route_leaves_no_entry() -> None:
    """Partial results and rejects cost the pairs log nothing."""
    flow = Flow([[(Kind.TRANSCRIPT, Partial()), (Kind.TRANSCRIPT, Rejected(reason=Reason("syntax"), digest=b"d"))]])
    flow.finish()
    assert [record for log in flow.pairs for record in log.records if not isinstance(record, Mark)] == []
    assert flow.counted("partials_total") == 1
    assert flow.counted('records_rejected_total{topic="transcript",reason="syntax"}') == 1


# --------------------------------------------------------------------------------------------------------------- losses
def test_a_loss_is_told_to_every_customer_once() -> None:
    """Whose messages are gone nobody can know; that some are must reach everybody, and not with each mark again."""
    inputs = [[said(f"u{number}", customer=f"c{number % 4}") for number in range(40)], [corrected("u1")]]
    flow = Flow(inputs)
    flow.finish()
    flow.routes[0].stage.lose("input-0", 40, 7)
    told_before = len(flow.told())
    for _ in range(3):
        flow.finish()
    told = [transition for transition in flow.told() if transition.kind == IncidentKind.COVERAGE]
    assert [transition.customer for transition in told] == ["c0", "c1", "c2", "c3"]
    assert len(flow.told()) == told_before + 4
