"""Decides how a real broker comes to hold batches that cannot be read.

A broker checks what is produced: the CRC, the count, and that the payload expands to whole records. So poison comes in
by two doors. `append` sends a batch byte for byte; what passes is what Java reads and Python does not (`PASSABLE`),
and what is merely enormous. `damage` changes batches in the log's files while the broker is stopped in order: started
again, it trusts what it closed cleanly and serves it as it is.
"""

from __future__ import annotations

import gzip
import io
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import kafka.codec
from crc32c import crc32c

from tests.kafka.broker import Broker

HEADER = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and last timestamp, producer id
and epoch, base sequence, count of records; the records follow."""

CRC_AT, CHECKED_FROM, LAST_DELTA_AT, COUNT_AT = 17, 21, 23, 57
LOG_APPEND_BYTES = 12
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

_ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": kafka.codec.gzip_encode,
    "snappy": kafka.codec.snappy_encode,
    "lz4": kafka.codec.lz4_encode,
    "zstd": kafka.codec.zstd_encode,
}


class Record(NamedTuple):
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[bytes, bytes | None]] = ()


# ------------------------------------------------------------------------------------------------------- making batches
def plain(records: Sequence[Record]) -> bytes:
    """The records as they stand in a batch, not compressed."""
    return b"".join(_record(number, record) for number, record in enumerate(records))


def batch(records: Sequence[Record], codec: str = "none") -> bytes:
    """A good batch, as any producer makes it."""
    return sealed(_ENCODERS[codec](plain(records)), codec, len(records))


def sealed(payload: bytes, codec: str, count: int) -> bytes:
    """A batch around any payload, with the CRC that belongs to it."""
    now = int(time.time() * 1000)  # retention deletes what is old within a second
    rest = HEADER.size - LOG_APPEND_BYTES + len(payload)
    header = HEADER.pack(0, rest, -1, 2, 0, CODECS[codec], count - 1, now, now, -1, -1, -1, count)
    return with_crc(header + payload)


def empty_control_batch() -> bytes:
    """What log cleaning may leave of a transaction's end: a header that names its producer, and nothing in it."""
    transactional, control, producer = 0x10, 0x20, 7
    rest = HEADER.size - LOG_APPEND_BYTES
    return with_crc(HEADER.pack(0, rest, -1, 2, 0, transactional | control, 0, 0, 0, producer, 0, -1, 0))


def with_crc(whole: bytes) -> bytes:
    return whole[:CRC_AT] + struct.pack(">I", crc32c(whole[CHECKED_FROM:])) + whole[CHECKED_FROM:]


def bomb(codec: str, expanded_bytes: int) -> bytes:
    """One record whose value is that many zero bytes, compressed piece by piece where the codec can."""
    head, tail = _around_value(expanded_bytes)
    pieces = _zeros(head, expanded_bytes, tail)
    return sealed(_STREAMS[codec](pieces), codec.partition(" ")[0], 1)


def header_bomb(headers: int) -> bytes:
    """One record with that many empty headers, gzip: 2 bytes each in the batch, 64 and more in Python."""
    return batch([Record(b"", headers=[(b"", None)] * headers)], "gzip")


# --------------------------------------------------------------------- what a broker takes and kafka-python cannot read
def _trailing_garbage(records: Sequence[Record]) -> bytes:
    """Java's gzip ignores what follows the last member; Python's calls it damage."""
    return sealed(kafka.codec.gzip_encode(plain(records)) + b"garbage", "gzip", len(records))


def _wrong_content_checksum(records: Sequence[Record]) -> bytes:
    """Kafka never compares an LZ4 frame's checksum of its content; the library does."""
    frame = kafka.codec.lz4.compress(plain(records), block_linked=False, content_checksum=True, store_size=False)
    return sealed(frame[:-4] + bytes(byte ^ 0xFF for byte in frame[-4:]), "lz4", len(records))


def _half_a_length(records: Sequence[Record]) -> bytes:
    """xerial's reader ends at a block length that is cut off; kafka-python unpacks it."""
    return sealed(kafka.codec.snappy_encode(plain(records)) + b"\0\0", "snappy", len(records))


