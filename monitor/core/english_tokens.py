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
from typing import TypeAlias, cast

from monitor.core.english_rules import SYMBOLS, EnglishRules, without_brackets
from monitor.core.strict_score import StrictWords, needs_own_reading, own_reading

TOKENS_MAX = 50_000
"""Tokens remembered (about 15 MB): a busy English stream uses 30,000 in a month. At half, rare words are read again."""
TOKEN_LENGTH_MAX = 64
RUNS_MAX = 20_000
RUN_LENGTH_MAX = 16
LONG_TEXT = 20_000
"""Characters from which a text is read as a whole: its tokens would push everybody else's out of memory."""

Normalized: TypeAlias = tuple[list[str], tuple[str, ...]]
"""The words compared, and the items that must be right (`strict_score`)."""

_DIGIT_OR_SYMBOL = re.compile(rf"[\d{re.escape(SYMBOLS)}]")
_TAILS = {
    "and", "per", "percent", "pound", "pounds", "euro", "euros", "dollar", "dollars", "cent", "cents",
    "st", "nd", "rd", "th", "s",
}  # fmt: skip
"""With the units: they change a number before them, and are plain words without one."""
_VERBS = ("been", "gone", "done", "got")
_HALF_WORD = re.compile(r"half\b")
_CONTRACTED = ("'s", "'d", "’s", "’d")
_OPENING = "<[("


class _Kind(Enum):
    """How a token takes part in a text."""

    PLAIN = auto()
    """The same words anywhere."""
    TAIL = auto()
    """Part of a number run if right behind one ("and", "dollars", "mg"), plain otherwise."""
    RUN = auto()
    """Holds a digit, a symbol, a number word or a strict word."""
    HALF = auto()
    """RUN, but "and a half" must be read with what precedes."""
    VERB = auto()
    """PLAIN, but may belong to a contraction before it: "it's been"."""
    WHOLE = auto()
    """The text must be read as a whole: an apostrophe belongs to the token before, or a bracket is open."""


_PLAIN, _TAIL, _RUN, _HALF, _VERB, _WHOLE = _Kind  # Module names are faster to read than members.

_Token: TypeAlias = tuple[_Kind, tuple[str, ...], bool]
"""Kind, words (final if plain, else cleaned), and whether the strict score must read the text on its own."""


