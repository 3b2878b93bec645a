"""Decides how a summary comes to its numbers: queries that Prometheus asks when the alert is told.

A number that is not there leaves its words out; an alert is told in any case.
"""

from __future__ import annotations

SLICE_LABELS = ("customer", "dimension", "group")

SLICE = '{{ if eq $labels.dimension "all" }}all traffic{{ else }}{{ $labels.dimension }}={{ $labels.group }}{{ end }}'
"""How people know it: accent=yoruba."""


def selecting(labels: tuple[str, ...], *further: str) -> str:
    """Matchers that `asked` fills in with the alert's own labels.

    >>> selecting(("customer",), 'kind="drift"')
    '{customer=%q,kind="drift"}'
    """
    return "{" + ",".join([*(f"{name}=%q" for name in labels), *further]) + "}"


def asked(query: str, labels: tuple[str, ...], words: str, otherwise: str = "") -> str:
    """`words` with a verb of printf for the answer, if there is one.

    >>> asked("up{job=%q}", ("job",), " is %.0f")
    '{{ with printf `up{job=%q}` $labels.job | query }}{{ . | first | value | printf " is %.0f" }}{{ end }}'
    """
    return _with(_filled(query, labels), f'{{{{ . | first | value | printf "{words}" }}}}', otherwise)


def moment(query: str, labels: tuple[str, ...], before: str) -> str:
    """`before` and an instant, if there is one.

    >>> moment("time()", (), ", since ")
    '{{ with query `time()` }}, since {{ . | first | value | humanizeTimestamp }}{{ end }}'
    """
    return _with(_filled(query, labels), f"{before}{{{{ . | first | value | humanizeTimestamp }}}}")


def told(labels: tuple[str, ...], selector: str) -> str:
    """WER 22.2 %, before 11.9 %, others 12.1 %; errors x1.9 [1.4, 2.5]; gap 10.1 points [6.5, 13.7]; since ...

    selector  what the alert takes of `wervane_slice_incident_open`: its numbers have the same labels
    """

    def number(metric: str, further: str, scale: str, words: str) -> str:
        query = f"printf `max({scale}wervane_slice_incident_{metric}{{%s,{further}}})` $of | query"
        return _with(query, f'{{{{ . | first | value | printf "{words}" }}}}')

    def bounds(metric: str, scale: str, form: str) -> str:
        return number(metric, 'bound="low"', scale, f" [{form}") + number(metric, 'bound="high"', scale, f", {form}]")

    since = "printf `min(wervane_slice_incident_since_timestamp_seconds{%s})` $of | query"
    return (
        f"{{{{ $of := printf `{selecting(labels, selector)[1:-1]}` {_values(labels)} }}}}"
        + number("wer_ratio", 'side="after"', "100 * ", "WER %.1f %%")
        + number("wer_ratio", 'side="before"', "100 * ", ", before %.1f %%")
        + number("wer_ratio", 'side="rest"', "100 * ", ", others %.1f %%")
        + number("wer_change_ratio", 'bound="estimate"', "", "; errors x%.2f")
        + bounds("wer_change_ratio", "", "%.2f")
        + number("wer_gap_ratio", 'bound="estimate"', "100 * ", "; gap %.1f points")
        + bounds("wer_gap_ratio", "100 * ", "%.1f")
        + _with(since, "; since {{ . | first | value | humanizeTimestamp }}")
    )


def _filled(query: str, labels: tuple[str, ...]) -> str:
    return f"printf `{query}` {_values(labels)} | query" if labels else f"query `{query}`"


def _values(labels: tuple[str, ...]) -> str:
    return " ".join(f"$labels.{name}" for name in labels)


def _with(pipeline: str, words: str, otherwise: str = "") -> str:
    instead = f"{{{{ else }}}}{otherwise}" if otherwise else ""
    return f"{{{{ with {pipeline} }}}}{words}{instead}{{{{ end }}}}"
