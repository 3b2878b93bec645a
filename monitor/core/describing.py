"""Decides what a page says: the numbers of an incident, and one sentence of them that a tired person understands."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from msgspec.structs import astuple

from monitor.core.cells import BoolArray, Cells
from monitor.core.coverage import ShareShift, Stale
from monitor.core.estimators import WEIGHT_ONE, Moments
from monitor.core.explaining import RatioInterval
from monitor.core.groupings import dense
from monitor.core.records import UNKNOWN, Changed, Direction, Record, Slice, Transition
from monitor.core.slicing import slice_name
from monitor.core.standing_gaps import GapRow

Z95 = 1.96
KINDS = ("substitutions", "deletions", "insertions")
KIND_MOVED_MIN = 0.10
KIND_MOVED_Z = 3.0
"""What a sentence tells of the kinds of errors: 10 points of all errors are a fifth of what a fault doubled, and z 3
for one of three kinds is an accident once in 500 incidents. At half of either it tells of chance or of trifles."""
SENTENCE_MAX = 300
"""Characters of a change's sentence: what a pager shows without scrolling. Names may take more; leads never do."""
BETWEEN_MIN = 6 * 3600.0
"""A range of beginnings this short is the moment that is told anyway."""


class Why(StrEnum):
    """Why a transition happened."""

    BASELINE_EXCEEDED = "baseline_exceeded"
    """Bets against the slice's own baseline paid off."""
    CALLS_WORSE = "calls_worse"
    """The daily comparison of few long units."""
    FEW_LABELS_WORSE = "few_labels_worse"
    """The daily look at a slice of few labels."""
    ADWIN = "adwin"
    PAGE_HINKLEY = "page-hinkley"
    KSWIN = "kswin"
    HDDM_A = "hddm-a"
    HDDM_W = "hddm-w"
    DDM = "ddm"
    """A detector of `decide.detectors` alarmed."""
    IMPROVED = "improved"
    STANDING_GAP = "standing_gap"
    GAP_BEYOND_MARGIN = "gap_beyond_margin"
    """A group's bets against parity paid off (`decide.page_on_gap`)."""
    LABEL_VANISHED = "label_vanished"
    REFERENCES_STOPPED = "references_stopped"
    NOTHING_SCORED = "nothing_scored"
    RECORDS_LOST = "records_lost"
    """Messages were deleted, or could not be decoded, before anybody read them."""
    EXPLAINED_BETTER = "explained_better"
    """Another slice explains an open incident better."""
    RELAPSED = "relapsed"
    RECOVERED = "recovered"
    RELEARNED = "relearned"
    """The new, better level has a baseline of its own."""
    CLAIM_GONE = "claim_gone"
    """A verified claim is no longer in `claims.json`: its slice ends."""
    RELEARN_ORDERED = "relearn_ordered"
    """An operator says that a level is meant (`wervane baseline relearn`)."""


class Measured(Record, frozen=True):
    """A slice since a moment, before it, and everybody else since."""

    wer: float | None
    low: float | None
    high: float | None
    before: float | None
    rest: float | None
    gap: float | None
    gap_low: float | None
    gap_high: float | None
    pairs: int


def moments_of(cells: Cells, rows: BoolArray) -> Moments:
    """Moments of some cells, a cluster for each unit."""
    total = Moments()
    if not rows.any():
        return total
    unit = dense(cells.unit[rows])
    errors = np.rint(np.bincount(unit, cells.errors[rows]) * WEIGHT_ONE).astype(np.int64).tolist()
    words = np.rint(np.bincount(unit, cells.words[rows]) * WEIGHT_ONE).astype(np.int64).tolist()
    for unit_errors, unit_words in zip(errors, words, strict=True):
        total.replace(0, 0, unit_errors, unit_words)
    return total


def measure(cells: Cells, slice_: Slice, inside: BoolArray, since: float) -> Measured:
    """Plain WER of the slice after and before, and the difference to the rest since then (95 %, units as clusters).

    The rest is whoever declared the slice's dimensions with other values: `unknown` is nobody's comparator.
    """
    later = cells.ended_at > since
    known = np.ones(len(cells), np.bool_)
    for name, _ in slice_:
        known &= np.asarray(cells.labels[name] != UNKNOWN, np.bool_)
    after, rest = moments_of(cells, inside & later), moments_of(cells, ~inside & later & known)
    low, high = after.interval()
    gap = gap_low = gap_high = None
    wer, wer_rest = after.ratio(), rest.ratio()
    if wer is not None and wer_rest is not None:
        gap = wer - wer_rest
        errors = after.standard_error(), rest.standard_error()
        if errors[0] is not None and errors[1] is not None:
            reach = Z95 * math.hypot(errors[0], errors[1])
            gap_low, gap_high = gap - reach, gap + reach
    return Measured(
        wer=wer,
        low=low,
        high=high,
        before=moments_of(cells, inside & ~later).ratio(),
        rest=wer_rest,
        gap=gap,
        gap_low=gap_low,
        gap_high=gap_high,
        pairs=int(cells.utterances[inside & later].sum()),
    )


