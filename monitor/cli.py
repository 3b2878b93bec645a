"""Decides what a person's command line asks for, and which exit code tells how it went.

Nothing heavy is imported before a command needs it: `wervane --help` must answer at once, on the smallest machine.

0 done · 1 the answer is no · 2 usage or configuration · 3 not enough evidence · 4 input, server or state cannot be
read · 70 our fault
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor import __version__
from monitor.commands.baseline import baseline
from monitor.commands.budget import budget
from monitor.commands.calibrate import calibrate
from monitor.commands.check_config import check_config
from monitor.commands.claim import claim
from monitor.commands.dashboards import dashboards
from monitor.commands.demo import demo
from monitor.commands.discover import discover
from monitor.commands.lifetime import ended_by_sigterm, instant_of, progress_bar, start_log, stopped_by_signals
from monitor.commands.notify import notify
from monitor.commands.options import (
    EXIT_INTERRUPTED,
    EXIT_OURS,
    EXIT_UNREADABLE,
    EXIT_USAGE,
    ConfigOption,
    JsonOption,
    as_json,
)
from monitor.commands.password import hash_password
from monitor.commands.plan import plan
from monitor.commands.rules import rules
from monitor.commands.topics import topics
from monitor.commands.worse import worse

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.settings_source import Problem

STAGES = ("route", "score", "decide")

PROBLEMS_SHOWN_MAX = 100
"""A file of the wrong kind may have a problem a line; the first hundred say so well enough."""

SEVERAL_VALUES = ("--transcripts", "--references")
"""Flags that a shell's glob may follow with several values."""

app = typer.Typer(
    name="wervane",
    help="Watches word error rate in live transcription traffic, per accent and per slice, "
    "and pages within a budget of false pages.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # its tracebacks print locals: transcripts
)


class SchemaName(StrEnum):
    CONFIG = "config"
    TRANSCRIPT = "transcript"
    REFERENCE = "reference"
    OUTCOME = "outcome"


# ------------------------------------------------------------------------------------------------------------ commands
def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wervane {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    config: ConfigOption = None,
    stages: Annotated[str, typer.Option(help="Stages of this process, separated by commas.")] = "route,score,decide",
) -> None:
    """Watch traffic until SIGTERM, or until a finite input ends."""
    from monitor.config import ConfigError, load_settings

    settings = load_settings(config, os.environ)
    chosen = [stage for stage in STAGES if stage in [name.strip() for name in stages.split(",")]]
    problems = list(_stage_problems(stages, settings))
    if problems:
        raise ConfigError(problems)
    log = start_log(settings)

    stop = threading.Event()
    with stopped_by_signals(stop):
        if len(chosen) == len(STAGES):
            from monitor import running

            running.run_agent(settings, stop=stop, log=log)
        else:
            from monitor.topics import stages as apart

            apart.run_stages(settings, chosen, stop=stop, log=log)


