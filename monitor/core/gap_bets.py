"""Decides which groups of speakers bet on their gap to others of the same tasks, with which money, against whom.

A group bets once as many persons of it as for a standing gap were heard, and as many of others. Its block: one unit of
its own, and the units of others in the same stratum since its last one. What is kept is bounded: for each stratum the
last units and decaying sums, for each group its wealth and where it last stood in each stratum.

Sums fade with each unit of the stratum, not with time, and a group's own fade alike: what is left of both is known from
how many units came, so that the group's part can be taken out exactly, and never from what was heard in a block. Fading
by time would ask for nothing else; it would make a quiet weekend's rate one of few units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from monitor.core.budget import Ledger
from monitor.core.changes import Change
from monitor.core.closed_units import CellRow, units_of
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.evidence import NO_EVIDENCE, Evidence, mean, multiplied, reach_of_weight
from monitor.core.matched_stakes import OTHERS_MAX, Counted, Margin, Weights, block_factors
from monitor.core.records import OTHER, UNKNOWN, Slice
from monitor.core.slicing import Slicing, slice_name
from monitor.core.standing_gaps import GapSettings, speaker_dimensions, task_strata

MEMORY = 0.995
"""What each unit of a stratum leaves of the sums before it: others' rate is that of about the last 200 units. At half,
the rate is noise in small strata; at double it is old for longer after everybody changed. Power, not validity."""
UNITS_MIN = 8.0
"""Units of others (decayed) that a rate needs, as strata of drift do."""
GAPS = "gaps"
"""What the ledger calls our money."""
COURSE_STAKE = 1
"""The stake whose course dates a gap: the one that gaps of 5 to 12 points make richest."""


class Sums(msgspec.Struct, array_like=True, frozen=True):
    """Decayed sums over the units of a stratum."""

    units: float = 0.0
    errors: float = 0.0
    words: float = 0.0
    corrected: float = 0.0

    def later(self, units: int) -> Sums:
        """After this many more units of the stratum."""
        left = MEMORY**units
        return Sums(self.units * left, self.errors * left, self.words * left, self.corrected * left)

    def plus(self, unit: Counted) -> Sums:
        """With one more unit."""
        left = self.later(1)
        corrected = left.corrected + unit.corrected
        return Sums(left.units + 1.0, left.errors + unit.errors, left.words + unit.words, corrected)

    def less(self, part: Sums) -> Sums:
        """Without a part of them."""
        corrected = self.corrected - part.corrected
        return Sums(self.units - part.units, self.errors - part.errors, self.words - part.words, corrected)


class Met(msgspec.Struct, array_like=True, frozen=True):
    """A unit of a stratum's last ones, and the sums before it."""

    unit: str
    errors: float
    words: float
    before: Sums
    corrected: float = 0.0


class Stratum(msgspec.Struct, array_like=True):
    """One dimension's stratum: `number` of units so far, of known groups; their sums; the last ones, oldest first."""

    dimension: str
    stratum: str
    number: int = 0
    sums: Sums = Sums()
    last: list[Met] = []
    weight_max: float = 0.0
    """The largest weight of a unit's words of late, by which stakes are limited."""


class Own(msgspec.Struct, array_like=True, frozen=True):
    """A group in one stratum: which of its units was the group's last, and the group's sums there."""

    number: int
    sums: Sums


class Course(msgspec.Struct, array_like=True, frozen=True):
    """How the bets against one margin went: the sum of log factors, its least value, and the unit's end at that."""

    log: float
    least: float
    at: float

    def after(self, factor: float, ended_at: float) -> Course:
        log = self.log + math.log(factor)
        return Course(log, log, ended_at) if log <= self.least else Course(log, self.least, self.at)


