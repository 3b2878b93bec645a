"""A realistic picture of the agent for the tests of everything that shows it: invented customer, fixed numbers."""

from __future__ import annotations

import math
import random

from monitor.core.records import (
    Account,
    Counts,
    Direction,
    IncidentKind,
    IncidentState,
    Level,
    Money,
    Slice,
    SliceRow,
    SliceStanding,
    Spender,
    Transition,
    Verdict,
    View,
)
from monitor.core.slicing import slice_name
from monitor.core.snapshot import MetricsSnapshot, SliceMoments

DAY = 86_400.0
BEGAN = 1_772_409_600.0
"""2 March 2026, a Monday."""
DAYS = 14
NOW = BEGAN + DAYS * DAY

ACCENTS = {
    "england": 0.30,
    "us": 0.34,
    "scottish": 0.10,
    "indian": 0.11,
    "yoruba": 0.07,
    "welsh": 0.02,
    "unknown": 0.06,
}
SITES = {"clinical": 0.55, "contact-centre": 0.45}
WER = {"england": 0.11, "us": 0.10, "scottish": 0.14, "indian": 0.23, "yoruba": 0.16, "welsh": 0.13, "unknown": 0.12}
DISPARITY, PARITY = {"indian", "yoruba"}, {"england", "us", "scottish"}


def history(
    base: float, share: float, worse_from: float = math.inf, factor: float = 1.0
) -> tuple[tuple[float, float, float, float], ...]:
    """WER by day with bounds that widen as the share of traffic falls; rare slices miss days."""
    chance = random.Random(f"{base}{share}")
    days = []
    for index in range(DAYS):
        if share < 0.03 and chance.random() < 0.35:
            continue
        day = BEGAN + index * DAY
        wer = base * (factor if day >= worse_from else 1.0) * (1 + chance.gauss(0, 0.012 / math.sqrt(share)))
        radius = 0.011 / math.sqrt(share) * (1 + 0.2 * chance.random())
        days.append((day, max(wer, 0.0), max(wer - radius, 0.0), wer + radius))
    return tuple(days)


def row(customer: str, slice_: Slice, share: float, wer: float, verdict: Verdict, *, worse: bool = False) -> SliceRow:
    """One slice with a plausible standing."""
    transcripts = round(41_200 * share)
    pairs = round(transcripts * (0.31 if share > 0.05 else 0.12))
    words = pairs * 14
    errors = round(words * wer)
    radius = 0.005 / math.sqrt(share)
    days = history(wer / (1.25 if worse else 1.0), share, BEGAN + 8 * DAY if worse else math.inf, 2.1)
    standing = SliceStanding(
        verdict=verdict,
        learning=share < 0.015,
        gap=wer - 0.119,
        gap_low=wer - 0.119 - 1.6 * radius,
        gap_high=wer - 0.119 + 1.6 * radius,
        evidence=1.34 if worse else min(0.2, 0.004 / share),
        detectable_gap=2.4 * radius,
        words_missing=0 if verdict is not Verdict.INSUFFICIENT else round(9_000 * radius / 0.02),
        budget_spent=0.002,
        last_reference_at=NOW - (4_000 if share > 0.01 else 3.2 * DAY),
        windows=(("6h", wer, radius * 2.2, 40), ("1d", wer, radius * 1.5, 120), ("7d", wer, radius, 700)),
        history=days,
        rest_wer=0.119,
        learned_from=BEGAN,
        learned_until=BEGAN + 5 * DAY,
        baseline_ratio=1.6 if worse else 1.02,
    )
    return SliceRow(
        customer=customer,
        slice=slice_name(slice_),
        depth=len(slice_),
        transcripts=transcripts,
        pairs=pairs,
        counts=Counts(
            hits=words - round(0.8 * errors),
            substitutions=round(0.55 * errors),
            deletions=round(0.25 * errors),
            insertions=errors - round(0.55 * errors) - round(0.25 * errors),
        ),
        wer=wer,
        wer_low=max(wer - radius, 0.0),
        wer_high=wer + radius,
        clusters=pairs // 6,
        hallucinated_words=round(18 * share * 10),
        strict_errors=round(pairs * 0.06),
        strict_words=round(pairs * 1.1),
        standing=standing,
        missing_by_age=missing_by_age(transcripts, pairs),
    )


