"""Decides what Prometheus computes of the moments: WER, its standard error, and a slice's gap to the rest of the
traffic.

Intuition. Each slice exports sums over sessions as counters. Their increases over a window, added up over replicas,
are the moments of that window; a ratio and its error follow, as `core/estimators.py` has them. Of one customer, all
traffic minus the slice is the rest; for one-way slices and intersections a session belongs to one side, so their
errors add as squares.
Guarantee. Sums before ratios, never means of ratios; a replica that died counts with what it had. The lower bound is 4
standard errors below the gap, with 50 sessions on each side: under a gap of exactly the margin and no dependence beyond
sessions, a look is wrong with probability 3e-5.
Not covered. The mix: a slice that does harder tasks has a gap (the decider compares within strata). Sessions that
return under one speaker. `increase` extrapolates to the ends of the window: sums are off by at most one scrape
interval's worth.
Source. As `core/estimators.py`; Prometheus' documentation of `increase`.
"""

from __future__ import annotations

from monitor.alerting.declared import Group, Recording
from monitor.catalog import PREFIX

WINDOWS = ("6h", "24h", "72h")
"""A fault of the worst kind within a shift, an ordinary one within a day, a small slice within three."""

ERRORS_BELOW = 4
"""Standard errors between the gap and its lower bound. A look is made every 4 min over 3 windows that overlap: about
4,000 independent ones of a slice in a year; at 3, each slice that lies on the margin would ask for a ticket 5 times a
year by chance, at 4 once in 8 years; at 8 a gap needs four times the traffic."""

CLUSTERS_MIN = 50
"""Sessions on each side: below, the error itself is not known (core/estimators.py says what 25 would do)."""

_BY = "sum by (customer, dimension, group)"
_MOMENTS = {
    "reference_words": "slice_reference_words_total",
    "word_errors": "slice_word_errors_total",
    "clusters": "slice_clusters_total",
    "cluster_word_errors_squared": "slice_cluster_word_errors_squared_total",
    "cluster_reference_words_squared": "slice_cluster_reference_words_squared_total",
    "cluster_word_errors_times_reference_words": "slice_cluster_word_errors_times_reference_words_total",
}


def moments_group() -> Group:
    """Every slice and window; the label `window` says which."""
    rules: list[Recording] = [_increase("traffic_utterances", "slice_traffic_utterances_total", "72h")]
    for window in WINDOWS:
        rules += [_increase(short, counter, window) for short, counter in _MOMENTS.items()]
    rules += [_rest(short) for short in _MOMENTS]
    for side in ("slice", "rest"):
        rules += [_ratio(side), _standard_error(side)]
    rules += [_gap(), _gap_error(), _gap_lower()]
    # Units are closed at full hours: at 1m the same numbers would cost four times as much. At 5m, the
    # look-back, who asks just before the next evaluation would find nothing.
    return Group(name="wervane-moments", interval="4m", rules=tuple(rules))


def _increase(short: str, counter: str, window: str) -> Recording:
    return Recording(
        name=f"wervane:slice_{short}:increase",
        labels={"window": window},
        expression=f"{_BY} (increase({PREFIX}{counter}[{window}]))",
    )


def _rest(short: str) -> Recording:
    """All traffic of the customer without the slice. `group_left ()`: bare, it takes a parenthesis for labels."""
    name = f"wervane:slice_{short}:increase"
    without = f'{name}{{dimension!="all"}} - on (customer, window) group_left () {name}{{dimension="all"}}'
    return Recording(name=f"wervane:rest_{short}:increase", expression=f"-clamp_max({without}, 0)")


def _ratio(side: str) -> Recording:
    return Recording(
        name=f"wervane:{side}_wer:ratio",
        expression=f"wervane:{side}_word_errors:increase / (wervane:{side}_reference_words:increase > 0)",
    )


def _standard_error(side: str) -> Recording:
    """sqrt(max(0, see - 2 R sen + R^2 snn) m / (m - 1)) / n over m sessions."""
    ratio = f"wervane:{side}_wer:ratio"
    see, snn, sen = (
        f"wervane:{side}_cluster_{what}:increase"
        for what in ("word_errors_squared", "reference_words_squared", "word_errors_times_reference_words")
    )
    clusters = f"wervane:{side}_clusters:increase"
    return Recording(
        name=f"wervane:{side}_wer_standard_error:ratio",
        expression=(
            f"sqrt(\n  clamp_min({see} - 2 * {ratio} * {sen} + {ratio} ^ 2 * {snn}, 0)\n"
            f"  * {clusters} / ({clusters} - 1 > 0)\n) / (wervane:{side}_reference_words:increase > 0)"
        ),
    )


def _gap() -> Recording:
    return Recording(name="wervane:slice_wer_gap:ratio", expression="wervane:slice_wer:ratio - wervane:rest_wer:ratio")


def _gap_error() -> Recording:
    return Recording(
        name="wervane:slice_wer_gap_standard_error:ratio",
        expression="sqrt(wervane:slice_wer_standard_error:ratio ^ 2 + wervane:rest_wer_standard_error:ratio ^ 2)",
    )


def _gap_lower() -> Recording:
    enough = " and ".join(f"wervane:{side}_clusters:increase >= {CLUSTERS_MIN}" for side in ("slice", "rest"))
    return Recording(
        name="wervane:slice_wer_gap_lower:ratio",
        expression=(
            f"wervane:slice_wer_gap:ratio - {ERRORS_BELOW} * wervane:slice_wer_gap_standard_error:ratio\n  and {enough}"
        ),
    )
