"""Decides which alerts Prometheus finds by itself: a gap in the moments, blindness, references, the pipeline, coverage.

They need no decider: whatever it is that died, one of these is still there. Thresholds are of things that an operator
can mend; each says what half and double would do.
"""

from __future__ import annotations

from monitor.alerting.declared import Alert, Dashboard
from monitor.alerting.incidents import HOLD, KEEP, opened
from monitor.alerting.recordings import CLUSTERS_MIN, ERRORS_BELOW
from monitor.alerting.wording import SLICE, SLICE_LABELS, asked, moment, selecting
from monitor.core.records import Level
from monitor.core.silence import BLIND_UTTERANCES

MARGIN = 0.05
"""Default of decide.margin: `wervane rules --config` takes the one that is configured."""

_ALL = 'dimension="all"'
_OF_SLICE = selecting(SLICE_LABELS)


def signal_alerts(margin: float = MARGIN) -> tuple[Alert, ...]:
    """Quality first, then references, then the pipeline."""
    return (_blind(), _disparity_moments(margin), *_reference_alerts(), *_pipeline_alerts())


def _blind() -> Alert:
    name = "WervaneBlind"
    traffic = f"sum by (customer) (increase(wervane_slice_traffic_utterances_total{{{_ALL}}}[1d]))"
    scored = f"sum by (customer) (increase(wervane_slice_utterances_total{{{_ALL}}}[4d]))"
    before = f"sum by (customer) (wervane_slice_traffic_utterances_total{{{_ALL}}} offset 4d)"
    newest = f"sum by (customer) (changes(wervane_slice_last_reference_timestamp_seconds{{{_ALL}}}[4d]))"
    utterances = 'sum(increase(wervane_slice_traffic_utterances_total{customer=%q,dimension="all"}[1d]))'
    last = f"max(wervane_slice_last_reference_timestamp_seconds{selecting(('customer',), _ALL)})"
    return Alert(
        name=name,
        severity=Level.PAGE,
        labels=("customer",),
        # The decider's word; or, with the decider down, 4 days without a score while traffic flows (a long weekend
        # has 3) and flowed before: an agent that just began has had no time for corrections. Scores are shown in
        # batches of sessions (privacy.release_min): where there are few, a newer reference says that they come.
        expression=(
            f"{opened(name, ('customer',))}\n"
            f"or (\n  {traffic} >= {BLIND_UTTERANCES}\n  and {scored} == 0\n  and {before} > 0\n"
            f"  unless {newest} > 0\n)"
        ),
        hold=HOLD,
        keep=KEEP,
        summary="{{ $labels.customer }}: traffic flows and nobody scores it: "
        + asked(utterances, ("customer",), "%.0f utterances in the last day")
        + moment(last, ("customer",), ", newest reference of "),
        description=(
            "No transcript was compared with a reference for days, so no regression of anybody could be seen. Other"
            " alerts of this customer are held back: their numbers are old. References stopped coming, or match no "
            "transcript."
        ),
        dashboard=Dashboard.PIPELINE,
    )


def _disparity_moments(margin: float) -> Alert:
    windows = "".join(
        asked(f"max({scale}{series}{selecting(SLICE_LABELS, window)})", SLICE_LABELS, words)
        for window in ('window="72h"',)
        for scale, series, words in (
            ("100 * ", "wervane:slice_wer:ratio", "; in 72 h WER %.1f %%"),
            ("100 * ", "wervane:rest_wer:ratio", ", the rest %.1f %%"),
            ("", "wervane:slice_clusters:increase", ", %.0f sessions"),
        )
    )
    return Alert(
        name="WervaneDisparityMoments",
        severity=Level.TICKET,
        labels=SLICE_LABELS,
        expression=f"max by (customer, dimension, group) (100 * wervane:slice_wer_gap_lower:ratio) > {100 * margin:g}",
        hold="15m",
        keep="1h",
        summary=f'{{{{ $labels.customer }}}}: {SLICE}: WER is at least {{{{ $value | printf "%.1f" }}}} points above '
        f"the rest{windows}",
        description=(
            f"The WER of this slice lies above that of the rest by more than the margin. Lower bound, {ERRORS_BELOW}"
            f" standard errors below it with sessions as the unit, over 6, 24 or 72 h; {CLUSTERS_MIN} sessions on "
            "each side. Computed by Prometheus alone, so it speaks when the decider is down. Unlike the decider's "
            "gap it does not allow for the mix: who does harder tasks has one."
        ),
        dashboard=Dashboard.SLICE,
    )


# ------------------------------------------------------------------------------------------------------- references
def _reference_alerts() -> tuple[Alert, ...]:
    return (_references_stale(), _delay_high(), _match_rate_low())


