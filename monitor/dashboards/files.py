"""Decides which dashboards there are, and what is written of them: one file each, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import msgspec

from monitor.dashboards.fairness import fairness
from monitor.dashboards.one_slice import one_slice
from monitor.dashboards.parts import Json
from monitor.dashboards.pipeline import pipeline


def dashboards() -> list[Json]:
    """In the order in which somebody on call opens them."""
    return [fairness(), one_slice(), pipeline()]


def documents() -> dict[str, bytes]:
    """File name, after the uid, -> JSON with a line for each value, so that a change reads well."""
    return {
        f"{one['uid']}.json": msgspec.json.format(msgspec.json.encode(one), indent=2) + b"\n" for one in dashboards()
    }


def write(folder: Path) -> list[Path]:
    """Write them all into the folder, which is made where it is missing; other files there stay. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in documents().items():
        (folder / name).write_bytes(content)
        paths.append(folder / name)
    return paths
