"""Decides which valid choice is told to whoever wrote one that is none."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

ALIKE = 0.6
"""A typo leaves more than this of a name (difflib's ratio); below it the nearest name is a guess that misleads."""
ANY = 0.0
"""Where there is always one that is worth telling: a short list of what exists."""


def nearest(name: str, known: Iterable[str], alike: float = ALIKE) -> str:
    """The most similar known name, "" if none is similar enough.

    >>> nearest("adwim", ["ddm", "adwin"]), nearest("x", ["adwin"]), nearest("x", ["adwin"], ANY)
    ('adwin', '', 'adwin')
    """
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=alike)), "")
