"""Decides what *Fairness now* shows: who is worse off, by how much, how sure that is, and whether it can be trusted."""

from __future__ import annotations

from monitor.catalog import PREFIX
from monitor.dashboards import promql
from monitor.dashboards.parts import (
    GREEN,
    GREY,
    RED,
    YELLOW,
    Json,
    Row,
    band,
    bar_gauge,
    choice_variable,
    dashboard,
    dashed,
    datasource_variable,
    label_variable,
    mapping,
    now,
    number_variable,
    stat,
    state_timeline,
    steps,
    table,
    target,
    timeseries,
)

UID = "wervane-fairness"
WINDOWS = ("6h", "24h", "72h", "7d", "28d")

CUSTOMER = 'customer=~"$customer"'
GROUPS = 'customer=~"$customer",dimension=~"$dimension"'
EVERYTHING = 'customer=~"$customer",dimension="all"'
VERDICTS = mapping({1: ("parity", GREEN), 2: ("not enough evidence", GREY), 3: ("disparity", RED)})
INCIDENTS = mapping({0: ("resolved", GREEN), 1: ("open", RED)})
NAMED = "{{dimension}}={{group}}"

SLICE_LINK: Json = {
    "title": "Open this slice",
    "url": "/d/wervane-slice?var-datasource=${datasource}&var-customer=${__data.fields.customer}"
    "&var-dimension=${__data.fields.dimension}&var-group=${__data.fields.group}&${__url_time_range}",
}


def window_variable() -> Json:
    """Over how long counters are added up."""
    return choice_variable("window", "Window", WINDOWS, "24h")


def verdict_of(select: str) -> str:
    """1 parity, 2 not enough evidence, 3 disparity."""
    worth = {"parity": 1, "insufficient": 2, "disparity": 3}
    each = [f'{value} * {PREFIX}slice_verdict{{{select},verdict="{name}"}}' for name, value in worth.items()]
    return f"max by ({', '.join(promql.SLICE)}) ({' or '.join(each)})"


def fairness() -> Json:
    """The first dashboard that somebody opens."""
    return dashboard(
        UID,
        "wervane / Fairness now",
        "Is any group worse served than others or than before, by how much, how sure is it, and can the numbers be "
        "trusted?",
        [
            datasource_variable(),
            label_variable("customer", "Customer", f"{PREFIX}slice_utterances_total", several=True),
            label_variable(
                "dimension", "Dimension", f'{PREFIX}slice_utterances_total{{customer=~"$customer"}}', several=True
            ),
            window_variable(),
            number_variable("objective", "Largest acceptable gap", "0.05"),
        ],
        [
            Row("Now", _now()),
            Row("Slices", [_slices()]),
            Row("Over time", _over_time()),
            Row("Can we trust this?", _trust()),
        ],
        "now-7d",
    )


def _now() -> list[Json]:
    worst = f"topk by (customer) (1, {promql.gauge('slice_wer_gap_lower_ratio', GROUPS)})"
    by = ", ".join(promql.SLICE)
    open_by_level = (
        f'sum by (level) (max by ({by}, kind, level) ({PREFIX}slice_incident_open{{customer=~"$customer",'
        'direction="worse"})) or vector(0)'
    )
    return [
        stat(
            "Slices named by open incidents",
            "Slices that an open incident names, by level: page, ticket, digest. An incident may name several slices. "
            "0: none is open.",
            "short",
            now(open_by_level, "{{level}}"),
            thresholds=steps((None, GREEN), (1, RED)),
            width=5,
            height=6,
        ),
        bar_gauge(
            "Worst gap, with its bounds",
            "The group whose gap is surely largest: WER minus that of others with the same mix of tasks. Bounds hold "
            "at any time, however often one looks. A lower bound above 0: it is surely worse off.",
            "percentunit",
            now(worst, f"{NAMED} at least"),
            now(f"{promql.gauge('slice_wer_gap_ratio', GROUPS)} and on ({by}) {worst}", f"{NAMED} estimate"),
            now(f"{promql.gauge('slice_wer_gap_upper_ratio', GROUPS)} and on ({by}) {worst}", f"{NAMED} at most"),
            decimals=1,
            width=9,
            height=6,
        ),
        stat(
            "Groups by verdict",
            "disparity: a gap worth acting on. parity: a gap beyond the margin is ruled out. insufficient: too few "
            "labels to say either; that is not good news.",
            "short",
            now(
                f"sum by (verdict) ({promql.gauge('slice_verdict', GROUPS, (*promql.SLICE, 'verdict'))})", "{{verdict}}"
            ),
            width=6,
            height=6,
        ),
        stat(
            "WER of all traffic",
            "All errors over all reference words in the window, of corrections that were sampled; matured sessions "
            "only.",
            "percentunit",
            now(promql.wer(EVERYTHING, "$window", ("customer",)), "{{customer}}"),
            decimals=1,
            height=6,
        ),
    ]


