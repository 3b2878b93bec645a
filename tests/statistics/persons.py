"""Corrected traffic of persons who differ, as arrays: for searches and claims, which compare persons."""

from __future__ import annotations

import numpy as np

from monitor.core.cells import Cells
from tests.builders import DAY

ACCENTS = ("us", "england", "indian", "scottish", "yoruba")
ACCENT_SHARES = (0.3, 0.25, 0.2, 0.15, 0.1)
DEVICES = ("phone", "tablet", "desk")
AGES = ("20-39", "40-59", "60-79")
DEPLOYMENTS = ("clinic", "ward")


def persons(seed: int, *, count: int = 1000, accent_gap: float = 0.0, pair_gap: float = 0.0) -> tuple[Cells, list[str]]:
    """Four sessions of each person in four weeks; whose each session is.

    accent_gap  added to yoruba's WER; pair_gap: to that of yoruba on phones. Others have .10 at the clinic, .14 on the
    ward. Persons vary by a factor with spread .5, their sessions by one with .35.
    """
    chance = np.random.default_rng(seed)
    person = np.repeat(np.arange(count), 4)
    n = len(person)
    accent = chance.choice(len(ACCENTS), count, p=ACCENT_SHARES)[person]
    device = chance.choice(len(DEVICES), count)[person]
    age = chance.choice(len(AGES), count)[person]
    deployment = chance.choice(len(DEPLOYMENTS), n)
    words = chance.integers(8, 60, n)
    yoruba, phone = accent == ACCENTS.index("yoruba"), device == DEVICES.index("phone")
    wer = np.where(deployment == 0, 0.10, 0.14) + accent_gap * yoruba + pair_gap * (yoruba & phone)
    luck = chance.gamma(4, 1 / 4, count)[person] * chance.gamma(8, 1 / 8, n)
    at = np.sort(chance.random(n)) * 28 * DAY
    columns = {"accent": (ACCENTS, accent), "device": (DEVICES, device), "age": (AGES, age)}
    columns["deployment"] = (DEPLOYMENTS, deployment)
    cells = Cells(
        unit=np.arange(n),
        errors=np.minimum(chance.poisson(wer * luck * words), 1.5 * words).astype(np.float64),
        words=words.astype(np.float64),
        ended_at=at,
        utterances=np.ones(n, np.int64),
        labels={name: np.array(values, object)[number] for name, (values, number) in columns.items()},
        person=person.astype(np.int64),
        first_at=at,
        kinds=np.zeros((n, 3)),
    )
    return cells, [f"person {seed}.{number}" for number in person.tolist()]
