"""Decides which browser tests look with: the system's Chromium, driven by Playwright, and axe-core from npm.

axe-core lies in the user's cache folder, complete or not at all. What is missing skips the test with a reason on a
user's machine, and fails it in continuous integration.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.deploy.servers import refused, required

AXE = "axe-core@4.14.1"
FETCH_SECONDS_MAX = 300

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
"""No sandbox: tests run as root in a container. Nothing that asks the network by itself."""


@contextmanager
def browser() -> Iterator[Browser]:
    program = required("chromium", "chromium-browser", "google-chrome", install="apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield started
        finally:
            started.close()


def axe_source() -> str:
    """axe-core as one script, fetched once through npm."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "wervane-tests"
    cache.mkdir(parents=True, exist_ok=True)
    there = cache / AXE.replace("@", "-")
    with (cache / "axe.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not there.exists():
            _fetch(there)
    return (there / "axe.min.js").read_text(encoding="utf-8")


def _fetch(there: Path) -> None:
    npm = required("npm", install="apt-get install npm")
    with tempfile.TemporaryDirectory(dir=there.parent) as folder:
        command = [npm, "install", "--prefix", folder, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", AXE]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=FETCH_SECONDS_MAX)
        except (subprocess.SubprocessError, OSError) as error:
            refused(f"npm could not fetch {AXE}: {type(error).__name__}")
        shutil.move(Path(folder) / "node_modules" / "axe-core", there)
