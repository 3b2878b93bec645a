"""Decides whether the normaliser punishes how one dialect is spelled: equivalent spellings, scored against each other.

A correction house writes "finna" where the recogniser writes "fixing to"; if that counts as two errors, a dialect has a
WER that nobody spoke. The table is scored at start-up, both ways, and the number of spellings that do not agree is
exported (`normalizer_parity_failures`). A customer mends one with `scoring.replacements`.
"""

from __future__ import annotations

from typing import Protocol

from monitor.core.records import Record, Score

EQUIVALENT: tuple[tuple[str, str, str], ...] = (
    ("African American English", "we finna leave", "we fixing to leave"),
    ("African American English", "i'ma call you", "i'm going to call you"),
    ("African American English", "he tryna help", "he trying to help"),
    ("African American English", "lemme see it", "let me see it"),
    ("African American English", "what you talmbout", "what you talking about"),
    ("Southern American English", "y'all come in", "you all come in"),
    ("British English", "what colour is it", "what color is it"),
    ("British English", "the centre is near", "the center is near"),
    ("British English", "she was anaesthetised", "she was anesthetized"),
    ("British English", "a paediatric ward", "a pediatric ward"),
    ("British English", "his oesophagus", "his esophagus"),
    ("British English", "travelling for work", "traveling for work"),
    ("Scottish English", "i cannae see", "i cannot see"),
    ("Irish English", "it's grand, so it is", "it is grand so it is"),
    ("any", "at five o'clock", "at 5 o'clock"),
    ("any", "gonna be late", "going to be late"),
    ("any", "i wanna go", "i want to go"),
    ("any", "i've gotta go", "i have got to go"),
    ("any", "twenty-five milligrams", "25 milligrams"),
    ("any", "don’t worry", "don't worry"),
    ("any", "mr. smith", "mister smith"),
    ("any", "ok then", "okay then"),
)
"""(dialect, one spelling, the other): the same words to whoever said them."""


class Scoring(Protocol):
    """What is needed of a scorer."""

    def score(self, hypothesis: str, reference: str, language: str | None) -> Score: ...


class ParityRow(Record, frozen=True):
    """One pair of spellings and the errors counted when each is taken for the reference of the other."""

    dialect: str
    one: str
    other: str
    errors: int

    @property
    def agrees(self) -> bool:
        return self.errors == 0


def parity(scorer: Scoring, language: str = "en") -> tuple[ParityRow, ...]:
    """The table, scored both ways with the profile of `language`."""
    return tuple(
        ParityRow(
            dialect=dialect,
            one=one,
            other=other,
            errors=max(
                scorer.score(one, other, language).counts.errors, scorer.score(other, one, language).counts.errors
            ),
        )
        for dialect, one, other in EQUIVALENT
    )


def failures(rows: tuple[ParityRow, ...]) -> int:
    """How many pairs of spellings do not agree."""
    return sum(not row.agrees for row in rows)
