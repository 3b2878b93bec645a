"""Decides what `wervane baseline export`, `import` and `relearn` do: a state's baselines as a file, and anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.options import (
    EXIT_INSUFFICIENT,
    ConfigOption,
    CustomerOption,
    FromOption,
    JsonOption,
    as_json,
)

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.core.deciding import Decider

baseline = typer.Typer(name="baseline", help="Baselines of slices: what they learned, as a file.", no_args_is_help=True)


@baseline.command("export")
def export(
    out: Annotated[Path, typer.Option(metavar="FILE", help="JSON; replaced as a whole.")],
    config: ConfigOption = None,
    folder: FromOption = None,
    customer: CustomerOption = None,
    json: JsonOption = False,
) -> None:
    """Write what slices expect, with versions; exit 3 if no slice has learned anything."""
    from monitor import baselines
    from monitor.config import load_settings
    from monitor.inspecting import read_deciders

    settings = load_settings(config, os.environ)
    deciders = read_deciders(settings, folder, customer)
    document = baselines.export(settings, list(deciders.items()))
    slices = sum(len(one.slices) for one in document.customers)
    if not slices:
        typer.echo("wervane: no slice has closed a baseline yet; nothing is written", err=True)
        raise typer.Exit(EXIT_INSUFFICIENT)
    baselines.write(out, document)
    if json:
        typer.echo(as_json({"file": str(out), "customers": list(deciders), "slices": slices}))
        return
    for one in document.customers:
        for entry in one.slices:
            typer.echo(f"{one.customer} {entry.slice}: version {entry.version}, learned {entry.learned}")
    typer.echo(f"{slices} baselines in {out}")


@baseline.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of `wervane baseline export`.", show_default=False)],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Check a file, and put it where the agent reads it at its next start; exit 2, nothing changed, if it is unfit."""
    from monitor import baselines
    from monitor.config import ConfigError, load_settings

    settings = load_settings(config, os.environ)
    document = baselines.read(file, settings)
    known = _known_customers(settings)
    problems = [
        problem
        for place, one in enumerate(document.customers)
        for problem in baselines.unknown_customer(one.customer, known, "this state", f"{file}: customers[{place}]")
    ]
    if problems and not settings.tenants.allow:
        raise ConfigError(problems)
    target = baselines.state_file(settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        before = baselines.read(target, settings) if target.exists() else None
    except ConfigError:
        before = None  # made under other settings: of no use to anybody any more
    baselines.write(target, baselines.merged(before, document))
    slices = sum(len(one.slices) for one in document.customers)
    if json:
        names = [one.customer for one in document.customers]
        typer.echo(as_json({"file": str(target), "customers": names, "slices": slices}))
    else:
        typer.echo(f"{slices} baselines in {target}: read when the agent starts next")


def _known_customers(settings: Settings) -> list[str]:
    """Those of the state, if there is one."""
    import msgspec

    from monitor.adapters.store_files import StateRefused
    from monitor.inspecting import read_customers

    without = msgspec.structs.replace(settings, decide=msgspec.structs.replace(settings.decide, baselines=None))
    try:
        return [name for name, _ in read_customers(without).deciders()]
    except StateRefused:
        return []


@baseline.command()
def relearn(
    config: ConfigOption = None,
    customer: CustomerOption = None,
    slice_: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="NAME", help="This one and what lies within [default: all of the customer's]."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say that a new level is meant: learn new baselines from now on. Nobody is paged, and no budget is gained."""
    from monitor.adapters.instants import instant
    from monitor.config import load_settings
    from monitor.core.slicing import slice_named
    from monitor.inspecting import one_decider
    from monitor.relearn_orders import give_order

    settings = load_settings(config, os.environ)
    name, decider = one_decider(settings, None, customer)
    wanted = [_known_slice(one, decider, name) for one in slice_ or ["all"]]
    orders = [give_order(Path(settings.state.path), name, slice_named(one), decider.last_event_at) for one in wanted]
    if json:
        given = [{"id": one.id, "slice": of, "since": one.since} for one, of in zip(orders, wanted, strict=True)]
        typer.echo(as_json({"customer": name, "orders": given}))
        return
    for one, of in zip(orders, wanted, strict=True):
        typer.echo(f"{name} {of}: learns anew from {instant(one.since)} on, as soon as the agent starts again")


def _known_slice(name: str, decider: Decider, customer: str) -> str:
    from monitor.config import ConfigError
    from monitor.core.nearest import ANY, nearest
    from monitor.core.slicing import slice_name
    from monitor.settings_source import Problem

    known = ["all", *(slice_name(one) for one in decider.watched())]
    if name in known:
        return name
    want = f"a slice of {customer}: the nearest is {nearest(name, known, ANY)}"
    raise ConfigError([Problem(path="--slice", got=name, want=want)])
