"""Decides what `wervane dashboards` does: writes Grafana's dashboards into a folder that Grafana reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.commands.options import EXIT_UNREADABLE


def dashboards(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if missing; files of other names stay.")],
) -> None:
    """Write the Grafana dashboards as JSON files into DIR."""
    from monitor.dashboards.files import write

    try:
        written = write(folder)
    except OSError as failure:
        typer.echo(f"{folder} cannot be written: {failure.strerror}", err=True)
        raise typer.Exit(EXIT_UNREADABLE) from None
    for path in written:
        typer.echo(path)
