"""Normalisation: word for word the library of the literature, but for its known faults, whatever is remembered."""

from __future__ import annotations

import itertools
import random
import re

import pytest
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishNumberNormalizer, EnglishTextNormalizer

from monitor.core import english_tokens
from monitor.core.english_rules import composed, without_brackets
from monitor.core.english_tokens import EnglishNormalizer
from monitor.core.normalization import BasicNormalizer, GraphemeNormalizer, Replacements, identity_of, normalizer_for
from monitor.core.number_words import DIGITS_MAX, NumberWords
from tests.core.scored_texts import SPOKEN, texts

LIBRARY = EnglishTextNormalizer()
COMPARISON = re.compile(r"<(?=[\s\d=])")


def expected(text: str) -> list[str]:
    """The library's words, with a typographic apostrophe taken for one."""
    words: list[str] = LIBRARY(text.replace("’", "'")).split()
    return words


def generated(count: int, seed: int) -> list[str]:
    """Plain and difficult texts. Without "<5", where we differ on purpose."""
    plain, difficult = texts(count, seed=seed, written=0.02), texts(count, seed=seed, written=0.5)
    return [text for text in itertools.chain(plain, difficult) if not COMPARISON.search(text)]


def test_english_equals_the_library_word_for_word() -> None:
    """A WER is comparable with the literature only if no word differs."""
    normalizer = EnglishNormalizer()
    for text in generated(3_000, seed=1):
        assert normalizer.normalize(text)[0] == expected(text), text


@pytest.mark.slow
def test_english_equals_the_library_at_length() -> None:
    """The same on a hundred times as many texts: the rare meetings of two rules."""
    normalizer = EnglishNormalizer(keywords=("the", "one", "old people"))
    for text in generated(150_000, seed=2):
        assert normalizer.normalize(text)[0] == expected(text), text


def test_memory_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two agents that saw different traffic must give a pair the same counts: nothing remembered may show."""
    sample = generated(1_000, seed=3)
    warm = EnglishNormalizer(keywords=("old people",))
    first = [warm.normalize(text) for text in sample]
    assert [warm.normalize(text) for text in sample] == first
    monkeypatch.setattr(english_tokens, "TOKENS_MAX", 3)
    monkeypatch.setattr(english_tokens, "RUNS_MAX", 2)
    forgetful = EnglishNormalizer(keywords=("old people",))
    assert [forgetful.normalize(text) for text in sample] == first
    assert [warm._as_a_whole(text) for text in sample] == first


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender of ever new words must not fill the agent's memory."""
    monkeypatch.setattr(english_tokens, "TOKENS_MAX", 50)
    normalizer = EnglishNormalizer()
    for number in range(500):
        normalizer.normalize(f"it's {number} x{number}é")
    assert len(normalizer._tokens) <= 50 and len(normalizer._plain) <= 50 and len(normalizer._alone) <= 50


def test_both_sides_of_a_pair_are_read_alike() -> None:
    """Reading a pair at once is a short cut, not another rule."""
    normalizer = EnglishNormalizer()
    sample = generated(500, seed=4)
    for hypothesis, reference in zip(sample, [*sample[::2], *sample[1::2]], strict=True):
        apart = normalizer.normalize(hypothesis), normalizer.normalize(reference)
        assert normalizer.normalize_pair(hypothesis, reference) == apart
        spaced = hypothesis.replace(" ", "  ") + "."
        assert normalizer.normalize_pair(hypothesis, spaced) == (apart[0], normalizer.normalize(spaced))


def test_number_words_equal_the_library() -> None:
    """The number rules are written again here; this is what holds them to the original."""
    original = EnglishNumberNormalizer()
    rewritten = NumberWords(original)
    vocabulary = [
        *sorted(original.words),
        "dog",
        "5",
        "12",
        "3.5",
        "$5",
        "$3.50",
        "¢7",
        "0",
        "00",
        "1.0",
        "$",
        "5%",
        "2nd",
    ]
    vocabulary += ["1.2.3", "..", ".5", "5.", "$$5", "٣", "٣.٥"]
    common = [word for word in SPOKEN if word in original.words]
    chance = random.Random(5)
    for _ in range(20_000):
        words = chance.choices(vocabulary if chance.random() < 0.5 else common, k=chance.randrange(1, 9))
        assert rewritten.rewrite(words) == list(original.process_words(words)), words


def test_numbers_too_long_for_the_library_are_cut() -> None:
    """The library raises AssertionError on 4,301 digits: one message would stop the agent."""
    normalizer = EnglishNormalizer()
    assert normalizer.normalize("7" * 5_000)[0] == ["7" * 5_000]
    assert normalizer.normalize("7" * DIGITS_MAX)[0] == expected("7" * DIGITS_MAX)
    spoken = normalizer.normalize("two " * 3_000 + "decillion")[0]
    assert "".join(spoken).startswith("2" * 2_999)


