"""Decides how figures are drawn: inline SVG, coloured by the style sheet's classes so that light and dark both work.

Every function returns finished markup with a text alternative; nothing here reads a clock or refers to anything
outside the document. Numbers in coordinates are rounded to a tenth of a pixel to keep pages small.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup, escape

DAY = 86_400.0

LETTER = 7.2
"""Width of an average bold letter at 12 pixels, on the safe side: server-side, nobody can measure text."""

Day = tuple[float, float, float, float]
"""(day start, WER, low, high), as in `SliceStanding.history`."""

History = Sequence[Day]

TELLING_WIDTH_MAX = 0.3
"""Estimates with wider bounds do not stretch an axis: one bad session of four would flatten everybody else's line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An incident to shade: from `since` (it began) over `fired_at` (it was noticed) to `until`."""

    since: float
    fired_at: float
    until: float
    level: str
    label: str
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Size and span of a plot over time: pixels, seconds and the top of the WER axis."""

    width: int
    height: int
    first_at: float
    last_at: float
    top: float
    left: int = 44
    right: int = 56
    above: int = 26
    below: int = 24

    def x(self, at: float) -> float:
        span = max(self.last_at - self.first_at, 1.0)
        share = min(max((at - self.first_at) / span, 0.0), 1.0)
        return self.left + share * (self.width - self.left - self.right)

    def y(self, ratio: float) -> float:
        share = min(max(ratio / self.top, 0.0), 1.0)
        return self.height - self.below - share * (self.height - self.above - self.below)


# ------------------------------------------------------------------------------------------------------------- scales
def axis_top(histories: Iterable[History]) -> float:
    """Top of a shared WER axis: room for every telling estimate, and for bounds unless they dwarf the estimates."""
    days = [day for history in histories for day in history]
    telling = [day for day in days if day[3] - day[2] <= TELLING_WIDTH_MAX] or days
    if not telling:
        return 0.1
    greatest = max(wer for _, wer, _, _ in telling)
    widest = max(high for _, _, _, high in telling)
    return _round_up(max(1.15 * greatest, min(widest, 1.6 * greatest), 0.02))


def _round_up(ratio: float) -> float:
    step = _step(ratio, 4)
    return step * math.ceil(ratio / step - 1e-9)


def _step(span: float, count: int) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides `span` into about `count` parts."""
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    return min((power * factor for factor in (1, 2, 5, 10)), key=lambda step: abs(step - rough))


