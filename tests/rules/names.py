"""Decides which metrics a PromQL expression names: ours, by their prefixes; and which of ours are declared."""

from __future__ import annotations

import re

from monitor.alerting.catalogue import groups
from monitor.alerting.declared import Recording
from monitor.catalog import METRICS, PREFIX

_NAME = re.compile(r"\bwervane(?:_[a-z0-9_]+|:[a-z0-9_:]+)")


def named(text: str) -> set[str]:
    """Metrics of ours.

    >>> sorted(named('sum(wervane_storage_ok) / wervane:slice_wer:ratio{job="wervane"}'))
    ['wervane:slice_wer:ratio', 'wervane_storage_ok']
    """
    return set(_NAME.findall(text))


def declared() -> set[str]:
    """What the agent exports, and what the rules record."""
    exported = {PREFIX + sample for metric in METRICS for sample in metric.sample_names()}
    return exported | {rule.name for group in groups() for rule in group.rules if isinstance(rule, Recording)}
