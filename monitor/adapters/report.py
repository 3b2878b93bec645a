"""Decides what `report.html` of a replay shows: one self-contained document that a person wants to read.

Overall WER over time first, then the slices that matter (named by an incident, then by verdict, then by traffic) as
small multiples on one scale, then incidents on a time line, coverage, every slice in a table, and how it was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from monitor import __version__
from monitor.adapters import plots
from monitor.adapters.page import Customer, customer_sections, headline, policy
from monitor.adapters.presentation import (
    ALL_TRAFFIC,
    Standing,
    Story,
    by_concern,
    environment,
    moment,
    slice_words,
    standing_of,
    stories,
    stylesheet,
)
from monitor.core.records import Counts, Level, SliceRow, View

MULTIPLES_MAX = 12
"""Small plots for each customer: a screenful. The table below has every slice."""

ROWS_MAX = 2_000
"""Rows of the table for each customer (about 1 kB each): a report stays below a few megabytes."""

TIMELINE_MAX = 40
"""Incidents on the time line, the most urgent ones."""

WIDE, NARROW = 1_150, 370
"""Widths in pixels of a plot that fills the page, on a desk and on a phone (both are drawn, the style sheet picks)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One small plot with what stands above it."""

    words: str
    standing: Standing
    plot: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """The figures of one customer."""

    section: Customer
    overall: Markup
    figures: tuple[Figure, ...]
    slices_without_figure: int
    timeline: Markup
    told: tuple[Story, ...]
    timeline_left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A line of `summary.json` for people: nested keys are joined with a dot."""

    name: str
    value: str


def render_report(view: View, summary: Mapping[str, object]) -> bytes:
    """The whole document in UTF-8. `summary` is what summary.json holds; all of it is listed at the end."""
    style = stylesheet()
    told = stories(view.incidents)
    sections = customer_sections(view, rows_max=ROWS_MAX)
    document = (
        environment()
        .get_template("report.html.j2")
        .render(
            version=__version__,
            style=Markup(style),
            policy=policy(style, framed=True),
            view=view,
            headline=headline(view),
            chapters=[_chapter(view, section, told) for section in sections],
            facts=list(_facts(summary)),
            first_at=_span(view)[0],
            last_at=_span(view)[1],
            share_bar=plots.share_bar,
            hatch=plots.hatch(),
        )
    )
    return document.encode("utf-8", "replace")


def _span(view: View) -> tuple[float, float]:
    """First and last moment of every plot: whole days of history, widened by incidents."""
    days = [day for row in view.slices if row.standing for day, *_ in row.standing.history]
    began = [story.since for story in stories(view.incidents)]
    if not days:
        return (min([view.at - plots.DAY, *began]), view.at)
    return (
        min([*days, *began]),
        max(max(days) + plots.DAY, *(story.fired_at for story in stories(view.incidents)), 0.0),
    )


def _chapter(view: View, section: Customer, told: Sequence[Story]) -> Chapter:
    rows = [row for row in view.slices if row.customer == section.name]
    own = tuple(story for story in told if story.latest.customer == section.name)
    overall = next((row for row in rows if row.slice == ALL_TRAFFIC), None)
    comparison = _history(overall)
    ever_named = {name for story in own for name in story.latest.slices}
    concerning = sorted(by_concern(rows, own), key=lambda row: row.slice not in ever_named)  # stable: keeps the order
    shown = _distinct(concerning, overall)
    picked = shown[:MULTIPLES_MAX]
    top = plots.axis_top([comparison, *(_history(row) for row in picked)])
    return Chapter(
        section=section,
        overall=_overall(view, comparison, own, section.name),
        figures=tuple(_figure(view, row, own, comparison, top) for row in picked),
        slices_without_figure=len(shown) - len(picked),
        timeline=_timeline(view, own[:TIMELINE_MAX]),
        told=own[:TIMELINE_MAX],
        timeline_left_out=max(0, len(own) - TIMELINE_MAX),
    )


