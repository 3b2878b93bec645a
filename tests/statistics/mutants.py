"""Statistics that are wrong on purpose: which line is broken, and a runner that lets tests meet it.

    PYTHONPATH=. .venv/bin/python tests/statistics/mutants.py NAME [pytest's arguments]

The module is loaded with the line replaced, in this process only; files stay as they are.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import NamedTuple

import pytest


class Mutant(NamedTuple):
    """`was` stands once in the module's source."""

    name: str
    module: str
    was: str
    becomes: str


ALARM = """        if (found := mean(self.evidence)) >= 1.0:
            self.evidence = NO_EVIDENCE
            return Alarm.WORSE, found
"""

MUTANTS = (
    Mutant(
        "the baseline follows the drift",
        "monitor.core.drift",
        ALARM,
        """        part = unit[0]
        seen = 0.95 * self.baseline.rates[part.stratum] + 0.05 * part.errors / part.words
        self.baseline = Baseline({**self.baseline.rates, part.stratum: seen}, rho, scale)
"""
        + ALARM,
    ),
    Mutant(
        "evidence is not reset after an alarm",
        "monitor.core.drift",
        ALARM,
        ALARM.replace("            self.evidence = NO_EVIDENCE\n", ""),
    ),
    Mutant("an alarm at half the evidence", "monitor.core.drift", ALARM, ALARM.replace("1.0", "0.5")),
    Mutant(
        "the baseline's own error is not priced in",
        "monitor.core.drift",
        "rho = max(1.0 + settings.tolerance, 1.0 + t_quantile(0.95, m - 1) * error)",
        "rho = 1.0",
    ),
    Mutant(
        "strata that were never seen are bet on at the slice's mean rate",
        "monitor.core.drift",
        "rate = self.rates.get(part.stratum)",
        "rate = self.rates.get(part.stratum, sum(self.rates.values()) / max(len(self.rates), 1))",
    ),
    Mutant(
        "money is taken once a unit is known to be bad",
        "monitor.core.drift",
        "if not expected > 0:",
        "if not expected > 0 or errors <= expected:",
    ),
    Mutant(
        "stakes are chosen after the errors are known",
        "monitor.core.evidence",
        "lambda_max = RUIN * scale / (rho * expected * reach)",
        "lambda_max = RUIN * scale / (rho * expected * reach) if gain > 0 else 0.0",
    ),
    Mutant(
        "a unit may lose more than there is",
        "monitor.core.evidence",
        "lambda_max = RUIN * scale / (rho * expected * reach)",
        "lambda_max = STAKES[-1]",
    ),
    Mutant(
        "every slice has the budget to itself",
        "monitor.core.budget",
        "return earned * SHARES[depth] / slices if slices else 0.0",
        "return earned * SHARES[depth] if slices else 0.0",
    ),
    Mutant(
        "slices without a baseline draw money",
        "monitor.core.watching",
        "counts[watch.depth] += watch.baseline is not None or watch.looks",
        "counts[watch.depth] += 1",
    ),
    Mutant(
        "weights are ignored",
        "monitor.core.estimators",
        "return round(WEIGHT_ONE / inclusion_probability)",
        "return WEIGHT_ONE",
    ),
    Mutant(
        "errors of a unit are not capped",
        "monitor.core.closed_units",
        "errors = min(row.errors, int(ERRORS_CAP * 2) * row.words // 2)",
        "errors = row.errors",
    ),
    Mutant(
        "every utterance is a unit",
        "monitor.core.open_units",
        'return f"s:{seen.session}" if seen.session else f"p:{seen.speaker}" if seen.speaker else ""',
        'return ""',
    ),
    Mutant(
        "nobody waits for labels",
        "monitor.core.maturity",
        "            return candidate\n",
        "            return 0.0\n",
    ),
    Mutant(
        "an interval for one look is taken for any",
        "monitor.core.estimators",
        "return error * math.sqrt(n) * math.sqrt(per_cluster)",
        "return error * NormalDist().inv_cdf(1 - alpha / 2)",
    ),
)


class _Broken(SourceFileLoader):
    """Reads the module's source with the line replaced, and never its cached byte code."""

    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        source = self.get_data(self.path).decode()
        assert source.count(self._mutant.was) == 1, f"{self._mutant.name}: the line is not there once"
        return compile(source.replace(self._mutant.was, self._mutant.becomes), self.path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._mutant.module:
            return None
        found = PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        assert found is not None and found.origin is not None
        loader: Loader = _Broken(name, found.origin, self._mutant)
        return importlib.util.spec_from_file_location(name, found.origin, loader=loader)


def main(name: str, *arguments: str) -> int:
    """Pytest's exit code with this mutant in place."""
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    assert mutant.module not in sys.modules
    sys.meta_path.insert(0, _Finder(mutant))
    return int(pytest.main(list(arguments)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
