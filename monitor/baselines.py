"""Decides what a file of baselines holds, and whether it fits a configuration.

What was learned under another normaliser, other dimensions, strata or units would mean something else: it is refused
with what differs.

    {"schema": 2, "wervane": "0.1.0", "series": {dimensions, strata, unit, normalizers, ...}, "customers": [
      {"customer": "acme", "maturity_seconds": 86400, "slices": [
        {"slice": "accent=england", "version": "...", "learned_from": ..., "learned_until": ..., "closed_at": ...,
         "rho": 1.1, "scale": 1.3, "error": 0.04, "units": 300,
         "strata": [{"stratum": ["england", "wards"], "rate": 0.11}]}]}]}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from monitor import __version__
from monitor.adapters.files import write_atomically
from monitor.adapters.instants import instant
from monitor.adapters.jsonl import InputUnreadable
from monitor.config import ConfigError, Settings
from monitor.core.cells import ERRORS_CAP
from monitor.core.deciding import Decider
from monitor.core.drift import Baseline
from monitor.core.estimators import WEIGHT_ONE
from monitor.core.groupings import CLAIM_PREFIX
from monitor.core.imported import Offered
from monitor.core.nearest import ANY, nearest
from monitor.core.normalization import identity_of
from monitor.core.parent_strata import SEPARATOR, Parents
from monitor.core.records import OTHER
from monitor.core.slicing import slice_name, slice_named
from monitor.settings_source import Problem

SCHEMA = 2
SCHEMAS = (1, SCHEMA)
"""Those that can be read. Files of schema 1 do not say how uncertain a baseline is: its error is not priced in."""
FILE = "baselines.json"
"""What `wervane baseline import` leaves in the state folder."""
BYTES_MAX = 64 << 20
"""A slice takes some 100 bytes for each of its strata: room for 5,000 slices of a hundred strata each."""


_SCHEMA_WANTED = f"{SCHEMA}, or an earlier one"


class Stratum(msgspec.Struct, forbid_unknown_fields=True):
    stratum: list[str]
    rate: float


class SliceBaseline(msgspec.Struct, forbid_unknown_fields=True):
    """One slice's. `scale` in errors of one unit; instants in event time.

    error  relative standard error of what it expects; units: it was learned from. 0: not known, nothing is forgiven
    """

    slice: str
    rho: float
    scale: float
    strata: list[Stratum]
    learned_from: float
    learned_until: float
    version: str = ""
    closed_at: float | None = None
    parents: list[dict[str, tuple[float, float]]] | None = None
    """For each dimension of the stratum: value -> (level, its relative variance); where labels were sparse."""
    learned: str = ""
    """The same two instants for people."""
    error: float = 0.0
    units: int = 0


class CustomerBaselines(msgspec.Struct, forbid_unknown_fields=True):
    customer: str
    slices: list[SliceBaseline]
    maturity_seconds: float | None = None


class Series(msgspec.Struct, forbid_unknown_fields=True):
    """What the numbers mean: all of it must be the same where they are used."""

    dimensions: list[str]
    demographics: list[str]
    canonical: dict[str, dict[str, str]]
    strata: list[str]
    unit: str
    normalizers: dict[str, str]
    """Language tag -> profile and hash of its rules, replacements included."""
    sampling_probability: float | None
    """Errors are weighted by its inverse; None: a budget of labels."""


class Document(msgspec.Struct, forbid_unknown_fields=True):
    schema: int
    series: Series
    customers: list[CustomerBaselines]
    wervane: str = ""


# ------------------------------------------------------------------------------------------------------------- writing
def export(settings: Settings, deciders: Iterable[tuple[str, Decider]]) -> Document:
    """What these customers' slices expect now."""
    customers = []
    for customer, decider in deciders:
        maturity, closed = decider.baselines()
        slices = [
            _exported(slice_name(slice_), baseline, closed_at)
            for slice_, baseline, closed_at in closed
            # Which groups are folded is chance, and claims are numbered: elsewhere they are others.
            if all(value != OTHER and not name.startswith(CLAIM_PREFIX) for name, value in slice_)
        ]
        customers.append(CustomerBaselines(customer, slices, maturity))
    return Document(SCHEMA, series_of(settings), customers, __version__)


def series_of(settings: Settings) -> Series:
    """What a baseline means under this configuration."""
    slices, scoring, sampling = settings.slices, settings.scoring, settings.sampling
    return Series(
        dimensions=list(slices.dimensions),
        demographics=list(slices.demographics),
        canonical={name: dict(names) for name, names in slices.canonical.items()},
        strata=list(slices.strata),
        unit=settings.decide.unit,
        normalizers={
            tag: identity_of(profile, scoring.replacements) for tag, profile in sorted(scoring.profiles.items())
        },
        sampling_probability=1.0
        if sampling.probability is None and sampling.labels_per_day is None
        else sampling.probability,
    )


