"""Decides where orders to learn anew are kept: one JSON file beside the state, read by an agent when it starts."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import msgspec

from monitor.adapters.files import write_atomically
from monitor.adapters.store_files import StateRefused
from monitor.core.records import Slice
from monitor.core.relearning import DONE_KEPT, Order
from monitor.core.slicing import slice_name, slice_named

FILE = "relearn.json"
SCHEMA = 1
BYTES_MAX = 1 << 20
"""DONE_KEPT orders of each of some ten customers, at 300 bytes."""


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    customer: str
    slice: str
    since: float


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema: int = SCHEMA
    orders: list[_Order] = []


def read_orders(folder: Path) -> dict[str, tuple[Order, ...]]:
    """Orders by customer. Raises StateRefused if the file is damaged."""
    found: dict[str, tuple[Order, ...]] = {}
    for one in _read(folder).orders:
        order = Order(id=one.id, slice=slice_named(one.slice), since=one.since)
        found[one.customer] = (*found.get(one.customer, ()), order)
    return found


def give_order(folder: Path, customer: str, slice_: Slice, since: float) -> Order:
    """Leave an order where the agent of this state folder reads it; the same one again is the same.

    since  event time after which units are learned from
    """
    name = slice_name(slice_)
    identity = blake2b("\x1f".join((customer, name, repr(since))).encode(), digest_size=6).hexdigest()
    document = _read(folder)
    kept = [one for one in document.orders if one.id != identity]
    mine = [one.id for one in kept if one.customer == customer][: -DONE_KEPT + 1]
    kept = [one for one in kept if one.id not in mine]
    orders = [*kept, _Order(identity, customer, name, since)]
    write_atomically(folder / FILE, msgspec.json.format(msgspec.json.encode(_File(orders=orders)), indent=1) + b"\n")
    return Order(id=identity, slice=slice_, since=since)


def _read(folder: Path) -> _File:
    path = folder / FILE
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
        document = msgspec.json.decode(content, type=_File)
    except FileNotFoundError:
        return _File()
    except msgspec.MsgspecError:
        raise StateRefused(f"{path}: damaged, or of another version; move it away and order again") from None
    if document.schema != SCHEMA:
        raise StateRefused(f"{path}: of another version (schema {SCHEMA} is wanted); move it away and order again")
    return document
