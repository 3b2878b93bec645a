"""Drift: what a slice learns, when it bets, and what it does not mistake for drift."""

from __future__ import annotations

import math

from monitor.core.budget import DAY, Ledger
from monitor.core.drift import Alarm, LearnSettings, StratumSums, UnitSums, Watch, learn

SETTINGS = LearnSettings()
SLICE = (("accent", "england"),)


def unit(errors: int, words: int = 10, stratum: str = "wards") -> UnitSums:
    return (StratumSums(stratum, errors, words),)


def learned(n: int = 40) -> list[UnitSums]:
    """One error in ten words, one unit in two has two of them."""
    return [unit(2 * (k % 2)) for k in range(n)]


def ledger(now: float = 0.0, betting: int = 1) -> Ledger:
    account = Ledger(pages=1.0, days=90.0)
    account.since = account.until = account.started = 0.0
    account.advance(now, (1, betting, 1))
    return account


def watch(n: int = 40) -> Watch:
    """A watch that closed its baseline on day 6."""
    made = Watch(slice=SLICE, learning_since=0.0, units=n)
    assert made.close(6 * DAY, learned(n), ledger(6 * DAY), SETTINGS)
    return made


def test_a_baseline_is_the_rate_of_each_stratum() -> None:
    """A change of mix then moves the expectation along with the errors."""
    found = learn([*learned(20), *(unit(3 + k % 3, 10, "calls") for k in range(20))], SETTINGS)
    assert found is not None
    assert found.rates["wards"] == 0.1 and round(found.rates["calls"], 2) == 0.4


def test_fewer_units_make_a_more_careful_baseline() -> None:
    """The error of a baseline goes into rho, or 5 units too lucky page for ever."""
    few, many = learn(learned(12), SETTINGS), learn(learned(400), SETTINGS)
    assert few is not None and many is not None
    assert few.rho > 1.4 > many.rho >= 1.1


def test_a_stratum_of_few_units_is_not_learned() -> None:
    """Seven utterances are one doctor's day."""
    found = learn([*learned(20), *(unit(5, 10, "calls") for _ in range(7))], SETTINGS)
    assert found is not None and set(found.rates) == {"wards"}
    assert learn(learned(11), SETTINGS) is None


def test_learning_takes_five_days_and_thirty_units_or_ten_and_twelve() -> None:
    """A busy slice still needs the weekdays, a quiet one must end some time."""
    cases = ((500, 4.9, False), (30, 5.0, True), (29, 5.0, False), (12, 10.0, True), (11, 20.0, False))
    for units, day, ready in cases:
        assert Watch(slice=SLICE, learning_since=0.0, units=units).may_close(day * DAY, SETTINGS) is ready


def test_a_doubling_alarms_and_no_change_does_not() -> None:
    """After 40 units at twice the rate; not after 400 at the old one."""
    account = ledger(20 * DAY)
    quiet, worse = watch(), watch()
    at = [6 * DAY + k * 0.03 * DAY for k in range(400)]
    assert all(quiet.bet(unit(2 * (k % 2)), at[k], account) is None for k in range(400))
    found = [worse.bet(unit(2), at[k], account) for k in range(60)]
    alarms = [alarm for alarm in found if alarm is not None]
    assert alarms and alarms[0][0] == Alarm.WORSE and alarms[0][1] >= 1.0


def test_an_improvement_is_found_by_the_mirrored_bet() -> None:
    """Else the old level hides a later return to it."""
    account, improved = ledger(30 * DAY), watch(400)
    found = [improved.bet(unit(int(k % 10 == 0)), 6 * DAY + k * 0.05 * DAY, account) for k in range(400)]
    kinds = {alarm[0] for alarm in found if alarm is not None}
    assert kinds == {Alarm.BETTER}


def test_a_new_stratum_gives_no_evidence_and_costs_nothing() -> None:
    """New accents arriving are mix, not drift: without this rule a mix shift pages."""
    account, seen = ledger(20 * DAY), watch()
    for k in range(100):
        assert seen.bet(unit(9, 10, "new ward"), (6 + 0.1 * k) * DAY, account) is None
    assert seen.evidence == (0.0, 0.0, 0.0, 0.0) and account.spent == 0.0


def test_money_waits_for_the_next_bet() -> None:
    """Budget is counted in time, so a quiet slice has more of it for each unit."""
    account, quiet = ledger(20 * DAY), watch()
    quiet.bet(unit(1), 15 * DAY, account)
    assert math.isclose(quiet.spent, 9 / 90 * 0.5)


def test_reopening_forgets_the_baseline_and_the_evidence() -> None:
    """After an improvement the slice learns its new level from new units only."""
    again = watch()
    again.reopen(8 * DAY)
    assert again.baseline is None and again.units == 0 and not again.may_close(20 * DAY, SETTINGS)
