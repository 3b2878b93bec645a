"""Decides what a notification says of one step of an incident, whoever receives it, and by which key it is known.

The key is a hash of labels that stay as they are for as long as the incident lasts: never of a pod, a time or a value.
So what is sent again after a crash, or told by a second agent of the same traffic, is the same thing to its receiver.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from monitor.adapters.presentation import dated, evidence, incident_url, percent, points, points_interval
from monitor.core.records import (
    Direction,
    IncidentKind,
    IncidentState,
    Level,
    Record,
    Transition,
)

NAMES: dict[tuple[IncidentKind, Level], str] = {
    (IncidentKind.DRIFT, Level.PAGE): "WervaneAccentRegression",
    (IncidentKind.DRIFT, Level.TICKET): "WervaneEarlyWarning",
    (IncidentKind.OVERALL, Level.PAGE): "WervaneOverallRegression",
    (IncidentKind.OVERALL, Level.TICKET): "WervaneEarlyWarning",
    (IncidentKind.DISPARITY, Level.PAGE): "WervaneDisparity",
    (IncidentKind.DISPARITY, Level.TICKET): "WervaneStandingGap",
    (IncidentKind.COVERAGE, Level.PAGE): "WervaneLabelsVanished",
    (IncidentKind.COVERAGE, Level.TICKET): "WervaneRecordsLost",
    (IncidentKind.STALE, Level.TICKET): "WervaneReferencesStale",
    (IncidentKind.BLIND, Level.PAGE): "WervaneBlind",
}
"""What an alert is called: the same name in rules, runbooks and notifications (a test compares them)."""
OTHER = "WervaneIncident"
"""Of a combination that the decider of this version does not tell: a page without a runbook is a page."""
BETTER = "WervaneImprovement"
TEST = "WervaneTest"

TEST_REASON = "test"
"""`reason` of what `wervane notify test` sends."""

COUNTED = frozenset({"references_stopped", "nothing_scored", "records_lost"})
STANDARD_ERRORS = frozenset({"standing_gap", "label_vanished"})
"""Reasons whose `evidence` is no bet: a count, or a z."""


class Notice(Record, frozen=True):
    """One step of an incident, to be told. Part of the state: new fields come at the end, with defaults.

    key, kind, direction, slice, fired_at   as the incident was first told: they stay, also when it is named anew
    level_before                            the level it was told with last, None if it was not told yet
    queued_at                               wall clock, seconds
    """

    key: str
    kind: IncidentKind
    direction: Direction
    slice: str
    fired_at: float
    level_before: Level | None
    told: Transition
    queued_at: float
    ordinal: int = 1
    """From 2 if another incident with the same labels is open."""

    @property
    def name(self) -> str:
        """Of the alert, and of its runbook."""
        return self.name_at(self.told.level)

    def name_at(self, level: Level) -> str:
        """What it is called at some level: a ticket that becomes a page is called otherwise."""
        if self.told.reason == TEST_REASON:
            return TEST
        return BETTER if self.direction == Direction.BETTER else NAMES.get((self.kind, level), OTHER)

    @property
    def delivery(self) -> str:
        """Names this step of the incident: the same each time that it is sent."""
        return _hash(self.key, self.told.incident, self.told.state, repr(self.told.at))

    @property
    def resolved(self) -> bool:
        return self.told.state == IncidentState.RESOLVED


def dedup_key(customer: str, kind: IncidentKind, direction: Direction, slice_: str, ordinal: int = 1) -> str:
    """What tells one open incident from all others.

    >>> dedup_key("clinic", IncidentKind.DRIFT, Direction.WORSE, "accent=yoruba")
    'wervane-e588681068d2c0d7'
    """
    labels = [customer, kind.value, direction.value, slice_]
    return "wervane-" + _hash(*labels, *([str(ordinal)] if ordinal > 1 else []))


def _hash(*parts: str) -> str:
    return blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()


# ------------------------------------------------------------------------------------------------------------ in words
class Links(NamedTuple):
    """Addresses that receivers can open; empty: not configured."""

    page: str = ""
    """Of the status page."""
    runbooks: str = ""
    """Of the folder of runbooks."""

    def incident(self, notice: Notice) -> str:
        """The incident's own page; of a test, the first one."""
        if not self.page or notice.told.reason == TEST_REASON:
            return self.page
        return f"{self.page.rstrip('/')}/{incident_url(notice.told.incident)}"

    def runbook(self, notice: Notice) -> str:
        return (
            f"{self.runbooks.rstrip('/')}/{notice.name}.md"
            if self.runbooks and notice.name not in (TEST, OTHER)
            else ""
        )


