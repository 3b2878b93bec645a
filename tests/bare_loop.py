"""How long something may take, told as a ratio to a bare loop: a test that asserts seconds fails on a slow machine."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=1)
def bare_loop() -> float:
    """Processor time of making, counting and sorting 200,000 words, the median of five: 62 ms on a slow core."""
    taken = []
    for _ in range(5):
        started = time.process_time()
        counts: dict[str, int] = {}
        for word in map(str, range(200_000)):
            counts[word] = counts.get(word, 0) + 1
        " ".join(sorted(counts))
        taken.append(time.process_time() - started)
    return sorted(taken)[2]


def bare_loops(call: Callable[[], object], enough: float) -> float:
    """Bare loops that a call takes, the best of up to three; `enough`: so few need no second look.

    What the other tests left in memory is kept from the garbage collector, which would walk through it meanwhile.
    """
    best = float("inf")
    gc.freeze()
    try:
        for _ in range(3):
            started = time.process_time()
            call()
            best = min(best, (time.process_time() - started) / bare_loop())
            if best < enough:
                break
    finally:
        gc.unfreeze()
    return best
