"""Decides what is said of tests of the rules that could not run here: enough that nobody takes them for passed."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each thing that is missing."""
    skipped = [each for each in terminalreporter.stats.get("skipped", []) if "tests/rules/" in each.nodeid]
    if skipped:
        terminalreporter.section("NOT ALL RULES WERE TESTED", sep="!", red=True, bold=True)
        for reason in sorted({str(each.longrepr[-1]) for each in skipped if isinstance(each.longrepr, tuple)}):
            terminalreporter.line(reason, red=True)
