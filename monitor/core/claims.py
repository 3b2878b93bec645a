"""Decides what an outsider's claim is worth: "these people have a word error rate that is x higher than others'".

Intuition. Anybody finds something bad in what was already seen. So a claim is tested on what comes after it: each
unit of the group, beside the last units of others at the same tasks, is a bet that the group is worse. Two bets run:
one grows if the gap is more than half of what was claimed, the other if it is less than what was claimed.
Guarantee. `verified` of a claim whose gap is at most x / 2 has a chance of at most the claim's share, looked at as
often as one likes (Ville); shares of all claims of a customer, made in whatever number and answer to whatever was
seen, sum to ALPHA, and each verified one lets the next have as much again: of those verified, at most ALPHA are
expected to be false (e-LOND). `not supported` of a gap of x or more has a chance of at most REFUTED. A person counts
once, so that one loud voice is one unit. A claim that was not looked at before its units were forgotten is over
(`lapsed`): who could choose which weeks count would choose the good ones.
Not covered. Gaps between x / 2 and x may end either way. Persons who are told apart by session only count once for
each. References that one of the parties writes. The block's assumptions are those of `matched_stakes`.
Source. Waudby-Smith and Ramdas 2023 (betting); Xu and Ramdas 2024 (e-LOND); `matched_stakes` for the bet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from monitor.core.closed_units import CellRow, units_of
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.evidence import Evidence, mean, multiplied, reach_of_weight
from monitor.core.matched_stakes import (
    OTHERS_MAX,
    RATE_MIN,
    Counted,
    Margin,
    Weights,
    block_factors,
    excess_of,
    factors_below,
)
from monitor.core.predicates import Predicate, holds

ALPHA = 0.05
"""Of the claims that were ever verified, this part may be noise; if all are noise, the chance that one is verified."""
REFUTED = 0.05
"""Chance that a claim that holds ends as not supported."""
SHARES_SUM = 2.11
"""Sum of 1 / ((i + 1) log^2(i + 1)), so that shares sum to ALPHA: the slowest simple decay. The first claim needs
evidence of 41, the hundredth of 91,000, the two thousandth of 4,900,000: 1, 3 and 4 times as many words."""
PERSONS_MAX = 20_000
"""Persons remembered for one claim (16 bytes each): with 800 of the group and no answer, there will be none."""
MEMORY_UNITS = 64.0
"""The others' rate is learned from about this many units. At half it is noise, at double it trails a bad day."""
CLUSTERED = 3.5
"""Variance of a session's errors over that of independent words, before a claim has seen ten blocks of its own."""
BLOCKS_FOR_SPREAD = 10

FRESH: Evidence = (1.0, 1.0, 1.0, 1.0)
NO_MONEY = 0.0


class ClaimVerdict(StrEnum):
    """What became of a claim. `insufficient` is neither yes nor no; `lapsed`: nobody asked in time, submit it again."""

    VERIFIED = "verified"
    NOT_SUPPORTED = "not supported"
    INSUFFICIENT = "insufficient"
    LAPSED = "lapsed"
    UNDECIDED = "undecided"
    """PERSONS_MAX were heard, and neither bet had won."""


class Waiting(NamedTuple):
    """A unit of others that waits for one of the group; corrected: 0 in files that an earlier version wrote."""

    person: str
    errors: float
    words: float
    corrected: float = 0.0


class TaskState(msgspec.Struct):
    """What is known of the others in one stratum: sums that fade, and units since the group's last, oldest first.

    corrected   words counted once; weight_max: the largest weight of them of late
    """

    errors: float = 0.0
    words: float = 0.0
    waiting: list[Waiting] = []
    corrected: float = 0.0
    weight_max: float = 0.0

    def learn(self, unit: Counted) -> None:
        fade = 1.0 - 1.0 / MEMORY_UNITS
        self.errors, self.words = self.errors * fade + unit.errors, self.words * fade + unit.words
        self.corrected = self.corrected * fade + unit.corrected


