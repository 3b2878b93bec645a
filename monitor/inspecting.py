"""Decides how a tool sees what an agent or a replay has come to know: every customer's decider, restored to look at.

Nothing is written. Of an agent that runs, what is seen is at most ten minutes old (its last rotation).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from monitor.adapters.decisions import read_decisions
from monitor.building import pipeline_settings, state_fingerprint
from monitor.config import ConfigError, Settings
from monitor.core.counters import Counters
from monitor.core.customers import Customers, is_of_decide
from monitor.core.deciding import Decider
from monitor.core.nearest import ANY, nearest
from monitor.settings_source import Problem


def read_customers(settings: Settings, folder: Path | None = None, *, calibrated: bool = True) -> Customers:
    """The customers of a state folder or a replay's results; None: of the configured state.

    calibrated  False for who makes the records that `decide.calibration` may name already

    Raises StateRefused if there is nothing to read, or if other settings made it.
    """
    core = pipeline_settings(settings, folder, calibrated=calibrated)
    customers = Customers(core.slices, core.decide, Counters(), core.decide_of)
    for table, key, value in read_decisions(folder or Path(settings.state.path), state_fingerprint(settings)):
        if is_of_decide(table):
            customers.restore(table, key, value)
    return customers


def read_deciders(
    settings: Settings, folder: Path | None = None, customer: str | None = None, *, calibrated: bool = True
) -> dict[str, Decider]:
    """Deciders by customer: of one, or of all that are known. Raises ConfigError, and as `read_customers` does."""
    deciders = dict(read_customers(settings, folder, calibrated=calibrated).deciders())
    if customer is None:
        return deciders
    if customer not in deciders:
        raise ConfigError([unknown_customer(customer, deciders, folder or Path(settings.state.path))])
    return {customer: deciders[customer]}


def one_decider(
    settings: Settings, folder: Path | None, customer: str | None, *, calibrated: bool = True
) -> tuple[str, Decider]:
    """The named customer's, or the only one there is. Raises ConfigError, and as `read_customers` does."""
    found = read_deciders(settings, folder, customer, calibrated=calibrated)
    if len(found) == 1:
        return next(iter(found.items()))
    got = "nothing" if found else "a state without customers"
    raise ConfigError([Problem(path="--customer", got=got, want=f"one of {', '.join(sorted(found)[:20])}")])


def unknown_customer(wanted: str, known: Iterable[str], where: Path) -> Problem:
    """What to say of a customer that is not known there: the nearest that is."""
    similar = nearest(wanted, known, ANY)
    want = f"a customer of {where}" + (f": the nearest is {similar}" if similar else ", which has none yet")
    return Problem(path="--customer", got=wanted, want=want)
