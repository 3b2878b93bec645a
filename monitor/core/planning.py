"""Decides how many labels it takes until a rise of WER or a standing gap would be seen with a wanted chance.

Intuition     Labels come in clusters (sessions; for gaps persons), and clusters carry the evidence. Errors of a cluster
              that expects X have the variance phi X + s2 X^2: more labels in a cluster only help against the first
              part. So a plan is: how many clusters would so many labels touch, and what do the product's own rules
              make of them. For bets that is a random walk of the log of R on a grid, moved by the exact distribution
              of one unit's factor; for gaps it is the radius of the confidence sequence at so many persons.
Guarantee     None: a plan is an estimate, on the careful side. The chance of a page is that of the best single stake
              reaching what would make the mean of all stakes 1, at errors as skewed as a negative binomial. Simulated
              with the bets themselves it was 0 to .1 below, .2 where sessions and utterances differ as much as their
              level; of tickets 0 to .15 below, as those that opened earlier count (tests/statistics/test_planning.py).
Not covered   Spread that is not known yet (a few clusters), rosters that change, labels drawn with unequal chances
              inside a slice, several slices that page together, faults that come on slowly, calls (few long units).
Source        Variance of a sum over clusters (Kish 1965, with s2 for the intracluster correlation); absorbing Markov
              chains (Kemeny and Snell 1960); Waudby-Smith et al. 2024 for the radius.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from msgspec.structs import replace

from monitor.core.budget import DAY
from monitor.core.cells import FloatArray, IntArray
from monitor.core.drift import LOOK_PART, LearnSettings
from monitor.core.estimators import t_quantile
from monitor.core.evidence import RUIN, STAKES
from monitor.core.permutation_scan import (
    CHANCE_MIN,
    LEVEL_SPREAD,
    UNITS_BEFORE_MIN,
    UNITS_INSIDE_MIN,
    WINDOWS,
)
from monitor.core.records import Record
from monitor.core.standing_gaps import radius

GRID = 120
"""Points between almost nothing and an alarm, .15 nats apart. With twice as many the chance moves by .01."""
ATOMS = 24
"""Sizes of units that stand for all; with twice as many the chance moves by .003."""
STEPS_BEFORE_MAX = 200
"""Units of the time before the change that a bet has grown over: R has forgotten what was earlier."""
PHI_MIN = 0.8
"""Single words that err by themselves vary by 1 less the WER. A fit below is the accident of a few heavy units, and
would promise too little of more labels in each."""
LOOK_DRAWS = 1_000
"""Courses of daily looks: a chance of .8 is known to .013. The same ones for all plans, so that more labels never look
worse by chance."""
WINDOWS_LEVEL = 2.5
"""Standard deviations at which windows are counted: rare enough to be a tail, and seen 120 times in 20,000 courses."""
SHRINK_CLUSTERS = 30.0
"""As for the dispersion that incidents are named by: a variance from 30 clusters is itself off by a quarter."""
TRAFFIC_TIMES_MAX = 64.0
"""Traffic is not thought larger than this many times: such a plan is no plan."""
STEPS_MAX = 8
"""Halvings of the search within a factor of 4: labels are known to half a percent, finer than any plan is true."""


class Spread(Record, frozen=True):
    """Errors of a cluster that expects X have the variance phi X + s2 X^2."""

    phi: float
    s2: float

    def variance(self, expected: FloatArray, factor: float = 1.0) -> FloatArray:
        """Of the errors of clusters (m,) whose levels are all multiplied by `factor`.

        What levels differ by grows with its square; what single words add (a phi of 1, at most) does not.
        """
        counting = min(self.phi, 1.0)
        levels = (self.phi - counting) * expected + self.s2 * expected**2
        return np.asarray(factor * counting * expected + factor**2 * levels)

    def relative(self, expected: float) -> float:
        """Variance of a cluster's errors over the square of what it expects."""
        return self.phi / expected + self.s2

    def shrunk(self, clusters: int, to: Spread) -> Spread:
        """Drawn to another by SHRINK_CLUSTERS: one looping hypothesis in 70 would else be the whole plan."""
        part = SHRINK_CLUSTERS / (clusters + SHRINK_CLUSTERS)
        return Spread(phi=self.phi + part * (to.phi - self.phi), s2=self.s2 + part * (to.s2 - self.s2))


