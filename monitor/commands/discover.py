"""Decides what `wervane discover` says: whether a combination of attributes that nobody tracks is worse off."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
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
    from monitor.core.deciding import Decider
    from monitor.core.discovering import Search, Tested


def discover(
    config: ConfigOption = None,
    folder: FromOption = None,
    customer: CustomerOption = None,
    depth: Annotated[int, typer.Option(min=1, max=3, help="Attributes in a combination, at the most.")] = 3,
    json: JsonOption = False,
) -> None:
    """Search the worst combination of attributes that is not tracked; exit 1 if none is sure, 3 if labels are few."""
    from monitor.config import load_settings
    from monitor.inspecting import read_deciders

    settings = load_settings(config, os.environ)
    deciders = read_deciders(settings, folder, customer)
    searches = {name: _search(decider, depth) for name, decider in deciders.items()}
    options = f" --config {shlex.quote(str(config))}" if config else ""
    options += f" --from {shlex.quote(str(folder))}" if folder else ""
    if json:
        typer.echo(as_json([_document(name, search, options) for name, search in searches.items()]))
    for name, search in () if json else searches.items():
        for line in _lines(name, search, options):
            typer.echo(line)
    if any(search.found for search in searches.values()):
        return
    # Few labels anywhere: "nothing found" would read as "nothing there".
    few = any(search.combinations for search in searches.values()) and not any(
        search.large_enough for search in searches.values()
    )
    raise typer.Exit(EXIT_INSUFFICIENT if few else EXIT_NO)


def _search(decider: Decider, depth: int) -> Search:
    from monitor.core.closed_units import to_cells
    from monitor.core.discovering import discover as search

    slicing, rows = decider.slicing, decider.closed()
    settings = slicing.settings
    tracked = [*((name,) for name in slicing.sliced), *settings.intersections]
    persons = [row.person for row in rows]
    cells = to_cells(rows, slicing.names)
    return search(cells, persons, slicing.names, tracked, settings.strata, settings.demographics, depth)


def _document(customer: str, search: Search, options: str) -> dict[str, object]:
    from monitor.core.discovering import ALPHA
    from monitor.core.slicing import slice_name

    return {
        "customer": customer,
        "combinations": search.combinations,
        "large_enough": search.large_enough,
        "alpha": ALPHA,
        "tested": [
            {
                "slice": slice_name(one.slice),
                "found": one.found,
                "chance": one.chance,
                "gap": one.gap.gap,
                "gap_low": one.gap.low(ALPHA),
                "wer": one.gap.wer,
                "wer_rest": one.gap.rest_wer,
                "persons": one.gap.persons,
                "reference_words": round(one.gap.words),
                "claim": _claim(customer, one, options) if one.found else None,
            }
            for one in (*search.found, *(one for one in search.tested if not one.found))
        ],
    }


def _lines(customer: str, search: Search, options: str) -> Iterator[str]:
    from monitor.core.discovering import ALPHA
    from monitor.core.matched_gaps import PERSONS_MIN
    from monitor.core.predicates import of_slice

    if not search.combinations:
        yield f"{customer}: no combination is untracked; attributes to search are named by slices.dimensions or .strata"
        return
    if not search.large_enough:
        yield (
            f"{customer}: not enough evidence: none of {search.combinations} untracked combinations has "
            f"{2 * PERSONS_MIN} corrected persons, half of them to propose and half to test"
        )
        return
    yield (
        f"{customer}: {search.large_enough} of {search.combinations} untracked combinations have the persons to be "
        f"compared; {len(search.tested)} were proposed by one half and tested on the other"
    )
    for one in search.found:
        gap = one.gap
        yield (
            f"  {of_slice(one.slice)}: {gap.wer:.1%}, others at the same tasks {gap.rest_wer:.1%}, "
            f"gap surely above {gap.low(ALPHA):.1%} (p {one.chance:.2g}), {gap.persons} persons, {gap.words:,.0f} words"
        )
        yield f"    {_claim(customer, one, options)}"
    if not search.found:
        yield f"  none is surely worse (chance {ALPHA:g} of a false find in a run)"


def _claim(customer: str, found: Tested, options: str) -> str:
    """A claim of what the second half is sure of: it is tested on references that are yet to come."""
    from monitor.core.discovering import ALPHA
    from monitor.core.predicates import of_slice

    gap = max(round(found.gap.low(ALPHA), 3), 0.001)
    where = shlex.quote(str(of_slice(found.slice)))
    return f"wervane claim submit --where {where} --gap {gap:g} --customer {shlex.quote(customer)}{options}"
