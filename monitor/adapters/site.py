"""Decides which pages there are and what each is made of: now, slices, one slice, incidents, one incident, coverage,
budget, configuration.

Server-rendered from one immutable `View`: no script, no external asset, no cookie, no form. What is wrong comes first,
and what is *not known* is as large as what is wrong. Links are relative: a proxy may serve all of it below a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from monitor import __version__
from monitor.adapters import plots
from monitor.adapters.configuration import ShownSection
from monitor.adapters.detail import STATE_WORDS, incident_detail, incident_timeline, incident_title, slice_detail
from monitor.adapters.page import WAITING_MAX, Customer, headline, kafka_rows, policy, section_of, top_spenders
from monitor.adapters.presentation import (
    counted,
    customers,
    environment,
    incident_url,
    percent,
    slice_url,
    slices_url,
    stories,
    stylesheet,
    whole_percent,
)
from monitor.core.records import Level, View

CUSTOMERS_MAX = 12
"""Customers on one page, those with open incidents first; the rest are links. Each is a screenful or two."""

NOW_ROWS = 12
"""Slices on the first page, of all customers together, but three of each: what somebody should look at; a link leads to
all of them."""

FIGURES_MAX = 3
"""Plots on the first page, of the latest pages: more would push the slices out of sight."""

PAGE_ROWS = 50
"""Slices on one page of all of them, 2.3 kB each; a link leads to the next."""

RESOLVED_MAX = 60
"""Resolved incidents listed: the latest; all that are kept are in `/api/v1/incidents`."""

WAITING_ROWS = 48
"""Rows of missing corrections on one page, of all customers together; 2 kB each."""

SPENDERS_MAX = 60
"""Rows of the budget's page for each customer; `wervane budget` has all."""

REFRESH_SECONDS = 10
"""Reload interval of `?refresh=10`. Off unless asked for: a page that reloads by itself throws screen readers back."""

NOT_HERE = "This process reads and scores. What is decided is on the page of the process that decides."
"""The first sentence where stages are apart."""


class Link(NamedTuple):
    """An entry of the navigation."""

    name: str
    href: str
    words: str


