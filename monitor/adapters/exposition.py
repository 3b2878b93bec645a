"""Decides what a scrape reads: Prometheus text format 0.0.4, every metric declared in the catalogue.

Slices are thousands of series whose labels never change, so their lines are rendered once up to the value and
written directly (tests/bench/bench_scrape.py compares this with the library's own writer). What the library
knows best, the process and its garbage collector, comes from a `CollectorRegistry` into the same output.

Two rules keep `increase()` honest. A slice that appears is shown at 0 for `hold_seconds` before it is shown
at its value: a counter born at 50 never rose, as far as PromQL can tell. And a counter never falls: a
correction that lowers a total would read as a restart, and all of it would be counted again; the series waits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from threading import Lock
from time import perf_counter

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest

from monitor import __version__
from monitor.adapters.exposition_incidents import INCIDENT_METRICS, incident_lines
from monitor.adapters.exposition_text import escape, label_pairs, number
from monitor.catalog import METRICS, PREFIX, SLICE_DECISIONS, SLICE_LABELS, SLICE_MOMENTS, Metric, MetricKind
from monitor.core.records import UNKNOWN, Account, Slice, SliceRow, SliceStanding, UnitFit, Verdict, View
from monitor.core.slicing import slice_name, slice_named
from monitor.core.snapshot import MetricsSnapshot, SliceMoments

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SERIES_MAX = 2_000
"""Series a replica exposes by default: about 80 slices with windows. Fifty replicas at twice this
is what a small Prometheus holds (200,000 series); half would leave no room for intersections."""

HOLD_SECONDS = 30.0
"""Two scrape intervals of 15 s: with one, a single late scrape would miss the 0."""

OWN_SERIES = 5
"""What `_write_own` adds at the end: versions, duration, cap, and what was left out for two reasons."""

EVIDENCE_LEAST = 1e-9
"""Floor of evidence before the logarithm: minus infinity cannot be drawn, and nobody acts on less."""

SERIES_NAMES_MAX = 10_000
"""Distinct counter names remembered; they are closed sets, so this only bounds a fault of ours."""

_ERROR_TYPES = ("substitution", "deletion", "insertion")
_SAMPLES = {sample: metric for metric in METRICS for sample in metric.sample_names()}
_SERIES = re.compile(r"([a-z][a-z0-9_]*)(?:\{(.*)\})?", re.DOTALL)
_LABEL = re.compile(r'([a-z_][a-z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


class UndeclaredMetric(ValueError):
    """A counter or gauge that the catalogue does not declare, or not with these labels."""


class _ShownSlice:
    """One slice with its lines rendered up to the value, and what was last shown of it."""

    __slots__ = ("counters", "gap", "highest", "labels", "plain", "shown_at", "verdicts", "windows")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.counters = tuple(f"{PREFIX}{name}{{{labels}{extra}}} " for name, extra in _COUNTER_LINES)
        self.plain = tuple(f"{PREFIX}{name}{{{labels}}} " for name in _PLAIN_DECISIONS)
        self.gap = f'{PREFIX}slice_wer_gap_ratio{{{labels},window="all"}} '
        self.verdicts = {
            given: tuple(
                f'{PREFIX}slice_verdict{{{labels},verdict="{verdict}"}} {int(verdict is given)}' for verdict in Verdict
            )
            for given in Verdict
        }
        self.windows: dict[str, str] = {}
        self.highest: tuple[float, ...] = (0,) * len(self.counters)
        self.shown_at: float | None = None
        """When a scrape first showed it; None: not yet. Minus infinity: known from before, never held."""

    def window(self, name: str) -> str:
        line = self.windows.get(name)
        if line is None:
            line = self.windows[name] = f'{PREFIX}slice_wer_ratio{{{self.labels},window="{escape(name)}"}} '
        return line


class Exposition:
    """Writes scrapes; one instance serves all threads.

    start   the snapshot restored at start-up: its series are not held at 0, they were shown before
    strict  raise `UndeclaredMetric` for a name outside the catalogue (tests), rather than leave it out
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry | None = None,
        series_max: int = SERIES_MAX,
        hold_seconds: float = HOLD_SECONDS,
        start: MetricsSnapshot | None = None,
        build: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> None:
        self._registry = registry
        self._series_max = series_max
        self._hold_seconds = hold_seconds
        self._strict = strict
        self._lock = Lock()
        self._slices: dict[tuple[str, Slice], _ShownSlice] = {}
        self._series: dict[str, tuple[Metric, str] | None] = {}
        self._shown: dict[str, tuple[float, int]] = {}
        """When each counter outside slices was first shown, and the highest value shown of it."""
        self._collect_seconds = 0.0
        versions = {"version": __version__, "normalizer": "", "aligner": "", **(build or {})}
        self._build_line = f"{PREFIX}build_info{{{label_pairs(versions)}}} 1"
        if start is not None:
            self.know(start)

    def know(self, restored: MetricsSnapshot) -> None:
        """These series were shown before, by us or by whoever had their state: they are not held at 0."""
        with self._lock:
            for moments in restored.moments:
                self._slice(moments).shown_at = -math.inf
            for series in (*restored.view.counters, *(name for name, _ in _derived_counters(restored.view))):
                shown = self._shown.get(series)
                self._shown[series] = (-math.inf, 0 if shown is None else shown[1])

    def render(self, snapshot: MetricsSnapshot, now: float) -> bytes:
        """The whole exposition. `now` is a clock in seconds that never runs backwards; it times the hold."""
        with self._lock:
            began = perf_counter()
            process = generate_latest(self._registry) if self._registry is not None else b""
            families: dict[str, list[str]] = {metric.name: [] for metric in METRICS}
            undeclared = self._write_view(snapshot.view, families, now)
            room = self._series_max - OWN_SERIES - process.count(b"\n") - sum(map(len, families.values()))
            left_out, room = self._write_slices(snapshot, families, now, room)
            left_out += self._write_missing(snapshot, families, room)
            self._write_own(families, left_out, undeclared)
            lines = [
                line
                for metric in METRICS
                if families[metric.name]
                for line in (_HEADERS[metric.name], *_in_order(metric, families[metric.name]))
            ]
            written = ("\n".join(lines) + "\n").encode("utf-8", "replace") + process
            self._collect_seconds = perf_counter() - began
            return written

    # ------------------------------------------------------------------------------------ pipeline
    def _write_view(self, view: View, families: dict[str, list[str]], now: float) -> int:
        """Counters, gauges, budget, configuration; returns how many series the catalogue does not declare."""
        undeclared = 0
        for series, count in chain(view.counters.items(), _derived_counters(view)):
            declared = self._declared(series)
            if declared is None or declared[0].kind is MetricKind.GAUGE:
                undeclared += self._refuse(series)
                continue
            shown = self._settled(series, count, now) if declared[0].kind is MetricKind.COUNTER else count
            families[declared[0].name].append(f"{declared[1]}{shown}")
        gauges = {"event_watermark_timestamp_seconds": view.at, **view.gauges}
        for series, value in gauges.items():
            declared = self._declared(series)
            if declared is None or declared[0].kind is MetricKind.COUNTER:
                undeclared += self._refuse(series)
                continue
            families[declared[0].name].append(declared[1] + number(value))
        for account in view.budget:
            _write_account(account, families)
        for fit in view.unit_fits:
            _write_unit_fit(fit, families)
        if view.config_sha256:
            labels = label_pairs({"sha256": view.config_sha256})
            families["config_info"].append(f"{PREFIX}config_info{{{labels}}} 1")
        return undeclared

    def _settled(self, series: str, count: int, now: float) -> int:
        """0 while the series is new, and never less than was shown before."""
        shown_at, highest = self._shown.setdefault(series, (now, 0))
        if now - shown_at >= self._hold_seconds and count > highest:
            self._shown[series] = (shown_at, count)
            return count
        return highest

    def _declared(self, series: str) -> tuple[Metric, str] | None:
        """The metric of `name{label="value"}` and its line up to the value; None if not in the catalogue."""
        if series not in self._series:
            if len(self._series) >= SERIES_NAMES_MAX:
                return None
            self._series[series] = _match(series)
        return self._series[series]

    def _refuse(self, series: str) -> int:
        if self._strict:
            raise UndeclaredMetric(series)
        return 1

    # ------------------------------------------------------------------------------------ slices
    def _write_slices(
        self, snapshot: MetricsSnapshot, families: dict[str, list[str]], now: float, room: int
    ) -> tuple[int, int]:
        """Counters and decisions of as many slices as fit; returns the number of series left out, and the room left."""
        rows = {(row.customer, row.slice): row for row in snapshot.view.slices}
        open_slices = self._write_incidents(snapshot, families)
        room -= sum(len(families[name]) for name in INCIDENT_METRICS)
        columns = [families[metric.name] for metric in SLICE_MOMENTS for _ in range(_width(metric))]
        left_out = 0
        for moments in self._by_priority(snapshot, open_slices, rows):
            row = rows.get((moments.customer, slice_name(moments.slice)))
            shown = self._slice(moments)
            decisions = self._decision_lines(shown, row.standing if row is not None else None)
            if left_out or len(columns) + len(decisions) > room:
                left_out += len(columns) + len(decisions)
                continue
            room -= len(columns) + len(decisions)
            values = self._values(shown, moments, now)
            for column, line, value in zip(columns, shown.counters, values, strict=True):
                column.append(f"{line}{value}")
            for name, line in decisions:
                families[name].append(line)
        self._forget(snapshot)
        return left_out, room

    def _write_missing(self, snapshot: MetricsSnapshot, families: dict[str, list[str]], room: int) -> int:
        """Missing references by age where room is left, all traffic first; returns the number of series left out."""
        lines, left_out = families["slice_references_missing_utterances"], 0
        general = (row for row in snapshot.view.slices if row.depth <= 1)
        for row in sorted(general, key=lambda row: (row.depth, -row.transcripts, row.customer, row.slice)):
            bands = row.missing_by_age
            if left_out or len(bands) > room:
                left_out += len(bands)
                continue
            room -= len(bands)
            labels = slice_labels(row.customer, slice_named(row.slice))
            lines.extend(
                f'{PREFIX}slice_references_missing_utterances{{{labels},age="{band}"}} {missing}'
                for band, _, missing in bands
            )
        return left_out

    def _by_priority(
        self,
        snapshot: MetricsSnapshot,
        open_slices: set[tuple[str, str]],
        rows: Mapping[tuple[str, str], SliceRow],
    ) -> list[SliceMoments]:
        """Who stays at the cap: all traffic, incidents, what is already shown, the general."""

        def rank(moments: SliceMoments) -> tuple[int, int, int, str, str]:
            key = (moments.customer, moments.slice)
            name = slice_name(moments.slice)
            known = self._slices.get(key)
            if not moments.slice:
                first = 0
            elif (moments.customer, name) in open_slices:
                first = 1
            else:
                first = 2 if known is not None and known.shown_at is not None else 3
            return (first, len(moments.slice), -moments.traffic, moments.customer, name)

        most = len(_COUNTER_LINES) + _DECISIONS_MOST
        if len(snapshot.moments) * most + len(_HEADERS) < self._series_max:
            return list(snapshot.moments)
        return sorted(snapshot.moments, key=rank)

    def _slice(self, moments: SliceMoments) -> _ShownSlice:
        key = (moments.customer, moments.slice)
        shown = self._slices.get(key)
        if shown is None:
            shown = self._slices[key] = _ShownSlice(slice_labels(*key))
        return shown

    def _values(self, shown: _ShownSlice, moments: SliceMoments, now: float) -> tuple[float, ...]:
        if shown.shown_at is None:
            shown.shown_at = now
        if now - shown.shown_at < self._hold_seconds:
            return shown.highest
        current = (
            moments.traffic,
            moments.utterances,
            moments.reference_words,
            moments.substitutions,
            moments.deletions,
            moments.insertions,
            moments.clusters,
            moments.errors_squared,
            moments.words_squared,
            moments.errors_times_words,
        )
        shown.highest = tuple(map(max, shown.highest, current))
        return shown.highest

    def _forget(self, snapshot: MetricsSnapshot) -> None:
        """Bound what is remembered of slices that the agent no longer has."""
        if len(self._slices) <= max(4 * self._series_max, 2 * len(snapshot.moments)):
            return
        current = {(moments.customer, moments.slice) for moments in snapshot.moments}
        self._slices = {key: shown for key, shown in self._slices.items() if key in current}

    def _decision_lines(self, shown: _ShownSlice, standing: SliceStanding | None) -> list[tuple[str, str]]:
        """(metric, line) of what DECIDE knows of the slice."""
        if standing is None:
            return []
        lines = [("slice_verdict", line) for line in shown.verdicts[standing.verdict]]
        for window, wer, _, _ in standing.windows:
            lines.append(("slice_wer_ratio", shown.window(window) + number(wer)))
        if standing.gap is not None:
            lines.append(("slice_wer_gap_ratio", shown.gap + number(standing.gap)))
        for name, line, value in zip(_PLAIN_DECISIONS, shown.plain, _plain_values(standing), strict=True):
            if value is not None:
                lines.append((name, line + number(value)))
        return lines

    def _write_incidents(self, snapshot: MetricsSnapshot, families: dict[str, list[str]]) -> set[tuple[str, str]]:
        """What incidents say, for each slice that one names; returns the slices of open ones."""
        by_name = {(moments.customer, slice_name(moments.slice)): moments for moments in snapshot.moments}

        def labels_of(customer: str, name: str) -> str:
            moments = by_name.get((customer, name))
            if moments is not None:
                return self._slice(moments).labels
            return label_pairs({"customer": customer, "dimension": "slice", "group": name})

        lines, open_slices = incident_lines(snapshot.view.incidents, labels_of)
        for name, written in lines.items():
            families[name].extend(written)
        return open_slices

    # ------------------------------------------------------------------------------------ own
    def _write_own(self, families: dict[str, list[str]], left_out: int, undeclared: int) -> None:
        families["build_info"].append(self._build_line)
        own = {
            "collect_duration_seconds": f" {number(self._collect_seconds)}",
            "exposition_series_max": f" {self._series_max}",
        }
        for name, value in own.items():
            families[name].append(f"{PREFIX}{name}{value}")
        families["exposition_series_left_out"].extend(
            f'{PREFIX}exposition_series_left_out{{reason="{reason}"}} {count}'
            for reason, count in (("cap", left_out), ("undeclared", undeclared))
        )


