"""Decides how much a compressed batch may expand to before it is poison.

kafka-python decompresses a batch whole, however large it becomes: 102 KB of gzip expand to 105 MB in one poll, whatever
the fetch limits say. The decoders here give byte for byte what the client's own give, and stop at BATCH_BYTES_MAX.
`install` puts them into the client; whoever builds a consumer calls it first.
"""

from __future__ import annotations

import struct
import zlib

import kafka.codec as client
import kafka.record.default_records as current_format
import kafka.record.legacy_records as legacy_format
import kafka.record.util as checksums

from monitor.adapters.kafka import allowance

BATCH_BYTES_MAX = 32 * 1024 * 1024
"""Bytes that one batch may expand to.

Source: transcripts of real streams compress 2.1 to 7.2 times (snappy .. zstd level 19), so a full batch of Kafka's
default `max.message.bytes` (1 MiB) expands to 7 MiB, one of a topic with 4 MiB to 29 MiB; a message of the contract has
at most 1 MiB. The client holds an expanded batch twice for a moment.
At half, a topic with 4 MiB batches is quarantined although every record in it is good. At double, a bomb costs 32 MiB
more in each of the agent's processes, and a batch just below the limit 64 MiB more.
"""

_PIECE_BYTES = 1024 * 1024
"""Bytes decompressed between two looks at the limit. At half, the larger ones of ordinary batches take two calls
instead of one; at double, a bomb takes 2 MiB more before it is noticed."""

_LZ4_EXPANSION_MAX = 255
"""LZ4 cannot expand further: a byte of a match length adds 255 bytes."""


class BatchRefused(Exception):
    """This compressed batch cannot or must not be expanded. Says which codec and why; never content."""


class BatchTooLarge(BatchRefused):
    """It expands to more than BATCH_BYTES_MAX."""

    def __init__(self, codec: str) -> None:
        super().__init__(f"a {codec} batch expands to more than {BATCH_BYTES_MAX} bytes")


def gzip_decode(payload: bytes | memoryview) -> bytes:
    """As kafka.codec.gzip_decode: any number of gzip members, zero bytes after a member are padding."""
    expanded = _Expanded("gzip")
    rest: bytes | memoryview = payload
    try:
        while len(rest) > 0:
            member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            while not member.eof:
                piece = member.decompress(rest, _PIECE_BYTES)
                rest = member.unconsumed_tail
                if not piece and not rest and not member.eof:
                    raise BatchRefused("a gzip batch ends in the middle")
                expanded.add(piece)
            rest = member.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise BatchRefused("a gzip batch is damaged") from error
    return expanded.whole()


def snappy_decode(payload: bytes) -> bytes:
    """As kafka.codec.snappy_decode: one raw block, or xerial's framing of many."""
    expanded = _Expanded("snappy")
    if not client._detect_xerial_stream(payload):
        expanded.add(_snappy_block(payload, BATCH_BYTES_MAX))
        return expanded.whole()
    cursor = _XERIAL_HEADER_BYTES
    while cursor < len(payload):
        start = cursor + _XERIAL_LENGTH.size
        if start > len(payload):
            raise BatchRefused("a snappy batch ends in the middle")
        (length,) = _XERIAL_LENGTH.unpack_from(payload, cursor)
        cursor = start + length
        if length <= 0 or cursor > len(payload):
            raise BatchRefused("a snappy batch is damaged")
        expanded.add(_snappy_block(payload[start:cursor], expanded.left))
    return expanded.whole()


def lz4_decode(payload: bytes) -> bytes:
    """As kafka.codec.lz4_decode: the first frame, whatever follows it."""
    try:
        if len(payload) * _LZ4_EXPANSION_MAX <= BATCH_BYTES_MAX and _lz4_says_its_size(payload) <= BATCH_BYTES_MAX:
            # It cannot become too large, and one call is quickest.
            whole: bytes = client.lz4.decompress(payload)
            return whole
        expanded = _Expanded("lz4")
        frame = client.lz4.LZ4FrameDecompressor()
        piece: bytes = frame.decompress(payload, max_length=_PIECE_BYTES)
        while not frame.eof:
            expanded.add(piece)
            if frame.needs_input:
                raise BatchRefused("an lz4 batch ends in the middle")
            piece = frame.decompress(b"", max_length=_PIECE_BYTES)
        expanded.add(piece)
    except RuntimeError as error:
        raise BatchRefused("an lz4 batch is damaged") from error
    return expanded.whole()