class Group(msgspec.Struct):
    """One group's bets. Mutable, private to its decider.

    persons   the first ones, until there are enough; units, words, corrected (each word counted once): of the group
    own       stratum -> where the group last stood in it
    earned    the ledger's mark when it last took money; None until it bets; found_at: when it last found a gap
    margins   what its evidence is against: with others it begins anew
    evidence  wealth against each margin
    courses   of one stake against each margin: they date the gap
    weight_max  the largest weight of a unit's words of late, by which stakes are limited
    """

    slice: Slice
    persons: list[str] = []
    units: int = 0
    words: float = 0.0
    own: dict[str, Own] = {}
    earned: float | None = None
    spent: float = 0.0
    margins: list[Margin] = []
    evidence: list[Evidence] = []
    courses: list[Course] = []
    found_at: float | None = None
    corrected: float = 0.0
    weight_max: float = 0.0

    def met(self, own: Counted) -> None:
        self.units += 1
        self.words += own.words
        self.corrected += own.corrected

    def bet(
        self,
        own: Counted,
        others: Sequence[Counted],
        rate: float,
        weights: tuple[Weights, Weights],
        ended_at: float,
        ledger: Ledger,
    ) -> FoundGap | None:
        """Bet on one block at each margin: the gap that it completes, or None."""
        assert self.earned is not None
        earned = max(ledger.earned_by_gaps(ended_at), self.earned)
        money = ledger.spend(earned - self.earned, by=GAPS, better=False)
        self.earned = earned
        self.spent += money
        mean_words = self.words / self.units
        for number, margin in enumerate(self.margins):
            factors = block_factors(own, others, rate, mean_words, margin, weights)
            self.evidence[number] = multiplied(self.evidence[number], money, factors)
            self.courses[number] = self.courses[number].after(factors[COURSE_STAKE], ended_at)
        found = [mean(evidence) for evidence in self.evidence]
        weakest = min(range(len(found)), key=found.__getitem__)
        if found[weakest] < 1.0:
            return None
        since = self.courses[weakest].at
        self.begin(ended_at)
        self.found_at = ended_at
        return FoundGap(self.slice, found[weakest], ended_at, since)

    def begin(self, at: float) -> None:
        """Without evidence, against the margins as they are."""
        self.evidence = [NO_EVIDENCE] * len(self.margins)
        self.courses = [Course(0.0, 0.0, at)] * len(self.margins)


class FoundGap(NamedTuple):
    """A group's wealth reached a page's worth at a unit; `since`: when its bets began to win."""

    slice: Slice
    evidence: float
    ended_at: float
    since: float


def _counted(sums: Sums) -> Sums:
    """Sums that an earlier version wrote, without corrected words: as if each word stood for itself."""
    return sums if sums.corrected else msgspec.structs.replace(sums, corrected=sums.words / WEIGHT_ONE)


def _weights(of_stratum: Sums, group: Group, most: float) -> Weights:
    """A group's: in this stratum, if that is known well enough, else everywhere."""
    if of_stratum.units >= UNITS_MIN:
        return Weights(of_stratum.words / of_stratum.corrected, most)
    return Weights(group.words / group.corrected, most)


class _Dimension(NamedTuple):
    """A dimension whose groups are compared, and where it and its strata's dimensions lie among a row's labels."""

    name: str
    position: int
    strata: tuple[int, ...]


