"""`wervane baseline`: what one agent learned, another takes at once; what would mean something else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.cli import execute
from tests.traffic import generate

STARTS_AT = 1_772_409_600.0

Document = dict[str, object]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a replay of twenty days left, and its archive beside it."""
    out = tmp_path_factory.mktemp("baseline")
    transcripts, references = generate(900, starts_at=STARTS_AT, days=20.0).write(out / "in")
    inputs = ["--transcripts", str(transcripts), "--references", str(references)]
    assert execute(["replay", *inputs, "--out", str(out)]) == 0
    assert execute(["baseline", "export", "--from", str(out), "--out", str(out / "b.json")]) == 0
    return out


def configured(folder: Path, **sections: object) -> str:
    file = folder / "wervane.yaml"
    file.write_text(json.dumps({"state": {"path": str(folder / "state")}, **sections}))
    return str(file)


def test_a_file_says_what_was_learned_and_when(replayed: Path) -> None:
    """Rates for people, versions to compare, no text and no id."""
    document = json.loads((replayed / "b.json").read_text())
    (customer,) = document["customers"]
    entries = {entry["slice"]: entry for entry in customer["slices"]}
    assert customer["customer"] == "acme" and customer["maturity_seconds"] > 0
    everything = entries["all"]
    assert everything["version"] and everything["learned"].startswith("2026-03-0")
    assert all(0.0 < one["rate"] < 0.5 for one in everything["strata"]) and 0.1 < everything["scale"] < 20


def test_an_exported_file_is_imported_and_read_at_the_next_start(
    replayed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The state folder is where `run` looks; the setting makes a replay take it as well, with the same versions."""
    config = configured(tmp_path)
    assert execute(["baseline", "import", str(replayed / "b.json"), "--config", config]) == 0
    kept = tmp_path / "state" / "baselines.json"
    assert "next" in capsys.readouterr().out and kept.exists()
    with_it = configured(tmp_path, decide={"baselines": str(kept)})
    transcripts, references = generate(60, starts_at=STARTS_AT + 40 * 86_400.0, days=2.0).write(tmp_path / "in")
    inputs = ["--transcripts", str(transcripts), "--references", str(references)]
    assert execute(["replay", *inputs, "--out", str(tmp_path / "out"), "--config", with_it]) == 0
    there = ["--from", str(tmp_path / "out"), "--config", with_it]
    assert execute(["baseline", "export", *there, "--out", str(tmp_path / "again.json")]) == 0
    first, second = (
        {one["slice"]: one["version"] for one in json.loads(file.read_text())["customers"][0]["slices"]}
        for file in (replayed / "b.json", tmp_path / "again.json")
    )
    assert second and second.items() <= first.items()


def test_a_file_of_the_first_schema_is_read_and_its_errors_are_not_priced_in(replayed: Path, tmp_path: Path) -> None:
    """Files that were exported before say nothing of how uncertain a baseline is."""
    document = json.loads((replayed / "b.json").read_text())
    document["schema"] = 1
    for entry in document["customers"][0]["slices"]:
        assert entry.pop("error") > 0 and entry.pop("units") >= 12
        del entry["version"]
    (tmp_path / "old.json").write_text(json.dumps(document))
    assert execute(["baseline", "import", str(tmp_path / "old.json"), "--config", configured(tmp_path)]) == 0
    kept = json.loads((tmp_path / "state" / "baselines.json").read_text())
    assert kept["schema"] == 2 and {entry["error"] for entry in kept["customers"][0]["slices"]} == {0.0}


def test_an_order_to_learn_anew_is_left_for_the_agent(
    replayed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two years of a new recogniser would be excused by a typo: a slice that nobody watches is refused."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "decisions.zst").write_bytes((replayed / "decisions.zst").read_bytes())
    config = configured(tmp_path)
    order = ["baseline", "relearn", "--config", config, "--slice"]
    assert execute([*order, "accent=englnd"]) == 2 and not (state / "relearn.json").exists()
    assert "the nearest is accent=england" in capsys.readouterr().err
    assert execute([*order, "accent=england"]) == execute([*order, "accent=england"]) == 0
    assert "acme accent=england: learns anew from 2026-03-21T" in capsys.readouterr().out
    (one,) = json.loads((state / "relearn.json").read_text())["orders"]
    assert (one["customer"], one["slice"]) == ("acme", "accent=england")


def series(**changes: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["series"].update(changes)  # type: ignore[attr-defined]

    return change


def first_slice(**changes: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["customers"][0]["slices"][0].update(changes)  # type: ignore[index]

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda document: document.update(schema=3), "schema: got 3, want 2"),
        (
            series(normalizers={"default": "whisper-en@00000000"}),
            "series.normalizers: got default: whisper-en@00000000",
        ),
        (series(dimensions=["accent", "device"]), "series.dimensions: got accent, device, want accent, deployment"),
        (series(strata=["accent"]), "series.strata: got accent, want accent, deployment"),
        (series(unit="call"), "series.unit: got call, want session"),
        (series(sampling_probability=0.1), "series.sampling_probability: got 0.1, want 1.0"),
        (first_slice(slice="acent=england"), "acent, want a dimension of slices.dimensions: the nearest is accent"),
        (first_slice(rho=0.4), "slices[0].rho"),
        (first_slice(scale=0.0), "slices[0].scale"),
        (first_slice(error=-0.1), "slices[0].error"),
        (first_slice(error=0.0, units=0), "slices[0].version"),
        (first_slice(strata=[{"stratum": ["england"], "rate": 0.1}]), "values of accent, deployment"),
        (first_slice(version="000000000000"), "slices[0].version"),
        (first_slice(raet=0.1), "raet"),
    ],
)
def test_a_file_that_would_mean_something_else_is_refused(
    replayed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    change: Callable[[Document], None], told: str,
) -> None:  # fmt: skip
    """With what differs, exit code 2, and what was there before is as it was."""
    document = json.loads((replayed / "b.json").read_text())
    change(document)
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(document))
    config = configured(tmp_path)
    assert execute(["baseline", "import", str(file), "--config", config]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_customer_that_is_not_watched_is_refused(
    replayed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the nearest one that is."""
    config = configured(tmp_path, tenants={"allow": ["acne", "globex"]})
    assert execute(["baseline", "import", str(replayed / "b.json"), "--config", config]) == 2
    assert "the nearest is acne" in capsys.readouterr().err


def test_what_is_no_file_of_baselines_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of another kind: usage, exit 2; not to be read at all: 4."""
    (tmp_path / "b.json").write_text("rubbish")
    assert execute(["baseline", "import", str(tmp_path / "b.json"), "--config", configured(tmp_path)]) == 2
    assert execute(["baseline", "import", str(tmp_path / "none.json"), "--config", configured(tmp_path)]) == 4
    assert "rubbish" not in capsys.readouterr().err


def test_nothing_learned_is_no_file(tmp_path: Path) -> None:
    """Exit code 3, not an empty file that looks like one."""
    transcripts, references = generate(30, starts_at=STARTS_AT, days=1.0).write(tmp_path / "in")
    inputs = ["--transcripts", str(transcripts), "--references", str(references)]
    assert execute(["replay", *inputs, "--out", str(tmp_path / "out")]) == 0
    assert execute(["baseline", "export", "--from", str(tmp_path / "out"), "--out", str(tmp_path / "b.json")]) == 3
    assert not (tmp_path / "b.json").exists()
