"""A partition's state: it fits the partition as it is now, or is refused in words that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.adapters.kafka.port import LogRefused, Partition, TopicFacts
from monitor.adapters.store import StateRefused, StorageFailed
from monitor.core.changes import Change
from monitor.topics.partition_state import PartitionState

PARTITION = Partition("pairs", 3)
FACTS = TopicFacts(topic_id="1f2e3d4c" + "0" * 24, partitions=6)


class Notes:
    """A stage that remembers what it is given."""

    def __init__(self, *pending: Change) -> None:
        self.pending = list(pending)
        self.restored: list[tuple[str, str, bytes]] = []

    def changes(self) -> list[Change]:
        pending, self.pending = self.pending, []
        return pending

    def restore(self, table: str, key: str, value: bytes) -> None:
        self.restored.append((table, key, value))


def opened(folder: Path, facts: TopicFacts = FACTS, partition: Partition = PARTITION) -> PartitionState:
    return PartitionState.open(folder, partition, facts, "fingerprint")


def test_without_a_state_it_begins_at_the_beginning(tmp_path: Path) -> None:
    """None, not 0: where the log begins is for the broker to say."""
    state = opened(tmp_path)
    assert state.position is None and state.upstream == "pairs-3@1f2e3d4c"
    notes = Notes()
    assert state.restore(notes) == {} and notes.restored == []


def test_documents_and_position_come_back_together(tmp_path: Path) -> None:
    """Read on before the position, and it counts twice; behind it, and it never counts."""
    state = opened(tmp_path)
    state.restore(Notes())
    state.commit(Notes(Change("totals", "a", b"1"), Change("files", "incidents", b"7")), 40)
    state.commit(Notes(Change("totals", "b", b"2")), 41)
    state.close()
    again, notes = opened(tmp_path), Notes()
    assert again.position == 41
    assert again.restore(notes, but=("files",)) == {"files": {"incidents": b"7"}}
    assert notes.restored == [("totals", "a", b"1"), ("totals", "b", b"2")], "in order, and nothing of our own"


def test_what_was_not_committed_is_dropped(tmp_path: Path) -> None:
    """The partition went to somebody else in the meantime, who reads it again."""
    state = opened(tmp_path)
    state.commit(Notes(Change("totals", "a", b"1")), 40)
    state.store.apply([Change("totals", "a", b"2")])
    state.store.set_offset(state.upstream, 50)
    state.close()
    again, notes = opened(tmp_path), Notes()
    again.restore(notes)
    assert (again.position, notes.restored) == (40, [("totals", "a", b"1")])


def test_a_failed_commit_does_not_move_the_position(tmp_path: Path) -> None:
    """It is what the group is told."""
    state = opened(tmp_path)
    state.commit(Notes(), 40)
    state.store._database.broken = "no space left"
    with pytest.raises(StorageFailed):
        state.commit(Notes(Change("totals", "a", b"1")), 50)
    assert state.position == 40


def test_a_topic_that_was_made_again_is_refused(tmp_path: Path) -> None:
    """Offset 40 of another topic of the same name is another record."""
    state = opened(tmp_path)
    state.commit(Notes(), 40)
    state.close()
    with pytest.raises(LogRefused, match=r"pairs-3: the topic was deleted and made again .* state\.path"):
        opened(tmp_path, TopicFacts(topic_id="f" * 32, partitions=6))
    opened(tmp_path).close()  # and nothing of it was changed, or is still locked


def test_another_number_of_partitions_is_refused(tmp_path: Path) -> None:
    """What has one key would lie in two partitions from now on, each with half of its past."""
    state = opened(tmp_path)
    state.commit(Notes(), 40)
    state.close()
    with pytest.raises(LogRefused, match="pairs has 7 partitions and had 6 when the state was written"):
        opened(tmp_path, TopicFacts(FACTS.topic_id, 7))
    opened(tmp_path).close()


def test_partitions_have_files_of_their_own(tmp_path: Path) -> None:
    """One process has several, and topics may share a folder."""
    states = [opened(tmp_path, partition=Partition(topic, 0)) for topic in ("pairs", "outcomes")]
    for position, state in enumerate(states, 40):
        state.commit(Notes(), position)
        state.close()
    assert {path.name for path in tmp_path.glob("*-0.db")} == {"pairs-0.db", "outcomes-0.db"}
    assert opened(tmp_path, partition=Partition("outcomes", 0)).position == 41


def test_a_state_that_another_has_open_is_refused(tmp_path: Path) -> None:
    """Two writers of one file would each lose what the other wrote."""
    state = opened(tmp_path)
    with pytest.raises(StateRefused, match="another wervane process uses state"):
        opened(tmp_path)
    state.close()
    opened(tmp_path).close()