def write(path: Path, document: Document) -> None:
    """Leave the file whole, or as it was. Raises OSError."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")


def _exported(name: str, baseline: Baseline, closed_at: float) -> SliceBaseline:
    kept = msgspec.structs.replace(
        baseline,
        rates={key: rate for key, rate in sorted(baseline.rates.items()) if OTHER not in key.split(SEPARATOR)},
        learned_until=baseline.learned_until or closed_at,
        parents=None if baseline.parents is None else Parents(tuple(map(_without_folded, baseline.parents.levels))),
    )
    return SliceBaseline(
        slice=name,
        rho=kept.rho,
        scale=kept.scale / WEIGHT_ONE,  # a power of two: exact in both directions
        strata=[Stratum(key.split(SEPARATOR), rate) for key, rate in kept.rates.items()],
        learned_from=kept.learned_from,
        learned_until=kept.learned_until,
        version=kept.version,
        closed_at=closed_at,
        parents=None if kept.parents is None else list(kept.parents.levels),
        learned=f"{instant(kept.learned_from)} to {instant(kept.learned_until)}",
        error=kept.error,
        units=kept.units,
    )


def _without_folded(levels: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    return {value: level for value, level in sorted(levels.items()) if value != OTHER}


# ------------------------------------------------------------------------------------------------------------- reading
def read_offered(path: Path, settings: Settings) -> dict[str, Offered]:
    """What a file offers to each of its customers. Raises InputUnreadable, and ConfigError if it does not fit."""
    return offered(read(path, settings))


def offered(document: Document) -> dict[str, Offered]:
    """The same of a document that was read."""
    return {
        one.customer: Offered(
            tuple((slice_named(entry.slice), _baseline(entry)) for entry in one.slices), one.maturity_seconds
        )
        for one in document.customers
    }


def read(path: Path, settings: Settings) -> Document:
    """A file that fits the configuration. Raises InputUnreadable, and ConfigError with every problem."""
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise InputUnreadable(path, error.strerror or type(error).__name__) from None
    if len(content) > BYTES_MAX:
        raise ConfigError([Problem(path=str(path), got="more than 64 MB", want="a file of baselines")])
    try:
        document = msgspec.json.decode(content, type=Document)
    except msgspec.MsgspecError as error:
        raise ConfigError([_unfit(path, content, error)]) from None
    problems = list(_problems(document, settings))
    if problems:
        raise ConfigError([msgspec.structs.replace(one, path=f"{path}: {one.path}") for one in problems])
    return document


def _unfit(path: Path, content: bytes, error: msgspec.MsgspecError) -> Problem:
    """What the decoder says names a place and a type, never a value; a file of another schema is named as such."""
    want = f"a file that `wervane baseline export` wrote (schema {SCHEMA})"
    try:
        schema = msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("schema")
        if schema is not None and bytes(schema) not in [str(one).encode() for one in SCHEMAS]:
            return Problem(path=f"{path}: schema", got="another one", want=_SCHEMA_WANTED)
    except msgspec.MsgspecError:
        return Problem(path=str(path), got="no JSON object", want=want)
    return Problem(path=str(path), got=str(error), want=want)


def _problems(document: Document, settings: Settings) -> Iterator[Problem]:
    if document.schema not in SCHEMAS:
        yield Problem(path="schema", got=str(document.schema), want=_SCHEMA_WANTED)
        return
    here = series_of(settings)
    for name in Series.__struct_fields__:
        theirs, ours = getattr(document.series, name), getattr(here, name)
        if theirs != ours:
            want = f"{_told(ours)}: it was learned under another configuration, and would mean something else here"
            yield Problem(path=f"series.{name}", got=_told(theirs), want=want)
            if name == "normalizers":
                return  # nothing else of such a file is worth telling
    names = [one.customer for one in document.customers]
    for place, one in enumerate(document.customers):
        where = f"customers[{place}]"
        if names.count(one.customer) > 1:
            yield Problem(path=where, got=f"{one.customer} again", want="each customer once")
        if one.maturity_seconds is not None and not 0 <= one.maturity_seconds <= 366 * 86_400.0:
            yield Problem(path=f"{where}.maturity_seconds", got=f"{one.maturity_seconds}", want="seconds, e.g. 86400")
        yield from unknown_customer(one.customer, settings.tenants.allow, "tenants.allow", where)
        seen: set[str] = set()
        for number, entry in enumerate(one.slices):
            if entry.slice in seen:
                yield Problem(path=f"{where}.slices[{number}]", got="a slice again", want="each slice once")
            seen.add(entry.slice)
            yield from _slice_problems(entry, f"{where}.slices[{number}]", here)


def unknown_customer(name: str, known: Iterable[str], of: str, where: str) -> Iterator[Problem]:
    """A problem if some are known, and this is none of them."""
    names = sorted(known)
    if names and name not in names:
        want = f"a customer of {of}: the nearest is {nearest(name, names, ANY)}"
        yield Problem(path=f"{where}.customer", got=name, want=want)


def _slice_problems(entry: SliceBaseline, where: str, here: Series) -> Iterator[Problem]:
    known = [*here.dimensions, *here.demographics]
    for dimension, _ in slice_named(entry.slice):
        if dimension not in known:
            want = f"a dimension of slices.dimensions: the nearest is {nearest(dimension, known, ANY)}"
            yield Problem(path=f"{where}.slice", got=dimension or "an empty name", want=want)
    if not (math.isfinite(entry.rho) and 1.0 <= entry.rho <= 1e3):
        yield Problem(path=f"{where}.rho", got=f"{entry.rho}", want="a number from 1 to 1000, e.g. 1.1")
    if not (math.isfinite(entry.scale) and 0.0 < entry.scale <= 1e9):
        yield Problem(path=f"{where}.scale", got=f"{entry.scale}", want="a number of errors above 0, e.g. 1.3")
    if not (0.0 <= entry.learned_from <= entry.learned_until < 253_402_300_800.0):
        yield Problem(path=f"{where}.learned_until", got="no instant", want="seconds since 1970 after learned_from")
    if not (0.0 <= entry.error <= 10.0 and (entry.units > 1 if entry.error else entry.units >= 0)):
        want = "a relative standard error of up to 10, learned from 2 units or more, e.g. 0.04"
        yield Problem(path=f"{where}.error", got=f"{entry.error} of {entry.units} units", want=want)
    parents = entry.parents or []
    if any(not (0.0 < level <= 1e3 and 0.0 <= off <= 1e6) for known in parents for level, off in known.values()):
        yield Problem(path=f"{where}.parents", got="a level outside", want="[level above 0, variance]")
    elif entry.parents is not None and len(parents) != len(here.strata):
        yield Problem(path=f"{where}.parents", got=f"{len(parents)} dimensions", want=f"one of each: {here.strata}")
    elif any(len(one.stratum) != len(here.strata) for one in entry.strata) or not (entry.strata or parents):
        want = f"values of {', '.join(here.strata)}"
        yield Problem(path=f"{where}.strata", got="another number of values", want=want)
    elif any(not 0.0 < one.rate <= ERRORS_CAP for one in entry.strata):
        yield Problem(path=f"{where}.strata", got="a rate outside", want=f"a WER above 0, at most {ERRORS_CAP:g}")
    elif entry.version and entry.version != _baseline(entry).version:
        want = f"{_baseline(entry).version}, or none: the content is not what was exported under this version"
        yield Problem(path=f"{where}.version", got=entry.version, want=want)


def _baseline(entry: SliceBaseline) -> Baseline:
    return Baseline(
        rates={SEPARATOR.join(one.stratum): one.rate for one in entry.strata},
        rho=entry.rho,
        scale=entry.scale * WEIGHT_ONE,
        learned_from=entry.learned_from,
        learned_until=entry.learned_until,
        parents=None if entry.parents is None else Parents(tuple(entry.parents)),
        error=entry.error,
        units=entry.units,
    )


def _told(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {of}" for name, of in value.items()) or "none"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def merged(old: Document | None, new: Document) -> Document:
    """The new customers, and those of the old file that the new one does not have."""
    names = {one.customer for one in new.customers}
    kept = [] if old is None else [one for one in old.customers if one.customer not in names]
    return msgspec.structs.replace(
        new, schema=SCHEMA, customers=sorted([*kept, *new.customers], key=lambda one: one.customer)
    )


def state_file(settings: Settings) -> Path:
    """Where `run` looks."""
    return Path(settings.decide.baselines or Path(settings.state.path) / FILE)


def with_state_file(settings: Settings) -> Settings:
    """The settings of an agent: without `decide.baselines`, what was imported into its state folder holds."""
    path = state_file(settings)
    if settings.decide.baselines is not None or not path.exists():
        return settings
    return msgspec.structs.replace(settings, decide=msgspec.structs.replace(settings.decide, baselines=str(path)))
