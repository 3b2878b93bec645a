"""What bench_statistics.py tells: each figure's simulation, its counts and its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from monitor.analysis.naive import NaiveRule
from monitor.core.standing_gaps import GapSettings
from tests.bench import bench_statistics_costs
from tests.statistics import rivals
from tests.statistics.bounds import gap_misses, misses
from tests.statistics.delays import BASELINE, Comparison, compare, money_for, run_length, streams
from tests.statistics.delays import bets as bets_of
from tests.statistics.exact_intervals import binomial_interval, poisson_interval
from tests.statistics.quiet_customers import NULLS, SLICES, Counted, counted, of_rules
from tests.statistics.unit_sums import Traffic

LEVELS = (0.16, 0.18, 0.24)


class Figure(NamedTuple):
    """`said` comes before the table; cells are Markdown."""

    said: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


# --------------------------------------------------------------------------------------------------------------- delay
DELAY_STREAMS = 1_000
DELAY_QUIET_UNITS = 2_000
DELAY_LENGTH = 20_000.0
SESSIONS = (
    Traffic(0.12, 0.3), Traffic(0.12, 0.6), Traffic(0.12, 0.0), Traffic(0.12, 1.0),
    Traffic(0.12, 0.3, 3.0), Traffic(0.12, 0.6, 3.0), Traffic(0.12, 0.6, 1.0),
)  # fmt: skip


def delay() -> Figure:
    """At the same realised run length."""
    rows = []
    for traffic in SESSIONS:
        of = streams(5, traffic, DELAY_STREAMS, DELAY_QUIET_UNITS)
        money = money_for(of, DELAY_LENGTH)
        found = [compare(of, level, DELAY_LENGTH, money, 6) for level in LEVELS]
        nominal = traffic.utterances / money
        rows.append((_sessions(traffic), *map(_ratio, found), f"{nominal:,.0f}"))
    return Figure(
        f"Utterances from a change of WER .12 to the alarm: page-budget bets / oracle CUSUM = ratio (± one standard "
        f"error of the ratio). Both alarm once in {DELAY_LENGTH:,.0f} utterances where nothing changes, as counted; "
        f"the last column is how often the money would have allowed the bets to. {DELAY_STREAMS:,} streams of a slice "
        f"with {BASELINE} units of baseline, seeds 5 and 6. The goal is 1.35, 1.35 and 1.7.",
        ("sessions", *(f".12 → {level:.2f}".replace("0.", ".") for level in LEVELS), "allowed: once in"),
        rows,
    )


def delay_at_the_budget() -> Figure:
    """Against an oracle that may alarm as often as the budget says, not as often as the bets do."""
    rows = []
    for traffic in SESSIONS[:2]:
        of = streams(7, traffic, DELAY_STREAMS, DELAY_QUIET_UNITS)
        length = 90_000.0
        money = traffic.utterances / length
        realised = run_length(of.quiet, bets_of(of, of.quiet, money))
        found = [compare(of, level, length, money, 8) for level in LEVELS]
        rows.append((_sessions(traffic), *map(_ratio, found), f"{realised:,.0f}"))
    return Figure(
        f"The same at the product's own budget, the whole of it on one slice of a customer with 1,000 labelled "
        f"utterances a day: one page in 90,000 utterances. The oracle uses all of that; the bets alarm less often than "
        f"they may, so the oracle is the favoured one here. {DELAY_STREAMS:,} streams, seeds 7 and 8; the oracle's "
        f"limit rests on some 220 alarms.",
        ("sessions", *(f".12 → {level:.2f}".replace("0.", ".") for level in LEVELS), "bets alarm once in"),
        rows,
    )


def _sessions(traffic: Traffic) -> str:
    said = f"{traffic.utterances:.0f} utterances" if traffic.utterances > 1 else "1 utterance"
    return f"{said}, effect {traffic.effect:.1f}"


def _ratio(found: Comparison) -> str:
    parts = (found.bets.error / found.bets.mean, found.oracle.error / found.oracle.mean)
    error = found.ratio * (parts[0] ** 2 + parts[1] ** 2) ** 0.5
    missed = f", {found.bets.missed} missed" if found.bets.missed else ""
    return f"{found.bets.mean:.0f} / {found.oracle.mean:.0f} = **{found.ratio:.2f}** ± {error:.2f}{missed}"


# -------------------------------------------------------------------------------------------------------------- rivals
RIVAL_STREAMS = {"KSWIN": 5, "HDDM_W": 50}
"""KSWIN needs 4 s for a stream, HDDM_W 0.2 s; all others a tenth of that, and get 100."""


def others() -> Figure:
    """Delay beside false alarms, as they come."""
    traffic, rows = Traffic(0.12, 0.6), []
    found: dict[str, list[rivals.Rival]] = {}
    for level in LEVELS:
        sums = rivals.whole_streams(9, traffic, level, 100)
        for name in rivals.detectors():
            of = sums if name not in RIVAL_STREAMS else sums.first(RIVAL_STREAMS[name])
            found.setdefault(name, []).append(rivals.of_river(name, 10, of))
        for rival in rivals.of_rules(sums):
            found.setdefault(rival.name, []).append(rival)
    for name, of_levels in found.items():
        rows.append((name, *map(_wait, of_levels), _length(of_levels[0]), str(of_levels[0].streams)))
    return Figure(
        "What else is in use, on sessions of 10 utterances with effect .6, as it comes: utterances from the change to "
        "the first alarm, and utterances between alarms while nothing changes (one slice; the product's budget of one "
        "page in 90 days allows one in 90,000 at 1,000 utterances a day). River's detectors hear utterances and alarm "
        "at improvements as well; the rules of thumb have learned five days. A fast rule that alarms every day has "
        "only been lucky. Seeds 9 and 10.",
        ("rule", *(f".12 → {level:.2f}".replace("0.", ".") for level in LEVELS), "false alarms: once in", "streams"),
        rows,
    )


def _wait(rival: rivals.Rival) -> str:
    return f"{rival.delay:,.0f}" + (f" ({rival.missed} of {rival.streams} never)" if rival.missed else "")


def _length(rival: rivals.Rival) -> str:
    if rival.run_length is None:
        return f"none in {rival.quiet_utterances:,}"
    return f"{rival.run_length:,.0f} ({rival.false_alarms} alarms)"


# --------------------------------------------------------------------------------------------------------- false pages
CUSTOMERS = 8
"""Of each kind, 90 days and 100,000 utterances each: about 1.5 s of a core for one."""
RULED = 1
"""Of those, so many for the rules of thumb, which need 5 s each."""


def false_pages() -> Figure:
    """Realised over nominal, and 259 slices at a budget of one."""
    rows, counts, ruled = [], [], dict.fromkeys(NaiveRule, 0)
    for number, (name, null) in enumerate(NULLS.items()):
        seeds = range(1_000 * (number + 1), 1_000 * (number + 1) + CUSTOMERS)
        found = counted(seeds, null)
        by_rule = of_rules(seeds[:RULED], null)
        counts.append(found)
        ruled = {rule: ruled[rule] + by_rule[rule] for rule in NaiveRule}
        rows.append((name, *_counted(found), *(f"{by_rule[rule] / RULED:,.0f}" for rule in NaiveRule)))
    total = Counted(
        sum(one.customers for one in counts), sum(one.utterances for one in counts), sum(one.alarms for one in counts),
        sum(one.money for one in counts), max(one.worst for one in counts),
    )  # fmt: skip
    all_rules = (f"{ruled[rule] / RULED / len(counts):,.0f}" for rule in NaiveRule)
    rows.append(("**all**", *_counted(total), *all_rules))
    return Figure(
        f"{SLICES} overlapping slices (13 accents, 7 sites, 7 devices and their pairs), 90 days, a budget of one false "
        f"page, nothing changes: alarms that a slice got worse, each counted as a page, and the money put in (less "
        f"than 1 a customer, as five days are learned from). {CUSTOMERS} customers of each kind, seeds from 1,000, "
        f"2,000 and so on; beside it pages a customer of the rules of thumb ({RULED} customer of each kind).",
        ("what varies", "customers", "utterances", "alarms a customer", "most", "alarms / money", *NaiveRule),
        rows,
    )


def _counted(found: Counted) -> tuple[str, ...]:
    low, high = poisson_interval(found.alarms)
    mean = f"{found.alarms / found.customers:.2f} [{low / found.customers:.2f}, {high / found.customers:.2f}]"
    ratio = f"{found.alarms} / {found.money:.1f} = **{found.alarms / found.money:.2f}**"
    between = f" [{low / found.money:.2f}, {high / found.money:.2f}]"
    return str(found.customers), f"{found.utterances:,}", mean, str(found.worst), ratio + between


# -------------------------------------------------------------------------------------------------------------- bounds
STREAMS = 10_000
CLUSTERS = 1_000
PERSONS = 500
TICKET_ALPHA = GapSettings().alpha


def bounds() -> Figure:
    """Coverage at data-dependent stopping times."""
    rows = []
    for effect in (0.0, 0.3, 0.6, 1.0):
        parts = [misses(100 + part, effect, STREAMS // 10, CLUSTERS) for part in range(10)]
        gap = sum(gap_misses(200 + part, effect, STREAMS // 10, PERSONS, TICKET_ALPHA) for part in range(10))
        by_rule = (sum(one.ever for one in parts), sum(one.when_narrow for one in parts))
        claim = sum(one.against_a_claim for one in parts)
        rows.append((f"effect {effect:.1f}", *(_share(count, STREAMS) for count in (*by_rule, claim, gap))))
    return Figure(
        f"Intervals that leave out the truth, of {STREAMS:,} streams each, looked at after every tenth cluster from 50 "
        f"to {CLUSTERS:,}; 95 % sequences may miss 5 % at any rule of stopping, the first moment at which they miss "
        f"included. Sessions of 3 utterances; the last column is the one-sided sequence of standing gaps (up to "
        f"{PERSONS} persons of 10 utterances, no gap), which may miss {TICKET_ALPHA:.2%}. Seeds 100 to 109 and 200 to "
        f"209.",
        ("sessions", "at any moment", "once narrower than ±.015", "once .15 is left out", "gap, at any moment"),
        rows,
    )


def _share(count: int, of: int) -> str:
    low, high = binomial_interval(count, of)
    return f"{count / of:.2%} [{low:.2%}, {high:.2%}]"


# --------------------------------------------------------------------------------------------------------------- costs
def costs() -> Figure:
    """Processor time as a ratio to a bare loop."""
    return Figure(
        "Processor time of one core; the last column in bare loops of the same run (making, counting and sorting "
        "200,000 words), so that other machines can be compared.",
        ("what", "processor time", "of one core", "bare loops"),
        bench_statistics_costs.rows(),
    )


FIGURES: dict[str, Callable[[], Figure]] = {
    "delay": delay,
    "delay-at-the-budget": delay_at_the_budget,
    "others": others,
    "false-pages": false_pages,
    "bounds": bounds,
    "costs": costs,
}