def spread_of(errors: FloatArray, expected: FloatArray) -> Spread:
    """The spread of clusters (m,): s2 by least squares on (E - X)^2 = phi X + s2 X^2, phi so that the sum is right.

    Every X > 0. The sum of squares is what the standard error is made of: it is kept, whatever s2 is.
    """
    squares = (errors - expected) ** 2
    design = np.stack([expected, expected**2], axis=1)
    scale = 1.0 / np.maximum(expected, expected.mean() * 0.1)
    (_, s2), *_ = np.linalg.lstsq(design * scale[:, None], squares * scale, rcond=None)
    total, size, power = float(squares.sum()), float(expected.sum()), float((expected**2).sum())
    s2 = min(max(float(s2), 0.0), max(total - PHI_MIN * size, 0.1 * total) / power)
    return Spread(phi=(total - s2 * power) / size if total else PHI_MIN, s2=s2)


# ------------------------------------------------------------------------------------------------------------ clusters
class Supply(Record, frozen=True):
    """Clusters that could be labelled in some time: `count` of `size` utterances each.

    least  labels in a labelled cluster even if few clusters are: correctors who take whole sessions go on doing so
    """

    count: float
    size: float
    least: float = 1.0

    @property
    def utterances(self) -> float:
        return self.count * self.size

    def touched(self, labels: float) -> tuple[float, float]:
        """(clusters, labels in each) when so many labels fall on them by chance; beyond all utterances, on more alike.

        >>> Supply(count=100.0, size=1.0).touched(30.0), Supply(count=100.0, size=1.0).touched(200.0)
        ((30.0, 1.0), (200.0, 1.0))
        """
        if labels >= self.utterances:
            return labels / self.size, self.size
        share = labels / self.utterances
        met = self.count * -math.expm1(self.size * math.log1p(-share))
        each = min(max(labels / max(met, 1e-12), self.least), self.size)
        return labels / each, each


def size_of_clusters(utterances: float, touched: float, share: float) -> float:
    """How large clusters must be, all alike, for `touched` of them to meet a sample of this share of the utterances.

    A sample sees few of the sessions and little of each: taken as they look, sessions would seem many and short.

    >>> round(size_of_clusters(1000.0, 100 * (1 - 0.9**10), 0.1), 3)
    10.0
    """
    if share >= 1.0 or utterances * share <= touched:
        return max(utterances * min(share, 1.0) / max(touched, 1e-12), 1.0)
    low, high = 1.0, max(utterances, 2.0)
    for _ in range(60):
        middle = math.sqrt(low * high)
        met = utterances / middle * -math.expm1(middle * math.log1p(-share))
        low, high = (middle, high) if met > touched else (low, middle)
    return high


# ------------------------------------------------------------------------------------------------------------- drift
class DriftCase(Record, frozen=True):
    """A slice that bets.

    wer, factor  expected WER, and what a change multiplies it by; rho: the baseline's tolerance
    spread       of units; sizes: (ATOMS,) words of units relative to their mean; words: of an utterance
    money        expected false pages that the slice may spend in a day, on bets and daily looks
    small_units  of which a slice is looked at daily; remembered: days of units that a look has, days_known: those that
                 there are before the change
    """

    wer: float
    factor: float
    rho: float
    spread: Spread
    sizes: tuple[float, ...]
    words: float
    money: float
    small_units: int = 0
    remembered: float = 28.0
    days_known: float = 7.0