def _header_name_not_text(records: Sequence[Record]) -> bytes:
    """Java replaces what is not UTF-8, kafka-python refuses it."""
    spoiled = [record._replace(headers=[(b"\xff\xfe", b"")]) for record in records]
    return batch(spoiled, "zstd")


def _header_name_not_text_plain(records: Sequence[Record]) -> bytes:
    return batch([record._replace(headers=[(b"\xff\xfe", b"")]) for record in records])


PASSABLE: Mapping[str, Callable[[Sequence[Record]], bytes]] = {
    "gzip with garbage behind it": _trailing_garbage,
    "lz4 with a wrong content checksum": _wrong_content_checksum,
    "snappy with half a block length": _half_a_length,
    "zstd with a header name that is not text": _header_name_not_text,
    "plain with a header name that is not text": _header_name_not_text_plain,
}


# ---------------------------------------------------------------------------------------------------- by the front door
class Refused(Exception):
    """The broker's error code."""


NOT_YET = (3, 6)
"""A broker learns of a new topic, and that it leads it, a little after the cluster does."""


def append(broker: Broker, topic: str, partition: int, whole: bytes) -> int:
    """Send one batch as it is, Produce version 7; the offset it got. Raises Refused."""
    deadline = time.monotonic() + 20
    while True:
        code, offset = _produce(broker.bootstrap, topic.encode(), partition, whole)
        if code == 0:
            return offset
        if code not in NOT_YET or time.monotonic() > deadline:
            raise Refused(code)
        time.sleep(0.02)


def _produce(address: str, topic: bytes, partition: int, whole: bytes) -> tuple[int, int]:
    host, _, port = address.rpartition(":")
    body = struct.pack(">hhihhhii", 0, 7, 1, -1, -1, 1, 30_000, 1)
    body += struct.pack(f">h{len(topic)}siii", len(topic), topic, 1, partition, len(whole)) + whole
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", _exactly(connection, 4))
        answer = _exactly(connection, size)
    code, offset = struct.unpack_from(">hq", answer, 4 + 4 + 2 + len(topic) + 4 + 4)
    return code, offset


def _exactly(connection: socket.socket, size: int) -> bytes:
    answer = connection.recv(size, socket.MSG_WAITALL)
    assert len(answer) == size, "the broker closed the connection"
    return answer


# ----------------------------------------------------------------------------------------------------- by the back door
Damage = Callable[[bytes], bytes]
"""A batch as it lies in the file -> as it shall lie there; of the same length."""


def damage(broker: Broker, topic: str, changes: Mapping[tuple[int, int], Damage]) -> None:
    """Change the batches that begin at (partition, offset), all in one stop of the broker."""
    broker.stop()
    for (partition, offset), change in changes.items():
        (path,) = (broker.folder / "log" / f"{topic}-{partition}").glob("*.log")
        content = bytearray(path.read_bytes())
        start, end = next((start, end) for base, start, end in _batches(content) if base == offset)
        changed = change(bytes(content[start:end]))
        assert len(changed) == end - start, "the index beside the file would point astray"
        content[start:end] = changed
        path.write_bytes(content)
    broker.start()


def bad_crc(whole: bytes) -> bytes:
    """A bit that the disk lost, in the middle of the records."""
    return _flipped(whole, (HEADER.size + len(whole)) // 2)


def bad_payload(whole: bytes) -> bytes:
    """Compressed bytes that do not expand, under the right CRC: a producer's broken memory."""
    middle = (HEADER.size + len(whole)) // 2
    return with_crc(whole[: HEADER.size + 2] + b"\xff" * (middle - HEADER.size - 2) + whole[middle:])


def count_too_low(whole: bytes) -> bytes:
    return with_crc(whole[:COUNT_AT] + struct.pack(">i", _count(whole) - 1) + whole[HEADER.size :])


def count_too_high(whole: bytes) -> bytes:
    return with_crc(whole[:COUNT_AT] + struct.pack(">i", _count(whole) + 1) + whole[HEADER.size :])


def unknown_codec(whole: bytes) -> bytes:
    attributes = (int.from_bytes(whole[CHECKED_FROM : CHECKED_FROM + 2], "big") & ~7) | 7
    return with_crc(whole[:CHECKED_FROM] + attributes.to_bytes(2, "big") + whole[CHECKED_FROM + 2 :])


def lying_end(whole: bytes) -> bytes:
    """A flipped bit in the last offset delta: the header claims 1,024 offsets more, and the CRC shows that it lies."""
    return _flipped(whole, LAST_DELTA_AT + 2, 0x04)


def old_format(whole: bytes) -> bytes:
    """The format's number is outside what the CRC covers."""
    return whole[:16] + b"\x00" + whole[17:]


def _flipped(whole: bytes, place: int, bits: int = 0x10) -> bytes:
    return whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :]


