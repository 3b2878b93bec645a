"""Decides which words of a text are compared: one normaliser for each profile.

- `whisper-en`: OpenAI's English rules (`english_rules`, `english_tokens`), comparable with the literature.
- `basic`: OpenAI's rules for other languages with marks preserved. The plain ones delete Indic vowel signs, which
  lowers WER.
- `chars`: graphemes of the `basic` text, for scripts without spaces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Protocol

import regex  # type: ignore[import-untyped]

from monitor.core.english_rules import LIBRARY_VERSION, composed, without_brackets
from monitor.core.english_tokens import LONG_TEXT, TOKEN_LENGTH_MAX, TOKENS_MAX, EnglishNormalizer, Normalized
from monitor.core.strict_score import StrictWords

NORMALIZER = f"whisper-normalizer {LIBRARY_VERSION}"
RULES_REVISION = 1
"""Raise when a change here or in `english_rules` changes any result: it starts a new series."""

PROFILES = ("whisper-en", "basic", "chars")

_WORD = re.compile(r"\w")
_DIGIT = re.compile(r"\d")
_GRAPHEME = regex.compile(r"\X")
_JOINED = regex.compile(r"\P{Grapheme_Cluster_Break=Other}")
"""What can be more or less than a grapheme; without it each character is one."""


class Normalizer(Protocol):
    """What a profile is."""

    def normalize_pair(self, hypothesis: str, reference: str) -> tuple[Normalized, Normalized]: ...


def normalizer_for(profile: str, keywords: Sequence[str] = ()) -> Normalizer:
    """The normaliser of one of `PROFILES`."""
    match profile:
        case "whisper-en":
            return EnglishNormalizer(keywords)
        case "basic":
            return BasicNormalizer(keywords)
        case "chars":
            return GraphemeNormalizer(keywords)
        case _:
            raise ValueError(f"scoring profile: got {profile!r}, want one of {', '.join(PROFILES)}")


def identity_of(profile: str, replacements: Iterable[tuple[str, str]]) -> str:
    """Name and hash of everything that can change a word compared, e.g. `whisper-en@1f2e3d4c`.

    Keywords are not part of it: they decide what the strict score looks at, not what the WER is.
    """
    library = f"{NORMALIZER} regex {regex.__version__}" if profile == "chars" else NORMALIZER
    rules = f"{profile} rules {RULES_REVISION} {library} unicode {unicodedata.unidata_version}"
    pairs = "".join(f"\0{old}\0{new}" for old, new in sorted(set(replacements)))
    return f"{profile}@{blake2b((rules + pairs).encode(), digest_size=4).hexdigest()}"


class BasicNormalizer:
    """Profile `basic`: lower case, no brackets, no symbols or punctuation; marks stay."""

    def __init__(self, keywords: Sequence[str] = ()) -> None:
        self._symbols = _Symbols()
        self._strict = StrictWords(map(self._words, keywords), english=False)
        self._plain: dict[str, tuple[str, ...]] = {}

    def normalize_pair(self, hypothesis: str, reference: str) -> tuple[Normalized, Normalized]:
        heard = self._normalize(hypothesis)
        return heard, heard if hypothesis == reference else self._normalize(reference)

    def _normalize(self, text: str) -> Normalized:
        try:
            return list(chain.from_iterable(map(self._plain.__getitem__, text.split()))), ()
        except KeyError:
            pass
        words = self._words(text)
        if len(text) <= LONG_TEXT:
            self._learn(text)
        return words, self._strict.items(words)

    def _words(self, text: str) -> list[str]:
        return self._symbols.clean(without_brackets(text.lower())).split()

    def _learn(self, text: str) -> None:
        """Remembers the tokens that are the same words anywhere and nothing that must be right."""
        for token in text.split():
            if token in self._plain or len(token) > TOKEN_LENGTH_MAX or any(bracket in token for bracket in "<[("):
                continue
            words = tuple(self._symbols.clean(token.lower()).split())
            if not self._strict.items(words) and self._strict.marked.isdisjoint(words):
                if len(self._plain) >= TOKENS_MAX:
                    self._plain.clear()
                self._plain[token] = words


class GraphemeNormalizer:
    """Profile `chars`: what a reader counts as characters, without spaces, symbols and punctuation."""

    def __init__(self, keywords: Sequence[str] = ()) -> None:
        self._symbols = _Symbols()
        phrases = (_numbers_joined(self._graphemes(keyword)) for keyword in keywords)
        self._strict = StrictWords(phrases, english=False)

    def normalize_pair(self, hypothesis: str, reference: str) -> tuple[Normalized, Normalized]:
        heard = self._normalize(hypothesis)
        return heard, heard if hypothesis == reference else self._normalize(reference)

    def _normalize(self, text: str) -> Normalized:
        graphemes = self._graphemes(text)
        if not self._strict.marked and _DIGIT.search(text) is None:
            return graphemes, ()
        return graphemes, self._strict.items(_numbers_joined(graphemes))

    def _graphemes(self, text: str) -> list[str]:
        words = self._symbols.clean(without_brackets(text.lower())).split()
        text = "".join(words)
        if _JOINED.search(text) is None:
            return list(text)
        graphemes: list[str] = _GRAPHEME.findall(text)
        return graphemes


def _numbers_joined(graphemes: Sequence[str]) -> list[str]:
    """Digits that stand together as one number."""
    joined: list[str] = []
    digits = ""
    for grapheme in graphemes:
        if grapheme.isdecimal():
            digits += grapheme
            continue
        if digits:
            joined.append(digits)
            digits = ""
        joined.append(grapheme)
    return [*joined, digits] if digits else joined


class _Symbols(dict[int, str]):
    """Symbols and punctuation become a space. Filled as characters occur, emptied when full."""

    def clean(self, text: str) -> str:
        """A lower-case text without brackets, composed, without symbols."""
        if len(self) > TOKENS_MAX:
            self.clear()
        return composed("NFKC", text).translate(self).lower()

    def __missing__(self, code: int) -> str:
        character = chr(code)
        new = " " if unicodedata.category(character)[0] in "SP" else character
        self[code] = new
        return new


class Replacements:
    """A customer's replacement pairs: whole words or phrases, whatever their case, longest first, in one pass."""

    _PIECE = re.compile(r"\w+|[^\w\s]")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._wanted: dict[str, str] = {}
        for old, new in sorted(pairs):
            self._wanted.setdefault(" ".join(self._PIECE.findall(old.lower())), new)
        self._wanted.pop("", None)
        # Grouped by first character: a word that starts no phrase is passed over after a few comparisons.
        groups: dict[str, list[str]] = {}
        for old in sorted(self._wanted, key=lambda old: (-len(old), old)):
            groups.setdefault(old[0], []).append(_phrase_pattern(old))
        alternatives = "|".join(f"{re.escape(first)}(?:{'|'.join(olds)})" for first, olds in sorted(groups.items()))
        self._pattern = re.compile(rf"(?:(?<!\w)|(?=\W))(?:{alternatives})") if groups else None

    def apply(self, text: str) -> str:
        """The text in lower case, replaced. Replacements are not replaced again."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: self._wanted[" ".join(self._PIECE.findall(found[0]))], text.lower())


def _phrase_pattern(phrase: str) -> str:
    """What follows the first character of a phrase. White space separates words, and may stand beside signs."""
    pattern = ""
    for before, character, behind in zip(phrase, phrase[1:], phrase[2:] + " ", strict=False):
        if character != " ":
            pattern += re.escape(character)
        else:
            pattern += r"\s++" if _WORD.match(before) and _WORD.match(behind) else r"\s*+"
    return pattern + (r"(?!\w)" if _WORD.match(phrase[-1]) else "")
