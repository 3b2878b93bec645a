"""Decides how much a slice may bet: false pages are money, granted by event time, and never more than was granted.

Intuition. A customer allows B expected false pages in 90 days. Time earns them evenly; a part goes to each depth of
slices (overall, one-way, two-way) and is shared equally by the slices of that depth that have closed a baseline.
Guarantee. Money staked <= money granted at every moment: each depth accrues one amount per slice, a slice may only
take what accrued since it last took, slices that come or go and other settings change the rate from then on, never
backwards; and nobody is ever given more than is left, whatever else is wrong.
Not covered. What several customers of one on-call engineer add up to.
Source. Alpha spending (Lan and DeMets 1983), with time as information.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

DAY = 86400.0

SHARES = (0.2, 0.5, 0.3)
"""Parts of the budget for overall, one-way and two-way slices. One-way gets most: the question is about accents. At
half, an accent is found a day later; at double nothing is left to name intersections."""
GAPS_SHARE = 0.2
"""Part of the budget for groups that bet on their gap to others, where gaps page: taken evenly from all depths, which
costs drift 3 % of its speed. At half, a gap of 8 points takes a twelfth longer; at double, drift pays 7 %."""


BETTER_PART = 10.0
"""An improvement bets with a tenth of a page's money: it pages nobody, but re-opens learning, which costs days of
power. At the full money a year has four false re-openings, at a hundredth a real improvement waits a week longer."""


class Ledger(msgspec.Struct):
    """One customer's account. Mutable, private to its decider.

    pages    false pages allowed in `days`
    since    event time of the first unit; money is earned from there
    until    event time up to which money was earned
    accrued  for each depth, what a slice that took part all along could have taken
    rates    for each depth, what a slice earns in a second, for the interval that ends at `until`
    started  where that interval begins
    spent    money put into bets that something got worse: expected false pages
    gaps_accrued, gaps_rate  the same of a group that bets on its gap
    granted_before  what was granted while other `pages` or `days` were in force; rate_since: until when they were
    spent_better    the same into bets that something got better: a tenth, beside the budget, as they page nobody
    others   purpose -> (worse, better): what of both was spent by others than slices betting on their own drift
    """

    pages: float
    days: float
    since: float | None = None
    until: float = 0.0
    started: float = 0.0
    accrued: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rates: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spent: float = 0.0
    granted_before: float = 0.0
    rate_since: float | None = None
    spent_better: float = 0.0
    others: dict[str, tuple[float, float]] = {}
    gaps_accrued: float = 0.0
    gaps_rate: float = 0.0

    def allow(self, pages: float, days: float) -> None:
        """What is allowed from now on; what time has granted so far stays as it is."""
        if (pages, days) == (self.pages, self.days):
            return
        if self.since is not None:
            self.granted_before, self.rate_since = self.granted(), self.until
        self.pages, self.days = pages, days

    def advance(self, until: float, watched: Sequence[int], groups: int = 0, *, reserved: float = 0.0) -> None:
        """Event time moves on to `until`; `watched` slices of each depth share what the interval earns.

        groups    that bet on their gap to others: their share is taken from the depths'
        reserved  part of it that others are paid (`pay`)
        """
        if self.since is None:
            self.since = self.until = until
        past = self.until - self.started
        self.accrued = (
            self.accrued[0] + self.rates[0] * past,
            self.accrued[1] + self.rates[1] * past,
            self.accrued[2] + self.rates[2] * past,
        )
        self.gaps_accrued += self.gaps_rate * past
        self.gaps_rate = (1.0 - reserved) * self.pages / (self.days * DAY) * GAPS_SHARE / groups if groups else 0.0
        self.rates = (
            self.rate(0, watched[0], groups, reserved),
            self.rate(1, watched[1], groups, reserved),
            self.rate(2, watched[2], groups, reserved),
        )
        self.started, self.until = self.until, max(until, self.until)

    def rate(self, depth: int, slices: int, groups: int, reserved: float) -> float:
        """What each of so many slices of a depth earns in a second, beside groups and others as `advance` has them."""
        earned = (1.0 - reserved) * self.pages / (self.days * DAY) * (1.0 - GAPS_SHARE if groups else 1.0)
        return earned * SHARES[depth] / slices if slices else 0.0

    def earned(self, depth: int, at: float) -> float:
        """What a slice of this depth could have taken in all by event time `at`, within the present interval."""
        inside = min(max(at, self.started), self.until) - self.started
        return self.accrued[depth] + self.rates[depth] * inside

    def earned_by_gaps(self, at: float) -> float:
        """The same of a group that bets on its gap."""
        return self.gaps_accrued + self.gaps_rate * (min(max(at, self.started), self.until) - self.started)

    def spend(self, amount: float, *, by: str = "", better: bool = True) -> float:
        """Take money for a bet: what is given of it, at most what is left.

        by      purpose, if it is not a slice's bet on its own drift; better: whether a tenth bets on an improvement
        """
        assert amount >= 0.0
        given = min(amount, self.left())
        mirrored = given / BETTER_PART if better else 0.0
        self.spent += given
        self.spent_better += mirrored
        if by:
            worse, improved = self.others.get(by, (0.0, 0.0))
            self.others[by] = (worse + given, improved + mirrored)
        return given

    def inherit(self, worse: float, better: float, *, by: str) -> None:
        """What a slice that is no more has spent goes on being told."""
        before = self.others.get(by, (0.0, 0.0))
        self.others[by] = (before[0] + worse, before[1] + better)

    def pay(self, share: float, by: str) -> bool:
        """Spend what the present interval earned of a reserved share; whether all of it was there."""
        wanted = share * self.pages * (self.until - self.started) / (self.days * DAY)
        return self.spend(wanted, by=by, better=False) >= wanted * (1.0 - 1e-9)

    def left(self) -> float:
        """What can still be given; 0 where fewer pages are allowed now than were spent."""
        return max(self.granted() - self.spent, 0.0)

    def granted(self) -> float:
        """Expected false pages that time has allowed so far."""
        since = self.since if self.rate_since is None else self.rate_since
        return 0.0 if since is None else self.granted_before + self.pages * (self.until - since) / (self.days * DAY)

    def chance(self, since: float | None, until: float) -> float:
        """What the present rate has granted between two event times, for one day at the most."""
        begins = max(at for at in (self.since, self.rate_since, since) if at is not None)
        return self.pages * min(max(until - begins, 0.0), DAY) / (self.days * DAY)
