"""Decides what a word error rate is worth: a ratio, its standard error and an interval, from sums that merge.

Intuition. Utterances of one speaker resemble each other, so the independent piece of evidence is the cluster
(session). A rate and its cluster-robust error need six sums over clusters only; sums can be added and shipped.
Guarantee. The interval is a confidence sequence: valid at every moment somebody looks, asymptotically in the
number of clusters. Sums are exact integers: any order of the same clusters gives the same bits.
Not covered. Fewer than 50 clusters: the interval is a t interval where that is wider, but it rests on few.
Speakers who return in many sessions: choose the speaker as the cluster.
Source. Hájek 1971; Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024 (asymptotic confidence sequences).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec

WEIGHT_ONE = 1 << 16
"""A weight of 1 as an integer: 1 / probability is rounded to 16 binary digits, so sums are exact. At half the
digits a weight near 1 is off by 0.4 %; at double the sums of words outgrow 64 bits."""

TIGHTEST_CLUSTERS = 100.0
"""The confidence sequence is narrowest near this many clusters: the size of slice that people ask about. At
half or double, intervals at 100 clusters widen by about 2 %."""

CLUSTERS_FOR_ASYMPTOTICS = 50
"""Below this the normal approximation is too short-tailed for word errors; at half, t and normal
already differ by 3 %."""

_LIMB = 1 << 60
"""Squares are kept as two limbs, since msgpack has no integers above 64 bits."""


def weight_of(inclusion_probability: float) -> int:
    """The integer weight of one utterance, WEIGHT_ONE / probability.

    >>> weight_of(0.5) == 2 * WEIGHT_ONE
    True
    """
    return round(WEIGHT_ONE / inclusion_probability)


class Moments(msgspec.Struct):
    """Sums over clusters of weighted errors E and reference words W (integers, units of WEIGHT_ONE).

    Mergeable; the one mutable value of the mathematics, since a tracker updates it with every pair.

    >>> one = Moments.of(errors=2 * WEIGHT_ONE, words=10 * WEIGHT_ONE)
    >>> (one + one - one) == one, one.ratio()
    (True, 0.2)
    """

    clusters: int = 0
    e: int = 0
    w: int = 0
    high: tuple[int, int, int] = (0, 0, 0)
    low: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of(cls, errors: int, words: int) -> Moments:
        """The moments of one cluster with these weighted sums."""
        moments = cls()
        moments.replace(0, 0, errors, words)
        return moments

    @property
    def ee(self) -> int:
        return self.high[0] * _LIMB + self.low[0]

    @property
    def ew(self) -> int:
        return self.high[1] * _LIMB + self.low[1]

    @property
    def ww(self) -> int:
        return self.high[2] * _LIMB + self.low[2]

    def replace(self, old_errors: int, old_words: int, new_errors: int, new_words: int) -> None:
        """A cluster's sums changed; (0, 0) is a cluster that is not there."""
        self.clusters += ((new_errors, new_words) != (0, 0)) - ((old_errors, old_words) != (0, 0))
        self.e += new_errors - old_errors
        self.w += new_words - old_words
        self._set_squares(
            self.ee + new_errors * new_errors - old_errors * old_errors,
            self.ew + new_errors * new_words - old_errors * old_words,
            self.ww + new_words * new_words - old_words * old_words,
        )

    def __add__(self, other: Moments) -> Moments:
        total = Moments(self.clusters + other.clusters, self.e + other.e, self.w + other.w)
        total._set_squares(self.ee + other.ee, self.ew + other.ew, self.ww + other.ww)
        return total

    def __sub__(self, other: Moments) -> Moments:
        rest = Moments(self.clusters - other.clusters, self.e - other.e, self.w - other.w)
        rest._set_squares(self.ee - other.ee, self.ew - other.ew, self.ww - other.ww)
        return rest

    def _set_squares(self, ee: int, ew: int, ww: int) -> None:
        self.high = (ee // _LIMB, ew // _LIMB, ww // _LIMB)
        self.low = (ee % _LIMB, ew % _LIMB, ww % _LIMB)

    def ratio(self) -> float | None:
        """Weighted errors per weighted reference word; None without words."""
        return self.e / self.w if self.w else None

    def standard_error(self) -> float | None:
        """Cluster-robust standard error of the ratio; None below two clusters.

        sqrt(max(0, sum E^2 - 2 R sum EW + R^2 sum W^2) m / (m - 1)) / sum W: integers until the one division.
        """
        if self.clusters < 2 or not self.w:
            return None
        spread = self.ee * self.w * self.w - 2 * self.e * self.w * self.ew + self.e * self.e * self.ww
        return math.sqrt(max(0, spread) * self.clusters / ((self.clusters - 1) * self.w**4))

    def interval(self, alpha: float = 0.05) -> tuple[float, float] | tuple[None, None]:
        """Bounds that hold at every moment with probability 1 - alpha; (None, None) below two clusters."""
        ratio, error = self.ratio(), self.standard_error()
        if ratio is None or error is None:
            return (None, None)
        n = self.clusters
        if error == 0.0:
            # All clusters alike says little: the rule of three, with clusters that could be wholly wrong.
            unseen = -math.log(alpha / 2) / n
            return (max(0.0, ratio - unseen), ratio + unseen)
        radius = sequence_radius(error, n, alpha)
        if n < CLUSTERS_FOR_ASYMPTOTICS:
            radius = max(radius, t_quantile(1 - alpha / 2, n - 1) * error)
        # On the log scale: errors are skewed, so a rate that came out low has too small an error. R +- radius misses
        # 28 times of 300 where sessions differ as much as real ones may, the same radius in log R 11 times.
        relative = radius / ratio
        # exp(5) is a factor 150: beyond it an upper bound is no information and only risks overflow.
        return (ratio * math.exp(-relative), ratio * math.exp(min(relative, 5.0)))


def sequence_radius(error: float, n: int, alpha: float) -> float:
    """Half width of the two-sided asymptotic confidence sequence with standard error `error` over n clusters.

    s sqrt(2 (n rho^2 + 1) / (n^2 rho^2) log(sqrt(n rho^2 + 1) / alpha)), s = error sqrt(n).
    """
    rho_squared = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / TIGHTEST_CLUSTERS
    grown = n * rho_squared + 1
    per_cluster = 2 * grown / (n * n * rho_squared) * math.log(math.sqrt(grown) / alpha)
    return error * math.sqrt(n) * math.sqrt(per_cluster)


def t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t, to three digits from 3 degrees on and exactly for 1 and 2 (Hill 1970).

    >>> [round(t_quantile(0.95, degrees), 2) for degrees in (1, 2, 3, 10, 100)]
    [6.31, 2.92, 2.35, 1.81, 1.66]
    """
    assert 0.5 <= probability < 1.0 and degrees >= 1
    if degrees == 1:
        return math.tan(math.pi * (probability - 0.5))
    if degrees == 2:
        centred = 2 * probability - 1
        return centred * math.sqrt(2 / (1 - centred * centred))
    z = NormalDist().inv_cdf(probability)
    # Cornish-Fisher: polynomials of z over powers of the degrees of freedom, by Horner's rule in z squared.
    square, total = z * z, z
    for power, (divisor, coefficients) in enumerate(_CORNISH_FISHER, start=1):
        polynomial = 0.0
        for coefficient in coefficients:
            polynomial = polynomial * square + coefficient
        total += z * polynomial / (divisor * float(degrees) ** float(power))
    return total


_CORNISH_FISHER = (
    (4.0, (1.0, 1.0)),
    (96.0, (5.0, 16.0, 3.0)),
    (384.0, (3.0, 19.0, 17.0, -15.0)),
    (92160.0, (79.0, 776.0, 1482.0, -1920.0, -945.0)),
)
