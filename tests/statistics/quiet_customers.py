"""Customers with whom nothing changes for 90 days, 259 overlapping slices each: every page they cause is a false one.

A customer has 13 accents, 7 sites and 7 devices, each pair of them a slice too; strata are accent x site, as by
default. 1,111 utterances a day, ten in a session. An utterance is hard with chance .3 and then has three times the
errors of an easy one. What a `Null` asks for beside: sessions with levels of their own; sampling that favours hard
utterances from day 40 on (so that only weights keep the WER where it was); labels that come later for hard utterances
and not at weekends; speakers who return.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor.analysis.naive import NaiveRule, NaiveRules
from monitor.core.cells import BoolArray, FloatArray, IntArray
from monitor.core.closed_units import CellRow
from monitor.core.drift import LearnSettings
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.maturity import find_maturity
from monitor.core.slicing import SliceSettings, Slicing
from tests.statistics.streams import DAY, START, pages, watched
from tests.statistics.unit_sums import WORDS

HOUR = 3600.0
DAYS = 90
SESSIONS = 111.1
"""A day; with 10 utterances each, 200 customers have 20 million."""
DIMENSIONS = {"accent": 13, "site": 7, "device": 7}
SLICES = 259
HARD = 0.3
HARDER = 3.0
POLICY_DAY = 40.0


class Roster(NamedTuple):
    """`speakers` with levels of their own; a random `share` of them is at work for `days`, then others are."""

    speakers: int
    share: float
    days: float


class Null(NamedTuple):
    """What varies while nothing changes; `effect` is the standard deviation of sessions' own levels."""

    effect: float
    weighted: bool = False
    delayed: bool = False
    roster: Roster | None = None


RETURNING = Roster(120, 0.5, 1.0)
NULLS = {
    "independent words": Null(0.0),
    "session effect .3": Null(0.3),
    "session effect .6": Null(0.6),
    "weighted, effect .6": Null(0.6, weighted=True),
    "delayed labels, effect .6": Null(0.6, delayed=True),
    "returning speakers, effect .3": Null(0.3, roster=RETURNING),
    "returning speakers, effect .6": Null(0.6, roster=RETURNING),
    "all of it, effect .6": Null(0.6, weighted=True, delayed=True, roster=RETURNING),
}


class Sessions(NamedTuple):
    """Arrays over sessions, in order of their end; labels are numbers of values."""

    ended_at: FloatArray
    accent: IntArray
    site: IntArray
    device: IntArray
    speaker: IntArray
    level: FloatArray


def slicing() -> Slicing:
    names = tuple(DIMENSIONS)
    pairs = (("accent", "site"), ("accent", "device"), ("site", "device"))
    return Slicing(SliceSettings(dimensions=names, intersections=pairs, strata=("accent", "site")), "quiet")


def quiet_customer(seed: int, null: Null, days: float = DAYS) -> tuple[list[CellRow], int]:
    """Closed units in the order of their end, and how many utterances were said."""
    random = np.random.default_rng(seed)
    sessions = _sessions(random, null, days)
    utterances = 1 + random.poisson(9.0, len(sessions.ended_at))
    session = np.repeat(np.arange(len(utterances)), utterances)
    hard = random.random(len(session)) < HARD
    words = 1 + random.poisson(WORDS - 1, len(session))
    easiness = np.where(hard, HARDER, 1.0) / (HARD * HARDER + 1 - HARD)
    errors = random.poisson(sessions.level[session] * easiness * words)
    kept = np.ones(len(session), np.bool_)
    weight = np.full(len(session), WEIGHT_ONE)
    if null.weighted:
        chance = _chance(sessions.ended_at[session], hard)
        kept &= random.random(len(session)) < chance
        weight = np.rint(WEIGHT_ONE / chance).astype(np.int64)
    if null.delayed:
        kept &= _in_time(random, sessions.ended_at[session], hard)
    return _rows(sessions, session[kept], errors[kept], words[kept], weight[kept]), len(session)


def _sessions(random: np.random.Generator, null: Null, days: float) -> Sessions:
    count = int(random.poisson(SESSIONS * days))
    ended_at = START + np.sort(random.random(count)) * days * DAY
    accent, site, device = (random.choice(size, count, p=_shares(size)) for size in DIMENSIONS.values())
    speaker = np.arange(count)
    effect = _gamma(random, null.effect, count)
    if null.roster is not None:
        # Half of the variance is the speaker's, half the session's; a speaker has one accent and one site.
        part = null.effect / np.sqrt(2.0)
        speaker = _at_work(random, null.roster, (ended_at - START) / DAY)
        accent, site = accent[speaker], site[speaker]
        effect = _gamma(random, part, null.roster.speakers)[speaker] * _gamma(random, part, count)
    levels = [random.uniform(0.08, 0.2, DIMENSIONS["accent"]), random.uniform(0.8, 1.3, DIMENSIONS["site"])]
    return Sessions(ended_at, accent, site, device, speaker, levels[0][accent] * levels[1][site] * effect)


