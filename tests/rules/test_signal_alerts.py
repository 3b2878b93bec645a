"""Each alert that Prometheus finds by itself, by promtool: it fires with its numbers, does not, resolves."""

from __future__ import annotations

from pathlib import Path

from monitor.alerting.catalogue import alerts
from tests.rules.promtool import At, Case, Series, check
from tests.rules.test_incident_alerts import TOLD

AGENT = {"job": "wervane", "instance": "a:9464"}
SLICE = {"customer": "clinic", "dimension": "accent", "group": "yoruba"}


def labelled(name: str, **labels: str) -> str:
    """A series of the agent `a`."""
    pairs = ",".join(f'{key}="{value}"' for key, value in {**AGENT, **labels}.items())
    return f"wervane_{name}{{{pairs}}}"


def moments(clusters: str, words: str, errors: str, see: str, snn: str, sen: str, **slice_: str) -> Series:
    """The counters of one slice."""
    return {
        labelled("slice_clusters_total", **slice_): clusters,
        labelled("slice_reference_words_total", **slice_): words,
        labelled("slice_word_errors_total", type="substitution", **slice_): errors,
        labelled("slice_cluster_word_errors_squared_total", **slice_): see,
        labelled("slice_cluster_reference_words_squared_total", **slice_): snn,
        labelled("slice_cluster_word_errors_times_reference_words_total", **slice_): sen,
    }


def accent(errors: int, sessions: int = 2, steps: int = 48) -> Series:
    """Each step sessions of 100 words with `errors` +- 15; then as many with 10 +- 5, as all others have, four times as
    many, all the time."""
    n, see = sessions, errors**2 + 225
    calm = (n * 100, n * 10, n * 125, n * 10_000, n * 1000)
    bad = (n * 100, n * errors, n * see, n * 10_000, n * 100 * errors)
    totals = [value * steps for value in bad]
    words, wrong, ee, nn, en = (
        f"0+{step}x{steps} {total + after}+{after}x250" for step, total, after in zip(bad, totals, calm, strict=True)
    )
    clusters = f"0+{n}x{steps + 251}"
    rest = (400 * n, 40 * n, 500 * n, 40_000 * n, 4000 * n)
    every = [
        f"0+{step + other}x{steps} {total + other * (steps + 1) + after}+{after + other}x250"
        for step, other, total, after in zip(bad, rest, totals, calm, strict=True)
    ]
    return {
        **moments(clusters, words, wrong, ee, nn, en, **SLICE),
        **moments(f"0+{5 * n}x{steps + 251}", *every, customer="clinic", dimension="all", group="all"),
    }


