"""Decides what *Pipeline* shows: whether traffic and references arrive, are read and join, and the agent is well."""

from __future__ import annotations

from monitor.catalog import PREFIX
from monitor.dashboards import promql
from monitor.dashboards.parts import (
    GREEN,
    RED,
    YELLOW,
    Json,
    Row,
    dashboard,
    datasource_variable,
    label_variable,
    mapping,
    now,
    stat,
    state_timeline,
    steps,
    target,
    timeseries,
)

UID = "wervane-pipeline"
AGENT = 'job=~"$job",instance=~"$instance"'
INSTANCE = ("instance",)


def pipeline() -> Json:
    """Is it us?"""
    return dashboard(
        UID,
        "wervane / Pipeline",
        "Do transcripts and references arrive, are they read, do they join, and is the agent well? Counters in records "
        "a second; what is rare over the last day.",
        [
            datasource_variable(),
            label_variable("job", "Job", f"{PREFIX}build_info", several=True),
            label_variable("instance", "Instance", f'{PREFIX}build_info{{job=~"$job"}}', several=True),
        ],
        [
            Row("Now", _now()),
            Row("Input", _input()),
            Row("Transcripts and references", _pairing()),
            Row("State", _state()),
            Row("Notifications", _notifications()),
            Row("The agent itself", _agent()),
        ],
        "now-24h",
    )


def _now() -> list[Json]:
    well = mapping({0: ("no", RED), 1: ("yes", GREEN)})
    well_steps = steps((None, RED), (1, GREEN))
    return [
        stat(
            "Scraped",
            "Whether Prometheus reaches the agent. Nothing on this page is newer than that.",
            "short",
            now('min by (instance) (up{job=~"$job",instance=~"$instance"})', "{{instance}}"),
            mappings=well,
            thresholds=well_steps,
        ),
        stat(
            "Behind event time",
            "Wall clock minus the event time up to which records are processed. It grows while nothing arrives and "
            "while nothing is read: the lag says which.",
            "s",
            now(f"time() - min by (instance) ({PREFIX}event_watermark_timestamp_seconds{{{AGENT}}})", "{{instance}}"),
            thresholds=steps((None, GREEN), (4 * 3600, YELLOW), (86400, RED)),
        ),
        stat(
            "State can be written",
            "no: nothing new is acknowledged or shown, and what was durable is served on.",
            "short",
            now(f"min by (instance) ({PREFIX}storage_ok{{{AGENT}}})", "{{instance}}"),
            mappings=well,
            thresholds=well_steps,
        ),
        stat(
            "Last checkpoint",
            "How long ago the state was last made durable. After a crash, what came since is read again.",
            "s",
            now(
                f"time() - min by (instance) ({PREFIX}checkpoint_last_success_timestamp_seconds{{{AGENT}}})",
                "{{instance}}",
            ),
            thresholds=steps((None, GREEN), (300, YELLOW), (900, RED)),
        ),
        stat(
            "Broker answers",
            "Whether a Kafka broker answers; only with `input.kind: kafka`.",
            "short",
            now(f"min by (instance) ({PREFIX}broker_reachable{{{AGENT}}})", "{{instance}}"),
            mappings=well,
            thresholds=well_steps,
        ),
        stat(
            "Normaliser's own check",
            "Equivalent spellings of dialects that the normaliser scores as errors; more than 0 is a fault of ours.",
            "short",
            now(f"max by (instance) ({PREFIX}normalizer_parity_failures{{{AGENT}}})", "{{instance}}"),
            thresholds=steps((None, GREEN), (1, RED)),
        ),
    ]


