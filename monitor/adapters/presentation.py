"""Decides how values are put into words for people: percentages, dates, slices, verdicts, incidents as stories.

Shared by the status page and the report, which both render from an immutable `View`. Names of groups are customers'
data: everything goes through jinja2 with autoescape on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from msgspec.structs import replace

from monitor.core.records import (
    UNKNOWN,
    Direction,
    IncidentKind,
    IncidentState,
    KindShares,
    Level,
    SliceRow,
    SliceStanding,
    Transition,
    Verdict,
    View,
)
from monitor.core.slicing import slice_named

ALL_TRAFFIC = "all"
MISSING = "–"

_SPACE = "\u00a0"  # a value and its unit stay on one line
_TEMPLATES = Path(__file__).parent / "templates"


# ------------------------------------------------------------------------------------------------- numbers and times
def percent(ratio: float | None) -> str:
    """A ratio as people read it.

    >>> percent(0.2222).replace(chr(160), " ")
    '22.2 %'
    """
    return MISSING if ratio is None else f"{100 * ratio:.1f}{_SPACE}%"


def whole_percent(ratio: float) -> str:
    """Without decimals, but never 0 % or 100 % for what is not exactly that."""
    rounded = round(100 * ratio)
    if rounded == 0 and ratio > 0:
        return f"<1{_SPACE}%"
    if rounded == 100 and ratio < 1:
        return f">99{_SPACE}%"
    return f"{rounded}{_SPACE}%"


def kinds(shares: KindShares) -> str:
    """Shares of substitutions, deletions and insertions.

    >>> kinds(KindShares(substitutions=0.6, deletions=0.3, insertions=0.1)).replace(chr(160), " ")
    '60 · 30 · 10 %'
    """
    three = (shares.substitutions, shares.deletions, shares.insertions)
    return " · ".join(f"{100 * share:.0f}" for share in three) + f"{_SPACE}%"


def interval(low: float | None, high: float | None) -> str:
    """Bounds in percent without the sign, e.g. `[18.9, 25.8]`; an open side is `…`."""
    if low is None and high is None:
        return ""
    return f"[{_bound(low)},{_SPACE}{_bound(high)}]"


def points(gap: float | None) -> str:
    """A difference of two rates in percentage points, always with its sign."""
    return MISSING if gap is None else f"{100 * gap:+.1f}".replace("-", "−")


def points_interval(low: float | None, high: float | None) -> str:
    """Bounds of a difference, in percentage points."""
    if low is None and high is None:
        return ""
    return f"[{'…' if low is None else points(low)},{_SPACE}{'…' if high is None else points(high)}]"


def whole(count: float) -> str:
    """Thousands apart, e.g. `13 587`."""
    return f"{round(count):,}".replace(",", "\u202f")


def compact(value: float) -> str:
    """A small number with two significant digits."""
    return f"{value:.2g}" if value < 100 else whole(value)


def evidence(value: float) -> str:
    """Evidence on its scale where 1 pages."""
    return "<0.001" if 0 < value < 0.001 else compact(value)


def money(pages: float) -> str:
    """Expected false pages, of which a small slice has a few thousandths.

    >>> money(0.0), money(0.00034), money(0.00003), money(0.156)
    ('0', '0.0003', '<0.0001', '0.156')
    """
    if 0.0 < pages < 0.0001:
        return "<0.0001"
    return f"{pages:.4f}".rstrip("0").rstrip(".") if pages < 0.01 else f"{pages:.3f}".rstrip("0").rstrip(".")


def moment(at: float | None) -> str:
    """A time as people read it, UTC, e.g. `8 March 12:06`."""
    if at is None:
        return MISSING
    when = datetime.fromtimestamp(at, UTC)
    return f"{when.day}{_SPACE}{when:%B}{_SPACE}{when:%H:%M}"


def day_words(at: float) -> str:
    """A day with its year, UTC."""
    when = datetime.fromtimestamp(at, UTC)
    return f"{when.day}{_SPACE}{when:%B %Y}"


def dated(at: float | None) -> str:
    """A time with its year, e.g. `8 March 2026 12:06 UTC`."""
    if at is None:
        return MISSING
    when = datetime.fromtimestamp(at, UTC)
    return f"{when.day} {when:%B %Y %H:%M} UTC"


def machine_time(at: float) -> str:
    """RFC 3339, for `<time datetime=...>` and JSON."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(at: float | None, now: float) -> str:
    """How long before `now`, in the largest unit that is at least 1."""
    if at is None:
        return "never"
    seconds = max(0.0, now - at)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{_SPACE}{unit} ago"
    return "just now"


