"""Inputs that grow while `wervane run` reads them, and what it answers meanwhile."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.agent.processes import Running, configure, counters, running, slices
from tests.traffic import Traffic, generate, recount


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(3_000, starts_at=time.time() - 20 * 86_400.0)


def count(traffic: Traffic) -> int:
    return len(traffic.transcripts) + len(traffic.references)


def append(folder: Path, traffic: Traffic, *, torn: bool = False) -> None:
    """Write to the growing files; torn: the last line's end is still to come."""
    for name, lines in (("transcripts", traffic.transcripts), ("references", traffic.references)):
        text = "".join(f"{line}\n" for line in lines)
        with (folder / "in" / f"{name}.jsonl").open("a") as file:
            file.write(text[:-20] if torn else text)
        if torn:
            (folder / f"{name}.rest").write_text(text[-20:])


def mend(folder: Path) -> None:
    for name in ("transcripts", "references"):
        with (folder / "in" / f"{name}.jsonl").open("a") as file:
            file.write((folder / f"{name}.rest").read_text())


def parts(traffic: Traffic, pieces: int) -> list[Traffic]:
    """The traffic in this many pieces."""
    t, r = (len(lines) // pieces + 1 for lines in (traffic.transcripts, traffic.references))
    return [
        Traffic(traffic.transcripts[i * t : (i + 1) * t], traffic.references[i * r : (i + 1) * r]) for i in range(pieces)
    ]


def await_consumed(process: Running, messages: int) -> dict[str, float]:
    """The first scrape that shows so many messages."""
    process.wait_for(lambda: process.consumed() >= messages, f"{messages} messages")
    assert process.consumed() == messages
    return process.metrics()


def test_a_directory_that_grows_is_followed_across_a_restart(traffic: Traffic, tmp_path: Path) -> None:
    """Lines appended while it runs, cut in the middle, and while it is down: each counts once; SIGTERM is a clean end."""
    config = configure(tmp_path, kind="directory")
    for name in ("transcripts", "references"):
        (tmp_path / "in" / f"{name}.jsonl").write_text("")
    first, second, third, fourth = parts(traffic, 4)
    append(tmp_path, first)
    with running(config) as process:
        before = await_consumed(process, count(first))
        append(tmp_path, second, torn=True)
        await_consumed(process, count(first) + count(second) - 2)
        mend(tmp_path)
        after = await_consumed(process, count(first) + count(second))
        assert process.stop() == 0
        assert process.events("stopped") and not process.events("input_problem")
    assert all(after[name] >= value for name, value in counters(before).items())
    append(tmp_path, third)
    with running(config) as process:
        again = await_consumed(process, count(first) + count(second) + count(third))
        append(tmp_path, fourth)
        await_consumed(process, count(traffic))
        assert process.stop() == 0
    pipeline = [name for name in counters(after) if name.startswith("wervane_re")]
    assert pipeline and all(again[name] >= after[name] for name in pipeline), "a restart loses no count"
    assert slices(tmp_path / "state") == recount(traffic)


def test_a_file_that_appears_in_a_folder_is_read(traffic: Traffic, tmp_path: Path) -> None:
    """Log rotation and hourly exports make new files; the one that was there grows no more."""
    part = parts(traffic, 6)[0]
    folders = {"transcripts": tmp_path / "t", "references": tmp_path / "r"}
    for folder in folders.values():
        folder.mkdir()
    inputs: dict[str, object] = {name: [str(folder)] for name, folder in folders.items()}
    config = configure(tmp_path, kind="directory", input=inputs)
    with running(config) as process:
        _ = process.address
        for hour in range(2):
            (folders["transcripts"] / f"{hour}.jsonl").write_text("\n".join(part.transcripts[hour::2]) + "\n")
            (folders["references"] / f"{hour}.jsonl").write_text("\n".join(part.references[hour::2]) + "\n")
            half = len(part.transcripts[:: 2 - hour]) + len(part.references[:: 2 - hour])
            await_consumed(process, half)
        assert process.stop() == 0
    assert slices(tmp_path / "state")["all"] == recount(part)["all"]


def test_standard_input_is_read_to_its_end(traffic: Traffic, tmp_path: Path) -> None:
    """A pipe mixes both kinds; its end is the end of the run, with every unit closed and results written."""
    part = parts(traffic, 3)[0]
    config = configure(tmp_path, kind="stdin")
    with running(config, stdin=subprocess.PIPE) as process:
        stdin = process.process.stdin
        assert stdin is not None
        half = len(part.transcripts) // 2
        stdin.write("".join(f"{line}\n" for line in part.transcripts[:half]).encode())
        stdin.flush()
        await_consumed(process, half)
        stdin.write("\n".join(part.transcripts[half:] + part.references).encode())  # the last line has no end
        stdin.close()
        assert process.end() == 0
    summary = json.loads((tmp_path / "state" / "summary.json").read_text())
    assert sum(summary["records"][name] for name in ("accepted", "clipped", "rejected")) == count(part)
    known = {json.loads(line)["id"] for line in part.transcripts if line.endswith("}")}
    matched = Traffic(part.transcripts, [line for line in part.references if json.loads(line)["id"] in known])
    assert slices(tmp_path / "state") == recount(matched)


def test_what_was_read_is_shown_soon_even_if_nothing_more_comes(traffic: Traffic, tmp_path: Path) -> None:
    """The last lines before a quiet night must not wait for the morning to be seen."""
    config = configure(tmp_path, kind="directory")
    for name in ("transcripts", "references"):
        (tmp_path / "in" / f"{name}.jsonl").write_text("")
    with running(config) as process:
        read = 0
        for piece in parts(parts(traffic, 10)[0], 3):
            append(tmp_path, piece)
            read += count(piece)
            await_consumed(process, read)
        assert process.stop() == 0


def test_metrics_health_and_page_are_answered_while_it_runs(traffic: Traffic, tmp_path: Path) -> None:
    """Prometheus, probes and people get an answer at any moment, and no counter ever falls."""
    config = configure(tmp_path, kind="directory")
    for name in ("transcripts", "references"):
        (tmp_path / "in" / f"{name}.jsonl").write_text("")
    with running(config) as process:
        scrapes = [process.metrics()]
        for piece in parts(traffic, 4):
            append(tmp_path, piece)
            for path in ("/healthz", "/readyz", "/", "/api/v1/slices", "/api/v1/incidents"):
                assert process.ask(path)[0] == 200, path
            scrapes.append(process.metrics())
        scrapes.append(await_consumed(process, count(traffic)))
        status, health = process.ask("/healthz")
        assert (status, json.loads(health)["ok"]) == (200, True)
        _, page = process.ask("/")
        assert "accent" in page and "england" in page and "<html" in page
        assert process.ask("/nothing")[0] == 404
        assert process.stop() == 0
    for before, after in zip(scrapes, scrapes[1:], strict=False):
        fallen = [name for name, value in counters(before).items() if after.get(name, -1.0) < value]
        assert fallen == []
    assert scrapes[-1]["wervane_storage_ok"] == 1.0