def _references_stale() -> Alert:
    name = "WervaneReferencesStale"
    last = f"max(wervane_slice_last_reference_timestamp_seconds{_OF_SLICE})"
    return Alert(
        name=name,
        severity=Level.TICKET,
        labels=SLICE_LABELS,
        expression=opened(name),
        hold=HOLD,
        keep=KEEP,
        summary=f"{{{{ $labels.customer }}}}: {SLICE}: no session is corrected any more"
        + moment(last, SLICE_LABELS, "; the newest reference is of "),
        description=(
            "Sessions of this slice used to be corrected and none is, beyond chance. What is shown of it is old, and "
            "nothing new would be noticed. Usually one annotation queue or one site's sampling."
        ),
        dashboard=Dashboard.SLICE,
    )


def _delay_high() -> Alert:
    late = 'sum(increase(wervane_bound_reached_total{bound="versions_late"}[1d]))'
    scored = 'sum(increase(wervane_references_total{outcome="scored"}[1d]))'
    delay = "histogram_quantile(0.9, sum by (le) (rate(wervane_reference_delay_seconds_bucket[1d]))) / 3600"
    return Alert(
        name="WervaneReferenceDelayHigh",
        severity=Level.TICKET,
        labels=(),
        # A quarter: `labels.maturity: auto` waits for nine tenths, so a tenth is late by design; at half is everybody
        # blind.
        expression=f"100 * {late} / ({scored} >= 100) > 25",
        hold="1h",
        keep="1h",
        summary='{{ $value | printf "%.0f" }} % of a day\'s corrections came too late to be decided upon'
        + asked(delay, (), "; nine tenths come within %.0f h"),
        description=(
            "Corrections arrive after their sessions were closed (`labels.maturity`): they show in totals, yet no "
            "decision sees them. Raise `labels.maturity`, or find what holds corrections up."
        ),
        dashboard=Dashboard.PIPELINE,
    )


def _match_rate_low() -> Alert:
    waiting = "sum(delta(wervane_waiting_references[1d]))"
    expired = '(sum(increase(wervane_references_total{outcome="expired"}[1d])) or vector(0))'
    arrived = 'sum(increase(wervane_references_total{outcome=~"scored|waiting"}[1d]))'
    return Alert(
        name="WervaneReferenceMatchRateLow",
        severity=Level.TICKET,
        labels=(),
        # What came to wait and what gave up waiting, of what arrived. A tenth: a few ids never match (deleted, sampled
        # elsewhere); at a fifth a whole site may be lost, at a twentieth late transcripts ask for tickets.
        expression=f"100 * ({waiting} + {expired}) / ({arrived} >= 100) > 10",
        hold="1h",
        keep="1h",
        summary='{{ $value | printf "%.0f" }} % of a day\'s references match no transcript'
        + asked("sum(wervane_waiting_references)", (), "; %.0f are waiting"),
        description=(
            "References come whose transcripts are not there: ids that differ between the two inputs, a topic that "
            "is not read, transcripts that are late or expired (`labels.ttl`)."
        ),
        dashboard=Dashboard.PIPELINE,
    )


# --------------------------------------------------------------------------------------------------------- pipeline
def _pipeline_alerts() -> tuple[Alert, ...]:
    return (_consumer_stalled(), _records_rejected(), _records_lost(), _checkpoint_failing(), *_agent_alerts())


def _consumer_stalled() -> Alert:
    by = "by (job, instance)"
    lag = "sum(wervane_consumer_lag_records{job=%q,instance=%q})"
    return Alert(
        name="WervaneConsumerStalled",
        severity=Level.TICKET,
        labels=("job", "instance"),
        # Not a lag: a lag that shrinks is an agent at work. ROUTE has no event time of its own, hence the records.
        expression=(
            f"sum {by} (wervane_consumer_lag_records) > 0\n"
            f"and max {by} (changes(wervane_event_watermark_timestamp_seconds[15m])) == 0\n"
            f"unless sum {by} (increase(wervane_records_consumed_total[15m])) > 0\n"
            f"or max {by} (wervane_broker_reachable) == 0"
        ),
        hold="15m",
        keep="0s",
        summary="{{ $labels.instance }}: event time stands still while "
        + asked(lag, ("job", "instance"), "%.0f records wait", "the broker does not answer"),
        description=(
            "The agent reads nothing although there is something to read, or no broker answers. Decisions wait; "
            "nothing is lost while the topics keep their records."
        ),
        dashboard=Dashboard.PIPELINE,
    )


