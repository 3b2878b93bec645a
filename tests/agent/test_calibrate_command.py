"""`wervane calibrate`: a record, or a clear no; and a record that is not for this is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.cli import execute
from tests.traffic import generate

RECORD = ["--detector", "ddm", "--share", "0.5", "--replicates", "10"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a replay of twenty days left, and a record made from it."""
    out = tmp_path_factory.mktemp("calibrate")
    transcripts, references = generate(900, starts_at=1_772_409_600.0, days=20.0).write(out / "in")
    inputs = ["--transcripts", str(transcripts), "--references", str(references)]
    assert execute(["replay", *inputs, "--out", str(out)]) == 0
    assert execute(["calibrate", "--from", str(out), *RECORD, "--out", str(out / "ddm.json")]) == 0
    return out


def test_the_record_says_what_it_promises_and_from_what(folder: Path) -> None:
    """Whoever reads a page of ADWIN's has to be able to make its threshold again."""
    record = json.loads((folder / "ddm.json").read_text())
    assert (record["schema"], record["customer"], record["detector"], record["seed"]) == (1, "acme", "ddm", 1)
    assert record["false_alarms"]["upper_95"] <= record["budget_90_days"] == 0.5
    assert record["baselines"]["all"] and record["persons"] >= 12 and record["replicates"] == 10
    assert execute(["calibrate", "--from", str(folder), *RECORD, "--out", str(folder / "again.json")]) == 0
    assert json.loads((folder / "again.json").read_text()) == record


def test_slices_whose_alarms_could_not_be_counted_are_named_and_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slice that was silent in the simulation for want of units would wake people by another's promise."""
    assert execute(["calibrate", "--from", str(folder), *RECORD, "--out", str(tmp_path / "ddm.json")]) == 0
    record = json.loads((tmp_path / "ddm.json").read_text())
    assert "accent=yoruba" in record["left_out"] and not {*record["left_out"]} & {*record["baselines"]}
    assert "ddm will open tickets there, and page nobody: accent=" in capsys.readouterr().err


def test_forgotten_days_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of the baseline's days, drawn from as if they were all, would promise for days that nobody has seen."""
    transcripts, references = generate(900, starts_at=1_772_409_600.0, days=36.0).write(tmp_path / "in")
    inputs = ["--transcripts", str(transcripts), "--references", str(references)]
    assert execute(["replay", *inputs, "--out", str(tmp_path)]) == 0
    assert execute(["calibrate", "--from", str(tmp_path), *RECORD, "--out", str(tmp_path / "no.json")]) == 3
    said = capsys.readouterr().err
    assert "its closed units of 2026-03-02T00:00:00.000Z to 2026-03-1" in said and "are forgotten" in said
    assert not (tmp_path / "no.json").exists()


def test_a_budget_that_cannot_be_reached_is_a_no(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 and nothing written: 10 replicates promise 0.33 at the best."""
    out = folder / "none.json"
    assert execute(["calibrate", "--from", str(folder), *RECORD[:2], "--replicates", "10", "--out", str(out)]) == 1
    assert "no threshold of ddm up to 20" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detector", "adwim"], "--detector: got adwim, want the nearest known adwin"),
        ([], "--detector: got nothing, want one of adwin"),
        (["--customer", "acmee", "--detector", "ddm"], "the nearest is acme"),
    ],
)
def test_a_wrong_name_gets_the_nearest(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, nothing written."""
    assert execute(["calibrate", "--from", str(folder), *arguments, "--out", str(folder / "no.json")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({}, "decide: {detectors: [ddm], calibration: %s}", ""),
        ({"schema": 2}, "decide: {detectors: [ddm], calibration: %s}", "schema: got another one"),
        ({"x": 2}, "decide: {detectors: [ddm], calibration: %s}", "content: got something else"),
        ({"detector": "dmm"}, "decide: {detectors: [ddm], calibration: %s}", "detector: got dmm"),
        ({}, "decide: {detectors: [adwin], calibration: %s}", "detector: got ddm, want one of the detectors that run"),
        ({}, "customers: {beta: {detectors: [ddm], calibration: %s}}", "customer: got acme, want a record of beta"),
        (
            {},
            "decide: {detectors: [ddm], calibration: %s}\nscoring: {profiles: {en: basic}}",
            "series.normalizers: got",
        ),
        ({}, "decide: {detectors: [ddm], calibration: %s, page_budget: 0.1}", "false_alarms.upper_95: got up to"),
        ({"share": 0.9}, "decide: {detectors: [ddm], calibration: %s}", "share: got 0.9"),
    ],
)
def test_a_record_that_is_not_for_this_is_refused_by_name(
    changes: dict[str, object], settings: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A detector that pages by another's promise keeps none."""
    record = {**json.loads((folder / "ddm.json").read_text()), **changes}
    path, config, out = folder / "changed.json", folder / "wervane.yaml", folder / "replayed"
    path.write_text(json.dumps(record))
    config.write_text(settings % path)
    inputs = [
        "--transcripts",
        str(folder / "in/transcripts.jsonl"),
        "--references",
        str(folder / "in/references.jsonl"),
    ]
    assert execute(["replay", *inputs, "--out", str(out), "--config", str(config)]) == (2 if message else 0)
    said = capsys.readouterr().err
    assert message in said and (not message or f"calibration: {path}" in said)