# ------------------------------------------------------------------------------------------------------------ sentences
def change_sentence(
    slice_: Slice,
    measured: Measured,
    ratio: RatioInterval | None,
    since: float,
    evidence: float,
    direction: Direction,
    new_models: Sequence[str],
    untested: int,
    changed: Changed | None = None,
) -> str:
    """A slice that changed, as in `accent=england: WER 22.2 % [18.9, 25.8] since 8 March 12:06, before 10.3 %, ...`.

    What moved with it is told as far as a pager's line has room: the slice's errors first, then one value's.
    """
    common = (slice_, measured, ratio, since, evidence, direction, new_models, untested, changed)
    leads = [] if changed is None else _leads(changed)
    while len(said := _said(*common, leads)) > SENTENCE_MAX and leads:
        leads.pop()
    return said


def _said(
    slice_: Slice,
    measured: Measured,
    ratio: RatioInterval | None,
    since: float,
    evidence: float,
    direction: Direction,
    new_models: Sequence[str],
    untested: int,
    changed: Changed | None,
    leads: Sequence[str],
) -> str:
    between = "" if changed is None else _between(changed.since_low, changed.since_high)
    parts = [
        f"{slice_name(slice_)}: WER {percent(measured.wer)}{bounds(measured.low, measured.high)} "
        f"since {moment(since)}{between}, before {percent(measured.before)}"
        + (_the_rest(measured.rest, changed) if slice_ else "")
    ]
    if ratio is not None:
        parts.append(f"x{ratio.ratio:.1f} [{ratio.low:.1f}, {ratio.high:.1f}]")
    parts.append(f"{measured.pairs} utterances")
    if evidence:  # some detectors state none
        parts.append(f"evidence {evidence:.1f}")
    parts += leads
    if direction == Direction.BETTER:
        parts.append("the new level is being learned")
    else:
        parts.append(_models(new_models, changed))
    if untested:
        parts.append(f"not tested yet (still learning): {untested} slices")
    return "; ".join(parts)


def _the_rest(rest: float | None, changed: Changed | None) -> str:
    """The counterfactual: what happened to everybody else meanwhile."""
    if changed is None or changed.rest_shift is None:
        return f", the rest {percent(rest)}"
    return f", the rest moved by {100 * changed.rest_shift:+.1f} points to {percent(rest)}"


def _models(new_models: Sequence[str], changed: Changed | None) -> str:
    """The first thing that on-call looks at: a rollout, or a rollback, which brings no new label."""
    moved = () if changed is None else changed.models
    if new_models:
        share = next((f" ({_from_to(m.share_before, m.share_after)})" for m in moved if m.model in new_models), "")
        return f"new model {', '.join(new_models)}{share}"
    if moved:
        first = moved[0]
        came = first.seen_earlier and first.share_after > first.share_before
        return f"model {first.model}{' again' if came else ''} {_from_to(first.share_before, first.share_after)}"
    known = changed is None or changed.model_changed is not None
    return "model label unchanged" if known else "no model label to compare"


def _leads(changed: Changed) -> list[str]:
    """At most two: the kind of error whose share grew most, and the value that moved most certainly."""
    leads = []
    if changed.kinds_before is not None and changed.kinds_after is not None and changed.kinds_z is not None:
        before, after, z = map(astuple, (changed.kinds_before, changed.kinds_after, changed.kinds_z))
        grown = max(range(len(KINDS)), key=lambda kind: after[kind] - before[kind])
        if after[grown] - before[grown] >= KIND_MOVED_MIN and z[grown] >= KIND_MOVED_Z:
            leads.append(f"{KINDS[grown]} {_from_to(before[grown], after[grown])} of errors")
    if changed.moved:
        first = changed.moved[0]
        if first.wer_z is not None and abs(first.wer_z) > abs(first.share_z):
            assert first.wer_before is not None and first.wer_after is not None
            leads.append(f"{first.slice} WER {_from_to(first.wer_before, first.wer_after)}")
        else:
            leads.append(f"{first.slice} {_from_to(first.share_before, first.share_after)} of its words")
    return leads


def _from_to(before: float, after: float) -> str:
    return f"{100 * before:.0f} -> {100 * after:.0f} %"


def renamed_sentence(first: Slice, sentence: str) -> str:
    return f"{sentence}; first named {slice_name(first)}"


