"""Decides which metrics exist: the one list behind exposition, docs/metrics.md, rules and dashboards.

A metric that is not declared here is not exported. Names are given without the prefix `wervane_`; labels
never carry an id, a speaker or a text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "wervane_"

SLICE_LABELS = ("customer", "dimension", "group")
"""How a slice is named: `dimension="accent",group="yoruba"`; an intersection is
`dimension="accent,deployment",group="yoruba,clinical"`; all traffic is `dimension="all",group="all"`."""


class MetricKind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Topic(StrEnum):
    """What a metric is about: the sections of docs/metrics.md."""

    MOMENTS = "Slices: moments"
    DECISIONS = "Slices: decisions"
    COVERAGE = "Coverage"
    PIPELINE = "Pipeline"
    AGENT = "The agent itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One declared metric."""

    name: str
    kind: MetricKind
    topic: Topic
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""

    @property
    def full_name(self) -> str:
        return PREFIX + self.name

    def sample_names(self) -> tuple[str, ...]:
        """Names that samples of this metric carry, without prefix."""
        if self.kind is MetricKind.HISTOGRAM:
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


def _counters(topic: Topic, labels: tuple[str, ...], *rows: tuple[str, str, str]) -> tuple[Metric, ...]:
    return tuple(
        Metric(name=name, kind=MetricKind.COUNTER, topic=topic, help=text, labels=labels, unit=unit)
        for name, unit, text in rows
    )


def _gauges(topic: Topic, labels: tuple[str, ...], *rows: tuple[str, str, str]) -> tuple[Metric, ...]:
    return tuple(
        Metric(name=name, kind=MetricKind.GAUGE, topic=topic, help=text, labels=labels, unit=unit)
        for name, unit, text in rows
    )


SLICE_MOMENTS: tuple[Metric, ...] = (
    *_counters(
        Topic.MOMENTS,
        SLICE_LABELS,
        (
            "slice_traffic_utterances_total",
            "utterances",
            "Sampled transcripts of the slice, corrected or not.",
        ),
        (
            "slice_utterances_total",
            "utterances",
            "Transcripts of the slice scored against a sampled reference.",
        ),
        ("slice_reference_words_total", "words", "Reference words of the scored transcripts."),
    ),
    *_counters(
        Topic.MOMENTS,
        (*SLICE_LABELS, "type"),
        (
            "slice_word_errors_total",
            "words",
            "Word errors of the scored transcripts, by type: substitution, deletion, insertion.",
        ),
    ),
    *_counters(
        Topic.MOMENTS,
        SLICE_LABELS,
        (
            "slice_clusters_total",
            "sessions",
            "Sessions (or speaker bursts) that the scored transcripts came from.",
        ),
        (
            "slice_cluster_word_errors_squared_total",
            "",
            "Sum over sessions of (word errors)^2, for the standard error.",
        ),
        (
            "slice_cluster_reference_words_squared_total",
            "",
            "Sum over sessions of (reference words)^2, for the standard error.",
        ),
        (
            "slice_cluster_word_errors_times_reference_words_total",
            "",
            "Sum over sessions of (word errors x reference words), for the standard error.",
        ),
    ),
)

SLICE_DECISIONS: tuple[Metric, ...] = (
    *_gauges(
        Topic.DECISIONS,
        (*SLICE_LABELS, "window"),
        ("slice_wer_ratio", "ratio", "Word error rate over matured sessions in the window of event time."),
        (
            "slice_wer_gap_ratio",
            "ratio",
            "WER of the slice minus the rest of its strata, with the slice's own mix.",
        ),
    ),
    *_gauges(
        Topic.DECISIONS,
        SLICE_LABELS,
        ("slice_wer_gap_lower_ratio", "ratio", "Lower anytime-valid bound of the gap."),
        ("slice_wer_gap_upper_ratio", "ratio", "Upper anytime-valid bound of the gap."),
        (
            "slice_evidence_log",
            "nats",
            "Natural logarithm of the mean drift bet: 0 pages; floored at -20.7 (1e-9).",
        ),
    ),
    *_gauges(
        Topic.DECISIONS,
        (*SLICE_LABELS, "verdict"),
        ("slice_verdict", "", "1 for the slice's verdict (disparity, parity, insufficient), else 0."),
    ),
    *_gauges(
        Topic.DECISIONS,
        SLICE_LABELS,
        ("slice_learning", "", "1 while the slice learns its baseline and cannot page for drift, else 0."),
        (
            "slice_detectable_gap_ratio",
            "ratio",
            "Smallest WER gap seen with 80 % power on the labels so far.",
        ),
        ("slice_words_missing", "words", "Labelled words still needed for a verdict; 0 when there is one."),
        (
            "slice_last_reference_timestamp_seconds",
            "seconds",
            "Event time of the slice's newest scored reference.",
        ),
    ),
)

