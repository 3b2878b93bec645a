"""Decides where claims are kept: one JSON file beside the state, changed as a whole, by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from monitor.adapters.files import write_atomically
from monitor.adapters.store_files import StateRefused
from monitor.core.claims import Claim, ClaimVerdict
from monitor.core.predicates import PredicateError, parse

FILE = "claims.json"
LOCK = "claims.lock"

BYTES_MAX = 1 << 29
"""All claims that may be open, each with its memory of persons, in a quarter of it."""


class _File(msgspec.Struct):
    version: int = 1
    claims: list[Claim] = []


def read_claims(folder: Path) -> list[Claim]:
    """All claims ever submitted here, oldest first. Raises StateRefused if the file is damaged."""
    path = folder / FILE
    try:
        if path.stat().st_size > BYTES_MAX:
            raise StateRefused(f"{path}: too large to be ours")
        return msgspec.json.decode(path.read_bytes(), type=_File).claims
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError:
        raise StateRefused(f"{path}: damaged, or of another version; restore a backup: it is evidence") from None


def verified_claims(folder: Path, names: Sequence[str]) -> dict[str, tuple[tuple[str, str], ...]]:
    """(id, predicate) of each customer's verified claims. Raises StateRefused, also for attributes that are no more."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for claim in read_claims(folder):
        if claim.verdict == ClaimVerdict.VERIFIED:
            try:
                parse(claim.where, names)
            except PredicateError as error:
                raise StateRefused(f"{folder / FILE}: claim {claim.id} does not fit `slices`: {error}") from None
            found[claim.customer] = (*found.get(claim.customer, ()), (claim.id, claim.where))
    return found


@contextmanager
def changed_claims(folder: Path) -> Iterator[list[Claim]]:
    """The claims, to be changed in place; written when the block ends well, and nobody else changes them meanwhile."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        claims = read_claims(folder)
        yield claims
        encoded = msgspec.json.Encoder(order="deterministic").encode(_File(claims=claims))
        write_atomically(folder / FILE, encoded)
    finally:
        os.close(lock)
