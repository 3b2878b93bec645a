"""Pairing: whatever order things arrive in, the outcomes add up to the same."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from monitor.core.pairing import VERSIONS_MAX, Emission, Pairing, ReferenceFate, TranscriptFate
from monitor.core.pairing_port import HeldReference, HeldTranscript, MemoryPairTable
from monitor.core.records import Observation, Outcome, Score, Source
from tests.builders import HOUR, MARCH_2, held_reference, held_transcript, score

Arrival = HeldTranscript | HeldReference


class WordDifference:
    """A scorer that a reader can check by hand: words that differ, position by position."""

    aligner = "test 0"

    def score(self, hypothesis: str, reference: str, language: str | None) -> Score:
        expected, got = reference.split(), hypothesis.split()
        return score(len(expected), sum(a != b for a, b in zip(expected, got, strict=False)))


def pairing() -> Pairing:
    return Pairing(MemoryPairTable(), WordDifference(), lambda probability: probability)


def arrive(pairs: Pairing, arrival: Arrival) -> list[Emission]:
    if isinstance(arrival, HeldTranscript):
        return pairs.transcript(arrival)[1]
    return pairs.reference(arrival)[1]


def totals(emissions: list[Emission]) -> Counter[str]:
    """What TRACK would add up."""
    added: Counter[str] = Counter()
    for emission in emissions:
        if isinstance(emission, Observation):
            added[f"seen {emission.labels}"] += emission.counts
        else:
            name = f"{emission.labels} {emission.source}"
            added[f"pairs {name}"] += emission.counts
            added[f"words {name}"] += emission.counts * emission.score.counts.reference_words
            added[f"errors {name}"] += emission.counts * emission.score.counts.errors
    return Counter({name: number for name, number in added.items() if number})


def standing_versions(emissions: list[Emission]) -> set[tuple[int, float, bytes]]:
    """Versions that DECIDE may still use as of some moment."""
    held: set[tuple[int, float, bytes]] = set()
    for emission in emissions:
        if isinstance(emission, Outcome):
            (held.add if emission.holds else held.discard)(emission.rank)
    return held


STORY: list[Arrival] = [
    held_transcript(1, text="a b c d"),
    held_reference(1, text="a b x d", revision=1),
    held_reference(1, text="a b c d", revision=2, event_at=MARCH_2 + 3 * HOUR),
    held_transcript(2, text="one two", labels=("indian", "wards")),
    held_reference(2, text="one too", source=Source.FLAGGED, event_at=MARCH_2 + 5 * HOUR),
    held_reference(2, text="one two three", event_at=MARCH_2 + 2 * HOUR),
    held_transcript(3, text="early bird"),
    held_transcript(3, text="early bird sings", event_at=MARCH_2 + 60),
    held_reference(3, text="early bird sang"),
    held_transcript(4, text="never corrected"),
    held_transcript(5, text="complaint only"),
    held_reference(5, text="complaint solely", source=Source.FLAGGED),
]


def test_any_arrival_order_adds_up_to_the_same() -> None:
    """Corrections come late, early, twice, revised and revised backwards: totals are those of the final state."""
    expected = None
    shuffler = random.Random(3)
    for _ in range(200):
        arrivals = [*STORY, *shuffler.sample(STORY, 4)]
        shuffler.shuffle(arrivals)
        pairs = pairing()
        emissions = [emission for arrival in arrivals for emission in arrive(pairs, arrival)]
        seen = (totals(emissions), standing_versions(emissions))
        expected = expected or seen
        assert seen == expected


def test_a_pair_is_scored_whichever_side_comes_first() -> None:
    """Early references wait for their transcript."""
    for arrivals in (STORY[:2], STORY[1::-1]):
        pairs = pairing()
        emissions = [emission for arrival in arrivals for emission in arrive(pairs, arrival)]
        assert totals(emissions)[f"errors {('england', 'wards')} sampled"] == 1


def test_a_lower_revision_that_arrives_last_changes_no_total() -> None:
    """Queues deliver revision 1 after revision 2: it stays usable as of its own time, but wins nothing."""
    pairs = pairing()
    pairs.transcript(held_transcript(text="a b c d"))
    pairs.reference(held_reference(text="a b c d", revision=2, event_at=MARCH_2 + 2 * HOUR))
    fate, emitted = pairs.reference(held_reference(text="a b x d", revision=1))
    assert fate == ReferenceFate.SUPERSEDED
    assert [(outcome.counts, outcome.holds) for outcome in emitted if isinstance(outcome, Outcome)] == [(0, True)]


def test_duplicates_change_nothing() -> None:
    """At-least-once delivery repeats both inputs."""
    pairs = pairing()
    for arrival in (held_transcript(), held_reference()):
        arrive(pairs, arrival)
    assert pairs.transcript(held_transcript()) == (TranscriptFate.DUPLICATE, [])
    assert pairs.reference(held_reference()) == (ReferenceFate.DUPLICATE, [])


def test_an_id_used_by_two_tenants_scores_for_neither() -> None:
    """Nobody can know whose reference it is."""
    pairs = pairing()
    emissions = [
        *arrive(pairs, held_transcript(customer="acme")),
        *arrive(pairs, held_reference()),
        *arrive(pairs, held_transcript(customer="zenith")),
        *arrive(pairs, held_reference(revision=2)),
    ]
    assert totals(emissions) == Counter()
    assert pairs.transcript(held_transcript(customer="acme"))[0] == TranscriptFate.CONFLICT


def test_a_tombstone_takes_everything_back_and_stays() -> None:
    """A speaker's request to erase must survive a redelivery of the same message."""
    pairs = pairing()
    emissions = [*arrive(pairs, held_transcript()), *arrive(pairs, held_reference())]
    emissions += pairs.erase(held_transcript().key, MARCH_2)  # type: ignore[arg-type]
    assert totals(emissions) == Counter()
    assert pairs.transcript(held_transcript()) == (TranscriptFate.ERASED, [])
    assert pairs.reference(held_reference()) == (ReferenceFate.ERASED, [])


