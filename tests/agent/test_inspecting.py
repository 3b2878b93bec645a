"""Inspecting: tools see what an agent or a replay came to know, without a lock on it, and no text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from monitor.adapters.store_files import StateRefused
from monitor.config import Settings, load_settings
from monitor.inspecting import read_customers
from tests.agent.processes import Running, configure
from tests.traffic import Traffic, generate


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(600, starts_at=time.time() - 20 * 86_400.0)


@pytest.fixture
def ended(traffic: Traffic, tmp_path: Path) -> Settings:
    """Settings of an agent that has read everything and stopped."""
    config = configure(tmp_path, traffic)
    assert Running(config).process.wait(timeout=60) == 0
    return load_settings(config, {})


def pairs(settings: Settings, folder: Path | None = None) -> int:
    return next(row.pairs for row in read_customers(settings, folder).slice_rows() if row.slice == "all")


def test_a_stopped_agent_s_state_is_read(ended: Settings) -> None:
    """And left as it was: the agent goes on with it."""
    state = Path(ended.state.path) / "partition-0.db"
    before = state.read_bytes()
    assert pairs(ended) > 300
    assert state.read_bytes() == before


def test_a_running_agent_s_last_generation_is_read(traffic: Traffic, tmp_path: Path) -> None:
    """A tool must not stop the agent, nor the agent keep people from looking."""
    config = configure(tmp_path, traffic, kind="directory")
    settings, agent = load_settings(config, {}), Running(config)
    try:
        agent.wait_for(lambda: agent.metrics() != {}, "metrics")
        assert list(read_customers(settings).deciders()) == [] or pairs(settings) >= 0
    finally:
        agent.process.terminate()
        agent.process.wait(timeout=20)


def test_other_settings_are_refused(ended: Settings, tmp_path: Path) -> None:
    """Under other dimensions the same labels would mean something else."""
    other = load_settings(None, {}, {"slices.dimensions": ["device"], "state.path": ended.state.path})
    with pytest.raises(StateRefused, match="other settings"):
        read_customers(other)


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_a_state_is_named(made: bool, tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    if made:
        folder.mkdir()
    with pytest.raises(StateRefused, match="nowhere"):
        read_customers(load_settings(None, {}), folder)


def test_a_damaged_file_of_a_replay_is_named(tmp_path: Path) -> None:
    (tmp_path / "decisions.zst").write_bytes(b"rubbish")
    with pytest.raises(StateRefused, match=r"decisions\.zst"):
        read_customers(load_settings(None, {}), tmp_path)