DECISIONS: tuple[Metric, ...] = (
    *_gauges(
        Topic.DECISIONS,
        (*SLICE_LABELS, "kind", "level", "direction"),
        ("slice_incident_open", "", "1 while an incident that names the slice is open, 0 once it resolved."),
    ),
    *_gauges(
        Topic.DECISIONS,
        (*SLICE_LABELS, "kind", "level", "direction"),
        (
            "slice_incident_since_timestamp_seconds",
            "seconds",
            "Event time since when it is so, while an incident that names the slice is open: the best single answer.",
        ),
    ),
    *_gauges(
        Topic.DECISIONS,
        (*SLICE_LABELS, "kind", "level", "direction", "side"),
        (
            "slice_incident_wer_ratio",
            "ratio",
            "WER as an open incident tells it: of the slice since then (after), before, and of all others (rest).",
        ),
    ),
    *_gauges(
        Topic.DECISIONS,
        (*SLICE_LABELS, "kind", "level", "direction", "bound"),
        (
            "slice_incident_wer_gap_ratio",
            "ratio",
            "WER of the slice minus that of others, as an open incident tells it: estimate, 95 % bounds low and high.",
        ),
        (
            "slice_incident_wer_change_ratio",
            "ratio",
            "Errors after over before, mix of strata allowed for, as an open incident tells it: estimate, low, high.",
        ),
    ),
    *_gauges(
        Topic.DECISIONS,
        ("customer", "direction"),
        (
            "false_page_budget_spent",
            "pages",
            "Expected false pages spent so far (worse); better: false improvements, a tenth beside the budget.",
        ),
    ),
    *_gauges(
        Topic.DECISIONS,
        ("customer",),
        ("false_page_budget_granted", "pages", "Expected false pages granted to the customer so far."),
        (
            "false_page_budget_spent_ratio",
            "ratio",
            "Share of the granted budget of false pages that is spent.",
        ),
        ("unit_variance_inflation", "ratio", "Variance of betting units' errors over that of independent words."),
        (
            "unit_too_short",
            "",
            "1 while units depend on each other beyond chance: evidence and intervals then promise too much; else 0.",
        ),
    ),
    *_gauges(
        Topic.DECISIONS,
        ("customer", "block"),
        (
            "unit_block_variance_ratio",
            "ratio",
            "Variance of sums over blocks of units (speaker_day, speaker, day) over that of units; 1 if independent.",
        ),
    ),
)

