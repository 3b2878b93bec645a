"""Estimators: sums that merge, errors that know about clusters, intervals that may be looked at any time."""

from __future__ import annotations

import math
import random

import msgspec
import pytest

from monitor.core.estimators import WEIGHT_ONE, Moments, sequence_radius, t_quantile, weight_of


def moments(clusters: list[tuple[int, int]]) -> Moments:
    total = Moments()
    for errors, words in clusters:
        total = total + Moments.of(errors * WEIGHT_ONE, words * WEIGHT_ONE)
    return total


def some_clusters(n: int, seed: int = 1) -> list[tuple[int, int]]:
    chance = random.Random(seed)
    return [(chance.randrange(0, 4), chance.randrange(5, 30)) for _ in range(n)]


def test_the_error_is_that_of_cluster_residuals() -> None:
    """The formula in moments is the textbook sandwich, without keeping a cluster."""
    clusters = some_clusters(40)
    rate = sum(e for e, _ in clusters) / sum(w for _, w in clusters)
    squares = sum((e - rate * w) ** 2 for e, w in clusters)
    direct = math.sqrt(squares * 40 / 39) / sum(w for _, w in clusters)
    found = moments(clusters)
    assert found.ratio() == pytest.approx(rate)
    assert found.standard_error() == pytest.approx(direct)


def test_moments_add_and_subtract_exactly_in_any_order() -> None:
    """Windows are differences of sums, and shards are added in any order: no bit may depend on it."""
    clusters = some_clusters(60)
    shuffled = random.Random(2).sample(clusters, 60)
    assert moments(clusters) == moments(shuffled)
    assert moments(clusters) - moments(clusters[:20]) == moments(clusters[20:])


def test_a_cluster_that_grows_replaces_its_old_sums() -> None:
    """A session gets labels one by one; its square is not the sum of their squares."""
    grown = Moments()
    grown.replace(0, 0, 1, 10)
    grown.replace(1, 10, 3, 25)
    assert grown == Moments.of(3, 25)
    grown.replace(3, 25, 0, 0)
    assert grown == Moments()


def test_squares_beyond_64_bits_survive_a_document() -> None:
    """A rare stratum weighs 1,000 and a call has 10,000 words: the square of that is 4e23."""
    huge = Moments.of(weight_of(0.001) * 2_000, weight_of(0.001) * 10_000)
    packed = msgspec.msgpack.encode(huge)
    assert msgspec.msgpack.decode(packed, type=Moments) == huge
    assert huge.ww > 2**64


def test_a_weight_counts_like_so_many_utterances_in_the_rate() -> None:
    """Hájek: an utterance sampled at 1/4 stands for four."""
    weighted = Moments.of(2 * weight_of(0.25), 10 * weight_of(0.25)) + Moments.of(0, 40 * WEIGHT_ONE)
    assert weighted.ratio() == pytest.approx(0.1)


@pytest.mark.parametrize("n", [2, 10, 49, 50, 1000])
def test_bounds_enclose_the_rate_and_stay_above_zero(n: int) -> None:
    """A negative WER on a page makes people distrust the rest."""
    found = moments(some_clusters(n))
    low, high = found.interval()
    rate = found.ratio()
    assert low is not None and high is not None and rate is not None
    assert 0.0 <= low <= rate <= high < math.inf


def test_one_cluster_has_no_bounds() -> None:
    """One call says nothing about calls."""
    assert moments([(1, 20)]).interval() == (None, None)


def test_no_error_yet_is_not_certainty() -> None:
    """20 clean sessions may still hide a slice where one session in seven is bad."""
    low, high = moments([(0, 10)] * 20).interval()
    assert low == 0.0 and high is not None and high > 0.1


def test_the_sequence_is_wider_than_a_single_look_but_not_by_much() -> None:
    """The price of looking all the time: 1.96 becomes about 2.8 at 100 clusters."""
    assert 2.5 < sequence_radius(1.0, 100, 0.05) < 3.1


@pytest.mark.parametrize(
    ("probability", "degrees", "value"),
    [(0.95, 1, 6.314), (0.95, 2, 2.920), (0.95, 5, 2.015), (0.975, 3, 3.182), (0.95, 20, 1.725), (0.975, 11, 2.201)],
)
def test_t_quantiles_agree_with_tables(probability: float, degrees: int, value: float) -> None:
    """Baselines of 12 units stand on them."""
    assert t_quantile(probability, degrees) == pytest.approx(value, rel=2e-3)
