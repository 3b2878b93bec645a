"""Decides what *Slice* shows: one slice against others and against its own past, and what it is made of."""

from __future__ import annotations

from monitor.catalog import PREFIX
from monitor.dashboards import promql
from monitor.dashboards.fairness import INCIDENTS, NAMED, SLICE_LINK, VERDICTS, verdict_of, window_variable
from monitor.dashboards.parts import (
    GREEN,
    YELLOW,
    Json,
    Row,
    band,
    bar_gauge,
    dashboard,
    dashed,
    datasource_variable,
    label_variable,
    now,
    number_variable,
    stat,
    state_timeline,
    steps,
    table,
    target,
    timeseries,
)

UID = "wervane-slice"
PAST = "28d"
"""How far back a slice's own past goes: four whole weeks, as the decider's longest window."""

SLICE = 'customer="$customer",dimension="$dimension",group="$group"'
EVERYTHING = 'customer="$customer",dimension="all"'
INSIDE = (
    'customer="$customer",dimension=~`${dimension:regex},.+|.+,${dimension:regex}`,'
    "group=~`${group:regex},.+|.+,${group:regex}`"
)
"""Intersections that the group is a part of. Between backquotes the escapes that Grafana writes stay as they are:
`c\\+\\+` between double quotes is a query that Prometheus refuses."""

BY_CUSTOMER = ("customer",)


def one_slice() -> Json:
    """Where an alert about a slice leads."""
    slices = f"{PREFIX}slice_utterances_total"
    return dashboard(
        UID,
        "wervane / Slice",
        "One slice: against others, against its own past, since when, which kinds of errors, and where inside it.",
        [
            datasource_variable(),
            label_variable("customer", "Customer", slices, several=False),
            label_variable("dimension", "Dimension", f'{slices}{{customer="$customer"}}', several=False),
            label_variable("group", "Group", f'{slices}{{customer="$customer",dimension="$dimension"}}', several=False),
            window_variable(),
            number_variable("objective", "Largest acceptable gap", "0.05"),
        ],
        [
            Row("Now", _now()),
            Row("Against others and its own past", _compared()),
            Row("What it is made of", _inside()),
            Row("Labels", _labels()),
        ],
        "now-14d",
    )


def _now() -> list[Json]:
    return [
        bar_gauge(
            "WER in windows of event time",
            "As the decider sees it, over matured sessions: what was said in the last 6 hours to 28 days.",
            "percentunit",
            now(promql.gauge("slice_wer_ratio", SLICE, ("window",)), "{{window}}"),
            decimals=1,
            min=0,
            width=8,
            height=6,
        ),
        stat(
            "Verdict",
            "disparity: a gap worth acting on. parity: a gap beyond the margin is ruled out. Not enough evidence is "
            "not good news.",
            "short",
            now(verdict_of(SLICE), ""),
            mappings=VERDICTS,
            height=6,
        ),
        stat(
            "Gap, and what is sure of it",
            "WER minus that of others with the same mix of tasks, with bounds that hold however often one looks.",
            "percentunit",
            now(promql.gauge("slice_wer_gap_lower_ratio", SLICE), "at least"),
            now(promql.gauge("slice_wer_gap_ratio", SLICE), "estimate"),
            now(promql.gauge("slice_wer_gap_upper_ratio", SLICE), "at most"),
            decimals=1,
            width=5,
            height=6,
        ),
        stat(
            "Detectable gap",
            "The smallest gap that the labels so far would show with a power of 80 %.",
            "percentunit",
            now(promql.gauge("slice_detectable_gap_ratio", SLICE), ""),
            decimals=1,
            width=3,
            height=6,
        ),
        stat(
            "Words missing",
            "Labelled words still needed for a verdict; 0 when there is one.",
            "short",
            now(promql.gauge("slice_words_missing", SLICE), ""),
            thresholds=steps((None, GREEN), (1, YELLOW)),
            width=4,
            height=6,
        ),
    ]