def duration(seconds: float) -> str:
    """A span in the largest unit that is at least 1."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 1.5 * size or unit == "min":
            return f"{seconds / size:.0f}{_SPACE}{unit}"
    return ""


def age_words(band: str) -> str:
    """An age band as people read it.

    >>> age_words("3-7d").replace(chr(160), " "), age_words("7d+").replace(chr(160), " ")
    ('3–7 d', '7 d +')
    """
    return band.replace("-", "–").replace("d", f"{_SPACE}d").replace("+", f"{_SPACE}+")


def _bound(ratio: float | None) -> str:
    if ratio is None:
        return "…"
    return f"{100 * ratio:.1f}" if ratio < 1.0 else ">100"  # of two or three sessions: nothing is known


# ------------------------------------------------------------------------------------------------------------ slices
def slice_words(name: str) -> str:
    """What a slice is called in a sentence: its values.

    >>> slice_words("accent=yoruba&deployment=clinical")
    'yoruba × clinical'
    """
    pairs = slice_named(name)
    return " × ".join(value for _, value in pairs) if pairs else "all traffic"


def slice_url(customer: str, name: str) -> str:
    """Where one slice's page is, relative to any other page.

    >>> slice_url("acme", "accent=yoruba&deployment=clinical")
    'slice?customer=acme&slice=accent%3Dyoruba%26deployment%3Dclinical'
    """
    return f"slice?customer={_quoted(customer)}&slice={_quoted(name)}"


def slices_url(customer: str, first: int = 0) -> str:
    """All slices of a customer, from the `first` on."""
    return f"slices?customer={_quoted(customer)}" + (f"&from={first}" if first else "")


def incident_url(incident: str) -> str:
    return f"incident?id={_quoted(incident)}"


def _quoted(words: str) -> str:
    return quote(words, safe="", errors="replace")


# --------------------------------------------------------------------------------------------------------- incidents
@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One incident from its first transition to its latest."""

    latest: Transition
    fired_at: float
    resolved_at: float | None
    updates: int

    @property
    def is_open(self) -> bool:
        return self.resolved_at is None

    @property
    def since(self) -> float:
        """When it began, as far as is known: before it was noticed."""
        since = self.latest.since
        return self.fired_at if since is None else min(since, self.fired_at)

    def ends(self, now: float) -> float:
        return now if self.resolved_at is None else self.resolved_at

    def names(self, customer: str, name: str) -> bool:
        return self.latest.customer == customer and name in self.latest.slices


_LEVEL_ORDER = {Level.PAGE: 0, Level.TICKET: 1, Level.DIGEST: 2}


def stories(transitions: Iterable[Transition]) -> tuple[Story, ...]:
    """Open incidents first, the most urgent of them first, then the newest."""
    grouped: dict[str, list[Transition]] = {}
    for transition in transitions:
        grouped.setdefault(transition.incident, []).append(transition)
    told = [_story(members) for members in grouped.values()]
    return tuple(sorted(told, key=lambda story: (not story.is_open, _LEVEL_ORDER[story.latest.level], -story.fired_at)))


