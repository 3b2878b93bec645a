"""Scenarios: what a person who answers for fairness expects, in their words, against the whole core."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario_language import ScenarioError, messages, play, problems, read

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: str(path.stem))
def test_scenario(path: Path) -> None:
    """The file's first line says why it matters."""
    scenario = read(path.read_text(encoding="utf-8"))
    assert problems(scenario, play(scenario)) == []


@pytest.mark.parametrize(
    "line",
    [
        "form 0d to 9d every 1h 4x accent=scottish",
        "from 0d to 9d every 1h 4 accent=scottish",
        "from 0d to nine every 1h 4x accent=scottish",
        "from 0d to 9d every 1h 4x acent=scottish",
        "from 0d to 9d every 1h 4x accent=",
        "at 9d change accent=scottish",
        "at 9d no longer declared speaker",
        "references after lunch",
        "expect by 13d page",
        "expect by 13d page drift{accent=scottish}",
        'expect by 13d page drift{accent="scottish"',
        "expect by 13d siren blind",
        "expect resolved by 13d",
        "expect the best",
    ],
)
def test_a_line_that_means_nothing_is_refused_with_its_number(line: str) -> None:
    """A misspelt expectation that is passed over would be a test that always passes."""
    with pytest.raises(ScenarioError, match=r"line 2, .*: (.*: )?want"):
        read(f"from 0d to 1d every 1h 1x\n{line}\nexpect no page")


@pytest.mark.parametrize("text", ["", "# nothing", "from 0d to 1d every 1h 1x", "expect no page"])
def test_a_scenario_without_traffic_or_expectation_is_refused(text: str) -> None:
    """It would always pass."""
    with pytest.raises(ScenarioError, match="want at least one"):
        read(text)


DOUBLED = """
from 0d to 12d every 1h 4x accent=english  # the rest
from 0d to 12d every 1h 2x accent=scottish
at 8d change accent=scottish errors=x3
"""


@pytest.mark.parametrize(
    ("expectation", "problem"),
    [
        ('expect by 12d page drift{accent="scottish"}', None),
        ('expect by 12d page drift{accent="english"}', "did not happen"),
        ('expect by 12d ticket drift{accent="scottish"}', "did not happen"),
        ('expect by 8d page drift{accent="scottish"}', "happened late"),
        ('expect by 12d page drift{accent="scottish"}\nexpect resolved by 12d', "was not resolved in time"),
        ("expect no page", "not expected: "),
        ("expect no page before 8d", None),
        ("expect no ticket", None),
        ("expect nothing else", "not expected: "),
    ],
)
def test_the_language_notices_what_did_not_happen(expectation: str, problem: str | None) -> None:
    """Who judges the judge: each kind of expectation is seen to fail."""
    scenario = read(DOUBLED + expectation)
    found = problems(scenario, play(scenario))
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def test_the_same_file_is_the_same_traffic() -> None:
    """A scenario that passes here passes everywhere."""
    scenario = read(DOUBLED + "expect no page before 8d")
    assert messages(scenario) == messages(scenario)
