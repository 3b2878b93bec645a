"""Files: lines exactly once whatever a crash left behind, whole files never half written."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from monitor.adapters.files import LineFile, OutputFolder, slices_csv, summary_json, write_atomically
from monitor.core.records import SliceRow, SliceStanding, Verdict
from tests.builders import MARCH_2, counts


def entries(first: int, last: int) -> list[tuple[int, str, bytes]]:
    return [(n, "outcomes" if n % 2 else "incidents", b'{"n":%d}' % n) for n in range(first, last)]


@pytest.mark.parametrize("torn", [0, 1, 5, 1000])
def test_lines_are_there_once_after_a_crash_anywhere(tmp_path: Path, torn: int) -> None:
    """T1: the outbox is written again after a crash; what the files already had of it must not count twice."""
    with OutputFolder(tmp_path, {}) as before:
        before.append(entries(0, 10))
        before.sync()
        remembered = before.lengths()
        before.append(entries(10, 20))
    path = tmp_path / "outcomes.jsonl"
    os.truncate(path, max(remembered["outcomes.jsonl"], path.stat().st_size - torn))
    with OutputFolder(tmp_path, remembered) as after:
        after.append(entries(10, 20))
        after.sync()
        assert not after.lost_bytes()
        assert after.lengths()["outcomes.jsonl"] == path.stat().st_size
    assert path.read_bytes() == b"".join(line + b"\n" for _, stream, line in entries(0, 20) if stream == "outcomes")


def test_a_new_state_begins_new_files(tmp_path: Path) -> None:
    """A replay into a folder that was used before must not append to another run's results."""
    (tmp_path / "incidents.jsonl").write_bytes(b"old\n")
    with OutputFolder(tmp_path, {}):
        pass
    assert (tmp_path / "incidents.jsonl").read_bytes() == b""


def test_a_file_that_someone_shortened_is_continued_and_reported(tmp_path: Path) -> None:
    """Log rotation by hand is not our loss, but it must not pass in silence."""
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(b"a\n")
    file = LineFile(path, expected_length=100)
    file.append([b"b"])
    file.close()
    assert (file.lost_bytes, path.read_bytes()) == (98, b"a\nb\n")


def test_a_failed_append_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T4: a disk that fills up in the middle of a line leaves no half line between whole ones."""
    file = LineFile(tmp_path / "outcomes.jsonl", expected_length=0)
    file.append([b"first"])
    pwrite = os.pwrite

    def full_disk(descriptor: int, content: bytes, offset: int) -> int:
        pwrite(descriptor, bytes(content[:10]), offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full_disk)
    with pytest.raises(OSError, match="No space"):
        file.append([b"a longer second line"])
    monkeypatch.setattr(
        os, "pwrite", lambda descriptor, content, offset: pwrite(descriptor, bytes(content[:3]), offset)
    )
    file.append([b"2nd"])
    file.sync()
    assert file.path.read_bytes() == b"first\n2nd\n"


def test_a_whole_file_is_old_or_new(tmp_path: Path) -> None:
    """Prometheus' textfile collector and people read these files while they are replaced."""
    path = tmp_path / "metrics.prom"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(OSError):
        write_atomically(tmp_path, b"a folder is in the way")
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.prom"]


def row(slice_: str, depth: int, **changes: object) -> SliceRow:
    fields: dict[str, object] = {
        "customer": "acme", "slice": slice_, "depth": depth, "transcripts": 9, "pairs": 5, "counts": counts(50, 5),
        "wer": 0.1, "wer_low": 0.05, "wer_high": None, "clusters": 3, "hallucinated_words": 0, "strict_errors": 0,
        "strict_words": 0,
    }  # fmt: skip
    return SliceRow(**{**fields, **changes})  # type: ignore[arg-type]


def test_slices_have_the_columns_and_the_order_of_commands_md() -> None:
    """Shuffling the input must leave slices.csv the same, byte for byte; so its order is its own."""
    standing = SliceStanding(
        verdict=Verdict.DISPARITY, learning=False, gap=0.1, gap_low=0.0, gap_high=0.2, evidence=2.0,
        detectable_gap=0.04, words_missing=0, budget_spent=0.0, last_reference_at=None,
    )  # fmt: skip
    rows = [row("accent=b", 1), row("accent=a&deployment=x", 2), row("all", 0)]
    rows.append(row('accent="a,', 1, standing=standing, last_reference_at=MARCH_2))
    written = slices_csv(rows)
    assert written == slices_csv(reversed(rows))
    assert written.startswith(
        b"customer,slice,transcripts,pairs,reference_words,hits,substitutions,deletions,insertions,wer,wer_low,wer_high,"
        b"clusters,verdict,detectable_gap,last_reference_at\nacme,all,9,5,50,45,5,0,0,0.100000,0.050000,,3,insufficient,,\n"
    )
    read = list(csv.DictReader(io.StringIO(written.decode())))
    assert [line["slice"] for line in read] == ["all", 'accent="a,', "accent=b", "accent=a&deployment=x"]
    assert read[1]["verdict"] == "disparity"
    assert read[1]["detectable_gap"] == "0.040000"
    assert read[1]["last_reference_at"] == "2026-03-02T00:00:00.000Z"


def test_a_summary_is_json_for_people() -> None:
    """NaN in a summary would be unreadable to every other program."""
    assert json.loads(summary_json({"pairs": 3, "by": {"é": 1}})) == {"pairs": 3, "by": {"é": 1}}
    with pytest.raises(ValueError, match="JSON compliant"):
        summary_json({"wer": float("nan")})
