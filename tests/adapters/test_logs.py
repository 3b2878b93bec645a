"""The log: named events with keys that were decided on; whatever else is handed to it stays inside."""

from __future__ import annotations

import ast
import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import monitor
from monitor.adapters import logs

CANARY = "the patient said canary"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is the process's: leave it as it was."""
    hook, handlers, level = threading.excepthook, logging.root.handlers[:], logging.root.level
    yield
    threading.excepthook = hook
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_object_in_ascii() -> None:
    """Whatever collects logs must not be confused by a path with a line break or an escape sequence in it."""
    stream = io.StringIO()
    logs.configure("info", "json", stream).info("state_recovered", path=Path("/tmp/é\n\x1b[1m"), seconds=1.5)
    (event,) = lines(stream)
    assert stream.getvalue().isascii()
    assert (event["event"], event["level"], event["path"]) == ("state_recovered", "info", "/tmp/é\n\x1b[1m")
    assert str(event["timestamp"]).endswith("Z")


@pytest.mark.parametrize("format", ["json", "console"])
def test_what_was_not_decided_on_is_dropped(format: str) -> None:
    """No text, no speaker, no exception message, by no road: keys, event names, exceptions, objects, other loggers."""
    stream = io.StringIO()
    log = logs.configure("debug", format, stream)
    log.info("scored", text=CANARY, hypothesis=CANARY)
    log.info(CANARY)
    log.info("scored", reason={"text": CANARY}, source=[{"a": CANARY}])
    try:
        raise ValueError(CANARY)
    except ValueError as error:
        log.exception("failed")
        log.error("failed", exc_info=error, stack_info=True, exception=error)
    logging.getLogger("kafka").warning("payload %s", CANARY)
    assert "canary" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 6


def test_what_was_dropped_is_counted() -> None:
    """A developer who wonders where a key went finds the answer in the line."""
    stream = io.StringIO()
    logs.configure("info", "json", stream).info("scored", pairs=3, text=CANARY)
    (event,) = lines(stream)
    assert (event["pairs"], event["keys_dropped"]) == (3, 1)


def test_a_thread_dies_without_saying_what_it_held() -> None:
    """Python's own message would quote the exception."""
    stream = io.StringIO()
    logs.configure("info", "json", stream)

    def fail() -> None:
        raise ValueError(CANARY)

    thread = threading.Thread(target=fail, name="metrics")
    thread.start()
    thread.join()
    (event,) = lines(stream)
    assert (event["event"], event["thread"], event["exception"]) == ("thread_failed", "metrics", "ValueError")


def test_a_full_disk_does_not_stop_the_watch() -> None:
    """Logs are redirected to files, and disks fill up; watching goes on."""

    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    logs.configure("info", "json", Full()).info("started")


def test_every_key_that_is_logged_is_allowed() -> None:
    """Otherwise it would be dropped, and noticed only when it is needed."""
    unknown = [
        f"{path.name}:{node.lineno} {keyword.arg}"
        for path in Path(monitor.__file__).parent.glob("**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _is_logging(node.func)
        for keyword in node.keywords
        if keyword.arg not in logs.ALLOWED_KEYS
    ]
    assert unknown == []


def _is_logging(function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in {"debug", "info", "warning", "error"}:
        return False
    owner = function.value.attr if isinstance(function.value, ast.Attribute) else getattr(function.value, "id", "")
    return str(owner).strip("_") in {"log", "logger"}
