"""Decides how a command lives: what it logs, how it shows progress, how signals end it, how an instant is given."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from monitor.config import Settings

Progress = Callable[[float, str], None]
"""Told the fraction done, 0..1, and what is being done."""


def start_log(settings: Settings, *, quieter: bool = False) -> FilteringBoundLogger:
    from monitor.adapters import logs

    level = "error" if quieter and settings.log.level == "info" else settings.log.level  # results say the rest
    return logs.configure(level, settings.log.format)


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
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


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
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
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that scratch files are removed."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def instant_of(text: str) -> float:
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
