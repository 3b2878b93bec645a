"""Decides how `wervane plan` is asked and answered: how many labels until a rise or a gap would be seen."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from monitor.commands.options import (
    EXIT_INSUFFICIENT,
    ConfigOption,
    CustomerOption,
    FromOption,
    JsonOption,
    as_json,
    in_columns,
)

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.core.plan_traffic import Remembered
    from monitor.core.plans import SlicePlan, Wanted
    from monitor.core.records import Slice
    from monitor.settings_source import Problem

DAYS_MAX = 365.0


def plan(
    gap: Annotated[
        float,
        typer.Option(metavar="X", help="Gap of WER to be seen, in (0, 1]: .05 is five points.", show_default=False),
    ],
    days: Annotated[float, typer.Option(metavar="D", help="Within so many days of traffic.")] = 14.0,
    power: Annotated[float, typer.Option(metavar="P", help="With this chance.")] = 0.8,
    rise: Annotated[
        str | None,
        typer.Option(
            metavar="X|xF", help="Drift to be seen: points like .05 or a factor like x1.5 [default: the gap]."
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="NAME", help="Only this slice, e.g. accent=yoruba; repeatable."),
    ] = None,
    labels_per_day: Annotated[
        float | None,
        typer.Option(metavar="N", help="Also say how to spread so many labels a day over sampling.strata."),
    ] = None,
    customer: CustomerOption = None,
    config: ConfigOption = None,
    folder: FromOption = None,
    json: JsonOption = False,
) -> None:
    """How many labels each slice needs until a gap or a rise of its WER would be seen; exit 3 if nothing is known."""
    from monitor.config import ConfigError, load_settings

    settings = load_settings(config, os.environ)
    problems = list(_problems(gap, days, power, rise))
    if labels_per_day is not None:
        problems += _budget_problems(labels_per_day, settings)
    if problems:
        raise ConfigError(problems)

    from monitor.core.plans import Wanted, plan_slices
    from monitor.inspecting import read_deciders

    amount, factor = _rise(rise)
    wanted = Wanted(gap=gap, days=days, power=power, rise=amount, factor=factor)
    deciders = read_deciders(settings, folder, customer)
    subjects = {name: decider.remembered() for name, decider in deciders.items()}
    plans = {name: plan_slices(known, wanted) for name, known in subjects.items() if known is not None}
    spreads: dict[str, Spreading] = {}
    for name, known in subjects.items() if labels_per_day is not None else ():
        if known is not None:
            spreads[name] = _spread(known, wanted, plans[name], settings, labels_per_day or 0.0)
    if slices and any(plans.values()):
        asked = _chosen(slices, {found.slice for rows in plans.values() for found in rows})
        plans = {name: [row for row in rows if row.slice in asked] for name, rows in plans.items()}
    if json:
        typer.echo(
            as_json({"wanted": _wanted_document(wanted), "customers": _documents(plans), **_spread_documents(spreads)})
        )
    else:
        for line in _lines(plans, wanted):
            typer.echo(line)
        for name, spread in spreads.items():
            for line in _spread_lines(name, spread):
                typer.echo(line)
    if not any(plans.values()):
        typer.echo(
            "wervane: no plan: no session with a corrected utterance has closed yet "
            "(it closes labels.maturity after its last utterance)",
            err=True,
        )
        raise typer.Exit(EXIT_INSUFFICIENT)


# ------------------------------------------------------------------------------------------------------------- asked
def _problems(gap: float, days: float, power: float, rise: str | None) -> Iterator[Problem]:
    from monitor.settings_source import Problem

    if not 0.0 < gap <= 1.0:
        yield Problem(path="--gap", got=f"{gap:g}", want="a gap of WER in (0, 1]", example=".05")
    if not 0.0 < days <= DAYS_MAX:
        yield Problem(path="--days", got=f"{days:g}", want=f"days above 0, at most {DAYS_MAX:g}", example="14")
    if not 0.0 < power < 1.0:
        yield Problem(path="--power", got=f"{power:g}", want="a chance between 0 and 1", example=".8")
    amount, factor = _rise(rise)
    if rise is not None and not (0.0 < (amount or 0.0) <= 1.0 or 1.0 < (factor or 0.0) <= 100.0):
        want = "points of WER in (0, 1], or a factor above x1, at most x100"
        yield Problem(path="--rise", got=rise, want=want, example="x1.5")


def _rise(written: str | None) -> tuple[float | None, float | None]:
    """(points, factor) as written; both None if it is neither."""
    if written is None:
        return None, None
    try:
        number = float(written.removeprefix("x"))
    except ValueError:
        return None, None
    if not math.isfinite(number):
        return None, None
    return (None, number) if written.startswith("x") else (number, None)


def _chosen(names: Sequence[str], known: set[Slice]) -> set[Slice]:
    from monitor.config import ConfigError
    from monitor.core.nearest import ANY, nearest
    from monitor.core.slicing import slice_name, slice_named
    from monitor.settings_source import Problem

    written = {slice_name(slice_): slice_ for slice_ in known}
    problems, found = [], set()
    for name in names:
        slice_ = tuple(sorted(slice_named(name)))
        if slice_ in known:
            found.add(slice_)
            continue
        dimensions = sorted({pair[0] for one in known for pair in one})
        unknown = [dimension for dimension, _ in slice_ if dimension not in dimensions]
        if unknown and dimensions:
            example = nearest(unknown[0], dimensions, ANY)
            want = f"a dimension of {', '.join(dimensions)}"
            problems.append(Problem(path="--slice", got=f'"{name}"', want=want, example=f"{example}=..."))
        else:
            problems.append(
                Problem(
                    path="--slice", got=f'"{name}"', want="a slice with traffic", example=nearest(name, written, ANY)
                )
            )
    if problems:
        raise ConfigError(problems)
    return found


# -------------------------------------------------------------------------------------------------------- allocation
class Spreading(NamedTuple):
    """Labels of a day over sampling strata: (stratum, traffic a day, spread evenly, as needed), and slices under both.

    slices  (slice, question, days until the wanted chance spread evenly, as needed); None: not in sight
    """

    strata: list[tuple[str, float, float, float]]
    slices: list[tuple[str, str, float | None, float | None]]


def _budget_problems(labels_per_day: float, settings: Settings) -> Iterator[Problem]:
    from monitor.core.nearest import ANY, nearest
    from monitor.settings_source import Problem

    if not 0.0 < labels_per_day < math.inf:
        yield Problem(path="--labels-per-day", got=f"{labels_per_day:g}", want="labels above 0", example="200")
    names = settings.slices.names
    for name in settings.sampling.strata:
        if name not in names:
            want = "with --labels-per-day, dimensions that slices know"
            yield Problem(path="sampling.strata", got=name, want=want, example=nearest(name, names, ANY))


def _spread(
    known: Remembered, wanted: Wanted, plans: Sequence[SlicePlan], settings: Settings, labels_per_day: float
) -> Spreading:
    """By the live sampler's own allocation: evenly, and by what each slice needs."""
    from monitor.core.plan_traffic import traffic_a_day
    from monitor.core.plans import needs_of, plan_slices
    from monitor.core.sampling import allocate, need_of

    names = settings.sampling.strata
    positions = [settings.slices.names.index(name) for name in names]
    daily = traffic_a_day(known, positions)
    needs = needs_of(plans)
    # A dimension with one value is no slice: it needs nothing that the others do not say.
    sliced = {row.slice[0][0] for row in plans if len(row.slice) == 1}
    told = [place for place, name in enumerate(names) if name in sliced]
    by_need = {
        stratum: need_of([names[place] for place in told], [stratum[place] for place in told], needs)
        for stratum in daily
    }
    floor = settings.sampling.per_stratum_min
    evenly, needed = (allocate(daily, labels_per_day, floor, each).by_stratum for each in ({}, by_need))
    both = [
        plan_slices(known, wanted, lambda labels, chances=chances: chances[tuple(labels[p] for p in positions)])  # type: ignore[misc]
        for chances in (_or_none(evenly), _or_none(needed))
    ]
    return Spreading(
        strata=[
            (
                "&".join(f"{name}={value}" for name, value in zip(names, stratum, strict=True)),
                daily[stratum],
                evenly[stratum] * daily[stratum],
                needed[stratum] * daily[stratum],
            )
            for stratum in sorted(daily, key=lambda found: -daily[found])
        ],
        slices=[
            (_slice_name(one), one.question, one.days, other.days)
            for one, other in zip(*both, strict=True)
            if one.power is not None
        ],
    )


