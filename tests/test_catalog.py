"""The catalogue is the one list of metrics: documents and code must not drift from it."""

from __future__ import annotations

import re
from pathlib import Path

from monitor.catalog import METRICS, PREFIX, MetricKind, metrics_page

ROOT = Path(__file__).parent.parent
FORBIDDEN = {"id", "speaker", "session", "utterance", "text", "hypothesis", "reference", "annotator"}


def test_docs_are_in_step() -> None:
    """docs/metrics.md is generated; `make docs` writes it again."""
    assert (ROOT / "docs/metrics.md").read_text(encoding="utf-8") == metrics_page()


def test_names_follow_the_conventions() -> None:
    """Prometheus' own lint: counters end in _total, base units, help for all; and no name twice."""
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    for metric in METRICS:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER), metric.name
        assert metric.help.endswith(".") and "\n" not in metric.help and "\\" not in metric.help
        assert not metric.name.startswith(PREFIX)
        assert not metric.name.endswith(("_ms", "_milliseconds", "_minutes", "_percent"))


def test_no_label_can_name_a_person_or_a_text() -> None:
    """Metrics leave the building: never an id, a speaker or a text, and no slice label on a histogram."""
    for metric in METRICS:
        assert not FORBIDDEN & set(metric.labels)
        if metric.kind is MetricKind.HISTOGRAM:
            assert not metric.labels, "18 lines for each slice"


def test_every_counter_of_the_code_is_declared() -> None:
    """A counter that is raised but not declared is silently left out of every scrape."""
    samples = {name for metric in METRICS for name in metric.sample_names()}
    raised = {
        name
        for path in (ROOT / "monitor").rglob("*.py")
        for name in re.findall(
            r"""count\(\s*f?["']([a-z_]+?(?:_total|_bucket|_sum|_count))\b""", path.read_text(encoding="utf-8")
        )
    }
    assert raised <= samples, f"add to catalog.py: {sorted(raised - samples)}"


LABELS = frozenset({
    "age", "aligner", "block", "bound", "customer", "dimension", "direction", "field", "group", "integration", "kind",
    "level", "normalizer", "outcome", "problem", "reason", "sha256", "side", "source", "stage", "topic", "type",
    "verdict", "version", "window",
})  # fmt: skip
"""All of them closed sets, but for customers and groups, which are bounded. No id, speaker, session, call or text."""


def test_labels_are_of_bounded_sets_and_name_nobody() -> None:
    """A label is a decision about privacy and about cost: whoever adds one reads this."""
    assert {label for metric in METRICS for label in metric.labels} <= LABELS


def test_no_histogram_has_a_slice() -> None:
    """18 lines for each slice, and a bucket of one utterance says how that one was."""
    histograms = [metric for metric in METRICS if metric.kind is MetricKind.HISTOGRAM]
    assert histograms and all(metric.labels == () for metric in histograms)