def _input() -> list[Json]:
    return [
        timeseries(
            "Messages",
            "Read from each input, by how they ended.",
            "reqps",
            target(promql.rate("records_consumed_total", AGENT, ("topic", "outcome")), "{{topic}} {{outcome}}"),
            width=8,
            min=0,
        ),
        timeseries(
            "Rejected, by reason",
            "Messages outside the contract in the last day. `wervane schema` says what is accepted; rejected.jsonl or "
            "the topic of dead letters says where each lies.",
            "short",
            target(promql.increase("records_rejected_total", AGENT, "1d", ("topic", "reason")), "{{topic}} {{reason}}"),
            width=8,
            min=0,
        ),
        timeseries(
            "Clipped, by field",
            "Fields that were repaired or dropped in the last day. A label that is dropped is `unknown`.",
            "short",
            target(promql.increase("fields_clipped_total", AGENT, "1d", ("field",)), "{{field}}"),
            width=8,
            min=0,
        ),
        timeseries(
            "Lag",
            "Records of a topic that are there and not read yet. A lag that shrinks is catching up; one that stays "
            "while the watermark stands still is a consumer that hangs.",
            "short",
            target(f"sum by (topic) ({PREFIX}consumer_lag_records{{{AGENT}}})", "{{topic}}"),
            width=8,
            min=0,
        ),
        timeseries(
            "Event time processed",
            "How far behind the wall clock event time is.",
            "s",
            target(
                f"time() - min by (instance) ({PREFIX}event_watermark_timestamp_seconds{{{AGENT}}})", "{{instance}}"
            ),
            width=8,
        ),
        timeseries(
            "Lost or unreadable",
            "In the last day: records that retention deleted unread or that lie in a batch nobody can read, and files "
            "or lines that are no records at all. Each is named in the log.",
            "short",
            target(promql.rare("input_lost_records_total", AGENT, "1d"), "lost records"),
            target(promql.rare("input_problems_total", AGENT, "1d"), "unreadable files or lines"),
            width=8,
            min=0,
        ),
        timeseries(
            "Logs between stages",
            "Records of the topics between ROUTE, SCORE and DECIDE. `repeated` were sent twice and dropped; `refused` "
            "and `foreign` should not occur.",
            "reqps",
            target(promql.rate("log_records_total", AGENT, ("topic", "outcome")), "{{topic}} {{outcome}}"),
            min=0,
        ),
        timeseries(
            "Partitions",
            "Partitions that each stage has open, and how many records are left until a state that is made again from "
            "the log is as far as it was.",
            "short",
            target(f"sum by (stage) ({PREFIX}partitions_assigned{{{AGENT}}})", "{{stage}} partitions"),
            target(f"sum by (stage) ({PREFIX}state_behind_records{{{AGENT}}})", "{{stage}} records behind"),
            min=0,
        ),
    ]


def _pairing() -> list[Json]:
    everything = f'{AGENT},dimension="all"'
    return [
        timeseries(
            "Traffic, and what of it is scored",
            "Sampled transcripts of each customer in the last day, and those that a WER contains. Traffic without "
            "anything scored: nobody can say how the recogniser does.",
            "short",
            target(
                promql.increase("slice_traffic_utterances_total", everything, "1d", ("customer",)),
                "{{customer}} transcripts",
            ),
            target(promql.increase("slice_utterances_total", everything, "1d", ("customer",)), "{{customer}} scored"),
            width=8,
            min=0,
        ),
        timeseries(
            "Newest scored reference",
            "How old the newest reference of each customer is that was scored. It grows while corrections stay away.",
            "s",
            target(
                f"time() - {promql.gauge('slice_last_reference_timestamp_seconds', everything, ('customer',))}",
                "{{customer}}",
            ),
            width=8,
        ),
        timeseries(
            "Transcripts, by fate",
            "held: followed until its reference comes; sampled_out: not followed; duplicate, replaced, conflict: sent "
            "again.",
            "reqps",
            target(promql.rate("transcripts_total", AGENT, ("outcome",)), "{{outcome}}"),
            width=8,
            min=0,
        ),
        timeseries(
            "References, by fate",
            "scored: joined its transcript; waiting: its transcript has not come; superseded: a newer revision won; "
            "expired: nobody sent the transcript.",
            "reqps",
            target(promql.rate("references_total", AGENT, ("outcome", "source")), "{{source}} {{outcome}}"),
            width=8,
            min=0,
        ),
        timeseries(
            "Ran out of time, or folded",
            "In the last day: transcripts whose time for a correction ran out, and transcripts of groups beyond "
            "`slices.groups_max`, which count as `_other`.",
            "short",
            target(promql.rare("references_missing_total", AGENT, "1d"), "never corrected"),
            target(promql.rare("groups_folded_total", AGENT, "1d"), "folded into _other"),
            width=8,
            min=0,
        ),
        timeseries(
            "Held",
            "Transcripts that wait for their reference, and references that wait for their transcript.",
            "short",
            target(f"sum({PREFIX}pending_utterances{{{AGENT}}})", "transcripts"),
            target(f"sum({PREFIX}waiting_references{{{AGENT}}})", "references"),
            width=8,
            min=0,
        ),
        timeseries(
            "Interim results and erasures",
            "In the last day: interim results of streaming recognisers, which are passed over, and requests to erase "
            "an utterance.",
            "short",
            target(promql.rare("partials_total", AGENT, "1d"), "interim"),
            target(promql.rare("tombstones_total", AGENT, "1d"), "erasures"),
            width=8,
            min=0,
        ),
        timeseries(
            "Delay of references",
            "Event time of a reference minus that of its transcript, of those that came in the last day.",
            "s",
            *(
                target(
                    f"histogram_quantile({quantile}, "
                    f"{promql.positive(promql.increase('reference_delay_seconds_bucket', AGENT, '1d', ('le',)))})",
                    f"{quantile:.0%}",
                )
                for quantile in (0.5, 0.9)
            ),
            width=8,
            min=0,
        ),
    ]


