"""The generated recogniser: its errors must be errors to a real scorer, and its habits must not be."""

from __future__ import annotations

import random

import pytest
from rapidfuzz.distance import Levenshtein

from monitor.analysis.recognizer import EMPTY_PROBABILITY, Style, hear, sound_alikes
from monitor.analysis.sentences import CALLS, CLINICAL, Grammar, bare, written
from monitor.core.scoring import Scorer, ScoringSettings


@pytest.mark.parametrize("grammar", [CLINICAL, CALLS])
@pytest.mark.parametrize("style", list(Style))
def test_a_perfect_recogniser_scores_zero_whatever_its_style(grammar: Grammar, style: Style) -> None:
    """Digits or number words, capitals or none: the normaliser must take the difference away, or all WERs are off."""
    rng, scorer = random.Random(1), Scorer(ScoringSettings())
    for _ in range(400):
        words = grammar.say(rng)
        hypothesis = hear(words, 0.0, style, rng)
        if hypothesis and len(hypothesis.split()) < 40:
            assert scorer.score(hypothesis, written(words), "en").counts.errors == 0, (hypothesis, written(words))


def test_the_share_of_wrong_words_is_the_rate() -> None:
    """Every factor of the deployment acts through this rate."""
    rng = random.Random(2)
    words = [f"qx{letter}" for letter in "abcdefghijklmnopqrst"]  # in nobody's vocabulary, so a substitution shows
    heard = [set(hear(words, 0.2, Style.PLAIN, rng).split()) for _ in range(2000)]
    kept = sum(len(each.intersection(words)) for each in heard)
    # Of the errors 18 % are insertions, which leave their word in place. 40,000 words, 20 of them lost at once where
    # nothing is heard: standard deviation sqrt(.17 * .83 / 40,000 + .003 / 2,000) = .0023, times four.
    expected = (1.0 - EMPTY_PROBABILITY) * (1.0 - 0.82 * 0.2)
    assert kept / 40_000 == pytest.approx(expected, abs=0.0092)


def test_no_word_is_taken_for_itself() -> None:
    """A substitution that changes nothing would make the error rate a fiction."""
    for word in CLINICAL.vocabulary() | CALLS.vocabulary():
        assert sound_alikes(word) and word not in sound_alikes(word), word


def test_a_rate_above_one_still_gives_a_hypothesis() -> None:
    """Factors multiply: the worst speaker in the worst room at the faulty site goes past 1."""
    rng = random.Random(3)
    heard = [hear(["the", "chest", "is", "clear"], 7.0, Style.PLAIN, rng) for _ in range(200)]
    assert sum(bool(text) for text in heard) > 100


def test_noise_becomes_a_phrase_and_its_reference_is_empty() -> None:
    """Hallucinations are counted apart from WER, so there must be some."""
    assert hear([], 0.1, Style.PLAIN, random.Random(4))
    assert written([]) == ""


def test_the_same_draws_give_the_same_sentence() -> None:
    """Seeded through and through."""
    assert CALLS.say(random.Random(5)) == CALLS.say(random.Random(5))
    assert bare("Okafor,") == "okafor"


def test_distance_grows_with_the_rate() -> None:
    """Twice the rate is about twice the word distance, which is what the demo's fault relies on."""
    rng = random.Random(6)
    totals = []
    for rate in (0.1, 0.2):
        sentences = [CLINICAL.say(rng) for _ in range(1500)]
        totals.append(
            sum(
                Levenshtein.distance([bare(word) for word in words], hear(words, rate, Style.PLAIN, rng).split())
                for words in sentences
            )
            / sum(map(len, sentences))
        )
    assert 1.5 < totals[1] / totals[0] < 2.2
