"""Decides what is said of one slice and of one incident: figures, tables and neighbours, ready for a template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from monitor.adapters import plots
from monitor.adapters.page import Group, groups_of, scale_of
from monitor.adapters.presentation import (
    ALL_TRAFFIC,
    Share,
    Standing,
    Story,
    by_concern,
    moment,
    percent,
    slice_words,
    standing_of,
    stories,
)
from monitor.core.records import IncidentState, Level, SliceRow, Transition, View
from monitor.core.slicing import slice_named

NEIGHBOURS_MAX = 40
"""Rows of narrower and wider slices: two screenfuls, the worrying ones first."""

STEPS_MAX = 200
"""Steps of one incident: an update a day for half a year. The latest are kept."""

TIMELINE_MAX = 40
"""Incidents on the time line, the most urgent ones."""

WIDE, NARROW = 1_150, 358
"""Widths in pixels of a plot that fills the page, on a desk and on a phone (both are drawn, the style sheet picks)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceDetail:
    """Everything the agent knows of one slice."""

    row: SliceRow
    words: str
    standing: Standing
    plot: Markup
    kinds: Markup
    errors: int
    told: tuple[Story, ...]
    ages: tuple[Share, ...]
    groups: tuple[Group, ...]
    neighbours_left_out: int
    scale: float
    evidence: float
    """On the scale where 1 pages, cut there: for a bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentDetail:
    """One incident, its steps from the first on, and its slice over time."""

    story: Story
    steps: tuple[Transition, ...]
    steps_left_out: int
    plots: tuple[tuple[str, Markup], ...]
    """(slice, WER over time) of the first slices that it names."""


def slice_detail(view: View, customer: str, name: str) -> SliceDetail | None:
    """The slice, or None: it may have been folded, or never seen."""
    rows = [row for row in view.slices if row.customer == customer]
    row = next((row for row in rows if row.slice == name), None)
    if row is None:
        return None
    told = tuple(story for story in stories(view.incidents) if story.latest.customer == customer)
    own = tuple(story for story in told if name in story.latest.slices)
    everything = next((row for row in rows if row.slice == ALL_TRAFFIC), None)
    neighbours = by_concern(_neighbours(row, rows), told)
    kept = neighbours[:NEIGHBOURS_MAX]
    counts = row.counts
    return SliceDetail(
        row=row,
        words=slice_words(name),
        standing=standing_of(row),
        plot=_over_time(view, row, own, None if everything is row else everything),
        kinds=plots.kinds_bar(counts.substitutions, counts.deletions, counts.insertions),
        errors=counts.substitutions + counts.deletions + counts.insertions,
        told=own,
        ages=tuple(Share(name=age, part=missing, whole=seen) for age, seen, missing in row.missing_by_age),
        groups=groups_of(view, kept, told, everything, scale_of(kept)),
        neighbours_left_out=len(neighbours) - len(kept),
        scale=scale_of(kept),
        evidence=min(1.0, row.standing.evidence) if row.standing else 0.0,
    )


def _neighbours(row: SliceRow, rows: Iterable[SliceRow]) -> list[SliceRow]:
    """Slices that this one is a part of, or that are parts of it by one dimension more."""
    own = set(slice_named(row.slice))
    found = []
    for other in rows:
        pairs = set(slice_named(other.slice))
        if (own < pairs and len(pairs) == len(own) + 1) or pairs < own:
            found.append(other)
    return found


def incident_detail(view: View, incident: str) -> IncidentDetail | None:
    """The incident, or None: only the latest are kept."""
    steps = tuple(transition for transition in view.incidents if transition.incident == incident)
    if not steps:
        return None
    (story,) = stories(steps)
    rows = {row.slice: row for row in view.slices if row.customer == story.latest.customer}
    named = [rows[name] for name in story.latest.slices if name in rows and rows[name].pairs][:3]
    everything = rows.get(ALL_TRAFFIC)
    return IncidentDetail(
        story=story,
        steps=steps[-STEPS_MAX:],
        steps_left_out=max(0, len(steps) - STEPS_MAX),
        plots=tuple(
            (row.slice, _over_time(view, row, (story,), None if row is everything else everything)) for row in named
        ),
    )


def incident_timeline(view: View, told: Sequence[Story]) -> Markup:
    """Bars of the most urgent incidents, from when each began to when it was resolved."""
    shown = told[:TIMELINE_MAX]
    first_at, last_at = _span(view, [])
    marks = [_mark(view, story, f"{_who(story)}, {story.latest.kind}") for story in shown]
    title = f"{len(marks)} incidents over time, from when each began to when it was resolved; listed below"
    drawn = []
    for width, classes in ((WIDE, "wide-only"), (NARROW, "narrow")):
        frame = plots.Frame(
            width=width, height=0, first_at=first_at, last_at=last_at, top=1.0, left=24, right=24, above=10, below=26
        )
        drawn.append(plots.timeline(marks, frame, title, classes))
    return Markup("").join(drawn)


# ------------------------------------------------------------------------------------------------------------ figures
def _over_time(view: View, row: SliceRow, told: Sequence[Story], everything: SliceRow | None) -> Markup:
    history, comparison = _history(row), _history(everything)
    first_at, last_at = _span(view, history)
    marks = [_mark(view, story, f"{story.latest.level}: {story.latest.kind}") for story in told[:3]]
    says = f"WER of {slice_words(row.slice)} by day with bounds: {_told(history)}"
    if comparison:
        says += f"; all traffic beside it, last {percent(comparison[-1][1])}"
    learned = _learned(row)
    if learned is not None:
        says += f"; baseline learned from {moment(learned[0])} to {moment(learned[1])}"
    if marks:
        says += f"; {len(marks)} incidents marked"
    drawn = []
    for width, height, classes in ((WIDE, 300, "wide-only"), (NARROW, 230, "narrow")):
        top = plots.axis_top([history, comparison])
        frame = plots.Frame(width=width, height=height, first_at=first_at, last_at=last_at, top=top, above=30)
        drawn.append(
            plots.wer_over_time(
                history, frame, title=says, marks=marks, comparison=comparison, learned=learned, classes=classes
            )
        )
    return Markup("").join(drawn)


def _learned(row: SliceRow) -> tuple[float, float] | None:
    standing = row.standing
    if standing is None or standing.learned_from is None or standing.learned_until is None:
        return None
    return standing.learned_from, standing.learned_until


def _told(history: plots.History) -> str:
    if not history:
        return "no day with corrections"
    best, worst = min(day[1] for day in history), max(day[1] for day in history)
    return f"{len(history)} days from {percent(best)} to {percent(worst)}, last {percent(history[-1][1])}"


def _history(row: SliceRow | None) -> plots.History:
    return row.standing.history if row is not None and row.standing is not None else ()


def _span(view: View, history: plots.History) -> tuple[float, float]:
    """First and last moment of a plot: what has been measured, widened by incidents; at least a day."""
    days = [day for day, *_ in history] or [day for row in view.slices for day, *_ in _history(row)]
    began = [story.since for story in stories(view.incidents)]
    first = min([*days, *began], default=view.at - plots.DAY)
    last = max([view.at, *(day + plots.DAY for day in days)])
    return min(first, last - plots.DAY), last


def _mark(view: View, story: Story, label: str) -> plots.Mark:
    return plots.Mark(
        since=story.since,
        fired_at=story.fired_at,
        until=story.ends(view.at),
        level=story.latest.level,
        label=label,
        is_open=story.is_open,
    )


def _who(story: Story) -> str:
    """The incident's slices in a few words: two, and how many more."""
    names = [slice_words(name) for name in story.latest.slices]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{story.latest.level}: {', '.join(names[:2])}{more}"


STATE_WORDS = {
    IncidentState.FIRING: "Noticed",
    IncidentState.UPDATED: "Explained anew",
    IncidentState.RESOLVED: "Resolved",
}


def incident_title(story: Story) -> str:
    """What stands above an incident's page and in the window's title."""
    level = {Level.PAGE: "Page", Level.TICKET: "Ticket", Level.DIGEST: "Digest"}[story.latest.level]
    state = "open" if story.resolved_at is None else f"resolved {moment(story.resolved_at)}"
    return f"{level}: {_who(story).partition(': ')[2]}, {story.latest.kind}, {state}"