GAPS = [
    Case(
        alert="WervaneDisparityMoments",
        why="a gap of 20 points for a day, then none for three",
        interval="30m",
        series=accent(30),
        at=[
            At(moment="8h"),  # 32 sessions are too few, whatever they say
            At(
                moment="24h",
                labels=SLICE,
                # 96 sessions, sd 15, and 384 with sd 5: se = sqrt((15/sqrt(95))^2 + (5/sqrt(383))^2) / 100 = .0156
                summary="clinic: accent=yoruba: WER is at least 13.8 points above the rest; in 72 h WER 30.0 %, "
                "the rest 10.0 %, 96 sessions",
            ),
            At(moment="130h"),
        ],
    ),
    Case(
        alert="WervaneDisparityMoments",
        why="a gap of 6 points is not surely beyond 5",
        interval="30m",
        series=accent(16),
        at=[At(moment="12h"), At(moment="24h"), At(moment="72h")],
    ),
]
TRAFFIC = labelled("slice_traffic_utterances_total", customer="clinic", dimension="all", group="all")
SCORED = labelled("slice_utterances_total", customer="clinic", dimension="all", group="all")
LAST = labelled("slice_last_reference_timestamp_seconds", customer="clinic", dimension="all", group="all")
HOURS = [
    Case(
        alert="WervaneBlind",
        why="without the decider: four days of traffic and no score",
        interval="1h",
        series={TRAFFIC: "0+10x300", SCORED: "0+3x24 72x120 75+3x60", LAST: "1773009000x300"},
        at=[
            At(moment="100h"),  # 24 h + 4 d are not over
            At(
                moment="125h",
                labels={"customer": "clinic"},
                summary="clinic: traffic flows and nobody scores it: 240 utterances in the last day, newest reference "
                "of 2026-03-08 22:30:00 +0000 UTC",
            ),
            At(moment="150h"),
        ],
    ),
    Case(
        alert="WervaneBlind",
        why="so few labels that scores, which are shown in batches of sessions, stand still for days",
        interval="1h",
        series={TRAFFIC: "0+10x300", SCORED: "0x300", LAST: "1773000000+3600x300"},
        at=[At(moment="125h"), At(moment="250h")],
    ),
    Case(
        alert="WervaneBlind",
        why="an agent that began two days ago, and one without traffic",
        interval="1h",
        series={
            TRAFFIC: "0+10x48",
            SCORED: "0x48",
            TRAFFIC.replace("clinic", "quiet"): "100x300",
            SCORED.replace("clinic", "quiet"): "50x300",
        },
        at=[At(moment="47h"), At(moment="200h")],
    ),
    Case(
        alert="WervaneSliceVanished",
        why="a group that nobody hears for three days",
        interval="1h",
        series={
            labelled("slice_traffic_utterances_total", **SLICE): "0+2x100 200x200",
            labelled("slice_traffic_utterances_total", **{**SLICE, "group": "rare"}): "0x10 1+1x20 21x300",
            labelled("slice_traffic_utterances_total", **{**SLICE, "group": "weekdays"}): "0+2x100 200x63 202+2x100",
        },
        at=[
            At(moment="170h"),
            At(
                moment="180h",
                labels=SLICE,
                summary="clinic: accent=yoruba had 128 utterances in 3 days and none in the 3 since",
            ),
            At(moment="260h"),
        ],
    ),
]


def pipeline(alert: str, why: str, series: Series, *at: At) -> Case:
    """Each minute."""
    return Case(alert=alert, why=why, series=series, at=at)


LAG, WATERMARK = labelled("consumer_lag_records", topic="pairs"), labelled("event_watermark_timestamp_seconds")
CONSUMED = labelled("records_consumed_total", topic="transcript", outcome="accepted")
REJECTED = labelled("records_consumed_total", topic="transcript", outcome="rejected")
WHY_REJECTED = labelled("records_rejected_total", topic="transcript", reason="syntax")
CHECKPOINT, STORAGE = labelled("checkpoint_last_success_timestamp_seconds"), labelled("storage_ok")
NOTIFIED = labelled("notifications_total", integration="pagerduty", outcome="delivered")
TRIED = NOTIFIED.replace("delivered", "failed")
OWED = labelled("notifications_waiting", integration="pagerduty")
BUILD = labelled("build_info", version="0.1.0")
OTHER = "other-0000000000"


def config(sha256: str, instance: str) -> str:
    return labelled("config_info", sha256=sha256).replace("a:9464", instance)