def _records_rejected() -> Alert:
    rejected = "sum by (topic) (increase(wervane_records_rejected_total[1h]))"
    consumed = "sum by (topic) (increase(wervane_records_consumed_total[1h]))"
    return Alert(
        name="WervaneRecordsRejected",
        severity=Level.TICKET,
        labels=("topic",),
        # A twentieth, and 20 at least: single bad messages are a producer's bug report; at half, every canary release
        # asks for a ticket; at double, one of ten sites may be missing.
        expression=f"100 * {rejected} / ({consumed} > 0) > 5\nand {rejected} >= 20",
        hold="15m",
        keep="15m",
        summary='{{ $value | printf "%.0f" }} % of the last hour\'s {{ $labels.topic }} records were rejected',
        description=(
            "Messages are outside the contract and are not counted; `wervane_records_rejected_total` says for which "
            "reasons, rejected.jsonl where they are. Usually a producer's release."
        ),
        dashboard=Dashboard.PIPELINE,
    )


def _records_lost() -> Alert:
    return Alert(
        name="WervaneRecordsLost",
        severity=Level.TICKET,
        labels=("topic",),
        expression="sum by (topic) (increase(wervane_input_lost_records_total[1h])) > 0",
        hold="0s",
        keep="1h",
        summary='{{ $value | printf "%.0f" }} records of {{ $labels.topic }} are gone unread',
        description=(
            "Retention deleted records before they were read, or a batch cannot be read at all. Whose they were, "
            "nobody can know: numbers of that time rest on fewer utterances."
        ),
        dashboard=Dashboard.PIPELINE,
    )


def _checkpoint_failing() -> Alert:
    by = "by (job, instance)"
    last = "max(wervane_checkpoint_last_success_timestamp_seconds{job=%q,instance=%q})"
    return Alert(
        name="WervaneCheckpointFailing",
        severity=Level.TICKET,
        labels=("job", "instance"),
        # An agent without input has nothing to write: age alone says nothing.
        expression=(
            f"min {by} (wervane_storage_ok) == 0\n"
            f"or (\n  time() - max {by} (wervane_checkpoint_last_success_timestamp_seconds) > 600\n"
            f"  and sum {by} (wervane_consumer_lag_records) > 0\n)"
        ),
        hold="5m",
        keep="5m",
        summary="{{ $labels.instance }}: the state cannot be written"
        + moment(last, ("job", "instance"), "; the last checkpoint is of "),
        description=(
            "Nothing is acknowledged or shown that is not durable, so numbers stand still and no incident is told. "
            "Disk full, volume read-only or gone."
        ),
        dashboard=Dashboard.PIPELINE,
    )


def _notifications_failing() -> Alert:
    by = "by (job, instance, integration)"
    waiting = "sum(wervane_notifications_waiting{job=%q,instance=%q,integration=%q})"
    labels = ("job", "instance", "integration")
    return Alert(
        name="WervaneNotificationsFailing",
        severity=Level.TICKET,
        labels=labels,
        # Steps wait and none was delivered; or some were given up. Single tries fail and are repeated: that is no news.
        expression=(
            f"sum {by} (wervane_notifications_waiting) > 0\n"
            f'unless sum {by} (increase(wervane_notifications_total{{outcome="delivered"}}[15m])) > 0\n'
            f'or sum {by} (increase(wervane_notifications_total{{outcome=~"refused|dropped"}}[1h])) > 0'
        ),
        hold="10m",
        keep="15m",
        summary="{{ $labels.instance }}: {{ $labels.integration }} is not told: "
        + asked(waiting, labels, "%.0f steps of incidents wait"),
        description=(
            "A receiver of direct notifications takes nothing, or refuses what it is sent. Pages may be among it; "
            "this alert comes by Prometheus, another way. A wrong or expired secret, a changed address, a firewall."
        ),
        dashboard=Dashboard.PIPELINE,
    )


def _agent_alerts() -> tuple[Alert, ...]:
    return (
        _notifications_failing(),
        Alert(
            name="WervaneConfigDiffers",
            severity=Level.TICKET,
            labels=("job",),
            expression="count by (job) (count by (job, sha256) (wervane_config_info)) > 1",
            hold="30m",
            keep="0s",
            summary='{{ $labels.job }}: replicas run with {{ $value | printf "%.0f" }} different configurations',
            description=(
                "Replicas of one job do not have the same configuration. It is read when an agent starts; half an "
                "hour after a rollout all should have the same. With different slices or hash keys their numbers do"
                " not add up."
            ),
            dashboard=Dashboard.PIPELINE,
        ),
        Alert(
            name="WervaneAgentAbsent",
            severity=Level.TICKET,
            labels=("job",),
            # absent() knows no labels; for a day the job is still known, then absent() goes on without.
            expression=(
                "count by (job) (last_over_time(wervane_build_info[1d]))\n"
                "unless on (job) count by (job) (wervane_build_info)\n"
                "or absent(wervane_build_info) unless on () count(last_over_time(wervane_build_info[1d]))"
            ),
            hold="10m",
            keep="0s",
            summary="{{ with $labels.job }}{{ . }}: {{ end }}no agent is scraped any more",
            description="No agent answers: whether anybody is recognised worse, nobody knows until one does.",
            dashboard=Dashboard.PIPELINE,
        ),
    )
