"""Decides what docs/scaling.md is computed from: costs as they were measured, each with the command that measured it.

Microseconds of CPU a record unless the name says otherwise. One run each on a machine of two shared cores; `json.loads`
of the same transcripts, in the same run, is the yardstick by which another machine is compared with it.
"""

from __future__ import annotations

from typing import NamedTuple


class Costs(NamedTuple):
    """Names as bench_stages.py prints them, of conversation (`_talk`) where texts matter; `log_poll` and `log_send` are
    means of those of `pair_transcript` and `outcome`, marks a line through those of SCORE and DECIDE.
    """

    # PYTHONPATH=. .venv/bin/python tests/bench/bench_stages.py
    json_loads: float = 4.38
    log_floor: float = 13.46
    log_poll_input: float = 6.2
    log_poll: float = 7.15
    log_send: float = 23.4
    log_batch: float = 87.0
    """A batch beside its records: the line through log_send_quiet and log_send, 10 and 167 records a batch."""
    route_passed_over: float = 1.77
    route_read_not_kept: float = 23.5
    route_transcript: float = 39.3
    route_reference: float = 16.9
    score_transcript: float = 32.0
    score_reference: float = 144.0
    score_missing: float = 24.5
    decide_observation: float = 13.3
    decide_outcome: float = 37.3
    decide_missing: float = 4.2
    mark_fixed: float = 6.3
    """A mark in SCORE or DECIDE, and what it costs more for each upstream that there is."""
    mark_upstream: float = 0.145
    route_checkpoint: float = 311.0
    """A partition's checkpoint with one record in it."""
    score_checkpoint: float = 269.0
    decide_checkpoint: float = 321.0
    fsyncs_checkpoint: float = 1.1

    bytes_transcript: float = 466.0
    bytes_reference: float = 244.0
    bytes_pair_transcript: float = 677.0
    bytes_pair_reference: float = 481.0
    bytes_review: float = 404.0
    bytes_observation: float = 376.0
    bytes_outcome: float = 740.0
    bytes_missing: float = 184.0
    bytes_mark: float = 183.0
    disk_pair_transcript: float = 247.0
    """With lz4, as the producer sends it, on generated texts; real ones have more words and take more."""
    disk_pair_reference: float = 231.0
    disk_review: float = 160.0
    disk_observation: float = 104.0
    disk_outcome: float = 183.0

    # PYTHONPATH=. .venv/bin/python tests/bench/bench_rebuild.py --pending 1000000
    state_bytes: float = 116.0
    """On disk a row that is held, one generation."""
    resident_bytes: float = 196.0
    """The highest while it is made again from the log; 156 from its own files."""
    resident_fixed_mb: float = 90.0

    # PYTHONPATH=. .venv/bin/python tests/bench/bench_store.py: `rotate after an erasure`, as after any expiry
    rotate_row: float = 1.85


class Look(NamedTuple):
    """One customer: milliseconds of CPU, from bench_looks.py."""

    slices: int
    corrections_a_day: int
    hour: float
    midnight: float
    picture: float
    again: float
    resident_mb: float


# PYTHONPATH=. .venv/bin/python tests/bench/bench_looks.py
LOOKS = (
    Look(49, 2_000, 2.8, 79.3, 50.0, 0.7, 35.6),
    Look(469, 500, 70.2, 110.9, 46.6, 11.0, 21.7),
    Look(469, 2_000, 26.2, 164.9, 123.3, 11.6, 55.0),
    Look(2_017, 2_000, 597.8, 810.7, 276.8, 49.9, 104.2),
)

COSTS = Costs()


class Rebuilt(NamedTuple):
    """A million pending transcripts, from bench_rebuild.py."""

    partitions: int
    how: str
    seconds: float
    cpu: float
    resident_mb: float
    disk_mb: float


# PYTHONPATH=. .venv/bin/python tests/bench/bench_rebuild.py --pending 1000000 --partitions 12 (then 4)
REBUILT = (
    Rebuilt(12, "first time, observations sent", 146.7, 65.7, 326.0, 147.4),
    Rebuilt(12, "again from the log", 54.9, 29.4, 286.0, 116.0),
    Rebuilt(12, "from its own files", 11.8, 4.4, 246.0, 116.0),
    Rebuilt(4, "first time, observations sent", 107.1, 64.7, 284.0, 132.0),
    Rebuilt(4, "again from the log", 45.6, 28.4, 262.0, 115.7),
    Rebuilt(4, "from its own files", 7.4, 3.9, 259.0, 115.7),
)


class Measured(NamedTuple):
    """What the paper said and what was, from bench_scaledown.py."""

    what: str
    unit: str
    predicted: float
    found: float


# PYTHONPATH=. .venv/bin/python tests/bench/bench_scaledown.py
MEASURED = (Measured("", "cores", 1.0, 1.0),)
