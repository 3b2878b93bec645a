"""Decides what people are told once a day: where nothing can be known, what vanished, what was folded or left out."""

from __future__ import annotations

from monitor.alerting.declared import Alert, Dashboard
from monitor.alerting.wording import SLICE_LABELS, asked, selecting
from monitor.core.records import Level

_ONE_WAY = 'dimension!~"all|.*,.*"'


def digest_alerts() -> tuple[Alert, ...]:
    """In no order: they are read together."""
    return (_underpowered(), _vanished(), _folded(), _labels_missing(), _left_out())


def _underpowered() -> Alert:
    words = f"min(wervane_slice_words_missing{selecting(('customer', 'dimension'))} > 0)"
    return Alert(
        name="WervaneSliceUnderpowered",
        severity=Level.DIGEST,
        labels=("customer", "dimension"),
        expression=(
            "count by (customer, dimension) (\n"
            f'  max by (customer, dimension, group) (wervane_slice_verdict{{verdict="insufficient",{_ONE_WAY}}}) == 1\n'
            '  and on (customer, dimension, group) wervane:slice_traffic_utterances:increase{window="72h"} >= 60\n)'
        ),
        hold="1d",
        keep="1d",
        summary='{{ $labels.customer }}: {{ $value | printf "%.0f" }} groups of {{ $labels.dimension }} with traffic '
        "have too few corrections for a verdict"
        + asked(words, ("customer", "dimension"), "; the nearest lacks %.0f words"),
        description=(
            "Groups with traffic have too few corrections for a verdict: neither good nor bad, unknown. `wervane "
            "plan` says how many labels it takes and where they help most."
        ),
        dashboard=Dashboard.FAIRNESS,
    )


def _vanished() -> Alert:
    traffic = f'wervane:slice_traffic_utterances:increase{{window="72h",{_ONE_WAY}}}'
    return Alert(
        name="WervaneSliceVanished",
        severity=Level.DIGEST,
        labels=SLICE_LABELS,
        # 72 h: a weekend from Friday evening to Monday morning has 63. 60 utterances before: fewer are no traffic.
        expression=f"sum by (customer, dimension, group) ({traffic} offset 72h) >= 60\n"
        f"unless sum by (customer, dimension, group) ({traffic}) > 0",
        hold="1h",
        keep="1h",
        summary="{{ $labels.customer }}: {{ $labels.dimension }}={{ $labels.group }} had "
        '{{ $value | printf "%.0f" }} utterances in 3 days and none in the 3 since',
        description=(
            "A group of speakers is not heard any more: a site closed, a label was renamed, a recogniser stopped "
            "serving them."
        ),
        dashboard=Dashboard.SLICE,
    )


def _folded() -> Alert:
    return Alert(
        name="WervaneGroupsFolded",
        severity=Level.DIGEST,
        labels=(),
        expression="sum(increase(wervane_groups_folded_total[1d])) > 0",
        hold="0s",
        keep="1d",
        summary='{{ $value | printf "%.0f" }} transcripts of a day are of groups beyond `slices.groups_max`',
        description=(
            "More distinct values than groups are kept: free text in a label, or ids. They count as `_other`. "
            "`slices.canonical` joins names."
        ),
        dashboard=Dashboard.FAIRNESS,
    )


def _labels_missing() -> Alert:
    missing = "sum by (dimension) (increase(wervane_label_missing_utterances_total[1d]))"
    traffic = 'sum(increase(wervane_slice_traffic_utterances_total{dimension="all"}[1d]))'
    return Alert(
        name="WervaneLabelMissingHigh",
        severity=Level.DIGEST,
        labels=("dimension",),
        # More is unknown than known. At a quarter, every service with optional labels is told each day what it knows.
        expression=f"100 * {missing} / on () group_left () ({traffic} >= 60) > 50",
        hold="1h",
        keep="1d",
        summary='{{ $value | printf "%.0f" }} % of a day\'s transcripts come without {{ $labels.dimension }}',
        description=(
            "More traffic is without this label than with it. What is said of groups rests on the rest, and who "
            "declares nothing may differ. A sudden rise is a page of its own (WervaneLabelsVanished)."
        ),
        dashboard=Dashboard.FAIRNESS,
    )


def _left_out() -> Alert:
    return Alert(
        name="WervaneSeriesLeftOut",
        severity=Level.DIGEST,
        labels=("job", "instance"),
        expression="sum by (job, instance) (wervane_exposition_series_left_out) > 0",
        hold="1h",
        keep="1h",
        summary='{{ $labels.instance }}: {{ $value | printf "%.0f" }} series do not fit into a scrape',
        description=(
            "Slices beyond `wervane_exposition_series_max` are not exported: rules and dashboards do not see them, "
            "the decider does. Track fewer intersections, or fewer groups."
        ),
        dashboard=Dashboard.PIPELINE,
    )