def _slices() -> Json:
    return table(
        "Slices",
        "One row for each slice; a click on a group opens it. WER with its half-width (95 %) over the time range "
        "shown. Gap: against others of the same tasks, over the decider's horizon. Detectable: the smallest gap that "
        "the labels so far would show. Without a gap: intersections and all traffic are not compared, or nothing is "
        "comparable yet.",
        [
            ("WER", "percentunit", promql.wer(GROUPS, "$__range")),
            ("± 95 %", "percentunit", f"{promql.Z_95} * {promql.wer_error(GROUPS, '$__range')}"),
            ("Gap", "percentunit", promql.gauge("slice_wer_gap_ratio", GROUPS)),
            ("Gap at least", "percentunit", promql.gauge("slice_wer_gap_lower_ratio", GROUPS)),
            ("Corrected utterances", "short", promql.increase("slice_utterances_total", GROUPS, "$__range")),
            ("Detectable gap", "percentunit", promql.gauge("slice_detectable_gap_ratio", GROUPS)),
            ("Verdict", "short", verdict_of(GROUPS)),
            (
                "Last reference",
                "dateTimeFromNow",
                f"1000 * {promql.gauge('slice_last_reference_timestamp_seconds', GROUPS)}",
            ),
        ],
        [SLICE_LINK],
        {"Verdict": VERDICTS},
    )


def _over_time() -> list[Json]:
    by_type = promql.increase("slice_word_errors_total", EVERYTHING, "$window", ("type",))
    all_types = promql.increase("slice_word_errors_total", EVERYTHING, "$window", ())
    incident_labels = (*promql.SLICE, "kind", "level", "direction")
    return [
        timeseries(
            "Gap of each group",
            "WER of a group minus that of others with the same mix of tasks, as the decider estimates it; dashed: the "
            "largest gap that you call acceptable (variable; 0.05 is the default of `decide.margin`).",
            "percentunit",
            target(promql.gauge("slice_wer_gap_ratio", GROUPS), NAMED),
            target("vector($objective)", "objective"),
            overrides=[dashed("objective")],
            decimals=1,
        ),
        timeseries(
            "Gap that is sure",
            "Lower anytime-valid bound of each gap: above 0 the group is surely worse off, above the objective surely "
            "too much.",
            "percentunit",
            target(promql.gauge("slice_wer_gap_lower_ratio", GROUPS), NAMED),
            target("vector($objective)", "objective"),
            overrides=[dashed("objective")],
            decimals=1,
        ),
        timeseries(
            "WER of each group",
            "Errors over reference words in the window before each point, from counters that add up over agents.",
            "percentunit",
            target(promql.wer(GROUPS, "$window"), NAMED),
            decimals=1,
            min=0,
        ),
        timeseries(
            "WER of all traffic, with its interval",
            "With the 95 % interval (sessions as units). A group can double without this moving.",
            "percentunit",
            target(promql.bound("-", EVERYTHING, "$window", ("customer",)), "lower"),
            target(promql.wer(EVERYTHING, "$window", ("customer",)), "WER {{customer}}"),
            target(promql.bound("+", EVERYTHING, "$window", ("customer",)), "upper"),
            overrides=band("lower", "upper"),
            decimals=1,
            min=0,
        ),
        state_timeline(
            "Incidents",
            "Slices that an incident named, from when it opened to when it resolved, with kind and level.",
            INCIDENTS,
            target(
                promql.gauge("slice_incident_open", CUSTOMER, incident_labels),
                f"{NAMED} · {{{{kind}}}} · {{{{level}}}} · {{{{direction}}}}",
            ),
        ),
        timeseries(
            "Kinds of errors",
            "Shares of substitutions, deletions and insertions. More deletions: audio is lost or cut; more insertions: "
            "words are made up; more substitutions: model, microphone or normaliser.",
            "percentunit",
            target(f"{by_type} / on () group_left () {promql.positive(all_types)}", "{{type}}"),
            stacked=True,
            decimals=1,
            min=0,
            max=1,
        ),
    ]


