"""Decides what may be written to the log: named events with keys from a closed list, never text, ids or frame locals.

One JSON object a line on stderr (or `key=value` for people). An exception is logged by its type and the places it went
through; its message is left out, as messages of parse errors quote what they could not parse.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import sys
import threading
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

ALLOWED_KEYS = frozenset({
    # what structlog adds
    "event", "level", "timestamp",
    # who we are
    "version", "config_sha256", "python", "pid", "stages", "aligner", "normalizer", "profile", "partition",
    # where: files and addresses from the configuration, never from a message
    "path", "address", "source", "topic", "file", "logger", "thread",
    # how much
    "bytes", "count", "pairs", "records", "accepted", "clipped", "rejected", "references", "transcripts", "pending",
    "incidents", "limit", "position", "offset", "sequence", "generation", "failing",
    # when and how long, seconds
    "at", "seconds", "waited_seconds", "watermark", "hour",
    # why: closed sets
    "reason", "kind", "outcome", "signal", "exception", "frames", "recovered", "input_kind",
    # decisions; names of slices and customers are metrics' labels already
    "customer", "incident", "slice", "slices", "state", "verdict", "evidence", "summary", "direction", "priority",
    "model", "integration",
    # of this module
    "keys_dropped", "parameter",
})  # fmt: skip
"""Anything else is dropped and counted in `keys_dropped`: a new key is a decision about privacy, made here."""

VALUE_CHARACTERS_MAX = 400
"""The longest value of ours is an incident's summary of about 200 characters; twice that is room to grow."""

LIBRARY_SECONDS = 60.0
LIBRARIES_MAX = 1_000
"""Loggers of libraries that are told apart in time."""

_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: str = "info", format: str = "json", stream: TextIO | None = None) -> FilteringBoundLogger:
    """Set up logging for the process and return its logger.

    Messages of other libraries are counted by their logger's name and level only; theirs quote payloads (and, at DEBUG,
    kafka's passwords).
    """
    output = stream if stream is not None else sys.stderr
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_allowed,
            _for_people
            if format == "console"
            else structlog.processors.JSONRenderer(ensure_ascii=True, sort_keys=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Unbreakable(output))),
        cache_logger_on_first_use=False,
    )
    logger: FilteringBoundLogger = structlog.get_logger()
    logging.basicConfig(handlers=[_LibraryHandler(logger)], level=logging.WARNING, force=True)
    threading.excepthook = _ThreadHook(logger)
    return logger


def only_allowed(_logger: object, _method: str, event: EventDict) -> MutableMapping[str, object]:
    """Drop what may not be logged; what is left is short and flat."""
    kept: dict[str, object] = {key: event[key] for key in ("timestamp", "level", "event") if key in event}
    dropped = 0
    for key, value in event.items():
        if key not in ALLOWED_KEYS:
            dropped += 1
        elif key == "event":
            kept[key] = value if isinstance(value, str) and _EVENT.fullmatch(value) else "unnamed_event"
        else:
            kept[key] = _flat(value)
    if dropped:
        kept["keys_dropped"] = dropped
    return kept


def frames_of(error: BaseException) -> list[str]:
    """Where an exception came through, outermost first: `pipeline.py:120 feed`. No locals, no source, no message."""
    summary = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in summary][-20:]


def _flat(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return value if len(value) <= VALUE_CHARACTERS_MAX else f"{value[:VALUE_CHARACTERS_MAX]}..."
        case list() | tuple():
            return [_flat(item) if isinstance(item, str | int | float) else type(item).__name__ for item in value[:20]]
        case Path():
            return str(value)
        case _:
            return type(value).__name__


def _for_people(_logger: object, _method: str, event: EventDict) -> str:
    """`2026-03-08T12:06:00Z info state_recovered path="..."`: values as JSON, so that none can steer the terminal."""
    first = f"{event.pop('timestamp', '')} {event.pop('level', ''):<7} {event.pop('event', '')}"
    return " ".join([first, *(f"{key}={json.dumps(value)}" for key, value in event.items())])


class _Unbreakable:
    """A log that cannot be written (disk full, reader gone) is no reason to stop watching."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        try:
            return self._stream.write(line)
        except (OSError, ValueError):  # ValueError: the stream was closed
            return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class _LibraryHandler(logging.Handler):
    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__()
        self._logger = logger
        self._said: dict[tuple[str, str], tuple[float, int]] = {}
        """When a message of this logger and level was last told of, and how many came since."""

    def emit(self, record: logging.LogRecord) -> None:
        """Of one logger and level once a minute: in an outage a client writes ten a second."""
        kind = (record.name, record.levelname.lower())
        told_at, held_back = self._said.get(kind, (-math.inf, 0))
        if record.created < told_at + LIBRARY_SECONDS:
            self._said[kind] = (told_at, held_back + 1)
            return
        if len(self._said) < LIBRARIES_MAX or kind in self._said:
            self._said[kind] = (record.created, 0)
        self._logger.warning("library_message", logger=kind[0], kind=kind[1], count=held_back + 1)


class _ThreadHook:
    """A thread's last words, without the message and the source lines that Python itself would print."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger

    def __call__(self, last: threading.ExceptHookArgs) -> None:
        error: BaseException | None = last.exc_value
        name = last.thread.name if last.thread is not None else None
        frames = frames_of(error) if error is not None else []
        self._logger.error("thread_failed", thread=name, exception=last.exc_type.__name__, frames=frames)
