"""Decides how many words are right, substituted, deleted and inserted: jiwer's counts, from rapidfuzz directly.

The number of errors is the same for every aligner; how it splits into S, D and I is a matter of ties. The split here is
jiwer's, because the call is jiwer's: rapidfuzz edit operations of the reference against the hypothesis.

Pairs beyond `CELLS_MAX` word comparisons cannot occur within the contract with words (20,000 against 20,000), only with
graphemes or with text made to hurt. Where few edits suffice they are still aligned exactly. Otherwise the alignment is
made of windows, each aligned exactly and followed to its middle: a valid alignment, so never fewer errors than exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TypeAlias

import rapidfuzz
from rapidfuzz.distance import Levenshtein

ALIGNER = f"rapidfuzz {rapidfuzz.__version__}"

CELLS_MAX = 400_000_000
"""20,000 x 20,000: 40 ms and 5 MB when nothing matches. Half of it would approximate pairs that the contract allows."""

CELLS_NUMBERED = 1_000_000
"""From here words are numbered first, as jiwer always does: three times as fast for long texts, slower for short ones.
"""

EDITS_MAX = 2_000
"""A longer pair with at most so many edits is aligned exactly: rapidfuzz then stays near the diagonal."""

WINDOW_MAX = 1_500
"""Words of a window. At half, two minutes of speech left out put the rest out of step; at double, twice the time."""

Words: TypeAlias = Sequence[str] | Sequence[int]
_editops = Levenshtein.editops

Split: TypeAlias = tuple[int, int, int, int]
"""Hits, substitutions, deletions, insertions."""


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> Split:
    """Counts of the alignment with the fewest errors, split as jiwer splits them."""
    if reference == hypothesis:
        return len(reference), 0, 0, 0
    cells = len(reference) * len(hypothesis)
    if cells < CELLS_NUMBERED:
        return _split(reference, hypothesis)
    numbered = _numbered(reference, hypothesis)
    return _split(*numbered) if cells <= CELLS_MAX else _align_long(*numbered)


def distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Errors of the alignment alone."""
    cells = len(reference) * len(hypothesis)
    if cells < CELLS_NUMBERED:
        return Levenshtein.distance(reference, hypothesis)
    numbered = _numbered(reference, hypothesis)
    if cells <= CELLS_MAX:
        return Levenshtein.distance(*numbered)
    _, substitutions, deletions, insertions = _align_long(*numbered)
    return substitutions + deletions + insertions


def _numbered(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[list[int], list[int]]:
    number = {word: at for at, word in enumerate(dict.fromkeys(chain(reference, hypothesis)))}
    return list(map(number.__getitem__, reference)), list(map(number.__getitem__, hypothesis))


def _split(reference: Words, hypothesis: Words, hint: int | None = None) -> Split:
    edits = _editops(reference, hypothesis) if hint is None else _editops(reference, hypothesis, score_hint=hint)
    errors = len(edits)
    words = len(reference)
    surplus = words - len(hypothesis)
    # errors = |D - I| + S + 2 min(D, I), so up to one error beyond the surplus can only be a substitution.
    deletions = surplus if surplus > 0 else 0
    substitutions = errors + surplus - 2 * deletions
    if substitutions > 1:
        substitutions = deletions = 0
        for kind, _, _ in edits.as_list():
            if kind == "replace":
                substitutions += 1
            elif kind == "delete":
                deletions += 1
    wrong = substitutions + deletions
    return words - wrong, substitutions, deletions, errors - wrong


def _align_long(reference: Words, hypothesis: Words) -> Split:
    edits = Levenshtein.distance(reference, hypothesis, score_cutoff=EDITS_MAX)
    if edits <= EDITS_MAX:
        return _split(reference, hypothesis, edits)
    # The windows overlap by half, so all of them together take at most CELLS_MAX / 2 comparisons.
    window = min(WINDOW_MAX, max(50, CELLS_MAX // 4 // max(len(reference), len(hypothesis))))
    hits = substitutions = deletions = insertions = 0
    at = against = 0
    while at < len(reference) and against < len(hypothesis):
        words, heard = reference[at : at + window], hypothesis[against : against + window]
        final = at + window >= len(reference) and against + window >= len(hypothesis)
        middle = len(words) if final else max(1, len(words) // 2)
        if final:
            to = len(heard)
        else:
            to = _opposite(words, heard, middle)
        piece = _split(words[:middle], heard[:to])
        hits, substitutions = hits + piece[0], substitutions + piece[1]
        deletions, insertions = deletions + piece[2], insertions + piece[3]
        at, against = at + middle, against + to
    deletions += len(reference) - at
    insertions += len(hypothesis) - against
    return hits, substitutions, deletions, insertions


def _opposite(reference: Words, hypothesis: Words, middle: int) -> int:
    """Where in the hypothesis the best alignment of both stands when it has read `middle` reference words."""
    for block in reversed(Levenshtein.editops(reference, hypothesis).as_matching_blocks()):
        if block.a <= middle:
            return min(block.b + min(middle - block.a, block.size), len(hypothesis))
    return 0