def page_power(
    case: DriftCase, units_a_day: float, labels_in_unit: float, days: float, days_before: float | None
) -> float:
    """Chance that the slice pages within `days` of a change: by its bet, or while it is small by the daily look.

    A small slice has half of its money for either. The better one of both counts: what they find together is more.
    days_before  for which it has bet; None: it never has the units for a baseline, and is only looked at
    """
    if days_before is None:
        return look_power(case, units_a_day, labels_in_unit, days, LOOK_PART * case.money)
    if units_a_day * min(case.days_known + days, case.remembered) > case.small_units:
        return drift_power(case, units_a_day, labels_in_unit, days, days_before)
    looks = look_power(case, units_a_day, labels_in_unit, days, LOOK_PART * case.money)
    half = replace(case, money=(1.0 - LOOK_PART) * case.money)
    return max(looks, drift_power(half, units_a_day, labels_in_unit, days, days_before))


def look_power(case: DriftCase, units_a_day: float, labels_in_unit: float, days: float, money: float) -> float:
    """Chance that one of the daily looks of these days finds the change; money for each day.

    Drawn: sums of what each day's units pull windows up by, normal, in LOOK_DRAWS courses that are the same for all
    plans. A look's p is that of a correlation, for as many windows as nested ones are worth (`_windows`).
    """
    if case.factor <= 1.0 or not money > 0.0:
        return 0.0
    wait = max(math.ceil(CHANCE_MIN / money), 1)  # days between looks that have the least money
    # Beyond what is remembered there is nothing to compare with: the change is all that a look sees.
    remembered = int(case.remembered)
    before, last = max(round(min(case.days_known, remembered)), 1), min(int(days), remembered - 1)
    expected = case.wer * case.words * labels_in_unit * np.array(case.sizes)
    calm, changed = _errors(expected, case, 1.0), _errors(expected, case, case.factor)
    courses = np.random.default_rng(1).standard_normal((LOOK_DRAWS, before + last))
    found = np.zeros(LOOK_DRAWS, np.bool_)
    for day in range(wait, last + 1, wait):
        first = max(before + day - remembered, 0)
        length = before + day - first
        since = np.arange(first, before + day) >= before
        (mean, variance), (mean_since, variance_since) = _pulls(expected, calm, changed, day / length, case.factor)
        units = units_a_day * length
        spread = np.sqrt(units_a_day * np.where(since, variance_since, variance))
        sums = units_a_day * np.where(since, mean_since, mean) + spread * courses[:, first : before + day]
        part = day / length
        shuffled = part * variance_since + (1.0 - part) * variance + part * (1.0 - part) * (mean_since - mean) ** 2
        # A contrast of so few shuffled units is a correlation: its tail ends earlier than the normal one.
        degrees = max(int(units) - 2, 1)
        least = t_quantile(1.0 - min(wait * money / _windows(length), 0.5), degrees)
        reach = least * math.sqrt((degrees + 1) / (degrees + least**2))
        for window in (int(days) for days in WINDOWS if days < length):
            inside = window / length
            if units * inside >= UNITS_INSIDE_MIN and units * (1.0 - inside) >= UNITS_BEFORE_MIN:
                pull = sums[:, -window:].sum(axis=1) - inside * sums.sum(axis=1)
                found |= pull > reach * math.sqrt(units * inside * (1.0 - inside) * shuffled)
    return float(found.mean())


@lru_cache(maxsize=64)
def _windows(length: int) -> float:
    """How many windows that have nothing in common the nested ones of so many days are worth, where p is small."""
    courses = np.random.default_rng(2).standard_normal((20_000, length))
    largest = np.full(len(courses), -math.inf)
    for window in (int(days) for days in WINDOWS if days < length):
        inside = window / length
        pull = courses[:, -window:].sum(axis=1) - inside * courses.sum(axis=1)
        largest = np.maximum(largest, pull / math.sqrt(length * inside * (1.0 - inside)))
    return max(float((largest > WINDOWS_LEVEL).mean()) / NormalDist().cdf(-WINDOWS_LEVEL), 1.0)


