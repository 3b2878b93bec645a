"""Decides who receives notifications: each configured integration, once for each of its addresses."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol

from monitor.adapters.notify.alertmanager import Alertmanager
from monitor.adapters.notify.notice import Links, Notice
from monitor.adapters.notify.pagerduty import PagerDuty
from monitor.adapters.notify.posting import Request
from monitor.adapters.notify.secrets import SecretUnfit, read_secret
from monitor.adapters.notify.slack import Slack, checked_url
from monitor.adapters.notify.webhook import Webhook
from monitor.config import ConfigError, NotifySettings
from monitor.core.records import Level
from monitor.settings_source import Problem


class Integration(Protocol):
    """One receiver.

    integration     its kind, as in metrics and logs
    levels          incidents of which levels it is told
    newest_only     of several steps of an incident that wait, only the newest is of use
    digest_hour     hour of the day (UTC) at which what is of level digest is told together; None: at once
    resend_seconds  how often what is open is told again; None: once is enough
    """

    integration: str
    levels: frozenset[Level]
    newest_only: bool
    digest_hour: int | None
    resend_seconds: float | None

    def request(self, notices: Sequence[Notice], now: float) -> Request:
        """What to post. Raises SecretUnfit."""
        ...


def integrations(settings: NotifySettings) -> dict[str, Integration]:
    """By a name that stays as long as its address does. Raises ConfigError with every file that is not fit."""
    problems: list[Problem] = []
    links = Links(settings.page_url or "", settings.runbooks_url or "")
    found: dict[str, Integration] = {}
    manager, webhook = settings.alertmanager, settings.webhook
    for url in manager.urls:
        trusted = _trusted("notify.alertmanager.ca_file", manager.ca_file, problems)
        found[_channel("alertmanager", url)] = Alertmanager(manager, url, links, trusted)
    if settings.pagerduty.routing_key_file is not None:
        found["pagerduty"] = PagerDuty(settings.pagerduty, links)
    if settings.slack.webhook_url_file is not None:
        found["slack"] = Slack(settings.slack, links, frozenset(settings.hosts))
    for url in webhook.urls:
        trusted = _trusted("notify.webhook.ca_file", webhook.ca_file, problems)
        found[_channel("webhook", url)] = Webhook(webhook, url, links, trusted)
    _check_secrets(settings, problems)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return found


def _channel(integration: str, url: str) -> str:
    return f"{integration}/{sha256(url.encode()).hexdigest()[:8]}"


def _trusted(location: str, path: str | None, problems: list[Problem]) -> ssl.SSLContext | None:
    if path is None:
        return None
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError):
        problems.append(Problem(path=location, got="a file that holds no certificates", want="PEM certificates"))
        return None


def _check_secrets(settings: NotifySettings, problems: list[Problem]) -> None:
    """Before anything starts: later, a file that is being replaced is only waited for."""
    manager, slack, hosts = settings.alertmanager, settings.slack.webhook_url_file, frozenset(settings.hosts)
    checks: tuple[tuple[str, str | None, Callable[[str], object]], ...] = (
        ("notify.alertmanager.username_file", manager.username_file if manager.urls else None, read_secret),
        ("notify.alertmanager.password_file", manager.password_file if manager.urls else None, read_secret),
        ("notify.pagerduty.routing_key_file", settings.pagerduty.routing_key_file, read_secret),
        (
            "notify.slack.webhook_url_file",
            slack,
            lambda path: checked_url(read_secret(path), hosts),
        ),
        ("notify.webhook.secret_file", settings.webhook.secret_file, read_secret),
    )
    for location, path, check in checks:
        if path is not None:
            try:
                check(path)
            except SecretUnfit as unfit:
                problems.append(Problem(path=location, got=str(unfit), want="a file with one line: the secret"))
