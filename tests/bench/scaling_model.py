"""Decides how measured costs become cores, agents and bytes: plain sums, so that a reader can check them by hand.

A process of ours is one thread that works: it can use one core. So cores are agents, and what is planned for is
UTILISATION of them; partitions only decide among how many agents the work can be spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

from monitor.adapters.kafka.topic_fitness import OUTCOMES_RETENTION_MS, PAIRS_MARGIN_MS
from monitor.core.units import UnitSettings
from monitor.rotation import ROTATE_SECONDS
from monitor.topics.following import LOOK_SECONDS
from monitor.topics.stages import VIEW_SECONDS
from monitor.topics.workers import MARK_SECONDS
from tests.bench.scaling_costs import COSTS, Costs, Look

DAY = 86_400.0
UTILISATION = 0.6
"""Of a core, in the busiest hour. Beyond 0.7 an hour's outage takes more than two to catch up with."""
TTL_DAYS = 30.0
PAIRS_DAYS = TTL_DAYS + PAIRS_MARGIN_MS / 1e3 / DAY
"""As `wervane topics create` makes them."""
OUTCOMES_DAYS = OUTCOMES_RETENTION_MS / 1e3 / DAY
REPLICAS = 3
CHECKPOINT_SECONDS = 1.0
PENDING_MAX = 100_000_000
"""The most that `state.pending_max` takes; 1,000,000 by default, of all partitions together."""
UNITS_MAX = UnitSettings().slots_max
"""Open units of one customer; and as many utterances that wait for a look or have a correction."""
POLL_SECONDS_MAX = 300.0
"""kafka-python's max_poll_interval_ms: who works longer on one look loses its partitions."""
DIVISIBLE = 12
"""Partitions are a multiple of it: even among 2, 3, 4, 6 and 12 agents."""
GOAL_SECONDS = 60.0
"""A state that is made again from its log is to be ready within this."""


@dataclass(frozen=True)
class Load:
    """What comes in, and what of it is followed.

    transcripts, references  messages a second of both inputs
    probability              of an utterance to be followed
    whole                    a label budget (`labels_per_day`) reads every message; a fixed probability passes over
    corrected                share of the followed utterances that get a reference
    reviews                  whether what is followed is written out for correctors
    ttl_days                 how long it is held; 0: only just begun, nothing expires yet
    """

    name: str
    transcripts: float
    references: float
    probability: float
    corrected: float
    whole: bool = False
    reviews: bool = True
    ttl_days: float = TTL_DAYS

    @property
    def followed(self) -> float:
        """Utterances a second."""
        return self.transcripts * self.probability

    @property
    def pairs(self) -> float:
        """Scored references a second."""
        return self.followed * self.corrected

    @property
    def missing(self) -> float:
        return self.followed - self.pairs if self.ttl_days else 0.0

    @property
    def held(self) -> float:
        """Rows for the TTL, or for the longest that fits: a transcript stays all the time, its reference beside it."""
        return min((self.followed + self.pairs) * self.ttl_days * DAY, PENDING_MAX)

    @property
    def ttl_days_max(self) -> float:
        """Longest TTL whose rows fit into the largest `state.pending_max`."""
        return PENDING_MAX / (self.followed + self.pairs) / DAY


@dataclass(frozen=True)
class Topics:
    """Partitions: of all input topics together, of `pairs` and of `outcomes`."""

    inputs: int
    pairs: int
    outcomes: int


# -------------------------------------------------------------------------------------------------------------- cores
def route_cores(load: Load, topics: Topics, agents: int, costs: Costs = COSTS) -> float:
    """Read both inputs; route and send what is followed."""
    passed = costs.route_read_not_kept if load.whole else costs.route_passed_over
    sends = costs.log_send * (2 if load.reviews else 1)
    messages = load.transcripts + load.references
    kept = load.followed * (costs.route_transcript + sends) + load.pairs * (costs.route_reference + costs.log_send)
    ruled_out = (messages - load.followed - load.pairs) * passed
    marks = marks_to_score(topics) * costs.log_send
    batches = min(load.followed + load.pairs, agents * topics.pairs / CHECKPOINT_SECONDS) * costs.log_batch
    fixed = topics.inputs * costs.route_checkpoint / CHECKPOINT_SECONDS
    return _cores(messages * costs.log_poll_input + kept + ruled_out + marks + batches + fixed)


def score_cores(load: Load, topics: Topics, agents: int, costs: Costs = COSTS) -> float:
    """Read pairs; hold, score, and send what became of them."""
    came = load.followed * costs.score_transcript + load.pairs * costs.score_reference
    read = (load.followed + load.pairs) * costs.log_poll
    sent = (load.followed + load.pairs + load.missing) * costs.log_send
    marks = marks_to_score(topics) * (costs.log_poll + mark_cost(topics.inputs, costs))
    marks += marks_to_decide(topics) * costs.log_send
    rotations = load.held * costs.rotate_row / ROTATE_SECONDS
    missing = load.missing * costs.score_missing
    batches = min(load.followed + load.pairs, agents * topics.outcomes / CHECKPOINT_SECONDS) * costs.log_batch
    fixed = topics.pairs * costs.score_checkpoint / CHECKPOINT_SECONDS
    return _cores(came + read + sent + marks + rotations + missing + batches + fixed)