class GapBets:
    """The groups of one customer. Switched off, it keeps nothing and lets go of what is restored."""

    def __init__(self, slicing: Slicing, settings: GapSettings, margin: float, *, on: bool) -> None:
        names, demographics = slicing.names, slicing.settings.demographics
        self._dimensions = [
            _Dimension(
                name,
                names.index(name),
                tuple(names.index(task) for task in task_strata(slicing.settings.strata, name, demographics)),
            )
            for name in (speaker_dimensions(slicing.sliced, demographics) if on else ())
        ]
        self._persons_min = settings.persons_min
        self._margins = [Margin(1.0, max(settings.margin, margin)), Margin(1.0 + settings.relative, 0.0)]
        self._groups: dict[Slice, Group] = {}
        self._strata: dict[tuple[str, str], Stratum] = {}
        self._dirty_groups: set[Slice] = set()
        self._dirty_strata: set[tuple[str, str]] = set()
        self._dropped: list[tuple[str, str]] = []

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups[slice_] for slice_ in sorted(self._groups))

    def betting(self) -> int:
        """Groups that draw money."""
        return sum(group.earned is not None for group in self._groups.values())

    # ------------------------------------------------------------------------------------------------------- a look
    def take(self, rows: Sequence[CellRow], ledger: Ledger) -> list[FoundGap]:
        """Bet on the rows that closed, in order, and tell what was found."""
        found: list[FoundGap] = []
        if not self._dimensions:
            return found
        for unit in units_of(rows):
            for dimension in self._dimensions:
                found += self._take_unit(dimension, unit[0].unit, unit, ledger)
        self._admit(ledger)
        return found

    def _take_unit(self, dimension: _Dimension, unit: str, rows: list[CellRow], ledger: Ledger) -> list[FoundGap]:
        """A unit's sums by group and stratum, one after the other."""
        sums: dict[tuple[str, str], tuple[int, int, int]] = {}
        for row in rows:
            value = row.labels[dimension.position]
            if value != UNKNOWN:
                key = value, "\x1f".join(row.labels[position] for position in dimension.strata)
                errors, words, corrected = sums.get(key, (0, 0, 0))
                sums[key] = (errors + row.errors, words + row.words, corrected + row.plain_words)
                self._hear(((dimension.name, value),), row.person)
        found = []
        for (value, stratum), of_unit in sorted(sums.items()):
            at = dimension.name, stratum
            met = self._strata.get(at) or self._strata.setdefault(at, Stratum(*at))
            group = self._groups.get(((dimension.name, value),))
            counted = Counted(*map(float, of_unit))
            weight = counted.words / counted.corrected
            if group is not None:
                group.weight_max, _ = reach_of_weight(group.weight_max, weight)
                conclusion = self._block(group, met, unit, counted, rows[0].ended_at, ledger)
                if conclusion is not None:
                    found.append(conclusion)
            met.number += 1
            met.weight_max, _ = reach_of_weight(met.weight_max, weight)
            last = Met(unit, counted.errors, counted.words, met.sums, counted.corrected)
            met.last = [*met.last, last][-OTHERS_MAX:]
            met.sums = met.sums.plus(counted)
            self._dirty_strata.add(at)
        return found

    def _hear(self, slice_: Slice, person: str) -> None:
        if slice_[0][1] == OTHER:
            return
        group = self._groups.get(slice_)
        if group is None:
            group = self._groups[slice_] = Group(slice_)
        if len(group.persons) < self._persons_min and person not in group.persons:
            group.persons.append(person)
        self._dirty_groups.add(slice_)

    def _block(
        self, group: Group, met: Stratum, unit: str, own: Counted, ended_at: float, ledger: Ledger
    ) -> FoundGap | None:
        """One unit of a group, beside others' since its last one."""
        before = group.own.get(met.stratum, Own(0, Sums()))
        since = met.last[-(met.number - before.number) :] if met.number > before.number else []
        # A unit in which both speak is left out: what disturbs one disturbs the other.
        others = [other for other in since if other.unit != unit]
        last = before.sums.later(met.number - before.number)
        group.own[met.stratum] = Own(met.number + 1, last.plus(own))
        found = None
        if others and group.earned is not None:
            # Others' rate from before the block: all sums of then, without the group's own.
            passed = met.number - len(since) - before.number
            mine = before.sums.later(passed)
            theirs = others[0].before.less(mine)
            if theirs.units >= UNITS_MIN and theirs.words > 0.0:
                if group.margins != self._margins:
                    group.margins = list(self._margins)
                    group.begin(ended_at)
                counted = [Counted(other.errors, other.words, other.corrected) for other in others]
                weights = (
                    _weights(mine, group, group.weight_max),
                    Weights(theirs.words / theirs.corrected, met.weight_max),
                )
                found = group.bet(own, counted, theirs.errors / theirs.words, weights, ended_at, ledger)
        group.met(own)  # afterwards: a stake must not know the unit's words
        return found

    def _admit(self, ledger: Ledger) -> None:
        """Groups of enough persons, with as many others, bet and draw money from now on."""
        heard: dict[str, int] = {}
        for group in self._groups.values():
            name = group.slice[0][0]
            heard[name] = heard.get(name, 0) + len(group.persons)
        for group in self._groups.values():
            persons = len(group.persons)
            others = heard[group.slice[0][0]] - persons
            if group.earned is None and min(persons, others) >= self._persons_min:
                # From the end of the present interval on, whose money others share.
                group.earned = ledger.earned_by_gaps(ledger.until)
                self._dirty_groups.add(group.slice)

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        written = [Change(table, key, None) for table, key in sorted(self._dropped)]
        written += [
            Change("gap_groups", slice_name(slice_), msgspec.msgpack.encode(self._groups[slice_]))
            for slice_ in sorted(self._dirty_groups)
        ]
        written += [
            Change("gap_strata", "\x1f".join(at), msgspec.msgpack.encode(self._strata[at]))
            for at in sorted(self._dirty_strata)
        ]
        self._dropped.clear()
        self._dirty_groups.clear()
        self._dirty_strata.clear()
        return written

    def restore(self, table: str, key: str, value: bytes) -> None:
        """Take back one document, in any order."""
        if not self._dimensions:  # others' units of long ago are nobody's comparators once it is switched on again
            self._dropped.append((table, key))
        elif table == "gap_groups":
            group = msgspec.msgpack.decode(value, type=Group)
            group.corrected = group.corrected or group.words / WEIGHT_ONE
            group.own = {name: Own(own.number, _counted(own.sums)) for name, own in group.own.items()}
            self._groups[group.slice] = group
        else:
            stratum = msgspec.msgpack.decode(value, type=Stratum)
            stratum.sums = _counted(stratum.sums)
            stratum.last = [
                Met(met.unit, met.errors, met.words, _counted(met.before), met.corrected or met.words / WEIGHT_ONE)
                for met in stratum.last
            ]
            weights = (met.words / met.corrected for met in stratum.last)
            stratum.weight_max = stratum.weight_max or max(weights, default=0.0)
            self._strata[stratum.dimension, stratum.stratum] = stratum