def _count(whole: bytes) -> int:
    return int.from_bytes(whole[COUNT_AT : COUNT_AT + 4], "big")


def _batches(content: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    start = 0
    while start + LOG_APPEND_BYTES <= len(content):
        base, length = struct.unpack_from(">qi", content, start)
        if length <= 0:
            return  # room taken in advance
        yield base, start, start + LOG_APPEND_BYTES + length
        start += LOG_APPEND_BYTES + length


# -------------------------------------------------------------------------------------------------------------- private
def _record(number: int, record: Record) -> bytes:
    body = bytearray(b"\0\0")  # attributes, timestamp delta
    body += _varint(number)
    for part in (record.key, record.value):
        body += _varint(-1) if part is None else _varint(len(part)) + part
    body += _varint(len(record.headers))
    for name, value in record.headers:
        body += _varint(len(name)) + name + (_varint(-1) if value is None else _varint(len(value)) + value)
    return bytes(_varint(len(body)) + body)


def _around_value(size: int) -> tuple[bytes, bytes]:
    """What stands before and after a record's value of that size: no key, no headers."""
    before = b"\0\0\0" + _varint(-1) + _varint(size)
    after = _varint(0)
    return _varint(len(before) + size + len(after)) + before, after


def _varint(number: int) -> bytes:
    """Zigzag, seven bits a byte, lowest first."""
    rest = (number << 1) ^ (number >> 63)
    written = bytearray()
    while rest > 0x7F:
        written.append(0x80 | (rest & 0x7F))
        rest >>= 7
    written.append(rest)
    return bytes(written)


_PIECE = 1 << 20


def _zeros(head: bytes, size: int, tail: bytes) -> Iterator[bytes]:
    yield head
    for start in range(0, size, _PIECE):
        yield bytes(min(_PIECE, size - start))
    yield tail


def _gzip_stream(pieces: Iterator[bytes]) -> bytes:
    written = io.BytesIO()
    with gzip.GzipFile(fileobj=written, mode="wb") as stream:
        for piece in pieces:
            stream.write(piece)
    return written.getvalue()


def _zstd_stream(pieces: Iterator[bytes]) -> bytes:
    stream = kafka.codec.zstd.ZstdCompressor(write_content_size=False).compressobj()
    return b"".join([*(stream.compress(piece) for piece in pieces), stream.flush()])


def _lz4_stream(pieces: Iterator[bytes]) -> bytes:
    stream = kafka.codec.lz4.LZ4FrameCompressor(block_linked=False)
    return b"".join([stream.begin(), *(stream.compress(piece) for piece in pieces), stream.flush()])


def _snappy_stream(pieces: Iterator[bytes]) -> bytes:
    """xerial's framing."""
    frame = bytearray(b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1))
    for piece in pieces:
        block = _snappy_block(piece)
        frame += struct.pack(">i", len(block)) + block
    return bytes(frame)


def _snappy_block(content: bytes) -> bytes:
    block: bytes = kafka.codec.snappy.compress(content)
    return block


_STREAMS: Mapping[str, Callable[[Iterator[bytes]], bytes]] = {
    "gzip": _gzip_stream,
    "snappy": _snappy_stream,
    "snappy in one block": lambda pieces: _snappy_block(b"".join(pieces)),
    "lz4": _lz4_stream,
    "zstd": _zstd_stream,
}
