"""Texts made here for the tests of scoring: speech as recognisers and correctors write it, and text made to hurt."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

_SPOKEN = """
the of to and a half one two hundred thousand not no never don't it's he'd she's been got done gone gotta that's we're
i'm mr dr um uh hmm colour grey twenty five minutes day dollars percent point oh o'clock y'all ma'am 'cause 'hello' all
let's can't won't people said o old i'ma first second double minus three's one's 't 's n and-a-half twenty-five mm-hmm
mr. Dr. half-way per cent pounds euros cents triple million third ones
"""
SPOKEN = tuple(_SPOKEN.split())

_WRITTEN = """
5 12 3.5 1,000 1,2,3 10:30 $5 $5.20 £0.05 ¢7 $0 5% 50 % $ -5 −3 5th 2nd st th s 1s 1960s covid19 a1b2 5mg ½ Ⅳ ٣ ５
… ... .. wait... wait.. ( ) (yeah) () [ ] < > <unk> [x] (5 mg) end.5 U.S. u.k. x.y no. - -- a-b " ' '' é naïve œuvre ß
™ ﷺ been™ half% %and don’t he’s ʼ bee 'd've can't've 10's $$ ..5 5.. 1,5.2
"""
WRITTEN = (
    *_WRITTEN.split(), "he's been", "he's  been", "it's got", "\u00b4", "\x00", "\x1c", "\u00a0",
    "got\x00", "th\x00", "half\x00", "\x001s",
)  # fmt: skip
"""What is not plain words: digits, symbols, brackets, signs of other scripts, and what the rules stumble over."""

_SEPARATORS = (" ",) * 12 + (", ", ". ", "? ", " - ", "; ", "  ", "\n", "-", "")


def texts(count: int, *, seed: int, written: float) -> Iterator[str]:
    """Random texts of up to 12 pieces; `written` is the share of pieces that are not plain words."""
    chance = random.Random(seed)
    for _ in range(count):
        pieces = (
            chance.choice(WRITTEN if chance.random() < written else SPOKEN) + chance.choice(_SEPARATORS)
            for _ in range(chance.randrange(1, 13))
        )
        text = "".join(pieces)
        case = chance.random()
        yield text.title() if case < 0.1 else text.upper() if case < 0.2 else text.capitalize() if case < 0.4 else text


def misheard(words: list[str], chance: random.Random, error_rate: float) -> list[str]:
    """The words as a recogniser might give them: some replaced, left out or said twice."""
    heard: list[str] = []
    for word in words:
        fate = chance.random() / error_rate
        if fate < 0.6:
            heard.append(chance.choice(words))
        elif fate < 0.8:
            continue
        elif fate < 1.0:
            heard += [word, word]
        else:
            heard.append(word)
    return heard


def _drawn(alphabet: str, length: int) -> Callable[[int], str]:
    return lambda seed: "".join(random.Random(seed).choices(alphabet, k=length))


def _said(vocabulary: str, count: int) -> Callable[[int], str]:
    words = vocabulary.split()
    return lambda seed: " ".join(random.Random(seed).choices(words, k=count))


def _numbered(form: str, count: int) -> Callable[[int], str]:
    return lambda seed: " ".join(form.format(number * 7_919 + seed) for number in range(count))[:200_000]


HOSTILE: dict[str, Callable[[int], str]] = {
    "opening parentheses": lambda seed: "(" * 30_000,
    "opening angles": lambda seed: "<" * 50_000,
    "empty parentheses": lambda seed: "()" * 100_000,
    "one bracket that closes late": lambda seed: "(" * 199_999 + ")",
    "a long number": lambda seed: "7" * 5_000,
    "one digit after another": lambda seed: "1-" * 100_000,
    "numbers in digits": _numbered("{:d}", 20_000),
    "prices": _numbered("${:d}.25", 20_000),
    "number words": _said(
        "one two twenty hundred million and point double five oh percent dollars minus third", 20_000
    ),
    "one one one": lambda seed: "one " * 20_000,
    "one long word": lambda seed: "x" * 200_000,
    "different words": _numbered("x{0:b}", 20_000),
    "contractions": _numbered("{:x}'s-won't", 20_000),
    "letters with hyphens": lambda seed: "a-" * 100_000,
    "titles": lambda seed: "mr-st-dr-" * 22_000,
    "negations": _said("not no never none don't", 20_000),
    "white space before apostrophes": lambda seed: (" " * 1_000 + "x'") * 199,
    "and with much space": lambda seed: ("and" + " " * 5_000) * 39,
    "full stops": lambda seed: "." * 200_000,
    "currency signs": lambda seed: "$" * 200_000,
    "combining marks": lambda seed: "a\u0301\u0323" * 66_000,
    "emoji": lambda seed: "👩‍👩‍👧‍👦 " * 20_000,
    "ligatures of whole phrases": lambda seed: "\ufdfa" * 200_000,
    "any ASCII": _drawn("".join(map(chr, range(32, 127))), 200_000),
    "digits and signs": _drawn("0123456789. ,$%-", 150_000),
    "ideographs": _drawn("".join(map(chr, range(0x4E00, 0x9000))), 200_000),
}
"""Texts within the contract (200,000 characters, 20,000 words) that make rules slow. Each takes a seed."""
