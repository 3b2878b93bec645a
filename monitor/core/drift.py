"""Decides when a slice has become worse (or better) than its own past: learn, close a baseline, bet on each unit.

Intuition. Every stratum (accent x deployment x ...) has its own error rate. A slice expects of each unit what the
unit's strata cost while it learned; a change of mix then moves the expectation with the errors. What remains is drift.
Guarantee. See `evidence`: expected false alarms stay within the money, but for the 5 % of slices whose rho is too low,
and for those only until what came since tells (`Watch._allowed`). rho grows where the mix of strata becomes one that
was learned less well (`mix_error`).
Not covered. A slice that never has the units to close a baseline (`learning`); a fault older than the baseline (that
is a standing gap); values never seen while learning: they give no evidence, since new accents arriving are mix.
Source. Shin, Ramdas, Rinaldo 2022; rho is a one-sided t bound on the baseline's own cluster-robust error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from monitor.core.budget import BETTER_PART, DAY, Ledger
from monitor.core.estimators import t_quantile
from monitor.core.evidence import NO_EVIDENCE, Evidence, bet_better, bet_worse, mean, reach_of_weight
from monitor.core.mix_error import Mix, Parts, prices
from monitor.core.parent_strata import Cell, Parents, fit
from monitor.core.records import Record, Slice

LOOK_PART = 0.5
"""Part of a small slice's money for its daily look (see `small_slices`); the rest bets. As p and evidence are compared
with money, half costs either log 2 of the 6 to 8 nats that a page takes; less for one is more for the other."""
FRESH_SECONDS = 7 * DAY
"""What is younger says nothing yet about the baseline: power is promised for the week after a change. At half, a change
that takes a week to be seen is partly forgiven before; at double, a baseline that is too low pages a week longer."""

CHANCE = 0.999
"""Of a baseline's error this much is forgiven: of 259 slices one in four customers has one that was lower still."""


class LearnSettings(Record, frozen=True):
    """When a slice knows itself well enough to bet.

    learn_seconds   at least this long: a working week has weekdays in it; half of it takes Monday for the norm
    learn_units     and this many units: the error of a spread from 30 is 13 %, from half as many 19 %
    patience        at twice learn_seconds, this many units suffice; with fewer the slice stays silent, not wrong
    stratum_units   a stratum's rate needs this many units: at half, rates are one session's mood
    learned_share_min  below this share of units in learned strata the others are guessed from their dimensions: where
                    more are learned, a guess costs more power (its caution) than it adds
    tolerance       smallest relative change worth a page
    """

    learn_seconds: float = 5 * DAY
    learn_units: int = 30
    learn_seconds_max: float = 10 * DAY
    learn_units_min: int = 12
    stratum_units_min: int = 8
    tolerance: float = 0.10
    learned_share_min: float = 0.5


class StratumSums(NamedTuple):
    """A unit's part in one stratum of a slice: errors (capped) and words, weighted."""

    stratum: str
    errors: int
    words: int
    corrected: int = 0
    """Words counted once; 0: not known, and then of the usual weight."""


UnitSums = tuple[StratumSums, ...]
"""One unit of a slice, sorted by stratum."""


