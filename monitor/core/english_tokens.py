"""Decides which English words are compared, fast: the rules of `english_rules` with a memory of what tokens become.

Almost every token between white space becomes the same words wherever it stands, so one look-up a token does most
texts. Tokens with numbers, negations or keywords are gathered into runs, whose results are remembered too. What is left
(apostrophes that reach across a space, "it's been", "and a half", very long texts) goes through the rules as a whole.
The result never depends on what is remembered: memory is bounded, emptied when full, and belongs to one normaliser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from itertools import chain
from typing import TypeAlias

from monitor.core.english_rules import SYMBOLS, EnglishRules, without_brackets
from monitor.core.strict_score import StrictWords, needs_own_reading, own_reading

TOKENS_MAX = 50_000
"""Tokens remembered (about 15 MB): a busy English stream uses 30,000 in a month. At half, rare words are read again."""
TOKEN_LENGTH_MAX = 64
RUNS_MAX = 20_000
RUN_LENGTH_MAX = 16
LONG_TEXT = 20_000
"""Characters from which a text is read as a whole: its tokens would push everybody else's out of memory."""
WORDS_MAX = 30_000
"""Words and numbers after cleaning from which numbers stay as they are written. The contract allows 20,000 words
between white space; only text made to hurt makes so many ("1-1-1"). At double, a pair of them takes over 250 ms."""

Normalized: TypeAlias = tuple[list[str], tuple[str, ...]]
"""The words compared, and the items that must be right (`strict_score`)."""

_DIGIT_OR_SYMBOL = re.compile(rf"[\d{re.escape(SYMBOLS)}]")
_TAILS = {
    "and", "per", "percent", "pound", "pounds", "euro", "euros", "dollar", "dollars", "cent", "cents",
    "st", "nd", "rd", "th", "s",
}  # fmt: skip
"""With the units: they change a number before them, and are plain words without one."""
_VERBS = ("been", "gone", "done", "got", "gotta")
_HALF_WORD = re.compile(r"half\b")
_CONTRACTED = ("'s", "'d")
_OPENING = "<[("

_UNLEVELLED = "\0"
_SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f "


def _levelling() -> bytes:
    """For each ASCII character what it becomes where no digit is near: itself in lower case, or a space.

    Not levelled: digits and what has a meaning beside them, opening brackets, controls, and "_", which joins words.
    """
    table = bytearray(256)
    for code in range(128):
        character = chr(code)
        if character.isalpha() or character == "'":
            table[code] = ord(character.lower())
        elif character in _SPACES or (character.isprintable() and character not in "0123456789$%<[(_"):
            table[code] = ord(" ")
    return bytes(table)


_LEVEL = _levelling()


def _level(text: str) -> list[str] | None:
    """Lower-case words of a text whose only punctuation within words is apostrophes; None for any other."""
    if text.isascii() and ".." not in text:
        level = text.encode().translate(_LEVEL).decode()
        if _UNLEVELLED not in level:
            return level.split()
    return None


class _Kind(Enum):
    """How a token takes part in a text."""

    PLAIN = auto()
    """The same words anywhere."""
    TAIL = auto()
    """Part of a run if right behind one ("and", "dollars", "mg"), plain otherwise."""
    RUN = auto()
    """Holds a digit, a symbol, a number word or a strict word."""
    HALF = auto()
    """RUN, but "and a half" must be read with what precedes."""
    WHOLE = auto()
    """The text must be read as a whole: an apostrophe belongs to the token before, or a bracket is open."""


_PLAIN, _TAIL, _RUN, _HALF, _WHOLE = _Kind  # Module names are faster to read than members.


_Token: TypeAlias = tuple[_Kind, tuple[str, ...], Normalized | None, bool, bool]
"""Of a token:

kind
words       cleaned, for a run
alone       what it becomes outside of a run; None if that depends on where in a text it stands
hides       the strict score must read a text with this token on its own
contracted  ends in "'s" or "'d", which a verb behind it can change: "it's been"
"""


