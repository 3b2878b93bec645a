"""Decides what an English text is once OpenAI's rules have levelled it: whisper-normalizer's result, in linear time.

The order of the rules and their tables are the library's (`EnglishTextNormalizer`), so that a WER is comparable with
the literature. The rules are cut where they can be applied apart: `clean` works on any piece of text between white
space that no apostrophe rule reaches across, `digits` on a run of words, `finish` on a run that may begin or end a
text. The memory of `english_tokens` rests on these cuts. Tests hold both equal to the library, word for word.

Deliberately not equal (the library's faults, none of which occurs in the corpora that its figures are quoted for):
- U+2019 is an apostrophe: the library makes "don t" of a typographic "don't".
- "archaeology" becomes "archeology"; the library's table has "archeology</span>".
- A "<" before a digit, a space or "=" is a comparison; the library deletes everything up to the next ">" or "]".
- Numbers of more than `number_words.DIGITS_MAX` digits; the library raises on the longest of them.
- A text full of characters that stand for whole phrases (U+FDFA) keeps them, see `_PHRASES`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import whisper_normalizer
from whisper_normalizer.basic import ADDITIONAL_DIACRITICS
from whisper_normalizer.english import EnglishTextNormalizer

from monitor.core.number_words import NumberVocabulary, NumberWords

SYMBOLS = ".%$¢€£"
"""Kept through cleaning, because they can be part of a number."""

LIBRARY_VERSION: str = whisper_normalizer.__version__

_TAG = "<["
_COMPARED = re.compile(r"<(?=[\s\d=])")
_NOT_A_TAG = "\ud800"
"""Stands for a comparing "<" while tags are removed. A surrogate, which no text can hold."""

_TABLE_CHARACTERS_MAX = 150_000
"""Characters remembered (15 MB if somebody sends them all; a text in one language uses fewer than 10,000). There are
1.1 million code points; half would be forgotten and learnt again within one text of every assigned character."""

_PHRASES = re.compile("[\u3200-\u33ff\ufdf0-\ufdfd]")
"""Characters that stand for words: one is 18 letters."""
_PHRASES_MAX = 100
"""A text with more of them is not decomposed at all: 200,000 would become 3.6 million letters."""

_SPACE_BEFORE_APOSTROPHE = re.compile(r"(?<!\s)\s++'")
_COMMA_IN_NUMBER = re.compile(r"(\d),(\d)")
_FULL_STOP = re.compile(r"\.(?![0-9])")
_SECOND_STOP = "\ud801"
"""Stands for the second of two full stops, which the library's rule steps over: it stays. A surrogate, as above."""
_LETTER_BESIDE_DIGIT = re.compile(r"(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])")
_SEAM_OR_NUMBER = re.compile(r"(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])|[0-9]+")
_ENDING_APART = re.compile(r"([0-9])\s+(st|nd|rd|th|s)\b")
_AND_A_HALF = re.compile(r"\band\s+a\s+half\b")
_DOLLARS_AND_CENTS = re.compile(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b")
_CENTS_ONLY = re.compile(r"[€£$]0.([0-9]{1,2})\b")
_NOT_OF_WORDS = re.compile(r"[^\w ]")
_ONE = re.compile(r"\b1(s?)\b")
_SYMBOL_BEFORE_WORD = re.compile(r"[.$¢€£]([^0-9])")
_PERCENT_AFTER_WORD = re.compile(r"([^0-9])%")


class _Spelling(Protocol):
    mapping: dict[str, str]


class _Library(Protocol):
    """What is read of `EnglishTextNormalizer`: its tables."""

    ignore_patterns: str
    replacers: dict[str, str]
    standardize_numbers: NumberVocabulary
    standardize_spellings: _Spelling


class EnglishRules:
    """OpenAI's English rules. Stateless but for a table of characters, which changes no result."""

    def __init__(self) -> None:
        library: _Library = EnglishTextNormalizer()
        self.numbers = NumberWords(library.standardize_numbers)
        mapping = library.standardize_spellings.mapping
        self.spellings = {word: new.removesuffix("</span>") for word, new in mapping.items()}
        self._final = self.spellings | {"1": "one", "1s": "ones"}
        self._ignored = re.compile(library.ignore_patterns)
        self._whole, self._verbs, self._negated, self._endings = _groups(library.replacers)
        self._characters = _Characters()
        self.hesitations = frozenset(library.ignore_patterns.removeprefix(r"\b(").removesuffix(r")\b").split("|"))
        contracted = [literal for literal in self._whole.replacements if "'" in literal]
        self.replaced_words = frozenset(word for word in self._whole.replacements if "'" not in word)
        """Words (without an apostrophe) that `clean` replaces, `mr` and `gonna`."""
        self.ends_of_contractions = frozenset(word.split("'")[1] for word in contracted) | {"t"}
        """What may follow an apostrophe that belongs to the word before it: `'all` of y'all."""

    def ignored(self, text: str) -> str:
        """Without hesitations, and without white space before an apostrophe."""
        text = self._ignored.sub("", text)
        return _SPACE_BEFORE_APOSTROPHE.sub("'", text) if "'" in text else text

    def clean(self, text: str) -> str:
        """A lower-case text without brackets, with contractions written out and no symbols but those of numbers."""
        text = self.ignored(text)
        text = self._whole.apply(text)
        if "'" in text:
            text = self._endings.apply(self._negated.apply(self._verbs.apply(text)))
        if "," in text:
            text = _COMMA_IN_NUMBER.sub(lambda found: found[1] + found[2], text)
        if "." in text:
            text = _FULL_STOP.sub(" ", text.replace("..", f" {_SECOND_STOP}")).replace(_SECOND_STOP, ".")
        if not text.isascii():
            text = composed("NFKD", text)
        return self._characters.translate(text)

    def digits(self, words: Sequence[str]) -> list[str]:
        """A run of cleaned words with its numbers in digits: currencies put together, but `1` not yet `one`.

        A run is right on its own if the words around it are neither number words nor hold digits or symbols, and if
        no "and a half" lies across its ends or at its start (unless the text starts there).
        """
        text = " ".join(words)
        if "half" in text:
            text = self._half(text)
        text = _LETTER_BESIDE_DIGIT.sub(" ", text)
        text = _ENDING_APART.sub(r"\1\2", text)
        rewritten = self.numbers.rewrite(text.split())
        text = " ".join(rewritten)
        if "$" not in text and "€" not in text and "£" not in text:
            return rewritten
        if "¢" in text:
            text = _DOLLARS_AND_CENTS.sub(lambda found: f"{found[1]}{found[2]}.{int(found[3]):02d}", text)
        text = _CENTS_ONLY.sub(lambda found: f"¢{int(found[1])}", text)
        return text.split()

    @staticmethod
    def pieces(words: Sequence[str]) -> int:
        """How much work `digits` has with these: words, seams between letters and digits, and numbers."""
        return len(words) + len(_SEAM_OR_NUMBER.findall(" ".join(words)))

    def finish(self, words: Sequence[str], *, first: bool, last: bool) -> list[str]:
        """Words as compared: American spelling, no symbol apart from a number. `first`, `last`: the text's own ends."""
        text = " ".join(words)
        if _NOT_OF_WORDS.search(text) is None:
            return [self._final.get(word, word) for word in words]
        if "1" in text:
            text = _ONE.sub(r"one\1", text)
        text = " ".join([self.spellings.get(word, word) for word in text.split()])
        # A symbol at the very end of a text stays, one before another word goes: the space stands for that word.
        text = f"{'' if first else ' '}{text}{'' if last else ' '}"
        text = _SYMBOL_BEFORE_WORD.sub(lambda found: f" {found[1]}", text)
        text = _PERCENT_AFTER_WORD.sub(lambda found: f"{found[1]} ", text)
        return text.split()

    def _half(self, text: str) -> str:
        """ "two and a half" becomes "two point five" where a number word precedes."""
        segments = _AND_A_HALF.split(text)
        results: list[str] = []
        for segment in segments[:-1]:
            if segment.strip():
                number = segment.rsplit(maxsplit=2)[-1] in self.numbers.before_half
                results += [segment, "point five" if number else "and a half"]
        return " ".join([*results, segments[-1]])


def composed(form: Literal["NFKC", "NFKD"], text: str) -> str:
    """The text in a compatible Unicode form, unless it would grow out of all proportion."""
    if len(text) > _PHRASES_MAX and len(_PHRASES.findall(text)) > _PHRASES_MAX:
        return text
    return unicodedata.normalize(form, text)


def without_brackets(text: str) -> str:
    """Without `[...]`, `<...>` and `(...)`; an opening bracket that is never closed stays."""
    if "<" in text:
        text = _COMPARED.sub(_NOT_A_TAG, text)
    if "<" in text or "[" in text:
        text = _without(text, _TAG, "]>", empty=True)
    if "(" in text:
        text = _without(text, "(", ")", empty=False)
    return text.replace(_NOT_A_TAG, "<")


def _without(text: str, opening: str, closing: str, *, empty: bool) -> str:
    """Removes what lies between any opening and the next closing bracket; `()` stays unless `empty`.

    One pass, where the library's regular expressions look for a closing bracket again from every opening one.
    """
    kept: list[str] = []
    brackets = re.compile(f"[{re.escape(opening + closing)}]")
    end = 0
    start = -1
    for found in brackets.finditer(text):
        at = found.start()
        if found[0] in opening:
            if start < 0:
                start = at
        elif start >= 0:
            if at == start + 1 and not empty:
                start = -1
                continue
            kept.append(text[end:start])
            end = at + 1
            start = -1
    return "".join([*kept, text[end:]])


class _Replacer:
    """Replaces fixed strings that end at a word's end, all in one pass."""

    def __init__(self, replacements: Mapping[str, str], *, words: bool) -> None:
        self.replacements = replacements
        alternatives = "|".join(re.escape(literal) for literal in replacements)
        self._pattern = re.compile(rf"{chr(92) + 'b' if words else ''}(?:{alternatives})\b")

    def apply(self, text: str) -> str:
        return self._pattern.sub(lambda found: self.replacements[found[0]], text)


def _groups(replacers: Mapping[str, str]) -> tuple[_Replacer, _Replacer, _Replacer, _Replacer]:
    r"""The library's 57 substitutions as four passes with the same result.

    Whole words (`\bwon't\b`) never make or break one another; the others follow in the library's order, because
    "n't" can end a word for the rules after it: verbs behind a contraction ("'s been"), "n't", other endings.
    """
    literals = {pattern.replace(r"\b", ""): new for pattern, new in replacers.items()}
    whole = {pattern.replace(r"\b", ""): new for pattern, new in replacers.items() if pattern.startswith(r"\b")}
    verbs = {literal: new for literal, new in literals.items() if " " in literal}
    negated = {literal: new for literal, new in literals.items() if literal == "n't"}
    endings = {literal: new for literal, new in literals.items() if literal[0] == "'" and literal not in verbs}
    assert len(whole) + len(verbs) + len(negated) + len(endings) == len(replacers), "whisper-normalizer has other rules"
    return (
        _Replacer(whole, words=True),
        _Replacer(verbs, words=False),
        _Replacer(negated, words=False),
        _Replacer(endings, words=False),
    )


class _Characters(dict[int, str]):
    """What each character becomes: symbols a space, marks nothing, some letters two. Filled as characters occur."""

    def translate(self, text: str) -> str:
        if len(self) > _TABLE_CHARACTERS_MAX:
            self.clear()
        return text.translate(self)

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if character in SYMBOLS:
            new = character
        elif character in ADDITIONAL_DIACRITICS:
            new = str(ADDITIONAL_DIACRITICS[character])
        elif category == "Mn":
            new = ""
        else:
            new = " " if category[0] in "MSP" else character
        self[code] = new
        return new