def decide_cores(load: Load, topics: Topics, costs: Costs = COSTS) -> float:
    """Read outcomes and buffer them; looks and pictures are apart."""
    came = load.followed * costs.decide_observation + load.pairs * costs.decide_outcome
    read = (load.followed + load.pairs + load.missing) * costs.log_poll
    marks = marks_to_decide(topics) * (costs.log_poll + mark_cost(topics.pairs, costs))
    missing = load.missing * costs.decide_missing
    return _cores(came + read + missing + marks + topics.outcomes * costs.decide_checkpoint / CHECKPOINT_SECONDS)


def marks_to_score(topics: Topics, seconds: float = MARK_SECONDS) -> float:
    """A second, over all partitions."""
    return topics.inputs * topics.pairs / seconds


def marks_to_decide(topics: Topics, seconds: float = MARK_SECONDS) -> float:
    return topics.pairs * topics.outcomes / seconds


def marks_behind(topics: Topics) -> tuple[float, float]:
    """The same two where event time moves fast, because it is caught up with: a mark at every look."""
    return marks_to_score(topics, LOOK_SECONDS), marks_to_decide(topics, LOOK_SECONDS)


def mark_cost(upstreams: int, costs: Costs = COSTS) -> float:
    """Microseconds: event time is settled over all upstreams."""
    return costs.mark_fixed + costs.mark_upstream * upstreams


def _cores(microseconds_a_second: float) -> float:
    return microseconds_a_second / 1e6


# ------------------------------------------------------------------------------------------------------------- a plan
@dataclass(frozen=True)
class Plan:
    """What a load needs."""

    load: Load
    topics: Topics
    agents: int
    route: float
    score: float
    decide: float


def plan(load: Load, outcomes: int = DIVISIBLE) -> Plan:
    """The fewest agents whose cores stay below UTILISATION, with at least twice as many partitions of each log."""
    agents = 1
    while True:
        partitions = DIVISIBLE * math.ceil(2 * agents / DIVISIBLE)
        topics = Topics(inputs=2 * partitions, pairs=partitions, outcomes=outcomes)
        route, score = route_cores(load, topics, agents), score_cores(load, topics, agents)
        if route + score <= agents * UTILISATION:
            return Plan(load, topics, agents, route, score, decide_cores(load, topics))
        agents += 1


# ------------------------------------------------------------------------------------------------------------ storage
def pairs_bytes(load: Load, costs: Costs = COSTS, *, disk: bool) -> float:
    """A second, before replication; `disk`: as compressed, else keys and values."""
    transcript = costs.disk_pair_transcript if disk else costs.bytes_pair_transcript
    reference = costs.disk_pair_reference if disk else costs.bytes_pair_reference
    return load.followed * transcript + load.pairs * reference


def outcomes_bytes(load: Load, costs: Costs = COSTS, *, disk: bool) -> float:
    observation = costs.disk_observation if disk else costs.bytes_observation
    outcome = costs.disk_outcome if disk else costs.bytes_outcome
    missing = costs.bytes_missing * (observation / costs.bytes_observation)
    return load.followed * observation + load.pairs * outcome + load.missing * missing


def input_bytes(load: Load, costs: Costs = COSTS) -> float:
    return load.transcripts * costs.bytes_transcript + load.references * costs.bytes_reference


# ------------------------------------------------------------------------------------------------------------ decider
def look_share(look: Look) -> float:
    """Cores of one customer's looks."""
    return (23 * look.hour + look.midnight + 24 * look.picture) / 1e3 / DAY


def picture_share(look: Look, customers: int) -> float:
    """Share of a decider's time that pictures of so many customers take: each begins two seconds after the last."""
    seconds = customers * look.again / 1e3
    return seconds / (seconds + VIEW_SECONDS)


def customers_max(look: Look) -> tuple[int, int]:
    """Of this size, for one decider: with pictures and looks below UTILISATION of it, and with a midnight that ends
    before its group gives it up.
    """
    number = 0
    while look_share(look) * (number + 1) + picture_share(look, number + 1) <= UTILISATION:
        number += 1
    return number, int(POLL_SECONDS_MAX / (look.midnight / 1e3))


def spread(names: Mapping[str, float], partitions: int) -> tuple[float, int]:
    """(load of the fullest partition over the mean, partitions without a customer), as SCORE chooses them."""
    loads = [0.0] * partitions
    for name, weight in names.items():
        loads[crc32(name.encode()) % partitions] += weight
    return max(loads) * partitions / sum(loads), loads.count(0.0)


def again_from_the_log(marks_a_second: float, upstreams: int, days: float, costs: Costs = COSTS) -> tuple[float, float]:
    """(seconds of CPU to read the marks of so many days, hours of them that fit into the goal)."""
    each = (costs.log_poll + mark_cost(upstreams, costs)) / 1e6
    return marks_a_second * days * DAY * each, GOAL_SECONDS / each / marks_a_second / 3_600.0


# ------------------------------------------------------------------------------------------------------------- labels
def detectable_ratio(labels: float, *, wer: float, words: float, inflation: float) -> float:
    """How many times worse a slice must be to be told from its past, with 80 % power at a two-sided level of 5 %, by
    so many corrected utterances before and after: a fixed-sample test, which looking all the time does not reach.
    """
    error = math.sqrt(2.0 * wer * (1.0 - wer) * inflation / (labels * words))
    return 1.0 + (1.96 + 0.84) * error / wer
