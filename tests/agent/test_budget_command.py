"""`wervane budget`: the same numbers as the metrics, from a state or a replay, and a clear no to a wrong name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.cli import execute
from tests.traffic import generate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a replay of twenty days left: slices have closed their baselines."""
    out = tmp_path_factory.mktemp("budget")
    transcripts, references = generate(900, starts_at=1_772_409_600.0, days=20.0).write(out / "in")
    inputs = ["--transcripts", str(transcripts), "--references", str(references)]
    assert execute(["replay", *inputs, "--out", str(out)]) == 0
    return str(out)


def test_the_table_adds_up_to_what_metrics_say(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A number that is another one elsewhere is not believed."""
    capsys.readouterr()
    assert execute(["budget", "--from", folder, "--json"]) == 0
    (account,) = json.loads(capsys.readouterr().out)
    assert account["customer"] == "acme" and account["worse"]["spent"] > 0
    assert sum(row["worse"]["spent"] for row in account["spenders"]) == pytest.approx(account["worse"]["spent"])
    assert account["worse"]["left"] == pytest.approx(account["worse"]["granted"] - account["worse"]["spent"])
    metrics = Path(folder, "metrics.prom").read_text()
    shown = [line for line in metrics.splitlines() if line.startswith("wervane_false_page_budget_spent{")]
    assert len(shown) == 2 and float(shown[1].rpartition(" ")[2]) == pytest.approx(account["worse"]["spent"])


def test_the_table_is_one_for_people(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every spender has a line, what nobody took has one, and the total is last."""
    assert execute(["budget", "--from", folder, "--customer", "acme"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("acme: 1 expected false pages in 90 days")
    assert [line.split()[0] for line in lines[2:]][:2] == ["slice", "all"]
    assert lines[-2].split()[0] == "(nobody)" and lines[-1].split()[0] == "total"
    granted = [float(line.split()[-4]) for line in lines[3:]]
    assert sum(granted[:-1]) == pytest.approx(granted[-1], abs=1e-5)


def test_an_unknown_customer_gets_the_nearest_name(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, as for every wrong option."""
    assert execute(["budget", "--from", folder, "--customer", "acmee"]) == 2
    assert "the nearest is acme" in capsys.readouterr().err


def test_a_folder_without_a_state_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 4: there is nothing to read."""
    assert execute(["budget", "--from", str(tmp_path / "nowhere")]) == 4
    assert "nowhere" in capsys.readouterr().err