class Fact(NamedTuple):
    name: str
    value: str


def headline(notice: Notice) -> str:
    """A few words: how urgent, whose, which slice."""
    told = notice.told
    first = "resolved" if notice.resolved else told.level.value
    return f"{first}: {told.customer}, {', '.join(told.slices)}"


def sentence(notice: Notice) -> str:
    """The one sentence with numbers, with the customer's name before it."""
    told = notice.told
    return f"{'Resolved: ' if notice.resolved else ''}{told.customer}: {told.summary}"


def facts(notice: Notice, links: Links) -> tuple[Fact, ...]:
    """Who, how much, how sure, since when, what to look at, what to do; what is not known is left out."""
    told = notice.told
    named = ", ".join(told.slices)
    was = f" (first named {notice.slice})" if notice.slice not in told.slices else ""
    found = [Fact("Who", f"{told.customer}: {named}{was}")]
    if told.wer is not None:
        found.append(Fact("It was" if notice.resolved else "How much", _how_much(told)))
    if told.reason != TEST_REASON:
        found.append(Fact("How sure", _how_sure(told)))
    if told.since is not None:
        found.append(Fact("Since", _since(told)))
    found.append(Fact("State", f"{told.state.value}, level {told.level.value}, told at {dated(told.at)}"))
    if page := links.incident(notice):
        found.append(Fact("Look at", page))
    if runbook := links.runbook(notice):
        found.append(Fact("What to do", runbook))
    return tuple(Fact(name, _plain(value)) for name, value in found)


def _how_much(told: Transition) -> str:
    said = [f"WER {percent(told.wer)}"]
    if told.wer_before is not None:
        said.append(f"before {percent(told.wer_before)}")
    if told.wer_rest is not None:
        said.append(f"everybody else {percent(told.wer_rest)}")
    if told.ratio is not None:
        bounds = "" if told.ratio_low is None else f" [{told.ratio_low:.1f}, {told.ratio_high:.1f}]"
        said.append(f"{told.ratio:.1f} times its own past{bounds}")
    if told.gap is not None:
        said.append(f"gap {points(told.gap)} points {points_interval(told.gap_low, told.gap_high)}".rstrip())
    return ", ".join(said)


def _how_sure(told: Transition) -> str:
    if told.reason in COUNTED:
        return "counted, not estimated"
    pairs = f", {told.pairs} corrected transcripts" if told.pairs else ""
    if told.reason in STANDARD_ERRORS:
        return f"{told.evidence:.1f} standard errors{pairs}"
    return f"evidence {evidence(told.evidence)}, where 1 is enough{pairs}"


def _since(told: Transition) -> str:
    changed = told.changed
    between = "" if changed is None else f" (95 %: {dated(changed.since_low)} to {dated(changed.since_high)})"
    return f"{dated(told.since)}{between}"


def _plain(text: str) -> str:
    """Spaces that do not break are for pages; pagers print them as boxes."""
    return text.replace("\u00a0", " ").replace("\u202f", " ")


def clipped(text: str, characters_max: int) -> str:
    """At most so many characters, with an ellipsis for what is missing.

    >>> clipped("accent=yoruba", 8), clipped("all", 8)
    ('accent=…', 'all')
    """
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"