def test_brackets_go_as_in_the_library() -> None:
    """The library's regular expressions are quadratic; ours is one pass, the same on every short string."""
    for letters in itertools.product("<[(])>x", repeat=6):
        text = "".join(letters)
        want = re.sub(r"\(([^)]+?)\)", "", re.sub(r"[<\[][^>\]]*[>\]]", "", text))
        assert without_brackets(text) == want, text


def test_known_faults_of_the_library_are_mended() -> None:
    """scoring.md names them: an apostrophe, a span tag and a comparison that deletes what follows."""
    normalizer = EnglishNormalizer()
    assert normalizer.normalize("don’t")[0] == ["do", "not"]
    assert normalizer.normalize("archaeology")[0] == normalizer.normalize("archeology")[0] == ["archeology"]
    assert normalizer.normalize("pressure < 120 and pulse > 80")[0] == ["pressure", "120", "and", "pulse", "80"]
    assert normalizer.normalize("well <laugh> yes")[0] == ["well", "yes"]


def test_characters_for_whole_phrases_cannot_blow_a_text_up() -> None:
    """One ligature is 18 letters: 200,000 of them would be 3.6 million."""
    assert composed("NFKD", "\ufdfa") != "\ufdfa"
    assert composed("NFKD", "\ufdfa" * 1_000) == "\ufdfa" * 1_000


def test_basic_equals_the_library_with_marks_preserved() -> None:
    """Other languages keep the literature's rules too, on texts with brackets, symbols and marks."""
    normalizer, library = BasicNormalizer(), BasicTextNormalizer(preserve_marks=True)
    chance = random.Random(6)
    alphabet = "aé ß 5.,-'\"([<>])क्षिİΣş\u0301 \n"
    for _ in range(3_000):
        text = "".join(chance.choices(alphabet, k=12))
        if not COMPARISON.search(text):
            assert normalizer.normalize_pair(text, text)[1][0] == library(text).split(), text
            assert normalizer.normalize_pair(text, text)[0][0] == library(text).split(), text


def test_vowel_signs_stay() -> None:
    """Without its vowel signs, another word would count as right: the plain rules lower WER for Hindi."""
    (heard, _), (said, _) = BasicNormalizer().normalize_pair("कि", "की")
    assert heard != said
    assert BasicTextNormalizer()("कि") == BasicTextNormalizer()("की")


def test_graphemes_are_what_a_reader_counts() -> None:
    """Scripts without spaces are compared by grapheme; spaces and punctuation are not graphemes."""
    (graphemes, items), _ = GraphemeNormalizer().normalize_pair("你好, 世界 12！", "")
    assert graphemes == ["你", "好", "世", "界", "1", "2"] and items == ("12",)
    assert GraphemeNormalizer().normalize_pair("ที่นั่ง", "")[0][0] == ["ที่", "นั่", "ง"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("We finna go", "we fixing to go"),
        ("FINNA, finnan finna.", "fixing to, finnan fixing to."),
        ("acet  aminophen now", "paracetamol now"),
        ("acetaminophen", "acetaminophen"),
        ("a o/p visit", "a outpatient visit"),
        ("vitamin b twelve", "b12"),
    ],
)
def test_replacements_are_whole_words_longest_first(text: str, wanted: str) -> None:
    """A customer's own spellings, without touching the words that contain them."""
    pairs = [("finna", "fixing to"), ("acet aminophen", "paracetamol"), ("o/p", "outpatient"), ("vitamin", "vit")]
    assert Replacements([*pairs, ("vitamin b twelve", "b12"), ("fixing", "x")]).apply(text) == wanted


def test_the_identity_names_everything_that_changes_a_word() -> None:
    """A change of rules or replacements starts a new series; a change of keywords does not."""
    plain = identity_of("whisper-en", ())
    assert re.fullmatch(r"whisper-en@[0-9a-f]{8}", plain)
    assert identity_of("whisper-en", (("a", "b"), ("c", "d"))) == identity_of("whisper-en", (("c", "d"), ("a", "b")))
    assert (
        len({plain, identity_of("whisper-en", (("a", "b"),)), identity_of("basic", ()), identity_of("chars", ())}) == 4
    )


def test_an_unknown_profile_is_named() -> None:
    """The configuration refuses it first; a programmer gets the list too."""
    with pytest.raises(ValueError, match="whisper-en, basic, chars"):
        normalizer_for("whisper")