class Claim(msgspec.Struct):
    """One submission. Mutable; the claims file is its only home.

    number        1.. within the customer: the place in its spending of ALPHA
    where         the predicate in canonical form; tasks: dimensions held fixed
    share         chance of `verified` if the gap is at most half of `gap`
    submitted_at  only units that began later count; until: event time up to which all units were bet on
    evidence, against  wealth of the two bets; both began with 1
    group         (units, words, mean words' memory: sum of words, count) of the group's units that were bet on
    corrected_met words met, counted once; weight_max: the largest weight of the group's words of late
    blocks        (number, sum, sum of squares) of the blocks' excess errors
    """

    id: str
    number: int
    customer: str
    where: str
    gap: float
    share: float
    submitted_at: float
    until: float
    tasks: tuple[str, ...] = ()
    by: str = ""
    verdict: ClaimVerdict = ClaimVerdict.INSUFFICIENT
    decided_at: float | None = None
    evidence: Evidence = FRESH
    against: Evidence = FRESH
    units: int = 0
    words: float = 0.0
    words_met: float = 0.0
    units_met: int = 0
    excess: float = 0.0
    excess_squares: float = 0.0
    persons: set[str] = set()
    by_task: dict[str, TaskState] = {}
    corrected_met: float = 0.0
    weight_max: float = 0.0

    @property
    def open(self) -> bool:
        return self.verdict == ClaimVerdict.INSUFFICIENT

    @property
    def found_gap(self) -> float | None:
        """What the blocks so far say, without error bars: for people, not for the verdict."""
        return self.excess / self.words if self.words else None


def share_of(number: int, verified: int) -> float:
    """The chance that the `number`th claim may cost, when so many were verified before it was submitted.

    >>> [round(1 / share_of(number, 0)) for number in (1, 100, 2000)]
    [41, 90782, 4879182]
    """
    place = number + 1
    return min(ALPHA, ALPHA * (1 + verified) / (SHARES_SUM * place * math.log(place) ** 2))


# -------------------------------------------------------------------------------------------------------------- betting
def take(
    claim: Claim,
    predicate: Predicate,
    names: Sequence[str],
    rows: Iterable[CellRow],
    closed_until: float,
    complete_since: float,
) -> None:
    """Bet on all units that closed since the claim was last looked at, in order; the verdict follows.

    names           what the labels of a row are
    rows            labelled rows that are remembered, in closing order
    closed_until    event time by which units are closed; complete_since: units that ended later are all remembered
    """
    if not claim.open or closed_until <= claim.until:
        return
    if complete_since > claim.until:
        claim.verdict, claim.decided_at = ClaimVerdict.LAPSED, closed_until
        _forget(claim)
        return
    first_time = not claim.by_task
    _of_earlier_version(claim)
    for unit in units_of(rows):
        ended_at = unit[0].ended_at
        if ended_at > closed_until:
            break
        fresh = ended_at > claim.until and unit[0].first_at > claim.submitted_at
        if (fresh or (first_time and ended_at <= claim.submitted_at)) and claim.open:
            _take_unit(claim, predicate, names, unit, fresh)
    claim.until = closed_until
    if claim.decided_at is not None:
        _forget(claim)


def _of_earlier_version(claim: Claim) -> None:
    """It did not count corrected words: those were as if each word stood for itself."""
    claim.corrected_met = claim.corrected_met or claim.words_met
    for state in claim.by_task.values():
        state.corrected = state.corrected or state.words
        state.waiting = [one if one.corrected else one._replace(corrected=one.words) for one in state.waiting]
        weights = (one.words / one.corrected for one in state.waiting)
        state.weight_max = state.weight_max or max(weights, default=0.0)


def _take_unit(claim: Claim, predicate: Predicate, names: Sequence[str], unit: Sequence[CellRow], fresh: bool) -> None:
    """One unit: the group's if any of it is, else the others'. What lies in its largest task counts."""
    sums: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}
    for row in unit:
        inside = holds(predicate, names, row.labels)
        if inside is None:
            continue
        task = "\x1f".join(row.labels[names.index(name)] for name in claim.tasks)
        part = sums[inside].setdefault(task, [0.0, 0.0, 0.0])
        part[0] += row.errors / WEIGHT_ONE
        part[1] += row.words / WEIGHT_ONE
        part[2] += row.plain_words
    of_group = bool(sums[True])
    parts = sums[of_group]
    if not parts:
        return
    task = max(sorted(parts), key=lambda name: parts[name][1])
    counted = Counted(*parts[task])
    state = claim.by_task.setdefault(task, TaskState())
    known = claim if of_group else state
    known.weight_max, _ = reach_of_weight(known.weight_max, counted.words / counted.corrected)
    if not of_group:
        if fresh:
            state.waiting = [*state.waiting, Waiting(_pseudonym(claim, unit[0].person), *counted)][-OTHERS_MAX:]
        else:
            state.learn(counted)
    elif fresh:
        _block(claim, state, _pseudonym(claim, unit[0].person), counted, unit[0].ended_at)
    else:
        _meet(claim, counted)


