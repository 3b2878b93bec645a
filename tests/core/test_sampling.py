"""Sampling: the probability that is recorded is the probability that was used."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from monitor.core.sampling import COINS, Sampler, SamplingSettings, Stratum, allocate
from tests.builders import DAY, HOUR, MARCH_2

KEY = b"a key of the tests"


def sampler(**settings: object) -> Sampler:
    return Sampler(SamplingSettings(**settings), KEY, 30 * DAY)  # type: ignore[arg-type]


def test_the_share_kept_is_the_probability() -> None:
    """20,000 ids at 0.3: the binomial's standard error is .0032, five of them .016."""
    chosen = sampler(probability=0.3)
    kept = sum(chosen.kept(chosen.coin(f"id-{n}"), chosen.probability((), MARCH_2)) for n in range(20_000))
    assert abs(kept / 20_000 - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 20_000)


def test_both_inputs_toss_the_same_coin() -> None:
    """A reference does not know its deployment; its id alone must say whether it can matter."""
    chosen = sampler(probability=0.3)
    for n in range(500):
        coin = chosen.coin(f"id-{n}")
        assert chosen.may_be_kept(coin) == chosen.kept(coin, chosen.probability((), MARCH_2))


def test_another_key_chooses_another_sample() -> None:
    """The key is a secret: a producer must not be able to choose ids that are never looked at."""
    ours, theirs = sampler(), Sampler(SamplingSettings(), b"another key", DAY)
    assert ours.coin("id-1") != theirs.coin("id-1")
    assert ours.pseudonym("speaker", "acme", "s1") != theirs.pseudonym("speaker", "acme", "s1")


def feed(chosen: Sampler, hours: int, traffic: dict[Stratum, int], start: float = MARCH_2) -> float:
    """Expected labels over `hours` of steady traffic by stratum."""
    expected = 0.0
    for hour in range(hours):
        for stratum, utterances in traffic.items():
            for n in range(utterances):
                expected += chosen.probability(stratum, start + hour * HOUR + n * HOUR / utterances)
    return expected


def test_a_label_budget_is_kept_day_by_day() -> None:
    """After the first hours a day costs what was granted, and the small stratum gets its floor."""
    chosen = sampler(labels_per_day=100, per_stratum_min=20)
    traffic: dict[Stratum, int] = {("us",): 200, ("yoruba",): 2}
    feed(chosen, 26, traffic)
    spent = feed(chosen, 24, traffic, MARCH_2 + 26 * HOUR)
    assert abs(spent - 100) < 1.0
    yoruba = chosen.probability(("yoruba",), MARCH_2 + 50 * HOUR)
    assert yoruba * 48 > 20


def test_half_way_evidence_buys_labels() -> None:
    """A group under suspicion, or one whose WER is hardly known, gets more of the same budget."""
    traffic: dict[Stratum, int] = {("us",): 50, ("indian",): 50}
    chosen = sampler(labels_per_day=200, per_stratum_min=5)
    feed(chosen, 10, traffic)
    before = chosen.probability(("indian",), MARCH_2 + 9.5 * HOUR)
    chosen.set_needs({("accent", "indian"): 4.0})
    feed(chosen, 10, traffic, MARCH_2 + 10 * HOUR)
    after = chosen.probability(("indian",), MARCH_2 + 19.5 * HOUR)
    assert after > 1.4 * before
    assert chosen.probability(("us",), MARCH_2 + 19.5 * HOUR) + after < 2 * before + 0.01


def test_the_probability_is_fixed_by_event_time_not_by_arrival() -> None:
    """A record that comes a day late is kept with the probability of its own hour."""
    traffic: dict[Stratum, int] = {("us",): 50}
    chosen = sampler(labels_per_day=100)
    feed(chosen, 10, traffic)
    then = chosen.probability(("us",), MARCH_2 + 9.5 * HOUR)
    feed(chosen, 30, {("us",): 500}, MARCH_2 + 10 * HOUR)
    assert chosen.probability(("us",), MARCH_2 + 9.5 * HOUR) == then


def test_the_same_records_in_another_order_within_the_hour_give_the_same_plan() -> None:
    """Partitions interleave differently after a restart."""
    plans = []
    for order in ((("us",), ("indian",)), (("indian",), ("us",))):
        chosen = sampler(labels_per_day=60)
        for hour in range(6):
            for stratum in order:
                for n in range(10):
                    chosen.probability(stratum, MARCH_2 + hour * HOUR + n)
        plans.append(chosen.probability(("us",), MARCH_2 + 6 * HOUR))
    assert plans[0] == plans[1]


def test_lowering_the_ceiling_leaves_a_uniform_sample_of_known_probability() -> None:
    """Never oldest first: that would favour audio that is corrected quickly."""
    chosen = sampler(probability=0.8)
    threshold = chosen.lower_ceiling(MARCH_2)
    assert threshold == int(0.8 * COINS) // 2
    assert chosen.effective(0.8) == chosen.probability((), MARCH_2) == threshold / COINS
    chosen.lift_ceiling(MARCH_2 + 10 * DAY)
    assert chosen.ceiling < 1.0, "rows from before the lowering may still be held"
    chosen.lift_ceiling(MARCH_2 + 40 * DAY)
    assert chosen.probability((), MARCH_2 + 40 * DAY) == 0.8


def test_a_restart_goes_on_with_the_same_plans() -> None:
    """A plan that was made again after a crash could give one record two probabilities."""
    chosen = sampler(labels_per_day=60)
    feed(chosen, 8, {("us",): 40, ("indian",): 3})
    chosen.lower_ceiling(MARCH_2)
    chosen.set_needs({("accent", "indian"): 3.0})
    again = sampler(labels_per_day=60)
    for change in chosen.changes():
        assert change.value is not None
        again.restore(change.table, change.key, change.value)
    for hour in range(12):
        for stratum in (("us",), ("indian",), ("new",)):
            at = MARCH_2 + hour * HOUR
            assert chosen.probability(stratum, at) == again.probability(stratum, at)


def test_a_lower_probability_does_not_forget_what_a_higher_one_kept() -> None:
    """References of utterances kept before the restart must be let in for as long as these are held."""
    before, after = sampler(probability=1.0), sampler(probability=0.1)
    before.probability((), MARCH_2)
    for change in before.changes():
        assert change.value is not None
        after.restore(change.table, change.key, change.value)
    coin = next(coin for coin in map(after.coin, map(str, range(99))) if not after.kept(coin, 0.1))
    assert after.probability((), MARCH_2) == 0.1 and after.may_be_kept(coin)
    after.lift_ceiling(MARCH_2 + 40 * DAY)
    assert not after.may_be_kept(coin)


@given(
    st.dictionaries(st.tuples(st.text(max_size=3)), st.floats(0.5, 1e6), min_size=1, max_size=30),
    st.floats(1, 1e5),
    st.floats(0, 1e3),
)
def test_an_allocation_never_exceeds_the_budget_nor_a_probability_one(
    daily: dict[Stratum, float], labels: float, floor: float
) -> None:
    """Labels cost money: the expected number is at most what was granted, whatever the traffic."""
    plan = allocate(daily, labels, floor, {})
    expected = sum(plan.by_stratum[stratum] * traffic for stratum, traffic in daily.items())
    assert expected <= labels * (1 + 1e-6)
    assert all(0.0 <= probability <= 1.0 for probability in plan.by_stratum.values())
    assert expected >= min(labels, sum(daily.values())) * (1 - 1e-6)
