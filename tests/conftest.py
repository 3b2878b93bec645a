"""Decides what every test may ask for: a real broker (tests/kafka/fixtures.py); nothing starts until a test asks.

A failure is named when it happens: a run that is cut off must not take the name of what failed with it.
"""

import os

import hypothesis
import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `wervane` sets it, and before numpy is imported

# The same examples each time, on a machine of any speed; hypothesis does so by itself where CI is set.
hypothesis.settings.register_profile("wervane", deadline=None, derandomize=True)
hypothesis.settings.load_profile("wervane")

pytest.register_assert_rewrite("tests.kafka.log_contract")

pytest_plugins = ["tests.kafka.fixtures"]

_reporter: pytest.TerminalReporter | None = None


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Workers of pytest-xdist have no terminal: the process that they report to has."""
    global _reporter
    _reporter = config.pluginmanager.get_plugin("terminalreporter")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and _reporter is not None:
        _reporter.write_line(f"\nFAILED {report.nodeid} ({report.when}, {report.duration:.0f} s)", red=True)
        _reporter.write_line(report.longreprtext[-1_500:])