class Baseline(msgspec.Struct, frozen=True):
    """What a slice expects of a unit: rates by stratum, tolerance rho, mean expected errors of its learning units."""

    rates: dict[str, float]
    rho: float
    scale: float
    learned_from: float = 0.0
    """Event time of learning, from this to `learned_until`; 0 in baselines that an earlier version closed."""
    learned_until: float = 0.0
    parents: Parents | None = None
    """Where labels are sparse: what strata without a rate of their own cost."""
    error: float = 0.0
    """Relative standard error of the expectation; 0 in baselines that an earlier version closed."""
    units: int = 0
    """It was learned from."""
    prices: dict[str, float] = {}
    """Of strata's squared shares, for another mix than the learned one (see `mix_error`)."""

    @property
    def version(self) -> str:
        """Names the content, and is the same wherever it is computed; a baseline never moves under its version."""
        levels = None if self.parents is None else [sorted(values.items()) for values in self.parents.levels]
        content = (sorted(self.rates.items()), self.rho, self.scale, self.learned_from, self.learned_until, levels)
        known = (self.error, self.units) if self.error or self.units else ()  # files of schema 1 have neither
        return blake2b(msgspec.msgpack.encode((*content, *known)), digest_size=6).hexdigest()

    def expectation(self, unit: UnitSums) -> tuple[float, float, float]:
        """(expected errors, errors, words) of the unit's parts whose stratum is known; all 0 if none is."""
        expected = errors = words = 0.0
        for part in unit:
            rate = self.rates.get(part.stratum)
            if rate is None and self.parents is not None:
                rate = self.parents.rate(part.stratum)
            if rate is not None:
                expected += rate * part.words
                errors += part.errors
                words += part.words
        return expected, errors, words

    def parts(self, unit: UnitSums) -> Parts:
        """Expected errors by stratum, of those with a rate; guessed ones are one stratum."""
        parts = [(part.stratum, self.rates[part.stratum] * part.words) for part in unit if part.stratum in self.rates]
        if self.parents is not None:
            for part in unit:
                rate = None if part.stratum in self.rates else self.parents.rate(part.stratum)
                if rate is not None:
                    parts.append(("", rate * part.words))
        return parts

    def rho_at(self, stretch: float) -> float:
        """rho, or more where the mix is one whose expectation is so many times less certain than the learned one's."""
        if stretch <= 1.0 or not (self.error > 0.0 and self.units > 1):
            return self.rho
        likely = _t(0.95, self.units - 1) * self.error
        return max(self.rho, (1.0 + likely) * math.exp(likely * (stretch - 1.0)))


class Alarm(StrEnum):
    """What a bet concluded."""

    WORSE = "worse"
    BETTER = "better"


def learn(units: Sequence[UnitSums], settings: LearnSettings) -> Baseline | None:
    """The baseline of these units, in order; None while too few of them lie in strata with a rate."""
    cells: dict[str, Cell] = {}
    for unit in units:
        for part in unit:
            cell = cells.get(part.stratum)
            if cell is None:
                cell = cells[part.stratum] = Cell(0, 0, 0)
            cell.errors += part.errors
            cell.words += part.words
            cell.units += 1
    # A slice inside one stratum needs no comparison between strata: its own units are enough.
    needed = settings.stratum_units_min if len(cells) > 1 else 1
    rates = {
        stratum: cell.errors / cell.words
        for stratum, cell in sorted(cells.items())
        if cell.units >= needed and cell.errors > 0
    }
    draft = Baseline(rates, 1.0, 1.0, parents=_parents(units, cells, rates, settings))
    expectations = [found for found in map(draft.expectation, units) if found[0] > 0]
    m = len(expectations)
    if m < settings.learn_units_min:
        return None
    total = sum(expected for expected, _, _ in expectations)
    squares = sum((seen - expected) ** 2 for expected, seen, _ in expectations)
    error = math.sqrt(squares * m / (m - 1)) / total
    rho = max(1.0 + settings.tolerance, 1.0 + t_quantile(0.95, m - 1) * error)
    priced = prices([draft.parts(unit) for unit in units])
    return msgspec.structs.replace(draft, rho=rho, scale=total / m, error=error, units=m, prices=priced)


def _parents(
    units: Sequence[UnitSums], cells: Mapping[str, Cell], rates: Mapping[str, float], settings: LearnSettings
) -> Parents | None:
    """What small strata cost, if so few units lie in learned ones that the slice would see next to nothing."""
    of_own = sum(cells[stratum].units for stratum in rates)
    if of_own >= settings.learned_share_min * sum(cell.units for cell in cells.values()):
        return None
    guess = fit(cells, 0.0)
    if guess is None:
        return None
    # How far units are from the guess itself is how uncertain the levels are.
    found = [found for found in map(Baseline({}, 1.0, 1.0, parents=guess).expectation, units) if found[0] > 0]
    total = sum(expected for expected, _, _ in found)
    return fit(cells, sum((seen - expected) ** 2 for expected, seen, _ in found) / total) if total else None


