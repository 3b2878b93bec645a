"""Decides what `customers` means: for each customer named there, which keys of `decide` are other than everybody's.

An entry is laid over `decide` key by key, with the same shapes, so that whoever builds a decider finds the whole of its
customer's settings and knows nothing of who else has which.
"""

from __future__ import annotations

from collections.abc import Mapping

from monitor.core.nearest import nearest
from monitor.settings_shapes import Plain, Unfit
from monitor.settings_source import Problem, shown
from monitor.settings_table import FIELDS, as_written

KEYS = ("detectors", "page_budget", "page_budget_days", "page_on_gap", "margin", "calibration")
"""Keys of `decide` that can differ between customers. The others (`unit`, `early_warning`) belong to stages that know
no customer's decider: one coin, one plan of labels for all."""

CONCERNS = ("customers",)


def resolve(
    configured: Mapping[str, Plain], decide: Mapping[str, Plain], allowed: Plain
) -> tuple[dict[str, Plain], list[Problem]]:
    """Customer -> all of `decide` for it, and every problem.

    decide   values of the section `decide`, by key
    allowed  `tenants.allow`
    """
    found: dict[str, Plain] = {}
    problems: list[Problem] = []
    for name, entry in configured.items():
        where = f"customers.{name}"
        if isinstance(allowed, list) and allowed and name not in allowed:
            problems.append(_unwatched(where, name, [str(one) for one in allowed]))
        values = dict(decide)
        if isinstance(entry, dict):
            for key, value in entry.items():
                problem = _overlay(values, where, key, value)
                problems += [] if problem is None else [problem]
        elif entry is not None:
            example = f"{where}: {{page_budget: 0.5}}"
            problems.append(Problem(path=where, got=shown(entry), want="a mapping", example=example, concerns=CONCERNS))
        found[name] = values
    return found, problems


def _overlay(values: dict[str, Plain], where: str, key: str, value: Plain) -> Problem | None:
    if key not in KEYS:
        return _unknown(where, key)
    field = FIELDS[f"decide.{key}"]
    try:
        values[key] = field.shape.read(value)
    except Unfit as error:
        example = as_written(field.example)
        got = shown(value, field.location)
        return Problem(path=f"{where}.{key}", got=got, want=error.want, example=example, concerns=CONCERNS)
    return None


def _unknown(where: str, key: str) -> Problem:
    path = f"{where}.{key}" if key.isprintable() and len(key) <= 64 else where
    if f"decide.{key}" in FIELDS:
        got = "a key that is the same for all customers"
        return Problem(path=path, got=got, want=f"it in decide, here only {', '.join(KEYS)}", concerns=CONCERNS)
    similar = nearest(key, KEYS)
    if not similar:
        return Problem(path=path, got="an unknown key", want=f"one of {', '.join(KEYS)}", concerns=CONCERNS)
    example = f"{similar}: {as_written(FIELDS[f'decide.{similar}'].example)}"
    want = f"the nearest known key {similar}"
    return Problem(path=path, got="an unknown key", want=want, example=example, concerns=CONCERNS)


def _unwatched(where: str, name: str, allowed: list[str]) -> Problem:
    similar = nearest(name, allowed)
    want = f"one of tenants.allow{f', the nearest is {similar}' if similar else ''}"
    return Problem(path=where, got="a customer who is not watched", want=want, concerns=(*CONCERNS, "tenants.allow"))
