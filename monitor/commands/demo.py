"""Decides what `wervane demo` does: a generated incident, watched here or sent to a Kafka for an agent to watch."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Annotated

import typer

from monitor.commands.lifetime import ended_by_sigterm, progress_bar, stopped_by_signals
from monitor.commands.options import EXIT_NO, JsonOption, as_json


def demo(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the status page; 0 takes a free one.")] = 9464,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep what the demo writes.")] = None,
    leave: Annotated[bool, typer.Option("--exit", help="End after the incident; 0 if it was the right one.")] = False,
    json: JsonOption = False,
    to_kafka: Annotated[
        str | None,
        typer.Option(metavar="BOOTSTRAP", help="Send the traffic to the topics of this Kafka, for an agent to watch."),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=1.0, metavar="X", help="With --to-kafka: X hours in an hour [default: 3600].")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, metavar="N", help="With --to-kafka: N messages a second instead.")
    ] = None,
) -> None:
    """Watch a generated incident until it pages, or send its traffic to a Kafka."""
    _check_demo_options(to_kafka, out, leave, speed, rate)
    if to_kafka is not None:
        _demo_to_kafka(to_kafka, speed=speed, rate=rate, json=json)
        return
    from monitor import demonstration
    from monitor.adapters import logs

    def say(line: str) -> None:
        typer.echo(line, err=json)  # with --json, stdout is for the document alone

    log = logs.configure("error", "console")  # the demo says itself what happens
    stop = threading.Event()
    with stopped_by_signals(stop), progress_bar("demo") as progress:
        result = demonstration.demo(port=port, out=out, leave=leave, say=say, progress=progress, stop=stop, log=log)
    if json:
        typer.echo(as_json(result.document))
    if leave and not result.passed:
        raise typer.Exit(EXIT_NO)


def _check_demo_options(
    to_kafka: str | None, out: Path | None, leave: bool, speed: float | None, rate: float | None
) -> None:
    if to_kafka is None:
        for name, value in (("--speed", speed), ("--rate", rate)):
            if value is not None:
                raise typer.BadParameter("goes with --to-kafka", param_hint=name)
    elif out is not None or leave:
        raise typer.BadParameter("not with --to-kafka: its reader tells", param_hint="--out, --exit")
    elif speed is not None and rate is not None:
        raise typer.BadParameter("either --speed or --rate", param_hint="--rate")


def _demo_to_kafka(bootstrap: str, *, speed: float | None, rate: float | None, json: bool) -> None:
    """Exit code 4 if a topic is missing or no broker answers; SIGTERM ends it wherever it is."""
    from monitor import generating
    from monitor.adapters import logs

    logs.configure("error", "console")
    pace = generating.Pace(speed=generating.SPEED if speed is None else speed, rate=rate)
    settings = generating.generator_settings(bootstrap, os.environ)
    with ended_by_sigterm(), progress_bar("demo") as progress:
        sent = generating.generate_to_kafka(
            settings, pace=pace, say=lambda line: typer.echo(line, err=True), progress=progress
        )
    if json:
        typer.echo(as_json(sent._asdict()))
    else:
        typer.echo(f"sent {sent.transcripts:,} transcripts and {sent.references:,} references")
