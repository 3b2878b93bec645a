"""Decides which words must be right whatever the lenient rules forgive: numbers, units, negations and keywords.

The lenient rules call "1 percent lidocaine" and "one lidocaine" the same. So each side's numbers (in digits: "fifteen"
is 15), the units behind them, negations and a customer's keywords are listed in order of speech, and the two lists are
compared: `strict_words` is the length of the reference's list, `strict_errors` the edits between the two. What stands
around them is the lenient score's matter. Text that the lenient rules delete (brackets) counts here: no rule may hide
a dose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NEGATIONS = {
    "no", "not", "never", "none", "nor", "neither", "without", "nobody", "nothing", "nowhere",
}  # fmt: skip
_NEGATED_VERBS = {
    "cannot", "aint", "arent", "cant", "couldnt", "didnt", "doesnt", "dont", "hadnt", "hasnt", "havent", "isnt",
    "mustnt", "neednt", "shouldnt", "wasnt", "werent", "wont", "wouldnt",
}  # fmt: skip
"""As recognisers without apostrophes write them."""

_UNITS = {
    "mg": ("milligram", "milligrams", "milligramme", "milligrammes", "mgs"),
    "mcg": ("microgram", "micrograms", "microgramme", "microgrammes", "mcgs", "ug", "μg"),
    "ng": ("nanogram", "nanograms"),
    "g": ("gram", "grams", "gramme", "grammes", "gm", "gms"),
    "kg": ("kilogram", "kilograms", "kilogramme", "kilogrammes", "kilo", "kilos", "kgs"),
    "lb": ("pound", "pounds", "lbs"),
    "oz": ("ounce", "ounces"),
    "ml": ("milliliter", "milliliters", "millilitre", "millilitres", "mls", "cc", "ccs"),
    "dl": ("deciliter", "deciliters", "decilitre", "decilitres"),
    "l": ("liter", "liters", "litre", "litres"),
    "mm": ("millimeter", "millimeters", "millimetre", "millimetres"),
    "cm": ("centimeter", "centimeters", "centimetre", "centimetres"),
    "m": ("meter", "meters", "metre", "metres"),
    "km": ("kilometer", "kilometers", "kilometre", "kilometres"),
    "mile": ("miles",),
    "mmol": ("millimole", "millimoles", "mmols"),
    "mol": ("mole", "moles"),
    "meq": ("milliequivalent", "milliequivalents"),
    "mmhg": (),
    "iu": (),
    "unit": ("units",),
    "tablet": ("tablets", "tab", "tabs"),
    "capsule": ("capsules",),
    "drop": ("drops",),
    "puff": ("puffs",),
    "degree": ("degrees",),
    "%": ("percent", "percentage"),
    "basispoint": ("bps",),
    "second": ("seconds", "sec", "secs"),
    "minute": ("minutes", "min", "mins"),
    "hour": ("hours", "hr", "hrs", "hourly"),
    "day": ("days", "daily"),
    "week": ("weeks", "weekly"),
    "month": ("months", "monthly"),
    "year": ("years", "yearly"),
    "$": ("dollar", "dollars"),
    "€": ("euro", "euros"),
    "¢": ("cent", "cents"),
}  # fmt: skip
"""Counted only right behind a number or another unit ("5 mg per kg"): alone, most are ordinary words."""

UNIT_OF = {spelling: unit for unit, spellings in _UNITS.items() for spelling in (unit, *spellings)}
NEGATION_OF = {word: word for word in _NEGATIONS} | dict.fromkeys(_NEGATED_VERBS, "not")
LINK = "per"
"""Between a unit and the next: 5 mg per kg."""

_NUMBER = re.compile(r"([-+]?)([€£$¢]?)(\d[\d.]*|\.\d[\d.]*)(%?)")
_BEFORE_NUMBER = frozenset("-+€£$¢.")
_MINUS = re.compile(r"(?<!\S)[-−‐‑‒–](?=[.$€£]?\d)")
_OPENING = "<[("
_BRACKETS = "<>[](){}"


def needs_own_reading(text: str, *, signs: bool = True) -> bool:
    """Whether the lenient rules would delete something of this text that the strict score must see."""
    return any(bracket in text for bracket in _OPENING) or (signs and _MINUS.search(text) is not None)


def own_reading(text: str, *, signs: bool = True) -> str:
    """The text with brackets open and, if `signs`, a minus sign before a number as a word."""
    for bracket in _BRACKETS:
        text = text.replace(bracket, " ")
    return _MINUS.sub("minus ", text) if signs else text


class StrictWords:
    """Finds what must be right. `keywords` are phrases, written as the texts looked at will be."""

    def __init__(self, keywords: Iterable[Sequence[str]], *, english: bool) -> None:
        self._negations = NEGATION_OF if english else {}
        self._units = UNIT_OF if english else {}
        self._phrases: dict[str, list[tuple[str, ...]]] = {}
        self._longest = 0
        marked: set[str] = set()
        for keyword in sorted({tuple(words) for words in keywords if words}, key=lambda words: (-len(words), words)):
            self._phrases.setdefault(keyword[0], []).append(keyword)
            self._longest = max(self._longest, len(keyword))
            marked.update(keyword)
        self.marked: frozenset[str] = frozenset(marked) | self._negations.keys()
        """Words that must be looked at even where there is no digit."""
        self.phrases: frozenset[str] = frozenset(marked)
        """The keywords among them: they may have to be read with the words behind them."""
        self.units: frozenset[str] = frozenset(self._units)

    def items(self, words: Sequence[str]) -> tuple[str, ...]:
        """Numbers (digits, sign, currency and % apart), units, negations and keywords, in order of speech."""
        found: list[str] = []
        measured = False
        end_of_keyword = 0
        for index, word in enumerate(words):
            if index < end_of_keyword:
                continue
            first = word[0]
            if word in self._phrases and (phrase := self._keyword(words, index)):
                found += phrase
                end_of_keyword = index + len(phrase)
                measured = False
            elif first.isdecimal() or first in _BEFORE_NUMBER:
                number = [word] if word.isdecimal() else self._number(word)
                found += number
                measured = bool(number)
            elif word in self._negations:
                found.append(self._negations[word])
                measured = False
            elif measured:
                if word in self._units:
                    found.append(self._units[word])
                else:
                    measured = word == LINK
        return tuple(found)

    def _keyword(self, words: Sequence[str], index: int) -> tuple[str, ...]:
        following = tuple(words[index : index + self._longest])
        return next((phrase for phrase in self._phrases[words[index]] if following[: len(phrase)] == phrase), ())

    def _number(self, word: str) -> list[str]:
        """ "$0.50" as "$" and "0.5", "-5" as "-5", "5%" as "5" and "%"; nothing if it is none."""
        found = _NUMBER.match(word)
        if found is None:
            return []
        sign, currency, digits, percent = found.groups()
        if digits.count(".") == 1:
            digits = digits.rstrip("0").rstrip(".")
        if not digits[:1].isdecimal():
            digits = f"0{digits}"
        # Behind an English number is "th" or "s"; elsewhere a unit written on, "5mg".
        rest = "" if self._units else word[found.end() :]
        return [item for item in (currency, f"-{digits}" if sign == "-" else digits, percent, rest) if item]
