"""Decides what pages and report say about a customer, in which order, and the same as JSON for programs.

Read from one immutable `View`. What is wrong comes first, and what is *not known* is as large as what is wrong: a slice
with too few labels never looks like a good one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from markupsafe import Markup

from monitor.adapters import plots
from monitor.adapters.presentation import (
    ALL_TRAFFIC,
    Share,
    Standing,
    Story,
    Tally,
    Thirds,
    Waiting,
    by_concern,
    customers,
    interval,
    machine_time,
    percent,
    slice_words,
    standing_of,
    stories,
    tally,
    thirds,
    unlabelled,
    waiting,
)
from monitor.core.records import Account, SliceRow, Spender, Transition, View
from monitor.core.slicing import slice_named
from monitor.core.unit_fit import unit_advice

ROWS_MAX = 2_000
"""Slices for each customer where nobody says otherwise (1 kB each)."""

RESOLVED_MAX = 20
"""Resolved incidents listed: the latest; all that are kept are in `/api/v1/incidents`."""

WAITING_MAX = 12
"""Rows of the table of missing corrections for each customer, the worst groups: a screenful on a phone."""

SPENDERS_MAX = 8
"""Rows of the table of who spent the budget: as many as of the least corrected groups beside it."""

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


# ------------------------------------------------------------------------------------------- prepared for templates
@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of the table of slices."""

    row: SliceRow
    standing: Standing
    words: str
    bar: Markup
    spark: Markup
    is_named: bool
    """An open incident names the slice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Slices of the same dimensions, the worrying ones first."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Everything that is said about one customer."""

    name: str
    anchor: str
    """What ids in the document begin with; names are not fit for that."""
    everything: SliceRow | None
    tally: Tally
    verdicts: Markup
    thirds: Thirds
    thirds_bar: Markup
    open: tuple[Story, ...]
    resolved: tuple[Story, ...]
    groups: tuple[Group, ...]
    rows_left_out: int
    scale: float
    unlabelled: tuple[Share, ...]
    corrected: tuple[Share, ...]
    waiting: tuple[Waiting, ...]
    waiting_left_out: int
    account: Account | None
    unit_advice: str | None
    """What to set where betting units are too short."""
    spenders: tuple[Spender, ...]
    """Who spent most."""


def customer_sections(view: View, *, rows_max: int = ROWS_MAX) -> tuple[Customer, ...]:
    """The view by customer, ordered by concern and ready for a template."""
    return tuple(section_of(view, name, f"c{index}", rows_max) for index, name in enumerate(customers(view)))


def section_of(
    view: View, name: str, anchor: str, rows_max: int, first: int = 0, waiting_max: int = WAITING_MAX
) -> Customer:
    """One customer; of its slices in the order of concern, `rows_max` from the `first` on; so many that wait."""
    rows = [row for row in view.slices if row.customer == name]
    own = tuple(story for story in stories(view.incidents) if story.latest.customer == name)
    everything = next((row for row in rows if row.slice == ALL_TRAFFIC), None)
    kept = by_concern(rows, own)[first : first + rows_max]
    scale = scale_of(rows)
    counts = tally(rows)
    parts = thirds(rows, own)
    without = waiting(rows)
    account = next((account for account in view.budget if account.customer == name), None)
    fit = next((fit for fit in view.unit_fits if fit.customer == name), None)
    return Customer(
        name=name,
        anchor=anchor,
        everything=everything,
        tally=counts,
        verdicts=plots.verdict_bar(
            counts.disparity,
            counts.parity,
            counts.unknown,
            f"{counts.disparity} with a disparity, {counts.unknown} without a verdict, {counts.parity} at parity",
        ),
        thirds=parts,
        thirds_bar=plots.verdict_bar(
            parts.wrong,
            parts.fine,
            parts.unknown,
            f"{parts.wrong} slices wrong, {parts.unknown} not known, {parts.fine} fine",
        ),
        open=tuple(story for story in own if story.is_open),
        resolved=tuple(story for story in own if not story.is_open)[:RESOLVED_MAX],
        groups=groups_of(view, kept, own, everything, scale),
        rows_left_out=max(0, len(rows) - first - len(kept)),
        scale=scale,
        unlabelled=tuple(unlabelled(view, name)),
        corrected=tuple(_corrected(view, rows)),
        waiting=tuple(without[:waiting_max]),
        waiting_left_out=max(0, len(without) - waiting_max),
        account=account,
        unit_advice=None if fit is None else unit_advice(fit),
        spenders=() if account is None else top_spenders(account),
    )


def scale_of(rows: Iterable[SliceRow]) -> float:
    """Top of the WER axis that these rows share."""
    return plots.axis_top(
        [(0.0, row.wer, row.wer_low, row.wer_high)]
        for row in rows
        if row.wer is not None and row.wer_low is not None and row.wer_high is not None
    )


def groups_of(
    view: View, rows: Iterable[SliceRow], told: Sequence[Story], everything: SliceRow | None, scale: float
) -> tuple[Group, ...]:
    """All traffic, then each dimension in the configured order, then intersections."""
    named = {name for story in told if story.is_open for name in story.latest.slices}
    overall = everything.wer if everything else None
    lines: dict[tuple[str, ...], list[Line]] = {}
    for row in rows:
        axes = tuple(dimension for dimension, _ in slice_named(row.slice))
        lines.setdefault(axes, []).append(_line(view, row, row.slice in named, overall, scale))
    order = {name: position for position, name in enumerate(view.dimensions)}
    ordered = sorted(lines, key=lambda axes: (len(axes), [order.get(name, len(order)) for name in axes]))
    return tuple(
        Group(
            title=" × ".join(axes) if axes else "",
            lines=tuple(lines[axes]),
        )
        for axes in ordered
    )