@app.command()
def replay(
    transcripts: Annotated[
        list[Path], typer.Option(metavar="PATH...", readable=False, help="JSON Lines, plain, .gz or .zst.")
    ],
    references: Annotated[
        list[Path], typer.Option(metavar="PATH...", readable=False, help="JSON Lines, plain, .gz or .zst.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results; made if absent.")],
    config: ConfigOption = None,
    now: Annotated[
        str | None, typer.Option(metavar="TS", help="Pin the clock: RFC 3339 with offset, or epoch milliseconds.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Put archives of transcripts and references through the same code."""
    from monitor.config import load_settings

    pinned = None if now is None else instant_of(now)
    settings = load_settings(config, os.environ)
    log = start_log(settings, quieter=True)

    from monitor import replaying

    with ended_by_sigterm(), progress_bar("replay") as progress:
        summary = replaying.replay(
            settings, transcripts=transcripts, references=references, out=out, now=pinned, progress=progress, log=log
        )
    if json:
        typer.echo(as_json(summary))
    else:
        _print_replay(out, summary)


app.command()(demo)
app.command()(topics)
app.command("check-config")(check_config)


@app.command()
def schema(
    name: Annotated[SchemaName | None, typer.Argument(help="Which one; all of them without.")] = None,
) -> None:
    """Print the JSON Schema of the configuration or of a message."""
    names = list(SchemaName) if name is None else [name]
    found = {str(one): _schema(one) for one in names}
    typer.echo(as_json(found if name is None else found[str(name)]))


def _schema(name: SchemaName) -> Mapping[str, object]:
    match name:
        case SchemaName.CONFIG:
            from monitor.settings_table import json_schema

            return json_schema()
        case SchemaName.TRANSCRIPT | SchemaName.REFERENCE | SchemaName.OUTCOME:
            from monitor.adapters import wire

            return wire.schema(name.value)


app.command()(budget)
app.command("hash-password")(hash_password)
app.command()(calibrate)
app.add_typer(baseline)
app.command()(plan)
app.command()(discover)
app.command()(dashboards)
app.command()(worse)
app.command()(rules)
app.add_typer(claim, name="claim")
app.add_typer(notify, name="notify")


# ---------------------------------------------------------------------------------------------------------- arguments
def spread(arguments: Sequence[str]) -> list[str]:
    """Repeat a flag before each of the values that a shell's glob put after it.

    >>> spread(["replay", "--transcripts", "a", "b", "--references", "c", "--out", "d"])
    ['replay', '--transcripts', 'a', '--transcripts', 'b', '--references', 'c', '--out', 'd']
    """
    found: list[str] = []
    flag, values = "", 0
    for position, argument in enumerate(arguments):
        if argument == "--":
            return [*found, *arguments[position:]]
        if argument.startswith("-") and argument != "-":
            name, equals, _ = argument.partition("=")
            flag, values = (name, int(bool(equals))) if name in SEVERAL_VALUES else ("", 0)
        elif flag:
            if values:
                found.append(flag)
            values += 1
        found.append(argument)
    return found


def _stage_problems(stages: str, settings: Settings) -> Iterator[Problem]:
    from monitor.settings_source import Problem

    wanted = [stage.strip() for stage in stages.split(",")]
    unknown = [stage for stage in wanted if stage not in STAGES]
    if unknown or len(set(wanted)) < len(wanted):
        yield Problem(path="--stages", got=f'"{stages}"', want="route, score and decide, each at most once")
    elif set(wanted) != set(STAGES) and settings.input.kind != "kafka":
        yield Problem(
            path="--stages",
            got=f'"{stages}" with input.kind {settings.input.kind}',
            want="all three, or input.kind kafka: stages apart need topics between them",
            example="--stages route,score,decide",
        )


# ------------------------------------------------------------------------------------------------------------- results
def _print_replay(out: Path, summary: Mapping[str, object]) -> None:
    """A few lines for a person, all of them read from the files that replay left."""
    import msgspec

    incidents = out / "incidents.jsonl"
    lines = incidents.read_bytes().splitlines() if incidents.exists() else []
    for line in lines:
        incident = msgspec.json.decode(line, type=dict[str, object])
        if incident["state"] != "updated":
            typer.echo(f"{incident['level']} {incident['state']}: {incident['summary']}")
    if not lines:
        typer.echo("no incident")
    records, pairs = summary.get("records"), summary.get("pairs")
    if isinstance(records, dict):
        taken = records["accepted"] + records["clipped"]
        typer.echo(f"{taken} messages taken, {records['rejected']} rejected, {pairs} pairs scored")
    if pairs == 0:
        typer.echo("wervane: nothing was scored, so nothing is known: see summary.json for why", err=True)
    report = out / "report.html"
    typer.echo(f"results in {out}{': open report.html' if report.exists() else ''}")


# ------------------------------------------------------------------------------------------------------- how it went
def execute(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Nothing escapes, and no message quotes what a file or message contained."""
    # Before numpy is imported: our matrices are small, so that its threads would only wait for each other, and spin as
    # they do: on two busy cores `plan` took 40 s instead of half a second, and a host's other programs would notice.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app(args=spread(arguments), prog_name="wervane")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our stdout has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:  # noqa: BLE001 - the outermost line
        return _explain(error)
    return 0


def _explain(error: Exception) -> int:
    """Sort an error by whose fault it is, and say so on stderr."""
    from monitor.config import ConfigError

    if isinstance(error, ConfigError):
        for problem in error.problems[:PROBLEMS_SHOWN_MAX]:
            typer.echo(str(problem), err=True)
        if len(error.problems) > PROBLEMS_SHOWN_MAX:
            typer.echo(f"... and {len(error.problems) - PROBLEMS_SHOWN_MAX} more", err=True)
        return EXIT_USAGE

    from monitor.adapters.access import ServeFailed
    from monitor.adapters.jsonl import InputUnreadable
    from monitor.adapters.kafka.port import LogRefused, LogUnreachable
    from monitor.adapters.store_files import StateRefused, StorageFailed

    match error:
        # Their messages name a file or address and what to do, nothing from inside a message.
        case InputUnreadable() | LogRefused() | LogUnreachable() | StateRefused() | StorageFailed() | ServeFailed():
            typer.echo(f"wervane: {error}", err=True)
            return EXIT_UNREADABLE
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            typer.echo(f"wervane: {where}{error.strerror or type(error).__name__}", err=True)
            return EXIT_UNREADABLE
        case _:
            return _our_fault(error)


def _our_fault(error: Exception) -> int:
    from monitor.adapters import logs

    frames = logs.frames_of(error)
    logs.configure().error("internal_error", exception=type(error).__name__, frames=frames, version=__version__)
    place = frames[-1] if frames else "an unknown place"
    typer.echo(
        f"wervane: internal error: {type(error).__name__} at {place}; this is our fault, "
        "please report it with the log's internal_error line",
        err=True,
    )
    return EXIT_OURS


def main() -> None:
    """The program."""
    code = execute(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