def _trust() -> list[Json]:
    unlabelled = promql.increase("label_missing_utterances_total", "", "$window", ("dimension",))
    traffic = promql.increase("slice_traffic_utterances_total", 'dimension="all"', "$window", ())
    scored = promql.increase("references_total", 'outcome="scored"', "$window", ())
    all_references = promql.increase("references_total", "", "$window", ())
    return [
        stat(
            "Newest scored reference",
            "How old the newest reference of all traffic is that a WER contains. Old: corrections stopped, or do not "
            "join; everything above is then about the past.",
            "s",
            now(
                f"time() - {promql.gauge('slice_last_reference_timestamp_seconds', EVERYTHING, ('customer',))}",
                "{{customer}}",
            ),
            thresholds=steps((None, GREEN), (2 * 86400, YELLOW), (7 * 86400, RED)),
        ),
        stat(
            "References that were scored",
            "Share of the references that came in the window which found their transcript and were scored; the rest "
            "waits, repeats another or came too late.",
            "percentunit",
            now(f"{scored} / {promql.positive(all_references)}", "scored"),
            decimals=1,
        ),
        stat(
            "Budget of false pages left",
            "Of what time has granted so far. At 0 nothing new may page until time grants more; evidence is kept.",
            "percentunit",
            now(f"1 - {promql.gauge('false_page_budget_spent_ratio', CUSTOMER, ('customer',))}", "{{customer}}"),
            decimals=0,
            thresholds=steps((None, RED), (0.1, YELLOW), (0.25, GREEN)),
        ),
        stat(
            "Slices still learning",
            "Slices without a baseline of their own yet: they cannot page for drift. Their gaps are watched all the "
            "same.",
            "short",
            now(f"sum by (customer) ({promql.gauge('slice_learning', GROUPS)})", "{{customer}}"),
        ),
        stat(
            "Units too short",
            "1: utterances of different units depend on each other; evidence and intervals then promise too much. "
            "docs/units.md says what to set.",
            "short",
            now(promql.gauge("unit_too_short", CUSTOMER, ("customer",)), "{{customer}}"),
            thresholds=steps((None, GREEN), (1, RED)),
        ),
        stat(
            "Slices left out",
            "Series that did not fit under the cap of this agent's exposition: their slices are decided upon and not "
            "shown here.",
            "short",
            now(f"sum({PREFIX}exposition_series_left_out)", "series"),
            thresholds=steps((None, GREEN), (1, YELLOW)),
        ),
        timeseries(
            "Traffic without a label",
            "Share of the sampled transcripts in the window that declare no value of a dimension. A jump: a client "
            "stopped sending it, and groups look smaller than they are.",
            "percentunit",
            target(f"{unlabelled} / on () group_left () {promql.positive(traffic)}", "{{dimension}}"),
            decimals=1,
            min=0,
        ),
        timeseries(
            "Traffic of groups beyond the cap",
            "Transcripts in the window whose group is one too many (`slices.groups_max`) and counts as `_other`: such "
            "groups are watched together only.",
            "short",
            target(promql.rare("groups_folded_total", "", "$window"), "folded"),
            min=0,
        ),
        timeseries(
            "Transcripts without a reference, by age",
            "Of all traffic. A band 7d+ that grows: corrections stay away, rather than come late.",
            "short",
            target(promql.gauge("slice_references_missing_utterances", EVERYTHING, ("age",)), "{{age}}"),
            stacked=True,
            min=0,
        ),
    ]