MINUTES = [
    pipeline(
        "WervaneConsumerStalled",
        "event time stands still for an hour while records wait, then goes on",
        {LAG: "10x9 10+5x59 0x60", WATERMARK: "0+60x9 540x59 600+60x60"},
        At(moment="35m"),
        At(moment="45m", labels=AGENT, summary="a:9464: event time stands still while 185 records wait"),
        At(moment="75m"),
    ),
    pipeline(
        "WervaneConsumerStalled",
        "an agent that works off a backlog; one without a backlog; one that routes",
        {
            LAG: "90000-100x120",
            WATERMARK: "0+60x120",
            LAG.replace("a:9464", "idle:1"): "0x120",
            WATERMARK.replace("a:9464", "idle:1"): "540x120",
            LAG.replace("a:9464", "route:1"): "500x120",
            WATERMARK.replace("a:9464", "route:1"): "0x120",
            CONSUMED.replace("a:9464", "route:1"): "0+100x120",
        },
        At(moment="40m"),
        At(moment="110m"),
    ),
    pipeline(
        "WervaneConsumerStalled",
        "no broker answers",
        {labelled("broker_reachable"): "1x9 0x39 1x60"},
        At(moment="20m"),
        At(moment="30m", labels=AGENT, summary="a:9464: event time stands still while the broker does not answer"),
        At(moment="55m"),
    ),
    pipeline(
        "WervaneRecordsRejected",
        "a tenth of an hour's transcripts, then none",
        {CONSUMED: "0+90x300", REJECTED: "0+10x120 1200x180", WHY_REJECTED: "0+10x120 1200x180"},
        At(moment="5m"),
        At(
            moment="60m",
            labels={"topic": "transcript"},
            summary="10 % of the last hour's transcript records were rejected",
        ),
        At(moment="200m"),
    ),
    pipeline(
        "WervaneRecordsRejected",
        "one in a hundred; and half of a handful",
        {
            CONSUMED: "0+99x180",
            REJECTED: "0+1x180",
            WHY_REJECTED: "0+1x180",
            CONSUMED.replace("transcript", "reference"): "0x60 1+1x9 10x110",
            WHY_REJECTED.replace("transcript", "reference"): "0x60 1+1x9 10x110",
        },
        At(moment="60m"),
        At(moment="120m"),
    ),
    pipeline(
        "WervaneRecordsLost",
        "retention was faster",
        {labelled("input_lost_records_total", topic="transcripts", problem="retention"): "0x30 400x200"},
        At(moment="30m"),
        At(moment="90m", labels={"topic": "transcripts"}, summary="400 records of transcripts are gone unread"),
        At(moment="155m"),
    ),
    pipeline(
        "WervaneCheckpointFailing",
        "the disk is full for half an hour",
        {STORAGE: "1x9 0x29 1x40", CHECKPOINT: "0+60x9 540x29 2400+60x40"},
        At(moment="12m"),
        At(
            moment="16m",
            labels=AGENT,
            summary="a:9464: the state cannot be written; the last checkpoint is of 1970-01-01 00:09:00 +0000 UTC",
        ),
        At(moment="46m"),
    ),
    pipeline(
        "WervaneCheckpointFailing",
        "records wait and no checkpoint comes",
        {STORAGE: "1x80", CHECKPOINT: "0x80", LAG: "7x80"},
        At(moment="14m"),
        At(
            moment="17m",
            labels=AGENT,
            summary="a:9464: the state cannot be written; the last checkpoint is of 1970-01-01 00:00:00 +0000 UTC",
        ),
    ),
    pipeline(
        "WervaneCheckpointFailing",
        "nothing to write down",
        {STORAGE: "1x80", CHECKPOINT: "0x80", LAG: "0x80"},
        At(moment="30m"),
        At(moment="75m"),
    ),
    pipeline(
        "WervaneConfigDiffers",
        "a rollout that stopped half-way, and went on",
        {config("one", "a:1"): "1x120", config("one", "b:1"): "1x9 _x59 1x60", config("two", "b:1"): "_x10 1x58 _x60"},
        At(moment="35m"),
        At(
            moment="45m",
            labels={"job": "wervane"},
            summary="wervane: replicas run with 2 different configurations",
        ),
        At(moment="90m"),
    ),
    pipeline(
        "WervaneConfigDiffers",
        "replicas of one configuration, and another job with its own",
        {
            config("one", "a:1"): "1x90",
            config("one", "b:1"): "1x90",
            config("x", "c:1").replace('wervane"', OTHER + '"'): "1x90",
        },
        At(moment="45m"),
        At(moment="85m"),
    ),
    pipeline(
        "WervaneAgentAbsent",
        "the only agent is gone, and comes back",
        {BUILD: "1x9 _x39 1x60"},
        At(moment="12m"),
        At(moment="30m", labels={"job": "wervane"}, summary="wervane: no agent is scraped any more"),
        At(moment="60m"),
    ),
    pipeline(
        "WervaneAgentAbsent",
        "nobody ever was there",
        {'up{job="prometheus"}': "1x60"},
        At(moment="5m"),
        At(moment="20m", labels={}, summary="no agent is scraped any more"),
    ),
    pipeline(
        "WervaneAgentAbsent",
        "one replica of two is restarted elsewhere",
        {BUILD: "1x10 _x60", BUILD.replace("a:9464", "b:1"): "1x80"},
        At(moment="25m"),
        At(moment="60m"),
    ),
    pipeline(
        "WervaneNotificationsFailing",
        "PagerDuty takes nothing for an hour, then all of it",
        {NOTIFIED: "3x70 6x60", TRIED: "0+2x70 140x60", OWED: "0x9 2x59 0x60"},
        At(moment="15m"),
        At(
            moment="30m",
            labels={**AGENT, "integration": "pagerduty"},
            summary="a:9464: pagerduty is not told: 2 steps of incidents wait",
        ),
        At(moment="90m"),
    ),
    pipeline(
        "WervaneNotificationsFailing",
        "a busy webhook with tries that fail, and a Slack that refuses",
        {
            NOTIFIED.replace("pagerduty", "webhook"): "0+5x90",
            TRIED.replace("pagerduty", "webhook"): "0+5x90",
            OWED.replace("pagerduty", "webhook"): "1x90",
            NOTIFIED.replace("pagerduty", "slack"): "0+1x90",
            NOTIFIED.replace("pagerduty", "slack").replace("delivered", "refused"): "0x20 1x70",
            OWED.replace("pagerduty", "slack"): "0x90",
        },
        At(moment="20m"),
        At(
            moment="35m",
            labels={**AGENT, "integration": "slack"},
            summary="a:9464: slack is not told: 0 steps of incidents wait",
        ),
    ),
    pipeline(
        "WervaneSeriesLeftOut",
        "slices beyond the cap, then a smaller configuration",
        {
            labelled("exposition_series_left_out", reason="cap"): "40x99 0x120",
            labelled("exposition_series_left_out", reason="undeclared"): "0x220",
        },
        At(moment="50m"),
        At(moment="90m", labels=AGENT, summary="a:9464: 40 series do not fit into a scrape"),
        At(moment="165m"),
    ),
]
DELAY = [labelled("reference_delay_seconds_bucket", le=le) for le in ("86400", "172800", "+Inf")]
ARRIVED = labelled("references_total", outcome="scored", source="sampled")
WAITED = labelled("references_total", outcome="waiting", source="sampled")
EXPIRED = labelled("references_total", outcome="expired", source="sampled")
WAITING = labelled("waiting_references")
HALF_HOURS = [
    Case(
        alert="WervaneReferenceDelayHigh",
        why="four of ten corrections come late for two days, then none",
        interval="30m",
        series={
            labelled("bound_reached_total", bound="versions_late"): "0+4x96 384x140",
            ARRIVED: "0+10x240",
            DELAY[0]: "0+6x240",
            DELAY[1]: "0+10x240",
            DELAY[2]: "0+10x240",
        },
        at=[
            At(moment="60m"),
            At(
                moment="30h",
                labels={},
                # nine tenths: three quarters of the way from 24 h to 48 h
                summary="40 % of a day's corrections came too late to be decided upon; nine tenths come within 42 h",
            ),
            At(moment="75h"),
        ],
    ),
    Case(
        alert="WervaneReferenceDelayHigh",
        why="a tenth is late by design; and few corrections are no rate",
        interval="30m",
        series={
            labelled("bound_reached_total", bound="versions_late"): "0+1x400",
            labelled("bound_reached_total", bound="versions_late").replace("a:9464", "b:1"): "0x400",
            ARRIVED: "0+10x400",
        },
        at=[At(moment="12h"), At(moment="60h")],
    ),
    Case(
        alert="WervaneReferenceMatchRateLow",
        why="a site's ids match nothing for two days",
        interval="30m",
        series={ARRIVED: "0+8x240", WAITED: "0x1 2+2x94 190x140", WAITING: "0x1 2+2x94 190x140"},
        at=[
            At(moment="30m"),
            At(moment="40h", labels={}, summary="20 % of a day's references match no transcript; 158 are waiting"),
            At(moment="75h"),
        ],
    ),
    Case(
        alert="WervaneReferenceMatchRateLow",
        why="one in twenty for ever, old ones expiring; and references that come minutes before their transcripts",
        interval="30m",
        series={
            ARRIVED: "0+19x240",
            WAITED: "0+12x240",
            WAITING: "400x240",
            EXPIRED: "0+1x240",
        },
        at=[At(moment="30h"), At(moment="100h")],
    ),
    Case(
        alert="WervaneLabelMissingHigh",
        why="six of ten come without an accent, then few",
        interval="30m",
        series={
            labelled("label_missing_utterances_total", dimension="accent"): "0+6x66 396x200",
            labelled("label_missing_utterances_total", dimension="site"): "0+4x270",
            TRAFFIC: "0+10x270",
        },
        at=[
            At(moment="60m"),
            At(
                moment="30h",
                labels={"dimension": "accent"},
                summary="60 % of a day's transcripts come without accent",
            ),
            At(moment="90h"),
        ],
    ),
    Case(
        alert="WervaneGroupsFolded",
        why="a label with too many values for a while",
        interval="30m",
        series={labelled("groups_folded_total"): "0x6 5+5x8 45x170"},
        at=[
            At(moment="3h"),
            At(
                moment="10h",
                labels={},
                summary="45 transcripts of a day are of groups beyond `slices.groups_max`",
            ),
            At(moment="60h"),
        ],
    ),
]


