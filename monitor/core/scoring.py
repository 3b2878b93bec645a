"""Decides what a pair is worth: word errors after levelling, errors among what must be right, and what is odd about it.

Intuition: both sides are written the same way (`normalization`), aligned (`alignment`), and counted. A rate is nowhere
here: rates are sums over pairs, never means of pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import eq

import msgspec

from monitor.core import normalization
from monitor.core.alignment import ALIGNER, align, distance
from monitor.core.records import Counts, Record, Score

DEFAULT = "default"
ENGLISH = "whisper-en"
UNSPACED = ("zh", "cmn", "yue", "ja", "th", "lo", "km", "my")
"""Languages written without spaces between words: scored by grapheme."""

LANGUAGES_MAX = 1_000
"""Language tags remembered; there are about 200 in use, but the field is the sender's."""

LOOP_WORDS_MIN = 12
"""Shorter texts repeat themselves because people do ("no no no no")."""
LOOP_RUN_MAX = 8
"""Words in a run; recognisers loop on a word or a short phrase."""
LOOP_REPEATS_MIN = 4
LOOP_WORDS_MAX = 4_000
"""Judged on so many last words: a decoder that loops does not leave the loop again."""


class ScoringSettings(Record, frozen=True, kw_only=True):
    """How texts are compared.

    profiles      language tag -> profile; the longest tag that is a prefix wins, `default` holds for no language
    replacements  pairs (written, wanted) for both sides: whole words, longest first
    keywords      words or phrases that must be right (drug names)
    """

    profiles: Mapping[str, str] = msgspec.field(default_factory=lambda: {DEFAULT: ENGLISH, "zh": "chars"})
    replacements: tuple[tuple[str, str], ...] = ()
    keywords: tuple[str, ...] = ()


class Scorer:
    """Scores pairs of texts. Same settings and texts, same score: what is remembered changes the speed alone."""

    aligner: str = ALIGNER
    normalizer: str = normalization.NORMALIZER

    def __init__(self, settings: ScoringSettings) -> None:
        self._profiles = {tag.lower(): profile for tag, profile in settings.profiles.items()}
        self._keywords = settings.keywords
        self._pairs = settings.replacements
        self._replacements = normalization.Replacements(settings.replacements)
        self._normalizers: dict[str, normalization.Normalizer] = {}
        self._identities: dict[str, str] = {}
        for profile in self._profiles.values():
            self._add(profile)
        self._by_language: dict[str | None, tuple[normalization.Normalizer, str]] = {}

    def profile_of(self, language: str | None) -> str:
        """Profile for a BCP-47 tag: the longest configured prefix, else by script, else `default` or `basic`.

        A `default` other than whisper-en also holds for every language without an entry: who configures it means it.
        """
        default = self._profiles.get(DEFAULT, ENGLISH)
        if language is None:
            return default
        parts = language.lower().replace("_", "-").split("-")
        for length in range(len(parts), 0, -1):
            configured = self._profiles.get("-".join(parts[:length]))
            if configured is not None:
                return configured
        if parts[0] in UNSPACED:
            return "chars"
        if parts[0] == "en" or default != ENGLISH:
            return default
        return "basic"

    def score(self, hypothesis: str, reference: str, language: str | None) -> Score:
        """Counts, strict errors and flags of one pair."""
        normalizer, identity = self._by_language.get(language) or self._resolve(language)
        if self._pairs:
            hypothesis, reference = self._replacements.apply(hypothesis), self._replacements.apply(reference)
        (heard, heard_strict), (words, strict) = normalizer.normalize_pair(hypothesis, reference)
        hits, substitutions, deletions, insertions = align(words, heard)
        return Score(
            counts=Counts(hits=hits, substitutions=substitutions, deletions=deletions, insertions=insertions),
            strict_errors=0 if strict == heard_strict else distance(strict, heard_strict),
            strict_words=len(strict),
            profile=identity,
            empty_reference=not words,
            empty_hypothesis=not heard,
            loop=2 * hits < len(heard) >= LOOP_WORDS_MIN and is_loop(heard),
        )

    def _resolve(self, language: str | None) -> tuple[normalization.Normalizer, str]:
        profile = self.profile_of(language)
        if profile not in self._normalizers:
            self._add(profile)
        if len(self._by_language) >= LANGUAGES_MAX:
            self._by_language.clear()
        resolved = self._normalizers[profile], self._identities[profile]
        self._by_language[language] = resolved
        return resolved

    def _add(self, profile: str) -> None:
        self._normalizers[profile] = normalization.normalizer_for(profile, self._keywords)
        self._identities[profile] = normalization.identity_of(profile, self._pairs)


def is_loop(words: Sequence[str]) -> bool:
    """Whether at least half of the words are one run of up to `LOOP_RUN_MAX` words, said over and over.

    It is asked only where the alignment found most of the words wrong: people repeat themselves too.

    >>> is_loop("and then and then and then and then and then and then".split())
    True
    """
    words = words[-LOOP_WORDS_MAX:]
    # Four times or more, and half of the words: then at most five eighths of the words are distinct.
    if 8 * len(set(words)) > 5 * len(words):
        return False
    for run in range(1, min(LOOP_RUN_MAX, len(words) // LOOP_REPEATS_MIN) + 1):
        longest = stretch = 0
        for same in map(eq, words, words[run:]):
            stretch = stretch + 1 if same else 0
            longest = max(longest, stretch)
        repeated = longest + run
        if repeated >= LOOP_REPEATS_MIN * run and 2 * repeated >= len(words) and longest:
            return True
    return False