def _pulls(
    expected: FloatArray, calm: FloatArray, changed: FloatArray, part: float, factor: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """(mean, variance) of what units before and since pull windows up by (`permutation_scan`); part: of units since."""
    usual = expected * (1.0 + part * (factor - 1.0))
    weight = 1.0 / (1.0 / np.maximum(usual, 0.5) + LEVEL_SPREAD)
    size = max(calm.shape[1], changed.shape[1])
    before, since = (np.pad(chance, ((0, 0), (0, size - chance.shape[1]))) for chance in (calm, changed))
    logs = np.log((np.arange(size)[None, :] + 0.5) / expected[:, None])
    pull = weight[:, None] * (
        logs - (weight[:, None] * logs * (part * since + (1.0 - part) * before)).sum() / weight.mean()
    )
    means = [float((pull * chance).sum()) for chance in (before, since)]
    squares = [float((pull**2 * chance).sum()) for chance in (before, since)]
    return (means[0], squares[0] - means[0] ** 2), (means[1], squares[1] - means[1] ** 2)


def drift_power(case: DriftCase, units_a_day: float, labels_in_unit: float, days: float, days_before: float) -> float:
    """Chance that the slice's bet reaches 1 within `days` of a change, having bet for `days_before`."""
    steps = round(units_a_day * days)
    if steps < 1 or case.factor <= case.rho:
        return 0.0
    expected = case.wer * case.words * labels_in_unit * np.array(case.sizes)
    steps_before = min(round(units_a_day * days_before), STEPS_BEFORE_MAX)
    money = case.money / units_a_day
    grid = np.linspace(math.log(money) - 4.0, math.log(len(STAKES)), GRID)
    calm, changed = _errors(expected, case, 1.0), _errors(expected, case, case.factor)
    found = 0.0
    for stake in STAKES:
        before = _walk(_logs(expected, calm, case, stake), calm, grid, money)
        before[:, 0] += 1.0 - before.sum(axis=1)  # an alarm begins anew
        after = _walk(_logs(expected, changed, case, stake), changed, grid, money)
        start = _after(np.eye(1, GRID)[0], before, steps_before)
        found = max(found, 1.0 - float(_after(start, after, steps).sum()))
    return min(max(found, 0.0), 1.0)


def _errors(expected: FloatArray, case: DriftCase, factor: float) -> FloatArray:
    """Chance (ATOMS, errors) of a unit's size and errors: negative binomial, or Poisson where they vary less."""
    mean = factor * expected
    over = np.maximum(case.spread.variance(expected, factor) - mean, 1e-6 * mean)
    count = np.arange(1, int((mean + 8.0 * np.sqrt(mean + over)).max()) + 3)
    shape, miss = (mean**2 / over)[:, None], (over / (mean + over))[:, None]
    logs = np.cumsum(np.log((count - 1 + shape) / count * miss), axis=1)
    logs = np.concatenate([np.zeros((len(mean), 1)), logs], axis=1)
    chance = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(chance / (chance.sum(axis=1, keepdims=True) * len(mean)))


def _logs(expected: FloatArray, chance: FloatArray, case: DriftCase, stake: float) -> FloatArray:
    """Log factor (ATOMS, errors) of one unit's bet."""
    scale = float(expected.mean())
    fraction = np.minimum(stake, RUIN * scale / (case.rho * expected))
    gain = (np.arange(chance.shape[1])[None, :] - case.rho * expected[:, None]) / scale
    return np.asarray(np.log1p(fraction[:, None] * gain))


def _walk(logs: FloatArray, chance: FloatArray, grid: FloatArray, money: float) -> FloatArray:
    """Transitions (GRID, GRID) of log R over one unit; what is missing in a row has reached the grid's end.

    Mass between two points is divided between them, so that the mean of log R is right.
    """
    step, size = float(grid[1] - grid[0]), len(grid)
    # The kernel on a grid twice as fine: shifts of the walk then need no second look at the units.
    low = float(logs.min())
    kernel = _shared(((logs - low) * 2.0 / step).ravel(), chance.ravel(), 1)[0]
    moves = low + step / 2.0 * np.arange(len(kernel))
    held = np.exp(grid)
    held[0] = 0.0
    place = np.clip((np.log(held + money)[:, None] + moves - grid[0]) / step, 0.0, size)
    row = np.repeat(np.arange(size, dtype=np.int64), len(kernel))
    return _shared(place.ravel(), np.tile(kernel, size), size, row, size + 2)[:, :size]


def _after(start: FloatArray, walk: FloatArray, steps: int) -> FloatArray:
    """Where a walk is after so many steps (GRID,), by squaring."""
    while steps:
        if steps & 1:
            start = start @ walk
        steps >>= 1
        if steps:
            walk = walk @ walk
    return start


def _shared(place: FloatArray, mass: FloatArray, rows: int, row: IntArray | int = 0, width: int = 0) -> FloatArray:
    """Sums (rows, width) of masses at fractional places, divided between the two whole ones beside each."""
    whole = np.floor(place).astype(np.int64)
    part = place - whole
    columns = width or int(whole.max()) + 2
    first = np.bincount(row * columns + whole, mass * (1.0 - part), rows * columns)
    second = np.bincount(row * columns + np.minimum(whole + 1, columns - 1), mass * part, rows * columns)
    return np.asarray((first + second).reshape(rows, columns))


def learning_days(units_a_day: float, settings: LearnSettings) -> float:
    """How long a slice learns: until it has the units, within the two bounds."""
    wanted = settings.learn_units / units_a_day if units_a_day else math.inf
    return min(max(wanted, settings.learn_seconds / DAY), settings.learn_seconds_max / DAY)


def learned_rho(case: DriftCase, units: float, labels_in_unit: float, tolerance: float) -> float:
    """What tolerance a baseline of so many units would have: 1 + the t bound on its relative error."""
    count = max(int(units), 2)
    expected = case.wer * case.words * labels_in_unit * np.array(case.sizes)
    error = math.sqrt(float(case.spread.variance(expected).mean()) / count) / float(expected.mean())
    return 1.0 + max(tolerance, t_quantile(0.95, count - 1) * error)


# -------------------------------------------------------------------------------------------------------------- gaps
class GapCase(Record, frozen=True):
    """A group against the rest.

    gap, margin    true gap, and the gap that a ticket's lower bound must exceed
    error          standard error of the gap over `persons` of `labels` labelled utterances each
    spread         of persons; expected: errors expected of one utterance
    """

    gap: float
    margin: float
    error: float
    persons: float
    labels: float
    spread: Spread
    expected: float
    alpha: float
    persons_min: int


def gap_power(case: GapCase, persons: float, labels_of_person: float) -> float:
    """Chance that the lower bound of the gap lies above the margin with so many persons.

    The rest is thought to grow with the group. A bound that was above the margin earlier counts, too: not here.
    """
    if persons < case.persons_min or case.gap <= case.margin:
        return 0.0
    now, then = (case.spread.relative(labels * case.expected) for labels in (case.labels, labels_of_person))
    error = case.error * math.sqrt(case.persons / persons * then / now)
    if not error > 0.0:
        return 1.0
    reach = radius(error, int(persons), case.alpha)
    return NormalDist().cdf((case.gap - case.margin - reach) / error)


# ------------------------------------------------------------------------------------------------------------ search
def labels_for(power: Callable[[float], float], wanted: float, start: float) -> float | None:
    """The fewest labels with this power, if it does not fall with labels; None beyond TRAFFIC_TIMES_MAX x `start`.

    >>> round(labels_for(lambda labels: labels / 200.0, 0.8, 100.0))
    160
    """
    if not 0.0 < start < math.inf:
        return None
    high = start
    while power(high) < wanted:
        high *= 4.0
        if high > TRAFFIC_TIMES_MAX * start:
            return None  # asked at 1, 4, 16 and 64 times
    low = high / 4.0
    while low > start * 1e-6 and power(low) >= wanted:
        low, high = low / 4.0, low
    for _ in range(STEPS_MAX):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if power(middle) >= wanted else (middle, high)
    return high


def inflation(spread: Spread, expected: FloatArray, labels: FloatArray) -> float:
    """How much more the errors of clusters (m,) vary than if their utterances had nothing in common.

    expected, labels  (m,) errors expected of each cluster, and labelled utterances in it
    """
    return float(spread.variance(expected).sum() / (spread.phi * expected + spread.s2 * expected**2 / labels).sum())
