"""Decides what a run leaves in its folder for people: totals of every slice, a summary, the last metrics, a report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from monitor import __version__
from monitor.adapters.exposition import Exposition
from monitor.adapters.files import slices_csv, summary_json, write_atomically
from monitor.adapters.instants import instant
from monitor.adapters.report import render_report
from monitor.core.records import IncidentState, UnitFit
from monitor.core.snapshot import MetricsSnapshot
from monitor.core.unit_fit import unit_advice

Summary = dict[str, object]


class Totals(Protocol):
    """What a summary needs to know beyond the view; a pipeline has it."""

    @property
    def event_times(self) -> tuple[float | None, float | None]: ...

    def winners(self) -> int: ...

    def empty_references(self) -> int: ...

    def waiting(self) -> int: ...


SERIES_MAX = 1_000_000
"""metrics.prom is a file for people and scripts, not a scrape: nothing is left out of it."""


def write_results(folder: Path, snapshot: MetricsSnapshot, totals: Totals) -> Summary:
    """Write slices.csv, summary.json, metrics.prom and report.html; each file is whole or as it was."""
    summary = summarize(snapshot, totals)
    write_atomically(folder / "slices.csv", slices_csv(snapshot.view.slices))
    write_atomically(folder / "summary.json", summary_json(summary))
    exposition = Exposition(hold_seconds=0.0, series_max=SERIES_MAX)
    write_atomically(folder / "metrics.prom", exposition.render(snapshot, time.time()))
    write_atomically(folder / "report.html", render_report(snapshot.view, summary))
    return summary


def summarize(snapshot: MetricsSnapshot, totals: Totals) -> Summary:
    """What came in, what became of it, and what was decided."""
    view = snapshot.view
    overall = [row for row in view.slices if row.depth == 0]
    consumed = {
        outcome: _sum(view.counters, "records_consumed_total", f'outcome="{outcome}"')
        for outcome in ("accepted", "clipped", "rejected")
    }
    fired = [transition for transition in view.incidents if transition.state == IncidentState.FIRING]
    first, last = totals.event_times
    return {
        "version": __version__,
        "config_sha256": view.config_sha256,
        "records": {**consumed, "rejected_by_reason": _by_label(view.counters, "records_rejected_total", "reason")},
        "clipped_by_field": _by_label(view.counters, "fields_clipped_total", "field"),
        "transcripts": _by_label(view.counters, "transcripts_total", "outcome"),
        "references": reference_fates(view.counters, totals.winners(), totals.waiting()),
        "pairs": sum(row.pairs for row in overall),
        "empty_references": totals.empty_references(),
        "hallucinated_words": sum(row.hallucinated_words for row in overall),
        "first_event_at": first and instant(first),
        "last_event_at": last and instant(last),
        "budget": {
            "granted": round(sum(account.worse.granted for account in view.budget), 6),
            "spent": round(sum(account.worse.spent for account in view.budget), 6),
        },
        "units": {fit.customer: _unit_fit(fit) for fit in view.unit_fits},
        "incidents": dict(sorted(Counter(str(transition.level) for transition in fired).items())),
    }


def _unit_fit(fit: UnitFit) -> dict[str, object]:
    """Whether a customer's betting units are long enough, and what to set."""
    return {
        "units": fit.units,
        "variance_inflation": round(fit.inflation, 3),
        "block_variance_ratio": {block.block: round(block.ratio, 3) for block in fit.ratios},
        "too_short": fit.longer is not None,
        "advice": unit_advice(fit),
    }


def reference_fates(counters: Mapping[str, int], winners: int, waiting: int) -> dict[str, int]:
    """References by fate at this moment; they add up to every accepted reference, where those are counted."""
    arrived = _by_label(counters, "references_total", "outcome")
    if not arrived:
        return {"scored": winners}
    waited_out = arrived.pop("expired", 0)
    fates = {
        "scored": winners,
        "duplicate": arrived.pop("duplicate", 0),
        "superseded": 0,
        "unmatched": waiting,
        "expired": waited_out,
    }
    held = sum(arrived.pop(fate, 0) for fate in ("scored", "superseded", "waiting"))
    fates["superseded"] = held - winners - waiting - waited_out
    return {**fates, **arrived}


def _by_label(counters: Mapping[str, int], name: str, label: str) -> dict[str, int]:
    """A counter's values by one label, added up over the others."""
    found: Counter[str] = Counter()
    for series, value in counters.items():
        if series.startswith(name + "{"):
            found[series.split(f'{label}="', 1)[1].split('"', 1)[0]] += value
    return dict(sorted(found.items()))


def _sum(counters: Mapping[str, int], name: str, pair: str) -> int:
    return sum(value for series, value in counters.items() if series.startswith(name + "{") and pair in series)