def zstd_decode(payload: bytes) -> bytes:
    """As kafka.codec.zstd_decode: any number of frames. A frame that ends early gives what it held: the records in it
    are then too few, and the client says so.
    """
    expanded = _Expanded("zstd")
    try:
        with client.zstd.ZstdDecompressor().stream_reader(payload, read_across_frames=True) as reader:
            while piece := reader.read(_PIECE_BYTES):
                expanded.add(piece)
    except client.zstd.ZstdError as error:
        raise BatchRefused("a zstd batch is damaged") from error
    return expanded.whole()


def install() -> None:
    """Make kafka-python decompress with these, and keep to `allowance`. Calling it again changes nothing.

    The client has no setting for it, so its modules' names are replaced; the test of this module fails if a new version
    calls its decoders by other names. ModuleNotFoundError if a codec's library is missing: every batch compressed by it
    would be taken for poison.
    """
    missing = [name for name, library in _libraries().items() if library is None]
    if missing:
        raise ModuleNotFoundError(
            f"kafka-python lacks {', '.join(missing)}: install kafka-python[crc32c,lz4,snappy,zstd]"
        )
    current_format.gzip_decode = legacy_format.gzip_decode = gzip_decode
    current_format.snappy_decode = legacy_format.snappy_decode = snappy_decode
    current_format.lz4_decode = legacy_format.lz4_decode = client.lz4_decode = lz4_decode
    current_format.zstd_decode = zstd_decode
    allowance.install()


# -------------------------------------------------------------------------------------------------------------- private
_XERIAL_HEADER_BYTES = 16
_XERIAL_LENGTH = struct.Struct("!i")
# An LZ4 frame: magic (4 bytes), flags, block size, then its expanded size (8 bytes) if a flag says so.
_LZ4_FLAGS = 4
_LZ4_HAS_SIZE = 0x08
_LZ4_SIZE = slice(6, 14)


def _libraries() -> dict[str, object]:
    """What kafka-python found. Without crc32c it would work, at a thirteenth of the speed."""
    return {"crc32c": checksums.crc32c_c, "lz4": client.lz4, "snappy": client.snappy, "zstd": client.zstd}


class _Expanded:
    """What was decompressed so far; refuses to hold more than the limit."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._pieces: list[bytes] = []
        self.left = BATCH_BYTES_MAX

    def add(self, piece: bytes) -> None:
        self.left -= len(piece)
        if self.left < 0:
            raise BatchTooLarge(self._codec)
        self._pieces.append(piece)

    def whole(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


def _snappy_block(block: bytes, bytes_max: int) -> bytes:
    """Expand one block that says (in its first bytes) that it is not larger than that."""
    if _snappy_says_its_size(block) > bytes_max:
        raise BatchTooLarge("snappy")
    try:
        expanded: bytes = client.snappy.decompress(block)
    except client.snappy.UncompressError as error:
        raise BatchRefused("a snappy batch is damaged") from error
    return expanded


def _snappy_says_its_size(block: bytes) -> int:
    """A snappy block begins with its expanded size: seven bits a byte, lowest first. The decoder holds it to that."""
    size = 0
    for place, byte in enumerate(block[:5]):
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return size
    raise BatchRefused("a snappy batch is damaged")


def _lz4_says_its_size(payload: bytes) -> int:
    """0 if it does not say. The decoder takes that much memory before it looks further."""
    if len(payload) < _LZ4_SIZE.stop or not payload[_LZ4_FLAGS] & _LZ4_HAS_SIZE:
        return 0
    return int.from_bytes(payload[_LZ4_SIZE], "little")