def resolved_sentence(told: Transition, cells: Cells, inside: BoolArray, since: float, days: float) -> str:
    """An incident that is over; `since`: how far back to look for the present level."""
    present = moments_of(cells, inside & (cells.ended_at > since))
    return (
        f"{', '.join(told.slices)}: WER {percent(present.ratio())}{bounds(*present.interval())} in the last day, "
        f"{percent(told.wer)} during the incident, {percent(told.wer_before)} before; resolved after {days:.1f} days"
    )


def gap_sentence(row: GapRow) -> str:
    assert row.gap is not None and row.low is not None and row.rest_wer is not None
    return (
        f"{slice_name(row.slice)}: WER {percent(row.rest_wer + row.gap)}, {100 * row.gap:.1f} points above the rest of "
        f"the same tasks ({percent(row.rest_wer)}), at least {100 * row.low:.1f}; {row.persons} speakers, "
        f"{row.words:.0f} words; present all along, not a change"
    )


def gap_page_sentence(row: GapRow, since: float, evidence: float, margin: float) -> str:
    assert row.gap is not None and row.rest_wer is not None
    return (
        f"{slice_name(row.slice)}: WER {percent(row.rest_wer + row.gap)} since {moment(since)}, {100 * row.gap:.1f} "
        f"points above the rest of the same tasks ({percent(row.rest_wer)}); beyond "
        f"{100 * margin:.1f} points and 15 %; {row.persons} speakers, {row.words:.0f} words; evidence {evidence:.1f}"
    )


def label_sentence(dimension: str, shift: ShareShift) -> str:
    return (
        f"{dimension} is missing on {percent(shift.after)} of utterances in the last {_days(shift.days)}, before "
        f"{percent(shift.before)}; z {shift.z:.1f}; slices of {dimension} no longer show all of their traffic"
    )


def stale_sentence(slice_: Slice, found: Stale) -> str:
    return (
        f"{slice_name(slice_)}: none of the {found.sessions} sessions that matured in the last {_days(found.days)} was "
        f"corrected, {percent(found.share)} used to be; its WER is old"
    )


def blind_sentence(utterances: int, last_scored_at: float | None) -> str:
    last = "nothing was ever scored" if last_scored_at is None else f"nothing scored since {moment(last_scored_at)}"
    return f"all: {utterances} utterances in the last day, {last}; no fault would be seen"


def loss_sentence(partition: str, lost: int, total: int) -> str:
    also = f", {total:,} by now" if total > lost else ""
    return (
        f"all: {lost:,} messages of {partition} were gone before they could be read{also}; "
        "WER and traffic of that time are of what is left"
    )


def relearned_sentence(told: Transition, days: float) -> str:
    level = "new" if told.reason == Why.RELEARN_ORDERED.value else "better"
    return (
        f"{', '.join(told.slices)}: the {level} level is the baseline now, after {days:.1f} days; was: {told.summary}"
    )


def relearn_sentence(slice_: Slice, since: float) -> str:
    return f"{slice_name(slice_)}: learns a new baseline from {moment(since)} on, as an operator ordered"


def over_sentence(told: Transition, days: float) -> str:
    return f"{', '.join(told.slices)}: over after {days:.1f} days; was: {told.summary}"


# ------------------------------------------------------------------------------------------------------------- numbers
def percent(ratio: float | None) -> str:
    """
    >>> percent(0.2215), percent(None)
    ('22.1 %', 'unknown')
    """
    return "unknown" if ratio is None else f"{100 * ratio:.1f} %"


def bounds(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"


def moment(at: float) -> str:
    """Event time as people write it, UTC.

    >>> moment(1772971560.0)
    '8 March 12:06'
    """
    parts = time.gmtime(at)
    return f"{parts.tm_mday} {_MONTHS[parts.tm_mon - 1]} {parts.tm_hour:02d}:{parts.tm_min:02d}"


def _between(low: float, high: float) -> str:
    """The range of times at which a change may have begun; nothing where it says no more than the moment.

    >>> _between(1772791560.0, 1773058000.0)
    ' (between 6 and 9 March)'
    """
    if high - low < BETWEEN_MIN:
        return ""
    first, last = time.gmtime(low), time.gmtime(high)
    if first[:3] == last[:3]:
        return f" (between {first.tm_hour:02d}:{first.tm_min:02d} and {last.tm_hour:02d}:{last.tm_min:02d})"
    month = "" if first.tm_mon == last.tm_mon else f" {_MONTHS[first.tm_mon - 1]}"
    return f" (between {first.tm_mday}{month} and {last.tm_mday} {_MONTHS[last.tm_mon - 1]})"


def _days(days: int) -> str:
    return "day" if days == 1 else f"{days} days"


_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
