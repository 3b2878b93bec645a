"""Decides what `wervane worse` says: which slices are surely worse, with few false ones among them."""

from __future__ import annotations

import os
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
    from monitor.core.worse_lists import WorseList


def worse(
    config: ConfigOption = None,
    folder: FromOption = None,
    customer: CustomerOption = None,
    fdr: Annotated[float, typer.Option(min=0.001, max=0.5, help="Part of the list that may be false.")] = 0.1,
    json: JsonOption = False,
) -> None:
    """List slices that are surely worse than their past or than others; exit 1 if none is, 3 if nothing can be said."""
    from monitor.config import load_settings
    from monitor.inspecting import read_deciders

    settings = load_settings(config, os.environ)
    deciders = read_deciders(settings, folder, customer)
    lists = {name: decider.worse(fdr) for name, decider in deciders.items()}
    if json:
        typer.echo(as_json([_document(name, found) for name, found in lists.items()]))
    for name, found in () if json else lists.items():
        _say(name, found, fdr)
    if not any(found.listed for found in lists.values()):
        raise typer.Exit(EXIT_NO if any(found.asked for found in lists.values()) else EXIT_INSUFFICIENT)


def _document(customer: str, found: WorseList) -> dict[str, object]:
    from monitor.core.slicing import slice_name

    return {
        "customer": customer,
        "asked": found.asked,
        "listed": [{"slice": slice_name(one.slice), "kind": one.kind, "e_value": one.e_value} for one in found.listed],
    }


def _say(customer: str, found: WorseList, fdr: float) -> None:
    from monitor.core.records import IncidentKind
    from monitor.core.slicing import slice_name

    typer.echo(
        f"{customer}: {len(found.listed)} of {found.asked} questions answered with worse "
        f"(at most {fdr:.0%} of them falsely)"
    )
    for one in found.listed:
        than = "its own past" if one.kind == IncidentKind.DRIFT else "others at the same tasks"
        typer.echo(f"  {slice_name(one.slice)}: worse than {than} (e-value {one.e_value:,.0f})")
