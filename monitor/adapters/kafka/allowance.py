"""Decides how much one `poll` brings at most, in bytes and in headers.

kafka-python counts records only: 2,000 of them may be 2,000 messages of 1 MiB, which gzip packs into 2 MB, well within
every fetch limit. And a header takes two bytes in a batch but 64 and more in Python: 31 KB of gzip become 1.2 GB. Here
a poll ends early, when its bytes are used up; the rest comes with the next. Nothing is lost but a record with more
headers than anything but an attack has: its batch is poison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

BYTES_A_RECORD = 8 * 1024
"""A poll of n records brings at most n times this, and one record more: 16 MiB for 2,000.

Source: transcripts of real streams are 0.4 to 0.8 KB, so ordinary polls reach the number of records first. At half, a
stream of 4 KB messages would take two polls for one; at double, each process needs 16 MiB more under attack.
"""

HEADERS_MAX = 100_000
"""Headers of one record. Real records have about ten. At half, nothing real is refused either; at double, one record
takes 13 MB instead of 6.4 MB, and 0.1 s instead of 0.05 s to read."""

_HEADER_BYTES = 64
"""What an empty header takes in Python: a tuple of 56 bytes and its place in a list."""

_HEADER_BYTES_LEAST = 2
"""What an empty header takes in a batch: shorter records need no look at their number of headers."""


class TooManyHeaders(Exception):
    """A record has more than HEADERS_MAX."""

    def __init__(self) -> None:
        super().__init__(f"a record has more than {HEADERS_MAX} headers")


def install() -> None:
    """Make kafka-python keep to it. Calling it again changes nothing."""
    Fetcher._append = _append_within
    Fetcher.PartitionRecords.take = _take_within
    DefaultRecordBatch._maybe_uncompress = _uncompress_within


def refuse_too_many_headers(records: bytearray, start: int, count: int) -> None:
    """Look at the long ones among the records, without reading them. Raises TooManyHeaders. What is damaged is left for
    the reader to find.
    """
    at = start
    try:
        for _ in range(count):
            length, at = decode_varint(records, at)
            if length < 0:
                return
            if length > HEADERS_MAX * _HEADER_BYTES_LEAST and _headers(records, at) > HEADERS_MAX:
                raise TooManyHeaders
            at += length
    except (IndexError, ValueError):
        return


# -------------------------------------------------------------------------------------------------------------- private
class _Record(Protocol):
    headers: Sequence[object]


class _Reader(Protocol):
    """The part of kafka-python's PartitionRecords that is used here."""

    record_iterator: Iterator[_Record] | None
    bytes_read: int


class _Batch(Protocol):
    """The part of kafka-python's DefaultRecordBatch that is used here."""

    _decompressed: bool
    _buffer: bytearray
    _pos: int
    records_count: int


_append = Fetcher._append
_take = Fetcher.PartitionRecords.take
_uncompress = DefaultRecordBatch._maybe_uncompress


def _append_within(fetcher: object, drained: object, reader: _Reader, records_max: int, update_offsets: bool) -> int:
    """How much of `records_max` was used up: by number or by bytes, whichever is more."""
    before = reader.bytes_read
    taken: int = _append(fetcher, drained, reader, records_max, update_offsets)
    return max(taken, (reader.bytes_read - before) // BYTES_A_RECORD)


def _take_within(reader: _Reader, records_max: int) -> list[_Record]:
    whole = reader.record_iterator
    assert whole is not None, "a reader is asked until it is drained"
    reader.record_iterator = _until(reader, whole, reader.bytes_read + records_max * BYTES_A_RECORD)
    try:
        records: list[_Record] = _take(reader, records_max)
    finally:
        # None: drained meanwhile.
        if reader.record_iterator is not None:
            reader.record_iterator = whole
    return records


def _until(reader: _Reader, whole: Iterator[_Record], bytes_read: int) -> Iterator[_Record]:
    for record in whole:
        if record.headers:
            reader.bytes_read += _HEADER_BYTES * len(record.headers)
        yield record
        if reader.bytes_read >= bytes_read:
            return


def _uncompress_within(batch: _Batch) -> None:
    first = not batch._decompressed
    _uncompress(batch)
    if first and len(batch._buffer) > HEADERS_MAX * _HEADER_BYTES_LEAST:
        refuse_too_many_headers(batch._buffer, batch._pos, batch.records_count)


def _headers(records: bytearray, start: int) -> int:
    """How many headers the record says it has, whose length ends at `start`."""
    _, at = decode_varint(records, start)  # attributes
    _, at = decode_varint(records, at)  # timestamp
    _, at = decode_varint(records, at)  # offset
    key, at = decode_varint(records, at)
    value, at = decode_varint(records, at + max(key, 0))
    headers: int = decode_varint(records, at + max(value, 0))[0]
    return headers