LINKS = (
    Link("now", "./", "Now"),
    Link("slices", "slices", "Slices"),
    Link("incidents", "incidents", "Incidents"),
    Link("coverage", "coverage", "Coverage"),
    Link("budget", "budget", "Budget"),
    Link("configuration", "configuration", "Configuration"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A page. `found`: whether there is what was asked for."""

    body: bytes
    found: bool = True


class StatusPages:
    """Renders pages; holds the compiled templates and the policy that allows their one style sheet."""

    def __init__(self, configuration: Sequence[ShownSection] = ()) -> None:
        self._configuration = configuration
        self._style = stylesheet()
        self.content_security_policy = policy(self._style)

    # ------------------------------------------------------------------------------------------------------------ pages
    def now(self, view: View, query: Mapping[str, str]) -> Document:
        """The first page: what is wrong, what is not known, what is fine."""
        told = _of_customers(view, query)
        sections = told.sections(view, told.rows_each(NOW_ROWS))
        return self._page(
            "now.html.j2",
            view,
            title=headline(view) if view.decides else NOT_HERE,
            here="now",
            sections=sections,
            figures=_figures(view, sections),
            others=told.others,
            kafka=kafka_rows(view.gauges),
            rejected=counted(view.counters, "records_rejected_total", "reason"),
            clipped=counted(view.counters, "fields_clipped_total", "field"),
            consumed=counted(view.counters, "records_consumed_total", "topic"),
            references=counted(view.counters, "references_total", "outcome"),
            missing=view.counters.get("references_missing_total", 0),
            refresh=REFRESH_SECONDS if "refresh" in query else None,
        )

    def slices(self, view: View, query: Mapping[str, str]) -> Document:
        """All slices of each customer, so many a page."""
        told = _of_customers(view, query)
        first, step = _whole(query.get("from", "0")), told.rows_each(PAGE_ROWS)
        return self._page(
            "slices.html.j2",
            view,
            title="Slices",
            here="slices",
            sections=[section_of(view, name, f"c{index}", step, first) for index, name in enumerate(told.names)],
            others=told.others,
            first=first,
            step=step,
        )

    def slice(self, view: View, query: Mapping[str, str]) -> Document:
        """One slice: `customer` and `slice` as in slices.csv; without a customer, the only one."""
        known = customers(view)
        customer = query.get("customer") or (known[0] if len(known) == 1 else "")
        detail = slice_detail(view, customer, query.get("slice", ""))
        if detail is None:
            return self.missing(view, "slices", "No such slice here: it was never seen, or is folded into _other.")
        title = f"{detail.words}: WER {percent(detail.row.wer)}, {detail.standing.word.lower()}"
        return self._page("slice.html.j2", view, title=title, here="slices", detail=detail)

    def incidents(self, view: View, query: Mapping[str, str]) -> Document:
        """All incidents that are kept, with their time line."""
        told = [s for s in stories(view.incidents) if query.get("customer", s.latest.customer) == s.latest.customer]
        open_, resolved = [s for s in told if s.is_open], [s for s in told if not s.is_open]
        return self._page(
            "incidents.html.j2",
            view,
            title=f"Incidents: {len(open_)} open, {len(resolved)} resolved",
            here="incidents",
            told=told,
            open=open_,
            resolved=resolved[:RESOLVED_MAX],
            left_out=max(0, len(resolved) - RESOLVED_MAX),
            timeline=incident_timeline(view, told),
            several=len(customers(view)) > 1,
        )

    def incident(self, view: View, query: Mapping[str, str]) -> Document:
        """One incident, step by step."""
        detail = incident_detail(view, query.get("id", ""))
        if detail is None:
            return self.missing(view, "incidents", "No such incident here: only the latest are kept.")
        return self._page(
            "incident.html.j2",
            view,
            title=incident_title(detail.story),
            here="incidents",
            detail=detail,
            state_words=STATE_WORDS,
        )

    def coverage(self, view: View, query: Mapping[str, str]) -> Document:
        """What is not known: labels that are not declared, transcripts that nobody corrected."""
        told = _of_customers(view, query)
        title = "Coverage: what is not known"
        sections = told.sections(view, 0)
        return self._page("coverage.html.j2", view, title=title, here="coverage", sections=sections, others=told.others)

    def budget(self, view: View, query: Mapping[str, str]) -> Document:
        """What false pages may be expected, and who spent them."""
        told = _of_customers(view, query)
        title = "Budget of false pages"
        sections = told.sections(view, 0)
        spenders = {
            section.name: () if section.account is None else top_spenders(section.account, told.rows_each(SPENDERS_MAX))
            for section in sections
        }
        return self._page(
            "budget.html.j2",
            view,
            title=title,
            here="budget",
            sections=sections,
            spenders=spenders,
            others=told.others,
        )

    def configuration(self, view: View, query: Mapping[str, str]) -> Document:
        """Every setting in effect; no secret is among them."""
        return self._page(
            "configuration.html.j2", view, title="Configuration", here="configuration", parts=self._configuration
        )

    def missing(self, view: View, here: str, why: str) -> Document:
        """Instead of a page whose subject is not there."""
        page = self._page("missing.html.j2", view, title="Not found", here=here, why=why)
        return Document(body=page.body, found=False)

    # ---------------------------------------------------------------------------------------------------------- helpers
    def _page(self, template: str, view: View, **said: object) -> Document:
        document = (
            environment()
            .get_template(template)
            .render(
                version=__version__,
                style=Markup(self._style),
                view=view,
                links=LINKS,
                hatch=plots.hatch(),
                share_bar=plots.share_bar,
                whole_percent=whole_percent,
                slice_url=slice_url,
                slices_url=slices_url,
                incident_url=incident_url,
                **{"refresh": None, **said},
            )
        )
        return Document(body=document.encode("utf-8", "replace"))


def _figures(view: View, sections: Sequence[Customer]) -> dict[str, Markup]:
    """WER over time of what somebody was woken for, by incident: what they look for first."""
    pages = [story for section in sections for story in section.open if story.latest.level is Level.PAGE][:FIGURES_MAX]
    found = [(story.latest.incident, incident_detail(view, story.latest.incident)) for story in pages]
    return {name: detail.plots[0][1] for name, detail in found if detail is not None and detail.plots}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Whose numbers a page shows."""

    names: tuple[str, ...]
    others: tuple[str, ...]
    """Customers that are links only."""

    def rows_each(self, together: int) -> int:
        """Of so many rows on a page, each customer's part: all get some, and a page stays light."""
        return max(together // max(len(self.names), 1), 3)

    def sections(self, view: View, rows_max: int) -> tuple[Customer, ...]:
        waiting_max = min(self.rows_each(WAITING_ROWS), WAITING_MAX)
        return tuple(
            section_of(view, name, f"c{index}", rows_max, waiting_max=waiting_max)
            for index, name in enumerate(self.names)
        )


def _of_customers(view: View, query: Mapping[str, str]) -> _Asked:
    """The customer that was asked for, else those with open incidents first."""
    known = customers(view)
    wanted = query.get("customer")
    if wanted in known:
        names = [wanted] if wanted is not None else []
    else:
        worried = {story.latest.customer for story in stories(view.incidents) if story.is_open}
        names = sorted(known, key=lambda name: (name not in worried, name))[:CUSTOMERS_MAX]
    return _Asked(names=tuple(names), others=tuple(name for name in known if name not in names))


def _whole(written: str) -> int:
    return int(written) if written.isascii() and written.isdigit() and len(written) < 8 else 0