class EnglishNormalizer:
    """Profile `whisper-en`."""

    def __init__(self, keywords: Sequence[str] = ()) -> None:
        self._rules = EnglishRules()
        self._strict = StrictWords((), english=True)
        self._strict = StrictWords(map(self._strict_words, keywords), english=True)
        spelled = self._rules.spellings
        candidates = self._strict.units | _TAILS
        unmarked = candidates - self._strict.marked
        self._tails = frozenset(word for word in unmarked if spelled.get(word, word) == word and self._is_tail(word))
        self._numbers = (self._rules.numbers.words | self._strict.phrases | {"half"}) - self._tails
        replaced = self._rules.replaced_words | self._rules.hesitations
        self._special = self._numbers | self._strict.marked | replaced | frozenset(spelled)
        """Lower-case words of letters that are not final wherever they stand."""
        self._joining = self._numbers | self._tails | self._rules.hesitations | set(_VERBS)
        """Those that can change what a word before them becomes, or be silent between two that do."""
        endings = "|".join(sorted(self._rules.ends_of_contractions))
        self._reaches_back = re.compile(rf"'(?:{endings})\b")
        self._plain: dict[str, tuple[str, ...]] = {}
        self._alone: dict[str, tuple[list[str], tuple[str, ...], bool]] = {}
        self._tokens: dict[str, _Token] = {}
        self._runs: dict[tuple[str, ...], Normalized] = {}
        edges = ((True, False), (False, True), (True, True))
        self._edge_runs: dict[tuple[bool, bool], dict[tuple[str, ...], Normalized]] = {edge: {} for edge in edges}

    def _is_tail(self, word: str) -> bool:
        """Whether a word without a number before it is just that word."""
        return word not in self._rules.numbers.words or self._rules.numbers.rewrite([word, "x"]) == [word, "x"]

    def normalize(self, text: str) -> Normalized:
        """Words compared and strict items."""
        return self._read(text, _level(text))

    def normalize_pair(self, hypothesis: str, reference: str) -> tuple[Normalized, Normalized]:
        """Both sides of a pair, at little more than the cost of one where they say the same."""
        if hypothesis == reference:
            normalized = self.normalize(hypothesis)
            return normalized, normalized
        heard, words = _level(hypothesis), _level(reference)
        if heard is None or words is None:
            return self._read(hypothesis, heard), self._read(reference, words)
        if heard == words:
            both = self._by_marks(hypothesis, heard, alone=False)
            if both is not None:
                return both, both
            heard = _level(hypothesis) or []
        return (
            self._by_marks(hypothesis, heard) or self._as_a_whole(hypothesis),
            self._by_marks(reference, words) or self._as_a_whole(reference),
        )

    def _read(self, text: str, words: list[str] | None) -> Normalized:
        if words is None:
            return self._by_tokens(text)
        return self._by_marks(text, words) or self._as_a_whole(text)

    def _by_marks(self, text: str, words: list[str], *, alone: bool = True) -> Normalized | None:
        """Most texts need no look at single words; of the others, only marked words are looked at. Changes `words`.

        Not `alone`: None if the result depends on more than the words, which another text shares.
        """
        special = self._special
        if "'" in text:
            marked = [at for at, word in enumerate(words) if "'" in word or word in special]
        elif special.isdisjoint(words):
            return words, ()
        else:
            marked = [at for at, word in enumerate(words) if word in special]
        if len(text) > LONG_TEXT:
            return None
        known_alone = self._alone.get
        strict: tuple[str, ...] = ()
        shift = 0
        for mark in marked:
            at = mark + shift
            known = known_alone(words[at])
            if known is None:
                return self._assemble(text if alone else None, _level(text) or [], marked, None)
            final, items, opens = known
            if opens and at + 1 < len(words):
                following = words[at + 1]
                if following in self._joining or "'" in following:
                    return self._assemble(text if alone else None, _level(text) or [], marked, None)
            if len(final) == 1:
                words[at] = final[0]
            else:
                words[at : at + 1] = final
                shift += len(final) - 1
            if items:
                strict += items
        return words, strict

    def _by_tokens(self, text: str) -> Normalized:
        """A text with digits, symbols, brackets or letters that are not ASCII."""
        if len(text) > LONG_TEXT:
            return self._as_a_whole(text)
        if "<" in text or "[" in text or "(" in text:
            bare = without_brackets(text.lower())
            return self._bare(bare)[0], self._own_reading(text)
        return self._bare(text)

    def _bare(self, text: str) -> Normalized:
        tokens = text.split()
        plain = list(map(self._plain.get, tokens))
        marked = [at for at, words in enumerate(plain) if words is None]
        return self._assemble(text, tokens, marked, plain) or self._as_a_whole(text)

    def _assemble(
        self,
        text: str | None,
        tokens: Sequence[str],
        marked: Sequence[int],
        plain: Sequence[tuple[str, ...] | None] | None,
    ) -> Normalized | None:
        """Final words of plain tokens and of runs. A run starts at a marked token and ends before the next plain one.

        `text`: looked at only for the spaces between tokens, if it is known. `plain`: what unmarked tokens become;
        None: themselves. Returns None if the text must be read as a whole, or must be known.
        """
        out: list[str] = []
        items: tuple[str, ...] = ()
        hidden = False
        end = 0
        verbs = 0
        known, joining = self._tokens.get, self._joining
        for at in marked:
            if at < end:
                continue
            if at > end:
                out += tokens[end:at] if plain is None else chain.from_iterable(filter(None, plain[end:at]))
            run: list[str] = []
            single: Normalized | None = None
            end = at
            while end < len(tokens):
                token = tokens[end]
                if run and plain is None and token not in joining and "'" not in token:
                    break
                step = 1
                kind, words, alone, hides, contracted = known(token) or self._learn(token)
                if contracted and end + 1 < len(tokens) and tokens[end + 1].lower().startswith(_VERBS):
                    # The rules join the two only if exactly one space is between them, which tokens do not tell.
                    joined = f"{token} {tokens[end + 1]}".lower()
                    if text is None or verbs or text.lower().count(joined) != 1:
                        return None
                    verbs = step = 2
                    kind, words, alone, hides, contracted = known(joined) or self._learn(joined)
                    if contracted:
                        return None
                if kind is _WHOLE or (kind is _HALF and (len(words) > 1 or (run or out or [""])[-1] == "a")):
                    return None
                if kind is _PLAIN or (kind is _TAIL and not run):
                    if words and run:
                        break
                    if alone is not None:
                        out += alone[0]
                        items += alone[1]
                else:
                    single = None if run else alone
                    run += words
                end += step
                hidden |= hides
                if not run:
                    break
            if run:
                final, strict = single or self._run(tuple(run), not out, end == len(tokens))
                out += final
                items += strict
        if end < len(tokens):
            out += tokens[end:] if plain is None else chain.from_iterable(filter(None, plain[end:]))
        if not hidden:
            return out, items
        return None if text is None else (out, self._own_reading(text))

    def _as_a_whole(self, text: str) -> Normalized:
        words = self._rules.clean(without_brackets(_lower(text))).split()
        if self._too_many(words):
            return words, self._strict.items(words)
        if needs_own_reading(text, signs=len(text) <= LONG_TEXT):
            out = self._rules.finish(self._rules.digits(words), first=True, last=True)
            return out, self._own_reading(text)
        return self._read_run(words, True, True)

    def _own_reading(self, text: str) -> tuple[str, ...]:
        """The strict items of a text of which the lenient rules would hide something."""
        words = self._rules.clean(own_reading(_lower(text), signs=len(text) <= LONG_TEXT)).split()
        return self._strict.items(words) if self._too_many(words) else self._items(words)

    def _too_many(self, words: Sequence[str]) -> bool:
        return len(words) > WORDS_MAX or (4 * len(words) > WORDS_MAX and self._rules.pieces(words) > WORDS_MAX)

    def _run(self, run: tuple[str, ...], first: bool, last: bool) -> Normalized:
        """A run of cleaned words: final words and strict items. `first`, `last`: nothing of the text before, behind."""
        runs = self._edge_runs[first, last] if first or last else self._runs
        known = runs.get(run)
        if known is None:
            known = self._read_run(run, first, last)
            if len(runs) >= RUNS_MAX:
                runs.clear()
            if len(run) <= RUN_LENGTH_MAX and sum(map(len, run)) <= TOKEN_LENGTH_MAX:
                runs[run] = known
        return known

    def _read_run(self, words: Sequence[str], first: bool, last: bool) -> Normalized:
        in_digits = self._rules.digits(words)
        return self._rules.finish(in_digits, first=first, last=last), self._items(words, in_digits)

    def _items(self, words: Sequence[str], in_digits: Sequence[str] | None = None) -> tuple[str, ...]:
        """Strict items of cleaned words. A lone "oh" is no zero."""
        if "oh" in words or "o" in words:
            words, in_digits = self._without_interjections(words), None
        spellings = self._rules.spellings
        if in_digits is None:
            in_digits = self._rules.digits(words)
        return self._strict.items([spellings.get(word, word) for word in in_digits])

    def _without_interjections(self, words: Sequence[str]) -> list[str]:
        """Without the "oh" and "o" that have no number beside them."""
        amounts = self._rules.numbers.amounts
        kept: list[str] = []
        for index, word in enumerate(words):
            if word in ("oh", "o"):
                beside = (*words[max(0, index - 1) : index], *words[index + 1 : index + 2])
                if not any(near in amounts or _DIGIT_OR_SYMBOL.search(near) for near in beside):
                    continue
            kept.append(word)
        return kept

    def _strict_words(self, keyword: str) -> list[str]:
        """A keyword as the strict score meets it."""
        words = self._rules.digits(self._rules.clean(own_reading(_lower(keyword))).split())
        return [self._rules.spellings.get(word, word) for word in words]

    def _learn(self, token: str) -> _Token:
        learnt = kind, _, alone, hides, contracted = self._read_token(token)
        if len(token) <= TOKEN_LENGTH_MAX:
            if len(self._tokens) >= TOKENS_MAX:
                self._tokens.clear()
                self._plain.clear()
                self._alone.clear()
            self._tokens[token] = learnt
            if alone is not None and not hides and kind is not _HALF:
                self._alone[token] = *alone, contracted or kind is _RUN
                if kind is not _RUN and not contracted and not alone[1]:
                    self._plain[token] = tuple(alone[0])
        return learnt

    def _read_token(self, token: str) -> _Token:
        lower = _lower(token)
        body = lower[:-1] if lower[-1:] in ",.?!;:" else lower
        if body.isascii() and body.isalpha() and body not in self._special:
            # Nine of ten new tokens: a word, perhaps with one punctuation mark behind it.
            return _TAIL if body in self._tails else _PLAIN, (body,), ([body], ()), False, False
        if any(bracket in lower for bracket in _OPENING) or self._reaches_back.match(self._rules.ignored(lower)):
            return _WHOLE, (lower,), None, False, False
        words = tuple(self._rules.clean(lower).split())
        hides = needs_own_reading(lower) and self._is_strict(self._rules.clean(own_reading(lower)).split())
        contracted = lower.endswith(_CONTRACTED)
        if any(_HALF_WORD.match(word) for word in words):
            kind = _HALF
        elif self._is_number(words):
            kind = _RUN
        else:
            kind = _PLAIN if self._tails.isdisjoint(words) else _TAIL
        alone = self._read_run(words, False, False) if all(word.isalnum() for word in words) else None
        if kind is _TAIL and alone is not None and (tuple(alone[0]) != words or alone[1]):
            kind = _RUN
        return kind, words, alone, hides, contracted

    def _is_number(self, words: Sequence[str]) -> bool:
        """Whether a cleaned word belongs in a run. One with a control character does, for it may end inside."""
        numbers, spellings = self._numbers, self._rules.spellings
        return any(
            word in numbers
            or spellings.get(word, word) in numbers
            or not word.isalnum()
            or _DIGIT_OR_SYMBOL.search(word) is not None
            for word in words
        )

    def _is_strict(self, words: Sequence[str]) -> bool:
        return self._is_number(words) or not self._strict.marked.isdisjoint(words)


def _lower(text: str) -> str:
    return text.lower().replace("’", "'")
