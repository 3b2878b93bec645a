"""Decides what is planned for each slice: from its closed units and its traffic to labels a day, or what is missing.

Two questions for each slice. Drift: when would its bet page, if its WER rose by so much? Gap: when would a ticket say
that it is worse off than the rest, if it were by so much? Either is answered from the slice's own units, or not at all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from monitor.core.cells import FloatArray
from monitor.core.closed_units import CellRow
from monitor.core.drift import StratumSums, Watch
from monitor.core.explaining import expected
from monitor.core.groupings import dense
from monitor.core.plan_traffic import TRAFFIC_DAYS, Chance, Flow, Remembered, flows_of
from monitor.core.planning import (
    ATOMS,
    TRAFFIC_TIMES_MAX,
    DriftCase,
    GapCase,
    Spread,
    Supply,
    gap_power,
    inflation,
    labels_for,
    learned_rho,
    learning_days,
    page_power,
    size_of_clusters,
    spread_of,
)
from monitor.core.records import OTHER, UNKNOWN, Record, Slice
from monitor.core.small_slices import UNITS_MAX
from monitor.core.standing_gaps import margin_of
from monitor.core.watching import Watches

DAY = 86400.0
CLUSTERS_MIN = 12
"""Labelled clusters without which a slice says nothing of its own spread: as many as a baseline needs."""
BY_CHANCE = 1.25
"""Labels of a session beyond this many times what chance would put there: correctors take whole sessions."""

RELEARN_PART = 0.7
"""A baseline is worth learning anew, which costs days of blindness, if it takes a third of the labels away."""


class Question(StrEnum):
    DRIFT = "drift"
    GAP = "gap"


class Answer(StrEnum):
    """What is to be done for a slice."""

    ENOUGH = "enough"
    """Labels at today's rate will do."""
    LABEL = "label"
    """More of its traffic is to be labelled."""
    RECRUIT = "recruit"
    """All of its traffic labelled would not do."""
    RELEARN = "relearn"
    """Its baseline, of fewer labels, is too uncertain to see so little."""
    TOO_SMALL = "too_small"
    """The product's rules call so little nothing."""
    INSUFFICIENT = "insufficient"
    """Too little is known to plan."""


class Wanted(Record, frozen=True):
    """What is to be seen, when, and how surely.

    gap   of a standing gap, in WER; rise: of a drift in WER, or factor: what multiplies it
    """

    gap: float
    days: float
    power: float = 0.8
    rise: float | None = None
    factor: float | None = None

    def factor_at(self, wer: float) -> float:
        """What multiplies this WER when what is to be seen happens."""
        if self.factor is not None:
            return self.factor
        return 1.0 + (self.gap if self.rise is None else self.rise) / wer


class SlicePlan(Record, frozen=True):
    """One slice and one question.

    clusters       sessions, for gaps persons, that have a label; `labelled` utterances and `words` in them
    inflation      how much more their errors vary than those of as many independent utterances
    labels_a_day, traffic_a_day  utterances of the last week
    needed_a_day   labels a day; needed, needed_clusters, needed_words: in all the days
    power          chance with labels as they come; days: when it will be the wanted one
    traffic_times  how many times today's traffic it takes, at least 1
    missing_*      what is still to be labelled before anything can be planned (insufficient), else in all the days
                   beyond what comes anyway
    """

    slice: Slice
    question: Question
    answer: Answer
    learning: bool
    clusters: int
    labelled: int
    words: int
    labels_a_day: float
    traffic_a_day: float
    wer: float | None = None
    inflation: float | None = None
    power: float | None = None
    days: float | None = None
    needed_a_day: float | None = None
    needed: float | None = None
    needed_clusters: float | None = None
    needed_words: float | None = None
    traffic_times: float = 1.0
    missing: float = 0.0
    missing_clusters: float = 0.0
    missing_words: float = 0.0
    note: str = ""


def plan_slices(known: Remembered, wanted: Wanted, chance: Chance | None = None) -> list[SlicePlan]:
    """A plan for every watched slice and question, most general first.

    chance  as labels are to come; None: as they come today
    """
    flows = flows_of(known, chance)
    members: dict[Slice, list[int]] = defaultdict(list)
    for number, row in enumerate(known.rows):
        for slice_ in known.watches.slices(row):
            members[slice_].append(number)
    everything = _Subject(known, (), members.get((), []), flows.get(()) or Flow())
    pooled = {question: everything.spread(question) for question in Question}
    plans: list[SlicePlan] = []
    for slice_ in sorted({*flows, *members}, key=lambda found: (len(found), found)):
        if any(value == OTHER for _, value in slice_):
            continue
        subject = _Subject(known, slice_, members.get(slice_, []), flows.get(slice_) or Flow())
        plans.append(subject.drift(wanted, pooled[Question.DRIFT]))
        if slice_ in known.gaps and slice_[0][1] != UNKNOWN:
            plans.append(subject.gap(wanted, pooled[Question.GAP]))
    return plans


