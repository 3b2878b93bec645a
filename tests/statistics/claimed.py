"""Closed rows for claims: sessions of a group and of others, persons who differ, a gap that is or is not there."""

from __future__ import annotations

import numpy as np

from monitor.core.claims import Claim, share_of, take
from monitor.core.closed_units import CellRow
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.predicates import parse
from tests.builders import DAY, MARCH_2

NAMES = ("accent", "deployment")
PREDICATE = parse("accent=yoruba", NAMES)
BEFORE = 60
"""Sessions before the submission, from which the others' rate is known."""


def claim(gap: float, *, number: int = 1, verified: int = 0) -> Claim:
    return Claim(
        id="acme-1",
        number=number,
        customer="acme",
        where=str(PREDICATE),
        gap=gap,
        share=share_of(number, verified),
        submitted_at=MARCH_2,
        until=MARCH_2,
        tasks=("deployment",),
    )


def rows(seed: int, sessions: int, gap: float, *, spread: float = 0.35, group: float = 0.15) -> list[CellRow]:
    """Sessions of two deployments (.10 and .14), `group` of them yoruba with `gap` more; each is a person's.

    spread  of the factors by which persons differ, the larger the more dependent the words of a session
    """
    chance = np.random.default_rng(seed)
    n = sessions + BEFORE
    of_group, ward = chance.random(n) < group, chance.random(n) < 0.5
    words = chance.integers(8, 120, n)
    shape = 1 / spread**2 if spread else 1e6
    wer = (np.where(ward, 0.14, 0.10) + gap * of_group) * chance.gamma(shape, 1 / shape, n)
    errors = np.minimum(chance.poisson(wer * words), words * 3 // 2)
    made = []
    for i in range(n):
        ended_at = MARCH_2 + (i - BEFORE + 1) * DAY / 200
        labels = ("yoruba" if of_group[i] else "us", "ward" if ward[i] else "clinic")
        sums = (1, int(errors[i]) * WEIGHT_ONE, int(words[i]) * WEIGHT_ONE, int(words[i]))
        made.append(CellRow(ended_at, f"u{i}", labels, f"p{i}", *sums, ended_at - 60.0))
    return made


def after_rows(claimed: Claim, made: list[CellRow]) -> Claim:
    """The claim after all of these rows."""
    take(claimed, PREDICATE, NAMES, made, made[-1].ended_at + 1.0, MARCH_2 - 28 * DAY)
    return claimed
