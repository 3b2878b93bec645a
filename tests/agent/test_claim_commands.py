"""`wervane claim` and `discover` from the command line: submitted on what was known, verified on what came after."""

from __future__ import annotations

import csv
import json
import random
import shlex
from pathlib import Path

import pytest

from monitor.cli import execute
from tests.builders import DAY, MARCH_2

WORDS = ("ward", "patient", "blood", "left", "right", "heart", "knee", "pain", "since", "sleep")


def write(folder: Path, days: int, *, gap: float = 0.3) -> list[str]:
    """Sixty utterances a day, a third of them yoruba with this much more WER; the arguments for replay."""
    chance = random.Random(1)
    lines: dict[str, list[str]] = {"transcripts": [], "references": []}
    for number in range(60 * days):
        at, yoruba = MARCH_2 + number * DAY / 60, number % 3 == 0
        said = [chance.choice(WORDS) for _ in range(12)]
        heard = ["wrong" if chance.random() < 0.1 + gap * yoruba else word for word in said]
        common = {"schema": 1, "id": f"u{number}"}
        transcript = {
            **common, "ts": round(1000 * at), "customer": "acme", "deployment": "wards", "text": " ".join(heard),
            "accent": "yoruba" if yoruba else "us", "speaker": f"s{number}", "attributes": {"device": "phone"},
        }  # fmt: skip
        reference = {**common, "ts": round(1000 * at + 3_600_000), "text": " ".join(said)}
        lines["transcripts"].append(json.dumps(transcript))
        lines["references"].append(json.dumps(reference))
    arguments: list[str] = []
    for name, written in lines.items():
        (folder / f"{name}.jsonl").write_text("\n".join(written) + "\n")
        arguments += [f"--{name}", str(folder / f"{name}.jsonl")]
    return ["replay", *arguments, "--out", str(folder / "out")]


def submit(folder: Path, where: str = "accent=yoruba", gap: str = "0.3", *more: str) -> int:
    return execute(["claim", "submit", "--where", where, "--gap", gap, "--from", str(folder / "out"), *more])


def test_a_claim_is_verified_on_what_came_after_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole path: what was seen before counts for nothing, and what comes after decides."""
    out = ["--from", str(tmp_path / "out")]
    assert execute(write(tmp_path, 8)) == 0
    assert submit(tmp_path) == 0
    assert submit(tmp_path, "not not accent = yoruba") == 0  # the same: no second chance
    assert execute(["claim", "verify", *out]) == 3
    assert "nobody of the group" in capsys.readouterr().out
    assert execute(write(tmp_path, 24)) == 0
    capsys.readouterr()
    assert execute(["claim", "verify", "c1", *out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "verified"
    assert execute(["claim", "list", *out]) == 0
    listed = capsys.readouterr().out
    assert "c1 acme: accent=yoruba is 30 points worse: verified: surely more than 15 points" in listed
    assert "c2" not in listed
    assert execute(write(tmp_path, 24)) == 0  # from now on it is a slice like others
    rows = list(csv.DictReader((tmp_path / "out" / "slices.csv").open()))
    own = next(row for row in rows if row["slice"] == "claim-c1=accent%3Dyoruba")
    assert 0.3 < float(own["wer"]) < 0.5 and own["verdict"] == "disparity"


def test_a_claim_of_nothing_is_not_supported(tmp_path: Path) -> None:
    """Exit 1: the answer is no."""
    assert execute(write(tmp_path, 8, gap=0.0)) == 0
    assert submit(tmp_path) == 0
    assert execute(write(tmp_path, 24, gap=0.0)) == 0
    assert execute(["claim", "verify", "--from", str(tmp_path / "out")]) == 1


@pytest.mark.parametrize(
    ("where", "gap", "said"),
    [
        ("accent=yoruba", "1.5", "--gap: got 1.5"),
        ("accent=yoruba", "nan", "--gap: got nan"),
        ("accent=yoruba", "0", "--gap: got 0"),
        ("acent=yoruba", "0.1", "--where, position 1"),
        ("accent=yorub", "0.1", "a value that was seen: yoruba"),
        ("accent > 3", "2", "--where, position 8"),
    ],
)
def test_what_cannot_be_claimed_is_refused_and_nothing_changed(
    where: str, gap: str, said: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is written; every problem is told."""
    folder = tmp_path_factory.getbasetemp() / "refused"
    if not folder.exists():
        folder.mkdir()
        assert execute(write(folder, 6)) == 0
    assert submit(folder, where, gap) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "out" / "claims.json").exists()


def test_discover_says_when_nothing_is_untracked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, and which setting names what to search."""
    assert execute(write(tmp_path, 6)) == 0
    assert execute(["discover", "--from", str(tmp_path / "out")]) == 1
    assert "slices.dimensions" in capsys.readouterr().out


def test_discover_ends_in_a_claim_that_can_be_submitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it prints is what is typed next."""
    config = tmp_path / "wervane.yaml"
    config.write_text(json.dumps({"slices": {"dimensions": ["deployment"], "intersections": [], "strata": ["accent"]}}))
    assert execute([*write(tmp_path, 12), "--config", str(config)]) == 0
    capsys.readouterr()
    options = ["--config", str(config), "--from", str(tmp_path / "out")]
    assert execute(["discover", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)[0]["tested"][0]
    assert found["slice"] == "accent=yoruba"
    assert "--where accent=yoruba --gap 0." in found["claim"]
    assert execute(shlex.split(found["claim"])[1:]) == 0