def _story(members: list[Transition]) -> Story:
    latest = members[-1]
    before = [member for member in members if member.since is not None]
    if latest.since is None and before:
        latest = replace(latest, since=before[-1].since)
    resolved = members[-1].state is IncidentState.RESOLVED
    return Story(
        latest=latest,
        fired_at=members[0].at,
        resolved_at=members[-1].at if resolved else None,
        updates=sum(member.state is IncidentState.UPDATED for member in members),
    )


# ------------------------------------------------------------------------------------------------- standing of slices
@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a row is shown: one of four kinds that differ in shape, word and colour."""

    kind: str
    """disparity, parity, insufficient, or unseen (no decision yet)."""
    word: str
    note: str


def standing_of(row: SliceRow) -> Standing:
    """The verdict in words. What is not known says what is missing, and never reads as good."""
    if row.slice == ALL_TRAFFIC:
        return Standing(kind="baseline", word="All traffic", note="what the rest is compared with")
    standing = row.standing
    if standing is None or not row.pairs:
        note = "no corrected transcript yet" if not row.pairs else "not decided yet"
        return Standing(kind="unseen", word="No verdict", note=note)
    match standing.verdict:
        case Verdict.DISPARITY:
            return Standing(kind="disparity", word="Disparity", note="worse than the rest, beyond the margin")
        case Verdict.PARITY:
            return Standing(kind="parity", word="Parity", note="gap within the margin")
        case Verdict.INSUFFICIENT:
            note = f"not known: {_unknown_because(row, standing)}"
            return Standing(kind="insufficient", word="Insufficient", note=note)


def _unknown_because(row: SliceRow, standing: SliceStanding) -> str:
    if f"={UNKNOWN}" in row.slice:
        return "unlabelled traffic is not compared"
    if standing.gap is None:
        return "nothing to compare it with"
    if standing.words_missing:
        return f"needs about {whole(standing.words_missing)} more labelled words"
    return "too few labels to tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many slices below `all` stand how; the report's and the page's first numbers."""

    disparity: int
    parity: int
    unknown: int

    @property
    def slices(self) -> int:
        return self.disparity + self.parity + self.unknown


