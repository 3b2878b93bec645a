"""Decides how an incident's step becomes an event of PagerDuty's Events API v2, within its limits."""

from __future__ import annotations

import json
from collections.abc import Sequence

from monitor.adapters.instants import instant
from monitor.adapters.notify.notice import Links, Notice, clipped, facts, sentence
from monitor.adapters.notify.posting import Request
from monitor.adapters.notify.secrets import read_secret
from monitor.config import PagerdutySettings
from monitor.core.records import Level

HOSTS = {"us": "events.pagerduty.com", "eu": "events.eu.pagerduty.com"}
SEVERITIES = {Level.PAGE: "critical", Level.TICKET: "warning", Level.DIGEST: "info"}
SUMMARY_CHARACTERS_MAX = 1_024
DETAIL_CHARACTERS_MAX = 1_024
"""Ours, so that an event stays far below PagerDuty's 512 KB."""


class PagerDuty:
    """One service of PagerDuty's, by its routing key."""

    integration = "pagerduty"
    newest_only = True
    digest_hour: int | None = None
    resend_seconds: float | None = None

    def __init__(self, settings: PagerdutySettings, links: Links) -> None:
        assert settings.routing_key_file is not None
        self.levels = frozenset(settings.levels)
        self._key_file = settings.routing_key_file
        self._url = settings.url or f"https://{HOSTS[settings.region]}/v2/enqueue"
        self._links = links

    def request(self, notices: Sequence[Notice], now: float) -> Request:
        """Raises SecretUnfit."""
        (notice,) = notices
        fields: dict[str, object] = {"routing_key": read_secret(self._key_file), **event(notice, self._links)}
        return Request(self._url, json.dumps(fields).encode(), {})


def event(notice: Notice, links: Links) -> dict[str, object]:
    """The event without its routing key. A `resolve` needs the key alone; the rest is for PagerDuty's own log."""
    told = notice.told
    runbook = links.runbook(notice)
    found = [("Status page", links.incident(notice)), ("Runbook", runbook)]
    return {
        "event_action": "resolve" if notice.resolved else "trigger",
        "dedup_key": notice.key,
        "payload": {
            "summary": clipped(sentence(notice), SUMMARY_CHARACTERS_MAX),
            "source": clipped(told.customer, DETAIL_CHARACTERS_MAX),
            "severity": SEVERITIES[told.level],
            "timestamp": instant(told.at),
            "component": clipped(", ".join(told.slices), DETAIL_CHARACTERS_MAX),
            "group": clipped(told.customer, DETAIL_CHARACTERS_MAX),
            "class": notice.name,
            "custom_details": {
                **{fact.name: clipped(fact.value, DETAIL_CHARACTERS_MAX) for fact in facts(notice, links)},
                "Incident": told.incident,
            },
        },
        "client": "wervane",
        **({"client_url": links.incident(notice)} if links.page else {}),
        "links": [{"href": address, "text": text} for text, address in found if address],
    }
