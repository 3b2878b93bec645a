"""Decides what `wervane claim` says: what was submitted, and what came of it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.options import (
    EXIT_INSUFFICIENT,
    EXIT_NO,
    ConfigOption,
    CustomerOption,
    FromOption,
    JsonOption,
    as_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.claims import Claim

claim = typer.Typer(
    help="Test claims that some people have more errors than others, on references that are yet to come.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@claim.command()
def submit(
    where: Annotated[str, typer.Option(metavar="PREDICATE", help="Who, e.g. 'accent=yoruba & device=phone'.")],
    gap: Annotated[float, typer.Option(metavar="X", help="How much higher their WER is, above 0 and at most 1.")],
    config: ConfigOption = None,
    folder: FromOption = None,
    customer: CustomerOption = None,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who claims it.")] = "",
    json: JsonOption = False,
) -> None:
    """Submit a claim: it is tested on references of what begins from now on."""
    from monitor.claiming import submit as submitted
    from monitor.config import load_settings

    settings = load_settings(config, os.environ)
    place = folder or Path(settings.state.path)
    made, new = submitted(settings, place, where=where, gap=gap, customer=customer, by=by, now=time.time())
    if json:
        typer.echo(as_json({"new": new, **_document(made)}))
        return
    typer.echo(_line(made) if new else f"submitted before: {_line(made)}")
    typer.echo("`wervane claim verify` bets on what comes: run it daily, at least every four weeks")


@claim.command("list")
def listed(config: ConfigOption = None, folder: FromOption = None, json: JsonOption = False) -> None:
    """List claims as they were last verified."""
    from monitor.adapters.claims_file import read_claims
    from monitor.config import load_settings

    settings = load_settings(config, os.environ)
    _show(read_claims(folder or Path(settings.state.path)), json=json)


@claim.command()
def verify(
    identity: Annotated[str | None, typer.Argument(metavar="[ID]", help="One claim; all of them without.")] = None,
    config: ConfigOption = None,
    folder: FromOption = None,
    customer: CustomerOption = None,
    json: JsonOption = False,
) -> None:
    """Bet on what came since; exit 0 if all are verified, 1 if one is not supported, 3 if evidence is missing."""
    from monitor.claiming import verify as verified
    from monitor.config import load_settings
    from monitor.core.claims import ClaimVerdict

    settings = load_settings(config, os.environ)
    claims = verified(settings, folder or Path(settings.state.path), identity, customer)
    _show(claims, json=json)
    verdicts = {claim.verdict for claim in claims}
    if ClaimVerdict.NOT_SUPPORTED in verdicts:
        raise typer.Exit(EXIT_NO)
    if not claims or verdicts - {ClaimVerdict.VERIFIED}:
        raise typer.Exit(EXIT_INSUFFICIENT)


def _show(claims: Sequence[Claim], *, json: bool) -> None:
    if json:
        typer.echo(as_json([_document(claim) for claim in claims]))
        return
    for claim in claims:
        typer.echo(_line(claim))
    if not claims:
        typer.echo("no claim was submitted")


def _document(claim: Claim) -> dict[str, object]:
    from monitor.adapters.instants import instant
    from monitor.core.claims import words_missing
    from monitor.core.evidence import mean

    return {
        "id": claim.id,
        "customer": claim.customer,
        "where": claim.where,
        "gap": claim.gap,
        "by": claim.by,
        "verdict": claim.verdict,
        "submitted_at": instant(claim.submitted_at),
        "decided_at": None if claim.decided_at is None else instant(claim.decided_at),
        "until": instant(claim.until),
        "share": claim.share,
        "evidence": mean(claim.evidence),
        "evidence_needed": 1.0 / claim.share,
        "evidence_against": mean(claim.against),
        "sessions": claim.units,
        "reference_words": round(claim.words),
        "found_gap": claim.found_gap,
        "words_missing": words_missing(claim) if claim.open else None,
    }


def _line(claim: Claim) -> str:
    from monitor.adapters.instants import instant
    from monitor.core.claims import PERSONS_MAX, ClaimVerdict, words_missing
    from monitor.core.evidence import mean

    said = f"{claim.id} {claim.customer}: {claim.where} is {100 * claim.gap:.3g} points worse"
    found = "" if claim.found_gap is None else f", {100 * claim.found_gap:.1f} points in {claim.words:,.0f} words"
    match claim.verdict:
        case ClaimVerdict.VERIFIED:
            meaning = f"verified: surely more than {50 * claim.gap:.3g} points{found}"
        case ClaimVerdict.NOT_SUPPORTED:
            meaning = f"not supported: surely less than claimed{found}"
        case ClaimVerdict.LAPSED:
            meaning = "lapsed: not verified before its units were forgotten; submit it again"
        case ClaimVerdict.UNDECIDED:
            heard = f"{PERSONS_MAX:,} persons were heard without an answer, and no more are remembered"
            meaning = f"undecided: {heard}; a claim of a larger or smaller gap may have one{found}"
        case ClaimVerdict.INSUFFICIENT:
            missing = words_missing(claim)
            need = "nobody of the group was corrected so far" if missing is None else f"about {missing:,} words missing"
            evidence = f"evidence {mean(claim.evidence):.3g} of {1 / claim.share:,.0f}"
            meaning = f"insufficient since {instant(claim.submitted_at)}: {need}, {evidence}{found}"
    return f"{said}: {meaning}"