def _shares(size: int) -> FloatArray:
    """From 1 to 1 / size of the largest."""
    shares = 1.0 / np.arange(1, size + 1)
    return np.asarray(shares / shares.sum())


def _gamma(random: np.random.Generator, effect: float, count: int) -> FloatArray:
    return random.gamma(1 / effect**2, effect**2, count) if effect else np.ones(count)


def _at_work(random: np.random.Generator, roster: Roster, day: FloatArray) -> IntArray:
    """A speaker for each session, from those at work then."""
    shifts = (day / roster.days).astype(np.int64)
    working = max(1, round(roster.speakers * roster.share))
    plan = np.array([random.permutation(roster.speakers)[:working] for _ in range(int(shifts.max()) + 1)])
    return np.asarray(plan[shifts, random.integers(0, working, len(day))])


def _chance(at: FloatArray, hard: BoolArray) -> FloatArray:
    """Inclusion probabilities: from POLICY_DAY on hard utterances are looked for."""
    before = np.where(hard, 0.25, 0.5)
    after = np.where(hard, 1.0, 0.25)
    return np.where(at < START + POLICY_DAY * DAY, before, after)


def _in_time(random: np.random.Generator, ended_at: FloatArray, hard: BoolArray) -> BoolArray:
    """Whether labels come before their unit is closed, at the maturity that the product finds for such delays."""
    delay = random.lognormal(np.log(8 * HOUR), 0.8, len(ended_at)) * np.where(hard, 1.5, 1.0)
    given_at = ended_at + delay
    weekday = (given_at / DAY + 3.0) % 7.0  # the epoch was a Thursday
    delay = delay + np.where(weekday >= 5.0, (7.0 - weekday) * DAY, 0.0)

    def delays_before(before: float, now: float) -> list[float]:
        known = (ended_at < before) & (ended_at + delay <= now)
        return list(delay[known].tolist())

    found, now = None, START + LearnSettings().learn_seconds
    while found is None:
        now += HOUR
        found = find_maturity(now, START, LearnSettings().learn_seconds, delays_before)
    return np.asarray(delay <= found)


def _rows(sessions: Sessions, session: IntArray, errors: IntArray, words: IntArray, weight: IntArray) -> list[CellRow]:
    size = len(sessions.ended_at)
    plain = np.bincount(session, words, size).astype(np.int64)
    total = np.bincount(session, words * weight, size).astype(np.int64)
    wrong = np.minimum(np.bincount(session, errors * weight, size).astype(np.int64), 3 * total // 2)
    labelled = np.bincount(session, minlength=size)
    names = [[f"{name}-{number}" for number in range(count)] for name, count in DIMENSIONS.items()]
    rows = []
    for number in np.flatnonzero(plain).tolist():
        at = float(sessions.ended_at[number])
        labels = tuple(
            of[int(column[number])]
            for of, column in zip(names, (sessions.accent, sessions.site, sessions.device), strict=True)
        )
        sums = (int(labelled[number]), int(wrong[number]), int(total[number]), int(plain[number]))
        rows.append(CellRow(at, f"s{number:06d}", labels, f"p{sessions.speaker[number]}", *sums, at))
    return rows


class Counted(NamedTuple):
    """Over customers with one kind of null."""

    customers: int
    utterances: int
    alarms: int
    money: float
    worst: int
    """Alarms of the customer with most of them."""


def counted(seeds: range, null: Null, pages_allowed: float = 1.0) -> Counted:
    """Alarms that a slice is worse, each taken for a page, and the money put in."""
    utterances, alarms, money = 0, [], 0.0
    for seed in seeds:
        rows, said = quiet_customer(seed, null)
        found, ledger = watched(rows, pages_allowed, slicing())
        assert ledger.spent <= ledger.granted() + 1e-9
        utterances += said
        alarms.append(len(pages(found)))
        money += ledger.spent
    return Counted(len(seeds), utterances, sum(alarms), money, max(alarms))


def of_rules(seeds: range, null: Null) -> dict[NaiveRule, int]:
    """Pages of the rules of thumb on the same slices, which hear every label at once."""
    total = dict.fromkeys(NaiveRule, 0)
    of = slicing()
    for seed in seeds:
        rows, _ = quiet_customer(seed, null)
        rules = NaiveRules(starts_at=START, maturity_seconds=0.0)
        for row in rows:
            weight = row.words / row.plain_words
            rules.add(row.ended_at, row.ended_at, of.slices_of(row.labels), round(row.errors / weight), row.plain_words)
        for page in rules.pages_until(rows[-1].ended_at):
            total[page.rule] += 1
    return total
