"""The figures of docs/benchmarks.md that are simulated: prints each, and writes it with --write.

    PYTHONPATH=. .venv/bin/python tests/bench/bench_statistics.py [NAME ...] [--write]

Without names, all of them (about 15 minutes of one core); --list names them. Every figure has a fixed seed, so the same
command gives the same table; costs are ratios to a bare loop of the same run.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from tests.bench.bench_statistics_tables import FIGURES, Figure

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def markdown(name: str, figure: Figure) -> str:
    """The figure between the marks by which it is found again."""
    lines = [f"<!-- begin {name} -->", figure.said, ""]
    for row in (figure.columns, tuple("---" for _ in figure.columns), *figure.rows):
        lines.append("| " + " | ".join(row) + " |")
    command = f"PYTHONPATH=. .venv/bin/python tests/bench/bench_statistics.py {name}"
    return "\n".join([*lines, "", f"Reproduce: `{command}`", f"<!-- end {name} -->"])


def write(name: str, text: str) -> None:
    """Put a figure in its place on the page."""
    page = PAGE.read_text(encoding="utf-8")
    place = re.compile(f"<!-- begin {name} -->.*?<!-- end {name} -->", re.DOTALL)
    if not place.search(page):
        sys.exit(f"docs/benchmarks.md has no place for {name}: it wants <!-- begin {name} --> and <!-- end {name} -->")
    PAGE.write_text(place.sub(lambda _: text, page), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", choices=[*FIGURES, []])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(FIGURES))
        return
    for name in options.names or FIGURES:
        text = markdown(name, FIGURES[name]())
        print(text, end="\n\n", flush=True)
        if options.write:
            write(name, text)


if __name__ == "__main__":
    main()
