"""Decides how an incident's step becomes alerts for Alertmanager's API v2, which forgets what it is not told again."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

from monitor.adapters.notify.notice import Links, Notice, facts, sentence
from monitor.adapters.notify.posting import Request
from monitor.adapters.notify.secrets import read_secret
from monitor.config import AlertmanagerSettings
from monitor.core.records import Level
from monitor.core.slicing import slice_named

EXPIRES_AFTER = 10
"""Times `notify.alertmanager.resend` that an alert lives without being sent again: 10 minutes. At half, a pod whose
volume moves to another node comes back too late, and on-call reads "resolved"; at double, alerts of an agent that is
gone stay on for longer than anybody waits."""

LABEL_CHARACTERS_MAX = 1_000
ANNOTATION_CHARACTERS_MAX = 4_000
"""Alertmanager has no limits of its own; templates and the receivers behind it do."""

PATH = "/api/v2/alerts"


class Alertmanager:
    """One Alertmanager of a cluster."""

    integration = "alertmanager"
    newest_only = True
    digest_hour: int | None = None
    """Alertmanager groups by itself."""

    def __init__(self, settings: AlertmanagerSettings, url: str, links: Links, tls: ssl.SSLContext | None) -> None:
        self.levels = frozenset(settings.levels)
        self.resend_seconds: float | None = settings.resend_seconds
        self._settings = settings
        self._url = url.rstrip("/") + PATH
        self._links = links
        self._tls = tls

    def request(self, notices: Sequence[Notice], now: float) -> Request:
        """Raises SecretUnfit."""
        expires_at = now + EXPIRES_AFTER * self._settings.resend_seconds
        alerts: list[dict[str, object]] = []
        for notice in notices:
            level = notice.told.level
            if notice.level_before is not None and notice.level_before != level:
                # Another label is another alert: the former one is over.
                alerts.append(alert(notice, self._links, level=notice.level_before, now=now, ends_at=now))
            ends_at = min(now, notice.queued_at) if notice.resolved else expires_at
            alerts.append(alert(notice, self._links, level=level, now=now, ends_at=ends_at))
        return Request(self._url, json.dumps(alerts).encode(), self._login(), self._tls)

    def _login(self) -> dict[str, str]:
        username, password = self._settings.username_file, self._settings.password_file
        if username is None or password is None:
            return {}
        login = f"{read_secret(username)}:{read_secret(password)}".encode()
        return {"Authorization": f"Basic {base64.b64encode(login).decode()}"}


def alert(notice: Notice, links: Links, *, level: Level, now: float, ends_at: float) -> dict[str, object]:
    """One alert of the API; labels are the identity, and stay while the incident does."""
    told = notice.told
    slice_ = slice_named(notice.slice)
    labels = {
        "alertname": notice.name_at(level),
        "severity": level.value,
        "service": "wervane",
        "customer": told.customer,
        "dimension": ",".join(name for name, _ in slice_) or "all",
        "group": ",".join(value for _, value in slice_) or "all",
        "kind": notice.kind.value,
        "direction": notice.direction.value,
        **({"ordinal": str(notice.ordinal)} if notice.ordinal > 1 else {}),
    }
    known = {fact.name: fact.value for fact in facts(notice, links)}
    annotations = {
        "summary": sentence(notice),
        "description": "\n".join(f"{name}: {value}" for name, value in known.items()),
        "incident": told.incident,
        "dashboard_url": links.incident(notice),
        "runbook_url": links.runbook(notice),
    }
    return {
        "labels": {name: value[:LABEL_CHARACTERS_MAX] for name, value in labels.items()},
        "annotations": {name: value[:ANNOTATION_CHARACTERS_MAX] for name, value in annotations.items() if value},
        "startsAt": _time(min(notice.fired_at, now, ends_at)),
        "endsAt": _time(ends_at),
        **({"generatorURL": links.incident(notice)} if links.page else {}),
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