def missing_by_age(transcripts: int, pairs: int) -> tuple[tuple[str, int, int], ...]:
    """Spread over the fortnight; nothing of the newest day is corrected yet."""
    newest, next_days, week = (transcripts * days // DAYS for days in (1, 2, 4))
    older = transcripts - newest - next_days - week
    late = pairs * next_days // (2 * transcripts) if transcripts else 0
    weekly = pairs * week // transcripts if transcripts else 0
    return (
        ("<1d", newest, newest),
        ("1-3d", next_days, next_days - late),
        ("3-7d", week, week - weekly),
        ("7d+", older, older - (pairs - late - weekly)),
    )


def slices(customer: str = "northwind-health") -> list[tuple[Slice, SliceRow]]:
    """All traffic, two dimensions and their intersections."""
    made: list[tuple[Slice, SliceRow]] = []

    def add(slice_: Slice, share: float, wer: float, verdict: Verdict, worse: bool = False) -> None:
        made.append((slice_, row(customer, slice_, share, wer, verdict, worse=worse)))

    add((), 1.0, 0.127, Verdict.PARITY)
    for accent, share in ACCENTS.items():
        add((("accent", accent),), share, WER[accent] * (1.2 if accent == "yoruba" else 1), verdict_of(accent))
    for site, share in SITES.items():
        add((("deployment", site),), share, 0.131 if site == "clinical" else 0.121, Verdict.PARITY)
    for accent, share in ACCENTS.items():
        for site, part in SITES.items():
            if accent != "unknown":
                worse = (accent, site) == ("yoruba", "clinical")
                verdict = verdict_of(accent) if share * part > 0.04 or worse else Verdict.INSUFFICIENT
                slice_: Slice = (("accent", accent), ("deployment", site))
                add(slice_, share * part, WER[accent] * (1.5 if worse else 1), verdict, worse)
    return made


def verdict_of(accent: str) -> Verdict:
    if accent in DISPARITY:
        return Verdict.DISPARITY
    return Verdict.PARITY if accent in PARITY else Verdict.INSUFFICIENT


def transition(
    incident: str, at: float, state: IncidentState = IncidentState.FIRING, /, **changed: object
) -> Transition:
    """The demo's incident, with whatever a test changes."""
    fields: dict[str, object] = {
        "incident": incident,
        "at": at,
        "state": state,
        "level": Level.PAGE,
        "kind": IncidentKind.DRIFT,
        "direction": Direction.WORSE,
        "customer": "northwind-health",
        "slices": ("accent=yoruba&deployment=clinical",),
        "wer": 0.331,
        "wer_before": 0.158,
        "wer_rest": 0.119,
        "gap": None,
        "gap_low": None,
        "gap_high": None,
        "pairs": 214,
        "evidence": 1.34,
        "reason": "evidence_reached",
        "summary": "yoruba at clinical 33.1 % [28.4, 38.0], before 15.8 %, the rest 11.9 %, 214 corrected utterances, "
        "since 10 March 06:40; no other slice moved.",
        "since": BEGAN + 8.28 * DAY,
        "ratio": 2.1,
        "ratio_low": 1.7,
        "ratio_high": 2.6,
        **changed,
    }
    return Transition(**fields)  # type: ignore[arg-type]


def transitions() -> tuple[Transition, ...]:
    """A page and two tickets open, one resolved."""
    stale: dict[str, object] = {
        "level": Level.TICKET,
        "kind": IncidentKind.STALE,
        "slices": ("accent=scottish&deployment=contact-centre",),
        "wer": None,
        "wer_before": None,
        "ratio": None,
        "ratio_low": None,
        "ratio_high": None,
        "since": BEGAN + 3 * DAY,
        "pairs": 61,
        "evidence": 4.2e6,
        "summary": "scottish at contact-centre: none of the 48 sessions since 5 March was corrected; usually 31 % are.",
    }
    gap: dict[str, object] = {
        "level": Level.TICKET,
        "kind": IncidentKind.DISPARITY,
        "slices": ("accent=indian",),
        "wer": 0.231,
        "wer_before": None,
        "gap": 0.112,
        "gap_low": 0.061,
        "gap_high": 0.163,
        "pairs": 1_404,
        "evidence": 400.0,
        "ratio": 1.9,
        "ratio_low": 1.5,
        "ratio_high": 2.4,
        "since": None,
        "summary": "indian 23.1 % against 11.9 % for the rest of its strata, a standing gap of 11.2 points [6.1, 16.3] "
        "over 1,404 corrected utterances of 96 speakers.",
    }
    return (
        transition("stale-1", BEGAN + 5 * DAY, **stale),
        transition("gap-1", BEGAN + 7 * DAY, **gap),
        transition("stale-1", BEGAN + 6.6 * DAY, IncidentState.RESOLVED, **stale),
        transition("drift-1", BEGAN + 10.2 * DAY),
        transition("drift-1", BEGAN + 11.2 * DAY, IncidentState.UPDATED),
    )


def view(**changed: object) -> View:
    """Fourteen days of an invented hospital's traffic, with one page open."""
    fields: dict[str, object] = {
        "at": NOW,
        "started_at": NOW - 3_600,
        "dimensions": ("accent", "deployment"),
        "slices": tuple(made for _, made in slices()),
        "incidents": transitions(),
        "counters": {
            'records_consumed_total{topic="transcript",outcome="accepted"}': 41_150,
            'records_consumed_total{topic="transcript",outcome="clipped"}': 50,
            'records_consumed_total{topic="transcript",outcome="rejected"}': 31,
            'records_consumed_total{topic="reference",outcome="accepted"}': 13_402,
            'records_rejected_total{topic="transcript",reason="syntax"}': 19,
            'records_rejected_total{topic="transcript",reason="ts_future"}': 12,
            'fields_clipped_total{field="accent"}': 50,
            'references_total{outcome="scored",source="sampled"}': 12_610,
            'references_total{outcome="duplicate",source="sampled"}': 402,
            'references_total{outcome="superseded",source="sampled"}': 240,
            'references_total{outcome="waiting",source="organic"}': 150,
            "references_missing_total": 18_204,
            'reference_delay_seconds_bucket{le="60"}': 3,
            'reference_delay_seconds_bucket{le="86400"}': 9_000,
            'reference_delay_seconds_bucket{le="+Inf"}': 12_610,
            "reference_delay_seconds_count": 12_610,
            "reference_delay_seconds_sum": 1_100_000_000,
        },
        "gauges": {"pending_utterances": 10_386.0, "pending_bytes": 1.9e6, "waiting_references": 0.0},
        "budget": (account("northwind-health", 0.156, 0.114),),
        "config_sha256": "9c1f0e5ab7d4" + "0" * 52,
        **changed,
    }
    return View(**fields)  # type: ignore[arg-type]


def account(customer: str, granted: float, spent: float) -> Account:
    """Two slices and a daily look."""
    parts = (("all", "drift", 0.5), ("accent=england", "drift", 0.3), ("all", "calls", 0.2))
    return Account(
        customer=customer,
        pages=1.0,
        days=90.0,
        since=BEGAN,
        until=NOW,
        worse=Money(granted, spent),
        better=Money(granted / 10, spent / 10),
        spenders=tuple(
            Spender(name, by, Money(part * spent, part * spent), Money(part * spent / 10, part * spent / 10))
            for name, by, part in parts
        ),
    )


def moments_of(slice_: Slice, shown: SliceRow) -> SliceMoments:
    counts = shown.counts
    return SliceMoments(
        customer=shown.customer,
        slice=slice_,
        traffic=shown.transcripts,
        utterances=shown.pairs,
        reference_words=counts.reference_words,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        clusters=shown.clusters,
        errors_squared=counts.errors * 2.5,
        words_squared=counts.reference_words * 90.0,
        errors_times_words=counts.errors * 80.0,
    )


def snapshot(**changed: object) -> MetricsSnapshot:
    """`view()` with its moments."""
    return MetricsSnapshot(view=view(**changed), moments=tuple(moments_of(*made) for made in slices()))