def _distinct(rows: Sequence[SliceRow], overall: SliceRow | None) -> list[SliceRow]:
    """Slices worth a plot: below `all`, with pairs, and each set of utterances once, under its most general name."""
    seen: dict[tuple[int, int, Counts], SliceRow] = {}
    if overall is not None:
        seen[_fingerprint(overall)] = overall
    for row in sorted(rows, key=lambda row: row.depth):
        seen.setdefault(_fingerprint(row), row)
    return [row for row in rows if row.depth > 0 and row.pairs and seen[_fingerprint(row)] is row]


def _fingerprint(row: SliceRow) -> tuple[int, int, Counts]:
    return (row.transcripts, row.pairs, row.counts)


def _history(row: SliceRow | None) -> plots.History:
    return row.standing.history if row is not None and row.standing is not None else ()


# ------------------------------------------------------------------------------------------------------------ figures
def _overall(view: View, history: plots.History, told: Sequence[Story], customer: str) -> Markup:
    first_at, last_at = _span(view)
    pages = [story for story in told if story.latest.level is Level.PAGE] or list(told[:2])
    marks = [_mark(view, story, _who(view, story)) for story in pages[:3]]
    drawn = []
    for width, height, classes in ((WIDE, 280, "wide-only"), (NARROW, 230, "narrow")):
        frame = plots.Frame(
            width=width, height=height, first_at=first_at, last_at=last_at, top=plots.axis_top([history]), above=30
        )
        title = f"WER of all traffic of {customer} by day, with bounds; {len(marks)} incidents marked"
        drawn.append(plots.wer_over_time(history, frame, title=title, marks=marks, classes=classes))
    return Markup("").join(drawn)


def _figure(view: View, row: SliceRow, told: Sequence[Story], comparison: plots.History, top: float) -> Figure:
    first_at, last_at = _span(view)
    frame = plots.Frame(width=370, height=184, first_at=first_at, last_at=last_at, top=top, left=42, right=50)
    marks = [
        _mark(view, story, f"{story.latest.level}, {_began(story)}")
        for story in told
        if story.names(row.customer, row.slice)
    ]
    words = slice_words(row.slice)
    title = f"WER of {words} by day with bounds, beside all traffic"
    return Figure(
        words=words,
        standing=standing_of(row),
        plot=plots.wer_over_time(_history(row), frame, title=title, marks=marks[:1], comparison=comparison),
    )


def _timeline(view: View, told: Sequence[Story]) -> Markup:
    first_at, last_at = _span(view)
    marks = [_mark(view, story, f"{_who(view, story)}, {story.latest.kind}") for story in told]
    title = f"{len(marks)} incidents over time, from when each began to when it was resolved"
    return Markup("").join(
        plots.timeline(
            marks,
            plots.Frame(
                width=width,
                height=0,
                first_at=first_at,
                last_at=last_at,
                top=1.0,
                left=24,
                right=24,
                above=10,
                below=26,
            ),
            title,
            classes,
        )
        for width, classes in ((WIDE, "wide-only"), (NARROW, "narrow"))
    )


def _mark(view: View, story: Story, label: str) -> plots.Mark:
    return plots.Mark(
        since=story.since,
        fired_at=story.fired_at,
        until=story.ends(_span(view)[1]),
        level=story.latest.level,
        label=label,
        is_open=story.is_open,
    )


def _began(story: Story) -> str:
    """A standing gap has no beginning: it was there, and was noticed."""
    if story.latest.since is None:
        return f"noticed {moment(story.fired_at)}"
    return f"since {moment(story.since)}"


def _who(view: View, story: Story) -> str:
    """The incident's slices in a few words: two, and how many more."""
    names = [slice_words(name) for name in story.latest.slices]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{story.latest.level}: {', '.join(names[:2])}{more}"


# -------------------------------------------------------------------------------------------------------------- facts
def _facts(summary: Mapping[str, object], prefix: str = "") -> list[Fact]:
    facts: list[Fact] = []
    for name, value in summary.items():
        words = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            facts.extend(_facts(value, f"{words} · ") if value else [Fact(name=words, value="none")])
        elif isinstance(value, list | tuple):
            facts.append(Fact(name=words, value=", ".join(str(item) for item in value) or "none"))
        else:
            facts.append(Fact(name=words, value=_said(value)))
    return facts


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)
