"""Decides how a configuration becomes a pipeline and its input: the one place where settings meet constructors."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from monitor.adapters.claims_file import verified_claims
from monitor.adapters.jsonl import (
    GrowingDirectory,
    InputUnreadable,
    LineSource,
    SortedArchive,
    StdinLines,
    read_when_ready,
)
from monitor.adapters.store import Store
from monitor.baselines import read_offered
from monitor.calibrations import read_for
from monitor.config import DecisionSettings, InputKind, Settings
from monitor.core.changes import Change
from monitor.core.deciding import DecideSettings
from monitor.core.imported import Offered
from monitor.core.pairing_port import PairTable
from monitor.core.pipeline import Pipeline, PipelineSettings
from monitor.core.relearning import Order
from monitor.core.sampling import SamplingSettings
from monitor.core.scoring import Scorer, ScoringSettings
from monitor.decoders import event_times, kinds
from monitor.relearn_orders import read_orders

DEFAULT_KEY = b"wervane"
"""Key of the coin without privacy.hash_key_file: the same sample everywhere, pseudonyms that can be guessed."""

INPUT_TABLE = "input"
"""Documents about the input itself."""


def build_scorer(settings: Settings) -> Scorer:
    """Normalisers and aligner as configured."""
    return Scorer(
        ScoringSettings(
            profiles=settings.scoring.profiles,
            replacements=settings.scoring.replacements,
            keywords=settings.scoring.keywords,
        )
    )


def build_pipeline(settings: Settings, table: PairTable, scorer: Scorer, folder: Path | None = None) -> Pipeline:
    """The core as configured; `folder`: where its claims are, else beside the configured state."""
    return Pipeline(pipeline_settings(settings, folder), table, scorer, hash_key(settings))


def pipeline_settings(settings: Settings, folder: Path | None = None, *, calibrated: bool = True) -> PipelineSettings:
    """What of the configuration, and of the claims in `folder` (else the state's), the core needs to know.

    calibrated  whether `decide.calibration` is read

    Raises ConfigError if a file that it names does not fit it, StateRefused if the claims do not.
    """
    beside = folder or Path(settings.state.path)
    standing, relearn = verified_claims(beside, settings.slices.names), read_orders(beside)
    sampling, labels = settings.sampling, settings.labels
    offered = {} if settings.decide.baselines is None else read_offered(Path(settings.decide.baselines), settings)
    return PipelineSettings(
        slices=settings.slices,
        sampling=SamplingSettings(
            probability=1.0 if sampling.probability is None else sampling.probability,
            labels_per_day=sampling.labels_per_day,
            per_stratum_min=sampling.per_stratum_min,
            strata=sampling.strata,
            pending_max=settings.state.pending_max,
        ),
        decide=_decide_settings(settings, settings.decide, offered, standing, relearn, calibrated),
        decide_of={
            name: _decide_settings(settings, own, offered, standing, relearn, calibrated, name)
            for name, own in settings.customers.items()
        },
        tenants=frozenset(settings.tenants.allow),
        ttl_seconds=labels.ttl_seconds,
        lateness_seconds=labels.lateness_seconds,
        unit=settings.decide.unit,
        reviews=settings.privacy.reviews,
        early_warning=settings.decide.early_warning,
    )


def _decide_settings(
    settings: Settings,
    decide: DecisionSettings,
    offered: Mapping[str, Offered],
    standing: Mapping[str, tuple[tuple[str, str], ...]],
    relearn: Mapping[str, tuple[Order, ...]],
    calibrated: bool,
    customer: str | None = None,
) -> DecideSettings:
    """What a decider is told: everybody's, or one customer's own."""
    # A customer without records of its own has everybody's, among which its own are looked for.
    own = customer if decide.calibration != settings.decide.calibration else None
    where = "decide" if own is None else f"customers.{own}"
    return DecideSettings(
        page_budget=decide.page_budget,
        page_budget_days=float(decide.page_budget_days),
        page_on_gap=decide.page_on_gap,
        detectors=decide.detectors,
        margin=decide.margin,
        maturity_seconds=settings.labels.maturity_seconds,
        offered=offered,
        standing=standing,
        relearn=relearn,
        release_min=settings.privacy.release_min,
        calibrations=read_for(settings, decide, where, own) if calibrated else (),
    )


def hash_key(settings: Settings) -> bytes:
    """The secret behind coins and pseudonyms, at most 64 bytes."""
    if settings.privacy.hash_key_file is None:
        return DEFAULT_KEY
    path = Path(settings.privacy.hash_key_file)
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise InputUnreadable(f"privacy.hash_key_file {path}", error.strerror or type(error).__name__) from None
    if len(secret) < 16:
        raise InputUnreadable(
            f"privacy.hash_key_file {path}", "want a secret of at least 16 bytes, e.g. from `openssl rand -hex 32`"
        )
    return sha256(secret).digest()


def state_fingerprint(settings: Settings) -> str:
    """Names what may not change under a state: keys, labels and units stored in it would mean something else."""
    slices = settings.slices
    parts = (
        sha256(hash_key(settings)).hexdigest(),
        repr((slices.dimensions, slices.demographics, slices.intersections, slices.strata, slices.groups_max)),
        repr(sorted((name, sorted(names.items())) for name, names in slices.canonical.items())),
        repr(settings.sampling.strata),
        # Another profile would be another series: a correction would subtract what was never added.
        repr(sorted(settings.scoring.profiles.items())),
        repr(sorted(settings.scoring.replacements)),
        settings.decide.unit,
    )
    return sha256("\x1f".join(parts).encode()).hexdigest()


def check_same_archive(store: Store, signature: str) -> None:
    """Positions in an archive are ranks: they mean the same only while the files are the same."""
    stored = {(table, key): value for table, key, value in store.documents()}.get((INPUT_TABLE, "archive"))
    if stored is None:
        store.apply([Change(INPUT_TABLE, "archive", signature.encode())])
    elif stored != signature.encode():
        raise InputUnreadable(
            "input",
            "the files are not those that this state was made from; for files that grow set input.kind: directory, "
            "else choose another state.path",
        )


def open_source(settings: Settings) -> LineSource:
    """The configured input. Raises InputUnreadable."""
    transcripts, references = settings.input.transcripts, settings.input.references
    match settings.input.kind:
        case InputKind.FILES:
            return SortedArchive(transcripts, references, event_time=event_times(settings))
        case InputKind.DIRECTORY:
            return GrowingDirectory(transcripts[0], references[0], event_time=event_times(settings))
        case InputKind.STDIN:
            read = read_when_ready(sys.stdin.fileno())
            return StdinLines(read, event_time=event_times(settings), kind_of=kinds(settings))
        case InputKind.KAFKA:
            raise AssertionError("topics are opened by monitor.topics")
