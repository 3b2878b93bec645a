"""Decides what an alert and a recording rule are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from monitor.core.records import Level

RUNBOOKS = "docs/runbooks"
"""Where they lie in this repository: `runbook_url` is this, unless `--runbooks` says where they can be read."""


class Dashboard(StrEnum):
    """Uids: they stay for ever, as people's bookmarks do."""

    FAIRNESS = "wervane-fairness"
    SLICE = "wervane-slice"
    PIPELINE = "wervane-pipeline"


VARIABLES = {
    Dashboard.FAIRNESS: ("customer", "dimension"),
    Dashboard.SLICE: ("customer", "dimension", "group"),
    Dashboard.PIPELINE: ("job", "instance"),
}
"""Of each dashboard, those that a link may set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recording rule."""

    name: str
    expression: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alerting rule.

    labels   that the expression leaves: what a dashboard's link and a summary may use
    hold     `for`: how long it must be so; keep: `keep_firing_for`, over restarts and gaps between scrapes
    summary  one line with numbers, fit for a pager; description: what it means and what to do first
    """

    name: str
    severity: Level
    labels: tuple[str, ...]
    expression: str
    hold: str
    keep: str
    summary: str
    description: str
    dashboard: Dashboard

    def runbook_url(self, base: str) -> str:
        return f"{base.rstrip('/')}/{self.name}.md"

    def dashboard_url(self, grafana: str) -> str:
        """The dashboard at what the alert is about.

        >>> from monitor.alerting.catalogue import alerts
        >>> alerts()[1].dashboard_url("http://localhost:3000")
        'http://localhost:3000/d/wervane-fairness?var-customer={{ $labels.customer | urlquery }}'
        """
        known = [name for name in VARIABLES[self.dashboard] if name in self.labels]
        values = "&".join(f"var-{name}={{{{ $labels.{name} | urlquery }}}}" for name in known)
        return f"{grafana.rstrip('/')}/d/{self.dashboard}" + (f"?{values}" if values else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are evaluated together, one after the other."""

    name: str
    interval: str
    rules: tuple[Recording | Alert, ...]
