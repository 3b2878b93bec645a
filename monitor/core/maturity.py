"""Decides how long a unit waits for its labels, from how late the first days' references came; then it is frozen.

A unit that ends when learning does closes one maturity later. That is when a candidate has to be known, and by then the
first days' references have had longer than the candidate to come: so no page ever waits for the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

HOUR = 3600.0
DAY = 86400.0

CANDIDATES = (24 * HOUR, 48 * HOUR, 72 * HOUR, 96 * HOUR)
"""A day's work, two, a weekend, a long weekend. Finer steps would follow noise; longer ones delay every page."""
SHARE = 0.85
"""Part of the first days' references that must have come: at .7, the harder utterances, which come late, are missing,
and the detector hears easy ones; at .95 one slow annotator delays every page by a day."""
FIRST_SECONDS = 3.5 * DAY
"""The first days are half a week: at half, one annotator's day decides; at double, the answer would delay pages."""
REFERENCES_MIN = 20
"""Fewer references do not show how late they come (the share is uncertain by .16 at 20): then a longer one is taken."""


def find_maturity(
    now: float, first_at: float, learn_seconds: float, delays_before: Callable[[float, float], Sequence[float]]
) -> float | None:
    """The smallest candidate by which 85 % of the first days' references had come; None while it is not to be known.

    delays_before  (before, now) -> seconds to the first sampled reference given by `now`, of utterances before `before`
    Asked at every full hour; only the first look at or after a candidate's moment may take it.
    """
    learned_at = first_at + learn_seconds
    for candidate in CANDIDATES[:-1]:
        if not now - HOUR < learned_at + candidate <= now:
            continue
        delays = delays_before(first_at + FIRST_SECONDS, now)
        in_time = sum(delay <= candidate for delay in delays)
        if len(delays) >= REFERENCES_MIN and in_time >= SHARE * len(delays):
            return candidate
    return CANDIDATES[-1] if now >= learned_at + CANDIDATES[-1] else None
