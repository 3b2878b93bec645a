"""What goes wrong around `wervane run`: it says so, keeps what it acknowledged, and ends with the right totals."""

from __future__ import annotations

import gzip
import json
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog

from monitor.adapters.jsonl import Line, SortedArchive
from monitor.adapters.store import StorageFailed, Store
from monitor.agent import Agent
from monitor.building import build_scorer, check_same_archive, state_fingerprint
from monitor.config import Settings, load_settings
from monitor.core.rejections import MESSAGES_MIN, RejectionGuard
from monitor.decoders import event_times
from monitor.results import write_results
from tests.agent.processes import configure, growing, run_to_end, running, slices
from tests.traffic import Traffic, generate, recount

RESULTS = ("slices.csv", "incidents.jsonl", "outcomes.jsonl", "reviews.jsonl", "rejected.jsonl")
"""What must be the same bytes as without the failure."""


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(2_500, starts_at=time.time() - 20 * 86_400.0)


@pytest.fixture(scope="module")
def uninterrupted(traffic: Traffic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert run_to_end(configure(folder, traffic)).process.returncode == 0
    return folder / "state"


# -------------------------------------------------------------------------------------------------------- bad producers
def test_half_of_the_messages_rejected_stops_without_committing_past_them(traffic: Traffic, tmp_path: Path) -> None:
    """A bad producer release must not drain an input into the dead letters: repaired, the same lines are read again."""
    good = Traffic(traffic.transcripts[:400], [])
    config = growing(tmp_path)
    path = tmp_path / "in" / "transcripts.jsonl"
    path.write_text("".join(f"{line}\n" for line in good.transcripts))
    broken = [line.replace('"schema": 1', '"schema": 2') for line in traffic.transcripts[400:1_400]]
    with running(config) as process:
        process.wait_for(lambda: process.seen()[0] > 0, "the good lines")
        with path.open("a") as file:
            file.write("".join(f"{line}\n" for line in broken))
        assert process.end() == 4
    last = process.stderr().splitlines()[-1]
    assert "messages were rejected" in last and "without committing" in last and "wervane schema" in last
    repaired = "".join(f"{line}\n" for line in traffic.transcripts[:1_400])
    path.write_text(repaired)  # as long as before: the same bytes at the same places
    with running(config) as process:
        process.wait_for(lambda: process.seen()[0] == _distinct(traffic.transcripts[:1_400]), "the repaired lines")
        assert process.stop() == 0


def _distinct(lines: Sequence[str]) -> int:
    return len({json.loads(line)["id"] for line in lines if line.endswith("}") and line != "{}"})


@pytest.mark.parametrize("kind", ["files", pytest.param("directory", marks=pytest.mark.slow)])
def test_rejects_among_good_messages_do_not_stop_it(kind: str, traffic: Traffic, tmp_path: Path) -> None:
    """One bad message in four is no reason to stop watching the other three, wherever an archive sorts them to."""
    lines = [
        line for number, line in enumerate(traffic.transcripts) for line in ([line, "{}"] if number % 3 else [line])
    ]
    rejects = lines.count("{}")
    assert rejects > 1.5 * MESSAGES_MIN and rejects < 0.45 * len(lines)
    config = configure(tmp_path, Traffic(lines, []), kind=kind)
    with running(config) as process:
        if kind == "directory":
            process.wait_for(lambda: process.seen()[0] == _distinct(lines), "the good lines")
            assert process.stop() == 0
        else:
            assert process.end() == 0, process.stderr()


# --------------------------------------------------------------------------------------------------------------- inputs
@pytest.mark.parametrize("kind", ["files", "directory"])
def test_an_input_that_is_missing_names_itself(kind: str, tmp_path: Path) -> None:
    """Exit 4, one line, the path: what a person on call needs at night."""
    config = configure(tmp_path, Traffic([], []), kind=kind)
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    (tmp_path / "in").rmdir()
    ended = run_to_end(config)
    assert ended.process.returncode == 4
    assert str(tmp_path / "in") in ended.stderr().splitlines()[-1]
    assert "Traceback" not in ended.stderr()


def test_a_damaged_archive_names_itself(traffic: Traffic, tmp_path: Path) -> None:
    """A cut download must not be taken for a whole one."""
    config = configure(tmp_path, Traffic(traffic.transcripts[:500], traffic.references[:100]))
    plain = tmp_path / "in" / "transcripts.jsonl"
    packed = tmp_path / "in" / "transcripts.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes())[:-2_000])
    config.write_text(config.read_text().replace(str(plain), str(packed)))
    ended = run_to_end(config)
    assert ended.process.returncode == 4
    assert str(packed) in ended.stderr() and "cut off" in ended.stderr()


# ---------------------------------------------------------------------------------------------------------------- state
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_a_damaged_state_is_recovered_or_refused_by_name(
    seed: int, traffic: Traffic, uninterrupted: Path, tmp_path: Path
) -> None:
    """Never a silent difference: the same totals as without the damage, or exit 4 with the file's name."""
    config = _interrupted(tmp_path, traffic, uninterrupted)
    state = tmp_path / "state" / "partition-0.db"
    chance = random.Random(seed)
    content = bytearray(state.read_bytes())
    for _ in range(chance.randint(1, 40)):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    if seed % 3 == 1:
        content = content[: chance.randrange(len(content))]
    state.write_bytes(content)
    ended = run_to_end(config)
    if ended.process.returncode == 4:
        assert "partition-0" in ended.stderr()
        return
    assert ended.process.returncode == 0, ended.stderr()
    assert ended.events("state_recovered") or bytes(content) == state.read_bytes()
    for name in RESULTS:
        assert (tmp_path / "state" / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def test_both_generations_damaged_is_refused_and_nothing_is_touched(
    traffic: Traffic, uninterrupted: Path, tmp_path: Path
) -> None:
    """Beginning anew behind somebody's back would count everything twice downstream."""
    config = _interrupted(tmp_path, traffic, uninterrupted)
    states = [tmp_path / "state" / name for name in ("partition-0.db", "partition-0.previous.db")]
    for path in states:
        content = bytearray(path.read_bytes())
        content[len(content) // 2 :: 97] = b"\xff" * len(content[len(content) // 2 :: 97])
        path.write_bytes(content)
    before = [path.read_bytes() for path in states]
    ended = run_to_end(config)
    assert ended.process.returncode == 4
    assert all(str(path) in ended.stderr() for path in states)
    assert [path.read_bytes() for path in states] == before


def _interrupted(folder: Path, traffic: Traffic, uninterrupted: Path) -> Path:
    """A state from the middle of a run: killed once it had handed out half of what an uninterrupted run does."""
    config = configure(folder, traffic)
    half = (uninterrupted / "outcomes.jsonl").stat().st_size // 2
    agent, source = _agent(load_settings(config, {}), folder / "state")
    while (folder / "state" / "outcomes.jsonl").stat().st_size < half:
        for line in source.poll(500):
            agent.feed(line)
        agent.checkpoint()
    agent.close()
    return config


def test_a_second_process_on_the_same_state_is_refused(tmp_path: Path) -> None:
    """Two writers would each undo what the other did; the first one must not notice."""
    config = growing(tmp_path)
    with running(config) as first:
        _ = first.address
        second = run_to_end(config)
        assert second.process.returncode == 4
        assert "another wervane process uses state" in second.stderr()
        assert first.ask("/healthz")[0] == 200
        assert first.stop() == 0


# -------------------------------------------------------------------------------------------------------------- storage
def _agent(settings: Settings, folder: Path, store_class: type[Store] = Store) -> tuple[Agent, SortedArchive]:
    """As `run_agent` builds it."""
    folder.mkdir(exist_ok=True)
    source = SortedArchive(settings.input.transcripts, settings.input.references, event_time=event_times(settings))
    store = store_class.open(folder / "partition-0.db", config_sha256=state_fingerprint(settings))
    if not list(store.documents()):
        check_same_archive(store, source.signature)

    def clock(_line: Line) -> float:
        return time.time()

    agent = Agent(
        settings,
        source=source,
        clock=clock,
        store=store,
        scorer=build_scorer(settings),
        folder=folder,
        log=structlog.get_logger(),
        guard=RejectionGuard(),
    )
    return agent, source


class FailingStore(Store):
    """One of its commits fails, before or after it took effect: nobody can know which."""

    after = False
    left = 6

    def commit(self) -> None:
        if self._database.in_transaction or self._dirty:
            FailingStore.left -= 1
            if FailingStore.left == 0:
                if self.after:
                    super().commit()
                raise StorageFailed("state partition-0.db: disk I/O error")
        super().commit()


@pytest.fixture(params=[False, True], ids=["lost", "acknowledgement lost"])
def failing(request: pytest.FixtureRequest) -> Iterator[type[FailingStore]]:
    FailingStore.after, FailingStore.left = request.param, 6
    yield FailingStore


def test_a_failed_commit_is_ambiguous_and_reopening_is_right_in_both_cases(
    failing: type[FailingStore], traffic: Traffic, uninterrupted: Path, tmp_path: Path
) -> None:
    """Drop memory, open again, read on from what the state says: the same bytes, whether it had been written or not."""
    settings = load_settings(configure(tmp_path, traffic), {})
    folder = tmp_path / "state"
    agent, source = _agent(settings, folder, failing)
    with pytest.raises(StorageFailed):
        for _ in range(100):
            for line in source.poll(300):
                agent.feed(line)
            agent.checkpoint()
    agent.close()
    agent, _ = _agent(settings, folder)
    agent.run(threading.Event())
    agent.finish()
    write_results(folder, agent.snapshot, agent.pipeline)
    agent.close()
    for name in RESULTS:
        assert (folder / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def test_a_full_disk_is_waited_for_and_nothing_is_lost(traffic: Traffic, tmp_path: Path) -> None:
    """Metrics go on, say that nothing is durable, and the process recovers by itself when there is room again."""
    config = growing(tmp_path)
    with running(config) as process:
        assert process.metrics()["wervane_storage_ok"] == 1.0
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        traffic.write(tmp_path / "in")
        process.wait_for(lambda: process.events("storage_failed"), "the full disk")
        process.wait_for(lambda: process.metrics()["wervane_storage_ok"] == 0.0, "the metric")
        assert process.ask("/healthz")[0] == 200, "restarting would not help"
        assert process.ask("/readyz")[0] == 503
        assert process.ask("/")[0] == 200
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        process.wait_until_seen(traffic)
        assert process.metrics()["wervane_storage_ok"] == 1.0
        assert process.stop() == 0
    assert slices(tmp_path / "state") == recount(traffic)


FULL_UNDER_RESULTS = """
import errno, os
import monitor.adapters.files as files
from monitor.cli import main

append, left = files.LineFile.append, [2]

def failing(self, lines):
    if self.path.name == "outcomes.jsonl" and lines and left[0]:
        left[0] -= 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
    append(self, lines)

files.LineFile.append = failing
main()
"""


def test_a_disk_that_is_full_under_the_results_is_waited_for_too(
    traffic: Traffic, uninterrupted: Path, tmp_path: Path
) -> None:
    """outcomes.jsonl grows faster than the state does: it is the first to find the disk full."""
    config = configure(tmp_path, traffic)
    ended = subprocess.run(
        [sys.executable, "-c", FULL_UNDER_RESULTS, "run", "--config", str(config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    for name in RESULTS:
        assert (tmp_path / "state" / name).read_bytes() == (uninterrupted / name).read_bytes(), name


# -------------------------------------------------------------------------------------------------------- configuration
def test_several_mistakes_are_all_listed_and_nothing_is_started(tmp_path: Path) -> None:
    """One round of repair instead of six: path, value, what is wanted, an example; exit 2."""
    config = tmp_path / "wervane.yaml"
    config.write_text(
        "input: {kind: carrier-pigeon}\n"
        "sampling: {probability: 0.5, labels_per_day: 100}\n"
        "labels: {ttl: soon, maturity: 10d}\n"
        "decide: {page_budgets: 1, margin: 7}\n"
        "serve: {port: 99999}\n"
        f"state: {{path: {tmp_path / 'state'}}}\n"
        "slices: {intersections: [[accent]]}\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "monitor", "run", "--config", str(config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2 and ended.stdout == ""
    told = {line.partition(":")[0].split(" (")[0] for line in ended.stderr.splitlines()}
    wanted = ("input.kind", "labels.ttl", "decide.page_budgets", "decide.margin", "serve.port", "slices.intersections")
    assert set(wanted) <= told
    assert any(line.startswith("sampling") for line in ended.stderr.splitlines())
    assert "page_budget" in ended.stderr and ", want " in ended.stderr and "e.g." in ended.stderr
    assert not (tmp_path / "state").exists()
