"""Claims: tested on what comes after them, by person, once; the same whenever somebody looks."""

from __future__ import annotations

import msgspec
import pytest

from monitor.core import claims
from monitor.core.claims import ALPHA, ClaimVerdict, share_of, take, words_missing
from monitor.core.matched_stakes import Counted, factors_below
from monitor.core.predicates import parse
from tests.builders import DAY, MARCH_2
from tests.statistics.claimed import NAMES, PREDICATE, after_rows, claim, rows

BLOCK = [("us", "ward"), ("yoruba", "ward")]


def test_a_gap_is_verified_and_its_absence_is_not_supported() -> None:
    """The two answers that somebody who claims something wants to hear soon."""
    assert after_rows(claim(0.1), rows(1, 1200, gap=0.1)).verdict == ClaimVerdict.VERIFIED
    assert after_rows(claim(0.1), rows(1, 1200, gap=0.0)).verdict == ClaimVerdict.NOT_SUPPORTED


def test_too_little_is_neither_and_says_how_much_is_missing() -> None:
    """Insufficient never reads as no."""
    few = after_rows(claim(0.1), rows(2, 40, gap=0.1))
    assert (few.verdict, few.open) == (ClaimVerdict.INSUFFICIENT, True)
    missing = words_missing(few)
    assert missing is not None and 500 < missing < 20_000  # about 3,300 are needed (test_claim_errors.py)


def test_what_began_before_the_submission_is_no_evidence() -> None:
    """Whoever claims has seen it."""
    made = rows(3, 1200, gap=0.1)
    late = claim(0.1)
    late.submitted_at = late.until = made[-1].ended_at
    assert after_rows(late, made).units == 0


@pytest.mark.parametrize("looks", [2, 7])
def test_looking_more_often_changes_nothing(looks: int) -> None:
    """Bit for bit, also through the file: else somebody would choose when to look."""
    made = rows(4, 300, gap=0.06)
    once, often = after_rows(claim(0.1), made), claim(0.1)
    for look in range(1, looks + 1):
        until = MARCH_2 + (made[-1].ended_at + 1.0 - MARCH_2) * look / looks
        known = [row for row in made if row.ended_at <= until]
        take(often, PREDICATE, NAMES, known, until, MARCH_2 - DAY)
        often = msgspec.json.decode(msgspec.json.encode(often), type=type(often))
    assert often.units > 20
    assert msgspec.structs.asdict(often) == msgspec.structs.asdict(once)


def test_a_claim_of_an_earlier_version_goes_on_with_its_group() -> None:
    """Its file has no weights: the group's first unit, beside others who waited, divided by the largest of none."""
    made, old = rows(1, 600, gap=0.06), claim(0.1)
    at = next(k for k in range(150, 600) if [row.labels for row in made[k - 1 : k + 1]] == BLOCK)
    take(old, PREDICATE, NAMES, made[:at], made[at - 1].ended_at, MARCH_2 - DAY)
    assert old.open and old.by_task["ward"].waiting
    old.corrected_met = old.weight_max = 0.0
    for state in old.by_task.values():
        state.corrected = state.weight_max = 0.0
        state.waiting = [one._replace(corrected=0.0) for one in state.waiting]
    heard = old.units
    take(old, PREDICATE, NAMES, made[: at + 1], made[at].ended_at, MARCH_2 - DAY)
    assert old.units == heard + 1


def test_a_person_counts_once() -> None:
    """A thousand sessions of one speaker say how that speaker is heard, not how an accent is."""
    one = [
        msgspec.structs.replace(row, person="p") if row.labels[0] == "yoruba" else row for row in rows(5, 600, gap=0.3)
    ]
    assert after_rows(claim(0.1), one).units == 1


def test_units_forgotten_before_they_were_bet_on_end_a_claim() -> None:
    """Who could choose which weeks count would choose the good ones."""
    made, lapsed = rows(6, 400, gap=0.3), claim(0.1)
    take(lapsed, PREDICATE, NAMES, made[200:], made[-1].ended_at, made[199].ended_at)
    assert (lapsed.verdict, lapsed.units) == (ClaimVerdict.LAPSED, 0)


def test_a_claim_that_has_heard_everybody_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """`lapsed` says that nobody asked in time: whoever did ask every day would look for a fault of theirs."""
    monkeypatch.setattr(claims, "PERSONS_MAX", 20)
    heard = after_rows(claim(0.1), rows(6, 400, gap=0.07))
    assert (heard.verdict, heard.persons) == (ClaimVerdict.UNDECIDED, set()) and heard.decided_at is not None


def test_who_does_not_say_is_nobody_s_comparison() -> None:
    unknown = [
        msgspec.structs.replace(row, labels=("unknown", row.labels[1])) if row.labels[0] == "us" else row
        for row in rows(7, 400, gap=0.3)
    ]
    assert after_rows(claim(0.1), unknown).units == 0


def test_shares_of_any_number_of_claims_sum_to_alpha() -> None:
    """Two thousand guesses must not find one that luck verifies."""
    shares = [share_of(number, 0) for number in range(1, 100_000)]
    assert sum(shares) < ALPHA
    assert share_of(5, 2) == pytest.approx(3 * share_of(5, 0))


def test_the_mirrored_bet_is_fair() -> None:
    """By hand: at a gap of what was claimed, its factor's expectation is at most 1 for any guess of the rate."""
    for rate in (0.05, 0.1, 0.3):
        expected = [0.0] * 4
        for own, chance in ((0.0, 0.8), (1.0, 0.2)):  # one word: the group errs in .2, others in .1
            for other, other_chance in ((0.0, 0.9), (1.0, 0.1)):
                factors = factors_below(Counted(own, 1.0, 1.0), [Counted(other, 1.0, 1.0)], rate, 1.0, 0.1)
                expected = [e + chance * other_chance * f for e, f in zip(expected, factors, strict=True)]
        assert max(expected) <= 1.0 + 1e-12


def test_a_predicate_over_two_attributes_takes_the_matching_rows_only() -> None:
    narrow = parse("accent=yoruba & deployment=ward", NAMES)
    made, both = rows(8, 600, gap=0.1), claim(0.1)
    take(both, narrow, NAMES, made, made[-1].ended_at, MARCH_2 - DAY)
    assert 0 < both.units < after_rows(claim(0.1), made[: both.units * 40]).units * 2
    assert set(both.by_task) <= {"ward", "clinic"}
