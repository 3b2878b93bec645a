"""Decides how tests run Alertmanager with the shipped configuration: as it is, or with its receivers filled in."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import monitor
from tests.deploy.servers import PATIENCE_SECONDS, required

ROOT = Path(monitor.__file__).parent.parent
CONFIGURATION = ROOT / "deploy/alertmanager/alertmanager.yml"
PACKAGE = "package prometheus-alertmanager"

Found = TypeVar("Found")


def filled_in(text: str) -> str:
    """The receivers that are examples in comments, without their comment signs."""
    head, receivers, tail = text.partition("\nreceivers:\n")
    return head + receivers + re.sub(r"^    # ", "    ", tail, flags=re.MULTILINE)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_for(look: Callable[[], Found], why: Callable[[], str], patience_seconds: float = PATIENCE_SECONDS) -> Found:
    """What `look` gives once it gives something."""
    deadline = time.monotonic() + patience_seconds
    while not (found := look()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)
    return found


def asked(url: str, body: object = None) -> object:
    """GET, or POST of a JSON document; None while nobody answers."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as refusal:
        if refusal.code != 503:  # a server that says it is not ready yet
            raise
        return None
    except (urllib.error.URLError, OSError):
        return None
    try:
        decoded: object = json.loads(text)
    except ValueError:
        return text
    return decoded


@contextmanager
def server(command: Sequence[str], log_path: Path, ready: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers at `ready`, until the end of the block."""
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=log_path.parent)
    try:
        wait_for(lambda: process.poll() is not None or asked(ready) is not None, lambda: log_path.read_text()[-3000:])
        assert process.poll() is None, log_path.read_text()[-3000:]
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def alertmanager(folder: Path, configuration: Path) -> Iterator[str]:
    """Its address."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        required("prometheus-alertmanager", "alertmanager", install=PACKAGE),
        f"--config.file={configuration}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with server(command, folder / "alertmanager.log", f"http://{address}/-/ready"):
        yield address