def tally(rows: Iterable[SliceRow]) -> Tally:
    """Counts of verdicts; `insufficient` and undecided slices are both not known."""
    kinds = [standing_of(row).kind for row in rows if row.slice != ALL_TRAFFIC]
    return Tally(
        disparity=kinds.count("disparity"),
        parity=kinds.count("parity"),
        unknown=kinds.count("insufficient") + kinds.count("unseen"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Thirds:
    """How many slices are wrong, not known and fine: verdicts and open incidents taken together.

    wrong     a disparity, or named by an open incident because it got worse (all traffic counts then, too)
    unknown   no verdict, or named by an open incident because nothing is seen of it any more
    """

    wrong: int
    unknown: int
    fine: int


def thirds(rows: Iterable[SliceRow], told: Iterable[Story]) -> Thirds:
    """The first page's first numbers. A slice that somebody was woken for is wrong, whatever its standing gap."""
    open_ = [story for story in told if story.is_open and story.latest.direction is Direction.WORSE]
    worse = {name for story in open_ if story.latest.kind in _WORSE for name in story.latest.slices}
    unseen = {name for story in open_ if story.latest.kind not in _WORSE for name in story.latest.slices}
    counts = {"wrong": 0, "unknown": 0, "fine": 0}
    for row in rows:
        kind = standing_of(row).kind
        if row.slice in worse or kind == "disparity":
            counts["wrong"] += 1
        elif row.slice == ALL_TRAFFIC:
            continue
        else:
            counts["fine" if kind == "parity" and row.slice not in unseen else "unknown"] += 1
    return Thirds(**counts)


_WORSE = (IncidentKind.DRIFT, IncidentKind.DISPARITY, IncidentKind.OVERALL)

_KIND_ORDER = {"disparity": 0, "insufficient": 1, "unseen": 1, "parity": 2, "baseline": -1}


def by_concern(rows: Iterable[SliceRow], told: Iterable[Story]) -> list[SliceRow]:
    """Slices of open incidents, then disparity, then what is not known, then parity; general and big ones first."""
    named = {(story.latest.customer, name) for story in told if story.is_open for name in story.latest.slices}
    return sorted(
        rows,
        key=lambda row: (
            (row.customer, row.slice) not in named,
            _KIND_ORDER[standing_of(row).kind],
            row.depth,
            -row.transcripts,
            row.customer,
            row.slice,
        ),
    )


# ---------------------------------------------------------------------------------------------------------- coverage
@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a whole, for a bar."""

    name: str
    part: float
    whole: float
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.part / self.whole if self.whole > 0 else 0.0


def unlabelled(view: View, customer: str) -> list[Share]:
    """For each sliced dimension, the traffic without a declared value."""
    rows = {row.slice: row for row in view.slices if row.customer == customer}
    total = rows[ALL_TRAFFIC].transcripts if ALL_TRAFFIC in rows else 0
    sliced = {slice_named(name)[0][0] for name, row in rows.items() if row.depth == 1}
    return [
        Share(
            name=dimension,
            part=rows[key].transcripts if (key := f"{dimension}={UNKNOWN}") in rows else 0,
            whole=total,
        )
        for dimension in view.dimensions
        if dimension in sliced
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One group's transcripts without a correction, by age."""

    name: str
    dimension: str
    """Empty for all traffic."""
    bands: tuple[Share, ...]


_OLD = ("3-7d", "7d+")
"""Ages at which a correction is overdue: most references come within three days (reference_delay_seconds)."""


def waiting(rows: Iterable[SliceRow]) -> list[Waiting]:
    """All traffic, then one-way groups: first those with the greatest share of old transcripts without a correction."""
    shown = [row for row in rows if row.depth <= 1 and any(seen for _, seen, _ in row.missing_by_age)]
    return [_waiting(row) for row in sorted(shown, key=lambda row: (row.depth, *_overdue(row), row.slice))]


def _overdue(row: SliceRow) -> tuple[float, int]:
    """Sorts the worst first: by share, then by number."""
    old = [(seen, missing) for band, seen, missing in row.missing_by_age if band in _OLD]
    seen, missing = sum(seen for seen, _ in old), sum(missing for _, missing in old)
    return (-missing / seen if seen else 0.0, -missing)


def _waiting(row: SliceRow) -> Waiting:
    pairs = slice_named(row.slice)
    return Waiting(
        name=pairs[0][1] if pairs else "all traffic",
        dimension=pairs[0][0] if pairs else "",
        bands=tuple(Share(name=band, part=missing, whole=seen) for band, seen, missing in row.missing_by_age),
    )


def counted(counters: Mapping[str, int], name: str, label: str) -> list[tuple[str, int]]:
    """Totals of a pipeline counter by one of its labels, the greatest first."""
    totals: dict[str, int] = {}
    for series, count in counters.items():
        if not series.startswith(f"{name}{{"):
            continue
        _, found, rest = series.partition(f'{label}="')
        if found:
            value = rest.partition('"')[0]
            totals[value] = totals.get(value, 0) + count
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def customers(view: View) -> list[str]:
    return sorted({row.customer for row in view.slices} | {account.customer for account in view.budget})


# --------------------------------------------------------------------------------------------------------- templates
@cache
def environment() -> Environment:
    """Templates with autoescape on and no silent holes; the filters are this module's functions."""
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        percent,
        whole_percent,
        interval,
        kinds,
        points,
        points_interval,
        whole,
        compact,
        evidence,
        money,
        moment,
        day_words,
        dated,
        machine_time,
        ago,
        duration,
        age_words,
        slice_words,
        slice_named,
        standing_of,
    ):
        found.filters[function.__name__] = function
    return found


def stylesheet() -> str:
    """The one style sheet, inlined into every document."""
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8").strip()
