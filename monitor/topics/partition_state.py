"""Decides whether a partition's state file fits the partition as it is now, and where to read on after it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from monitor.adapters.kafka.port import LogRefused, Partition, TopicFacts
from monitor.adapters.store import Store
from monitor.core.changes import Change
from monitor.topics.whole_input import made_again

TABLE = "partition"
COUNT = "count"


class Stage(Protocol):
    """A stage of the core: its state is keyed documents."""

    def changes(self) -> list[Change]: ...

    def restore(self, table: str, key: str, value: bytes) -> None: ...


class PartitionState:
    """The state file of one partition. One thread owns it."""

    def __init__(self, store: Store, partition: Partition, facts: TopicFacts, *, keyed: bool = True) -> None:
        """`keyed`: which partition a record lies in matters, so that their number may not change. Raises LogRefused if
        it did, or if the topic was made again.
        """
        self.store = store
        self.partition = partition
        self.upstream = f"{partition}@{facts.topic_id[:8]}"
        """What our records are known by downstream."""
        self._documents = list(store.documents())
        offsets = store.offsets()
        if offsets and self.upstream not in offsets:
            raise made_again(str(partition))
        if keyed:
            self._check_count(facts.partitions)
        self.position = offsets.get(self.upstream)
        """Next offset to read; None without any state: from the beginning."""

    @classmethod
    def open(
        cls, folder: Path, partition: Partition, facts: TopicFacts, fingerprint: str, *, keyed: bool = True
    ) -> PartitionState:
        """Raises what Store.open raises, and LogRefused."""
        store = Store.open(folder / f"{partition}.db", config_sha256=fingerprint)
        try:
            return cls(store, partition, facts, keyed=keyed)
        except BaseException:
            store.close()
            raise

    def _check_count(self, partitions: int) -> None:
        stored = next((value for table, key, value in self._documents if (table, key) == (TABLE, COUNT)), None)
        if stored is None:
            self.store.apply([Change(TABLE, COUNT, str(partitions).encode())])
        elif int(stored) != partitions:
            topic = self.partition.topic
            raise LogRefused(
                f"{topic} has {partitions} partitions and had {int(stored)} when the state was written: records of one "
                "key would lie in two places; give the topic a new name and state.path a new folder, and begin anew"
            )

    def restore(self, stage: Stage, *, but: Iterable[str] = ()) -> dict[str, dict[str, bytes]]:
        """Give the stage its documents back; returns those of the tables in `but`, by table and key."""
        kept: dict[str, dict[str, bytes]] = {table: {} for table in but}
        for table, key, value in self._documents:
            if table in kept:
                kept[table][key] = value
            elif table != TABLE:
                stage.restore(table, key, value)
        self._documents = []
        return kept

    def commit(self, stage: Stage, position: int) -> None:
        """State, outbox and position become durable together. Raises StorageFailed."""
        self.store.apply(stage.changes())
        if position != self.position:
            self.store.set_offset(self.upstream, position)
        self.store.commit()
        self.position = position

    def close(self) -> None:
        """What was not committed is dropped."""
        self.store.close()
