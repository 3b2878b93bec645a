"""The English profile: word for word what OpenAI's normaliser gives, from memory, in bounded time."""

from __future__ import annotations

import random

import pytest
from whisper_normalizer.english import EnglishTextNormalizer

from monitor.core.english_tokens import EnglishNormalizer

LIBRARY = EnglishTextNormalizer()

PIECES = (
    *("the", "patient", "was", "given", "Doctor", "hello", "okay", "um", "uh", "mhm", "and", "a", "half"),
    *("per", "cent", "one", "two", "twenty", "five", "fifteen", "hundred", "thousand", "million", "oh", "zero"),
    *("double", "triple", "point", "percent", "dollars", "pounds", "euros", "cents", "minus", "negative"),
    *("first", "second", "third", "th", "$5", "$20.50", "£3", "€7", "¢5", "5%", "10th", "1st", "2nd", "20s"),
    *("1990s", "3.14", "1,000", "1,2,3", "007", "1", "don't", "won't", "can't", "let's", "ain't", "y'all"),
    *("I'ma", "it's", "he'd", "we've", "they'll", "o'clock", "'em", "been", "gone", "got", "gonna", "wanna"),
    *("gotta", "mr.", "Mrs.", "dr.", "St.", "Prof", "colour", "centre", "realise", "well-known", "twenty-five"),
    *("state-of-the-art", "e.g.", "U.S.", "A.M.", "...", "a..b", "wait...", "--", "-5", "(laughs)", "[noise]"),
    *("<unk>", "(", ")", "[", "]", "<", ">", "naïve", "café", "œuvre", "2½", "m²", "№", '"quoted"', "yes,"),
    *("no.", "what?", "stop!", "a;b", "x/y", "and/or", "#1", "@home", "a&b", "it's been", "and a half"),
)  # fmt: skip
SPACES = (" ", " ", " ", "  ", "\n", " , ", ". ")


def made(chance: random.Random) -> str:
    """Words, numbers, contractions, currency, brackets and symbols in any order."""
    return "".join(chance.choice(PIECES) + chance.choice(SPACES) for _ in range(chance.randint(1, 14)))


def deliberate(text: str) -> bool:
    """Where the result is meant to differ (see `english_rules`): typographic apostrophes, and `<` that compares."""
    return "’" in text or any(f"<{mark}" in text for mark in " \n0123456789=") or text.endswith("<")


@pytest.mark.parametrize("seed", range(4))
def test_it_gives_the_librarys_words(seed: int) -> None:
    """A WER that is not comparable with the literature cannot be argued with: 4 x 2,500 texts, no difference."""
    chance = random.Random(seed)
    remembering = EnglishNormalizer()
    texts = [text for text in (made(chance) for _ in range(2_500)) if not deliberate(text)]
    different = [text for text in texts if remembering.normalize(text)[0] != LIBRARY(text).split()]
    assert not different, different[:3]
    assert len(texts) > 2_000


def test_what_is_remembered_changes_no_result() -> None:
    """Caches are emptied when full, and texts come in any order."""
    chance = random.Random(9)
    texts = [made(chance) for _ in range(300)]
    warm = EnglishNormalizer()
    for text in reversed(texts):
        warm.normalize(text)
    assert [warm.normalize(text) for text in texts] == [EnglishNormalizer().normalize(text) for text in texts]


def test_both_sides_of_a_pair_are_normalised_as_each_alone() -> None:
    """The fast path for sides that say the same must not change what they say."""
    chance = random.Random(10)
    for _ in range(100):
        text, other = made(chance), made(chance)
        for pair in ((text, other), (text, text), (text.lower(), text), (text + ".", text)):
            together = EnglishNormalizer().normalize_pair(*pair)
            assert together == (EnglishNormalizer().normalize(pair[0]), EnglishNormalizer().normalize(pair[1]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don’t worry", "do not worry"),
        ("archaeology", "archeology"),
        ("blood pressure < 90 and > 60", "blood pressure 90 and 60"),
    ],
)
def test_known_faults_of_the_library_are_mended(text: str, words: str) -> None:
    """It makes "don t", `archeology</span>`, and deletes what stands between two comparisons."""
    assert EnglishNormalizer().normalize(text)[0] == words.split()


def test_digits_without_end_are_no_exception() -> None:
    """The library raises on more than 4,300 digits."""
    assert EnglishNormalizer().normalize("9" * 5_000)[0]