def test_a_complaint_does_not_take_an_utterance_out_of_the_sample() -> None:
    """A flagged revision wins the text, the utterance was chosen by the sampler all the same."""
    pairs = pairing()
    pairs.transcript(held_transcript(text="a b"))
    pairs.reference(held_reference(text="a b"))
    _, emitted = pairs.reference(held_reference(text="a c", revision=2, source=Source.FLAGGED))
    winner = next(outcome for outcome in emitted if isinstance(outcome, Outcome) and outcome.counts == 1)
    assert (winner.source, winner.score.counts.errors) == (Source.SAMPLED, 1)


@pytest.mark.parametrize("order", [1, -1])
def test_versions_of_one_utterance_are_bounded_and_the_greatest_wins(order: int) -> None:
    """A runaway producer sends a new revision for ever, in whatever order."""
    pairs = pairing()
    emissions = arrive(pairs, held_transcript())
    for number in list(range(VERSIONS_MAX + 3))[::order]:
        emissions += arrive(pairs, held_reference(revision=number, event_at=MARCH_2 + HOUR * (1 + number)))
    won = Counter[int]()
    for emission in emissions:
        if isinstance(emission, Outcome):
            won[emission.revision] += emission.counts
    assert {revision for revision, times in won.items() if times} == {VERSIONS_MAX + 2}
    assert len(standing_versions(emissions)) == VERSIONS_MAX


@pytest.mark.parametrize("ceiling", [0.5])
def test_a_pair_scored_under_a_lower_ceiling_carries_the_smaller_probability(ceiling: float) -> None:
    """And keeps it, so that a later revision subtracts what was added."""
    room = [1.0]
    pairs = Pairing(MemoryPairTable(), WordDifference(), lambda probability: min(probability, room[0]))
    pairs.transcript(held_transcript())
    room[0] = ceiling
    _, first = pairs.reference(held_reference())
    room[0] = 1.0
    _, second = pairs.reference(held_reference(revision=2))
    weights = {emission.inclusion_probability for emission in (*first, *second)}
    assert weights == {ceiling}
