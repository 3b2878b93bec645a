"""Inputs that grow while `wervane run` reads them, and what it answers meanwhile."""

from __future__ import annotations

import json
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.agent.processes import configure, counters, growing, matched, running, slices
from tests.traffic import Traffic, generate, recount

NAMES = ("transcripts", "references")
TORN_CHARACTERS = 20


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(3_000, starts_at=time.time() - 20 * 86_400.0)


def append(folder: Path, traffic: Traffic, *, torn: bool = False) -> None:
    """Write to the growing files; torn: the end of the last line is still to come."""
    for name, lines in zip(NAMES, (traffic.transcripts, traffic.references), strict=True):
        text = "".join(f"{line}\n" for line in lines)
        with (folder / "in" / f"{name}.jsonl").open("a") as file:
            file.write(text[:-TORN_CHARACTERS] if torn else text)


def mend(folder: Path, traffic: Traffic) -> None:
    for name, lines in zip(NAMES, (traffic.transcripts, traffic.references), strict=True):
        with (folder / "in" / f"{name}.jsonl").open("a") as file:
            file.write(f"{lines[-1]}\n"[-TORN_CHARACTERS:])


def upto(traffic: Traffic, share: float, since: float = 0.0) -> Traffic:
    """A part of the traffic, in the order of delivery."""
    t, r = len(traffic.transcripts), len(traffic.references)
    return Traffic(
        traffic.transcripts[int(since * t) : int(share * t)], traffic.references[int(since * r) : int(share * r)]
    )


def test_a_directory_that_grows_is_followed_across_a_restart(traffic: Traffic, tmp_path: Path) -> None:
    """Lines appended while it runs, cut in the middle, or while it is down: each counts once. SIGTERM is a clean end.
    Meanwhile everything asked is answered, and no counter of two scrapes ever falls, restart included.
    """
    config = growing(tmp_path)
    with running(config) as process:
        scrapes = [process.metrics()]
        for path in ("/healthz", "/readyz", "/", "/api/v1/slices", "/api/v1/incidents"):
            assert process.ask(path)[0] == 200, path
        assert process.ask("/nothing")[0] == 404
        part = upto(traffic, 0.5)
        append(tmp_path, part, torn=True)
        process.wait_until_seen(Traffic(part.transcripts[:-1], part.references[:-1]))
        mend(tmp_path, part)
        process.wait_until_seen(part)
        scrapes.append(process.metrics())
        assert process.stop() == 0
        assert process.events("stopped") and not process.events("input_problem")
    append(tmp_path, upto(traffic, 0.75, 0.5))
    with running(config) as process:
        scrapes.append(process.metrics())
        append(tmp_path, upto(traffic, 1.0, 0.75))
        process.wait_until_seen(traffic)
        scrapes.append(process.metrics())
        page = process.ask("/")[1]
        assert process.stop() == 0
    assert slices(tmp_path / "state") == recount(traffic)
    assert "accent" in page and "england" in page
    assert scrapes[-1]["wervane_storage_ok"] == 1.0
    ours = [{name: value for name, value in counters(one).items() if name.startswith("wervane_")} for one in scrapes]
    for before, after in pairwise(ours):
        assert [name for name, value in before.items() if after.get(name, -1.0) < value] == []
    consumed = [sum(one[name] for name in one if name.startswith("wervane_records_consumed_total")) for one in ours]
    assert consumed[2] >= len(traffic.transcripts) / 2, "after a restart known counters are shown at once"


def test_what_was_read_is_shown_soon_even_if_nothing_more_comes(traffic: Traffic, tmp_path: Path) -> None:
    """The last lines before a quiet night must not wait for the morning to be seen."""
    with running(growing(tmp_path)) as process:
        append(tmp_path, upto(traffic, 0.1))
        process.wait_until_seen(upto(traffic, 0.1))
        assert process.stop() == 0


@pytest.mark.slow
def test_files_that_appear_in_a_folder_are_read(traffic: Traffic, tmp_path: Path) -> None:
    """Hourly exports make new files; the one that was there grows no more."""
    folders = {name: tmp_path / name for name in NAMES}
    for folder in folders.values():
        folder.mkdir()
    inputs: dict[str, object] = {name: [str(folder)] for name, folder in folders.items()}
    with running(configure(tmp_path, kind="directory", input=inputs)) as process:
        for hour, part in enumerate((upto(traffic, 0.1), upto(traffic, 0.2, 0.1))):
            assert process.ask("/healthz")[0] == 200
            for name, lines in zip(NAMES, (part.transcripts, part.references), strict=True):
                (folders[name] / f"{hour}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        process.wait_until_seen(upto(traffic, 0.2))
        assert process.stop() == 0
    assert slices(tmp_path / "state") == recount(matched(upto(traffic, 0.2)))


def test_standard_input_is_read_to_its_end(traffic: Traffic, tmp_path: Path) -> None:
    """A pipe mixes both kinds; its end is the end of the run, with every unit closed and all results written."""
    part = upto(traffic, 0.3)
    with running(configure(tmp_path, kind="stdin"), stdin=subprocess.PIPE) as process:
        stdin = process.process.stdin
        assert stdin is not None
        half = len(part.transcripts) // 2
        stdin.write("".join(f"{line}\n" for line in part.transcripts[:half]).encode())
        stdin.flush()
        process.wait_for(lambda: reviews(tmp_path) > 0.7 * half, "half of the lines")
        assert process.process.poll() is None, "an open pipe may bring more"
        stdin.write("\n".join(part.transcripts[half:] + part.references).encode())  # the last line has no end
        stdin.close()
        assert process.end() == 0
    records = json.loads((tmp_path / "state" / "summary.json").read_text())["records"]
    lines = len(part.transcripts) + len(part.references)
    assert records["accepted"] + records["clipped"] + records["rejected"] == lines
    assert slices(tmp_path / "state") == recount(matched(part))
    assert (tmp_path / "state" / "report.html").exists()


def reviews(folder: Path) -> int:
    """Lines handed out to correctors so far: what was read and is durable."""
    path = folder / "state" / "reviews.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0
