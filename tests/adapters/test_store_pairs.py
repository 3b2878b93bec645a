"""Both implementations of `PairTable` keep its contract, and agree under random operations."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.adapters import store as store_module
from monitor.adapters.store import Store
from monitor.core.pairing_port import MemoryPairTable, PairTable
from tests.adapters.pair_table_contract import PairTableContract, same_random_operations, transcript


class TestMemory(PairTableContract):
    def make(self) -> PairTable:
        return MemoryPairTable()


class TestStore(PairTableContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "partition-0.db"

    def make(self) -> PairTable:
        return Store.open(self.path, config_sha256="c")


@pytest.mark.parametrize("seed", range(6))
def test_store_agrees_with_memory(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random operations, reopened and rotated in between: indexes rebuilt from the file equal those that grew."""
    monkeypatch.setattr(store_module, "PROFILES_MAX", 4)  # so that rows with and without a shared profile occur
    memory = MemoryPairTable()
    for session in range(4):
        store = Store.open(tmp_path / "partition-0.db", config_sha256="c")
        same_random_operations(store, memory, seed * 10 + session, 400)
        held = store.held_bytes()
        store.commit()
        if session % 2:
            store.rotate()
        store.close()
        with_scan = Store.open(tmp_path / "partition-0.db", config_sha256="c")
        assert with_scan.held_bytes() == held and with_scan.recovered is None
        with_scan.close()


def test_hostile_accents_share_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles are bounded: past the bound a row carries its own, and room is made when rows go."""
    monkeypatch.setattr(store_module, "PROFILES_MAX", 8)
    store = Store.open(tmp_path / "partition-0.db", config_sha256="c")
    for key in range(50):
        store.put_transcript(transcript(key, accent=f"accent-{key}"))
    assert len(store._profiles) == 8
    assert [store.transcript(key) for key in range(50)] == [
        transcript(key, accent=f"accent-{key}") for key in range(50)
    ]
    store.drop_above(0)
    store.commit()
    assert store._profiles == {} and store._profile_rows.totals.count == 0