def _compared() -> list[Json]:
    incident_labels = (*promql.SLICE, "kind", "level", "direction")
    return [
        timeseries(
            "WER, with its interval, and that of the rest",
            "Errors over reference words in the window before each point, with the 95 % interval (sessions as units). "
            "The rest: all other traffic of the customer, whatever its mix of tasks.",
            "percentunit",
            target(promql.bound("-", SLICE, "$window", BY_CUSTOMER), "lower"),
            target(promql.wer(SLICE, "$window", BY_CUSTOMER), "this slice"),
            target(promql.bound("+", SLICE, "$window", BY_CUSTOMER), "upper"),
            target(promql.wer_of_the_rest(EVERYTHING, SLICE, "$window"), "the rest"),
            overrides=[*band("lower", "upper"), dashed("the rest", "blue")],
            decimals=1,
            min=0,
        ),
        timeseries(
            "WER, and its own past",
            f"The window before each point, beside the {PAST} before that window. A change of mix moves both of them "
            "differently: the decider compares within strata.",
            "percentunit",
            target(promql.wer(SLICE, "$window", BY_CUSTOMER), "now"),
            target(promql.wer(SLICE, PAST, BY_CUSTOMER, before="$window"), "its past"),
            overrides=[dashed("its past", "blue")],
            decimals=1,
            min=0,
        ),
        timeseries(
            "Gap, with its bounds",
            "Against others with the same mix of tasks. Above 0 with its lower bound: surely worse off. Dashed: the "
            "largest gap that you call acceptable. Empty for intersections and all traffic: they are not compared.",
            "percentunit",
            target(promql.gauge("slice_wer_gap_lower_ratio", SLICE, BY_CUSTOMER), "lower"),
            target(promql.gauge("slice_wer_gap_ratio", SLICE, BY_CUSTOMER), "gap"),
            target(promql.gauge("slice_wer_gap_upper_ratio", SLICE, BY_CUSTOMER), "upper"),
            target("vector($objective)", "objective"),
            overrides=[*band("lower", "upper"), dashed("objective")],
            decimals=1,
        ),
        timeseries(
            "Evidence of a change for the worse",
            "Natural logarithm of the mean bet that the slice left its own past. At 0 it pages, unless the budget is "
            "spent; 2.3 below, the odds are ten times less.",
            "short",
            target(promql.gauge("slice_evidence_log", SLICE, BY_CUSTOMER), "evidence"),
            target("vector(0)", "pages"),
            overrides=[dashed("pages")],
            decimals=1,
        ),
        state_timeline(
            "Verdict over time",
            "What was known when.",
            VERDICTS,
            target(verdict_of(SLICE), "verdict"),
            height=5,
        ),
        state_timeline(
            "Incidents of the customer",
            "Every slice that an incident named: an incident is told as the most general slice that explains it, which "
            "may be another than this one.",
            INCIDENTS,
            target(
                promql.gauge("slice_incident_open", 'customer="$customer"', incident_labels),
                f"{NAMED} · {{{{kind}}}} · {{{{level}}}}",
            ),
            height=5,
        ),
    ]


def _inside() -> list[Json]:
    by_type = promql.increase("slice_word_errors_total", SLICE, "$window", ("type",))
    words = promql.increase("slice_reference_words_total", SLICE, "$window", ())
    mine = promql.increase("slice_traffic_utterances_total", SLICE, "$window", BY_CUSTOMER)
    everybody = promql.increase("slice_traffic_utterances_total", EVERYTHING, "$window", BY_CUSTOMER)
    return [
        timeseries(
            "Kinds of errors",
            "Errors of each kind over reference words. More deletions: audio is lost or cut; more insertions: words "
            "are made up; more substitutions: model, microphone or normaliser.",
            "percentunit",
            target(f"{by_type} / on () group_left () {promql.positive(words)}", "{{type}}"),
            stacked=True,
            decimals=1,
            min=0,
        ),
        timeseries(
            "Share of all traffic",
            "Sampled transcripts of the slice over those of the customer. A slice that grows or shrinks changes "
            "averages without anybody being served otherwise.",
            "percentunit",
            target(f"{mine} / {promql.positive(everybody)}", "share"),
            decimals=1,
            min=0,
        ),
        table(
            "Intersections",
            "Where inside the slice it is worst: WER with its half-width (95 %) over the time range shown. Empty if "
            "the slice is an intersection itself, or none is configured for its dimension.",
            [
                ("WER", "percentunit", promql.wer(INSIDE, "$__range")),
                ("± 95 %", "percentunit", f"{promql.Z_95} * {promql.wer_error(INSIDE, '$__range')}"),
                ("Corrected utterances", "short", promql.increase("slice_utterances_total", INSIDE, "$__range")),
            ],
            [SLICE_LINK],
            {},
        ),
    ]


def _labels() -> list[Json]:
    delay = promql.increase("reference_delay_seconds_bucket", "", "$window", ("le",))
    return [
        timeseries(
            "Transcripts and corrections",
            "Sampled transcripts of the slice, and those scored against a sampled reference, in the window.",
            "short",
            target(promql.increase("slice_traffic_utterances_total", SLICE, "$window", BY_CUSTOMER), "transcripts"),
            target(promql.increase("slice_utterances_total", SLICE, "$window", BY_CUSTOMER), "corrected"),
            target(promql.increase("slice_clusters_total", SLICE, "$window", BY_CUSTOMER), "sessions corrected"),
            width=8,
            min=0,
        ),
        timeseries(
            "Transcripts without a reference, by age",
            "A band 7d+ that grows: nobody corrects this group any more. Only for groups of one dimension.",
            "short",
            target(promql.gauge("slice_references_missing_utterances", SLICE, ("age",)), "{{age}}"),
            stacked=True,
            width=8,
            min=0,
        ),
        timeseries(
            "Delay of references",
            "Event time of a reference minus that of its transcript, over all slices: how old what is known is, at "
            "best.",
            "s",
            *(
                target(f"histogram_quantile({quantile}, {promql.positive(delay)})", f"{quantile:.0%}")
                for quantile in (0.5, 0.9, 0.99)
            ),
            width=8,
            min=0,
        ),
    ]