OTHERS: tuple[Metric, ...] = (
    *_counters(
        Topic.COVERAGE,
        ("dimension",),
        (
            "label_missing_utterances_total",
            "utterances",
            "Sampled transcripts without a declared value of the dimension.",
        ),
    ),
    *_counters(
        Topic.COVERAGE,
        ("outcome",),
        (
            "transcripts_total",
            "utterances",
            "Valid transcripts by fate (held, duplicate, replaced, conflict, sampled_out, expired, ...).",
        ),
    ),
    *_counters(
        Topic.COVERAGE,
        ("outcome", "source"),
        (
            "references_total",
            "references",
            "Valid references by fate (scored, waiting, duplicate, superseded, expired, ...).",
        ),
    ),
    *_gauges(
        Topic.COVERAGE,
        (*SLICE_LABELS, "age"),
        (
            "slice_references_missing_utterances",
            "utterances",
            "Transcripts of all traffic and of one-way slices without a reference so far, by days (<1d, 1-3d, 3-7d, "
            "7d+) before the customer's newest; the last 40 days.",
        ),
    ),
    *_counters(
        Topic.COVERAGE,
        (),
        ("references_missing_total", "utterances", "Transcripts whose time for a correction ran out."),
        ("groups_folded_total", "utterances", "Transcripts of groups beyond the cap, counted under `_other`."),
    ),
    *_counters(
        Topic.COVERAGE,
        ("customer",),
        ("hallucinated_words_total", "words", "Hypothesis words where the reference is empty; outside WER."),
        ("strict_word_errors_total", "words", "Errors among numbers, units, negations and keywords."),
        ("strict_reference_words_total", "words", "Numbers, units, negations and keywords in references."),
    ),
    *_counters(
        Topic.PIPELINE,
        ("topic", "outcome"),
        ("records_consumed_total", "records", "Messages by how they ended: accepted, clipped, rejected."),
    ),
    *_counters(
        Topic.PIPELINE,
        ("topic", "reason"),
        ("records_rejected_total", "records", "Messages outside the contract, by reason."),
    ),
    *_counters(
        Topic.PIPELINE,
        ("field",),
        ("fields_clipped_total", "fields", "Fields repaired or dropped on the way in, by name."),
    ),
    *_counters(
        Topic.PIPELINE,
        ("problem",),
        ("input_problems_total", "", "Files or lines that could not be read as records at all, by problem."),
    ),
    *_counters(
        Topic.PIPELINE,
        ("topic", "problem"),
        (
            "input_lost_records_total",
            "records",
            "Records of a Kafka topic that are gone unread: deleted by retention, or in an unreadable batch.",
        ),
    ),
    *_counters(
        Topic.PIPELINE,
        ("topic", "outcome"),
        (
            "log_records_total",
            "records",
            "Records of the topics between stages: new, repeated (dropped: counted before), refused (not readable, or "
            "too large to send), foreign (marks of agents with another hash key or other dimensions).",
        ),
    ),
    *_gauges(
        Topic.PIPELINE,
        ("topic",),
        ("consumer_lag_records", "records", "Records of a Kafka topic that are there and not read yet."),
    ),
    *_gauges(
        Topic.PIPELINE,
        ("stage",),
        ("partitions_assigned", "partitions", "Partitions that this process has open, by stage."),
        (
            "state_behind_records",
            "records",
            "Records to read until the state is as far as it was before: 0 but while it is made again from the log.",
        ),
    ),
    *_counters(
        Topic.PIPELINE,
        ("topic",),
        ("tombstones_total", "records", "Requests to erase an utterance."),
    ),
    *_counters(
        Topic.PIPELINE,
        (),
        (
            "partials_total",
            "records",
            "Interim results of streaming recognisers, neither scored nor rejected.",
        ),
        (
            "storage_budget_reached_total",
            "",
            "Times that the sampling threshold was lowered to bound storage.",
        ),
        ("storage_budget_dropped_total", "utterances", "Held transcripts dropped by lowering the threshold."),
    ),
    *_gauges(
        Topic.PIPELINE,
        (),
        ("event_watermark_timestamp_seconds", "seconds", "Event time up to which records are processed."),
        ("pending_utterances", "utterances", "Transcripts held until their reference comes."),
        ("waiting_references", "references", "References held until their transcript comes."),
        ("pending_bytes", "bytes", "Size of what is held."),
        (
            "sampling_ceiling_ratio",
            "ratio",
            "Upper bound of the sampling probability set by the storage budget.",
        ),
    ),
    *_counters(
        Topic.PIPELINE,
        ("bound",),
        (
            "bound_reached_total",
            "",
            "Records that came too late to be decided upon, and things let go because a buffer was full.",
        ),
    ),
    *_gauges(
        Topic.PIPELINE,
        ("kind",),
        ("held_items", "", "How many customers, open utterances, closed cells and watched slices are held."),
    ),
    Metric(
        name="reference_delay_seconds",
        kind=MetricKind.HISTOGRAM,
        topic=Topic.PIPELINE,
        help="Event time of a reference minus that of its transcript.",
        unit="seconds",
    ),
    *_gauges(
        Topic.AGENT,
        (),
        (
            "checkpoint_last_success_timestamp_seconds",
            "seconds",
            "Wall clock of the last durable checkpoint.",
        ),
        ("storage_ok", "", "1 while the state can be written, else 0."),
        ("broker_reachable", "", "1 while a Kafka broker answers, else 0; only with `input.kind: kafka`."),
        (
            "normalizer_parity_failures",
            "",
            "Equivalent dialect spellings that the normaliser scores as errors.",
        ),
    ),
    *_counters(
        Topic.AGENT,
        ("integration", "outcome"),
        (
            "notifications_total",
            "notifications",
            "Steps of incidents: delivered, failed (a try, to be repeated), given up as refused (for its content) or "
            "dropped (queue full), superseded (a later step was sent).",
        ),
    ),
    *_gauges(
        Topic.AGENT,
        ("integration",),
        (
            "notifications_waiting",
            "notifications",
            "Steps that a receiver has not taken yet, and open alerts that could not be sent again.",
        ),
    ),
    *_gauges(
        Topic.AGENT,
        ("sha256",),
        ("config_info", "", "1, labelled with the hash of the configuration in use."),
    ),
    *_gauges(
        Topic.AGENT,
        ("version", "normalizer", "aligner"),
        ("build_info", "", "1, labelled with the versions that decide a score."),
    ),
    *_gauges(
        Topic.AGENT,
        (),
        ("collect_duration_seconds", "seconds", "Time that the previous scrape took to write."),
        ("exposition_series_max", "series", "Most series exposed; slices beyond it are left out."),
    ),
    *_gauges(
        Topic.AGENT,
        ("reason",),
        (
            "exposition_series_left_out",
            "series",
            "Series left out of this scrape: `cap` reached, or `undeclared` (a fault of ours).",
        ),
    ),
)

