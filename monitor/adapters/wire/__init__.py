"""Decides which bytes are accepted, clipped or rejected, and how results are written.

The only code that knows the contract: `table` has its fields, `guard` its rules about bytes, `readers` those about one
field; `decoding` turns bytes into records, `mapping` does so for customers' own JSON; `schema` prints the table as JSON
Schema, `encoding` writes results as JSON lines.
"""

from monitor.adapters.wire.decoding import (
    REASONS,
    Decoded,
    decode_reference,
    decode_transcript,
    event_time,
    kind_of,
)
from monitor.adapters.wire.encoding import (
    encode_outcome,
    encode_pointer,
    encode_review,
    encode_transition,
)
from monitor.adapters.wire.mapping import Found, MessageMapping, decode_mapped, event_time_of
from monitor.adapters.wire.schema import schema

__all__ = [
    "REASONS",
    "Decoded",
    "Found",
    "MessageMapping",
    "decode_mapped",
    "decode_reference",
    "decode_transcript",
    "encode_outcome",
    "encode_pointer",
    "encode_review",
    "encode_transition",
    "event_time",
    "event_time_of",
    "kind_of",
    "schema",
]
