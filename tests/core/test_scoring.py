"""Scoring: jiwer's counts to the digit, what must be right kept apart, and what is odd about a pair."""

from __future__ import annotations

import random

import jiwer
import pytest
from rapidfuzz.distance import Levenshtein
from whisper_normalizer.english import EnglishTextNormalizer

from monitor.core import alignment
from monitor.core.records import Score
from monitor.core.scoring import Scorer, ScoringSettings, is_loop
from tests.core.scored_texts import misheard, texts

SCORER = Scorer(ScoringSettings(keywords=("metformin", "vitamin b twelve", "haemoglobin")))


def score(hypothesis: str, reference: str, language: str | None = "en") -> Score:
    return SCORER.score(hypothesis, reference, language)


def split(reference: list[str], hypothesis: list[str]) -> tuple[int, int, int, int]:
    out = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    return out.hits, out.substitutions, out.deletions, out.insertions


def test_counts_are_those_of_the_library_and_jiwer() -> None:
    """The naive scorer of the literature, pair by pair: reference words, S, D and I to the digit."""
    library = EnglishTextNormalizer()
    chance = random.Random(1)
    for reference in texts(1_500, seed=1, written=0.1):
        hypothesis = " ".join(misheard(reference.split(), chance, 0.2))
        if "<" in reference or "’" in reference or not library(reference).strip():
            continue
        counts = score(hypothesis, reference).counts
        want = split(library(reference).split(), library(hypothesis).split())
        assert (counts.hits, counts.substitutions, counts.deletions, counts.insertions) == want, (hypothesis, reference)


def test_ties_split_as_in_jiwer() -> None:
    """The number of errors is the same for every aligner, their kinds are not: few words make many ties."""
    chance = random.Random(2)
    for _ in range(3_000):
        reference = [f"w{chance.randrange(chance.choice((2, 3, 30)))}" for _ in range(chance.randrange(1, 40))]
        hypothesis = misheard(reference, chance, 0.4)
        assert alignment.align(reference, hypothesis) == split(reference, hypothesis)
        assert alignment.distance(reference, hypothesis) == sum(split(reference, hypothesis)[1:])


def test_numbered_words_align_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long pairs take a faster way to the same split."""
    monkeypatch.setattr(alignment, "CELLS_NUMBERED", 0)
    test_ties_split_as_in_jiwer()


def test_pairs_beyond_the_bound_are_aligned_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """By windows: every word is accounted for, never fewer errors than there are, and hardly more."""
    monkeypatch.setattr(alignment, "CELLS_MAX", 10_000)
    monkeypatch.setattr(alignment, "EDITS_MAX", 3)
    chance = random.Random(3)
    exact = found = 0
    for _ in range(100):
        reference = [f"w{chance.randrange(300)}" for _ in range(chance.randrange(150, 600))]
        hypothesis = misheard(reference, chance, 0.2)
        hits, substitutions, deletions, insertions = alignment.align(reference, hypothesis)
        assert hits + substitutions + deletions == len(reference)
        assert hits + substitutions + insertions == len(hypothesis)
        errors, fewest = substitutions + deletions + insertions, Levenshtein.distance(reference, hypothesis)
        assert errors >= fewest and alignment.distance(reference, hypothesis) == errors
        exact, found = exact + fewest, found + errors
    assert found <= 1.02 * exact


def test_long_pairs_with_few_errors_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of speech in one message, well recognised, is no approximation."""
    monkeypatch.setattr(alignment, "CELLS_MAX", 10_000)
    chance = random.Random(4)
    reference = [f"w{chance.randrange(300)}" for _ in range(3_000)]
    hypothesis = misheard(reference, chance, 0.1)
    assert alignment.align(reference, hypothesis) == split(reference, hypothesis)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "errors", "words"),
    [
        ("one lidocaine", "1 percent lidocaine", 1, 2),
        ("take it", "don't take it", 1, 1),
        ("take it", "don’t take it", 1, 1),
        ("5 mcg", "5 mg", 1, 2),
        ("15 mg", "fifteen milligrams", 0, 2),
        ("fifty milligrams", "fifteen milligrams", 1, 2),
        ("0.50 mg", "point five mg", 0, 2),
        ("5 degrees", "-5 degrees", 1, 2),
        ("minus 5 degrees", "−5 degrees", 0, 2),
        ("give it now", "give (5 mg) it now", 2, 2),
        ("$20,000,000", "twenty million dollars", 0, 2),
        ("25 mg per kg", "25mg/kg", 0, 3),
        ("met forming daily", "Metformin daily", 1, 1),
        ("vitamin b 12", "vitamin B twelve", 0, 3),
        ("hemoglobin", "haemoglobin", 0, 1),
        ("oh i see", "i see", 0, 0),
        ("he cannot", "he can't", 0, 1),
        ("grey colour", "gray color", 0, 0),
        ("units of study", "the day", 0, 0),
    ],
)
def test_what_must_be_right_is_not_forgiven(hypothesis: str, reference: str, errors: int, words: int) -> None:
    """The lenient rules must never decide that a dose was right, nor call one spelling of it wrong."""
    scored = score(hypothesis, reference)
    assert (scored.strict_errors, scored.strict_words) == (errors, words)


