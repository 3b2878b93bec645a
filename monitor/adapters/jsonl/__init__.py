"""Decides which line comes next: archives in event-time order, a directory that grows, or standard input.

All three are a `LineSource`: the agent polls, feeds, and stores `line.source -> line.next_position` in the same
transaction as what the line changed. Nothing here knows the contract; what must be read off a line comes in as a
function.
"""

from monitor.adapters.jsonl.archive import SortedArchive
from monitor.adapters.jsonl.growing import GrowingDirectory
from monitor.adapters.jsonl.lines import (
    LINE_BYTES_MAX,
    EventTimeReader,
    InputProblem,
    InputUnreadable,
    KindReader,
    Line,
    LineSource,
)
from monitor.adapters.jsonl.standard_input import StdinLines, read_when_ready

__all__ = [
    "LINE_BYTES_MAX",
    "EventTimeReader",
    "GrowingDirectory",
    "InputProblem",
    "InputUnreadable",
    "KindReader",
    "Line",
    "LineSource",
    "SortedArchive",
    "StdinLines",
    "read_when_ready",
]
