"""The first thing that a newcomer runs: two generated weeks, and one page about the right accent."""

from __future__ import annotations

import subprocess
import sys


def test_the_demo_pages_for_the_faulty_accent_and_nothing_else() -> None:
    """A rule that delays one bet can let a page name everybody: no other test plays these weeks whole."""
    command = [sys.executable, "-m", "monitor", "demo", "--exit", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert "accent=scottish" in ended.stdout
