"""Decides what becomes of a submission, and lets claims bet on what a state has closed since.

A live agent's clock is the wall's; a replay's is its own stream: what a later replay of more into the same folder
brings is what came after.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monitor.adapters.claims_file import changed_claims
from monitor.adapters.decisions import FILE as REPLAYED
from monitor.config import ConfigError, Settings
from monitor.core.claims import Claim, ClaimVerdict, share_of, take
from monitor.core.deciding import Decider
from monitor.core.matched_gaps import fixed_tasks
from monitor.core.predicates import Predicate, PredicateError, parse, unseen
from monitor.core.slicing import Slicing
from monitor.inspecting import read_deciders, unknown_customer
from monitor.settings_source import Problem

OPEN_MAX = 200
"""Open claims of one customer: beyond it nobody reads them, and `verify` takes minutes."""
CLAIMS_MAX = 10_000
"""Claims ever submitted to one folder; the last would need evidence of 3e7."""
BY_MAX = 80


def submit(
    settings: Settings,
    folder: Path,
    *,
    where: str,
    gap: float,
    customer: str | None,
    by: str,
    now: float,
) -> tuple[Claim, bool]:
    """The claim, and whether it is new: an open claim that says the same is that claim.

    Raises ConfigError with every problem (and nothing is changed), StateRefused.
    """
    deciders = read_deciders(settings, folder)
    problems, name = [], customer
    if name is not None and name not in deciders:
        problems.append(unknown_customer(name, deciders, folder))
    elif name is None:
        name = next(iter(deciders)) if len(deciders) == 1 else None
        if name is None:
            known = ", ".join(sorted(deciders)[:10]) or "none yet"
            problems.append(Problem(path="--customer", got="none", want=f"one of the customers: {known}"))
    if not 0.0 < gap <= 1.0:  # NaN included
        want = "a gap in WER, above 0 and at most 1"
        problems.append(Problem(path="--gap", got=f"{gap:g}", want=want, example="0.05"))
    if len(by) > BY_MAX or not by.isprintable():
        problems.append(Problem(path="--by", got=f"{len(by)} characters", want=f"at most {BY_MAX} printable ones"))
    decider = None if name is None else deciders.get(name)
    slicing = Slicing(settings.slices, "") if decider is None else decider.slicing
    predicate, more = _predicate(where, slicing, decider)
    if problems or more or predicate is None or decider is None or name is None:
        raise ConfigError([*problems, *more])
    replayed = (folder / REPLAYED).is_file()
    at = decider.last_event_at if replayed else max(now, decider.last_event_at)
    with changed_claims(folder) as claims:
        made = _made(claims, slicing, predicate, name, gap, by, at)
        new = made not in claims
        if new:
            claims.append(made)
    return made, new


def _predicate(where: str, slicing: Slicing, decider: Decider | None) -> tuple[Predicate | None, list[Problem]]:
    try:
        predicate = parse(where, slicing.names, slicing.settings.canonical)
    except PredicateError as error:
        path = f"--where, position {error.position}"
        return None, [Problem(path=path, got=error.got, want=error.want)]
    if decider is None:
        return predicate, []
    seen = {
        name: {row.labels[slicing.names.index(name)] for row in decider.closed()} | set(slicing.values(name))
        for name in predicate.names
    }
    problems = []
    for name, value, nearest in unseen(predicate, seen):
        want = f"a value that was seen: {nearest or ', '.join(sorted(seen[name])[:10]) or 'none of it was so far'}"
        problems.append(Problem(path="--where", got=f'{name}="{value}"', want=want))
    return predicate, problems


def _made(
    claims: Sequence[Claim], slicing: Slicing, predicate: Predicate, customer: str, gap: float, by: str, at: float
) -> Claim:
    """A new claim, or the open one that says the same: asking twice buys no second chance."""
    own = [claim for claim in claims if claim.customer == customer]
    for claim in own:
        if claim.open and (claim.where, claim.gap) == (str(predicate), gap):
            return claim
    for count, most, what in ((sum(c.open for c in own), OPEN_MAX, "open"), (len(claims), CLAIMS_MAX, "in all")):
        if count >= most:
            raise ConfigError([Problem(path="claim submit", got=f"{count} claims {what}", want=f"fewer than {most}")])
    number = len(own) + 1
    verified = sum(claim.verdict == ClaimVerdict.VERIFIED for claim in own)
    settings = slicing.settings
    return Claim(
        id=f"c{len(claims) + 1}",
        number=number,
        customer=customer,
        where=str(predicate),
        gap=gap,
        share=share_of(number, verified),
        submitted_at=at,
        until=at,
        tasks=fixed_tasks(settings.strata, predicate.names, settings.demographics),
        by=by,
    )


def verify(settings: Settings, folder: Path, wanted: str | None, customer: str | None) -> list[Claim]:
    """Let open claims bet on what closed since; all that were asked for, decided ones as they are.

    Raises ConfigError for an id that nobody submitted, StateRefused.
    """
    deciders = read_deciders(settings, folder, customer)
    with changed_claims(folder) as claims:
        shown = [claim for claim in claims if wanted in (None, claim.id) and customer in (None, claim.customer)]
        if wanted is not None and not shown:
            known = ", ".join(claim.id for claim in claims[-10:]) or "none was submitted"
            raise ConfigError([Problem(path="ID", got=wanted, want=f"a claim's: {known}")])
        for claim in shown:
            decider = deciders.get(claim.customer)
            if claim.open and decider is not None:
                _advance(claim, decider)
    return shown


def _advance(claim: Claim, decider: Decider) -> None:
    names = decider.slicing.names
    if decider.closed_until is not None:
        try:
            predicate = parse(claim.where, names)
        except PredicateError as error:
            want = f"the attributes it was submitted with ({error}); give their configuration by --config"
            raise ConfigError([Problem(path=claim.id, got=claim.where, want=want)]) from None
        take(claim, predicate, names, decider.closed(), decider.closed_until, decider.remembers_since)
