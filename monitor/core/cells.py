"""Decides the shape in which closed units reach the statistics: one row for each (unit, combination of labels)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
LabelArray = NDArray[np.object_]

ERRORS_CAP = 1.5
"""Errors of a unit are capped at this many times its words: one looping hypothesis (WER 499) must not decide alone.
At half, a real WER above 0.75 is cut; at double, two loops outweigh a hundred ordinary units."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows ordered by (ended_at, unit, labels); arrays share their first axis, length n.

    unit        index of the betting unit, 0..m-1
    errors      S + D + I, weighted by 1 / inclusion probability, capped at ERRORS_CAP x words
    words       reference words, weighted alike
    ended_at    event time of the unit's last utterance, seconds
    utterances  labelled utterances in the cell
    labels      one array of values for each dimension name
    person      index of the speaker (else the unit): the cluster of standing gaps
    first_at    event time of the unit's first utterance, seconds
    kinds       (n, 3) substitutions, deletions, insertions, weighted, not capped
    spoken      reference words, each counted once whatever its weight; None: `words`, all weights are 1
    """

    unit: IntArray
    errors: FloatArray
    words: FloatArray
    ended_at: FloatArray
    utterances: IntArray
    labels: Mapping[str, LabelArray]
    person: IntArray
    first_at: FloatArray
    kinds: FloatArray
    spoken: FloatArray | None = None

    @property
    def corrected(self) -> FloatArray:
        """(n,) reference words that people corrected: what there is of evidence, whatever it stands for."""
        return self.words if self.spoken is None else self.spoken

    def __len__(self) -> int:
        return len(self.unit)

    def select(self, rows: IntArray | BoolArray) -> Cells:
        """The cells at these row numbers (or where the mask is true), in the same order."""
        return Cells(
            unit=self.unit[rows],
            errors=self.errors[rows],
            words=self.words[rows],
            ended_at=self.ended_at[rows],
            utterances=self.utterances[rows],
            labels={name: values[rows] for name, values in self.labels.items()},
            person=self.person[rows],
            first_at=self.first_at[rows],
            kinds=self.kinds[rows],
            spoken=None if self.spoken is None else self.spoken[rows],
        )
