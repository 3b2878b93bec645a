"""Decides what a generic webhook is posted: each step of each incident, signed if there is a key."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Sequence

import msgspec

from monitor.adapters.notify.notice import TEST_REASON, Links, Notice, facts, headline, sentence
from monitor.adapters.notify.posting import Request
from monitor.adapters.notify.secrets import read_secret
from monitor.adapters.wire import encode_transition
from monitor.config import WebhookSettings

SCHEMA = 1


class Webhook:
    """One URL of somebody's own."""

    integration = "webhook"
    newest_only = False
    digest_hour: int | None = None
    resend_seconds: float | None = None

    def __init__(self, settings: WebhookSettings, url: str, links: Links, tls: ssl.SSLContext | None) -> None:
        self.levels = frozenset(settings.levels)
        self._url = url
        self._secret_file = settings.secret_file
        self._links = links
        self._tls = tls

    def request(self, notices: Sequence[Notice], now: float) -> Request:
        """Raises SecretUnfit."""
        (notice,) = notices
        body = document(notice, self._links)
        headers = {"X-Wervane-Delivery": notice.delivery}
        if self._secret_file is not None:
            timestamp = str(int(now))
            headers["X-Wervane-Timestamp"] = timestamp
            headers["X-Wervane-Signature"] = signature(read_secret(self._secret_file), timestamp, body)
        return Request(self._url, body, headers, self._tls)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 over the time, a dot and the body: who replays an old post cannot give it a new time."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def document(notice: Notice, links: Links) -> bytes:
    """The body: what people read, and under `transition` the line of incidents.jsonl."""
    return msgspec.json.encode(
        {
            "schema": SCHEMA,
            "key": notice.key,
            "delivery": notice.delivery,
            "alert": notice.name,
            "test": notice.told.reason == TEST_REASON,
            "headline": headline(notice),
            "sentence": sentence(notice),
            "facts": {fact.name: fact.value for fact in facts(notice, links)},
            "links": {"page": links.incident(notice) or None, "runbook": links.runbook(notice) or None},
            "transition": msgspec.Raw(encode_transition(notice.told)),
        }
    )
