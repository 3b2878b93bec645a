"""replay's report.html: self-contained, honest about gaps, safe against its own data."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from monitor.adapters import plots
from monitor.adapters.page import policy
from monitor.adapters.presentation import stylesheet
from monitor.adapters.report import render_report
from monitor.core.records import View
from tests.adapters.documents import checked
from tests.adapters.views import BEGAN, DAY, history, transition, view

SUMMARY: dict[str, object] = {
    "version": "0.1.0",
    "records": {"accepted": 41_150, "rejected": {"syntax": 19, "ts_future": 12}},
    "budget": {"granted": 0.156, "spent": 0.114},
    "first_event_at": "2026-03-02T00:00:00Z",
    "nothing": {},
    "last": None,
}
FRAME = plots.Frame(width=370, height=180, first_at=BEGAN, last_at=BEGAN + 14 * DAY, top=0.4)


def test_report_is_well_formed_and_self_contained() -> None:
    """It is mailed around and opened years later, offline."""
    document = render_report(view(), SUMMARY)
    checker = checked(document)
    assert not [link for link in checker.links if not link.startswith("#")]
    assert policy(stylesheet(), framed=True).replace("'", "&#39;").encode() in document


def test_incidents_are_marked_and_named() -> None:
    """The reader's question is when it began and when we noticed."""
    document = render_report(view(), SUMMARY).decode()
    assert document.count('class="shade page"') == 3, "wide and narrow overall, and its own slice"
    assert "page, since 10\u00a0March\u00a006:43" in document
    assert "ticket, noticed 9\u00a0March\u00a000:00" in document, "a standing gap has no beginning"


def test_how_it_was_made_is_listed() -> None:
    """Numbers without their origin cannot be checked: version, configuration, counts by reason."""
    said = " ".join(" ".join(checked(render_report(view(), SUMMARY)).words).split())
    assert "records · rejected · ts future 12" in said
    assert "9c1f0e5ab7d4" in said and "nothing none" in said


def test_missing_corrections_are_told_by_age() -> None:
    """An archive in which one group is never corrected must say so on paper, too."""
    said = " ".join(" ".join(checked(render_report(view(), SUMMARY)).words).split())
    assert "Waiting for a correction, by age" in said and said.index("3–7 d") < said.index("7 d +")


def test_empty_and_single_day_archives_render() -> None:
    """The smallest inputs are where scales divide by zero."""
    assert b"No transcript was read" in render_report(View(at=0.0, started_at=0.0, dimensions=()), {})
    rows = tuple(
        replace(row, standing=row.standing and replace(row.standing, history=row.standing.history[:1]))
        for row in view().slices
    )
    checked(render_report(view(slices=rows, incidents=()), {}))
    bare = tuple(replace(row, standing=None, wer=None, wer_low=None, wer_high=None) for row in rows)
    checked(render_report(view(slices=bare, incidents=()), {}))


@pytest.mark.parametrize("hostile", ['"><script>alert(1)</script>', "</svg></style>", "\ud800", "{{7*7}}"])
def test_hostile_names_and_summaries_are_text(hostile: str) -> None:
    """Names reach headings, figures' labels, attributes and the summary alike."""
    seen = view(incidents=(transition("x", BEGAN + 5 * DAY, slices=(f"accent={hostile}",), summary=hostile),))
    row = replace(seen.slices[1], slice=f"accent={hostile}")
    checked(render_report(replace(seen, slices=(*seen.slices, row)), {hostile: {"x": hostile}}))


def test_same_view_same_bytes() -> None:
    """Replaying an archive again must give the same files."""
    assert render_report(view(), SUMMARY) == render_report(view(), SUMMARY)


def test_days_without_corrections_are_hatched() -> None:
    """A line that goes on over a hole claims what nobody measured."""
    days = history(0.12, 0.2)
    gap = (*days[:4], *days[7:])
    drawn = plots.wer_over_time(gap, FRAME, title="x")
    assert drawn.count('class="silence"') == 1 and drawn.count('class="line wer"') == 2
    assert plots.wer_over_time(days, FRAME, title="x").count('class="silence"') == 0
    assert "no corrected day" in plots.wer_over_time((), FRAME, title="x")


def test_days_without_bounds_do_not_look_certain() -> None:
    """One session without an error has WER 0 and no spread: a band pinched to a point would claim certainty."""
    days = (*history(0.12, 0.2)[:13], (BEGAN + 13 * DAY, 0.0, 0.0, 0.0))
    drawn = plots.wer_over_time(days, FRAME, title="x")
    assert drawn.count('class="hollow"') == 1 and 'class="value"' not in drawn


def test_same_utterances_are_plotted_once() -> None:
    """With one site, `accent` and `accent x site` are the same slice: twelve plots must show twelve things."""
    seen = view()
    twin = replace(seen.slices[1], slice=f"{seen.slices[1].slice}&deployment=only", depth=2)
    one, two = (render_report(replace(seen, slices=rows), {}) for rows in (seen.slices, (*seen.slices, twin)))
    assert one.count(b"<h4>") == two.count(b"<h4>") and "england × only</bdi> <span".encode() not in two


@pytest.mark.parametrize(("greatest", "top"), [(0.0, 0.02), (0.09, 0.15), (0.31, 0.5), (1.4, 2.5)])
def test_axes_end_on_round_numbers_above_the_data(greatest: float, top: float) -> None:
    """Bounds of rare slices are huge: the axis follows the estimates, and those of slices with telling bounds."""
    assert plots.axis_top([[(0.0, greatest, 0.0, 9.0)]]) == pytest.approx(top)
    rare = (0.0, 0.9, 0.1, 3.0)
    assert plots.axis_top([[(0.0, 0.09, 0.04, 0.2), rare]]) == pytest.approx(0.15)


def test_coordinates_stay_inside_the_figure() -> None:
    """Values beyond the axis are drawn at its edge, not across the page."""
    wild = tuple((BEGAN + index * DAY, 5.0, 0.0, 40.0) for index in range(-2, 30))
    drawn = plots.wer_over_time(wild, FRAME, title="x")
    paths = re.findall(r'class="(?:band|line wer)" d="M([^"]*)"', drawn)
    numbers = [float(number) for path in paths for number in re.findall(r"-?[\d.]+", path)]
    assert min(numbers) >= 0 and max(numbers) <= 370
    assert drawn.count('class="beyond"') == len(wild)
