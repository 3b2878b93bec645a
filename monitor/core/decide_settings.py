"""Decides what can be set about one customer's decisions."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.core.detectors import PAGE_BUDGET, Calibration
from monitor.core.drift import LearnSettings
from monitor.core.explaining import ExplainSettings
from monitor.core.imported import Offered
from monitor.core.records import Record
from monitor.core.relearning import Order
from monitor.core.standing_gaps import GapSettings
from monitor.core.units import UnitSettings

DAY = 86400.0


class DecideSettings(Record, frozen=True):
    """What one customer's decider needs to know.

    page_budget       expected false pages in `page_budget_days`
    page_on_gap       whether a standing gap is worth a page
    detectors         names of the detectors that run, of `settings_table`; calibrations: of those that may page
    margin            a slice is at parity when its gap is known to lie within this
    maturity_seconds  how long after its end a unit is closed; None: found out from the first days' references
    horizon_seconds   how far back closed units are remembered: at half, slow drifts have no past; at double, twice
                      the memory for a past that no longer describes the traffic
    cells_max         labelled rows remembered (about 300 bytes each); traffic_max: rows for coverage
    offered           customer -> baselines learned elsewhere
    relearn       customer -> orders to learn anew
    release_min       in batches of how many sessions a slice's sums are shown; 1: at once
    standing          customer -> verified claims, each (id, predicate): slices like those that are declared
    """

    page_budget: float = 1.0
    page_budget_days: float = 90.0
    margin: float = 0.05
    maturity_seconds: float | None = None
    horizon_seconds: float = 28 * DAY
    cells_max: int = 100_000
    traffic_max: int = 100_000
    units: UnitSettings = UnitSettings()
    learn: LearnSettings = LearnSettings()
    explain: ExplainSettings = ExplainSettings()
    gaps: GapSettings = GapSettings()
    offered: Mapping[str, Offered] = {}
    relearn: Mapping[str, tuple[Order, ...]] = {}
    page_on_gap: bool = False
    detectors: tuple[str, ...] = (PAGE_BUDGET,)
    calibrations: tuple[Calibration, ...] = ()
    standing: Mapping[str, tuple[tuple[str, str], ...]] = {}
    release_min: int = 1
