"""Tracking: totals are exact, whatever is corrected later."""

from __future__ import annotations

import random

from monitor.core.records import Source
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.tracking import Tracker, slice_row
from tests.builders import HOUR, MARCH_2, observation, outcome

ENGLAND, INDIAN, NOBODY = ("england", "wards"), ("indian", "wards"), ("unknown", "wards")


def tracker() -> Tracker:
    return Tracker(Slicing(SliceSettings(), "acme"), "acme")


def totals(tracked: Tracker) -> dict[str, tuple[int, int, int, float | None, int]]:
    rows = [slice_row("acme", slice_, sums, None) for slice_, sums in tracked.rows()]
    return {row.slice: (row.transcripts, row.pairs, row.counts.errors, row.wer, row.clusters) for row in rows}


def test_the_groups_of_a_dimension_add_up_to_all() -> None:
    """An utterance without a declared accent is `unknown`: a group of its own, in no intersection."""
    tracked = tracker()
    for key, labels in enumerate((ENGLAND, ENGLAND, INDIAN, NOBODY)):
        tracked.observe(observation(key, labels=labels))
        tracked.score(outcome(key, labels=labels, errors=key))
    seen = totals(tracked)
    accents = [row for name, row in seen.items() if name.startswith("accent=") and "&" not in name]
    for column in range(3):
        assert sum(row[column] for row in accents) == seen["all"][column]  # type: ignore[misc]
    assert "accent=unknown" in seen
    assert not any("&" in name and "=unknown" in name for name in seen)


def test_a_revision_leaves_what_it_would_have_been_without_the_first() -> None:
    """The old counts are subtracted, from clusters and their squares too."""
    revised, direct = tracker(), tracker()
    for tracked in (revised, direct):
        tracked.score(outcome(1, errors=3, speaker="s"))
    first, second = outcome(2, errors=9, speaker="s"), outcome(2, errors=2, speaker="s", revision=2)
    revised.score(first)
    revised.score(outcome(2, errors=9, speaker="s", counts=-1))
    revised.score(second)
    direct.score(second)
    assert totals(revised) == totals(direct)


def test_any_order_gives_the_same_bits() -> None:
    """Sums are integers: no rounding remembers the order."""
    pieces = [
        outcome(key, errors=key % 4, words=5 + key % 7, speaker=f"s{key % 9}", inclusion_probability=0.3)
        for key in range(200)
    ]
    expected = None
    for seed in range(5):
        random.Random(seed).shuffle(pieces)
        tracked = tracker()
        for piece in pieces:
            tracked.score(piece)
        seen = [slice_row("acme", slice_, sums, None) for slice_, sums in tracked.rows()]
        expected = expected or seen
        assert seen == expected


def test_inclusion_probabilities_weigh_the_wer() -> None:
    """A stratum sampled at a tenth counts ten times."""
    tracked = tracker()
    tracked.score(outcome(1, errors=0, words=10, inclusion_probability=1.0))
    tracked.score(outcome(2, errors=10, words=10, inclusion_probability=0.1))
    wer = totals(tracked)["all"][3]
    assert wer is not None and abs(wer - 10 / 11) < 1e-4  # weights are rounded to 16 binary digits


def test_empty_references_and_complaints_stay_outside_the_wer() -> None:
    """Hallucinated words have no reference words to be divided by; complaints are no sample."""
    tracked = tracker()
    empty = outcome(1, words=0, errors=0)
    score = empty.score
    hallucination = type(score)(
        counts=type(score.counts)(hits=0, substitutions=0, deletions=0, insertions=7),
        strict_errors=0, strict_words=0, profile="test@0", empty_reference=True,
    )  # fmt: skip
    tracked.score(outcome(1, score=hallucination))
    tracked.score(outcome(2, errors=10, source=Source.FLAGGED))
    (_, sums), *_ = tracked.rows()
    assert sums.moments.ratio() is None
    assert (sums.hallucinated_words, sums.empty_references, sums.biased_errors, sums.pairs) == (7, 1, 10, 0)


def test_the_last_reference_does_not_depend_on_the_order_of_versions() -> None:
    """A loser's time counts too, else shuffled input would change the file."""
    early = outcome(1, reference_at=MARCH_2 + HOUR, revision=2)
    late_loser = outcome(1, reference_at=MARCH_2 + 9 * HOUR, counts=0)
    for pieces in ((early, late_loser), (late_loser, early)):
        tracked = tracker()
        for piece in pieces:
            tracked.score(piece)
        (_, sums), *_ = tracked.rows()
        assert sums.last_reference_at == MARCH_2 + 9 * HOUR


def test_a_restart_goes_on_exactly() -> None:
    """Clusters that were open keep growing."""
    straight, first = tracker(), tracker()
    for key in range(60):
        straight.score(outcome(key, errors=key % 3, speaker=f"s{key % 5}"))
    for key in range(30):
        first.score(outcome(key, errors=key % 3, speaker=f"s{key % 5}"))
    second = tracker()
    for change in reversed(first.changes()):
        assert change.value is not None
        second.restore(change.table, change.key, change.value)
    for key in range(30, 60):
        second.score(outcome(key, errors=key % 3, speaker=f"s{key % 5}"))
    assert totals(second) == totals(straight)


def test_groups_beyond_the_cap_are_folded_and_nothing_is_lost() -> None:
    """10 million distinct accents must not cost 10 million series."""
    slicing = Slicing(SliceSettings(groups_max=5), "acme")
    tracked = Tracker(slicing, "acme")
    for key in range(50):
        tracked.observe(observation(key, labels=(f"accent-{key}", "wards")))
    seen = totals(tracked)
    assert seen["accent=_other"][0] == 45
    assert sum(row[0] for name, row in seen.items() if name.startswith("accent=") and "&" not in name) == 50
    assert seen["accent=_other&deployment=_other"][0] + 5 == 50
