"""Decides what a scrape says of incidents: whether one is open, and its numbers, so that an alert can tell them.

A resolved incident says 0 and has no numbers any more. Numbers change only when the incident is told anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from monitor.adapters.exposition_text import number
from monitor.catalog import PREFIX
from monitor.core.records import IncidentState, Transition

INCIDENT_METRICS = (
    "slice_incident_open",
    "slice_incident_since_timestamp_seconds",
    "slice_incident_wer_ratio",
    "slice_incident_wer_gap_ratio",
    "slice_incident_wer_change_ratio",
)


def incident_lines(
    transitions: Iterable[Transition], labels_of: Callable[[str, str], str]
) -> tuple[dict[str, list[str]], set[tuple[str, str]]]:
    """Lines by metric, and (customer, slice) of open incidents. Of several with the same labels the latest is told.

    labels_of  labels of (customer, slice's name), rendered
    """
    latest = {transition.incident: transition for transition in transitions}
    states: dict[str, int] = {}
    numbers: dict[str, dict[str, str]] = {name: {} for name in INCIDENT_METRICS}
    open_slices: set[tuple[str, str]] = set()
    for told in latest.values():
        is_open = told.state is not IncidentState.RESOLVED
        for name in told.slices:
            labels = (
                f'{labels_of(told.customer, name)},kind="{told.kind}",level="{told.level}",direction="{told.direction}"'
            )
            states[labels] = max(states.get(labels, 0), int(is_open))
            if is_open:
                open_slices.add((told.customer, name))
                for metric, extra, value in _numbers(told):
                    if value is not None:
                        numbers[metric][labels + extra] = number(value)
    lines = {
        name: [f"{PREFIX}{name}{{{labels}}} {value}" for labels, value in numbers[name].items()] for name in numbers
    }
    lines["slice_incident_open"] = [
        f"{PREFIX}slice_incident_open{{{labels}}} {state}" for labels, state in states.items()
    ]
    return lines, open_slices


def _numbers(told: Transition) -> tuple[tuple[str, str, float | None], ...]:
    """(metric, further label, value)."""
    return (
        ("slice_incident_since_timestamp_seconds", "", told.since),
        ("slice_incident_wer_ratio", ',side="after"', told.wer),
        ("slice_incident_wer_ratio", ',side="before"', told.wer_before),
        ("slice_incident_wer_ratio", ',side="rest"', told.wer_rest),
        ("slice_incident_wer_gap_ratio", ',bound="estimate"', told.gap),
        ("slice_incident_wer_gap_ratio", ',bound="low"', told.gap_low),
        ("slice_incident_wer_gap_ratio", ',bound="high"', told.gap_high),
        ("slice_incident_wer_change_ratio", ',bound="estimate"', told.ratio),
        ("slice_incident_wer_change_ratio", ',bound="low"', told.ratio_low),
        ("slice_incident_wer_change_ratio", ',bound="high"', told.ratio_high),
    )
