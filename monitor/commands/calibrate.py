"""Decides what `wervane calibrate` does: find the threshold with which a detector may page, and write it down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.options import (
    EXIT_INSUFFICIENT,
    EXIT_NO,
    ConfigOption,
    CustomerOption,
    FromOption,
    JsonOption,
    as_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.config import Settings
    from monitor.core.calibrating import Clustered, Rung
    from monitor.core.deciding import Decider
    from monitor.core.records import Slice

PERSONS_MIN = 12
"""Fewer clusters than a baseline needs units say nothing about the next 90 days."""


def calibrate(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The record, JSON; replaced as a whole.")],
    config: ConfigOption = None,
    folder: FromOption = None,
    customer: CustomerOption = None,
    detector: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which one [default: the only one of decide.detectors].")
    ] = None,
    share: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Part of the page budget that pays for its false alarms.")
    ] = 0.2,
    replicates: Annotated[int, typer.Option(min=10, max=100_000, help="Times 90 simulated days.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 1,
    json: JsonOption = False,
) -> None:
    """Find the threshold that keeps false alarms within a share of the page budget; exit 1 if none does."""
    from monitor.config import load_settings
    from monitor.inspecting import one_decider

    settings = load_settings(config, os.environ)
    name, decider = one_decider(settings, folder, customer, calibrated=False)
    wanted = _one_detector(settings, name, detector)
    decide = settings.customers.get(name, settings.decide)
    allowed = share * decide.page_budget * 90.0 / decide.page_budget_days
    _refuse_forgotten(name, decider)
    units, span = _learned(decider)
    persons = len({unit.person for unit in units})
    if persons < PERSONS_MIN:
        typer.echo(f"wervane: {persons} speakers of {name}'s baselines are remembered, want {PERSONS_MIN}", err=True)
        raise typer.Exit(EXIT_INSUFFICIENT)

    from monitor.core import calibrating
    from monitor.core.river_detectors import maker

    slices = [slice_ for slice_, _, _ in decider.baselines()[1]]
    drawn = list(calibrating.replicates(units, span, slices, decider.learning, seed, replicates))
    made, left_out = calibrating.audible(drawn, slices)
    _tell_left_out(wanted, left_out, len(slices))
    best, last = calibrating.calibrate(
        wanted, maker, made, allowed, lambda rung: typer.echo(_said(rung), err=True) if not json else None
    )
    if best is None:
        typer.echo(
            f"no threshold of {wanted} up to {last.parameter:g} keeps it within {allowed:.3g} false alarms in 90 days: "
            f"{last.mean:.3g} in {last.replicates} of {replicates} replicates; a larger --share, or more --replicates "
            f"(none at all in {replicates} bounds it by {3.32 / replicates:.2g})",
            err=True,
        )
        raise typer.Exit(EXIT_NO)
    _write(out, settings, name, wanted, best, decider, left_out, (share, allowed, seed, len(units), persons))
    if json:
        from monitor.core.slicing import slice_name

        silent = [slice_name(slice_) for slice_ in left_out]
        figures = {"detector": wanted, "parameter": best.parameter, "upper_95": best.upper, "left_out": silent}
        typer.echo(as_json({"file": str(out), **figures}))
    else:
        typer.echo(f"{wanted} of {name}: {_said(best)}, allowed {allowed:.3g}; written to {out}")


def _said(rung: Rung) -> str:
    bound = f", at most {rung.upper:.3g} (95 %)" if rung.upper < float("inf") else ", too many"
    return f"{rung.parameter:g}: {rung.alarms} false alarms in {rung.replicates} x 90 days{bound}"


def _one_detector(settings: Settings, customer: str, detector: str | None) -> str:
    from monitor.config import ConfigError
    from monitor.core.detectors import LADDERS
    from monitor.core.nearest import nearest
    from monitor.settings_source import Problem

    running = [name for name in settings.customers.get(customer, settings.decide).detectors if name in LADDERS]
    if detector is not None and detector in LADDERS:
        return detector
    if detector is None and len(running) == 1:
        return running[0]
    similar = nearest(detector or "", LADDERS, 0.5)
    want = f"the nearest known {similar}" if similar else f"one of {', '.join(running or LADDERS)}"
    raise ConfigError([Problem(path="--detector", got=detector or "nothing", want=want)])


def _refuse_forgotten(customer: str, decider: Decider) -> None:
    """Part of the days that baselines were learned from would be drawn from as if it were all of them."""
    from monitor.adapters.instants import instant

    closed = decider.baselines()[1]
    if not closed:
        return
    since = min(closed, key=lambda entry: (entry[2], entry[0]))[1].learned_from
    if decider.remembers_since > since:
        missing = f"{instant(since)} to {instant(decider.remembers_since)}"
        typer.echo(
            f"wervane: {customer}'s baselines were learned from {instant(since)} on, but its closed units of {missing} "
            "are forgotten; calibrate within three weeks of learning",
            err=True,
        )
        raise typer.Exit(EXIT_INSUFFICIENT)


def _tell_left_out(detector: str, left_out: Sequence[Slice], slices: int) -> None:
    from monitor.core.slicing import slice_name

    if not left_out:
        return
    names = ", ".join(map(slice_name, left_out[:20])) + (", ..." if len(left_out) > 20 else "")
    typer.echo(
        f"wervane: too few units to learn from in some replicate, so {detector} will open tickets there, and page "
        f"nobody: {names}",
        err=True,
    )
    if len(left_out) == slices:
        raise typer.Exit(EXIT_INSUFFICIENT)


def _learned(decider: Decider) -> tuple[list[Clustered], float]:
    """Units of the time that the first baselines were learned from, and how long that was."""
    from monitor.core.calibrating import Clustered
    from monitor.core.closed_units import units_of

    closed = decider.baselines()[1]
    if not closed:
        return [], 1.0
    _, first, closed_at = min(closed, key=lambda entry: (entry[2], entry[0]))
    since, until = first.learned_from, first.learned_until or closed_at
    units = []
    for unit in units_of(decider.closed()):
        if since <= unit[0].ended_at <= until:
            units.append(Clustered(unit[0].person, unit[0].ended_at - since, decider.sums(unit)))
    return units, max(until - since, 86400.0)


def _write(
    out: Path,
    settings: Settings,
    customer: str,
    detector: str,
    best: Rung,
    decider: Decider,
    left_out: Sequence[Slice],
    figures: tuple[float, float, int, int, int],
) -> None:
    from monitor import __version__, calibrations
    from monitor.adapters.instants import instant
    from monitor.baselines import series_of
    from monitor.core.detectors import PARAMETERS
    from monitor.core.slicing import slice_name

    share, allowed, seed, units, persons = figures
    closed = decider.baselines()[1]
    _, first, closed_at = min(closed, key=lambda entry: (entry[2], entry[0]))
    record = calibrations.CalibrationRecord(
        schema=calibrations.SCHEMA,
        customer=customer,
        detector=detector,
        parameters={PARAMETERS[detector]: best.parameter},
        seed=seed,
        replicates=best.replicates,
        share=share,
        budget_90_days=allowed,
        false_alarms=calibrations.FalseAlarms(best.mean, best.upper, best.alarms),
        units=units,
        persons=persons,
        learned_from=instant(first.learned_from),
        learned_until=instant(first.learned_until or closed_at),
        baselines={slice_name(slice_): baseline.version for slice_, baseline, _ in closed if slice_ not in left_out},
        series=series_of(settings),
        wervane=__version__,
        left_out=[slice_name(slice_) for slice_ in left_out],
    )
    calibrations.write(out, record)
