"""How long something may take, told as a ratio to a bare loop: a test that asserts seconds fails on a slow machine."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

TRIES = 5


def bare_loop() -> float:
    """Processor time of making, counting and sorting 200,000 words: 62 ms on a slow core."""
    started = time.process_time()
    counts: dict[str, int] = {}
    for word in map(str, range(200_000)):
        counts[word] = counts.get(word, 0) + 1
    " ".join(sorted(counts))
    return time.process_time() - started


def bare_loops(call: Callable[[], object], enough: float) -> float:
    """Bare loops that a call takes, each at its best of a few tries in turns; `enough`: so few need no second try.

    In turns, as a core that others use as well is slower for both. What the other tests left in memory is kept from the
    garbage collector, which would walk through it meanwhile.
    """
    loop = best = float("inf")
    gc.freeze()
    try:
        for _ in range(TRIES):
            loop = min(loop, bare_loop())
            started = time.process_time()
            call()
            best = min(best, time.process_time() - started)
            if best / loop < enough:
                break
    finally:
        gc.unfreeze()
    return best / loop
