"""Decides which alerts exist, and in which groups they are evaluated: the one list behind rules, runbooks and tests."""

from __future__ import annotations

from monitor.alerting.declared import Alert, Group
from monitor.alerting.digests import digest_alerts
from monitor.alerting.incidents import incident_alerts
from monitor.alerting.recordings import moments_group
from monitor.alerting.signals import MARGIN, signal_alerts
from monitor.core.records import Level


def alerts(margin: float = MARGIN) -> tuple[Alert, ...]:
    """All of them, pages first, each name once."""
    every = (*incident_alerts(), *signal_alerts(margin), *digest_alerts())
    order = list(Level)
    return tuple(sorted(every, key=lambda alert: order.index(alert.severity)))


def groups(margin: float = MARGIN) -> tuple[Group, ...]:
    """Recordings first: alerts read them."""
    every = alerts(margin)
    told_at_once = tuple(alert for alert in every if alert.severity is not Level.DIGEST)
    digests = tuple(alert for alert in every if alert.severity is Level.DIGEST)
    return (
        moments_group(),
        Group(name="wervane-alerts", interval="1m", rules=told_at_once),
        Group(name="wervane-digest", interval="15m", rules=digests),
    )
