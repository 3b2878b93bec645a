"""Decides what the tables of docs/scaling.md say; tests/test_scaling.py holds the page in step with what this prints.

    PYTHONPATH=. .venv/bin/python tests/bench/scaling_table.py [--write]

Costs are read from scaling_costs.py, where each stands beside the command that measured it; nothing is measured here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from monitor.core.decide_settings import DecideSettings
from tests.bench import scaling_simulation
from tests.bench.scaling_costs import COSTS, LOOKS, MEASURED, REBUILT
from tests.bench.scaling_model import (
    DAY,
    DIVISIBLE,
    OUTCOMES_DAYS,
    PAIRS_DAYS,
    REPLICAS,
    UNITS_MAX,
    Load,
    Plan,
    Topics,
    again_from_the_log,
    customers_max,
    detectable_ratio,
    input_bytes,
    look_share,
    mark_cost,
    marks_behind,
    marks_to_decide,
    marks_to_score,
    outcomes_bytes,
    pairs_bytes,
    picture_share,
    plan,
    spread,
)

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"

Rows = list[Sequence[str]]

DECIDE = DecideSettings()

RATES = (1_000.0, 100_000.0)
CORRECTED_ANYWAY = 0.1
"""Of all utterances, where people edit what was recognised as part of their work."""
CORRECTED_ASKED = 0.8
"""Of those that correctors were asked for."""
LABELS = {1_000.0: 10_000.0, 100_000.0: 100_000.0}
"""Corrections a day that are paid for."""


def loads(rate: float) -> list[Load]:
    """What a rate can mean."""
    labels = LABELS[rate]
    asked = labels / CORRECTED_ASKED / (rate * DAY)
    own = rate * CORRECTED_ANYWAY
    passing = Load(
        f"{labels:,.0f} corrections a day, as a fixed probability", rate, labels / DAY, asked, CORRECTED_ASKED
    )
    return [
        passing,
        replace(passing, name=f"{labels:,.0f} corrections a day, as `labels_per_day`", whole=True),
        Load("1 in 10 corrected anyway, 5 % followed", rate, own, 0.05, CORRECTED_ANYWAY, reviews=False),
        Load("1 in 10 corrected anyway, all followed", rate, own, 1.0, CORRECTED_ANYWAY, reviews=False),
    ]


PLANS: list[Plan] = [plan(load) for rate in RATES for load in loads(rate)]


# ------------------------------------------------------------------------------------------------------------- costs
def costs_table() -> str:
    rows: Rows = []
    for what, name in (
        ("bare kafka-python: poll and `json.loads`", "log_floor"),
        ("`json.loads` alone", "json_loads"),
        ("poll a message of an input", "log_poll_input"),
        ("poll a record of `pairs` or `outcomes`", "log_poll"),
        ("send a record, busy", "log_send"),
        ("and each batch of them", "log_batch"),
        ("ROUTE: a transcript passed over", "route_passed_over"),
        ("ROUTE: a transcript read whole, not kept", "route_read_not_kept"),
        ("ROUTE: a transcript kept", "route_transcript"),
        ("ROUTE: a reference kept", "route_reference"),
        ("SCORE: a transcript", "score_transcript"),
        ("SCORE: a reference that scores", "score_reference"),
        ("SCORE: a transcript whose time runs out", "score_missing"),
        ("DECIDE: an observation, four slices", "decide_observation"),
        ("DECIDE: an outcome, four slices", "decide_outcome"),
        ("DECIDE: one that is missing", "decide_missing"),
        ("a checkpoint of a partition in ROUTE", "route_checkpoint"),
        ("a checkpoint of a partition in SCORE", "score_checkpoint"),
        ("a checkpoint of a partition in DECIDE", "decide_checkpoint"),
    ):
        cost = float(getattr(COSTS, name))
        rows.append((what, _number(cost), f"{cost / COSTS.json_loads:.1f}", f"{cost / COSTS.log_floor:.2f}"))
    for upstreams in (24, 96, 384):
        cost = mark_cost(upstreams)
        what = f"SCORE, DECIDE: a mark, {upstreams} upstreams"
        rows.append((what, _number(cost), f"{cost / COSTS.json_loads:.1f}", f"{cost / COSTS.log_floor:.2f}"))
    return table(("what", "µs of CPU", "times `json.loads`", "times poll + `json.loads`"), rows)


def bytes_table() -> str:
    rows = [
        (what, _number(size), _number(disk) if disk else "")
        for what, size, disk in (
            ("a transcript, as the customer sends it", COSTS.bytes_transcript, None),
            ("a reference", COSTS.bytes_reference, None),
            ("`pairs`: a transcript", COSTS.bytes_pair_transcript, COSTS.disk_pair_transcript),
            ("`pairs`: a reference", COSTS.bytes_pair_reference, COSTS.disk_pair_reference),
            ("`reviews`", COSTS.bytes_review, COSTS.disk_review),
            ("`outcomes`: an observation", COSTS.bytes_observation, COSTS.disk_observation),
            ("`outcomes`: an outcome", COSTS.bytes_outcome, COSTS.disk_outcome),
            ("`outcomes`: a missing one", COSTS.bytes_missing, None),
            ("a mark", COSTS.bytes_mark, None),
            ("state of SCORE: a row that is held, on disk (one generation)", COSTS.state_bytes, None),
            ("the same, resident", COSTS.resident_bytes, None),
        )
    ]
    return table(("what", "bytes", "on a broker's disk"), rows)


# ------------------------------------------------------------------------------------------------------------- plans
def agents_table() -> str:
    rows = [
        (
            f"{each.load.transcripts:,.0f}", each.load.name, _number(each.load.followed), _number(each.load.pairs),
            f"{each.route:.2f}", f"{each.score:.2f}", f"{each.agents}", f"{each.topics.inputs // 2}",
            f"{each.topics.pairs}", f"{each.decide:.3f}",
        )
        for each in PLANS
    ]  # fmt: skip
    return table(
        ("transcripts a second", "what of them", "followed a second", "scored a second", "ROUTE, cores", "SCORE, cores",
         "agents", "partitions of each input", "of `pairs`", "DECIDE's records, cores"), rows,
    )  # fmt: skip


def storage_table() -> str:
    rows: Rows = []
    for each in PLANS:
        load = each.load
        kept = {
            disk: (
                pairs_bytes(load, disk=disk) * PAIRS_DAYS * DAY * REPLICAS,
                outcomes_bytes(load, disk=disk) * OUTCOMES_DAYS * DAY * REPLICAS,
            )
            for disk in (True, False)
        }
        resident = COSTS.resident_fixed_mb * 1e6 + load.held / each.agents * COSTS.resident_bytes
        rows.append(
            (
                f"{load.transcripts:,.0f}", load.name, _bytes(input_bytes(load)) + "/s",
                *(f"{_bytes(kept[True][index])} to {_bytes(kept[False][index])}" for index in (0, 1)),
                _count(load.held), _bytes(load.held * COSTS.state_bytes * 2 / each.agents), _bytes(resident),
                _days(load.ttl_days_max),
            )
        )  # fmt: skip
    return table(
        ("transcripts a second", "what of them", "inputs", "`pairs`", "`outcomes`", "rows held", "state an agent",
         "resident an agent", "longest TTL"), rows,
    )  # fmt: skip


TOPOLOGIES = tuple(Topics(*each) for each in ((8, 4, 4), (24, 12, 12), (96, 48, 12), (240, 120, 24)))


def marks_table() -> str:
    rows: Rows = []
    for topics in TOPOLOGIES:
        usual, behind = (marks_to_score(topics), marks_to_decide(topics)), marks_behind(topics)
        kept = usual[0] * COSTS.bytes_mark * DAY * PAIRS_DAYS * REPLICAS
        rows.append(
            (
                f"{topics.inputs}", f"{topics.pairs}", f"{topics.outcomes}", _number(sum(usual)),
                f"{marks_cores(topics, *usual):.2f}", _number(sum(behind)), f"{marks_cores(topics, *behind):.2f}",
                _bytes(kept),
            )
        )  # fmt: skip
    return table(
        ("partitions of inputs", "of `pairs`", "of `outcomes`", "marks a second", "cores", "while catching up",
         "cores then", "marks kept on `pairs`"), rows,
    )  # fmt: skip


def marks_cores(topics: Topics, to_score: float, to_decide: float) -> float:
    sent = (to_score + to_decide) * COSTS.log_send
    score = to_score * (COSTS.log_poll + mark_cost(topics.inputs))
    decide = to_decide * (COSTS.log_poll + mark_cost(topics.pairs))
    return (sent + score + decide) / 1e6


def again_table() -> str:
    rows: Rows = []
    for topics in TOPOLOGIES:
        score, fit = again_from_the_log(marks_to_score(topics), topics.inputs, PAIRS_DAYS)
        decide, _ = again_from_the_log(marks_to_decide(topics), topics.pairs, OUTCOMES_DAYS)
        rows.append(
            (
                f"{topics.inputs}", f"{topics.pairs}", f"{topics.outcomes}", _minutes(score / topics.pairs),
                _minutes(score), _days(fit * topics.pairs / 24), _days(fit / 24), _minutes(decide / topics.outcomes),
            )
        )  # fmt: skip
    return table(
        ("partitions of inputs", "of `pairs`", "of `outcomes`", "one partition of `pairs`", "all of them in one agent",
         "log read in 60 s of CPU, one partition", "all of them", "one partition of `outcomes`"), rows,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- deciders
def looks_table() -> str:
    rows: Rows = []
    for look in LOOKS:
        work, midnight = customers_max(look)
        rebuilt = (OUTCOMES_DAYS * (23 * look.hour + look.midnight)) / 1e3
        rows.append(
            (
                f"{look.slices:,}", f"{look.corrections_a_day:,}", f"{look.hour:.1f}", f"{look.midnight:.0f}",
                f"{look.again:.1f}", f"{look.resident_mb:.0f}", f"{look_share(look) * 100:.3f} %",
                f"{picture_share(look, 1) * 100:.2f} %", f"{work:,}", f"{midnight:,}", f"{rebuilt / 60:.0f}",
            )
        )  # fmt: skip
    return table(
        ("slices", "corrections a day", "an hour's look, ms", "midnight's, ms", "a picture, ms", "resident, MB",
         "looks, of a core", "pictures, of a core", "customers a decider", "by midnight's pause",
         "looks again from the log, minutes"), rows,
    )  # fmt: skip


def spread_table() -> str:
    rows: Rows = []
    for number in (1, 10, 100, 1_000):
        even = {f"customer-{index:04d}": 1.0 for index in range(number)}
        uneven = {name: 1.0 / (index + 1) for index, name in enumerate(even)}
        for partitions in (DIVISIBLE, 4 * DIVISIBLE):
            fullest, empty = spread(even, partitions)
            skewed, _ = spread(uneven, partitions)
            largest = partitions / sum(uneven.values())
            rows.append(
                (f"{number:,}", f"{partitions}", f"{fullest:.2f}", f"{empty}", f"{skewed:.2f}", f"{largest:.2f}")
            )
    return table(
        ("customers", "partitions", "fullest over mean, equal customers", "empty partitions",
         "fullest over mean, sizes 1, 1/2, 1/3 ..", "the largest customer alone"), rows,
    )  # fmt: skip


def bounds_table() -> str:
    rows: Rows = []
    for maturity in (1, 2, 3, 4):
        units = UNITS_MAX / maturity
        rows.append(
            (f"{maturity} d", f"{units:,.0f}", f"{units / DAY:.2f}",
             *(f"{units / (rate * DAY):.1e}" for rate in (100.0, *RATES)))
        )  # fmt: skip
    heads = (f"probability at {rate:,.0f}/s" for rate in (100.0, *RATES))
    return table(("maturity", "units a day", "a second", *heads), rows)


def labels_table() -> str:
    rows: Rows = []
    for labels in (500, 2_000, 10_000, 100_000):
        cells = []
        for share in (0.01, 0.1, 1.0):
            found = detectable_ratio(labels * 7 * share, wer=0.12, words=27.0, inflation=8.0)
            cells.append(f"{found:.2f}")
        rates = (f"{labels / CORRECTED_ASKED / (rate * DAY):.1e}" for rate in RATES)
        remembered = min(DECIDE.horizon_seconds / DAY, DECIDE.cells_max / labels)
        rows.append((f"{labels:,}", *rates, *cells, f"{remembered:.0f} d"))
    return table(
        ("corrections a day", "probability at 1,000/s", "at 100,000/s", "slice of 1 %", "of 10 %", "all traffic",
         "of one customer, remembered for"), rows,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- simulated and measured
def simulation_table() -> str:
    rows: Rows = []
    for name, world in scaling_simulation.WORLDS.items():
        course = scaling_simulation.run(world)
        catch_up = f"{course.catch_up / 60:.0f} min" if course.catch_up else ""
        rows.append((name, f"{course.median:.1f}", f"{course.p99:.1f}", f"{course.worst:.1f}", catch_up))
    return table(("what", "median wait, s", "99 %, s", "worst, s", "caught up after"), rows)


def measured_table() -> str:
    rows = [
        (each.what, each.unit, f"{each.predicted:.3g}", f"{each.found:.3g}", f"{each.found / each.predicted:.2f}")
        for each in MEASURED
    ]
    return table(("three agents and a decider on this machine", "unit", "paper", "measured", "ratio"), rows)


def rebuilt_table() -> str:
    rows = [
        (f"{each.partitions}", each.how, f"{each.seconds:.1f}", f"{each.cpu:.1f}", f"{each.resident_mb:.0f}",
         f"{each.disk_mb:.0f}") for each in REBUILT
    ]  # fmt: skip
    return table(("partitions", "ready", "s", "s of CPU", "MB resident", "MB on disk"), rows)


# -------------------------------------------------------------------------------------------------------- as markdown
TABLES: dict[str, Callable[[], str]] = {
    "costs": costs_table,
    "bytes": bytes_table,
    "agents": agents_table,
    "storage": storage_table,
    "marks": marks_table,
    "again": again_table,
    "rebuilt": rebuilt_table,
    "looks": looks_table,
    "spread": spread_table,
    "bounds": bounds_table,
    "labels": labels_table,
    "simulation": simulation_table,
    "measured": measured_table,
}


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _count(value: float) -> str:
    for size, unit in ((1e9, " bn"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def _bytes(value: float) -> str:
    for size, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def _days(value: float) -> str:
    if value >= 400:
        return "400 d"
    return f"{value:.3g} d" if value >= 1 else f"{value * 24:.2g} h"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.0f} h"


def written_anew(page: str) -> str:
    """The page with each table as it is now, between `<!-- name -->` and the next blank line."""
    for name, made in TABLES.items():
        before, mark, after = page.partition(f"<!-- {name} -->\n")
        assert mark and after.startswith("|"), f"the page has no table {name}"
        _, _, rest = after.partition("\n\n")
        page = f"{before}{mark}{made()}\n\n{rest}"
    return page


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="into docs/scaling.md")
    if parser.parse_args().write:
        PAGE.write_text(written_anew(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return
    for name, made in TABLES.items():
        print(f"\n{name}\n\n{made()}")


if __name__ == "__main__":
    main()
