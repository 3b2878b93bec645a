"""Decides who speaks when in the generated deployment: sites, rosters of speakers, sessions over the hours of a week.

Three hospitals with wards and one contact centre of one customer. Every speaker has a site, a usual device, an accent
(declared by about 55 %) and a personal error factor that stays. A site's mix of accents and the mean factor of each of
its groups of speakers are fixed, so that the truth of a run is known whatever the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from monitor.analysis.recognizer import Style
from monitor.analysis.sentences import CALLS, CLINICAL, Grammar

HOUR = 3600.0
DAY = 86_400.0

CUSTOMER = "northfield-health"

ACCENTS: Mapping[str, float] = {
    "england": 0.90,
    "us": 0.92,
    "welsh": 0.98,
    "scottish": 1.00,
    "filipino": 1.06,
    "polish": 1.08,
    "jamaican": 1.10,
    "indian": 1.12,
    "nigerian-english": 1.16,
}
"""Declared accent -> error factor: ordinary differences, too small to matter in two weeks of labels."""

UNDECLARED = ""
"""Speakers who declare no accent: a mixture, so their factor is about 1."""

UTTERANCES = (2, 3, 4, 5, 6, 7, 8, 10, 12)
_UTTERANCE_WEIGHTS = tuple(accumulate((10, 14, 16, 15, 13, 11, 9, 7, 5)))
UTTERANCES_MEAN = 5.53

SPEAKER_SPREAD = 0.30
SESSION_SPREAD = 0.20
UTTERANCE_SPREAD = 0.50
"""Standard deviations of log error factors: who speaks, in what room, and how hard this one sentence was. Speakers of
one accent differ by a factor of two within the middle 80 %: what utterance-wise detectors mistake for change."""

UNDECLARED_SPEAKER_PROBABILITY = 0.05
"""Sessions whose client sends no speaker id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A kind of microphone."""

    name: str
    factor: float
    style: Style
    metres: bool = False
    """Its client sends a battery level as a number, which the contract does not allow: the field is clipped."""


SCANNER = Device(name="ward-scanner", factor=1.05, style=Style.PLAIN)
DESK_PHONE = Device(name="desk-phone", factor=1.08, style=Style.PLAIN)
MOBILE = Device(name="mobile-app", factor=0.97, style=Style.PUNCTUATED, metres=True)
HEADSET = Device(name="headset", factor=0.93, style=Style.PUNCTUATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place with a roster.

    share     of the customer's sessions
    speakers  on the roster
    accents   declared accent (UNDECLARED: none) -> share of the site's sessions
    devices   -> share of the site's speakers
    hours     relative traffic of the 24 hours of a working day
    weekend   traffic of a Saturday or Sunday, as a share of a working day
    """

    name: str
    deployment: str
    grammar: Grammar
    share: float
    speakers: int
    accents: Mapping[str, float]
    devices: Mapping[Device, float]
    hours: tuple[float, ...]
    weekend: float


_WARD_HOURS = (2, 1, 1, 1, 1, 2, 4, 8, 10, 11, 10, 8, 6, 7, 8, 8, 7, 6, 6, 7, 6, 4, 3, 2)
_OFFICE_HOURS = (0, 0, 0, 0, 0, 0, 1, 4, 11, 13, 12, 10, 8, 9, 10, 10, 8, 5, 3, 2, 1, 0, 0, 0)
_WARD_DEVICES = {SCANNER: 0.45, MOBILE: 0.35, DESK_PHONE: 0.20}

