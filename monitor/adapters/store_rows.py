"""Decides how one row of state is written as bytes, and whether bytes read back are what was written.

Every table of the state file has two columns, a number and a blob: `checksum (4) | payload`. The checksum covers the
table's name, the number and the payload, so that a row that was changed, moved or swapped between tables is noticed.
Transcripts are the many and small ones, hence a packed form of 32 bytes plus hashes and text; what does not fit that
form (a profile table that is full, a session that is no 64-bit hash) is written out in msgpack, at the price of some
bytes.
"""

from __future__ import annotations

import struct
import zlib

import msgspec
import zstandard

from monitor.core.pairing_port import HeldReference, HeldTranscript
from monitor.core.records import Labels, Source

Profile = tuple[str, str, Labels, str, str | None]
"""What many utterances share: customer, deployment, labels, model, language."""

CHECKSUM_BYTES = 4
"""CRC-32 finds every burst of up to 32 bits; a page of stale rows is found by the sums in `meta`, not by this."""

COMPRESSED_FROM_BYTES = 96
"""Below, zstd without a dictionary saves nothing (55 of 56 bytes, measured); one of real text would be text."""

TEXT_BYTES_MAX = 16 * 1024 * 1024
"""No text within the contract comes near; bounds what a damaged length could make zstd allocate."""

_CONFLICTED, _REFERENCED, _SESSION, _SPEAKER, _COMPRESSED, _INLINE = 1, 2, 4, 8, 16, 32
_TRANSCRIPT = struct.Struct("<BQddHB")  # flags, key, event_at, inclusion_probability, profile, length of the digest
_REFERENCE = struct.Struct("<BQd")  # flags, key, event_at
_KEY_AND_TIME = struct.Struct("<Qd")  # both start so, which lets the scan at opening read no more than this
_PROFILE_AT = CHECKSUM_BYTES + 25
_HASH_HEX = 16  # a keyed hash as text: 64 bits in lower-case hexadecimal

_compressor = zstandard.ZstdCompressor(level=3, write_checksum=False)
_decompressor = zstandard.ZstdDecompressor()
_inline_decoder = msgspec.msgpack.Decoder(tuple[Profile, str | None, str | None, bytes, bytes])
_reference_decoder = msgspec.msgpack.Decoder(tuple[int, bytes, Source, str | None, bytes])
_profile_decoder = msgspec.msgpack.Decoder(Profile)
_document_decoder = msgspec.msgpack.Decoder(tuple[str, str, bytes])
_outbox_decoder = msgspec.msgpack.Decoder(tuple[str, bytes])
_encode = msgspec.msgpack.encode


class Damaged(Exception):
    """The bytes are not those that were written; the message says where, never what."""


# ---------------------------------------------------------------------------------------------------------- checksums
def seed_of(table: str) -> int:
    """Where the checksums of a table start."""
    return zlib.crc32(table.encode())


def checksum(seed: int, number: int, payload: bytes) -> int:
    """The checksum of a row: table, number and payload."""
    return zlib.crc32(payload, zlib.crc32(number.to_bytes(8, "little"), seed))


def seal(checked: int, payload: bytes) -> bytes:
    """The row to write: `payload` behind its checksum."""
    return checked.to_bytes(CHECKSUM_BYTES, "little") + payload


def checksum_of(row: bytes) -> int:
    """The checksum that a row carries, unverified."""
    return int.from_bytes(row[:CHECKSUM_BYTES], "little")


def verified(seed: int, number: int, row: bytes) -> bytes:
    """The payload of a row as read; raises Damaged if the checksum does not cover it."""
    payload = row[CHECKSUM_BYTES:]
    if checksum(seed, number, payload) != checksum_of(row):
        raise Damaged(f"row {number} does not match its checksum")
    return payload


# -------------------------------------------------------------------------------------------------------- transcripts
def encode_transcript(held: HeldTranscript, profile: int | None) -> bytes:
    """The payload of a transcript; `profile` is the number of its shared part, None to write that part into the row."""
    text, flags = _pack_text(held.text)
    if held.conflicted:
        flags |= _CONFLICTED
    if held.referenced:
        flags |= _REFERENCED
    session, speaker = _hash_bytes(held.session), _hash_bytes(held.speaker)
    if profile is None or session is None or speaker is None or len(held.digest) > 255:
        shared = (held.customer, held.deployment, held.labels, held.model, held.language)
        rest = _encode((shared, held.session, held.speaker, held.digest, text))
        head = _TRANSCRIPT.pack(flags | _INLINE, held.key, held.event_at, held.inclusion_probability, 0, 0)
        return head + rest
    if session:
        flags |= _SESSION
    if speaker:
        flags |= _SPEAKER
    head = _TRANSCRIPT.pack(flags, held.key, held.event_at, held.inclusion_probability, profile, len(held.digest))
    return head + held.digest + session + speaker + text


