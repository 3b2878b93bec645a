"""`wervane plan`: what a team is told to correct, and what it is told when nothing can be said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.adapters.decisions import write_decisions
from monitor.building import pipeline_settings, state_fingerprint
from monitor.cli import execute
from monitor.config import load_settings
from monitor.core.counters import Counters
from monitor.core.customers import Customers
from tests.builders import DAY, MARCH_2
from tests.core.deciding_streams import messages


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a replay of three weeks leaves: england has ten labels a day, indian WER .2, wards and theatre."""
    return left(tmp_path_factory.mktemp("replayed"), days=21.0)


def left(folder: Path, days: float, looked: bool = True) -> Path:
    settings = load_settings(None, {})
    core = pipeline_settings(settings)
    customers = Customers(core.slices, core.decide, Counters())
    customers.start(MARCH_2)
    for message in messages(days=days, accents=("us", "us", "us", "england", "indian", "us")):
        customers.account(message)
    if looked:
        customers.look_until(MARCH_2 + (days + 12) * DAY)
    documents = [(change.table, change.key, change.value) for change in customers.changes() if change.value is not None]
    write_decisions(folder, state_fingerprint(settings), documents)
    return folder


def test_a_plan_says_what_each_slice_needs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one question that a team with a budget of corrections has."""
    assert execute(["plan", "--gap", ".1", "--from", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["customers"]["acme"]
    drift = {row["slice"]: row for row in rows if row["question"] == "drift"}
    assert drift["all"]["answer"] == "enough"
    assert drift["all"]["traffic_a_day"] == pytest.approx(60, rel=0.1)
    assert drift["accent=england"]["needed_a_day"] > 0
    assert drift["accent=us"]["power"] > drift["accent=england"]["power"]
    assert {row["slice"] for row in rows if row["question"] == "gap"} == {
        "accent=us",
        "accent=england",
        "accent=indian",
    }


def test_a_smaller_gap_needs_more_labels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Read from the table that people see, whose columns are aligned."""
    needed = []
    for gap in (".06", ".1"):
        assert execute(["plan", "--gap", gap, "--from", str(folder), "--slice", "accent=us", "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["customers"]["acme"]
        needed.append([row["needed"] for row in rows])
    assert all(small > large for small, large in zip(*needed, strict=True))
    assert execute(["plan", "--gap", ".1", "--rise", "x2", "--from", str(folder)]) == 0
    assert "accent=england" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gap", "1.5"], "--gap: got 1.5, want a gap of WER in (0, 1], e.g. .05"),
        (["--gap", ".1", "--days", "0"], "--days: got 0"),
        (["--gap", ".1", "--days", "-3"], "--days: got -3"),
        (["--gap", ".1", "--power", "1"], "--power: got 1"),
        (["--gap", ".1", "--rise", "fast"], "--rise: got fast"),
        (["--gap", "nan"], "--gap: got nan"),
        (["--gap", ".1", "--slice", "accent=englnd"], "e.g. accent=england"),
        (["--gap", ".1", "--slice", "acent=us"], "e.g. accent=..."),
        (["--gap", ".1", "--customer", "acmee"], "the nearest is acme"),
    ],
)
def test_bad_input_names_the_nearest_choice(
    folder: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typo costs one look at the message."""
    assert execute(["plan", *arguments, "--from", str(folder)]) == 2
    assert said in capsys.readouterr().err


def test_without_closed_sessions_there_is_no_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3, and why: nobody takes silence for `enough`."""
    assert execute(["plan", "--gap", ".1", "--from", str(left(tmp_path, days=2.0, looked=False))]) == 3
    assert "no session with a corrected utterance has closed yet" in capsys.readouterr().err


def test_a_thin_slice_is_insufficient_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In utterances, sessions and words; learning stays said."""
    assert execute(["plan", "--gap", ".1", "--from", str(left(tmp_path, days=1.0)), "--slice", "accent=england"]) == 0
    said = capsys.readouterr().out
    assert "insufficient" in said and "sessions" in said and "words missing" in said and "learning" in said


def test_labels_go_where_they_are_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The live sampler's own allocation, by need: us has four times the traffic of england and is seen soon enough."""
    asked = ["plan", "--gap", ".1", "--from", str(folder), "--labels-per-day", "45", "--json"]
    assert execute(asked) == 0
    labels = json.loads(capsys.readouterr().out)["labels"]["acme"]
    spread = {row[0]: row for row in labels["strata"]}
    assert sum(row[3] for row in spread.values()) == pytest.approx(45, rel=0.01)
    assert all(given <= traffic * 1.001 for _, traffic, _, given in spread.values())
    us = spread["accent=us&deployment=wards"]
    assert us[3] <= us[2]
    worst = [max(row[place] or 1e9 for row in labels["slices"] if row[1] == "drift") for place in (2, 3)]
    assert worst[1] <= worst[0]
    assert execute(asked[:-1]) == 0
    assert "days until seen" in capsys.readouterr().out


def test_no_labels_are_no_budget(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Zero divides nothing."""
    assert execute(["plan", "--gap", ".1", "--from", str(folder), "--labels-per-day", "0"]) == 2
    assert "--labels-per-day: got 0" in capsys.readouterr().err