def process_registry() -> CollectorRegistry:
    """A registry of its own with the process and the garbage collector; never the library's global one."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def slice_labels(customer: str, slice_: Slice) -> str:
    """The three labels that name a slice, rendered.

    >>> slice_labels("acme", (("accent", "yoruba"), ("deployment", "clinical")))
    'customer="acme",dimension="accent,deployment",group="yoruba,clinical"'
    """
    if not slice_:
        return label_pairs({"customer": customer, "dimension": "all", "group": "all"})
    values = [value for _, value in slice_]
    if len(values) > 1:  # a comma inside a value must not make two intersections one
        values = [value.replace("\\", "\\\\").replace(",", "\\,") for value in values]
    return label_pairs(
        {"customer": customer, "dimension": ",".join(name for name, _ in slice_), "group": ",".join(values)}
    )


# ------------------------------------------------------------------------------------------------ rendering
def _write_account(account: Account, families: Mapping[str, list[str]]) -> None:
    """Granted, spent by direction, and the share."""
    labels = label_pairs({"customer": account.customer})
    worse = account.worse
    families["false_page_budget_granted"].append(
        f"{PREFIX}false_page_budget_granted{{{labels}}} {number(worse.granted)}"
    )
    for direction, money in (("better", account.better), ("worse", worse)):
        labels_of = label_pairs({"customer": account.customer, "direction": direction})
        families["false_page_budget_spent"].append(
            f"{PREFIX}false_page_budget_spent{{{labels_of}}} {number(money.spent)}"
        )
    if worse.granted > 0:
        families["false_page_budget_spent_ratio"].append(
            f"{PREFIX}false_page_budget_spent_ratio{{{labels}}} {number(worse.spent / worse.granted)}"
        )


def _write_unit_fit(fit: UnitFit, families: Mapping[str, list[str]]) -> None:
    """Three ratios at most for each customer, with what they amount to."""
    labels = label_pairs({"customer": fit.customer})
    for name, value in (("unit_variance_inflation", fit.inflation), ("unit_too_short", float(fit.longer is not None))):
        families[name].append(f"{PREFIX}{name}{{{labels}}} {number(value)}")
    for block in fit.ratios:
        labels_of = label_pairs({"customer": fit.customer, "block": block.block})
        name = "unit_block_variance_ratio"
        families[name].append(f"{PREFIX}{name}{{{labels_of}}} {number(block.ratio)}")


def _width(metric: Metric) -> int:
    return len(_ERROR_TYPES) if "type" in metric.labels else 1


def _match(series: str) -> tuple[Metric, str] | None:
    matched = _SERIES.fullmatch(series)
    if matched is None or matched[1] not in _SAMPLES:
        return None
    metric = _SAMPLES[matched[1]]
    text = matched[2] or ""
    found = list(_LABEL.finditer(text))
    if sum(len(label[0]) for label in found) != len(text):
        return None
    expected = {*metric.labels, "le"} if matched[1].endswith("_bucket") else {*metric.labels}
    if {label[1] for label in found} != expected:
        return None
    return metric, f"{PREFIX}{series} "


def _in_order(metric: Metric, lines: list[str]) -> list[str]:
    """Buckets of a histogram from small to large, then sum and count, as the format asks."""
    if metric.kind is not MetricKind.HISTOGRAM:
        return lines

    def place(line: str) -> tuple[int, float]:
        bound = re.search(r'le="([^"]*)"', line)
        if bound is None:
            return (1 if "_sum" in line else 2, 0.0)
        return (0, math.inf if bound[1] == "+Inf" else float(bound[1]))

    return sorted(lines, key=place)


def _plain_values(standing: SliceStanding) -> tuple[float | None, ...]:
    """Values of `_PLAIN_DECISIONS`, in that order."""
    return (
        standing.gap_low,
        standing.gap_high,
        math.log(max(standing.evidence, EVIDENCE_LEAST)),
        int(standing.learning),
        standing.detectable_gap,
        standing.words_missing,
        standing.last_reference_at,
    )


def _derived_counters(view: View) -> Iterator[tuple[str, int]]:
    """Counters that the rows of slices already hold: words apart from WER, and traffic without a label."""
    missing = dict.fromkeys(view.dimensions, 0)
    for row in view.slices:
        if row.depth == 0:
            labels = label_pairs({"customer": row.customer})
            yield f"hallucinated_words_total{{{labels}}}", row.hallucinated_words
            yield f"strict_word_errors_total{{{labels}}}", row.strict_errors
            yield f"strict_reference_words_total{{{labels}}}", row.strict_words
        elif row.depth == 1:
            dimension, _, value = row.slice.partition("=")
            if value == UNKNOWN and dimension in missing:
                missing[dimension] += row.transcripts
    # A picture without slices is one of an agent that has not read its state: a 0 would be less than what it showed.
    for dimension, count in missing.items() if view.slices else ():
        yield f'label_missing_utterances_total{{dimension="{dimension}"}}', count


_COUNTER_LINES: tuple[tuple[str, str], ...] = tuple(
    (metric.name, extra)
    for metric in SLICE_MOMENTS
    for extra in ([f',type="{kind}"' for kind in _ERROR_TYPES] if "type" in metric.labels else [""])
)
_PLAIN_DECISIONS = tuple(metric.name for metric in SLICE_DECISIONS if metric.labels == SLICE_LABELS)
_DECISIONS_MOST = len(SLICE_DECISIONS) + len(Verdict) + 8
"""An upper bound of a slice's decision series: its windows are at most eight."""
_HEADERS = {
    metric.name: f"# HELP {metric.full_name} {metric.help}\n# TYPE {metric.full_name} {metric.kind}"
    for metric in METRICS
}
