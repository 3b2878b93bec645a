"""Decides what a calibration record holds, and whether it may let a detector page under a configuration.

A record is of one customer, one detector and the baselines that it was made from. Anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from monitor.adapters.files import write_atomically
from monitor.adapters.jsonl import InputUnreadable
from monitor.baselines import Series, series_of
from monitor.config import ConfigError, DecisionSettings, Settings
from monitor.core.detectors import LADDERS, PARAMETERS, Calibration
from monitor.core.nearest import ANY, nearest
from monitor.settings_source import Problem

SCHEMA = 1
BYTES_MAX = 8 << 20
"""A slice takes some 60 bytes: room for 100,000 of them."""
SHARES_MAX = 0.5
"""Detectors may have half of a budget together: the other half is what page-budget's bets need to see anything."""


class FalseAlarms(msgspec.Struct, forbid_unknown_fields=True):
    """In 90 simulated days, over all slices."""

    mean: float
    upper_95: float
    alarms: int


class CalibrationRecord(msgspec.Struct, forbid_unknown_fields=True):
    """What `wervane calibrate` leaves."""

    schema: int
    customer: str
    detector: str
    parameters: dict[str, float]
    seed: int
    replicates: int
    share: float
    budget_90_days: float
    false_alarms: FalseAlarms
    units: int
    persons: int
    learned_from: str
    learned_until: str
    """Event time of the units that were drawn from."""
    baselines: dict[str, str]
    """Slice -> version of its baseline."""
    series: Series
    wervane: str = ""
    left_out: list[str] = []
    """Slices with a baseline that may not page: what their false alarms would be could not be found out."""


def write(path: Path, record: CalibrationRecord) -> None:
    """Leave the file whole, or as it was. Raises OSError."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def read_for(settings: Settings, decide: DecisionSettings, where: str, customer: str | None) -> tuple[Calibration, ...]:
    """The records of `decide.calibration`, fit for it. Raises InputUnreadable, and ConfigError with every problem.

    where     section of the configuration; customer: whose it is, None: everybody's
    """
    found: list[Calibration] = []
    problems: list[Problem] = []
    for name in decide.calibration:
        record, unfit = _read(Path(name), settings)
        place = f"{where}.calibration: {name}"
        if record is not None:
            unfit += _misplaced(record, settings, customer)
            found.append(
                Calibration(
                    customer=record.customer,
                    detector=record.detector,
                    parameter=record.parameters[PARAMETERS[record.detector]] if not unfit else 0.0,
                    share=record.share,
                    baselines=record.baselines,
                )
            )
        problems += [msgspec.structs.replace(one, path=f"{place}: {one.path}") for one in unfit]
    problems += _together(found, where)
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def _read(path: Path, settings: Settings) -> tuple[CalibrationRecord | None, list[Problem]]:
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise InputUnreadable(path, error.strerror or type(error).__name__) from None
    want = f"a file that `wervane calibrate` wrote (schema {SCHEMA})"
    try:
        schema = msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("schema", b"")
        if bytes(schema) != str(SCHEMA).encode():
            return None, [Problem(path="schema", got="another one" if bytes(schema) else "nothing", want=want)]
        record = msgspec.json.decode(content, type=CalibrationRecord)
    except msgspec.MsgspecError:
        return None, [Problem(path="content", got="something else", want=want)]
    if record.detector not in LADDERS or set(record.parameters) != {PARAMETERS[record.detector]}:
        return None, [Problem(path="detector", got=record.detector, want=f"one of {', '.join(LADDERS)}")]
    ours = series_of(settings)
    return record, [
        Problem(
            path=f"series.{field}",
            got="what this configuration has not",
            want="the same: a baseline of another normaliser, unit or slicing is another series; calibrate again",
        )
        for field in Series.__struct_fields__
        if getattr(record.series, field) != getattr(ours, field)
    ]


def _misplaced(record: CalibrationRecord, settings: Settings, customer: str | None) -> list[Problem]:
    problems: list[Problem] = []
    decide = settings.customers.get(record.customer, settings.decide)
    known = [customer] if customer is not None else list(settings.tenants.allow)
    if known and record.customer not in known:
        similar = nearest(record.customer, known, ANY)
        want = f"a record of {customer}" if customer is not None else f"a customer that is watched, e.g. {similar}"
        problems.append(Problem(path="customer", got=record.customer, want=want))
    if record.detector not in decide.detectors:
        want = f"one of the detectors that run ({', '.join(decide.detectors)})"
        problems.append(Problem(path="detector", got=record.detector, want=want))
    pays = record.share * decide.page_budget * 90.0 / decide.page_budget_days
    if record.false_alarms.upper_95 > pays * (1.0 + 1e-9):
        got = f"up to {record.false_alarms.upper_95:.3g} false pages in 90 days"
        want = f"at most {pays:.3g}, its share of the page budget; calibrate again"
        problems.append(Problem(path="false_alarms.upper_95", got=got, want=want))
    if not 0.0 < record.share <= SHARES_MAX:
        problems.append(Problem(path="share", got=f"{record.share:g}", want=f"above 0 up to {SHARES_MAX:g}"))
    return problems


def _together(found: Sequence[Calibration], where: str) -> list[Problem]:
    problems: list[Problem] = []
    shares: dict[str, float] = {}
    seen: set[tuple[str, str]] = set()
    for record in found:
        shares[record.customer] = shares.get(record.customer, 0.0) + record.share
        if (record.customer, record.detector) in seen:
            got = f"two records of {record.detector} for {record.customer}"
            problems.append(Problem(path=f"{where}.calibration", got=got, want="one"))
        seen.add((record.customer, record.detector))
    for customer, share in shares.items():
        if share > SHARES_MAX * (1.0 + 1e-9):
            got = f"{share:g} of {customer}'s page budget for detectors"
            problems.append(Problem(path=f"{where}.calibration", got=got, want=f"at most {SHARES_MAX:g} together"))
    return problems
