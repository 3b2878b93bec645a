"""Decides how a tool sees what an agent or a replay has come to know: every customer's decider, restored to look at.

Nothing is written. Of an agent that runs, what is seen is at most ten minutes old (its last rotation).
"""

from __future__ import annotations

from pathlib import Path

from monitor.adapters.decisions import read_decisions
from monitor.building import pipeline_settings, state_fingerprint
from monitor.config import Settings
from monitor.core.counters import Counters
from monitor.core.customers import Customers, is_of_decide


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