SITES = (
    Site(
        name="st-brigid",
        deployment="wards",
        grammar=CLINICAL,
        share=0.34,
        speakers=280,
        accents={
            "scottish": 0.18,
            "england": 0.10,
            "indian": 0.08,
            "filipino": 0.06,
            "nigerian-english": 0.06,
            "polish": 0.03,
            "welsh": 0.02,
            "us": 0.02,
            UNDECLARED: 0.45,
        },
        devices=_WARD_DEVICES,
        hours=_WARD_HOURS,
        weekend=0.62,
    ),
    Site(
        name="harbour-general",
        deployment="wards",
        grammar=CLINICAL,
        share=0.22,
        speakers=185,
        accents={
            "england": 0.14,
            "indian": 0.09,
            "nigerian-english": 0.08,
            "filipino": 0.07,
            "scottish": 0.05,
            "jamaican": 0.04,
            "polish": 0.04,
            "welsh": 0.03,
            UNDECLARED: 0.46,
        },
        devices=_WARD_DEVICES,
        hours=_WARD_HOURS,
        weekend=0.62,
    ),
    Site(
        name="queen-anne",
        deployment="wards",
        grammar=CLINICAL,
        share=0.18,
        speakers=155,
        accents={
            "welsh": 0.13,
            "england": 0.11,
            "indian": 0.08,
            "jamaican": 0.06,
            "filipino": 0.05,
            "nigerian-english": 0.05,
            "scottish": 0.04,
            "us": 0.03,
            UNDECLARED: 0.45,
        },
        devices=_WARD_DEVICES,
        hours=_WARD_HOURS,
        weekend=0.62,
    ),
    Site(
        name="call-hub",
        deployment="contact-centre",
        grammar=CALLS,
        share=0.26,
        speakers=240,
        accents={
            "england": 0.16,
            "indian": 0.09,
            "us": 0.06,
            "polish": 0.06,
            "jamaican": 0.05,
            "scottish": 0.05,
            "nigerian-english": 0.05,
            "welsh": 0.04,
            UNDECLARED: 0.44,
        },
        devices={HEADSET: 0.75, DESK_PHONE: 0.25},
        hours=_OFFICE_HOURS,
        weekend=0.25,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Somebody on a roster; `factor` multiplies the error rate of everything they say."""

    id: str
    accent: str
    device: Device
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One person at one device for a few minutes."""

    id: str
    site: Site
    speaker: Speaker
    anonymous: bool
    started_at: float
    utterances: int
    factor: float


class Rosters:
    """The speakers of every site, and whose turn it is."""

    def __init__(self, rng: random.Random, sites: tuple[Site, ...] = SITES) -> None:
        self._rng = rng
        self._accents = {site.name: tuple(site.accents) for site in sites}
        self._weights = {site.name: tuple(accumulate(site.accents.values())) for site in sites}
        self._groups = {(site.name, accent): self._group(site, accent) for site in sites for accent in site.accents}

    def session(self, site: Site, at: float) -> Session:
        """A session that starts at `at`: accent by the site's mix, then any of its speakers."""
        rng = self._rng
        accent = rng.choices(self._accents[site.name], cum_weights=self._weights[site.name])[0]
        group = self._groups[site.name, accent]
        return Session(
            id=f"ses-{rng.getrandbits(48):012x}",
            site=site,
            speaker=group[int(rng.random() * len(group))],
            anonymous=rng.random() < UNDECLARED_SPEAKER_PROBABILITY,
            started_at=at,
            utterances=rng.choices(UTTERANCES, cum_weights=_UTTERANCE_WEIGHTS)[0],
            factor=rng.lognormvariate(-(SESSION_SPREAD**2) / 2, SESSION_SPREAD),
        )

    def _group(self, site: Site, accent: str) -> tuple[Speaker, ...]:
        """Factors are scaled to a mean of 1: the truth of a group must not hang on who happened to be hired."""
        rng = self._rng
        size = max(4, round(site.speakers * site.accents[accent]))
        factors = [rng.lognormvariate(0.0, SPEAKER_SPREAD) for _ in range(size)]
        scale = size / sum(factors)
        devices = rng.choices(tuple(site.devices), weights=tuple(site.devices.values()), k=size)
        return tuple(
            Speaker(id=f"spk-{rng.getrandbits(40):010x}", accent=accent, device=device, factor=factor * scale)
            for factor, device in zip(factors, devices, strict=True)
        )


def starts(site: Site, hour_at: float, sessions_per_week: float, rng: random.Random) -> Iterator[float]:
    """Start times of a site's sessions within the hour at `hour_at`: a Poisson process with that hour's rate."""
    rate = _sessions_per_hour(site, hour_at, sessions_per_week)
    if rate <= 0.0:
        return
    at = hour_at + rng.expovariate(rate) * HOUR
    while at < hour_at + HOUR:
        yield at
        at += rng.expovariate(rate) * HOUR


def is_weekend(at: float) -> bool:
    """1970-01-01 was a Thursday, so day 2 of the epoch was a Saturday."""
    return int(at // DAY) % 7 in (2, 3)


def _sessions_per_hour(site: Site, at: float, sessions_per_week: float) -> float:
    working_day = sessions_per_week * site.share / (5.0 + 2.0 * site.weekend)
    daily = working_day * (site.weekend if is_weekend(at) else 1.0)
    return daily * site.hours[int(at // HOUR) % 24] / sum(site.hours)
