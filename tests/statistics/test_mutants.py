"""Statistics that are wrong on purpose do not pass: else the suite would say nothing about those that do."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.statistics.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
SUITE = (
    "tests/statistics/test_false_pages.py",
    "tests/statistics/test_power.py",
    "tests/statistics/test_coverage_of_bounds.py",
    "tests/statistics/test_bounds.py",
    "tests/statistics/test_loops.py",
    "tests/statistics/test_shares.py",
    "tests/core/test_drift.py",
    "tests/core/test_evidence.py",
    "tests/core/test_budget.py",
    "tests/core/test_units.py",
    "tests/core/test_deciding.py",
)
"""Simulations first: where one sees the mutant, no example of a rule has to."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_line_that_a_mutant_breaks_is_there_once(mutant: Mutant) -> None:
    """A mutant of a line that was rewritten would break nothing."""
    spec = find_spec(mutant.module)
    assert spec is not None and spec.origin is not None
    assert Path(spec.origin).read_text(encoding="utf-8").count(mutant.was) == 1


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    """The suite stops at the first test that fails; which one it was is printed (`pytest -s`)."""
    command = [sys.executable, str(ROOT / "tests/statistics/mutants.py"), mutant.name, *SUITE]
    options = ["-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow and not bench"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    caught = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert done.returncode == pytest.ExitCode.TESTS_FAILED and caught, done.stdout[-2000:]
    print(f"\n{mutant.name}: {caught[0]}")
