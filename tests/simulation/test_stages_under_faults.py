"""Stages over topics in a world of faults, by seed: whatever dies between any two effects, the end equals the recount.

A seed decides the deployment, the traffic, and every move: who reads, who makes durable, whose session is lost, which
acknowledgement never comes, who dies before or after which effect and with or without its disk. Then everybody is let
work in peace, and every pair must count once. Broken variants of the code must not get through.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from monitor.adapters.kafka.port import LogProducer, LogUnreachable
from monitor.adapters.store import StateRefused, Store
from monitor.adapters.wire.entries import decode_pair
from monitor.core.arrivals import Arrivals
from monitor.core.records import Mark
from monitor.core.routing import Erasure
from monitor.core.slicing import SliceSettings
from monitor.delivery import Delivery
from monitor.topics.roles import Members, RouteRole
from monitor.topics.workers import RouteWorker, ScoreWorker
from tests.builders import HOUR, MARCH_2
from tests.kafka.memory import MemoryConsumer, MemoryProducer
from tests.topics.cluster import (
    CUSTOMERS,
    INPUTS,
    NOW,
    STAGES,
    Clock,
    Cluster,
    Process,
    counted_by,
    expected,
    instant,
    newest_of,
    several_customers,
)

MOVES = 120
DEPLOYMENTS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (STAGES,),
    (STAGES, STAGES),
    (("route",), ("score",), ("decide",)),
    (("route", "score"), ("score", "decide"), ("decide", "route")),
    (("route",), ("route",), ("score",), ("score",), ("decide",), ("decide",)),
)
"""Of each process, its stages."""


class Died(BaseException):
    """The process is gone, this very moment."""


class Fate:
    """After how many effects the process that is at work dies."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.effects_left: int | None = None

    def effect(self) -> None:
        """Something that the world sees is about to happen, or has just happened."""
        if self.effects_left is None:
            return
        self.effects_left -= 1
        if self.effects_left < 0:
            self.effects_left = None
            raise Died

    def rule(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let everybody die before and after every effect."""
        effects: Sequence[tuple[type, str]] = (
            (Store, "commit"), (MemoryConsumer, "commit"), (MemoryConsumer, "begin"), (Delivery, "deliver"),
        )  # fmt: skip
        for owner, name in effects:
            monkeypatch.setattr(owner, name, self._around(getattr(owner, name)))
        monkeypatch.setattr(MemoryProducer, "flush", self._flush(MemoryProducer.flush))

    def _around(self, work: Callable[..., object]) -> Callable[..., object]:
        def around(*args: object, **more: object) -> object:
            self.effect()
            done = work(*args, **more)
            self.effect()
            return done

        return around

    def _flush(self, flush: Callable[[MemoryProducer, float], None]) -> Callable[[MemoryProducer, float], None]:
        """Some of it may be there already when the process dies."""

        def around(producer: MemoryProducer, wait_seconds: float) -> None:
            if self.effects_left == 0:
                producer._broker.cut_next_flush(self.chance.randrange(len(producer._queued) + 1))
            try:
                flush(producer, wait_seconds)
            finally:
                self.effect()

        return around


class World:
    """One seed's deployment and what happens to it."""

    def __init__(self, folder: Path, clock: Clock, fate: Fate, seed: int) -> None:
        self.chance = chance = fate.chance
        self._fate = fate
        self._clock = clock
        self.cluster = Cluster(folder, clock, partitions=chance.randint(1, 3))
        self.traffics = several_customers(chance.randint(10, 25), CUSTOMERS, seed)
        self._to_come = self._in_order()
        self._slots = chance.choice(DEPLOYMENTS)
        self._processes: list[Process | None] = [None] * len(self._slots)

    def _in_order(self) -> list[tuple[float, str, str]]:
        """(event time, topic, line) of everything, as producers would send it: nothing is older than what came."""
        dated: list[tuple[float, str, str]] = []
        for traffic in self.traffics.values():
            last = MARCH_2
            for topic, lines in zip(INPUTS, (traffic.transcripts, traffic.references), strict=True):
                for line in lines:
                    with suppress(ValueError):
                        last = instant(json.loads(line)["ts"])
                    dated.append((last, topic, line))
        dated.sort(key=lambda one: one[0])
        return dated

    # ---------------------------------------------------------------------------------------------------- moves
    def run(self) -> None:
        """Faults, then peace."""
        for _ in range(MOVES):
            self._move()
        self._fate.effects_left = None
        self.cluster.broker.start()
        self._publish(len(self._to_come))
        closing_at = self._go_on_talking()
        processes = [self._process(slot) or self._start(slot) for slot in range(len(self._slots))]
        self.cluster.settle(*processes, newest_at=closing_at)
        self._judge(processes)

    def _go_on_talking(self) -> float:
        """Another message in every input partition, for whoever reads it now: event time is known again everywhere."""
        at = newest_of(self.traffics) + HOUR
        for topic in INPUTS:
            for partition in self.cluster.broker_partitions(topic):
                fields = {"schema": 1, "id": f"last-{topic}-{partition.number}", "ts": round(1000 * at), "text": "last"}
                line = json.dumps({**fields, "customer": "last", "deployment": "wards"})
                self.cluster.broker.append(*partition, None, line.encode())
        return at

    def _move(self) -> None:
        chance = self.chance
        slot = chance.randrange(len(self._slots))
        process = self._process(slot)
        if chance.random() < 0.4:
            self._publish(chance.randrange(12))
        if chance.random() < 0.6:
            self._clock.go_on(chance.choice((0.1, 1.0, 4.0, 4.0, 25.0)))
        if not self.cluster.broker._up and chance.random() < 0.3:
            self.cluster.broker.start()
        if process is None:
            self._try(slot, lambda: self._start(slot))
            return
        if chance.random() < 0.2:
            self._fate.effects_left = chance.randrange(12)
        fate = chance.random()
        if fate < 0.45:
            self._try(slot, lambda: process.step(times=2))
        elif fate < 0.85:
            self._try(slot, process.checkpoint)
        elif fate < 0.91:
            self.cluster.broker.cut_next_flush(chance.randrange(30))
        elif fate < 0.94:
            self._expire(process)
        elif fate < 0.96:
            self.cluster.broker.stop()
        elif fate < 0.98:
            self._kill(slot)
        else:
            self._try(slot, process.stop)

    def _try(self, slot: int, work: Callable[[], object]) -> None:
        """A process that dies, or finds no broker or a state that is locked, is started again later."""
        try:
            work()
        except (Died, LogUnreachable, StateRefused):
            self._kill(slot)
        self._fate.effects_left = None

    def _start(self, slot: int) -> Process:
        process = self._processes[slot] = self.cluster.process(*self._slots[slot], node=f"node-{slot}")
        return process

    def _process(self, slot: int) -> Process | None:
        process = self._processes[slot]
        return process if process is not None and process.alive else None

    def _kill(self, slot: int) -> None:
        process = self._process(slot)
        if process is not None:
            process.kill()
        if self.chance.random() < 0.2:
            shutil.rmtree(self.cluster.folder / f"node-{slot}", ignore_errors=True)

    def _expire(self, process: Process) -> None:
        consumer = self.chance.choice(process.stages.roles).members.consumer
        assert isinstance(consumer, MemoryConsumer)
        if consumer._joined:
            self.cluster.broker.expire(consumer)

    def _publish(self, number: int) -> None:
        if not self.cluster.broker._up:
            return
        for _, topic, line in self._to_come[:number]:
            self.cluster.publish(topic, [line])
        del self._to_come[:number]

    # ---------------------------------------------------------------------------------------------------- judgement
    def _judge(self, processes: Sequence[Process]) -> None:
        assert counted_by(*processes) == expected(self.traffics)
        rows = [row for process in processes for one in process.deciders() for row in one.stage.customers.slice_rows()]
        utterances = {
            customer: len({json.loads(line)["id"] for line in traffic.transcripts if line.endswith("}")})
            for customer, traffic in self.traffics.items()
        }
        found = {row.customer: row.transcripts for row in rows if row.slice == "all"}
        assert {customer: found.get(customer) for customer in CUSTOMERS} == utterances
        late = [
            one.stage.customers.bounds()[0].get("observations_late", 0)
            for process in processes
            for one in process.deciders()
        ]
        assert sum(late) == 0, f"event time ran ahead of {late} records"
        self._judge_marks()
        told = {
            (fields["topic"], fields["partition"], fields["offset"])
            for fields in (json.loads(record.value or b"") for record in self.cluster.broker.records("dead-letters", 0))
        }
        assert told == set(self._rubbish()), "every reject has its pointer"

    def _judge_marks(self) -> None:
        """No mark comes before a record that it vouches for, whoever sent either, and how often."""
        for partition in self.cluster.broker_partitions("pairs"):
            seen: dict[str, int] = {}
            vouched: dict[str, float] = {}
            for record in self.cluster.broker.records(*partition):
                entry = decode_pair(record.value, SliceSettings().names)
                if isinstance(entry, Mark):
                    reached_at = max(vouched.get(entry.upstream, 0.0), entry.reached_at or 0.0)
                    vouched[entry.upstream] = reached_at
                elif entry.origin.offset > seen.get(entry.origin.upstream, -1):
                    seen[entry.origin.upstream] = entry.origin.offset
                    assert not isinstance(entry.routed, Erasure)
                    assert entry.routed.event_at >= vouched.get(entry.origin.upstream, 0.0)

    def _rubbish(self) -> Iterator[tuple[str, int, int]]:
        for partition in self.cluster.broker_partitions("transcripts"):
            for record in self.cluster.broker.records(*partition):
                if not (record.value or b"").endswith(b"}"):
                    yield (*partition, record.offset)


def simulate(folder: Path, seed: int, broken: Callable[[pytest.MonkeyPatch], None] | None = None) -> None:
    """Raises AssertionError if the end is not as it must be."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock(NOW)
        clock.rule(monkeypatch)
        fate = Fate(random.Random(seed))
        if broken is not None:
            broken(monkeypatch)
        fate.rule(monkeypatch)
        world = World(folder, clock, fate, seed)
        try:
            world.run()
        finally:
            world.cluster.close()


@pytest.mark.parametrize("seed", range(10))
def test_whatever_fails_the_end_is_the_recount(tmp_path: Path, seed: int) -> None:
    """No interleaving of reading, sending, dying and moving may lose a pair, or count one twice."""
    simulate(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 410))
def test_whatever_fails_in_four_hundred_worlds(tmp_path: Path, seed: int) -> None:
    """The same, over more worlds."""
    simulate(tmp_path, seed)


# ---------------------------------------------------------------------------------------------------- broken on purpose
def every_record_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arrivals, "is_new", lambda _self, _origin: True)


def parts_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    is_new = Arrivals.is_new
    monkeypatch.setattr(Arrivals, "is_new", lambda self, origin: is_new(self, replace(origin, part=0)))


def positions_move_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    send = RouteWorker.send

    def early(worker: RouteWorker, producer: LogProducer) -> None:
        if worker.position is not None:
            worker.state.commit(worker._stage, worker.position)
        send(worker, producer)

    monkeypatch.setattr(RouteWorker, "send", early)


def what_may_not_have_arrived_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RouteWorker, "unsent", lambda worker: worker._to_send.clear())


def the_outbox_is_emptied_before_it_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    send = ScoreWorker.send

    def early(worker: ScoreWorker, producer: LogProducer) -> bool:
        done = send(worker, producer)
        worker.sent()
        worker.state.store.commit()
        return done

    monkeypatch.setattr(ScoreWorker, "send", early)


def the_outbox_is_sent_on_from_where_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScoreWorker, "unsent", lambda _worker: None)


def marks_overtake_records(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = RouteWorker.mark

    def overtaking(worker: RouteWorker, *, of: int, current: bool, age_seconds: float = 0.0) -> None:
        before = len(worker._to_send)
        mark(worker, of=of, current=current, age_seconds=age_seconds)
        worker._to_send[:] = worker._to_send[before:] + worker._to_send[:before]

    monkeypatch.setattr(RouteWorker, "mark", overtaking)


def the_group_s_floor_is_believed_without_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def start_at(worker: ScoreWorker, floor: int | None) -> int | None:
        worker.position = max(worker.position or 0, floor or 0)
        return worker.position

    monkeypatch.setattr(ScoreWorker, "start_at", start_at)


def the_floor_is_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(members: Members[RouteWorker]) -> None:
        members.consumer.commit({partition: worker.position or 0 for partition, worker in members.workers.items()})

    step = RouteRole.step

    def eager(role: RouteRole, wait_seconds: float) -> int:
        taken = step(role, wait_seconds)
        commit(role.members)
        return taken

    monkeypatch.setattr(RouteRole, "step", eager)


def a_lost_partition_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Members, "_let_go", lambda _members, _partition: None)


BROKEN = [
    every_record_is_new,
    parts_are_not_told_apart,
    positions_move_before_anything_is_sent,
    what_may_not_have_arrived_is_let_go_of,
    the_outbox_is_emptied_before_it_is_acknowledged,
    the_outbox_is_sent_on_from_where_it_failed,
    marks_overtake_records,
    the_group_s_floor_is_believed_without_a_state,
    the_floor_is_what_was_read,
    a_lost_partition_is_kept,
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_broken_code_does_not_get_through(tmp_path: Path, broken: Callable[[pytest.MonkeyPatch], None]) -> None:
    """A simulation that lets it pass would let the real thing pass, too."""
    for seed in range(25):
        try:
            simulate(tmp_path / str(seed), seed, broken)
        except (AssertionError, StateRefused):
            return
    pytest.fail("it got through 25 worlds")