METRICS: tuple[Metric, ...] = (*SLICE_MOMENTS, *SLICE_DECISIONS, *DECISIONS, *OTHERS)

INTRODUCTION = """\
# Metrics

Generated from `monitor/catalog.py` by `python -m monitor.catalog`; do not edit.

All names start with `wervane_`. Counters merge over replicas, gauges do not. Word error rate and its standard
error follow from the moments, over any replicas and any window `w`, with `by` the labels that should remain:

    n  = sum by (...) (increase(wervane_slice_reference_words_total[w]))
    e  = sum by (...) (increase(wervane_slice_word_errors_total[w]))
    R  = e / n                                                         # never an average of ratios
    se = sqrt(clamp_min(see - 2 * R * sen + R^2 * snn, 0)) / n         # see, sen, snn: sums over sessions

A slice is named by `customer`, `dimension` and `group`: `dimension="accent", group="yoruba"`; an intersection
is `dimension="accent,deployment", group="yoruba,clinical"`; all traffic of a customer is
`dimension="all", group="all"`.

A slice that appears is exposed at 0 for two scrape intervals first, so that `increase()` counts its beginning. It
never runs backwards: when a correction lowers a total, the series waits until the total has caught up. Its counts
move in batches of `privacy.release_min` sessions ([privacy.md](privacy.md)).
At most `wervane_exposition_series_max` series are exposed: all traffic first, then slices named by an open
incident, then slices that were exposed before, then the most general; missing references by age come last.

Process metrics (`process_*`, `python_gc_*`) come from prometheus_client beside these.
"""

TABLE_HEAD = "| metric | kind | labels | unit | meaning |\n|---|---|---|---|---|\n"


def metrics_page(metrics: Iterable[Metric] = METRICS) -> str:
    """docs/metrics.md: one table for each topic, in the order of the catalogue."""
    by_topic: dict[Topic, list[Metric]] = {topic: [] for topic in Topic}
    for metric in metrics:
        by_topic[metric.topic].append(metric)
    parts = [INTRODUCTION]
    for topic, members in by_topic.items():
        parts.append(f"\n## {topic.value}\n\n{TABLE_HEAD}")
        parts.extend(_table_row(metric) for metric in members)
    return "".join(parts)


def _table_row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
    return f"| `{metric.full_name}` | {metric.kind} | {labels} | {metric.unit or '-'} | {metric.help} |\n"


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
