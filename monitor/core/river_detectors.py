"""Decides how river's detectors are made: the one module that imports river, and only when one is asked for.

`import river.drift` takes 2 s and 110 MB: whoever has not chosen a detector of river's pays neither.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from monitor.core.detectors import DEFAULTS, DriftDetector, Make

KSWIN_SEED = 1
"""KSWIN draws from its window: a restart has to draw the same."""
_APART_MIN = 0.1
"""River's: two samples that are closer are the same to KSWIN, whatever alpha says."""


class _River(Protocol):
    """What we use of a detector of river's."""

    @property
    def drift_detected(self) -> bool: ...

    def update(self, x: float) -> None: ...


def _kswin(alpha: float) -> _River:
    """River's KSWIN, some 15 times as fast: the same draws, statistic and p, of which there are only 31.

    River asks scipy for p at each value, though p is settled by the statistic: the larger part of 0.5 ms.
    """
    from river import drift

    class Kswin(drift.KSWIN):
        def update(self, x: float) -> None:
            if self.drift_detected:
                self._reset()  # type: ignore[no-untyped-call]
            self.n += 1
            self.window.append(x)
            self._drift_detected = False
            if len(self.window) < self.window_size:
                return
            values = list(self.window)
            before, size = self.window_size - self.stat_size, self.stat_size
            drawn, recent = [values[place] for place in self._rng.sample(range(before), size)], values[before:]
            apart = _apart(sorted(drawn), sorted(recent))
            if apart / size > _APART_MIN and _chance(apart, size) <= self.alpha:
                self._drift_detected = True
                self.window = deque(recent, maxlen=self.window_size)

    return Kswin(alpha=alpha, seed=KSWIN_SEED)


def _apart(one: Sequence[float], other: Sequence[float]) -> int:
    """Kolmogorov and Smirnov's statistic of two sorted samples of the same size, times that size.

    >>> _apart([1.0, 2.0, 2.0], [2.0, 3.0, 4.0])
    2
    """
    places = range(len(one))
    # The distributions differ most at the end of a run of equal values, in either of the samples.
    above = max(place + 1 - bisect_right(other, one[place]) for place in places)
    below = max(place + 1 - bisect_right(one, other[place]) for place in places)
    return max(above, below)


@lru_cache(maxsize=1024)
def _chance(apart: int, size: int) -> float:
    """p of samples of this size that are as far apart."""
    from scipy import stats

    return float(stats.ks_2samp(range(size), [place + apart for place in range(size)], method="exact").pvalue)


class RiverDetector:
    """A detector of river's, in our shape: its own `reset` is private, and it forgets by being made again."""

    def __init__(self, make: Callable[[], _River]) -> None:
        self._make = make
        self._river = make()

    @property
    def drift_detected(self) -> bool:
        return bool(self._river.drift_detected)

    def update(self, x: float) -> None:
        self._river.update(x)

    def reset(self) -> None:
        self._river = self._make()


def as_river(detector: DriftDetector) -> DriftDetector:
    """Any detector as a `river.base.DriftDetector`, for whoever asks for that type. It imports river."""
    from river import base

    class Adapted(base.DriftDetector):
        def __init__(self) -> None:
            super().__init__()
            self.reset()

        def update(self, x: float) -> None:
            detector.update(x)
            self._drift_detected = detector.drift_detected

        def reset(self) -> None:
            detector.reset()
            self._drift_detected = False

    return Adapted()


def maker(name: str, parameter: float | None = None) -> Make:
    """Makes detectors of this name; without a parameter, with river's own default."""
    from river import drift

    threshold = DEFAULTS[name] if parameter is None else parameter
    # Page-Hinkley and the binary ones look for more errors alone; the two others for any change.
    makers: dict[str, Callable[[], _River]] = {
        "adwin": lambda: drift.ADWIN(delta=threshold),  # type: ignore[no-untyped-call]
        "page-hinkley": lambda: drift.PageHinkley(threshold=threshold, mode="up"),
        "kswin": lambda: _kswin(threshold),
        "hddm-a": lambda: drift.binary.HDDMA(drift_confidence=threshold),  # type: ignore[no-untyped-call]
        "hddm-w": lambda: drift.binary.HDDMW(drift_confidence=threshold),  # type: ignore[no-untyped-call]
        "ddm": lambda: drift.binary.DDM(drift_threshold=threshold),
    }
    return lambda: RiverDetector(makers[name])