def _or_none(chances: dict[tuple[str, ...], float]) -> defaultdict[tuple[str, ...], float]:
    """Strata without traffic in the last week get no label."""
    return defaultdict(float, chances)


def _spread_documents(spreads: dict[str, Spreading]) -> dict[str, object]:
    return {"labels": {name: spread._asdict() for name, spread in spreads.items()}} if spreads else {}


def _spread_lines(name: str, spread: Spreading) -> Iterator[str]:
    yield f"{name}: labels a day of each sampling stratum, spread by traffic and by need"
    rows = [["stratum", "traffic/d", "by traffic", "by need"]]
    rows += [[stratum, *(f"{number:,.1f}" for number in numbers)] for stratum, *numbers in spread.strata]
    rows.append(["days until seen", "", "by traffic", "by need"])
    rows += [[slice_, question, *(_number(one, 1) for one in days)] for slice_, question, *days in spread.slices]
    yield from (f"  {line}" for line in in_columns(rows))
    yield ""


# ---------------------------------------------------------------------------------------------------------- answered
def _wanted_document(wanted: Wanted) -> dict[str, object]:
    return {name: getattr(wanted, name) for name in wanted.__struct_fields__}


def _documents(plans: dict[str, list[SlicePlan]]) -> dict[str, list[dict[str, object]]]:
    from monitor.core.slicing import slice_name

    return {
        name: [
            {field: getattr(row, field) for field in row.__struct_fields__}
            | {"slice": slice_name(row.slice), "traffic_times": _finite(row.traffic_times)}
            for row in rows
        ]
        for name, rows in plans.items()
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


class _Column(NamedTuple):
    title: str
    of: Callable[[SlicePlan], str]


def _lines(plans: dict[str, list[SlicePlan]], wanted: Wanted) -> Iterator[str]:
    """A table for each customer, and a sentence for each slice that cannot be planned or needs more than labels."""
    drift = _drift_words(wanted)
    for name, rows in plans.items():
        if not rows:
            continue
        yield (
            f"{name}: drift: {drift} pages, gap: {100 * wanted.gap:g} points below the rest open a ticket, "
            f"each within {wanted.days:g} days with a chance of {wanted.power:.0%}"
        )
        cells = [[column.title for column in COLUMNS], *([column.of(row) for column in COLUMNS] for row in rows)]
        yield from in_columns(cells, left=(0, 1, len(COLUMNS) - 1))
        yield ""


def _drift_words(wanted: Wanted) -> str:
    if wanted.factor is not None:
        return f"a WER x{wanted.factor:g}"
    return f"a rise of {100 * (wanted.gap if wanted.rise is None else wanted.rise):g} points"


def _answer(row: SlicePlan) -> str:
    from monitor.core.plans import Answer

    clusters = "persons" if row.question == "gap" else "sessions"
    missing = f"{row.missing:,.0f} utterances, {row.missing_clusters:,.0f} {clusters}, {row.missing_words:,.0f} words"
    note = f" ({row.note})" if row.note else ""
    match row.answer:
        case Answer.ENOUGH:
            said = "enough as it is"
        case Answer.LABEL:
            said = f"label {missing} more"
        case Answer.RELEARN:
            more = f"; {row.traffic_times:.2f} x its traffic" if row.traffic_times > 1.0 else ""
            said = f"learn anew, and label {row.needed_a_day or 0.0:,.0f} a day{more}"
        case Answer.RECRUIT:
            said = "recruit" if math.isinf(row.traffic_times) else f"recruit: {row.traffic_times:.2f} x its traffic"
        case Answer.TOO_SMALL:
            said = "never"
        case Answer.INSUFFICIENT:
            said = f"insufficient: {missing} missing" if row.missing else "insufficient"
    return f"{said}{note}{'; learning' if row.learning and row.question == 'drift' else ''}"


def _slice_name(row: SlicePlan) -> str:
    from monitor.core.slicing import slice_name

    return slice_name(row.slice)


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


COLUMNS = (
    _Column("slice", _slice_name),
    _Column("", lambda row: row.question),
    _Column("WER", lambda row: _percent(row.wer, 1)),
    _Column("labelled", lambda row: _number(row.labelled)),
    _Column("clusters", lambda row: _number(row.clusters)),
    _Column("inflation", lambda row: _number(row.inflation, 1)),
    _Column("traffic/d", lambda row: _number(row.traffic_a_day, 1)),
    _Column("labels/d", lambda row: _number(row.labels_a_day, 1)),
    _Column("needed/d", lambda row: _number(row.needed_a_day, 1)),
    _Column("needed", lambda row: _number(row.needed)),
    _Column("chance", lambda row: _percent(row.power)),
    _Column("answer", _answer),
)
