"""Decides what commands have in common: options, exit codes, how a document and a table are printed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

EXIT_NO = 1
EXIT_USAGE = 2
EXIT_INSUFFICIENT = 3
EXIT_UNREADABLE = 4
EXIT_OURS = 70
EXIT_INTERRUPTED = 130

ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML configuration.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
FromOption = Annotated[
    Path | None,
    typer.Option("--from", metavar="DIR", help="State folder or a replay's results [default: state.path]."),
]
CustomerOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of this customer [default: the only one, else all].")
]


def as_json(document: object) -> str:
    """Indented, for a person's eyes as well."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def in_columns(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> Iterator[str]:
    """Lines of a table, a column as wide as its widest cell; those named in `left` begin at their left, numbers end.

    >>> list(in_columns([["slice", "spent"], ["all", "7"]]))
    ['slice  spent', 'all        7']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(
            text.ljust(width) if place in left else text.rjust(width) for place, (text, width) in enumerate(cells)
        ).rstrip()
