"""Decides how a slice's numbers are asked of Prometheus: sums of numerators and denominators, never means of ratios.

Counters are summed over replicas and windows before anything is divided. Gauges do not add up; two agents that show the
same slice (a pair for availability, a rollout) count once, by `max`.
"""

from __future__ import annotations

from monitor.catalog import PREFIX

SLICE = ("customer", "dimension", "group")
Z_95 = "1.96"
"""Half the width of a 95 % interval, in standard errors."""


def increase(name: str, select: str, window: str, by: tuple[str, ...] = SLICE, before: str = "") -> str:
    """How much a counter grew in the window (that ended `before`, if given), summed over everything but `by`.

    >>> increase("tombstones_total", 'topic="t"', "1h", ("topic",))
    'sum by (topic) (increase(wervane_tombstones_total{topic="t"}[1h]))'
    """
    offset = f" offset {before}" if before else ""
    return f"{_sum(by)} (increase({PREFIX}{name}{{{select}}}[{window}]{offset}))"


def rate(name: str, select: str, by: tuple[str, ...]) -> str:
    """How fast a counter grows, per second, as smooth as the panel is wide."""
    return f"{_sum(by)} (rate({PREFIX}{name}{{{select}}}[$__rate_interval]))"


def rare(name: str, select: str, window: str) -> str:
    """How often something rare happened: 0 where it never did, and has no series."""
    return f"{increase(name, select, window, ())} or vector(0)"


def gauge(name: str, select: str, by: tuple[str, ...] = SLICE) -> str:
    """The greatest of what agents say."""
    return f"max by ({', '.join(by)}) ({PREFIX}{name}{{{select}}})"


def positive(expression: str) -> str:
    """A denominator: what has none is left out, rather than shown as not a number."""
    return f"({expression} > 0)"


def wer(select: str, window: str, by: tuple[str, ...] = SLICE, before: str = "") -> str:
    """Word error rate over the window: all errors over all reference words."""
    words = increase("slice_reference_words_total", select, window, by, before)
    return f"{increase('slice_word_errors_total', select, window, by, before)} / {positive(words)}"


def wer_error(select: str, window: str, by: tuple[str, ...] = SLICE) -> str:
    """Its standard error, with sessions as the unit: words of one speaker are not independent."""
    words = positive(increase("slice_reference_words_total", select, window, by))
    ratio = f"({wer(select, window, by)})"
    squared_errors = increase("slice_cluster_word_errors_squared_total", select, window, by)
    squared_words = increase("slice_cluster_reference_words_squared_total", select, window, by)
    products = increase("slice_cluster_word_errors_times_reference_words_total", select, window, by)
    variance = f"{squared_errors} - 2 * {ratio} * {products} + {ratio} ^ 2 * {squared_words}"
    return f"sqrt(clamp_min({variance}, 0)) / {words}"


def bound(sign: str, select: str, window: str, by: tuple[str, ...] = SLICE) -> str:
    """Lower (`-`) or upper (`+`) end of the 95 % interval of the WER."""
    return f"clamp_min({wer(select, window, by)} {sign} {Z_95} * {wer_error(select, window, by)}, 0)"


def wer_of_the_rest(all_traffic: str, slice_: str, window: str) -> str:
    """WER of all traffic without the slice, from the differences of the sums."""
    by = ("customer",)

    def rest(name: str) -> str:
        return f"({increase(name, all_traffic, window, by)} - {increase(name, slice_, window, by)})"

    return f"{rest('slice_word_errors_total')} / {positive(rest('slice_reference_words_total'))}"


def _sum(by: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"
