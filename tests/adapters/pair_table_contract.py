"""The one contract of `PairTable`, run against each implementation by a subclass that makes a table.

test_store_pairs.py holds the subclasses. Where the two disagree, a test with the table in memory proves nothing.
"""

from __future__ import annotations

import math
import random

from monitor.core.pairing_port import HeldReference, HeldTranscript, PairTable
from monitor.core.records import Source

KEY_MAX = (1 << 64) - 1


def transcript(
    key: int, event_at: float = 100.0, text: str = "a ward round", session: str | None = None, accent: str = "scottish"
) -> HeldTranscript:
    return HeldTranscript(
        key=key,
        event_at=event_at,
        customer="hospital",
        deployment="clinical",
        labels=(accent, "unknown"),
        model="m1",
        language="en",
        session=session,
        speaker="0123456789abcdef",
        inclusion_probability=0.05,
        digest=key.to_bytes(16, "little"),
        text=text,
    )


def reference(key: int, revision: int = 1, event_at: float = 200.0, text: str = "award round") -> HeldReference:
    return HeldReference(
        key=key,
        event_at=event_at,
        revision=revision,
        digest=bytes((revision,)) * 32,
        source=Source.SAMPLED,
        annotator=None,
        text=text,
    )


class PairTableContract:
    """Subclass, name it Test..., and make a table."""

    def make(self) -> PairTable:
        raise NotImplementedError

    def test_transcript_comes_back_equal(self) -> None:
        """A lost field would be scored under the wrong slice."""
        table = self.make()
        held = [
            transcript(0),
            transcript(KEY_MAX, session="not a hash", text=""),
            transcript(1 << 63, session="00ff00ff00ff00ff", text="éà 字 " * 300),
        ]
        for one in held:
            table.put_transcript(one)
        assert [table.transcript(one.key) for one in held] == held
        assert table.transcript(5) is None

    def test_put_replaces(self) -> None:
        """Another version of an utterance is marked, not added."""
        table = self.make()
        table.put_transcript(transcript(7, event_at=100.0))
        table.put_transcript(transcript(7, event_at=50.0, text="other", accent="welsh"))
        assert table.transcript(7) == transcript(7, event_at=50.0, text="other", accent="welsh")
        assert table.pending() == 1
        assert [held.key for held in table.expire_transcripts(60.0, 10)] == [7]

    def test_mark_referenced_sets_only_that(self) -> None:
        """Whether a reference was scored decides what its absence at expiry means."""
        table = self.make()
        table.put_transcript(transcript(7))
        table.mark_referenced(7)
        table.mark_referenced(8)
        found = table.transcript(7)
        assert found is not None and found.referenced and found.text == "a ward round"

    def test_references_by_rank_and_identity(self) -> None:
        """Versions arrive in any order, and again."""
        table = self.make()
        for revision in (3, 1, 2, 3):
            table.put_reference(reference(9, revision))
        table.put_reference(reference(9, 2, event_at=150.0))
        assert [(held.revision, held.event_at) for held in table.references(9)] == [
            (1, 200.0),
            (2, 150.0),
            (2, 200.0),
            (3, 200.0),
        ]
        assert table.references(9)[0] == reference(9, 1)

    def test_pending_and_waiting_count_the_unpaired(self) -> None:
        """Coverage is read off these two."""
        table = self.make()
        table.put_reference(reference(1))
        table.put_reference(reference(1, 2))
        table.put_transcript(transcript(2))
        assert (table.pending(), table.waiting()) == (1, 2)
        table.put_transcript(transcript(1))
        assert (table.pending(), table.waiting()) == (1, 0)
        table.put_reference(reference(2))
        assert (table.pending(), table.waiting()) == (0, 0)
        assert len(table.expire_transcripts(math.inf, 1)) == 1
        assert (table.pending(), table.waiting(), table.held()) == (0, 0, 2)

    def test_erase_forgets_both_sides(self) -> None:
        """A tombstone is a person's request."""
        table = self.make()
        table.put_transcript(transcript(1))
        table.put_reference(reference(1))
        table.erase(1)
        table.erase(2)
        assert table.transcript(1) is None and table.references(1) == []
        assert (table.pending(), table.waiting(), table.held_bytes()) == (0, 0, 0)

    def test_one_version_can_be_let_go(self) -> None:
        """The bound on versions of an utterance keeps the greatest ones."""
        table = self.make()
        table.put_transcript(transcript(9))
        for revision in (1, 2):
            table.put_reference(reference(9, revision))
        table.drop_reference(reference(9, 1))
        table.drop_reference(reference(9, 7))
        assert [held.revision for held in table.references(9)] == [2] and table.held() == 2

    def test_expiry_goes_by_time_then_key_within_its_limit(self) -> None:
        """The same records in another order must expire in the same order."""
        table = self.make()
        for key, event_at in ((5, 10.0), (KEY_MAX, 10.0), (3, 20.0), (4, 5.0), (9, 30.0)):
            table.put_transcript(transcript(key, event_at))
        first = table.expire_transcripts(30.0, 2)
        assert (
            [held.key for held in first] == [4, 5]
            and first[0].text == ""
            and first[0].labels == ("scottish", "unknown")
        )
        assert [held.key for held in table.expire_transcripts(30.0, 9)] == [KEY_MAX, 3]
        assert table.expire_transcripts(30.0, 9) == [] and table.pending() == 1

    def test_references_expire_with_their_transcript_or_waiting_for_it(self) -> None:
        """While the hypothesis is held, its winner must be known; afterwards nothing of it may look unmatched."""
        table = self.make()
        table.put_transcript(transcript(1, 100.0))
        for held in (reference(1, 1, 50.0), reference(2, 2, 50.0), reference(2, 1, 50.0), reference(3, 1, 40.0)):
            table.put_reference(held)
        assert [(held.key, held.revision) for held in table.expire_references(99.0, 2)] == [(3, 1), (2, 1)]
        table.expire_transcripts(math.inf, 9)
        assert [(held.key, held.revision) for held in table.expire_references(99.0, 9)] == [(2, 2)]
        assert table.waiting() == 0

    def test_drop_above_keeps_the_smaller_keys(self) -> None:
        """What is left must be a uniform sample of known probability."""
        table = self.make()
        for key in (1, 10, 11, KEY_MAX):
            table.put_transcript(transcript(key))
            table.put_reference(reference(key))
        table.put_reference(reference(12))
        assert table.drop_above(11) == 2
        assert [table.transcript(key) is not None for key in (1, 10, 11, KEY_MAX)] == [True, True, False, False]
        assert table.references(11) == table.references(12) == [] and table.waiting() == 0

    def test_held_bytes_follows_what_is_held(self) -> None:
        """The storage budget is steered by it."""
        table = self.make()
        table.put_transcript(transcript(1, text="word " * 10))
        small = table.held_bytes()
        table.put_reference(reference(1))
        assert 0 < small < table.held_bytes()
        table.drop_above(0)
        assert table.held_bytes() == 0