def test_the_lenient_score_stays_the_literatures() -> None:
    """ "1 percent lidocaine" and "one lidocaine" are equal to the library; only the strict score knows better."""
    scored = score("one lidocaine", "1 percent lidocaine")
    assert scored.counts.errors == 0 and scored.strict_errors == 1


@pytest.mark.parametrize("language", ["hi", "zh"])
def test_numbers_and_keywords_must_be_right_in_every_language(language: str) -> None:
    """Units and negations are English; digits and a customer's words are not."""
    scorer = Scorer(ScoringSettings(keywords=("二甲双胍", "मेटफॉर्मिन")))
    keyword = {"hi": "मेटफॉर्मिन", "zh": "二甲双胍"}[language]
    right = scorer.score(f"{keyword} 500 x", f"{keyword} 500 y", language)
    wrong = scorer.score("500 x", f"{keyword} 50 y", language)
    assert right.strict_errors == 0 and right.strict_words > 1
    assert wrong.strict_errors == wrong.strict_words == right.strict_words


def test_an_empty_reference_has_no_wer() -> None:
    """What is heard in silence is hallucinated: counted, but outside of the rate."""
    scored = score("thanks for watching", "um, (noise)")
    assert scored.empty_reference and not scored.empty_hypothesis
    assert (scored.counts.reference_words, scored.counts.insertions) == (0, 3)


def test_an_empty_hypothesis_is_all_deletions() -> None:
    """Silence where somebody spoke, and silence on both sides."""
    scored = score("...", "somebody spoke")
    assert scored.empty_hypothesis or scored.counts.deletions + scored.counts.substitutions == 2
    assert score("", "somebody spoke").counts.deletions == 2
    both = score("", "uh")
    assert both.empty_reference and both.empty_hypothesis and both.counts.errors == 0


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("thank you " * 20, True),
        ("so we went there and then " + "i think that " * 12, True),
        ("no no no no", False),
        ("very very very good and that is all there is to be said about the matter", False),
        ("the cat sat on the mat and the dog sat on the log and the cow sat on the plough", False),
    ],
)
def test_a_hypothesis_that_loops_is_flagged(text: str, loop: bool) -> None:
    """One looping hypothesis scores a WER of 499; people repeat themselves too, but not for ever."""
    assert score(text, "something else").loop is loop
    assert not loop or is_loop(text.split())


@pytest.mark.parametrize(
    ("language", "profile"),
    [
        (None, "whisper-en"),
        ("en", "whisper-en"),
        ("en-GB", "whisper-en"),
        ("EN_us", "whisper-en"),
        ("enm", "basic"),
        ("de", "basic"),
        ("hi-IN", "basic"),
        ("zh-Hant-TW", "chars"),
        ("ja", "chars"),
        ("my", "chars"),
    ],
)
def test_languages_have_profiles(language: str | None, profile: str) -> None:
    """English rules on Hindi would delete its vowels; words of Japanese do not exist."""
    assert SCORER.profile_of(language) == profile


def test_configured_profiles_win_by_their_longest_tag() -> None:
    """`default` holds for no language and, if changed, for every language without an entry of its own."""
    scorer = Scorer(ScoringSettings(profiles={"default": "basic", "en-IN": "whisper-en", "ja": "basic"}))
    assert [scorer.profile_of(tag) for tag in ("en-IN-x", "en", None, "de", "ja", "th")] == [
        "whisper-en", "basic", "basic", "basic", "basic", "chars",
    ]  # fmt: skip


def test_scores_name_their_rules_and_versions() -> None:
    """Two figures are comparable only if aligner, library and rules are the same."""
    assert score("a", "a").profile.startswith("whisper-en@")
    assert score("a", "a", "de").profile.startswith("basic@")
    assert Scorer.aligner.startswith("rapidfuzz 3.") and Scorer.normalizer.startswith("whisper-normalizer 0.")
    replaced = Scorer(ScoringSettings(replacements=(("finna", "fixing to"),)))
    scored = replaced.score("we finna go", "we fixing to go", "en")
    assert scored.counts.errors == 0 and scored.profile != score("a", "a").profile