def reach_of(weight_max: float, unit: UnitSums) -> tuple[float, float]:
    """(the largest weight of late with this unit, how many times the unit's own that is): known before errors are."""
    corrected = sum(part.corrected for part in unit)
    if not corrected:
        return weight_max, 1.0
    return reach_of_weight(weight_max, sum(part.words for part in unit) / corrected)


class Watch(msgspec.Struct):
    """One slice's learning, baseline and evidence. Mutable, private to its decider.

    units      units closed since learning began; attempt: how many there were when a baseline was last tried
    earned     the ledger's mark when the slice last took money; spent, spent_better: what it took, by direction
    reopened_at  when it last began to learn anew, if ever: what was learned before is not its level any more
    evidence   R against "not worse"; improvement: against "not better"
    weight_max  the largest weight of a unit's words of late, by which stakes are limited
    recent     (day, expected errors, errors) of days that are not over for FRESH_SECONDS; past: sums of those before
    mix        of the strata bet on of late: how uncertain the expectation of it is
    """

    slice: Slice
    learning_since: float
    units: int = 0
    attempt: int = 0
    baseline: Baseline | None = None
    closed_at: float | None = None
    earned: float = 0.0
    spent: float = 0.0
    evidence: Evidence = NO_EVIDENCE
    improvement: Evidence = NO_EVIDENCE
    spent_better: float = 0.0
    reopened_at: float | None = None
    weight_max: float = 0.0
    looks: bool = False
    looked: float = 0.0
    recent: list[tuple[int, float, float]] = []
    past: tuple[float, float] = (0.0, 0.0)
    mix: Mix = msgspec.field(default_factory=Mix)

    @property
    def depth(self) -> int:
        return len(self.slice)

    def may_close(self, now: float, settings: LearnSettings) -> bool:
        """Whether time and units suffice to try a baseline, and there is a unit that the last try had not."""
        if self.baseline is not None or self.units <= self.attempt or self.units < settings.learn_units_min:
            return False
        age = now - self.learning_since
        if age < settings.learn_seconds:
            return False
        return self.units >= settings.learn_units or age >= settings.learn_seconds_max

    def close(self, now: float, units: Sequence[UnitSums], ledger: Ledger, settings: LearnSettings) -> bool:
        """Try to close the baseline with these units; bets begin with the next one."""
        self.attempt = self.units
        learned = learn(units, settings)
        if learned is None:
            return False
        for unit in units:
            self._reach(unit)
        self.adopt(msgspec.structs.replace(learned, learned_from=self.learning_since, learned_until=now), now, ledger)
        return True

    def adopt(self, baseline: Baseline, now: float, ledger: Ledger) -> None:
        """Expect this from now on; bets begin with the next unit, without evidence and without money."""
        self.baseline = baseline
        self.closed_at, self.earned = now, ledger.earned(self.depth, now)
        self.evidence = self.improvement = NO_EVIDENCE
        self.recent, self.past = [], (0.0, 0.0)
        self.mix = Mix()

    def reopen(self, now: float) -> None:
        """Forget the baseline and learn from units that end after `now`."""
        self.learning_since, self.units, self.attempt = now, 0, 0
        self.reopened_at = now
        self.baseline = self.closed_at = None
        self.evidence = self.improvement = NO_EVIDENCE

    def look_money(self, ledger: Ledger, least: float) -> float:
        """What a small slice spends on today's look: nothing on the day that it begins, and then at least the least.

        Until as much is there, earned by the slice and left in the ledger, nothing is spent and it goes on waiting.
        """
        earned = ledger.earned(self.depth, ledger.until)
        if not self.looks:
            self.looks, self.looked = True, earned
        waiting = LOOK_PART * (earned - self.looked)
        if min(waiting, ledger.left()) < least:
            return 0.0
        self.looked = earned
        money = ledger.spend(waiting, better=False)
        self.spent += money
        return money

    def look_no_more(self, ledger: Ledger) -> None:
        """The slice is no longer small; bets have all of what is earned from now on, and nothing of before twice."""
        self.looks = False
        self.earned = max(self.earned, ledger.earned(self.depth, ledger.until))

    def _reach(self, unit: UnitSums) -> float:
        self.weight_max, reach = reach_of(self.weight_max, unit)
        return reach

    def bet(self, unit: UnitSums, ended_at: float, ledger: Ledger) -> tuple[Alarm, float] | None:
        """Bet on one closed unit: what it concluded and the evidence at that moment, or None."""
        assert self.baseline is not None
        expected, errors, words = self.baseline.expectation(unit)
        if not expected > 0:
            return None  # only strata without a rate: mix, not drift
        # Money is what accrued since the last bet: known before the unit's errors are.
        earned = max(ledger.earned(self.depth, ended_at), self.earned)
        money = ledger.spend((earned - self.earned) * (1.0 - LOOK_PART if self.looks else 1.0))
        self.earned = earned
        self.spent += money
        self.spent_better += money / BETTER_PART
        stretch = self._stretch(self.baseline, unit)
        rho, scale = self.baseline.rho_at(stretch), self.baseline.scale
        allowed, reach = self._allowed(self.baseline, ended_at, stretch), self._reach(unit)
        self._note(self.baseline, ended_at, expected, errors)
        self.evidence = bet_worse(self.evidence, money, errors, expected, allowed, scale, reach)
        self.improvement = bet_better(
            self.improvement, money / BETTER_PART, errors, expected, words, rho, scale, reach=reach
        )
        if (found := mean(self.evidence)) >= 1.0:
            self.evidence = NO_EVIDENCE
            return Alarm.WORSE, found
        if (found := mean(self.improvement)) >= 1.0:
            self.improvement = NO_EVIDENCE
            return Alarm.BETTER, found
        return None

    def _stretch(self, baseline: Baseline, unit: UnitSums) -> float:
        """How many times less certain the expectation is than it was when learned, by the mix with this unit's."""
        if not baseline.prices:
            return 1.0
        self.mix.note(baseline.parts(unit), baseline.prices)
        return self.mix.stretch()

    def _allowed(self, baseline: Baseline, ended_at: float, stretch: float) -> float:
        """rho, or more if what came since learning says that the baseline was too low by chance.

        It is known before the unit's errors are and never below rho, so false alarms only become fewer. What is younger
        than FRESH_SECONDS does not count, so a change is bet on as before for as long; and no more is forgiven than
        chance can explain, so a slice that knows itself well never calls a degraded level normal.
        """
        oldest = math.floor((ended_at - FRESH_SECONDS) / DAY)
        while self.recent and self.recent[0][0] < oldest:
            _, expected, errors = self.recent.pop(0)
            self.past = (self.past[0] + expected, self.past[1] + errors)
        rho = baseline.rho_at(stretch)
        if not self.past[0] > 0.0:
            return rho
        learned, error = baseline.scale * baseline.units / (stretch * stretch), baseline.error * stretch
        known = learned + self.past[0]
        level = (learned + self.past[1]) / known
        likely = level * math.exp(_t(0.95, baseline.units - 1) * error * math.sqrt(learned / known))
        return max(rho, min(likely, math.exp(_t(CHANCE, baseline.units - 1) * error)))

    def _note(self, baseline: Baseline, ended_at: float, expected: float, errors: float) -> None:
        """Keep what is forgiven later; a baseline whose error is not known forgives nothing."""
        if not (baseline.error > 0.0 and baseline.units > 1):
            return
        day = math.floor(ended_at / DAY)
        if self.recent and self.recent[-1][0] == day:
            _, before, seen = self.recent.pop()
            expected, errors = expected + before, errors + seen
        self.recent.append((day, expected, errors))


@lru_cache(maxsize=4096)
def _t(probability: float, degrees: int) -> float:
    return t_quantile(probability, degrees)
