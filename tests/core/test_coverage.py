"""Labels that vanish and references that stop: silence must not look like health."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.cells import FloatArray, IntArray
from monitor.core.coverage import share_shift, stale
from monitor.core.groupings import DAY

NOW = 14 * DAY


def sessions(
    share: float, share_after: float, *, days: float = 2.0, size: int = 5, units: int = 400, seed: int = 1
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Times, unit and hits of utterances in sessions that lack the label whole, more of them in the last `days`."""
    random = np.random.default_rng(seed)
    ended_at = np.sort(random.uniform(0.0, NOW, units))
    lacking = random.random(units) < np.where(ended_at > NOW - days * DAY, share_after, share)
    unit = np.repeat(np.arange(units), size)
    return ended_at[unit], unit, lacking[unit].astype(float)


def test_a_label_that_vanishes_is_found_with_its_shares() -> None:
    """A client update that stops sending accents blinds every accent slice at once."""
    times, unit, hits = sessions(0.1, 0.8, units=1000)
    found = share_shift(times, unit, hits, NOW)
    assert found is not None and found.fires
    assert found.days == 2
    # 857 and 143 sessions: 4 standard errors of a binomial share.
    assert found.before == pytest.approx(0.1, abs=0.04) and found.after == pytest.approx(0.8, abs=0.14)


def test_long_sessions_without_a_label_are_no_shift() -> None:
    """Three unlabelled sessions of 100 utterances are three events, and three alike have no spread: z says 8."""
    times, unit, hits = sessions(0.1, 0.1, size=2, units=600)
    recent = np.full(300, NOW - 0.5 * DAY)
    found = share_shift(
        np.concatenate([times, recent]),
        np.concatenate([unit, np.repeat([600, 601, 602], 100)]),
        np.concatenate([hits, np.ones(300)]),
        NOW,
    )
    assert found is not None and found.z > 5.0 and not found.fires


def test_a_dozen_calls_without_a_label_are_a_shift_where_that_never_happened() -> None:
    """Few but sure: a customer with three calls a day must not wait for hundreds of sessions."""
    unit = np.repeat(np.arange(40), 200)
    times = np.linspace(0.1 * DAY, NOW, 40)[unit]
    found = share_shift(times, unit, (times > NOW - 4 * DAY).astype(float), NOW)
    assert found is not None and found.fires


def test_a_past_of_four_sessions_is_no_past() -> None:
    """A share that was itself known from four calls cannot be said to have risen."""
    unit = np.concatenate([np.repeat(np.arange(4), 100), np.arange(4, 104)])
    times = np.where(unit < 4, NOW - 5 * DAY, NOW - 0.5 * DAY)
    hits = np.where(unit < 4, unit == 0, unit % 10 < 7).astype(float)
    found = share_shift(times, unit, hits, NOW)
    assert found is not None and found.log_chance < np.log(2.9e-7) and not found.fires


def test_a_clear_rise_of_less_than_ten_points_is_no_page() -> None:
    """Sure and small is for the digest."""
    found = share_shift(*sessions(0.02, 0.10, days=4.0, size=1, units=8000), NOW)
    assert found is not None and found.z > 5.0 and not found.fires


def test_falling_shares_and_little_traffic_say_nothing() -> None:
    """More labels are good news; 59 utterances are no news."""
    assert share_shift(*sessions(0.9, 0.1), NOW) is None
    assert share_shift(*sessions(0.1, 0.9, units=40), NOW) is None


def test_no_shift_fires_where_nothing_changed() -> None:
    """z > 5 in none of 200 streams; even 3 would be expected in one of them at the most."""
    found = [share_shift(*sessions(0.3, 0.3, seed=seed), NOW) for seed in range(200)]
    assert max(shift.z for shift in found if shift is not None) < 5.0


def test_rows_of_many_utterances_count_like_their_utterances() -> None:
    """The stream keeps sums for each unit: the decision must be that of the single utterances."""
    times, unit, hits = sessions(0.1, 0.5)
    first = np.flatnonzero(np.diff(unit, prepend=-1))
    size = np.bincount(unit).astype(float)
    assert share_shift(times[first], unit[first], np.bincount(unit, hits).astype(float), NOW, size) == share_shift(
        times, unit, hits, NOW
    )


def test_references_that_stop_are_stale_after_two_days() -> None:
    """Half of the sessions used to be corrected; of the 57 or so of the last two days none was."""
    random = np.random.default_rng(2)
    times = np.sort(random.uniform(0.0, NOW, 400))
    labelled = (random.random(400) < 0.5) & (times <= NOW - 2.5 * DAY)
    found = stale(np.arange(400), times, labelled.astype(float), NOW)
    assert found is not None
    assert found.days == 2 and found.sessions == (times > NOW - 2 * DAY).sum()
    assert found.share == pytest.approx(0.5, abs=0.1)


def test_a_rarely_corrected_slice_is_given_time() -> None:
    """At one label in twenty sessions, 57 without any happen one time in nineteen: that is not stale."""
    times = np.linspace(0.0, NOW, 400)
    labelled = (np.arange(400) % 20 == 0) & (times <= NOW - 2.5 * DAY)
    assert stale(np.arange(400), times, labelled.astype(float), NOW) is None


def test_one_label_in_the_session_is_enough() -> None:
    """A session counts once: a hundred unlabelled utterances of a labelled session are no evidence."""
    times, unit = np.linspace(0.0, NOW, 4000), np.arange(4000) // 10
    labelled = (np.arange(4000) % 10 == 0).astype(float)
    assert stale(unit, times, labelled, NOW) is None
    found = stale(unit, times, np.where(times > NOW - 3 * DAY, 0.0, labelled), NOW)
    assert found is not None and found.share > 0.9
    assert stale(unit[:0], times[:0], labelled[:0], NOW) is None


def test_a_new_slice_has_no_past_to_fall_from() -> None:
    """Fewer than 10 earlier sessions say nothing of what was usual."""
    times = NOW - np.array([5.0] * 9 + [1.0] * 200) * DAY
    labelled = np.array([1.0] * 9 + [0.0] * 200)
    assert stale(np.arange(209), times, labelled, NOW) is None