def _day_ticks(first_at: float, last_at: float, count: int) -> list[float]:
    days = max((last_at - first_at) / DAY, 1.0)
    step = next((step for step in (1, 2, 3, 7, 14, 28, 56, 91, 182, 364) if days / step <= count), 728)
    start = math.ceil(first_at / DAY) * DAY
    return [start + index * step * DAY for index in range(int((last_at - start) // (step * DAY)) + 1)]


def _percent(ratio: float, step: float = 1.0) -> str:
    return f"{100 * ratio:.1f}%" if step < 0.01 else f"{100 * ratio:.0f}%"


def _day(at: float) -> str:
    when = datetime.fromtimestamp(at, UTC)
    return f"{when.day} {when:%b}"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# ------------------------------------------------------------------------------------------------------ WER over time
def wer_over_time(
    history: History,
    frame: Frame,
    *,
    title: str,
    marks: Sequence[Mark] = (),
    comparison: History = (),
    learned: tuple[float, float] | None = None,
    classes: str = "",
) -> Markup:
    """WER by day with its bounds, incidents shaded and labelled, and `comparison` as a thin dashed line.

    learned   from when to when the baseline was learned: a bar above the axis
    """
    parts = [_axes(frame), *(_shade(mark, frame) for mark in marks), _silence(history, frame)]
    if learned is not None and learned[1] > frame.first_at:
        parts.append(_learned(learned, frame))
    if comparison:
        parts.append(_line(comparison, frame, "comparison"))
    parts += [_band(run, frame) for run in _runs(_bounded(history))]
    parts.append(_line(history, frame, "wer"))
    parts += [_hollow(day, frame) for day in history if not _has_bounds(day)]
    parts += [_beyond(day, frame) for day in history if day[1] > frame.top]
    parts.append(_end_labels(history, comparison, frame))
    return _svg(frame.width, frame.height, Markup("").join(parts), title=title, classes=f"plot {classes}".strip())


def _axes(frame: Frame) -> Markup:
    parts: list[Markup] = []
    step = _step(frame.top, 4 if frame.height > 190 else 3)
    for index in range(int(frame.top / step + 1e-9) + 1):
        ratio = index * step
        y = _n(frame.y(ratio))
        parts.append(
            Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                "axis" if index == 0 else "grid", frame.left, frame.width - frame.right, y, y
            )
        )
        parts.append(_text(frame.left - 8, frame.y(ratio) + 4, _percent(ratio, step), "tick", "end"))
    for at in _day_ticks(frame.first_at, frame.last_at, max(2, (frame.width - frame.left - frame.right) // 74)):
        x = frame.x(at)
        base = frame.height - frame.below
        parts.append(Markup('<line class="axis" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(_n(x), base, base + 4))
        parts.append(_text(x, base + 17, _day(at), "tick", "middle"))
    return Markup("").join(parts)


def _shade(mark: Mark, frame: Frame) -> Markup:
    left, fired, right = frame.x(mark.since), frame.x(mark.fired_at), frame.x(mark.until)
    base = frame.height - frame.below
    shade = Markup('<rect class="shade {}" x="{}" y="{}" width="{}" height="{}"/>').format(
        mark.level, _n(left), frame.above, _n(max(right - left, 2)), base - frame.above
    )
    began = Markup('<line class="began {0}" x1="{1}" x2="{1}" y1="{2}" y2="{3}"/>').format(
        mark.level, _n(left), frame.above, base
    )
    noticed = Markup('<path class="noticed {}" d="M{} {}l-5 -8h10z"/>').format(mark.level, _n(fired), frame.above + 1)
    return shade + began + noticed + _fitted(left, frame.above - 11, mark, frame)


def _learned(span: tuple[float, float], frame: Frame) -> Markup:
    left, right = frame.x(span[0]), frame.x(span[1])
    base = frame.height - frame.below
    bar = Markup('<rect class="learned" x="{}" y="{}" width="{}" height="4"/>').format(
        _n(left), base - 4, _n(max(right - left, 2))
    )
    return bar + _text(left + 2, base - 9, "baseline learned", "tick", "start")


def _fitted(x: float, y: float, mark: Mark, frame: Frame) -> Markup:
    """The mark's label, begun at `x` or, where it would run out of the figure, ended at the figure's edge."""
    ends = x + LETTER * len(mark.label) > frame.width - 4
    return _text(frame.width - 4 if ends else x, y, mark.label, f"mark {mark.level}", "end" if ends else "start")


def _silence(history: History, frame: Frame) -> Markup:
    """Hatched: days that nobody corrected. A gap in a line is easily missed."""
    if not history:
        return Markup('<rect class="silence" x="{}" y="{}" width="{}" height="{}"/>').format(
            frame.left,
            frame.above,
            frame.width - frame.left - frame.right,
            frame.height - frame.above - frame.below,
        ) + _text(
            (frame.left + frame.width - frame.right) / 2,
            frame.height / 2 + 4,
            "no corrected day",
            "note",
            "middle",
        )
    bounds = [frame.first_at, *(edge for day, *_ in history for edge in (day, day + DAY)), frame.last_at]
    parts = [
        Markup('<rect class="silence" x="{}" y="{}" width="{}" height="{}"/>').format(
            _n(frame.x(begin)),
            frame.above,
            _n(frame.x(end) - frame.x(begin)),
            frame.height - frame.above - frame.below,
        )
        for begin, end in zip(bounds[::2], bounds[1::2], strict=True)
        if end - begin >= DAY
    ]
    return Markup("").join(parts)


def _runs(history: History) -> list[History]:
    """Stretches of days without a hole."""
    runs: list[list[Day]] = []
    for day in history:
        if runs and day[0] - runs[-1][-1][0] <= 1.5 * DAY:
            runs[-1].append(day)
        else:
            runs.append([day])
    return [tuple(run) for run in runs]


def _has_bounds(day: Day) -> bool:
    """One session, or sessions without any error, have no spread: their bounds coincide and say nothing."""
    _, _, low, high = day
    return high > low


def _bounded(history: History) -> History:
    return tuple(day for day in history if _has_bounds(day))


def _hollow(day: Day, frame: Frame) -> Markup:
    x, y = frame.x(day[0] + DAY / 2), frame.y(day[1])
    return Markup('<circle class="hollow" cx="{}" cy="{}" r="3"/>').format(_n(x), _n(y))


def _beyond(day: Day, frame: Frame) -> Markup:
    """An arrow at the upper edge: the estimate lies off the axis."""
    return Markup('<path class="beyond" d="M{} {}l-4 7h8z"/>').format(_n(frame.x(day[0] + DAY / 2)), frame.above - 2)


def _band(run: History, frame: Frame) -> Markup:
    if len(run) == 1:
        day, _, low, high = run[0]
        return Markup('<line class="whisker" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
            _n(frame.x(day + DAY / 2)), _n(frame.y(low)), _n(frame.y(high))
        )
    upper = [f"{_n(frame.x(day + DAY / 2))} {_n(frame.y(high))}" for day, _, _, high in run]
    lower = [f"{_n(frame.x(day + DAY / 2))} {_n(frame.y(low))}" for day, _, low, _ in reversed(run)]
    return Markup('<path class="band" d="M{}Z"/>').format("L".join(upper + lower))


def _line(history: History, frame: Frame, kind: str) -> Markup:
    parts: list[Markup] = []
    for run in _runs(history):
        spots = [(frame.x(day + DAY / 2), frame.y(wer)) for day, wer, _, _ in run]
        if len(spots) > 1:
            path = "L".join(f"{_n(x)} {_n(y)}" for x, y in spots)
            parts.append(Markup('<path class="line {}" d="M{}"/>').format(kind, path))
        elif kind == "wer":
            parts.append(Markup('<circle class="dot" cx="{}" cy="{}" r="3"/>').format(*map(_n, spots[0])))
    return Markup("").join(parts)


def _end_labels(history: History, comparison: History, frame: Frame) -> Markup:
    """The last value beside the line's end; the comparison's name too, unless they would overlap."""
    if not history:
        return Markup("")
    day, wer, _, _ = history[-1]
    x, y = frame.x(day + DAY / 2), frame.y(wer)
    if _has_bounds(history[-1]):
        label = Markup('<circle class="dot" cx="{}" cy="{}" r="3"/>').format(_n(x), _n(y))
        label += _text(x + 8, y + 4, f"{100 * wer:.1f}%", "value", "start")
    else:
        label = _text(x + 8, y + 4, f"{100 * wer:.1f}%", "tick", "start")
    if comparison:
        below = frame.y(comparison[-1][1])
        if abs(below - y) > 13:
            at = frame.x(comparison[-1][0] + DAY / 2)
            label += _text(at + 8, below + 4, "all", "tick", "start")
    return label


# ------------------------------------------------------------------------------------------------------ small figures
def sparkline(history: History, top: float, title: str) -> Markup:
    """WER by day as a thumbnail with its band, from 0 to `top`; an empty dashed line without history."""
    width, height = 104, 34
    if not history:
        body = Markup('<line class="nothing" x1="2" x2="98" y1="17" y2="17"/>')
        return _svg(width, height, body, title=title, classes="spark")
    frame = Frame(
        width=width,
        height=height,
        first_at=history[0][0],
        last_at=history[-1][0] + DAY,
        top=top,
        left=2,
        right=6,
        above=2,
        below=2,
    )
    body = Markup("").join(_band(run, frame) for run in _runs(_bounded(history))) + _line(history, frame, "wer")
    day, wer, _, _ = history[-1]
    x, y = frame.x(day + DAY / 2), frame.y(wer)
    body += Markup('<circle class="dot" cx="{}" cy="{}" r="2.5"/>').format(_n(x), _n(y))
    return _svg(width, height, body, title=title, classes="spark")


def bounds_bar(
    wer: float | None,
    low: float | None,
    high: float | None,
    *,
    top: float,
    reference: float | None,
    title: str,
) -> Markup:
    """A WER with its interval on a scale from 0 to `top`, and a tick where all traffic is."""
    width, height, middle = 150, 20, 10

    def x(ratio: float) -> float:
        return 3 + min(max(ratio / top, 0.0), 1.0) * (width - 6)

    parts = [Markup('<line class="track" x1="3" x2="{}" y1="{}" y2="{}"/>').format(width - 3, middle, middle)]
    if reference is not None:
        parts.append(Markup('<line class="reference" x1="{0}" x2="{0}" y1="2" y2="18"/>').format(_n(x(reference))))
    if wer is not None:
        if low is not None and high is not None:
            parts.append(
                Markup('<line class="bounds" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                    _n(x(low)), _n(x(high)), middle, middle
                )
            )
        parts.append(Markup('<circle class="dot" cx="{}" cy="{}" r="4"/>').format(_n(x(wer)), middle))
    return _svg(width, height, Markup("").join(parts), title=title, classes="bounds-bar")


def share_bar(part: float, title: str, kind: str = "") -> Markup:
    """A share of a whole, 0..1; a sliver stays visible."""
    width = 200.0
    filled = 0.0 if part <= 0 else min(max(part * width, 2.0), width)
    body = Markup('<rect class="whole" width="200" height="10" rx="5"/>')
    body += Markup('<rect class="part" width="{}" height="10" rx="{}"/>').format(_n(filled), _n(min(5, filled / 2)))
    return _svg(200, 10, body, title=title, classes=f"share {kind}".strip())


def kinds_bar(substitutions: int, deletions: int, insertions: int) -> Markup:
    """Errors by kind: solid, hatched and outlined, in this order; the numbers stand beside it."""
    total = max(substitutions + deletions + insertions, 1)
    width, x, parts = 400.0, 0.0, []
    for kind, count in (("substituted", substitutions), ("deleted", deletions), ("inserted", insertions)):
        share = width * count / total
        if count:
            parts.append(
                Markup('<rect class="{}" x="{}" y="1" width="{}" height="14" rx="2"/>').format(
                    kind, _n(x + 1), _n(max(share - 2, 1))
                )
            )
        x += share
    title = f"errors by kind: {substitutions} substitutions, {deletions} deletions, {insertions} insertions"
    return _svg(400, 16, Markup("").join(parts), title=title, classes="kinds-bar", stretch=True)


def verdict_bar(disparity: int, parity: int, unknown: int, title: str) -> Markup:
    """All slices side by side by verdict: solid, outlined, and hatched for what is not known."""
    total = max(disparity + parity + unknown, 1)
    width, x, parts = 600.0, 0.0, []
    for kind, count in (("disparity", disparity), ("insufficient", unknown), ("parity", parity)):
        if count:
            share = width * count / total
            parts.append(
                Markup('<rect class="{}" x="{}" y="1" width="{}" height="14" rx="2"/>').format(
                    kind, _n(x + 1), _n(max(share - 2, 1))
                )
            )
            x += share
    return _svg(600, 16, Markup("").join(parts), title=title, classes="verdict-bar", stretch=True)


# ----------------------------------------------------------------------------------------------------------- timeline
def timeline(marks: Sequence[Mark], frame: Frame, title: str, classes: str = "") -> Markup:
    """One bar for each incident, from when it began to when it resolved; a triangle where it was noticed."""
    row = 34
    height = frame.above + row * max(len(marks), 1) + frame.below
    span = Frame(
        width=frame.width,
        height=height,
        first_at=frame.first_at,
        last_at=frame.last_at,
        top=1.0,
        left=frame.left,
        right=frame.right,
        above=frame.above,
        below=frame.below,
    )
    base = height - span.below
    parts = [
        Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
            span.left, span.width - span.right, base, base
        )
    ]
    for at in _day_ticks(span.first_at, span.last_at, max(2, (span.width - span.left - span.right) // 74)):
        parts.append(
            Markup('<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
                _n(span.x(at)), span.above - 4, base
            )
        )
        parts.append(_text(span.x(at), base + 17, _day(at), "tick", "middle"))
    for index, mark in enumerate(marks):
        y = span.above + index * row
        parts.append(_bar(mark, span, y))
    return _svg(span.width, height, Markup("").join(parts), title=title, classes=f"plot timeline {classes}".strip())


def _bar(mark: Mark, frame: Frame, y: float) -> Markup:
    left, fired, right = frame.x(mark.since), frame.x(mark.fired_at), frame.x(mark.until)
    bar = Markup('<rect class="bar {} {}" x="{}" y="{}" width="{}" height="10" rx="2"/>').format(
        mark.level, "open" if mark.is_open else "closed", _n(left), _n(y + 16), _n(max(right - left, 3))
    )
    noticed = Markup('<path class="noticed {}" d="M{} {}l-5 -8h10z"/>').format(mark.level, _n(fired), _n(y + 17))
    label = _fitted(left, y + 5, mark, frame)
    return bar + noticed + label


# ------------------------------------------------------------------------------------------------------------- markup
def hatch() -> Markup:
    """The pattern for what is not known; once in each document, before the first figure."""
    return Markup(
        '<svg width="0" height="0" class="defs" aria-hidden="true" focusable="false"><defs>'
        '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="hatch-ground" width="6" height="6"/><line class="hatch-line" x1="0" x2="0" y1="0" y2="6"/>'
        "</pattern>"
        '<pattern id="stripes" width="5" height="5" patternUnits="userSpaceOnUse">'
        '<line class="stripe-line" x1="0" x2="0" y1="0" y2="5"/></pattern></defs></svg>'
    )


def _text(x: float, y: float, words: str, kind: str, anchor: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(kind, _n(x), _n(y), anchor, words)


def _svg(width: int, height: int, body: Markup, *, title: str, classes: str, stretch: bool = False) -> Markup:
    aspect = Markup(' preserveAspectRatio="none"') if stretch else Markup("")
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}"{}>{}</svg>'
    ).format(classes, width, height, width, height, escape(title), aspect, body)
