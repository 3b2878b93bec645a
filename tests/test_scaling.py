"""docs/scaling.md is believed by whoever buys machines: its tables are the script's, its bounds the code's."""

from __future__ import annotations

import pytest
from kafka import KafkaConsumer

from monitor.config import ConfigError, load_settings
from monitor.core.slicing import SliceSettings, Slicing
from monitor.core.units import Units, UnitSettings
from tests.bench import scaling_model as model
from tests.bench.scaling_table import PAGE, PLANS, TABLES, written_anew
from tests.builders import MARCH_2, observation


def test_the_page_is_in_step_with_the_script() -> None:
    """`scaling_table.py --write` writes it; a constant that was measured again changes the page with it."""
    page = PAGE.read_text(encoding="utf-8")
    assert written_anew(page) == page
    assert page.count("<!-- ") == len(TABLES)


def test_plans_keep_their_agents_below_what_is_planned_for() -> None:
    """Fewer agents would be late in the busiest hour; partitions must be enough for all of them."""
    for plan in PLANS:
        assert plan.route + plan.score <= plan.agents * model.UTILISATION
        assert plan.agents <= plan.topics.pairs <= plan.topics.inputs


def test_an_agent_less_would_not_do() -> None:
    """Machines that nobody needs are money, too."""
    for plan in PLANS:
        fewer = plan.agents - 1
        cores = model.route_cores(plan.load, plan.topics, fewer) + model.score_cores(plan.load, plan.topics, fewer)
        assert cores > fewer * model.UTILISATION


def test_the_largest_state_is_the_setting_s() -> None:
    """The longest TTL is computed from it."""
    assert load_settings(None, {}, {"state.pending_max": model.PENDING_MAX}).state.pending_max == model.PENDING_MAX
    with pytest.raises(ConfigError, match="pending_max"):
        load_settings(None, {}, {"state.pending_max": model.PENDING_MAX + 1})


def test_a_member_is_given_up_when_the_page_says() -> None:
    """The client's own default, which nobody overrides."""
    assert KafkaConsumer.DEFAULT_CONFIG["max_poll_interval_ms"] == model.POLL_SECONDS_MAX * 1e3


def test_units_beyond_the_bound_are_dropped_and_counted() -> None:
    """The page tells people to sample so that this stays at zero."""
    units = Units(UnitSettings(slots_max=10), Slicing(SliceSettings(), "acme"))
    for number in range(8):
        units.observe(observation(number, event_at=MARCH_2 + number, session=f"{number:016x}"))
    units.take_in(MARCH_2 + 60.0, None)
    for number in range(8, 16):
        units.observe(observation(number, event_at=MARCH_2 + 60.0 + number, session=f"{number:016x}"))
    units.take_in(MARCH_2 + 120.0, None)
    assert units.open_units == 10
    assert units.counters["units_dropped"] == 6


def test_customers_are_spread_as_score_spreads_them() -> None:
    """One customer is one partition, all others stand empty."""
    assert model.spread({"acme": 1.0}, 12) == (12.0, 11)
