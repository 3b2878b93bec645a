"""Decides how river's detectors are made: the one module that imports river, and only when one is asked for.

`import river.drift` takes 2 s and 110 MB: whoever has not chosen a detector of river's pays neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from monitor.core.detectors import DEFAULTS, Make

KSWIN_SEED = 1
"""KSWIN draws from its window: a restart has to draw the same."""


class _River(Protocol):
    """What we use of a detector of river's."""

    @property
    def drift_detected(self) -> bool: ...

    def update(self, x: float) -> None: ...


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


def maker(name: str, parameter: float | None = None) -> Make:
    """Makes detectors of this name; without a parameter, with river's own default."""
    from river import drift

    threshold = DEFAULTS[name] if parameter is None else parameter
    # Page-Hinkley and the binary ones look for more errors alone; the two others for any change.
    makers: dict[str, Callable[[], _River]] = {
        "adwin": lambda: drift.ADWIN(delta=threshold),  # type: ignore[no-untyped-call]
        "page-hinkley": lambda: drift.PageHinkley(threshold=threshold, mode="up"),
        "kswin": lambda: drift.KSWIN(alpha=threshold, seed=KSWIN_SEED),
        "hddm-a": lambda: drift.binary.HDDMA(drift_confidence=threshold),  # type: ignore[no-untyped-call]
        "hddm-w": lambda: drift.binary.HDDMW(drift_confidence=threshold),  # type: ignore[no-untyped-call]
        "ddm": lambda: drift.binary.DDM(drift_threshold=threshold),
    }
    return lambda: RiverDetector(makers[name])
