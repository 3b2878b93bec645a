"""Decides what `wervane notify test` says: whether each configured receiver takes a test event and its end."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

import typer

from monitor.commands.options import EXIT_UNREADABLE, ConfigOption, JsonOption, as_json

if TYPE_CHECKING:
    from monitor.adapters.notify.integrations import Integration
    from monitor.adapters.notify.notice import Notice

notify = typer.Typer(
    help="See whether receivers of notifications can be reached.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

HINTS = {
    "secret_unfit": "the file of its secret cannot be used",
    "name_not_found": "its name is not known here: a typing error, or no DNS",
    "address_refused": "its name leads to a link-local address, which is never asked",
    "connection_refused": "nobody listens at this address",
    "timeout": "no answer in time: a firewall, or the wrong port",
    "certificate_refused": "its certificate is not trusted: set ca_file, or SSL_CERT_FILE for PagerDuty and Slack",
    "tls_failed": "it does not speak TLS as we do: http:// instead of https://, or a very old server",
    "redirect": "redirects are not followed: configure the address that it leads to",
    "status_400": "it does not take the event: for PagerDuty, is it an Events API v2 key of 32 characters?",
    "status_401": "user or password are wrong",
    "status_403": "the secret is not valid, or not for this",
    "status_404": "there is nothing at this path, or the webhook was deleted",
    "status_429": "too many messages: try again later",
}


class Tried(NamedTuple):
    """What became of one receiver's test."""

    integration: str
    host: str
    ok: bool
    reason: str
    seconds: float

    def line(self) -> str:
        where = f"{self.integration} ({self.host})" if self.host else self.integration
        if self.ok:
            return f"{where}: ok, a test event and its end taken in {self.seconds:.1f} s"
        hint = HINTS.get(self.reason)
        return f"{where}: not delivered: {self.reason}" + (f" ({hint})" if hint else "")


@notify.callback()
def _root() -> None:
    """More than one command, so that `test` keeps its name."""


@notify.command()
def test(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Send a test event and its end to each configured receiver; exit 4 if one does not take them."""
    from monitor.adapters.notify.integrations import integrations
    from monitor.config import ConfigError, load_settings
    from monitor.settings_source import Problem

    settings = load_settings(config, os.environ)
    receivers = integrations(settings.notify)
    if not receivers:
        want = "at least one integration to test"
        raise ConfigError([Problem(path="notify", got="nothing", want=want, example="notify.slack.webhook_url_file")])
    tried = [_try(receiver) for receiver in receivers.values()]
    if json:
        typer.echo(as_json([one._asdict() for one in tried]))
    for one in () if json else tried:
        typer.echo(one.line())
    if not all(one.ok for one in tried):
        raise typer.Exit(EXIT_UNREADABLE)


def _try(receiver: Integration) -> Tried:
    from urllib.parse import urlsplit

    from monitor.adapters.notify.posting import Unreachable, post
    from monitor.adapters.notify.secrets import SecretUnfit

    began, host = time.monotonic(), ""

    def tried(ok: bool, reason: str) -> Tried:
        return Tried(receiver.integration, host, ok, reason, time.monotonic() - began)

    for notice in _steps():
        try:
            request = receiver.request([notice], time.time())
            host = urlsplit(request.url).hostname or ""
            answer = post(request)
        except SecretUnfit:
            return tried(False, "secret_unfit")
        except Unreachable as unreachable:
            return tried(False, unreachable.reason)
        if 300 <= answer.status < 400:
            return tried(False, "redirect")
        if not 200 <= answer.status < 300:
            return tried(False, f"status_{answer.status}")
    return tried(True, "")


def _steps() -> list[Notice]:
    """A test event of the least level, and its end, which is told in any case if the event was."""
    from monitor.adapters.notify.notice import TEST_REASON, Notice, dedup_key
    from monitor.core.records import Direction, IncidentKind, IncidentState, Level, Transition

    now = time.time()
    key = dedup_key("wervane", IncidentKind.OVERALL, Direction.WORSE, "test")

    def notice(state: IncidentState) -> Notice:
        told = Transition(
            incident="test",
            at=now,
            state=state,
            level=Level.DIGEST,
            kind=IncidentKind.OVERALL,
            direction=Direction.WORSE,
            customer="wervane",
            slices=("all",),
            wer=None,
            wer_before=None,
            wer_rest=None,
            gap=None,
            gap_low=None,
            gap_high=None,
            pairs=0,
            evidence=0.0,
            reason=TEST_REASON,
            summary="this is a test of notifications (wervane notify test); nothing is wrong",
        )
        return Notice(
            key=key,
            kind=told.kind,
            direction=told.direction,
            slice="all",
            fired_at=now,
            level_before=None,
            told=told,
            queued_at=now,
        )

    return [notice(IncidentState.FIRING), notice(IncidentState.RESOLVED)]
