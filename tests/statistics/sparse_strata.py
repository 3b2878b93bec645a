"""`overall` where labels are sparse: units of many small strata, and what bets make of them, with and without a guess.

python -m tests.statistics.sparse_strata        # the table of docs/baselines.md, six minutes
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from monitor.core.budget import DAY, Ledger
from monitor.core.drift import Alarm, LearnSettings, StratumSums, UnitSums, Watch

DAYS, CHANGE = 14.0, 7.0

BEFORE = LearnSettings(learned_share_min=0.0)
AFTER = LearnSettings()


@dataclasses.dataclass(frozen=True)
class World:
    """Shares and levels of accents and sites; the rarest accent is last."""

    accents: Sequence[float]
    accent_levels: Sequence[float]
    sites: Sequence[float]
    site_levels: Sequence[float]


SMALL = World((0.4, 0.2, 0.15, 0.1, 0.1, 0.05), (0.08, 0.1, 0.2, 0.15, 0.12, 0.14), (0.5, 0.3, 0.2), (1.0, 1.0, 1.3))
_ZIPF = [1 / rank for rank in range(1, 25)]
LARGE = World(
    [share / sum(_ZIPF) for share in _ZIPF],
    (0.08, 0.12, 0.1, 0.2, 0.14, 0.16) * 4,
    (0.4, 0.3, 0.2, 0.1),
    (1.0, 0.9, 1.2, 1.5),
)
WORLDS: Mapping[str, World] = {"18": SMALL, "96": LARGE}


@dataclasses.dataclass(frozen=True)
class Shift:
    """What changes on day 7, apart from the level; `interaction`: how far each (accent, site) is off its margins."""

    interaction: float = 0.0
    rare_share: float | None = None
    """Share of one rare accent afterwards, whose level is .3 from the first day."""
    sites_turned: bool = False
    """The rarest site becomes the most frequent one."""
    new_share: float = 0.0
    """Share of an accent of level .35 that was never heard before."""


NULLS: Mapping[str, Shift] = {
    "no change": Shift(),
    "rare hard accent takes half": Shift(rare_share=0.5),
    "the same, interaction .3": Shift(rare_share=0.5, interaction=0.3),
    "sites turn, interaction .3": Shift(sites_turned=True, interaction=0.3),
    "new accent takes .3": Shift(new_share=0.3),
}

RARE = {18: 5, 96: 15}


def units(world: World, seed: int, number: int, shift: Shift, factor: float = 1.0) -> list[tuple[float, UnitSums]]:
    """(day, unit) in order; `factor` on everybody's level from day 7 on."""
    random = np.random.default_rng(seed)
    levels = np.outer(world.accent_levels, world.site_levels)
    rare = RARE[levels.size]
    if shift.rare_share is not None:
        levels[rare] = 0.3 * np.asarray(world.site_levels)
    if shift.interaction:
        spread = shift.interaction
        levels = levels * np.exp(random.normal(0.0, spread, levels.shape) - spread**2 / 2)
    later_accents, later_sites = np.array(world.accents), np.array(world.sites)
    if shift.rare_share is not None:
        later_accents[rare] = 0.0
        later_accents *= (1 - shift.rare_share) / later_accents.sum()
        later_accents[rare] = shift.rare_share
    if shift.sites_turned:
        later_sites = later_sites[::-1]
    made: list[tuple[float, UnitSums]] = []
    for day in np.sort(random.random(number)) * DAYS:
        after = day > CHANGE
        accent = random.choice(len(world.accents), p=later_accents if after else np.array(world.accents))
        site = random.choice(len(world.sites), p=later_sites if after else np.array(world.sites))
        name, level = f"a{accent}", levels[accent, site] * (factor if after else 1.0)
        if after and random.random() < shift.new_share:
            name, level = "new", 0.35
        words = int(random.poisson(8) + random.geometric(0.4) * 4)
        errors = min(int(random.poisson(level * random.gamma(1.0) * words)), int(1.5 * words))
        made.append((float(day), (StratumSums(f"{name}\x1fs{site}", errors, words),)))
    return made


@dataclasses.dataclass
class Seen:
    """What came of it: alarms of both directions, money for pages, units bet on of those after day 7, closed or not."""

    worse: int = 0
    better: int = 0
    spent: float = 0.0
    bet: int = 0
    later: int = 0
    closed: int = 0
    paged: int = 0

    def add(self, other: Seen) -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def watched(made: Sequence[tuple[float, UnitSums]], settings: LearnSettings, pages: float) -> Seen:
    """One stream: seven days of learning, seven of bets with the share of `overall`."""
    seen, ledger = Seen(), Ledger(pages=pages, days=90.0)
    learned = [unit for day, unit in made if day <= CHANGE]
    watch = Watch(slice=(), learning_since=0.0, units=len(learned))
    ledger.since = ledger.until = ledger.started = 0.0
    ledger.advance(CHANGE * DAY, (0, 0, 0))
    seen.closed = int(watch.close(CHANGE * DAY, learned, ledger, settings))
    ledger.advance(DAYS * DAY, (1, 1, 1))
    for day, unit in made:
        if day <= CHANGE:
            continue
        seen.later += 1
        if watch.baseline is None:
            continue
        seen.bet += watch.baseline.expectation(unit)[0] > 0
        found = watch.bet(unit, day * DAY, ledger)
        if found is not None:
            seen.worse += found[0] == Alarm.WORSE
            seen.better += found[0] == Alarm.BETTER
    seen.spent, seen.paged = ledger.spent, int(seen.worse > 0)
    return seen


def streams(
    world: World, seeds: range, number: int, settings: LearnSettings, *, pages: float, shift: Shift, factor: float = 1.0
) -> Seen:
    total = Seen()
    for seed in seeds:
        total.add(watched(units(world, seed, number, shift, factor), settings, pages))
    return total


def main(seeds: range) -> None:
    """One line for each world, number of labels and variant."""
    for name, world in WORLDS.items():
        for number in (60, 100, 200, 400):
            for told, settings in (("before", BEFORE), ("after", AFTER)):
                quiet = streams(world, seeds, number, settings, pages=1.0, shift=Shift())
                power = [
                    streams(world, seeds, number, settings, pages=1.0, shift=Shift(), factor=factor).paged / len(seeds)
                    for factor in (1.5, 2.0, 3.0)
                ]
                nulls = [
                    streams(world, seeds, number, settings, pages=pages, shift=shift)
                    for shift in NULLS.values()
                    for pages in (1.0, 30.0)
                ]
                print(
                    f"| {name} | {number} | {told} | {quiet.closed / len(seeds):.2f} | {quiet.bet / quiet.later:.2f} | "
                    + " / ".join(f"{share:.2f}" for share in power)
                    + " | "
                    + " | ".join(f"{one.worse} of {one.spent:.1f}" for one in nulls)
                    + f" | better {sum(one.better for one in nulls)} of {sum(one.spent for one in nulls) / 10:.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    first, last = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (70_000, 70_100)
    main(range(first, last))
