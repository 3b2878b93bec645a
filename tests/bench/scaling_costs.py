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
    json_loads: float = 4.08
    log_floor: float = 15.2
    log_poll_input: float = 6.03
    log_poll: float = 10.2
    log_send: float = 27.3
    log_batch: float = 103.2
    """A batch beside its records: the line through log_send_quiet and log_send, 10 and 167 records a batch."""
    route_passed_over: float = 2.77
    route_read_not_kept: float = 27.9
    route_transcript: float = 39.0
    route_reference: float = 16.5
    score_transcript: float = 33.0
    score_reference: float = 132.2
    score_missing: float = 24.4
    decide_observation: float = 16.9
    decide_outcome: float = 34.8
    decide_missing: float = 4.92
    mark_fixed: float = 6.0
    """A mark in SCORE or DECIDE, and what it costs more for each upstream that there is."""
    mark_upstream: float = 0.151
    route_checkpoint: float = 400.3
    """A partition's checkpoint with one record in it."""
    score_checkpoint: float = 383.9
    decide_checkpoint: float = 453.8

    bytes_transcript: float = 466.0
    bytes_reference: float = 244.0
    bytes_pair_transcript: float = 677.0
    bytes_pair_reference: float = 481.0
    bytes_review: float = 404.0
    bytes_observation: float = 376.0
    bytes_outcome: float = 740.0
    bytes_missing: float = 184.0
    bytes_mark: float = 185.0
    disk_pair_transcript: float = 246.0
    """With lz4, as the producer sends it, on generated texts; real ones have more words and take more."""
    disk_pair_reference: float = 231.0
    disk_review: float = 160.0
    disk_observation: float = 104.0
    disk_outcome: float = 182.0

    # PYTHONPATH=. .venv/bin/python tests/bench/bench_rebuild.py --pending 1000000, and 100000
    state_bytes: float = 116.0
    """On disk a row that is held, one generation."""
    resident_bytes: float = 172.0
    """The highest while it is made again from the log: the line through both sizes."""
    resident_fixed_mb: float = 111.0

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
    Rebuilt(12, "first time, observations sent", 68.2, 66.4, 332.0, 152.6),
    Rebuilt(12, "again from the log", 35.4, 33.5, 283.0, 116.0),
    Rebuilt(12, "from its own files", 4.9, 4.5, 246.0, 116.0),
    Rebuilt(4, "first time, observations sent", 84.5, 83.6, 282.0, 135.0),
    Rebuilt(4, "again from the log", 35.5, 33.8, 263.0, 115.7),
    Rebuilt(4, "from its own files", 6.0, 5.7, 259.0, 115.7),
)


class Measured(NamedTuple):
    """What the paper said and what was, from bench_scaledown.py."""

    what: str
    unit: str
    predicted: float
    found: float


# PYTHONPATH=. .venv/bin/python tests/bench/bench_scaledown.py --backlog 80000
MEASURED = (
    Measured("5 % followed, a backlog of 240,000: agents", "s of CPU", 9.817, 9.75),
    Measured("the same: decider", "s of CPU", 1.179, 1.33),
    Measured("5 % followed, 1,001 a second: agents", "cores", 0.181, 0.24),
    Measured("the same: decider", "cores", 0.032, 0.036),
    Measured("all followed, a backlog of 80,000: agents", "s of CPU", 17.033, 15.07),
    Measured("the same: decider", "s of CPU", 2.822, 2.87),
    Measured("all followed, 1,000 a second: agents", "cores", 0.315, 0.393),
    Measured("the same: decider", "cores", 0.055, 0.072),
)
