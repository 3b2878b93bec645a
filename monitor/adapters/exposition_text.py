"""Decides how labels and numbers are written in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Mapping

_NOT_FINITE = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}


def label_pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{escape(value)}"' for name, value in labels.items())


def escape(value: str) -> str:
    """A label value in the text format. A lone surrogate, which UTF-8 cannot hold, is spelled out."""
    try:
        value.encode()
    except UnicodeEncodeError:
        value = value.encode("utf-8", "backslashreplace").decode()
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """`str`, not `repr`: numpy's scalars must read as numbers, too."""
    text = str(value)
    return _NOT_FINITE.get(text, text)