def _block(claim: Claim, state: TaskState, person: str, own: Counted, ended_at: float) -> None:
    """One bet: the group's unit beside the others since its last; each person once in the life of a claim."""
    waiting, state.waiting = state.waiting, []
    others: dict[str, Counted] = {}
    for other, *counted in waiting:
        if other not in claim.persons and other != person:
            others.setdefault(other, Counted(*counted))
    known = state.words > 0 and claim.units_met > 0
    if known and others and person not in claim.persons:
        claim.persons |= {person, *others}
        _bet(claim, state, own, list(others.values()))
        _conclude(claim, ended_at)
    # What was bet on is learned afterwards: a rate that knew the block's errors would bet on the past.
    for _, *counted in waiting:
        state.learn(Counted(*counted))
    _meet(claim, own)


def _meet(claim: Claim, own: Counted) -> None:
    claim.units_met += 1
    claim.words_met += own.words
    claim.corrected_met += own.corrected


def _bet(claim: Claim, state: TaskState, own: Counted, others: Sequence[Counted]) -> None:
    rate, usual = state.errors / state.words, claim.words_met / claim.units_met
    weights = (
        Weights(claim.words_met / claim.corrected_met, claim.weight_max),
        Weights(state.words / state.corrected, state.weight_max),
    )
    worse = block_factors(own, others, rate, usual, Margin(1.0, claim.gap / 2), weights)
    less = factors_below(own, others, rate, usual, claim.gap, weights)
    claim.evidence = multiplied(claim.evidence, NO_MONEY, worse)
    claim.against = multiplied(claim.against, NO_MONEY, less)
    excess = excess_of(own, others, rate, weights)
    claim.units += 1
    claim.words += own.words
    claim.excess += excess
    claim.excess_squares += excess * excess


def _conclude(claim: Claim, at: float) -> None:
    if mean(claim.evidence) >= 1.0 / claim.share:
        claim.verdict, claim.decided_at = ClaimVerdict.VERIFIED, at
    elif mean(claim.against) >= 1.0 / REFUTED:
        claim.verdict, claim.decided_at = ClaimVerdict.NOT_SUPPORTED, at
    elif len(claim.persons) > PERSONS_MAX:
        claim.verdict, claim.decided_at = ClaimVerdict.UNDECIDED, at


def _forget(claim: Claim) -> None:
    """A claim that is over needs no memory of persons."""
    claim.persons, claim.by_task = set(), {}


def _pseudonym(claim: Claim, person: str) -> str:
    """What is remembered of a person: useless beside another claim's."""
    return blake2b(f"{claim.id}\x1f{person}".encode(), digest_size=8).hexdigest()


# ------------------------------------------------------------------------------------------------------------- planning
def words_missing(claim: Claim) -> int | None:
    """Labelled words of the group until `verified`, if the gap is as claimed; None while nobody was met at all.

    A bet at the best stake gains (mean excess)^2 / (2 variance) a block; the mixture of stakes keeps four fifths of it.
    """
    errors = sum(state.errors for state in claim.by_task.values())
    words = sum(state.words for state in claim.by_task.values())
    if not claim.units_met or not words:
        return None
    usual, rate = claim.words_met / claim.units_met, max(errors / words, RATE_MIN)
    if claim.units >= BLOCKS_FOR_SPREAD:
        average = claim.excess / claim.units
        variance = claim.excess_squares / claim.units - average * average
    else:
        variance = CLUSTERED * usual * (2 * rate + claim.gap)
    missing = max(math.log(1.0 / claim.share) - math.log(max(mean(claim.evidence), 1e-6)), 0.1)
    gain = 0.8 * (usual * claim.gap / 2) ** 2 / (2 * max(variance, usual * RATE_MIN))
    return max(math.ceil(missing / gain * usual), 1)
