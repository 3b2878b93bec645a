"""Decides what the tests over topics may ask for: a clock that everybody follows, and a cluster on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.topics.cluster import CUSTOMERS, NOW, Clock, Cluster, several_customers
from tests.traffic import Traffic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(NOW)
    clock.rule(monkeypatch)
    return clock


@pytest.fixture
def make_cluster(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Cluster]]:
    """A cluster with other settings, by `Cluster`'s keywords."""
    made: list[Cluster] = []

    def make(**changes: object) -> Cluster:
        made.append(Cluster(tmp_path, clock, **changes))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    return make_cluster()


@pytest.fixture
def traffics() -> dict[str, Traffic]:
    """Of each customer."""
    return several_customers(80, CUSTOMERS)