class EnglishNormalizer:
    """Profile `whisper-en`."""

    def __init__(self, keywords: Sequence[str] = ()) -> None:
        self._rules = EnglishRules()
        self._strict = StrictWords((), english=True)
        self._strict = StrictWords(map(self._strict_words, keywords), english=True)
        spelled = self._rules.spellings
        candidates = self._strict.units | _TAILS
        unmarked = candidates - self._strict.marked
        self._tails = frozenset(word for word in unmarked if spelled.get(word, word) == word and self._alone(word))
        self._marked = (self._rules.numbers.words | self._strict.marked | {"half"}) - self._tails
        replaced = self._rules.replaced_words | self._rules.hesitations
        self._not_plain = self._marked | self._tails | replaced | frozenset(_VERBS)
        endings = "|".join(sorted(self._rules.ends_of_contractions))
        self._reaches_back = re.compile(rf"'(?:{endings})\b")
        self._plain: dict[str, tuple[str, ...]] = {}
        self._tokens: dict[str, _Token] = {}
        ends = (False, True)
        self._runs: dict[tuple[bool, bool], dict[tuple[str, ...], Normalized]]
        self._runs = {(first, last): {} for first in ends for last in ends}

    def _alone(self, word: str) -> bool:
        """Whether a word without a number before it is just that word."""
        return word not in self._rules.numbers.words or self._rules.numbers.rewrite([word, "x"]) == [word, "x"]

    def normalize(self, text: str) -> Normalized:
        try:
            return list(chain.from_iterable(map(self._plain.__getitem__, text.split()))), ()
        except KeyError:
            return self._normalize(text)

    def _normalize(self, text: str) -> Normalized:
        if len(text) > LONG_TEXT:
            return self._as_a_whole(text)
        if "<" not in text and "[" not in text and "(" not in text:
            return self._by_tokens(text) or self._as_a_whole(text)
        bare = without_brackets(text.lower())
        words = (self._by_tokens(bare) or self._as_a_whole(bare))[0]
        return words, self._own_reading(text)

    def _by_tokens(self, text: str) -> Normalized | None:
        """The text token by token; None if some token must be read with another."""
        tokens = text.split()
        plain = list(map(self._plain.get, tokens))
        out: list[str] = []
        items: tuple[str, ...] = ()
        hidden = False
        end = 0
        for at in [at for at, words in enumerate(plain) if words is None]:
            if at < end:
                continue
            out += chain.from_iterable(cast(list[tuple[str, ...]], plain[end:at]))
            run, end, hides = self._gather(tokens, at)
            hidden |= hides
            if run is None:
                return None
            if end > at:
                words, strict = self._run(run, not out, end == len(tokens))
                out += words
                items += strict
            else:
                out += run
                end = at + 1
        out += chain.from_iterable(cast(list[tuple[str, ...]], plain[end:]))
        return out, self._own_reading(text) if hidden else items

    def _gather(self, tokens: Sequence[str], at: int) -> tuple[tuple[str, ...] | None, int, bool]:
        """The run of words that starts with token `at`, the token behind it, and whether something in it is hidden.

        If the token is plain after all (seen for the first time, or a verb), its words and `at`. None: read the whole.
        """
        run: tuple[str, ...] = ()
        hidden = False
        for index in range(at, len(tokens)):
            token = tokens[index]
            kind, words, hides = self._tokens.get(token) or self._learn(token)
            hidden |= hides
            if kind is _RUN or (kind is _TAIL and run):
                run += words
            elif kind is _PLAIN or kind is _TAIL:
                if words or not run:
                    return (run, index, hidden) if run else (words, at, hidden)
            elif kind is _WHOLE or not self._stands_alone(kind, words, tokens[:index]):
                return None, at, hidden
            elif kind is _HALF:
                run += words
            else:
                return (run, index, hidden) if run else (words, at, hidden)
        return run, len(tokens), hidden

    def _stands_alone(self, kind: _Kind, words: Sequence[str], before: Sequence[str]) -> bool:
        """Whether a verb follows no contraction, or "half" no "and a"."""
        if len(words) > 1 and kind is _HALF:
            return False
        for token in reversed(before):
            spoken = (self._tokens.get(token) or self._learn(token))[1]
            if spoken:
                return token[-2:].lower() not in _CONTRACTED if kind is _VERB else spoken[-1] != "a"
        return True

    def _as_a_whole(self, text: str) -> Normalized:
        words = self._rules.clean(without_brackets(_lower(text))).split()
        out, items = self._read_run(words, True, True)
        return out, self._own_reading(text) if needs_own_reading(text) else items

    def _own_reading(self, text: str) -> tuple[str, ...]:
        """The strict items of a text of which the lenient rules would hide something."""
        return self._items(self._rules.clean(own_reading(_lower(text))).split())

    def _run(self, run: tuple[str, ...], first: bool, last: bool) -> Normalized:
        """A run of cleaned words: final words and strict items. `first`, `last`: nothing of the text before, behind."""
        runs = self._runs[first, last]
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
        learnt = self._read_token(token)
        if len(token) <= TOKEN_LENGTH_MAX:
            if len(self._tokens) >= TOKENS_MAX:
                self._tokens.clear()
                self._plain.clear()
            self._tokens[token] = learnt
            kind, words, hides = learnt
            if kind in (_PLAIN, _TAIL) and not hides:
                self._plain[token] = words
        return learnt

    def _read_token(self, token: str) -> _Token:
        lower = _lower(token)
        body = lower[:-1] if lower[-1:] in ",.?!;:" else lower
        if body.isascii() and body.isalpha() and body not in self._not_plain:
            # Nine of ten new tokens: a word, perhaps with one punctuation mark behind it.
            word = self._rules.spellings.get(body, body)
            if word not in self._marked:
                return _PLAIN, (word,), False
        heard = self._rules.ignored(lower)
        if self._reaches_back.match(heard) or any(bracket in lower for bracket in _OPENING):
            return _WHOLE, (lower,), False
        words = tuple(self._rules.clean(lower).split())
        hides = False
        if needs_own_reading(lower):
            hides = self._is_marked(self._rules.clean(own_reading(lower)).split())
        if any(_HALF_WORD.match(word) for word in words):
            return _HALF, words, hides
        may_follow_contraction = heard.startswith(_VERBS) or (bool(words) and words[0].startswith(_VERBS))
        final = tuple(self._rules.spellings.get(word, word) for word in words)
        if self._is_marked(words):
            return _WHOLE if may_follow_contraction else _RUN, words, hides
        if not self._tails.isdisjoint(words):
            tail = final == words and not may_follow_contraction
            return _TAIL if tail else _WHOLE, words, hides
        return _VERB if may_follow_contraction else _PLAIN, final, hides

    def _is_marked(self, words: Sequence[str]) -> bool:
        """Whether a cleaned word belongs in a run. One with a control character does, for it may end inside."""
        marked, spellings = self._marked, self._rules.spellings
        return any(
            word in marked
            or spellings.get(word, word) in marked
            or not word.isalnum()
            or _DIGIT_OR_SYMBOL.search(word) is not None
            for word in words
        )


def _lower(text: str) -> str:
    return text.lower().replace("’", "'")
