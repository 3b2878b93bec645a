"""Decides when somebody is told something: from observations and scores to incidents, one customer at a time.

    observe, score -> units -> [look] close units -> bet -> alarm -> name it -> incident
                                                  `-> once a day: explain open incidents anew, calls, gaps, coverage

`look(now)` is a function of what has event time up to `now` and of nothing else: whatever order records arrived in, the
transitions and documents are the same bytes. State is keyed documents; restored, a decider goes on bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from monitor.core.accounts import account_of
from monitor.core.advising import Advice, Advisers
from monitor.core.alarms import Alarms
from monitor.core.budget import Ledger
from monitor.core.changes import Change
from monitor.core.closed_units import CellRow, Log, TrafficRow, cell_of, open_traffic, traffic_of
from monitor.core.conditions import Conditions
from monitor.core.decide_settings import DecideSettings as DecideSettings
from monitor.core.decider_clock import Clock, Coverage
from monitor.core.describing import Why
from monitor.core.detector_tickets import DetectorTickets
from monitor.core.detectors import PAGE_BUDGET
from monitor.core.diagnosing import Scene, epochs
from monitor.core.drift import Alarm, Baseline, LearnSettings, UnitSums
from monitor.core.few_units import FEW_UNITS, LONG_UNIT_WORDS
from monitor.core.gap_bets import GapBets
from monitor.core.gap_pages import GapPages
from monitor.core.imported import Imports
from monitor.core.incidents import State
from monitor.core.maturity import CANDIDATES, find_maturity
from monitor.core.model_series import SeriesBook
from monitor.core.model_shares import ModelShares
from monitor.core.plan_traffic import Remembered
from monitor.core.records import (
    UNKNOWN,
    Account,
    ModelSeries,
    Observation,
    Outcome,
    Slice,
    SliceStanding,
    Transition,
    UnitFit,
)
from monitor.core.relearning import Relearning
from monitor.core.river_detectors import maker
from monitor.core.scenes import Scenes
from monitor.core.slice_sums import Released, SliceTable, exported
from monitor.core.slicing import Slicing
from monitor.core.slots import Seen, seen_of
from monitor.core.small_slices import look_at_small
from monitor.core.snapshot import SliceMoments as SliceMoments
from monitor.core.standing_claims import ClaimedSums, StandingClaims
from monitor.core.standings import Gap, Standings, slice_standing
from monitor.core.telling import Desk
from monitor.core.unit_fit import unit_fit
from monitor.core.units import Units
from monitor.core.watching import Found, Watches
from monitor.core.worse_lists import WorseList, worse_list

HOUR = 3600.0
DAY = 86400.0

GAP_CELLS_MIN = 100
"""No gap is looked for below this many labelled cells: 50 persons on either side."""


class Decider:
    """One customer's detectors and incidents."""

    def __init__(self, customer: str, settings: DecideSettings, slicing: Slicing) -> None:
        self._customer = customer
        self._settings = settings
        self._slicing = slicing
        self._units = Units(settings.units, slicing)
        self._cells: Log[CellRow] = Log("cells", CellRow, settings.cells_max)
        self._traffic: Log[TrafficRow] = Log("traffic", TrafficRow, settings.traffic_max)
        self._claims = StandingClaims(slicing.names, settings.standing.get(customer, ()))
        self._watches = Watches(slicing, settings.learn, self._claims)
        self._imports = Imports(settings.offered.get(customer))
        self._relearning = Relearning(settings.relearn.get(customer, ()))
        self._slices = SliceTable(slicing, settings.release_min)
        self._desk = Desk(customer)
        self._conditions = Conditions(self._desk, slicing)
        gap_settings = (settings.gaps, settings.margin)
        self._gap_bets = GapBets(slicing, *gap_settings, on=settings.page_on_gap)
        self._gap_pages = GapPages(self._desk, *gap_settings, slicing.settings.demographics)
        own = [record for record in settings.calibrations if record.customer == customer]
        self._advisers = Advisers(settings.detectors, maker, self._watches, self._cells, own)
        self._tickets = DetectorTickets(customer, self._watches, self._cells)
        self._bets = PAGE_BUDGET in settings.detectors
        self._clock = Clock(
            ledger=Ledger(pages=settings.page_budget, days=settings.page_budget_days),
            maturity=settings.maturity_seconds,
        )
        self._models = ModelShares()
        self._scenes = Scenes(settings, slicing, self._cells, self._watches, self._claims)
        self._alarms = Alarms(customer, self._desk, self._watches, self._cells, self._models)
        self._series = SeriesBook(customer)
        self._clock_dirty = False
        self._paid: set[str] = set()
        """Calibrated detectors whose share of the hour that is looked at was there."""

    # ---------------------------------------------------------------------------------------------------- buffering
    def observe(self, observation: Observation) -> None:
        """Buffer an observation; nothing is decided before the next look."""
        taken_late = self._units.observe(observation)
        if taken_late:
            self._take_in(observation.event_at, seen_of(observation))
        self._clock_dirty = True

    def score(self, outcome: Outcome) -> None:
        """Buffer a scored version of a reference; nothing is decided before the next look."""
        self._units.score(outcome)
        self._clock_dirty = True
        if outcome.holds:
            self._slices.referenced(outcome.labels, outcome.reference_at)
            self._clock.traffic.scored(outcome.reference_at)

    # --------------------------------------------------------------------------------------------------------- look
    def look(self, now: float) -> list[Transition]:
        """Decide everything up to the full hour `now`; hours since the last look are caught up one by one."""
        clock = self._clock
        if clock.looked_at is None:
            first = self._units.first_waiting()
            if first is None or first > now:
                return []
            clock.looked_at = first // HOUR * HOUR
        told: list[Transition] = []
        while clock.looked_at + HOUR <= now:
            clock.looked_at += HOUR
            told += self._look(clock.looked_at)
        self._clock_dirty = True
        return told

    def report_loss(self, partition: str, lost: int, at: float) -> list[Transition]:
        """Messages of this partition are gone unread, some of them perhaps this customer's."""
        told = self._conditions.loss(partition, lost, at)
        return [] if told is None else [told]

    @property
    def settled_at(self) -> float:
        """Event time of the look by which everything fed so far is closed and decided."""
        clock = self._clock
        if clock.first_at is None:
            return self._units.last_waiting() or 0.0
        last = max(clock.last_at, self._units.last_waiting() or clock.last_at)
        if clock.maturity is not None:
            return last + clock.maturity + DAY
        return max(last, clock.first_at + self._settings.learn.learn_seconds) + CANDIDATES[-1] + DAY

    def _look(self, now: float) -> list[Transition]:
        clock = self._clock
        for event_at, _, seen in self._units.take_in(now, clock.maturity):
            self._take_in(event_at, seen)
        clock.traffic.pass_hour(now)
        if clock.first_at is None:
            return []
        told = self._conditions.blind(clock, now)
        if clock.maturity is None:
            learn_seconds = self._settings.learn.learn_seconds
            found = find_maturity(now, clock.first_at, learn_seconds, self._units.reference_delays)
            clock.maturity = found if self._imports.maturity is None else self._imports.maturity
            self._units.maturity = clock.maturity
        daily = now % DAY == 0.0
        if daily:
            self._series.look(self._models, now)
        if clock.maturity is not None:
            told += self._close(now, clock.maturity)
            if daily:
                told += self._look_once_a_day(now)
            told += self._resolve(now)
        if daily:
            clock.unit_fit = self._judge_units(now)
            told += self._conditions.silence(clock, list(self._traffic), open_traffic(self._units), now)
        return told

    def _take_in(self, event_at: float, seen: Seen) -> None:
        """Count an utterance that a unit took in."""
        clock = self._clock
        clock.first_at = event_at if clock.first_at is None else clock.first_at
        clock.last_at = max(event_at, clock.last_at)
        clock.traffic.count(event_at)
        clock.note_model(seen.model, event_at)
        self._models.note(seen.model, event_at)
        self._slices.taken_in(seen.labels, seen.weight)

    # ------------------------------------------------------------------------------------------------------- closing
    def _close(self, now: float, maturity: float) -> list[Transition]:
        clock, closed_at = self._clock, now - maturity
        assert clock.first_at is not None
        rows = self._units.close(now, maturity)
        gone = self._watches.end_lost_claims(clock.ledger)
        ended = [told for slice_ in gone for told in self._alarms.end_claim(slice_, now, closed_at)]
        cells = [cell for cell in map(cell_of, rows) if cell is not None]
        if clock.ledger.since is None:
            clock.ledger.since = clock.ledger.until = clock.ledger.started = clock.first_at
        shares = self._advisers.active()
        watched = self._watches.drawing() if self._bets and not clock.few else (0, 0, 0)
        groups = 0 if clock.few else self._gap_bets.betting()
        clock.ledger.advance(closed_at, watched, groups, reserved=sum(shares.values()))
        self._paid = {name for name, share in shares.items() if clock.ledger.pay(share, name)}
        found = self._watches.take(cells, self._cells, clock.first_at, closed_at, clock.ledger)
        advice = self._advisers.take(cells, now)
        self._cells.append(now, cells)
        self._traffic.append(now, [traffic_of(row) for row in rows])
        self._slices.closed(rows)
        self._note_few(cells)
        told = ended + (self._alarms.tell(found, self._scene(now), clock, now) if found else [])
        if gaps := self._gap_bets.take(cells, clock.ledger):
            told += self._gap_pages.tell(gaps, self._scene(now), now)
        told += self._advise(advice, cells, now)
        self._alarms.bet_on_recovery(cells, now)
        for order in self._relearning.take(self._watches, now, closed_at):
            told += self._alarms.relearn(order, self._scene(now), now)
        closed = self._close_baselines(closed_at)
        self._alarms.better_over(closed, clock, now)
        self._cells.forget(closed_at - self._settings.horizon_seconds)
        self._traffic.forget(closed_at - self._settings.horizon_seconds)
        self._models.forget(closed_at - self._settings.horizon_seconds)
        self._advisers.settle(closed, now)
        return told

    def _close_baselines(self, closed_at: float) -> list[Slice]:
        """Slices that know from now on what to expect: by what was imported, else by their own units."""
        clock = self._clock
        taken = self._imports.close_baselines(self._watches, closed_at, clock.ledger)
        clock.few = clock.few and not taken
        if clock.few:
            return []
        return [*taken, *self._watches.close_baselines(self._cells, closed_at, clock.ledger)]

    def _note_few(self, cells: Sequence[CellRow]) -> None:
        """Calls or bets: open until the first baseline is closed; from then on slices bet for good."""
        if not cells or any(self._watches.betting()):
            return
        units: set[str] = set()
        words = 0
        for row in self._cells:
            units.add(row.unit)
            words += row.plain_words
            if len(units) >= FEW_UNITS:
                break
        self._clock.few = len(units) < FEW_UNITS and words > LONG_UNIT_WORDS * len(units)

    def _advise(self, found: Sequence[Advice], cells: Sequence[CellRow], now: float) -> list[Transition]:
        """What other detectors alarmed on: tickets, or pages of those that were calibrated and are paid for."""
        told: list[Transition] = []
        for advice in found:
            if advice.detector in self._paid and advice.calibrated:
                alarm = Found(advice.slice, Alarm.WORSE, 0.0, now)
                told += self._alarms.tell([alarm], self._scene(now), self._clock, now, Why(advice.detector))
            else:
                parts = (self._scene(now), list(self._desk.book), now, self._clock, self._alarms.untested(self._clock))
                told += self._tickets.tell(advice, *parts)
        return told + self._tickets.over(cells, lambda: self._scene(now), list(self._desk.book), now)

    def _resolve(self, now: float) -> list[Transition]:
        waiting = [i for i in self._desk.book if i.state in (State.RECOVERING, State.RESOLVED)]
        told = [self._desk.hold(incident, now, self._scene(now)) for incident in waiting]
        return [transition for transition in told if transition is not None]

    # --------------------------------------------------------------------------------------------------- once a day
    def _look_once_a_day(self, now: float) -> list[Transition]:
        told = self._alarms.explain_again(self._scene(now), self._clock, now)
        if self._bets:
            told += self._alarms.look_at_calls(self._scene(now), self._clock, now)
        return told + self._small(now) + self._gaps(now)

    def _judge_units(self, now: float) -> UnitFit | None:
        scene, speakers = self._scene(now), [row.speaker for row in self._cells]
        epoch = epochs(scene, list(self._desk.book))
        return unit_fit(self._customer, now, scene.cells, speakers, scene.strata, epoch)

    def _small(self, now: float) -> list[Transition]:
        """The daily look at slices of few labels, at half of their money."""
        if self._clock.few or not self._bets or not self._cells.rows:
            return []
        scene = self._scene(now)
        epoch = epochs(scene, list(self._desk.book))
        found = look_at_small(self._watches, scene, epoch, self._clock.ledger, self._settings.learn, self._customer)
        return self._alarms.tell(found, scene, self._clock, now, Why.FEW_LABELS_WORSE)

    def _gaps(self, now: float) -> list[Transition]:
        scene = self._scene(now)
        if len(scene.cells) < GAP_CELLS_MIN:
            return []
        present = self._gap_pages.verdicts(self._unexplained_gaps(scene), self._gap_bets, scene)
        return self._conditions.gaps(present, now)

    # ------------------------------------------------------------------------------------------------------- to show
    def standing(self, slice_: Slice) -> SliceStanding | None:
        """What is known of a slice; None before anything was looked at."""
        if self._clock.first_at is None:
            return None
        sums = self._slices.get(slice_)
        return slice_standing(
            self._standings(),
            self._watches.meaning(slice_),
            self._watches.get(slice_),
            None if sums is None else sums.last_reference_at,
            self._clock.few,
        )

    def remembered(self) -> Remembered | None:
        """What plans are made of; None before any unit with a label has closed."""
        now = self._clock.looked_at or 0.0
        scene = self._scene(now)
        if not len(scene.cells):
            return None
        epoch = epochs(scene, list(self._desk.book))
        parts = (self._watches, self._unexplained_gaps(scene), self._clock.ledger, self._settings)
        groups, reserved = self._gap_bets.betting(), sum(self._advisers.active().values())
        return Remembered(list(self._cells), epoch, list(self._traffic), *parts, self._clock.few, groups, reserved)

    def unit_fit(self) -> UnitFit | None:
        """Whether units are long enough, as of the last daily look; None before enough have closed."""
        return self._clock.unit_fit

    def budget(self) -> tuple[float, float]:
        """False pages (granted, spent) so far. Spent never exceeds granted."""
        return self._clock.ledger.granted(), self._clock.ledger.spent

    def baselines(self) -> tuple[float | None, list[tuple[Slice, Baseline, float]]]:
        """(maturity, [(slice, baseline, since when it bets)]): what slices expect now, to be exported."""
        closed = [(watch.slice, watch.baseline, watch.closed_at or 0.0) for watch in self._watches if watch.baseline]
        return self._clock.maturity, closed

    def series(self) -> tuple[ModelSeries, ...]:
        """Since when which model made nearly all transcripts."""
        return self._series.series

    def account(self) -> Account:
        """The same by slice and direction."""
        return account_of(self._customer, self._clock.ledger, self._watches)

    def moments(self) -> list[SliceMoments]:
        """Running sums over closed units of every slice, as far as they are let go."""
        return [exported(self._customer, sums) for sums in self._slices]

    def released(self, slice_: Slice) -> Released:
        """What of a slice's sums is let go; nothing of one that it has not heard of."""
        sums = self._slices.get(slice_)
        return Released() if sums is None or sums.released is None else sums.released

    @property
    def release_min(self) -> int:
        """In batches of how many sessions sums are let go."""
        return self._settings.release_min

    @property
    def slicing(self) -> Slicing:
        """What its labels mean."""
        return self._slicing

    def watched(self) -> list[Slice]:
        """Slices that learn or bet."""
        return [watch.slice for watch in self._watches]

    @property
    def learning(self) -> LearnSettings:
        """How its slices learn."""
        return self._settings.learn

    def sums(self, unit: Sequence[CellRow]) -> dict[Slice, UnitSums]:
        """A unit's sums by stratum in each watched slice that it touches."""
        return self._watches.sums(list(unit))

    def closed(self) -> list[CellRow]:
        """Labelled rows of closed units, oldest first: for tools that look further than a decider does."""
        return list(self._cells)

    def claimed(self) -> list[ClaimedSums]:
        """Slices of verified claims, over the closed units that are remembered."""
        return self._claims.sums(self._scene(self._clock.looked_at or 0.0).cells)

    def worse(self, rate: float) -> WorseList:
        """Slices that are surely worse, at this false discovery rate."""
        if self.closed_until is None:
            return WorseList(listed=(), asked=0)
        gaps = self._standings().gaps
        span = (self.remembers_since, self.closed_until)
        return worse_list(self._watches, self._cells, *span, gaps, self._settings.gaps, rate)

    @property
    def closed_until(self) -> float | None:
        """Event time by which units are closed; None before any is."""
        clock = self._clock
        return None if clock.looked_at is None or clock.maturity is None else clock.looked_at - clock.maturity

    @property
    def remembers_since(self) -> float:
        """Rows of units that ended later are all remembered."""
        oldest = next((row.ended_at for row in self._cells), math.inf) if self._cells.forgotten else -math.inf
        return max((self.closed_until or 0.0) - self._settings.horizon_seconds, oldest)

    @property
    def last_event_at(self) -> float:
        """The latest event time that was met."""
        return max(self._clock.last_at, self._units.last_waiting() or 0.0)

    def coverage(self) -> Coverage:
        """Unlabelled traffic, missing references, late records, bounds reached."""
        everything = self._slices.get(())
        unlabelled = {}
        for name in self._slicing.sliced if everything is not None and everything.weight else ():
            assert everything is not None
            unknown = self._slices.get(((name, UNKNOWN),))
            unlabelled[name] = 0.0 if unknown is None else unknown.weight / everything.weight
        return Coverage(
            unlabelled=unlabelled,
            missing={sums.slice: (sums.matured, sums.missing) for sums in self._slices},
            counters={
                **self._counters(),
                "slots": len(self._units),
                "open_units": self._units.open_units,
                "cells": self._cells.rows,
                "watches": len(self._watches),
            },
        )

    def _scene(self, now: float) -> Scene:
        return self._scenes.at(now, self._clock)

    def _standings(self) -> Standings:
        return self._scenes.standings(self._scene(self._clock.looked_at or 0.0))

    def _unexplained_gaps(self, scene: Scene) -> Mapping[Slice, Gap]:
        return self._scenes.unexplained_gaps(scene, self._desk.book)

    def _counters(self) -> dict[str, int]:
        """What only rises, a restart included."""
        return {
            **dict(sorted(self._units.counters.items())),
            "cells_forgotten": self._cells.forgotten,
            "traffic_forgotten": self._traffic.forgotten,
            "incidents_forgotten": self._desk.book.forgotten,
        }

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        """Documents that changed since the last call, in a fixed order."""
        written = [
            *self._units.changes(),
            *self._cells.changes(),
            *self._traffic.changes(),
            *self._models.changes(),
            *self._series.changes(),
            *self._watches.changes(),
            *self._imports.changes(),
            *self._relearning.changes(),
            *self._gap_bets.changes(),
            *self._slices.changes(),
            *self._desk.book.changes(),
            *self._advisers.changes(),
            *self._tickets.changes(),
        ]
        if self._clock_dirty:
            self._clock.counters = self._counters()
            written.append(Change("clock", "", msgspec.msgpack.encode(self._clock)))
            self._clock_dirty = False
        return written

    def restore(self, table: str, key: str, value: bytes) -> None:
        """Take back one document, in any order."""
        match table:
            case "slots" | "units":
                self._units.restore(table, key, value)
            case "cells":
                self._cells.restore(key, value)
            case "traffic":
                self._traffic.restore(key, value)
            case "models":
                self._models.restore(key, value)
            case "watches" | "dimensions":
                self._watches.restore(table, value)
            case "series":
                self._series.restore(value)
            case "imported":
                self._imports.restore(value)
            case "relearning":
                self._relearning.restore(value)
            case "gap_groups" | "gap_strata":
                self._gap_bets.restore(table, key, value)
            case "slices":
                self._slices.restore(value)
            case "norms" | "norms_floor":
                self._advisers.restore(table, value)
            case "detector_tickets":
                self._tickets.restore(key, value)
            case "incidents":
                self._desk.book.restore(key, value)
            case _:
                assert table == "clock"
                clock = msgspec.msgpack.decode(value, type=Clock)
                clock.ledger.allow(self._clock.ledger.pages, self._clock.ledger.days)
                self._clock = clock
                counters = dict(clock.counters)
                self._cells.forgotten = counters.pop("cells_forgotten", 0)
                self._traffic.forgotten = counters.pop("traffic_forgotten", 0)
                self._desk.book.forgotten = counters.pop("incidents_forgotten", 0)
                self._units.counters = counters
                self._units.maturity = clock.maturity
                self._units.taken_until = float("-inf") if clock.looked_at is None else clock.looked_at
