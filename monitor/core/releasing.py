"""Decides what of a slice's row the outside may see while the agent runs: sums in batches, estimates over enough units.

Counts are those that are let go (`core/slice_sums.py`), or rounded down to multiples of `release_min`; an estimate over
fewer units than that is not shown; an instant is the hour that it is in. Files for the owner of the data are exact.
"""

from __future__ import annotations

from msgspec.structs import replace

from monitor.core.estimators import WEIGHT_ONE
from monitor.core.records import Counts, SliceRow, SliceStanding
from monitor.core.slice_sums import Released

HOUR = 3600.0


def released_row(row: SliceRow, released: Released, release_min: int) -> SliceRow:
    """The row as it may be seen; with `release_min` 1, as it is."""
    if release_min == 1:
        return row
    moments = released.moments
    enough = moments.clusters >= release_min
    low, high = moments.interval() if enough else (None, None)
    return replace(
        row,
        transcripts=_down(row.transcripts, release_min),
        pairs=released.utterances,
        counts=_counts(released),
        wer=moments.ratio() if enough else None,
        wer_low=low,
        wer_high=high,
        clusters=moments.clusters,
        hallucinated_words=_down(row.hallucinated_words, release_min),
        strict_errors=_down(row.strict_errors, release_min),
        strict_words=_down(row.strict_words, release_min),
        standing=None if row.standing is None else released_standing(row.standing, release_min),
        last_reference_at=_hour(row.last_reference_at),
        missing=_down(row.missing, release_min),
        missing_by_age=tuple(
            (band, _down(seen, release_min), _down(missing, release_min)) for band, seen, missing in row.missing_by_age
        ),
    )


def released_standing(standing: SliceStanding, release_min: int) -> SliceStanding:
    """Windows and days of enough units; a gap if the longest window is one of them."""
    windows = tuple(window for window in standing.windows if window[3] >= release_min)
    counted = zip(standing.history, standing.history_units, strict=False)  # a day that nobody counted is left out
    days = [(day, units) for day, units in counted if units >= release_min]
    shown = replace(
        standing,
        windows=windows,
        history=tuple(day for day, _ in days),
        history_units=tuple(units for _, units in days),
        last_reference_at=_hour(standing.last_reference_at),
    )
    if windows:
        return shown
    return replace(
        shown, gap=None, gap_low=None, gap_high=None, rest_wer=None, detectable_gap=None, baseline_ratio=None
    )


def _counts(released: Released) -> Counts:
    """Whole words: with probabilities below 1, those that the sampled ones stand for."""
    substitutions, deletions, insertions, words = (
        weighted // WEIGHT_ONE
        for weighted in (released.substitutions, released.deletions, released.insertions, released.moments.w)
    )
    return Counts(
        hits=max(words - substitutions - deletions, 0),
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
    )


def _down(count: int, release_min: int) -> int:
    return count // release_min * release_min


def _hour(at: float | None) -> float | None:
    return None if at is None else at // HOUR * HOUR
