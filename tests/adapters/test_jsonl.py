"""Inputs as JSON Lines: the same order whatever the files' order, nothing lost on restart, nothing wrong in silence."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from monitor.adapters import wire
from monitor.adapters.jsonl import (
    LINE_BYTES_MAX,
    GrowingDirectory,
    InputUnreadable,
    Line,
    SortedArchive,
    StdinLines,
    read_when_ready,
)
from monitor.core.records import Kind
from tests.builders import DAY, MARCH_2


def line(at: float, name: str = "x") -> bytes:
    return json.dumps({"ts": int(at * 1000), "id": name}).encode()


def stated(_kind: Kind, value: bytes) -> float | None:
    return wire.event_time(value)


HOURS = [line(MARCH_2 + 3600 * n, f"u{n}") for n in range(48)]


def archive(transcripts: Path | str, references: Path | str, spool: Path | None = None) -> SortedArchive:
    return SortedArchive([transcripts], [references], event_time=stated, spool=spool)


def drained(source: SortedArchive | GrowingDirectory | StdinLines, limit: int = 7) -> list[Line]:
    lines: list[Line] = []
    while batch := source.poll(limit):
        assert len(batch) <= limit
        lines += batch
    return lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t").mkdir()
    (tmp_path / "r").mkdir()
    return tmp_path


# ------------------------------------------------------------------------------------------------------------- archives
def test_an_archive_comes_in_event_time_order_whatever_the_order_of_its_lines(folder: Path) -> None:
    """Invariant 2: the same records give the same bytes; shuffling a file must not change an incident."""
    transcripts, references = HOURS, [line(MARCH_2 + 3600 * n + 1800, f"u{n}") for n in range(48)]
    orders = []
    for seed in range(3):
        chance = random.Random(seed)
        shuffled = chance.sample(transcripts, 48)
        (folder / "t" / "a.jsonl").write_bytes(b"\n".join(shuffled[:20]))
        (folder / "t" / "b.jsonl.gz").write_bytes(gzip.compress(b"\r\n".join(shuffled[20:]) + b"\r\n\n \n"))
        compress = zstandard.ZstdCompressor().compress
        body = b"\n".join(chance.sample(references, 48))
        (folder / "r" / "c.jsonl.zst").write_bytes(compress(body[:999]) + compress(b"") + compress(body[999:]))
        source = archive(folder / "t", str(folder / "r" / "*.zst"))
        orders.append([(found.kind, found.value) for found in drained(source)])
        assert source.exhausted
        source.close()
    assert orders[0] == orders[1] == orders[2]
    assert [value for _, value in orders[0]] == [
        value for pair in zip(transcripts, references, strict=True) for value in pair
    ]


def test_at_one_instant_a_transcript_comes_before_its_reference(folder: Path) -> None:
    """Otherwise the sort by digest would make some references wait for a transcript of the same second."""
    for kind in "tr":
        (folder / kind / "a.jsonl").write_bytes(b"\n".join(line(MARCH_2, f"{kind}{n}") for n in range(20)))
    found = drained(archive(folder / "t", folder / "r"))
    assert [one.kind for one in found] == [Kind.TRANSCRIPT] * 20 + [Kind.REFERENCE] * 20
    for kind in "tr":
        (folder / kind / "a.jsonl").write_bytes(b"\n".join(line(MARCH_2, f"{kind}{n}") for n in reversed(range(20))))
    assert [one.value for one in drained(archive(folder / "t", folder / "r"))] == [one.value for one in found]


def test_an_archive_goes_on_where_it_was(folder: Path) -> None:
    """After SIGKILL the state knows the next rank; the lines from there on must be the same ones."""
    (folder / "t" / "a.jsonl").write_bytes(b"\n".join(reversed(HOURS)))
    (folder / "r" / "a.jsonl").write_bytes(b"not json\n" + HOURS[0])
    first, second = archive(folder / "t", folder / "r"), archive(folder / "t", folder / "r")
    whole = drained(first)
    second.seek({whole[17].source: whole[17].next_position})
    assert drained(second) == whole[18:]
    assert (first.count, first.signature) == (50, second.signature)
    assert whole[-1].value == b"not json"
    assert (whole[-1].file, whole[-1].place) == ("r/a.jsonl", 1)


def test_a_changed_archive_is_noticed(folder: Path) -> None:
    """A rank means another line once a file was added or edited: the agent must be able to refuse."""
    (folder / "t" / "a.jsonl").write_bytes(HOURS[0])
    (folder / "r" / "a.jsonl").write_bytes(HOURS[1])
    before = archive(folder / "t", folder / "r").signature
    (folder / "r" / "a.jsonl").write_bytes(HOURS[2])
    edited = archive(folder / "t", folder / "r").signature
    (folder / "r" / "b.jsonl").write_bytes(b"")
    assert len({before, edited, archive(folder / "t", folder / "r").signature}) == 3


def test_the_clock_of_an_archive_is_its_own(folder: Path) -> None:
    """A ten-year-old archive is no error; one line from 1970 within it is."""
    old = [line(MARCH_2 - 3650 * DAY + n) for n in range(9)]
    (folder / "t" / "a.jsonl").write_bytes(b"\n".join([*old, line(0.0), line(MARCH_2), b"{}"]))
    (folder / "r" / "a.jsonl").write_bytes(b"")
    source = archive(folder / "t", folder / "r")
    clocks = [(found.event_at, source.clock(found)) for found in drained(source)]
    middle = source.median_at
    assert middle is not None
    assert clocks[0] == (0.0, middle)
    assert clocks[-2:] == [(MARCH_2, middle), (None, middle)]
    assert all(at == clock for at, clock in clocks[1:-2])


def test_no_transcript_stays_in_the_scratch_folder(folder: Path) -> None:
    """T13: a spool that outlives the process would keep text that was erased everywhere else."""
    (folder / "t" / "a.jsonl").write_bytes(b"\n".join(HOURS))
    spool = folder / "spool"
    spool.mkdir()
    source = archive(folder / "t", folder / "t", spool=spool)
    assert list(spool.iterdir()) == []
    assert len(drained(source)) == 96


def test_an_overlong_line_is_cut_and_the_next_one_is_whole(folder: Path) -> None:
    """A file without newlines must not fill the memory; its neighbour lines must not suffer."""
    exact = b'{"x":"' + b"a" * (LINE_BYTES_MAX - 8) + b'"}'
    (folder / "t" / "a.jsonl").write_bytes(
        b"x" * (3 * LINE_BYTES_MAX) + b"\n" + HOURS[0] + b"\n" + exact + b"\n" + HOURS[1]
    )
    (folder / "r" / "a.jsonl").write_bytes(b"")
    lengths = sorted(len(found.value or b"") for found in drained(archive(folder / "t", folder / "r")))
    assert lengths == [len(HOURS[0]), len(HOURS[1]), LINE_BYTES_MAX, LINE_BYTES_MAX + 1]


def damaged_files() -> Iterator[tuple[str, bytes]]:
    body = b"\n".join(HOURS)
    yield "cut.jsonl.gz", gzip.compress(body)[:-20]
    yield "flipped.jsonl.gz", gzip.compress(body)[:40] + b"\xff\xff" + gzip.compress(body)[42:]
    yield "plain.jsonl.gz", body
    yield "cut.jsonl.zst", zstandard.ZstdCompressor().compress(body)[:-1]
    yield "plain.jsonl.zst", body


@pytest.mark.parametrize(("name", "content"), list(damaged_files()))
def test_a_damaged_file_names_itself(folder: Path, name: str, content: bytes) -> None:
    """Half an archive replayed without a word would be half a word error rate."""
    (folder / "t" / name).write_bytes(content)
    with pytest.raises(InputUnreadable, match=name) as refused:
        archive(folder / "t", folder / "t")
    assert "u1" not in str(refused.value)


def test_a_missing_file_names_itself(folder: Path) -> None:
    """Exit 4 must say which of thirty paths was mistyped; an empty folder is a mistyped one too."""
    for path in (folder / "nope.jsonl", folder / "t", folder / "*.gz"):
        with pytest.raises(InputUnreadable, match=path.name.replace("*", r"\*")):
            archive(path, path)


# -------------------------------------------------------------------------------------------------- a growing directory
def growing(folder: Path) -> GrowingDirectory:
    return GrowingDirectory(folder / "t", folder / "r", event_time=stated)


def test_a_line_counts_once_its_end_is_there(folder: Path) -> None:
    """A producer is caught in the middle of a write sooner or later."""
    source = growing(folder)
    assert source.poll(9) == []
    path = folder / "t" / "a.jsonl"
    with path.open("ab", buffering=0) as file:
        file.write(HOURS[0] + b"\n" + HOURS[1][:10])
        assert [found.value for found in source.poll(9)] == [HOURS[0]]
        file.write(HOURS[1][10:])
        assert source.poll(9) == []
        file.write(b"\n\n" + HOURS[2] + b"\r\n")
    assert [found.value for found in source.poll(9)] == [HOURS[1], HOURS[2]]
    assert not source.exhausted


def test_files_are_merged_by_event_time(folder: Path) -> None:
    """A backlog of two topics read one after the other would make every reference early or late by days."""
    for n in range(3):
        (folder / "t" / f"{n}.jsonl").write_bytes(b"".join(value + b"\n" for value in HOURS[n::6]))
        (folder / "r" / f"{n}.jsonl").write_bytes(b"".join(value + b"\n" for value in HOURS[n + 3 :: 6]))
    assert [found.value for found in drained(growing(folder), 5)] == HOURS


@pytest.mark.parametrize("stop", [0, 1, 13, 47])
def test_a_directory_goes_on_where_it_was(folder: Path, stop: int) -> None:
    """What was read ahead but not stored must come again; what was stored must not."""
    (folder / "t" / "a.jsonl").write_bytes(b"".join(value + b"\n" for value in HOURS[::2]))
    (folder / "r" / "a.jsonl").write_bytes(b"\n".join(HOURS[1::2]) + b"\n")
    done = growing(folder).poll(stop)
    again = growing(folder)
    again.seek({found.source: found.next_position for found in done})
    assert [found.value for found in [*done, *drained(again)]] == HOURS
    assert again.problems() == []


def test_a_truncated_file_is_reported_and_read_anew(folder: Path) -> None:
    """copytruncate, or a producer that started over: silence here would be a hole in the counts."""
    path = folder / "t" / "a.jsonl"
    path.write_bytes(b"".join(value + b"\n" for value in HOURS[:9]))
    source = growing(folder)
    drained(source)
    path.write_bytes(HOURS[40] + b"\n")
    assert [(found.value, found.position) for found in drained(source)] == [(HOURS[40], 0)]
    assert [(found.source, found.problem) for found in source.problems()] == [("transcripts/a.jsonl", "truncated")]
    assert source.problems() == []


def test_lines_read_ahead_of_a_truncation_leave_an_offset_that_exists(folder: Path) -> None:
    """Their old offset would skip the beginning of the new content after a restart."""
    path = folder / "t" / "a.jsonl"
    path.write_bytes(b"".join(value + b"\n" for value in HOURS[:9]))
    source = growing(folder)
    assert source.poll(8)[-1].next_position > 0
    path.write_bytes(HOURS[40] + b"\n")
    old, new = source.poll(8)
    assert (old.value, old.next_position) == (HOURS[8], 0)
    assert (new.value, new.next_position) == (HOURS[40], len(HOURS[40]) + 1)


def test_an_offset_beyond_the_file_is_reported_after_a_restart(folder: Path) -> None:
    """The file was truncated while the agent was down."""
    (folder / "t" / "a.jsonl").write_bytes(HOURS[0] + b"\n")
    source = growing(folder)
    source.seek({"transcripts/a.jsonl": 10_000})
    assert [found.value for found in drained(source)] == [HOURS[0]]
    assert [found.problem for found in source.problems()] == ["truncated"]


def test_a_replaced_or_vanished_file_is_reported(folder: Path) -> None:
    """Only a file that was read to its end may go without a word."""
    path, other = folder / "t" / "a.jsonl", folder / "new"
    path.write_bytes(HOURS[0] + b"\n")
    source = growing(folder)
    drained(source)
    other.write_bytes(HOURS[1] + b"\n" + HOURS[2] + b"\n" + HOURS[3])
    os.replace(other, path)
    assert len(drained(source)) == 2
    path.unlink()
    assert drained(source) == []
    assert [(found.problem, found.lost_bytes) for found in source.problems()] == [
        ("replaced", 0),
        ("vanished", len(HOURS[3])),
    ]
    path.write_bytes(HOURS[4] + b"\n")
    drained(source)
    path.unlink()
    assert drained(source) == []
    assert source.problems() == []


def test_a_growing_line_without_end_does_not_fill_the_memory(folder: Path) -> None:
    """The cap holds for a line that is still being written, too."""
    path = folder / "t" / "a.jsonl"
    path.write_bytes(b"x" * (2 * LINE_BYTES_MAX))
    source = growing(folder)
    assert drained(source) == []
    with path.open("ab") as file:
        file.write(b"x\n" + HOURS[0] + b"\n")
    cut, whole = drained(source)
    assert (len(cut.value or b""), cut.next_position) == (LINE_BYTES_MAX + 1, 2 * LINE_BYTES_MAX + 2)
    assert whole.value == HOURS[0]


def test_one_file_or_a_pattern_can_be_followed(folder: Path) -> None:
    """`transcripts: live/asr-*.jsonl` and a single log are both common."""
    (folder / "asr-1.jsonl").write_bytes(HOURS[0] + b"\n")
    (folder / "corrections").write_bytes(HOURS[1] + b"\n")
    source = GrowingDirectory(folder / "asr-*.jsonl", folder / "corrections", event_time=stated)
    assert [found.source for found in drained(source)] == ["transcripts/asr-1.jsonl", "references/corrections"]
    with pytest.raises(InputUnreadable, match="nope"):
        GrowingDirectory(folder / "nope" / "x", folder, event_time=stated).poll(1)


# ------------------------------------------------------------------------------------------------------- standard input
def stdin(content: bytes, piece: int = 11) -> StdinLines:
    stream = io.BytesIO(content)
    return StdinLines(lambda _: stream.read(piece), event_time=stated, kind_of=wire.kind_of)


def test_standard_input_tells_transcripts_from_references() -> None:
    """One pipe carries both: a transcript names its customer, a reference cannot."""
    both = b'{"customer":"a"}\n{"id":"b"}\n\nnot json'
    source = stdin(both)
    assert [(found.kind.value, found.place) for found in drained(source, 2)] == [
        ("transcript", 1),
        ("reference", 2),
        ("reference", 4),
    ]
    assert source.exhausted


def test_a_pipe_with_nothing_to_say_does_not_block() -> None:
    """The agent has a clock to keep while nobody speaks."""
    reading, writing = os.pipe()
    source = StdinLines(read_when_ready(reading), event_time=stated, kind_of=wire.kind_of)
    assert source.poll(5) == []
    os.write(writing, HOURS[0] + b"\n" + HOURS[1])
    assert [found.value for found in source.poll(5)] == [HOURS[0]]
    ended_before = source.exhausted
    os.close(writing)
    assert [found.value for found in source.poll(5)] == [HOURS[1]]
    assert (ended_before, source.exhausted) == (False, True)
    os.close(reading)