def _line(view: View, row: SliceRow, is_named: bool, overall: float | None, scale: float) -> Line:
    words = slice_words(row.slice)
    history = row.standing.history if row.standing else ()
    said = f"WER of {words}: {percent(row.wer)} {interval(row.wer_low, row.wer_high)}".strip()
    days = f"{len(history)} days, last {percent(history[-1][1])}" if history else "no day with corrections"
    return Line(
        row=row,
        standing=standing_of(row),
        words=words,
        bar=plots.bounds_bar(row.wer, row.wer_low, row.wer_high, top=scale, reference=overall, title=said),
        spark=plots.sparkline(history, plots.axis_top([history]), f"WER of {words} by day: {days}"),
        is_named=is_named,
    )


def top_spenders(account: Account, at_most: int = SPENDERS_MAX) -> tuple[Spender, ...]:
    """Those that put most into bets, the greatest first."""
    spent = [spender for spender in account.spenders if spender.worse.spent > 0]
    return tuple(sorted(spent, key=lambda spender: (-spender.worse.spent, spender.slice, spender.by))[:at_most])


def _corrected(view: View, rows: Iterable[SliceRow]) -> Iterable[Share]:
    """The share of one-way slices that humans have corrected, the least covered first."""
    shares = [
        Share(name=slice_words(row.slice), part=row.pairs, whole=row.transcripts)
        for row in rows
        if row.depth == 1 and row.transcripts
    ]
    return sorted(shares, key=lambda share: (share.ratio, share.name))


# ---------------------------------------------------------------------------------------------------------- documents
def kafka_rows(gauges: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """(what, how many) of a process that reads topics; nothing for others."""
    rows = [(f"partitions open: {_label(series)}", value) for series, value in _named(gauges, "partitions_assigned")]
    rows += [(f"not read yet: {_label(series)}", value) for series, value in _named(gauges, "consumer_lag_records")]
    rows += [
        (f"made again from the log, still to read: {_label(series)}", value)
        for series, value in _named(gauges, "state_behind_records")
        if value
    ]
    return tuple(rows)


def _named(gauges: Mapping[str, float], name: str) -> Iterator[tuple[str, float]]:
    return ((series, value) for series, value in sorted(gauges.items()) if series.startswith(name + "{"))


def _label(series: str) -> str:
    return series.split('"', 2)[1]


def policy(style: str, *, framed: bool = False) -> str:
    """A content security policy that allows nothing but this one inline style sheet, by its hash.

    framed   for a `<meta>` element, where browsers refuse `frame-ancestors`
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return policy if framed else f"{policy}; frame-ancestors 'none'"


def headline(view: View) -> str:
    """The first sentence: what is open, and how much is not known."""
    levels = [story.latest.level for story in stories(view.incidents) if story.is_open]
    opened = ", ".join(
        f"{levels.count(level)} {level}{'s' if levels.count(level) > 1 else ''}"
        for level in dict.fromkeys(sorted(levels, key=("page", "ticket", "digest").index))
    )
    counts = tally(view.slices)
    unknown, slices = counts.unknown, counts.slices
    if not view.slices:
        return "Nothing is known yet: no transcript has been read."
    known = f"{unknown} of {slices} slices have no verdict yet" if unknown else f"all {slices} slices have a verdict"
    return f"Open: {opened}; {known}." if opened else f"No incident is open; {known}."


# -------------------------------------------------------------------------------------------------------------- JSON
def slices_document(view: View) -> bytes:
    """`/api/v1/slices`: every slice with its standing; rates are ratios, times RFC 3339."""
    return msgspec.json.encode({"at": machine_time(view.at), "slices": [_slice_fields(row) for row in view.slices]})


def incidents_document(view: View) -> bytes:
    """`/api/v1/incidents`: the latest transition of each incident, open ones first; when it fired and resolved."""
    return msgspec.json.encode(
        {
            "at": machine_time(view.at),
            "incidents": [
                {
                    **_incident_fields(story.latest),
                    "fired_at": machine_time(story.fired_at),
                    "resolved_at": None if story.resolved_at is None else machine_time(story.resolved_at),
                }
                for story in stories(view.incidents)
            ],
        }
    )


def _slice_fields(row: SliceRow) -> dict[str, Json]:
    fields: dict[str, Json] = msgspec.to_builtins(row)
    fields["missing_by_age"] = [
        {"age": band, "transcripts": seen, "missing": missing} for band, seen, missing in row.missing_by_age
    ]
    standing = fields["standing"]
    if isinstance(standing, dict) and row.standing is not None:
        reference_at = row.standing.last_reference_at
        standing["last_reference_at"] = None if reference_at is None else machine_time(reference_at)
        standing["history"] = [
            {"day": machine_time(day), "wer": wer, "low": low, "high": high}
            for day, wer, low, high in row.standing.history
        ]
        standing["windows"] = [
            {"window": window, "wer": wer, "standard_error": error, "units": units}
            for window, wer, error, units in row.standing.windows
        ]
    return fields


def _incident_fields(transition: Transition) -> dict[str, Json]:
    fields: dict[str, Json] = msgspec.to_builtins(transition)
    fields["at"] = machine_time(transition.at)
    fields["since"] = None if transition.since is None else machine_time(transition.since)
    changed = fields["changed"]
    if isinstance(changed, dict) and transition.changed is not None:
        changed["since_low"] = machine_time(transition.changed.since_low)
        changed["since_high"] = machine_time(transition.changed.since_high)
    return fields
