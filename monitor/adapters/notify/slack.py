"""Decides how incidents' steps become a message of Slack's incoming webhooks, within the limits of its blocks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from monitor.adapters.notify.notice import Links, Notice, clipped, facts, headline, sentence
from monitor.adapters.notify.posting import Request
from monitor.adapters.notify.secrets import SecretUnfit, read_secret
from monitor.config import SlackSettings
from monitor.core.records import Level

HOSTS = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})
HEADER_CHARACTERS_MAX = 150
SECTION_CHARACTERS_MAX = 3_000
TEXT_CHARACTERS_MAX = 4_000
"""Of the text for notifications and screen readers."""
BLOCKS_MAX = 50

MARKS = {Level.PAGE: ":rotating_light:", Level.TICKET: ":ticket:", Level.DIGEST: ":information_source:"}
RESOLVED_MARK = ":white_check_mark:"


class Slack:
    """One channel, by its incoming webhook's URL, which is the secret."""

    integration = "slack"
    newest_only = True
    resend_seconds: float | None = None

    def __init__(self, settings: SlackSettings, links: Links, hosts: frozenset[str]) -> None:
        assert settings.webhook_url_file is not None
        self.levels = frozenset(settings.levels)
        self.digest_hour: int | None = settings.digest_hour
        self._url_file = settings.webhook_url_file
        self._links = links
        self._hosts = hosts

    def request(self, notices: Sequence[Notice], now: float) -> Request:
        """One step, or the digest of several. Raises SecretUnfit."""
        url = checked_url(read_secret(self._url_file), self._hosts)
        told = message(notices[0], self._links) if len(notices) == 1 else digest(notices, self._links)
        return Request(url, json.dumps(told).encode(), {})


def checked_url(url: str, hosts: frozenset[str]) -> str:
    """Slack's own over https, or any of `notify.hosts`. Raises SecretUnfit; the URL is the secret, never quoted."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise SecretUnfit("no URL") from None
    own = parts.scheme == "https" and host in HOSTS
    if own or (parts.scheme in ("https", "http") and host in hosts):
        return url
    raise SecretUnfit("no https URL of hooks.slack.com or of a host in notify.hosts")


def message(notice: Notice, links: Links) -> dict[str, object]:
    """One step of an incident."""
    mark = RESOLVED_MARK if notice.resolved else MARKS[notice.told.level]
    lines = "\n".join(f"*{fact.name}:* {escaped(fact.value)}" for fact in facts(notice, links))
    return {
        "text": clipped(escaped(sentence(notice)), TEXT_CHARACTERS_MAX),
        "blocks": [
            _header(f"{mark} {headline(notice)}"),
            _section("plain_text", sentence(notice)),
            _section("mrkdwn", lines),
            _context(f"{notice.name}, incident {notice.told.incident}, key {notice.key}"),
        ],
    }


def digest(notices: Sequence[Notice], links: Links) -> dict[str, object]:
    """What collected since the last digest, oldest first; beyond what a message holds, how many more there were."""
    shown = notices[: BLOCKS_MAX - 3]
    blocks = [_header(f"{MARKS[Level.DIGEST]} wervane digest: {len(notices)} notes")]
    blocks += [_section("plain_text", f"{headline(notice)}\n{sentence(notice)}") for notice in shown]
    if len(notices) > len(shown):
        blocks.append(_context(f"and {len(notices) - len(shown)} more: see the status page"))
    if links.page:
        blocks.append(_context(links.page))
    return {"text": f"wervane digest: {len(notices)} notes", "blocks": blocks}


def escaped(text: str) -> str:
    """Slack's three control characters: a group's name can neither mention a channel nor make a link.

    >>> escaped("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _header(text: str) -> dict[str, object]:
    return {"type": "header", "text": {"type": "plain_text", "text": clipped(text, HEADER_CHARACTERS_MAX)}}


def _section(kind: str, text: str) -> dict[str, object]:
    return {"type": "section", "text": {"type": kind, "text": clipped(text, SECTION_CHARACTERS_MAX)}}


def _context(text: str) -> dict[str, object]:
    return {"type": "context", "elements": [{"type": "plain_text", "text": clipped(text, HEADER_CHARACTERS_MAX)}]}
