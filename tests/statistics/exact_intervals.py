"""Exact two-sided 95 % intervals of counts, and the words in which tables tell them."""

from __future__ import annotations

import math
from collections.abc import Callable


def poisson_interval(count: int, tail: float = 0.025) -> tuple[float, float]:
    """Means under which a count this small or this large has at least the chance `tail` (Garwood 1936).

    >>> [round(bound, 2) for bound in poisson_interval(10)]
    [4.8, 18.39]
    """
    reach = 20.0 + 2.0 * count + 10.0 * math.sqrt(count)
    low = 0.0 if count == 0 else _root(lambda mean: 1.0 - _poisson_below(count - 1, mean) - tail, 0.0, float(count))
    return low, _root(lambda mean: tail - _poisson_below(count, mean), float(count), reach)


def binomial_interval(count: int, of: int, tail: float = 0.025) -> tuple[float, float]:
    """Chances under which a count this small or this large has at least the chance `tail` (Clopper and Pearson 1934).

    >>> [round(bound, 3) for bound in binomial_interval(8, 10)]
    [0.444, 0.975]
    """
    share = count / of
    low = 0.0 if count == 0 else _root(lambda p: 1.0 - _binomial_below(count - 1, of, p) - tail, 0.0, share)
    high = 1.0 if count == of else _root(lambda p: tail - _binomial_below(count, of, p), share, 1.0)
    return low, high


def _poisson_below(count: int, mean: float) -> float:
    """Chance of `count` or fewer."""
    if mean <= 0.0:
        return 1.0
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def _binomial_below(count: int, of: int, p: float) -> float:
    if not 0.0 < p < 1.0:
        return 1.0 if p <= 0.0 or count == of else 0.0
    whole = math.lgamma(of + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * math.log(p) + (of - k) * math.log1p(-p))
        for k in range(count + 1)
    )


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises from below 0 to above it crosses."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0.0 else (middle, high)
    return (low + high) / 2
