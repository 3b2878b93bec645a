"""Decides what `wervane budget` shows: what a customer's budget of false pages was spent on, and what is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from monitor.commands.options import ConfigOption, CustomerOption, FromOption, JsonOption, as_json, in_columns

if TYPE_CHECKING:
    from monitor.core.records import Account, Money

NOBODY = "(nobody)"
"""Granted while nobody bet: days of learning, depths without a slice, shares given up when learning was re-opened."""


def budget(
    config: ConfigOption = None,
    folder: FromOption = None,
    customer: CustomerOption = None,
    json: JsonOption = False,
) -> None:
    """Show the budget of false pages: granted, spent and left, by slice and direction."""
    from monitor.config import load_settings
    from monitor.inspecting import read_deciders

    settings = load_settings(config, os.environ)
    shown = [decider.account() for decider in read_deciders(settings, folder, customer).values()]
    if json:
        typer.echo(as_json([_document(account) for account in shown]))
        return
    for account in shown:
        for line in _lines(account):
            typer.echo(line)


def _document(account: Account) -> dict[str, object]:
    from monitor.adapters.instants import instant

    return {
        "customer": account.customer,
        "pages": account.pages,
        "days": account.days,
        "since": None if account.since is None else instant(account.since),
        "until": None if account.since is None else instant(account.until),
        "worse": _money(account.worse),
        "better": _money(account.better),
        "spenders": [
            {
                "slice": spender.slice,
                "by": spender.by,
                "worse": _money(spender.worse),
                "better": _money(spender.better),
            }
            for spender in account.spenders
        ],
    }


def _money(money: Money) -> dict[str, float]:
    return {"granted": money.granted, "spent": money.spent, "left": money.left}


def _lines(account: Account) -> Iterator[str]:
    """A table in the order of generality; what nobody took is a row of its own, so that columns add up."""
    from monitor.adapters.instants import instant
    from monitor.core.records import Money

    yield f"{account.customer}: {account.pages:g} expected false pages in {account.days:g} days"
    if account.since is None:
        yield "  nothing is granted before the first session has closed"
        return
    yield f"  event time {instant(account.since)} to {instant(account.until)}"
    nobody = account.worse.granted - sum(spender.worse.granted for spender in account.spenders)
    rows = [["slice", "by", "granted", "spent", "left", "better: spent"]]
    rows += [[spender.slice, spender.by, *_row(spender.worse, spender.better)] for spender in account.spenders]
    rows.append([NOBODY, "", *_row(Money(max(nobody, 0.0), 0.0), Money(0.0, 0.0))])
    rows.append(["total", "", *_row(account.worse, account.better)])
    yield from (f"  {line}" for line in in_columns(rows, left=(0, 1)))


def _row(worse: Money, better: Money) -> list[str]:
    return [f"{amount:.6f}" for amount in (worse.granted, worse.spent, worse.left, better.spent)]
