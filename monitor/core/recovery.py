"""Decides what an incident's slice has to come back to, and when it has: evidence against "still 1.25 x its baseline".

Intuition. After a page the question turns round: a slice bets that it is healthy again.
Guarantee. Under H0 (WER >= 1.25 x the baseline) the chance that the evidence ever reaches 20 is at most 1 in 20.
Not covered. A slice without traffic: it neither recovers nor resolves.
Source. Ville 1939; mixture over the day of recovery as in Shin, Ramdas, Rinaldo 2022.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from monitor.core.closed_units import CellRow, units_of
from monitor.core.evidence import CAUTIOUS_STAKES, NO_EVIDENCE, Evidence, bet_better, mean, reach_of_weight
from monitor.core.records import Slice
from monitor.core.watching import Watches

DAY = 86400.0

RECOVERY_EVIDENCE = 20.0
"""The e-value against "still 1.25 x the baseline": wrong once in 20 incidents at the border, far less beyond it. At
half, one in 10; at double it takes 0.7 nats longer."""
RECOVERED_RATIO = 1.25
"""WER below this multiple of the baseline counts as recovered."""


class Recovery(msgspec.Struct):
    """The evidence of one incident. Mutable, part of the incident.

    rates  expected WER by stratum; `other` where the stratum has none
    scale  mean expected errors of a unit (weighted)
    weight_max  the largest weight of a unit's words of late, by which stakes are limited

    The degraded units right after the page would bury an ordinary e-process. So its unit of money is put in over time,
    1 - 1/(1 + days since the page): recovery on day d is a bet with about 1/d^2 of it, and the sum stays below 1.
    """

    since: float
    rates: dict[str, float]
    other: float
    scale: float
    evidence: Evidence = NO_EVIDENCE
    last_at: float | None = None
    weight_max: float = 0.0

    def expectation(self, stratum: str, words: float) -> float:
        return self.rates.get(stratum, self.other) * words

    def bet(self, errors: float, expected: float, words: float, corrected: int, ended_at: float) -> bool:
        """Bet that the unit belongs to a recovered slice; whether the evidence suffices.

        words  weighted, as errors are; corrected: each counted once
        """
        if not expected > 0 or ended_at <= self.since:
            return False
        last = self.since if self.last_at is None else self.last_at
        money = 1 / (1 + (last - self.since) / DAY) - 1 / (1 + (ended_at - self.since) / DAY)
        self.last_at = max(last, ended_at)
        self.weight_max, reach = reach_of_weight(self.weight_max, words / corrected)
        self.evidence = bet_better(
            self.evidence,
            max(money, 0.0),
            errors,
            expected,
            words,
            1 / RECOVERED_RATIO,
            self.scale,
            CAUTIOUS_STAKES,
            reach,
        )
        return mean(self.evidence) >= RECOVERY_EVIDENCE

    def restart(self, closed_at: float) -> None:
        """A relapse: what was won before counts no longer."""
        self.since, self.last_at, self.evidence = closed_at, None, NO_EVIDENCE


def recovery_of(
    named: Slice, found_by: Slice, before: float, watches: Watches, rows: Iterable[CellRow], at: float
) -> Recovery:
    """What the named slice has to come back to: its own baseline, else that of the alarm, else its WER before.

    at  closed event time of the page: later units count
    """
    for slice_ in (named, found_by):
        watch = watches.get(slice_)
        if watch is not None and watch.baseline is not None:
            baseline = watch.baseline
            return Recovery(at, baseline.rates, before, baseline.scale, weight_max=watch.weight_max)
    units: dict[str, int] = {}
    for row in rows:
        if named in watches.slices(row):
            units[row.unit] = units.get(row.unit, 0) + row.words
    return Recovery(at, {}, before, max(before * sum(units.values()) / max(len(units), 1), 1.0))


def recovers(recovery: Recovery, slice_: Slice, rows: Sequence[CellRow], watches: Watches) -> bool:
    """Bet on the units among these rows that touch the slice, in order, until the evidence suffices."""
    for unit in units_of(rows):
        errors = words = corrected = 0
        expected = ended_at = 0.0
        for row in unit:
            ended_at = row.ended_at
            if slice_ in watches.slices(row):
                errors += row.errors
                words += row.words
                corrected += row.plain_words
                expected += recovery.expectation(watches.stratum(row), row.words)
        if recovery.bet(errors, expected, words, corrected, ended_at):
            return True
    return False
