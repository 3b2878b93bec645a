"""Decides what `wervane check-config` says: problems of a configuration, or what sample messages become under it."""

from __future__ import annotations

import os
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.lifetime import instant_of
from monitor.commands.options import EXIT_NO, EXIT_USAGE, JsonOption, as_json

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.settings_source import Problem


class InputName(StrEnum):
    TRANSCRIPTS = "transcripts"
    REFERENCES = "references"


def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML configuration.", show_default=False)],
    sample: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show what these messages would become, texts included.")
    ] = None,
    topic: Annotated[str | None, typer.Option(metavar="NAME", help="With --sample: the topic they are of.")] = None,
    kind: Annotated[InputName | None, typer.Option(help="With --sample: what they are [default: transcripts].")] = None,
    now: Annotated[
        str | None, typer.Option(metavar="TS", help="With --sample: judge ages as of then, not of today.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List every problem of a configuration, environment included; or show what sample messages become."""
    import msgspec

    from monitor.adapters.access import OPEN_TO_ALL, PASSWORD_IN_CLEAR, is_open_to_all, is_password_in_clear
    from monitor.config import ConfigError, load_settings

    at = time.time() if now is None else instant_of(now)
    try:
        settings = load_settings(file, os.environ)
    except ConfigError as error:
        if not json:
            raise
        typer.echo(as_json({"ok": False, "problems": [_problem_document(one) for one in error.problems]}))
        raise typer.Exit(EXIT_USAGE) from None
    if sample is not None:
        _show_sample(settings, sample, topic, kind, at, json=json)
        return
    if topic is not None or kind is not None or now is not None:
        raise typer.BadParameter("goes with --sample", param_hint="--topic, --kind, --now")
    if json:
        document = {
            "ok": True,
            "sha256": settings.sha256,
            "settings": msgspec.to_builtins(settings),
        }
        typer.echo(as_json(document))
        return
    typer.echo(f"{file}: ok, sha256 {settings.sha256}")
    if is_open_to_all(settings.serve):
        typer.echo(f"note: serve.host {settings.serve.host}: {OPEN_TO_ALL}", err=True)
    if is_password_in_clear(settings.serve):
        typer.echo(f"note: serve.auth: {PASSWORD_IN_CLEAR}", err=True)


def _show_sample(
    settings: Settings, sample: Path, topic: str | None, kind: InputName | None, now: float, *, json: bool
) -> None:
    """Exit code 1 if a message would be rejected."""
    import msgspec

    from monitor import sample_check
    from monitor.core.records import Kind

    wanted = None if kind is None else Kind(kind.value.removesuffix("s"))
    report = sample_check.check_sample(settings, sample, topic=topic, kind=wanted, now=now)
    if json:
        typer.echo(as_json({"ok": report.ok, **msgspec.structs.asdict(report)}))
    else:
        for line in sample_check.as_text(report):
            typer.echo(line)
    if not report.ok:
        raise typer.Exit(EXIT_NO)


def _problem_document(problem: Problem) -> dict[str, str]:
    return {
        "path": problem.path,
        "got": problem.got,
        "want": problem.want,
        "example": problem.example,
        "message": str(problem),
    }