def decode_transcript(payload: bytes, profiles: dict[int, Profile], with_text: bool = True) -> HeldTranscript:
    """The transcript of a verified payload; raises Damaged if its profile is missing or its form unknown."""
    flags, key, event_at, probability, profile, digest_length = _TRANSCRIPT.unpack_from(payload)
    at = _TRANSCRIPT.size
    try:
        if flags & _INLINE:
            shared, session, speaker, digest, text = _inline_decoder.decode(payload[at:])
        else:
            shared = profiles[profile]
            digest = payload[at : at + digest_length]
            at += digest_length
            session = speaker = None
            if flags & _SESSION:
                session = payload[at : at + 8].hex()
                at += 8
            if flags & _SPEAKER:
                speaker = payload[at : at + 8].hex()
                at += 8
            text = payload[at:]
        customer, deployment, labels, model, language = shared
        return HeldTranscript(
            key=key,
            event_at=event_at,
            customer=customer,
            deployment=deployment,
            labels=labels,
            model=model,
            language=language,
            session=session,
            speaker=speaker,
            inclusion_probability=probability,
            digest=digest,
            text=_unpack_text(text, flags) if with_text else "",
            conflicted=bool(flags & _CONFLICTED),
            referenced=bool(flags & _REFERENCED),
        )
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError, zstandard.ZstdError) as error:
        raise Damaged(f"a transcript cannot be read: {type(error).__name__}") from None


def as_referenced(payload: bytes) -> bytes:
    """The same transcript with `referenced` set, without decoding it."""
    return bytes((payload[0] | _REFERENCED,)) + payload[1:]


def profile_of_row(row: bytes) -> int | None:
    """The number of the profile that a transcript's row refers to."""
    if row[CHECKSUM_BYTES] & _INLINE:
        return None
    return int.from_bytes(row[_PROFILE_AT : _PROFILE_AT + 2], "little")


def key_and_time(row: bytes) -> tuple[int, float]:
    """Key and event time of a transcript's or reference's row."""
    found: tuple[int, float] = _KEY_AND_TIME.unpack_from(row, CHECKSUM_BYTES + 1)
    return found


# --------------------------------------------------------------------------------------------------- references, others
def encode_reference(held: HeldReference) -> bytes:
    text, flags = _pack_text(held.text)
    head = _REFERENCE.pack(flags, held.key, held.event_at)
    return head + _encode((held.revision, held.digest, held.source, held.annotator, text))


def decode_reference(payload: bytes, with_text: bool = True) -> HeldReference:
    """The reference of a verified payload; raises Damaged if its form is unknown."""
    flags, key, event_at = _REFERENCE.unpack_from(payload)
    try:
        revision, digest, source, annotator, text = _reference_decoder.decode(payload[_REFERENCE.size :])
        return HeldReference(
            key=key,
            event_at=event_at,
            revision=revision,
            digest=digest,
            source=source,
            annotator=annotator,
            text=_unpack_text(text, flags) if with_text else "",
        )
    except (msgspec.DecodeError, UnicodeDecodeError, zstandard.ZstdError) as error:
        raise Damaged(f"a reference cannot be read: {type(error).__name__}") from None


def encode_profile(profile: Profile) -> bytes:
    return _encode(profile)


def decode_profile(payload: bytes) -> Profile:
    try:
        profile: Profile = _profile_decoder.decode(payload)
        return profile
    except msgspec.DecodeError:
        raise Damaged("a profile cannot be read") from None


def encode_document(table: str, key: str, value: bytes) -> bytes:
    return _encode((table, key, value))


def decode_document(payload: bytes) -> tuple[str, str, bytes]:
    try:
        return _document_decoder.decode(payload)
    except msgspec.DecodeError:
        raise Damaged("a document cannot be read") from None


def encode_entry(stream: str, payload: bytes) -> bytes:
    return _encode((stream, payload))


def decode_entry(payload: bytes) -> tuple[str, bytes]:
    try:
        return _outbox_decoder.decode(payload)
    except msgspec.DecodeError:
        raise Damaged("an outbox entry cannot be read") from None


# --------------------------------------------------------------------------------------------------------------- text
def _pack_text(text: str) -> tuple[bytes, int]:
    plain = text.encode()
    if len(plain) >= COMPRESSED_FROM_BYTES:
        packed = _compressor.compress(plain)
        if len(packed) < len(plain):
            return packed, _COMPRESSED
    return plain, 0


def _unpack_text(packed: bytes, flags: int) -> str:
    if flags & _COMPRESSED:
        packed = _decompressor.decompress(packed, max_output_size=TEXT_BYTES_MAX)
    return packed.decode()


def _hash_bytes(value: str | None) -> bytes | None:
    """The eight bytes of a keyed hash, none of an absent one, or None for a string that is no such hash."""
    if value is None:
        return b""
    if len(value) != _HASH_HEX:
        return None
    try:
        packed = bytes.fromhex(value)
    except ValueError:
        return None
    return packed if packed.hex() == value else None
