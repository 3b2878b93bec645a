"""Decides which words are numbers and writes them in digits, as OpenAI's English rules do, in linear time.

This is `EnglishNumberNormalizer.process_words` of whisper-normalizer written again, for three reasons: the original
is most of the cost of a whole scorer, it grows strings quadratically ("one one one ..."), and it raises on numbers that
Python refuses to print. The vocabulary stays the library's own; a test holds the logic equal to it word for word.

Not equal: a number of more than `DIGITS_MAX` digits. A written one stays a plain word, a spoken one is cut there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from typing import Protocol, TypeAlias

DIGITS_MAX = 1_000
"""Longest number taken for one. The original raises AssertionError above 4,300 (Python's own limit); at 4,300 a text of
spoken digits costs four times as much, at 500 nothing that a person says is affected either."""

_DECIMAL = re.compile(r"\d+\.(\d+)")
_MULTIPLICAND = re.compile(r"(?=\.?\d)(\d*)\.?(\d*)")


class NumberVocabulary(Protocol):
    """What is read of `whisper_normalizer.english.EnglishNumberNormalizer`."""

    zeros: set[str]
    ones: dict[str, int]
    ones_suffixed: dict[str, tuple[int, str]]
    tens: dict[str, int]
    tens_suffixed: dict[str, tuple[int, str]]
    multipliers: dict[str, int]
    multipliers_suffixed: dict[str, tuple[int, str]]
    preceding_prefixers: dict[str, str]
    following_prefixers: dict[str, str]
    suffixers: dict[str, str | dict[str, str]]
    specials: set[str]
    decimals: set[str]
    prefixes: set[str]
    words: set[str]


class NumberWords:
    """Rewrites number words as digits: `rewrite(["twenty", "five", "dollars"])` gives `["$25"]`."""

    def __init__(self, vocabulary: NumberVocabulary) -> None:
        self._meanings = dict(_meanings(vocabulary))
        self._decimals = frozenset(vocabulary.decimals)
        self._prefixes = frozenset(vocabulary.prefixes)
        self.words = frozenset(self._meanings)
        """Every word with a meaning here."""
        self.amounts = self.words - vocabulary.zeros - vocabulary.specials - vocabulary.preceding_prefixers.keys()
        self.amounts -= vocabulary.following_prefixers.keys() | vocabulary.suffixers.keys()
        """Words that are numbers by themselves, but for zeros."""
        self.before_half = frozenset(vocabulary.decimals) | frozenset(vocabulary.multipliers)
        """Words after which "and a half" is "point five"."""

    def rewrite(self, words: Sequence[str]) -> list[str]:
        """All words, with each number in digits. Signs, currencies and suffixes are attached to their number."""
        reading = _Reading(self._decimals)
        before: _Role | None = None
        following = [*words[1:], ""]
        numeric = is_number(words[0]) if words else False
        for current, upcoming in zip(words, following, strict=False):
            numeric_next = is_number(upcoming)
            meaning = self._meanings.get(current)
            if reading.skip:
                reading.skip = False
            elif meaning is not None:
                reading.before = before
                reading.current = current
                reading.upcoming = upcoming
                reading.numeric_next = numeric_next
                reading.meaning_next = self._meanings.get(upcoming)
                meaning[1](reading, meaning[2], meaning[3])
            elif numeric:
                reading.number(current, "")
            elif current[0] in self._prefixes and is_number(current[1:]):
                reading.number(current[1:], current[0])
            else:
                reading.end()
                reading.put(current)
            before = meaning[0] if meaning is not None else None
            numeric = numeric_next
        reading.end()
        return reading.out


def is_number(word: str) -> bool:
    """Digits, perhaps with decimals, and not too many."""
    # The first two tests settle nearly every word without the regular expression.
    if word.isdecimal():
        return len(word) <= DIGITS_MAX
    return word[-1:].isdecimal() and len(word) <= DIGITS_MAX and _DECIMAL.fullmatch(word) is not None


class _Role(Enum):
    """What the word before was, where that changes the meaning of a word."""

    ZERO = auto()
    ONES = auto()
    TENS = auto()
    MULTIPLIER = auto()
    OTHER = auto()


class _Reading:
    """The number being read (digits so far, the sign or currency to put before it), and the words around."""

    __slots__ = (
        "before", "current", "decimals", "meaning_next", "numeric_next", "out", "prefix", "skip", "upcoming", "value",
    )  # fmt: skip

    def __init__(self, decimals: frozenset[str]) -> None:
        self.decimals = decimals
        self.out: list[str] = []
        self.prefix = ""
        self.value: int | str | None = None
        self.before: _Role | None = None
        self.current = self.upcoming = ""
        self.numeric_next = self.skip = False
        self.meaning_next: Meaning | None = None

    def put(self, word: str | int) -> None:
        """Write a word with the pending prefix; nothing is pending any more."""
        self.out.append(f"{self.prefix}{word}")
        self.prefix = ""
        self.value = None

    def end(self) -> None:
        """Write the number read so far, if there is one."""
        if self.value is not None:
            self.put(self.value)

    def say(self, digits: str) -> None:
        """Digits said one after another: they are strung together, not added up."""
        self.value = digits
        if len(digits) > DIGITS_MAX:
            self.end()

    def number(self, digits: str, prefix: str) -> None:
        """A number already written in digits; "1." joins what follows it ("1.", "2" is 1.2)."""
        value = self.value
        if isinstance(value, str) and value.endswith("."):
            self.say(value + prefix + digits)
            return
        self.end()
        self.prefix = prefix or self.prefix
        if digits.isdecimal():
            self.value = int(digits)
        else:
            whole, _, decimals = digits.partition(".")
            self.value = digits if int(decimals) else int(whole)

    def zero(self, amount: int, ending: str) -> None:
        self.say(f"{self.value or ''}0")

    def ones(self, amount: int, ending: str) -> None:
        """One to nineteen: added to a round number, otherwise said digit by digit."""
        value = self.value
        if value is None:
            self.value = amount
        elif isinstance(value, str) or self.before is _Role.ONES:
            replaces_zero = self.before is _Role.TENS and amount < 10
            self.say(f"{str(value)[:-1] if replaces_zero else value}{amount}")
        elif value % (10 if amount < 10 else 100) == 0:
            self.value = value + amount
        else:
            self.say(f"{value}{amount}")

    def tens(self, amount: int, ending: str) -> None:
        value = self.value
        if value is None:
            self.value = amount
        elif isinstance(value, int) and value % 100 == 0:
            self.value = value + amount
        else:
            self.say(f"{value}{amount}")

    def multiplier(self, amount: int, ending: str) -> None:
        product = _product(self.value, amount)
        if product is None:
            self.end()
        self.value = amount if product is None else product

    def ones_ending(self, amount: int, ending: str) -> None:
        """`fifth`, `fives`: ends the number at once."""
        self.ones(amount, "")
        self._finish(amount, ending)

    def tens_ending(self, amount: int, ending: str) -> None:
        self.tens(amount, "")
        self._finish(amount, ending)

    def multiplier_ending(self, amount: int, ending: str) -> None:
        self.multiplier(amount, "")
        self._finish(amount, ending)

    def _finish(self, amount: int, ending: str) -> None:
        # There is no value only where the number grew too long and was cut; the amount was written with it.
        if self.value is not None:
            self.put(f"{self.value}{ending}")

    def sign(self, amount: int, symbol: str) -> None:
        """`minus` and the like, kept for the number that follows."""
        self.end()
        if self.counts_next:
            self.prefix = symbol
        else:
            self.put(self.current)

    def currency(self, amount: int, symbol: str) -> None:
        """`dollars` and the like, put before the number that preceded."""
        if self.value is None:
            self.put(self.current)
        else:
            self.prefix = symbol
            self.put(self.value)

    def percent(self, amount: int, symbol: str) -> None:
        if self.value is None:
            self.put(self.current)
        else:
            self.put(f"{self.value}{symbol}")

    def per(self, amount: int, symbol: str) -> None:
        """`per`, which is a suffix only with `cent` behind it."""
        if self.value is not None and self.upcoming == "cent":
            self.put(f"{self.value}{symbol}")
            self.skip = True
        else:
            self.end()
            self.put(self.current)

    @property
    def counts_next(self) -> bool:
        """Whether the next word can belong to a number."""
        return self.numeric_next or self.meaning_next is not None

    def conjunction(self, amount: int, symbol: str) -> None:
        """`and`, silent after a multiplier: two hundred and five."""
        if self.before is not _Role.MULTIPLIER or not self.counts_next:
            self.end()
            self.put(self.current)

    def point(self, amount: int, symbol: str) -> None:
        if not self.counts_next:
            self.end()
            self.put(self.current)
        elif self.numeric_next or self.upcoming in self.decimals:
            self.say(f"{self.value or ''}.")

    def repeated(self, amount: int, symbol: str) -> None:
        """`double` and `triple` before a digit: double seven is 77."""
        meaning = self.meaning_next
        if meaning is not None and meaning[0] in (_Role.ONES, _Role.ZERO):
            self.say(f"{self.value or ''}{str(meaning[2]) * amount}")
            self.skip = True
        else:
            self.end()
            self.put(self.current)


Meaning: TypeAlias = tuple[_Role, Callable[[_Reading, int, str], None], int, str]
"""Role, what the word does to the number being read, and with which amount and symbol or ending."""


def _product(value: int | str | None, multiplier: int) -> int | None:
    """A value times hundred, thousand, ...; None if it is no number or leaves a fraction."""
    if value is None:
        return multiplier
    if isinstance(value, int):
        return value // 1000 * 1000 + value % 1000 * multiplier
    parts = _MULTIPLICAND.fullmatch(value)
    if parts is None:
        return None
    whole, decimals = parts.groups()
    product, rest = divmod(int(whole + decimals) * multiplier, 10 ** len(decimals))
    return None if rest else product


def _meanings(vocabulary: NumberVocabulary) -> Iterator[tuple[str, Meaning]]:
    """Every word with its meaning; where a word has two, the one that the original tests first comes last."""
    specials = {"and": (_Reading.conjunction, 0), "point": (_Reading.point, 0)}
    specials |= {"double": (_Reading.repeated, 2), "triple": (_Reading.repeated, 3)}
    for word in sorted(vocabulary.specials):
        yield word, (_Role.OTHER, *specials[word], "")
    for word, suffix in vocabulary.suffixers.items():
        if isinstance(suffix, str):
            yield word, (_Role.OTHER, _Reading.percent, 0, suffix)
        else:
            yield word, (_Role.OTHER, _Reading.per, 0, suffix["cent"])
    for word, sign in vocabulary.following_prefixers.items():
        yield word, (_Role.OTHER, _Reading.currency, 0, sign)
    for word, sign in vocabulary.preceding_prefixers.items():
        yield word, (_Role.OTHER, _Reading.sign, 0, sign)
    for word, (amount, ending) in vocabulary.multipliers_suffixed.items():
        yield word, (_Role.OTHER, _Reading.multiplier_ending, amount, ending)
    for word, amount in vocabulary.multipliers.items():
        yield word, (_Role.MULTIPLIER, _Reading.multiplier, amount, "")
    for word, (amount, ending) in vocabulary.tens_suffixed.items():
        yield word, (_Role.OTHER, _Reading.tens_ending, amount, ending)
    for word, amount in vocabulary.tens.items():
        yield word, (_Role.TENS, _Reading.tens, amount, "")
    for word, (amount, ending) in vocabulary.ones_suffixed.items():
        yield word, (_Role.OTHER, _Reading.ones_ending, amount, ending)
    for word, amount in vocabulary.ones.items():
        yield word, (_Role.ONES, _Reading.ones, amount, "")
    for word in sorted(vocabulary.zeros):
        yield word, (_Role.ZERO, _Reading.zero, 0, "")
