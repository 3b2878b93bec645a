"""Closed units as arrays, drawn by seed without a word of text: what the figures are made from.

A session of `utterances` in the mean has a level of its own, `level` times a gamma effect of mean 1 and standard
deviation `effect`: at .6 and 120 words the number of errors varies 6 times as much as independent words would, between
the 3.5 and the 9 that statistics.md has measured.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor.core.cells import FloatArray, IntArray

WORDS = 12
"""Words of an utterance in the mean."""


class Traffic(NamedTuple):
    """Sessions of one slice. `effect` is 0 for independent words."""

    level: float
    effect: float
    utterances: float = 10.0

    def at(self, level: float) -> Traffic:
        return self._replace(level=level)


class Sums(NamedTuple):
    """Of each unit; arrays of one shape. Errors are capped as the product caps them."""

    utterances: IntArray
    errors: IntArray
    words: IntArray

    def before(self, units: int) -> Sums:
        return Sums(*(column[:, :units] for column in self))

    def first(self, streams: int) -> Sums:
        return Sums(*(column[:streams] for column in self))

    def then(self, later: Sums) -> Sums:
        return Sums(*(np.hstack(pair) for pair in zip(self, later, strict=True)))


def draw(random: np.random.Generator, traffic: Traffic, shape: tuple[int, ...]) -> Sums:
    """Units of these sessions, independent of each other."""
    utterances = 1 + random.poisson(traffic.utterances - 1.0, shape)
    words = utterances + random.poisson((WORDS - 1) * utterances)
    spread = traffic.effect**2
    effects = random.gamma(1.0 / spread, spread, shape) if spread else np.ones(shape)
    errors = np.minimum(random.poisson(traffic.level * effects * words), 3 * words // 2)
    return Sums(utterances, errors, words)


def log_likelihood_ratio(sums: Sums, before: Traffic, after: float) -> FloatArray:
    """Of a unit's errors at level `after` against `before.level`, by somebody who knows the distribution of both.

    Errors given the words are negative binomial (Poisson without an effect).
    """
    old, new, errors, words = before.level, after, sums.errors, sums.words
    if not before.effect:
        return np.asarray(errors * np.log(new / old) - (new - old) * words)
    shape = 1.0 / before.effect**2
    odds = np.log(new / old * (shape + old * words) / (shape + new * words))
    return np.asarray(errors * odds - shape * np.log((shape + new * words) / (shape + old * words)))
