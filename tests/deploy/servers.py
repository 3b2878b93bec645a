"""Decides where the parts of deploy/compose.yaml run in tests: real programs in a network of their own, without Docker.

A network namespace has all its ports free, and a hosts file of its own gives every service its name there. So the files
that compose.yaml mounts are used as they are, with the addresses written in them. All of it ends with the test process.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

import pytest

PATIENCE_SECONDS = 60.0
"""How long anything may take on a busy machine before a test fails."""

_HOLDER = """
import fcntl, socket, struct, subprocess, sys
UP, FLAGS = 1, 0x8914  # IFF_UP, SIOCSIFFLAGS
fcntl.ioctl(socket.socket(), FLAGS, struct.pack("16sh14x", b"lo", UP))
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/hosts"], check=True)
print("ready", flush=True)
sys.stdin.read()
"""
"""First process of the namespaces; it ends with its standard input, and the kernel then ends all others in them."""

_ASK = """
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=10) as answer:
        print(answer.status, answer.headers.get("Content-Type", ""), answer.read().decode(), sep="\\n")
except (urllib.error.URLError, OSError) as error:
    print(0, error, "", sep="\\n")
"""

Found = TypeVar("Found")


def required(*names: str, install: str) -> str:
    """Path of the first of these programs. Without any, the test is skipped; in continuous integration it fails."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    for name in names:
        if found := shutil.which(name, path=beside):
            return found
    refused(f"{' or '.join(names)} is missing: {install}")


def refused(why: str) -> NoReturn:
    """Tests that nobody ran must not look like tests that passed."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"deploy/ must be tested here: {why}", pytrace=False)
    pytest.skip(why)


class Answer(NamedTuple):
    """What a URL gave; status 0 if nobody answered, with the reason as content type."""

    status: int
    content_type: str
    body: str

    def json(self) -> object:
        decoded: object = json.loads(self.body)
        return decoded


class Server:
    """One process on the stage; its output goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self.process = process
        self.log_path = log_path

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")


class Stage:
    """Namespaces in which every one of `names` is this machine. Needs no privilege where users may have namespaces."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        hosts = folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()} {' '.join(names)}\n")
        unshare = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        required("unshare", install="package util-linux")
        self._holder = subprocess.Popen(
            [*unshare, sys.executable, "-c", _HOLDER, str(hosts)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._holder.stdout is not None and self._holder.stderr is not None
        if self._holder.stdout.readline() != b"ready\n":
            why = self._holder.stderr.read().decode().strip()
            self.close()
            refused(f"this user may not have namespaces here: {why}")
        pid = self._holder.pid
        spaces = [f"--{name}=/proc/{pid}/ns/{path}" for name, path in _SPACES.items()]
        self._enter = ["nsenter", "--preserve-credentials", *spaces]

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Server:
        """Start a server or a program; it runs until it ends or the stage is closed."""
        log_path = self.folder / f"{name}.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [*self._enter, *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        return Server(process, log_path)

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a short command to its end."""
        return subprocess.run(
            [*self._enter, *command], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )

    def ask(self, url: str) -> Answer:
        """GET from inside."""
        done = self.run([sys.executable, "-c", _ASK, url])
        assert done.returncode == 0, done.stderr
        status, content_type, body = done.stdout.split("\n", 2)
        return Answer(int(status), content_type, body)

    def wait_for(
        self, look: Callable[[], Found], server: Server, why: str, patience_seconds: float = PATIENCE_SECONDS
    ) -> Found:
        """What `look` gives once it gives something, while the server runs."""
        deadline = time.monotonic() + patience_seconds
        while not (found := look()):
            ended = server.process.poll()
            assert ended is None and time.monotonic() < deadline, f"{why}; exit code {ended}:\n{server.log()[-3000:]}"
            time.sleep(0.1)
        return found

    def close(self) -> None:
        """End everything that was started here."""
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        try:
            self._holder.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.wait()


_SPACES = {"user": "user", "net": "net", "mount": "mnt", "pid": "pid_for_children"}


@contextmanager
def staged(folder: Path, names: Sequence[str]) -> Iterator[Stage]:
    """A stage that does not outlive the test."""
    stage = Stage(folder, names)
    try:
        yield stage
    finally:
        stage.close()