def _state() -> list[Json]:
    return [
        timeseries(
            "Size of what is held",
            "Bytes of held transcripts and references.",
            "bytes",
            target(f"sum by (instance) ({PREFIX}pending_bytes{{{AGENT}}})", "{{instance}}"),
            width=8,
            min=0,
        ),
        timeseries(
            "Sampling bound",
            "Upper bound of the sampling probability that the storage budget sets: below 1, more came than could be "
            "held.",
            "percentunit",
            target(f"min by (instance) ({PREFIX}sampling_ceiling_ratio{{{AGENT}}})", "{{instance}}"),
            width=8,
            min=0,
            max=1,
        ),
        timeseries(
            "Storage budget reached",
            "In the last day: times that the threshold was lowered, and held transcripts that were dropped for it.",
            "short",
            target(promql.rare("storage_budget_reached_total", AGENT, "1d"), "times"),
            target(promql.rare("storage_budget_dropped_total", AGENT, "1d"), "dropped"),
            width=8,
            min=0,
        ),
        timeseries(
            "Bounds reached",
            "In the last day: records that came too late to be decided upon, and things let go because a buffer was "
            "full.",
            "short",
            target(promql.increase("bound_reached_total", AGENT, "1d", ("bound",)), "{{bound}}"),
            min=0,
        ),
        timeseries(
            "Kept for decisions",
            "Customers, open utterances, closed cells and watched slices.",
            "short",
            target(f"sum by (kind) ({PREFIX}held_items{{{AGENT}}})", "{{kind}}"),
            min=0,
        ),
    ]


def _notifications() -> list[Json]:
    sent = promql.increase("notifications_total", AGENT, "1d", ("integration", "outcome"))
    waiting = f"sum by (integration) ({PREFIX}notifications_waiting{{{AGENT}}})"
    return [
        timeseries(
            "Steps of incidents, by what became of them",
            "In the last day, by receiver. failed: a try that is repeated; refused, dropped: given up. 0 and no name "
            "where no receiver is configured.",
            "short",
            target(f"{sent} or on () vector(0)", "{{integration}} {{outcome}}"),
            min=0,
        ),
        timeseries(
            "Waiting to be sent",
            "Steps that a receiver has not taken yet. 0 and no name where no receiver is configured.",
            "short",
            target(f"{waiting} or on () vector(0)", "{{integration}}"),
            min=0,
        ),
    ]


def _agent() -> list[Json]:
    return [
        timeseries(
            "Memory",
            "Resident memory of the process.",
            "bytes",
            target(f"max by (instance) (process_resident_memory_bytes{{{AGENT}}})", "{{instance}}"),
            width=8,
            min=0,
        ),
        timeseries(
            "Processor",
            "Processor cores that the agent keeps busy.",
            "short",
            target(f"sum by (instance) (rate(process_cpu_seconds_total{{{AGENT}}}[$__rate_interval]))", "{{instance}}"),
            width=8,
            min=0,
        ),
        timeseries(
            "Time to write a scrape",
            "Of the previous one. It is spent on the core of whatever the agent runs beside.",
            "s",
            target(f"max by (instance) ({PREFIX}collect_duration_seconds{{{AGENT}}})", "{{instance}}"),
            width=8,
            min=0,
        ),
        timeseries(
            "Series left out",
            "`cap`: more slices than `wervane_exposition_series_max` allows; `undeclared`: a fault of ours.",
            "short",
            target(f"sum by (reason) ({PREFIX}exposition_series_left_out{{{AGENT}}})", "{{reason}}"),
            width=8,
            min=0,
        ),
        state_timeline(
            "Version",
            "Which versions ran when: scores of different normalisers are not compared.",
            mapping({1: ("runs", GREEN)}),
            target(
                f"max by (version, normalizer, aligner) ({PREFIX}build_info{{{AGENT}}})",
                "{{version}} · {{normalizer}} · {{aligner}}",
            ),
            width=8,
        ),
        state_timeline(
            "Configuration",
            "Which configuration ran when, by its hash.",
            mapping({1: ("in use", GREEN)}),
            target(f"max by (sha256) ({PREFIX}config_info{{{AGENT}}})", "{{sha256}}"),
            width=8,
        ),
    ]
