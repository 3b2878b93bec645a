"""Decides what a person's command line asks for, and which exit code tells how it went.

Nothing heavy is imported before a command needs it: `wervane --help` must answer at once, on the smallest machine.

0 done · 1 the answer is no · 2 usage or configuration · 3 not enough evidence · 4 input, server or state cannot be
read · 70 our fault
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from monitor import __version__
from monitor.commands.baseline import baseline
from monitor.commands.budget import budget
from monitor.commands.calibrate import calibrate
from monitor.commands.claim import claim
from monitor.commands.dashboards import dashboards
from monitor.commands.discover import discover
from monitor.commands.notify import notify
from monitor.commands.options import (
    EXIT_INTERRUPTED,
    EXIT_NO,
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
from monitor.commands.worse import worse

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from monitor.config import Settings
    from monitor.settings_source import Problem

STAGES = ("route", "score", "decide")

PROBLEMS_SHOWN_MAX = 100
"""A file of the wrong kind may have a problem a line; the first hundred say so well enough."""

SEVERAL_VALUES = ("--transcripts", "--references")
"""Flags that a shell's glob may follow with several values."""

Progress = Callable[[float, str], None]
"""Told the fraction done, 0..1, and what is being done."""

app = typer.Typer(
    name="wervane",
    help="Watches word error rate in live transcription traffic, per accent and per slice, "
    "and pages within a budget of false pages.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # its tracebacks print locals: transcripts
)


class TopicsAction(StrEnum):
    CREATE = "create"
    CHECK = "check"


class SchemaName(StrEnum):
    CONFIG = "config"
    TRANSCRIPT = "transcript"
    REFERENCE = "reference"
    OUTCOME = "outcome"


class InputName(StrEnum):
    TRANSCRIPTS = "transcripts"
    REFERENCES = "references"


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
    log = _start_log(settings)

    stop = threading.Event()
    with _stopped_by_signals(stop):
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

    pinned = None if now is None else _instant(now)
    settings = load_settings(config, os.environ)
    log = _start_log(settings, quieter=True)

    from monitor import replaying

    with _ended_by_sigterm(), _progress_bar("replay") as progress:
        summary = replaying.replay(
            settings, transcripts=transcripts, references=references, out=out, now=pinned, progress=progress, log=log
        )
    if json:
        typer.echo(as_json(summary))
    else:
        _print_replay(out, summary)


@app.command()
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
    with _stopped_by_signals(stop), _progress_bar("demo") as progress:
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
    with _ended_by_sigterm(), _progress_bar("demo") as progress:
        sent = generating.generate_to_kafka(
            settings, pace=pace, say=lambda line: typer.echo(line, err=True), progress=progress
        )
    if json:
        typer.echo(as_json(sent._asdict()))
    else:
        typer.echo(f"sent {sent.transcripts:,} transcripts and {sent.references:,} references")


@app.command()
def topics(
    action: Annotated[TopicsAction, typer.Argument(help="Make those of ours that are missing, or only look.")],
    config: ConfigOption = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Of the pairs and outcomes topics; 12 when they are made.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make or check the Kafka topics: partitions, retention, compaction, sizes; exit 1 if one is not fit."""
    from monitor.adapters.kafka import topics as kafka_topics
    from monitor.adapters.kafka.connection import read_connection
    from monitor.config import ConfigError, load_settings
    from monitor.settings_source import Problem

    settings = load_settings(config, os.environ)
    if settings.input.kind != "kafka":
        want = "kafka: other inputs have no topics"
        raise ConfigError([Problem(path="input.kind", got=settings.input.kind, want=want)])
    _start_log(settings, quieter=True)
    connection = read_connection(settings.kafka)
    if action is TopicsAction.CREATE:
        report = kafka_topics.create(connection, settings, partitions=partitions or kafka_topics.PARTITIONS_DEFAULT)
    else:
        report = kafka_topics.check(connection, settings, partitions=partitions)
    if json:
        typer.echo(as_json(report.document()))
    for line in () if json else report.lines():
        typer.echo(line)
    if not report.fit:
        raise typer.Exit(EXIT_NO)


@app.command("check-config")
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

    at = time.time() if now is None else _instant(now)
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


def _instant(text: str) -> float:
    if text.isascii() and text.isdigit() and len(text) <= 16:
        return int(text) / 1000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        want = "want RFC 3339 with an offset or epoch milliseconds, e.g. 2026-03-08T12:06:00Z"
        raise typer.BadParameter(want, param_hint="--now")
    return at.timestamp()


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
def _problem_document(problem: Problem) -> dict[str, str]:
    return {
        "path": problem.path,
        "got": problem.got,
        "want": problem.want,
        "example": problem.example,
        "message": str(problem),
    }


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


@contextlib.contextmanager
def _progress_bar(what: str) -> Iterator[Progress]:
    """A bar on stderr if that is a terminal, else silence."""
    if not sys.stderr.isatty():
        yield lambda _fraction, _doing: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda fraction, doing: bar.update(task, completed=fraction, description=f"{what}: {doing}")


# ------------------------------------------------------------------------------------------------------- how it went
def _start_log(settings: Settings, *, quieter: bool = False) -> FilteringBoundLogger:
    from monitor.adapters import logs

    level = "error" if quieter and settings.log.level == "info" else settings.log.level  # results say the rest
    return logs.configure(level, settings.log.format)


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and Ctrl-C set `stop`; a second one ends the process at once, as state is safe at every moment."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that scratch files are removed."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