def needs_of(plans: Sequence[SlicePlan]) -> dict[tuple[str, str], float]:
    """By (dimension, value) the part of its traffic that must be corrected, at most 1: what an allocation goes by.

    Labels in proportion to traffic x need reach all slices at the same time: Neyman's allocation for equal certainty,
    where a need holds the slice's own variance. Slices that cannot be planned yet have no need here, and count as 1.
    """
    needs: dict[tuple[str, str], float] = {}
    for plan in plans:
        if len(plan.slice) == 1 and plan.needed_a_day is not None and plan.traffic_a_day:
            part = min(plan.needed_a_day / plan.traffic_a_day, 1.0)
            needs[plan.slice[0]] = max(part, needs.get(plan.slice[0], 0.0))
    return needs


# ------------------------------------------------------------------------------------------------------- one slice
class _Clusters(NamedTuple):
    """Labelled clusters (m,): what they were expected to get wrong, did, and said, each label counted once."""

    expected: FloatArray
    errors: FloatArray
    words: FloatArray
    labels: FloatArray


class _Subject:
    """A slice with what is known of it."""

    def __init__(self, known: Remembered, slice_: Slice, numbers: list[int], flow: Flow) -> None:
        self._known, self._slice, self._flow = known, slice_, flow
        self._numbers = np.array(numbers, np.int64)
        self._rows = [known.rows[number] for number in numbers]
        self._watch = known.watches.get(slice_)
        self._newest_at = known.newest_at
        oldest = min((row.first_at for row in known.traffic), default=self._newest_at)
        self._days_known = max((self._newest_at - oldest) / DAY, 1.0)
        self._days = min(TRAFFIC_DAYS, self._days_known)
        self._labelled = sum(row.utterances for row in self._rows)
        self._words = sum(row.plain_words for row in self._rows)
        self._rates = self._expected_rates()

    def spread(self, question: Question) -> Spread:
        """Of all its clusters."""
        found = self._clusters(question)
        return spread_of(found.errors, found.expected)

    def drift(self, wanted: Wanted, pooled: Spread) -> SlicePlan:
        found = self._clusters(Question.DRIFT)
        base = self._plan(Question.DRIFT, found)
        if self._known.few:
            return _noted(base, "a few long sessions: compared once a day, without a baseline; not planned")
        if (thin := self._thin(base, "sessions")) is not None:
            return thin
        spread = spread_of(found.errors, found.expected).shrunk(len(found.labels), pooled)
        base = replace(base, inflation=inflation(spread, found.expected, found.labels))
        case = self._drift_case(found, spread, wanted)
        learn = self._known.settings.learn
        base = replace(base, wer=case.wer)
        if case.factor <= 1.0 + learn.tolerance:
            return replace(
                base, answer=Answer.TOO_SMALL, note=f"a rise of less than {learn.tolerance:.0%} of its WER never pages"
            )
        supply = self._sessions()

        def power(labels_a_day: float, days: float, rho: float | None = None) -> float:
            units, each = supply.touched(labels_a_day)
            learned = units * learning_days(units, learn)
            rho = learned_rho(case, learned, each, learn.tolerance) if rho is None else rho
            bets = learned >= learn.learn_units_min
            return page_power(replace(case, rho=rho), units, each, days, learn.learn_seconds / DAY if bets else None)

        baseline = None if self._watch is None else self._watch.baseline
        fixed = None if baseline is None else baseline.rho
        answer = self._answered(base, supply, 1.0, wanted, lambda labels, days: power(labels, days, fixed))
        if fixed is None or answer.answer is not Answer.RECRUIT:
            return answer
        again = self._answered(base, supply, 1.0, wanted, power)
        if again.needed is None or again.needed > RELEARN_PART * (answer.needed or math.inf):
            return answer
        note = f"its baseline allows x{fixed:.2f}: the figures are for one learned anew"
        return replace(again, answer=Answer.RELEARN, power=answer.power, note=note)

    def gap(self, wanted: Wanted, pooled: Spread) -> SlicePlan:
        found = self._clusters(Question.GAP)
        base = self._plan(Question.GAP, found)
        if (thin := self._thin(base, "persons")) is not None:
            return thin
        gap, settings = self._known.gaps[self._slice].row, self._known.settings.gaps
        margin = margin_of(gap, settings)
        if gap.standard_error is None or gap.rest_wer is None:
            return _noted(base, "too few others who do the same tasks to compare with")
        spread = spread_of(found.errors, found.expected).shrunk(len(found.labels), pooled)
        base = replace(
            base, wer=gap.rest_wer + (gap.gap or 0.0), inflation=inflation(spread, found.expected, found.labels)
        )
        if wanted.gap <= margin:
            return replace(base, answer=Answer.TOO_SMALL, note=f"gaps up to {100 * margin:.1f} points open no ticket")
        case = GapCase(
            gap=wanted.gap,
            margin=margin,
            error=gap.standard_error,
            persons=float(gap.persons),
            labels=self._labelled / len(found.labels),
            spread=spread,
            expected=float(found.expected.sum() / found.labels.sum()),
            alpha=settings.alpha,
            persons_min=settings.persons_min,
        )
        days = min(wanted.days, self._known.settings.horizon_seconds / DAY)
        supply = self._persons(days)

        def power(labels_a_day: float, within: float) -> float:
            within = min(within, self._known.settings.horizon_seconds / DAY)
            persons, each = (supply if within == days else self._persons(within)).touched(labels_a_day * within)
            return gap_power(case, persons, each)

        return self._answered(base, supply, days, replace(wanted, days=days), power)

    # --------------------------------------------------------------------------------------------------- its parts
    def _expected_rates(self) -> FloatArray:
        """Errors per word that each row was to be expected to have, by stratum and epoch (n,)."""
        if not self._rows:
            return np.zeros(0)
        epoch = self._known.epoch[self._numbers]
        names = {
            name: number for number, name in enumerate(sorted({self._known.watches.stratum(r) for r in self._rows}))
        }
        stratum = np.array([names[self._known.watches.stratum(row)] for row in self._rows], np.int64)
        together = dense(dense(epoch) * len(names) + stratum)
        weighted = float(sum(row.words for row in self._rows))
        scale = self._words / weighted
        errors = np.array([row.errors for row in self._rows], np.float64) * scale
        words = np.array([row.words for row in self._rows], np.float64) * scale
        return np.asarray(expected(errors, words, together, epoch) / words)

    def _clusters(self, question: Question) -> _Clusters:
        names = [row.unit if question is Question.DRIFT else row.person for row in self._rows]
        numbers: dict[str, int] = {}
        index = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
        words = np.array([row.plain_words for row in self._rows], np.float64)
        # Of a row of several weights only the sums are known: its errors as if all its words weighed alike.
        errors = np.array([row.errors * row.plain_words / row.words for row in self._rows], np.float64)
        labels = np.array([row.utterances for row in self._rows], np.float64)
        columns = (self._rates * words, errors, words, labels)
        return _Clusters(*(np.bincount(index, column, len(numbers)).astype(np.float64) for column in columns))

    def _plan(self, question: Question, found: _Clusters) -> SlicePlan:
        watch = self._watch
        return SlicePlan(
            slice=self._slice,
            question=question,
            answer=Answer.INSUFFICIENT,
            learning=not self._known.few and (watch is None or watch.baseline is None),
            clusters=len(found.labels),
            labelled=self._labelled,
            words=self._words,
            labels_a_day=self._flow.labels / self._days,
            traffic_a_day=self._flow.week / self._days,
        )

    def _thin(self, base: SlicePlan, clusters: str) -> SlicePlan | None:
        """What is missing before a slice says something of its own spread; None if nothing is."""
        errors = sum(row.errors for row in self._rows)
        if base.clusters >= CLUSTERS_MIN and errors and self._flow.week:
            return None
        if base.clusters >= CLUSTERS_MIN:
            return _noted(base, "no error so far" if not errors else "no traffic in the last week")
        more = CLUSTERS_MIN - base.clusters
        each = self._labelled / base.clusters if base.clusters else 1.0
        words = self._words / self._labelled if self._labelled else 0.0
        missing = {"missing": more * each, "missing_clusters": float(more), "missing_words": more * each * words}
        return replace(_noted(base, f"{more} more labelled {clusters} before its spread is known"), **missing)

    def _drift_case(self, found: _Clusters, spread: Spread, wanted: Wanted) -> DriftCase:
        wer = expected_wer(self._rows, self._watch, self._known.watches)
        known, depth = self._known, len(self._slice)
        sharing = max(known.watches.sharing(depth), 1)
        sizes = np.quantile(found.words, (np.arange(ATOMS) + 0.5) / ATOMS)
        return DriftCase(
            wer=wer,
            factor=wanted.factor_at(wer),
            rho=1.0,
            spread=spread,
            sizes=tuple((sizes / sizes.mean()).tolist()),
            words=self._words / self._labelled,
            money=DAY * known.ledger.rate(depth, sharing, known.groups, known.reserved),
            small_units=UNITS_MAX,
            remembered=known.settings.horizon_seconds / DAY,
            days_known=self._days_known,
        )

    def _sessions(self) -> Supply:
        """Sessions of a day."""
        flow = self._flow
        size = size_of_clusters(flow.week, float(len(flow.units)), flow.seen / flow.week)
        return Supply(count=flow.week / size / self._days, size=size, least=self._least(size))

    def _persons(self, days: float) -> Supply:
        """Persons who speak within so many days; those of the last days, and beyond what is known as they were new."""
        first_half = self._days_known / 2
        since = self._newest_at - days * DAY
        persons = float(sum(last > since for _, last in self._flow.persons.values()))
        if days > self._days_known:
            fresh = sum(first > self._newest_at - first_half * DAY for first, _ in self._flow.persons.values())
            persons += fresh / first_half * (days - self._days_known)
        utterances = self._flow.week / self._days * days
        size = size_of_clusters(utterances, max(persons, 1.0), min(self._flow.seen / self._flow.week, 1.0))
        return Supply(count=utterances / size, size=size, least=1.0)

    def _least(self, size: float) -> float:
        """Labels in a labelled session, if that is more than chance puts there; else 1: chance decides."""
        sessions = len({row.unit for row in self._rows})
        each = self._labelled / sessions
        by_chance = Supply(count=self._flow.week / size, size=size).touched(max(self._flow.labels, 1.0))[1]
        return min(each, size) if each > BY_CHANCE * by_chance else 1.0

    def _answered(
        self,
        base: SlicePlan,
        supply: Supply,
        supply_days: float,
        wanted: Wanted,
        power: Callable[[float, float], float],
    ) -> SlicePlan:
        """The plan of a slice whose power by labels a day is known."""
        today = base.labels_a_day
        now = power(today, wanted.days) if today > 0.0 else 0.0
        needed = labels_for(lambda labels: power(labels, wanted.days), wanted.power, max(base.traffic_a_day, 1e-6))
        reached = labels_for(lambda days: power(today, days), wanted.power, wanted.days) if today > 0.0 else None
        base = replace(base, days=reached)
        if needed is None:
            note = f"not even {TRAFFIC_TIMES_MAX:g} times its traffic would do"
            return replace(base, answer=Answer.RECRUIT, power=now, traffic_times=math.inf, note=note)
        clusters, _ = supply.touched(needed * supply_days)
        total = needed * wanted.days
        per_label = self._words / self._labelled
        answer = Answer.ENOUGH if now >= wanted.power else Answer.LABEL
        times = needed / base.traffic_a_day
        if answer is Answer.LABEL and times > 1.0:
            answer = Answer.RECRUIT
        missing = 0.0 if answer is Answer.ENOUGH else max(total - today * wanted.days, 0.0)
        return replace(
            base,
            answer=answer,
            power=now,
            needed_a_day=needed,
            needed=total,
            needed_clusters=clusters * wanted.days / supply_days,
            needed_words=total * per_label,
            traffic_times=max(times, 1.0),
            missing=missing,
            missing_clusters=missing * clusters / (needed * supply_days),
            missing_words=missing * per_label,
        )


def _noted(plan: SlicePlan, note: str) -> SlicePlan:
    return replace(plan, note=note)


def expected_wer(rows: Sequence[CellRow], watch: Watch | None, watches: Watches) -> float:
    """WER that the slice's bet expects: by its baseline where it has one, guessed strata included, else as it was."""
    parts = tuple(StratumSums(watches.stratum(row), row.errors, row.words) for row in rows)
    if watch is not None and watch.baseline is not None:
        expected, _, words = watch.baseline.expectation(parts)
        if words:
            return expected / words
    return sum(part.errors for part in parts) / sum(part.words for part in parts)
