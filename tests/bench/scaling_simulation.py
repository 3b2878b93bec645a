"""Decides what sums cannot tell: how late records are when sessions come in bursts, members move and an hour is missed.

Partitions of an input keyed by session, agents that hold runs of them, one core each, in steps of half a second.
Sessions begin at random and say an utterance every few seconds; a rebalance stops all members for a second; in an
outage nothing is read at all. Seeded: the same numbers on every machine.

    PYTHONPATH=. .venv/bin/python tests/bench/scaling_simulation.py
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STEP_SECONDS = 0.5
SESSION_UTTERANCES, UTTERANCE_SECONDS = 12, 5.0
REBALANCE_SECONDS = 1.0
CHECKPOINT_SECONDS = 1.0
HOUR = 3_600.0


class Course(NamedTuple):
    """Seconds: the median and the 99th percentile of how long a record waits, the worst, and of catching up."""

    median: float
    p99: float
    worst: float
    catch_up: float


class World(NamedTuple):
    """`utilisation` of all cores together, were the work spread evenly."""

    rate: float
    partitions: int
    agents: int
    utilisation: float
    seconds: float = HOUR
    rebalance_every: float = math.inf
    outage_seconds: float = 0.0
    upload: int = 0
    """Records that somebody sends within a minute, all under one key."""


def run(world: World, seed: int = 1) -> Course:
    """Play it; an outage comes first, and waiting times are those after it."""
    rng = np.random.default_rng(seed)
    arrived = arrivals(world, rng)
    of_agent = np.arange(world.partitions) * world.agents // world.partitions
    capacity = world.rate / world.agents / world.utilisation * STEP_SECONDS
    waiting = np.zeros(world.agents)
    waits: list[float] = []
    caught_up = 0.0
    outage = round(world.outage_seconds / STEP_SECONDS)
    pause = round(REBALANCE_SECONDS / STEP_SECONDS)
    every = math.inf if world.rebalance_every == math.inf else round(world.rebalance_every / STEP_SECONDS)
    for step in range(arrived.shape[0]):
        waiting += np.bincount(of_agent, arrived[step], world.agents)
        if step < outage or (every < math.inf and step % every < pause):
            served = np.zeros(world.agents)
        else:
            served = np.minimum(waiting, capacity)
        waiting -= served
        late = float(waiting.max() / capacity * STEP_SECONDS)
        if step >= outage:
            if not caught_up and outage and late < 1.0:
                caught_up = (step - outage) * STEP_SECONDS
            if not outage or caught_up:
                waits.append(late + CHECKPOINT_SECONDS / 2)
    found = np.array(waits or [math.inf])
    return Course(float(np.median(found)), float(np.quantile(found, 0.99)), float(found.max()), caught_up)


def arrivals(world: World, rng: np.random.Generator) -> NDArray[np.float64]:
    """Records by step and partition."""
    steps = round((world.seconds + world.outage_seconds) / STEP_SECONDS)
    mean = world.rate / world.partitions * STEP_SECONDS / SESSION_UTTERANCES
    begun = rng.poisson(mean, (steps, world.partitions))
    gap = round(UTTERANCE_SECONDS / STEP_SECONDS)
    found = np.zeros((steps, world.partitions))
    for turn in range(SESSION_UTTERANCES):  # those that began before the start go on in it
        found += np.roll(begun, turn * gap, axis=0)
    minute = round(60.0 / STEP_SECONDS)
    found[minute : 2 * minute, 0] += world.upload / minute
    return found


WORLDS: dict[str, World] = {
    "24 partitions, 3 agents, cores at 0.6": World(1_000, 24, 3, 0.6),
    "the same at 0.9": World(1_000, 24, 3, 0.9),
    "a rebalance every two minutes, each stops all for a second": World(1_000, 24, 3, 0.6, rebalance_every=120.0),
    "somebody uploads 100,000 records under one key within a minute": World(1_000, 24, 3, 0.6, upload=100_000),
    "12 partitions, 8 agents: some have two, others one": World(1_000, 12, 8, 0.6),
    "12 partitions, 11 agents: one has two": World(1_000, 12, 11, 0.6),
    "an hour's outage, cores at 0.6": World(1_000, 24, 3, 0.6, seconds=3 * HOUR, outage_seconds=HOUR),
    "an hour's outage, cores at 0.3": World(1_000, 24, 3, 0.3, seconds=3 * HOUR, outage_seconds=HOUR),
}


def main() -> None:
    for name, world in WORLDS.items():
        print(f"{name:72} {run(world)}")


if __name__ == "__main__":
    main()
