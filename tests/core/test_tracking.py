"""Tracking: totals are exact, whatever is corrected later."""

from __future__ import annotations

import random

import msgspec

from monitor.core.records import Observation, Outcome, Source
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.tracking import COHORT_DAYS, Tracker, slice_row
from tests.builders import DAY, HOUR, MARCH_2, observation, outcome

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


# ------------------------------------------------------------------------------------------ missing references by age
Bands = dict[str, tuple[tuple[str, int, int], ...]]


def ages(tracked: Tracker) -> Bands:
    rows = [slice_row("acme", slice_, sums, None) for slice_, sums in tracked.rows()]
    return {row.slice: row.missing_by_age for row in rows}


def account(tracked: Tracker, pieces: list[Observation | Outcome]) -> None:
    for piece in pieces:
        if isinstance(piece, Observation):
            tracked.observe(piece)
        else:
            tracked.score(piece)


def a_month(seed: int = 0) -> list[Observation | Outcome]:
    """45 days of two accents; what is older is corrected more often; some complaints."""
    chance = random.Random(seed)
    pieces: list[Observation | Outcome] = []
    for key in range(600):
        at = MARCH_2 + chance.random() * 45 * DAY
        labels = chance.choice((ENGLAND, INDIAN))
        pieces.append(observation(key, event_at=at, labels=labels))
        if chance.random() < 0.4:
            source = chance.choice(list(Source))
            pieces.append(outcome(key, event_at=at, labels=labels, source=source))
    return pieces


def documents(tracked: Tracker) -> dict[bytes, bytes]:
    """Every slice's document by its first bytes, its name: places in the table follow first appearance."""
    return {repr(slice_).encode(): msgspec.msgpack.encode(sums) for slice_, sums in tracked.rows()}


def test_missing_references_stand_in_the_band_of_their_age() -> None:
    """Ages are whole days before the newest day: no clock, so a replay says what the live run said."""
    tracked = tracker()
    for key, days in enumerate((0, 1, 2, 3, 6, 7, COHORT_DAYS - 1, COHORT_DAYS)):
        tracked.observe(observation(key, event_at=MARCH_2 + (60 - days) * DAY + HOUR))
    tracked.score(outcome(4, event_at=MARCH_2 + 54 * DAY + HOUR, source=Source.ORGANIC))
    assert ages(tracked)["all"] == (("<1d", 1, 1), ("1-3d", 2, 2), ("3-7d", 2, 1), ("7d+", 2, 2))


def test_bands_add_up_to_transcripts_and_references() -> None:
    """Whoever adds up the table must find the totals beside it."""
    tracked = tracker()
    pieces = [piece for piece in a_month() if piece.event_at < MARCH_2 + COHORT_DAYS * DAY]
    account(tracked, pieces)
    for (_, sums), bands in zip(tracked.rows(), ages(tracked).values(), strict=True):
        seen, missing = (sum(band[column] for band in bands) for column in (1, 2))  # type: ignore[misc]
        assert seen == sums.transcripts
        assert seen - missing == sums.pairs + sums.empty_references + sums.biased_pairs


def test_groups_add_up_to_all_traffic_in_each_band() -> None:
    """Also after days were let go: every slice is moved on, whether it has new traffic or not."""
    tracked = tracker()
    account(tracked, [observation(1, labels=INDIAN), *a_month()])
    seen = ages(tracked)
    for place, band in enumerate(seen["all"]):
        for column in (1, 2):
            assert seen["accent=england"][place][column] + seen["accent=indian"][place][column] == band[column]  # type: ignore[operator]


def test_no_order_of_arrival_leaves_a_trace() -> None:
    """Days that came late, or were let go before or after their slice had other traffic, write the same bytes."""
    pieces, expected = a_month(), None
    for seed in range(6):
        random.Random(seed).shuffle(pieces)
        tracked = tracker()
        account(tracked, pieces)
        expected = expected or documents(tracked)
        assert documents(tracked) == expected


def test_documents_written_are_those_held() -> None:
    """A slice that only grew older has changed, too: what a restart reads must not be younger than what was shown."""
    tracked = tracker()
    saved: dict[str, bytes] = {}
    pieces = sorted(a_month(), key=lambda piece: piece.event_at)
    tracked.observe(observation(9_000, labels=("welsh", "wards")))  # and no other of this accent
    for start in range(0, len(pieces), 50):
        account(tracked, pieces[start : start + 50])
        saved.update({change.key: change.value for change in tracked.changes() if change.value is not None})
    restored = tracker()
    for key, value in reversed(saved.items()):
        restored.restore("totals", key, value)
    assert documents(restored) == documents(tracked)
    late = observation(10_000, event_at=MARCH_2)
    for goes_on in (tracked, restored):
        goes_on.observe(late)
    assert ages(restored) == ages(tracked)


def test_revision_and_withdrawal_leave_no_trace_in_the_bands() -> None:
    """A second version of a correction is no second correction; an erased utterance was never there."""
    corrected, plain = tracker(), tracker()
    for tracked in (corrected, plain):
        tracked.observe(observation(1))
        tracked.score(outcome(1, errors=2))
        tracked.observe(observation(9, event_at=MARCH_2 + 5 * DAY))
    corrected.score(outcome(1, errors=2, counts=-1))
    corrected.score(outcome(1, errors=1, revision=2))
    assert ages(corrected) == ages(plain)
    corrected.observe(observation(2, event_at=MARCH_2 + DAY))
    corrected.score(outcome(2, event_at=MARCH_2 + DAY))
    corrected.score(outcome(2, event_at=MARCH_2 + DAY, counts=-1, holds=False))
    corrected.observe(observation(2, event_at=MARCH_2 + DAY, counts=-1))
    assert ages(corrected) == ages(plain)


def test_documents_stay_small() -> None:
    """Each checkpoint writes those of every slice with traffic: ages may not make them several times as long."""
    tracked = tracker()
    account(tracked, a_month())
    for _, sums in tracked.rows():
        assert len(msgspec.msgpack.encode(sums.cohorts)) < 3 * 2 * COHORT_DAYS