def verdict(group: str) -> str:
    return labelled("slice_verdict", verdict="insufficient", customer="clinic", dimension="accent", group=group)


def traffic(group: str) -> str:
    return labelled("slice_traffic_utterances_total", customer="clinic", dimension="accent", group=group)


HOURS.append(
    Case(
        alert="WervaneSliceUnderpowered",
        why="two groups with traffic and without a verdict, until there are labels; one is hardly heard",
        interval="1h",
        series={
            verdict("yoruba"): "1x100 0x100",
            verdict("welsh"): "1x100 0x100",
            verdict("rare"): "1x200",
            verdict("known"): "0x200",
            **{traffic(group): "0+5x200" for group in ("yoruba", "welsh", "known")},
            traffic("rare"): "0x50 1x150",
            labelled("slice_words_missing", **SLICE): "9000x200",
            labelled("slice_words_missing", **{**SLICE, "group": "welsh"}): "4000x200",
            labelled("slice_words_missing", **{**SLICE, "group": "known"}): "0x200",
        },
        at=[
            At(moment="30h"),
            At(
                moment="60h",
                labels={"customer": "clinic", "dimension": "accent"},
                summary="clinic: 2 groups of accent with traffic have too few corrections for a verdict; the nearest "
                "lacks 4000 words",
            ),
            At(moment="130h"),
        ],
    )
)


def test_every_alert_has_a_unit_test() -> None:
    """Here or with the incidents: one without has never fired before the night it is needed."""
    tested = {case.alert for cases in (GAPS, HOURS, MINUTES, HALF_HOURS) for case in cases}
    assert tested | set(TOLD) == {alert.name for alert in alerts()}


def test_alerts_of_minutes(tmp_path: Path) -> None:
    """The pipeline: each fires with its numbers, does not for what looks like it, resolves."""
    check(MINUTES, tmp_path)


def test_alerts_of_a_day(tmp_path: Path) -> None:
    """References and labels, likewise."""
    check(HALF_HOURS, tmp_path)


def test_alerts_of_several_days(tmp_path: Path) -> None:
    """Blindness without the decider, groups that vanish or are too small, likewise."""
    check(HOURS, tmp_path)


def test_the_lower_bound_of_a_gap_from_moments_alone(tmp_path: Path) -> None:
    """The ticket that works with the decider down: surely beyond the margin, by the numbers, or not at all."""
    check(GAPS, tmp_path)
