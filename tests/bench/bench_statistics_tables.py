"""What bench_statistics.py tells: each figure's simulation, its counts and its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.statistics import rivals
from tests.statistics.delays import BASELINE, Comparison, compare, money_for, run_length, streams
from tests.statistics.delays import bets as bets_of
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


FIGURES: dict[str, Callable[[], Figure]] = {
    "delay": delay,
    "delay-at-the-budget": delay_at_the_budget,
    "others": others,
}