def same_random_operations(left: PairTable, right: PairTable, seed: int, steps: int) -> None:
    """Drive two tables by the same random operations and compare every answer."""
    rng = random.Random(seed)
    keys = [rng.getrandbits(64) for _ in range(40)]
    for _ in range(steps):
        key, event_at = rng.choice(keys), float(rng.randrange(100))
        choice = rng.randrange(11)
        if choice < 4:
            held = transcript(key, event_at, text="w" * rng.randrange(200), accent=f"accent-{rng.randrange(9)}")
            left.put_transcript(held)
            right.put_transcript(held)
        elif choice < 7:
            corrected = reference(key, rng.randrange(1, 4), event_at)
            left.put_reference(corrected)
            right.put_reference(corrected)
        elif choice == 7:
            left.mark_referenced(key)
            right.mark_referenced(key)
        elif choice == 8:
            left.erase(key)
            right.erase(key)
        elif choice == 9:
            limit = rng.randrange(1, 6)
            assert left.expire_transcripts(event_at / 4, limit) == right.expire_transcripts(event_at / 4, limit)
            assert left.expire_references(event_at / 3, limit) == right.expire_references(event_at / 3, limit)
        elif rng.random() < 0.2:
            threshold = max(keys) - rng.getrandbits(60)
            assert left.drop_above(threshold) == right.drop_above(threshold)
        assert (left.pending(), left.waiting()) == (right.pending(), right.waiting())
        assert left.transcript(key) == right.transcript(key)
        assert left.references(key) == right.references(key)
