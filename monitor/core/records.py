"""The glossary: every value that passes between stages, as frozen types.

Times are float seconds since the Unix epoch, UTC. Texts occur in `Transcript`, `Reference` and `Review` only;
everything after pairing and scoring is free of text, ids and names (speakers, sessions, utterances are keyed hashes).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NewType

import msgspec

UtteranceKey = NewType("UtteranceKey", int)
"""Keyed 64-bit hash of an utterance id: join key, sampling coin and the only trace of the id in state."""

Reason = NewType("Reason", str)
"""Why a message was rejected: one of the closed set in `wire.REASONS`."""

Labels = tuple[str, ...]
"""Declared values of an utterance, one for each of `SliceSettings.names`, in that order; `unknown` if absent."""

Slice = tuple[tuple[str, str], ...]
"""A slice as sorted (dimension, value) pairs; the empty tuple is all traffic of a customer."""

UNKNOWN = "unknown"
OTHER = "_other"


class Source(StrEnum):
    """How an utterance came to be corrected."""

    SAMPLED = "sampled"
    ORGANIC = "organic"
    FLAGGED = "flagged"


class Kind(StrEnum):
    """The input that a message came from."""

    TRANSCRIPT = "transcript"
    REFERENCE = "reference"


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of the values between stages: immutable, keyword-only."""


# ------------------------------------------------------------------------------------------------------------- inputs
class Transcript(Record, frozen=True):
    """A hypothesis as the recogniser published it, within the contract."""

    id: str
    event_at: float
    customer: str
    deployment: str
    text: str
    digest: bytes
    """SHA-256 of the message's bytes: tells a duplicate from another version."""
    accent: str | None = None
    language: str | None = None
    model: str | None = None
    speaker: str | None = None
    session: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    """Declared attributes, sorted by name."""
    confidence: float | None = None


class Reference(Record, frozen=True):
    """A human correction of one utterance; which one wins is decided by `rank`."""

    id: str
    event_at: float
    text: str
    digest: bytes
    """SHA-256 of the text in UTF-8."""
    revision: int = 1
    source: Source = Source.SAMPLED
    annotator: str | None = None

    @property
    def rank(self) -> tuple[int, float, bytes]:
        """The greatest rank wins, whatever order references arrive in."""
        return (self.revision, self.event_at, self.digest)


class Tombstone(Record, frozen=True):
    """A request to erase everything still held of one utterance."""

    id: str


class Partial(Record, frozen=True):
    """An interim result of a streaming recogniser: counted, neither scored nor rejected."""


class Rejected(Record, frozen=True):
    """A message outside the contract. Carries no part of the message."""

    reason: Reason
    digest: bytes
    """SHA-256 of the message's bytes, for the pointer."""


class Pointer(Record, frozen=True):
    """Where a rejected message lies: enough to find it again, nothing of its content."""

    topic: str
    partition: int
    offset: int
    reason: Reason
    sha256: str


# ------------------------------------------------------------------------------------------------------------ scoring
class Counts(Record, frozen=True):
    """Word (or grapheme) counts of one alignment of a hypothesis with a reference."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def reference_words(self) -> int:
        return self.hits + self.substitutions + self.deletions

    @property
    def hypothesis_words(self) -> int:
        return self.hits + self.substitutions + self.insertions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


class Score(Record, frozen=True):
    """What a pair is worth. An empty reference has no WER: its insertions are hallucinated words."""

    counts: Counts
    strict_errors: int
    """Errors among numbers, units, negations and keywords, before the lenient rules could hide them."""
    strict_words: int
    profile: str
    """Name and hash of the normaliser profile, e.g. `whisper-en@1f2e3d4c`."""
    empty_reference: bool = False
    empty_hypothesis: bool = False
    loop: bool = False
    """The hypothesis repeats itself: most of its words are one short run said again and again."""


# ------------------------------------------------------------------------------------ what SCORE tells DECIDE (no text)
class Observation(Record, frozen=True):
    """One sampled transcript was seen (or, with `counts` -1, is withdrawn): what traffic there is, corrected or not."""

    utterance: UtteranceKey
    event_at: float
    customer: str
    deployment: str
    labels: Labels
    model: str
    session: str | None
    """Keyed hash of the declared unit (session, call, interview), if any."""
    speaker: str | None
    """Keyed hash of the declared speaker, if any."""
    inclusion_probability: float
    counts: int = 1
    """+1 seen, -1 withdrawn (erased, conflicting, or replaced by another version of itself)."""


class Outcome(Record, frozen=True):
    """One version of a reference, scored against its hypothesis, or a change of its standing.

    `counts` is what happens to totals: +1 this version now wins, -1 it no longer does, 0 it never did.
    `holds` says whether the version may still be the winner *as of* an earlier moment: false once the hypothesis was
    replaced or erased. So (+1, True) scored; (-1, True) superseded; (0, True) lost on arrival; (-1 or 0, False) void.
    """

    utterance: UtteranceKey
    event_at: float
    customer: str
    deployment: str
    labels: Labels
    model: str
    session: str | None
    speaker: str | None
    inclusion_probability: float
    reference_at: float
    revision: int
    reference_digest: bytes
    """First 8 bytes of the reference's SHA-256: breaks ties, names the version."""
    source: Source
    score: Score
    counts: int
    holds: bool
    aligner: str
    """Name and version of the aligner, e.g. `rapidfuzz 3.14.6`."""

    @property
    def rank(self) -> tuple[int, float, bytes]:
        return (self.revision, self.reference_at, self.reference_digest)


class Missing(Record, frozen=True):
    """A sampled transcript's time for a correction ran out without one."""

    customer: str
    labels: Labels


class Review(Record, frozen=True):
    """A sampled hypothesis for human correctors: the one sanctioned way out for text."""

    id: str
    event_at: float
    customer: str
    deployment: str
    text: str
    language: str | None
    labels: dict[str, str]
    inclusion_probability: float
    priority: float
    """Smaller is sooner: the sampling coin, so that any prefix of the list is itself a random sample."""


# ------------------------------------------------------------------------------------------------- between stages apart
class Origin(Record, frozen=True):
    """Where a record comes from: its identity, so that what comes twice counts once."""

    upstream: str
    """Which partition of which topic, as it was made: a topic that was made again is another upstream."""
    offset: int
    part: int = 0
    """Among several records that one record led to."""


Loss = tuple[str, int, int]
"""(partition, offset from which on records are gone unread, how many)."""


class Mark(Record, frozen=True):
    """What the reader of an upstream says of it from time to time, to everybody downstream."""

    upstream: str
    of: int
    """Upstreams there are altogether."""
    reached_at: float | None
    """Event time that it has reached; None while nothing came."""
    current: bool
    """Whether all there is was read: then it holds nobody back."""
    at: float
    """The reader's clock."""
    read_at: float | None = None
    """If current: the moment whose end was reached; None: now."""
    losses: tuple[Loss, ...] = ()
    """What was lost, here and further up."""
    made_by: str = ""
    """Names its reader's configuration, hash key included: with another, ids have other hashes and nothing joins."""


# ---------------------------------------------------------------------------------------------------------- decisions
class Level(StrEnum):
    PAGE = "page"
    TICKET = "ticket"
    DIGEST = "digest"


class IncidentKind(StrEnum):
    DRIFT = "drift"
    DISPARITY = "disparity"
    OVERALL = "overall"
    COVERAGE = "coverage"
    STALE = "stale"
    BLIND = "blind"


class IncidentState(StrEnum):
    FIRING = "firing"
    UPDATED = "updated"
    RESOLVED = "resolved"


class Direction(StrEnum):
    WORSE = "worse"
    BETTER = "better"


class Verdict(StrEnum):
    """What is known of a slice against the rest. `insufficient` and `learning` never read as good."""

    DISPARITY = "disparity"
    PARITY = "parity"
    INSUFFICIENT = "insufficient"


class KindShares(Record, frozen=True):
    """A number for each kind of error."""

    substitutions: float
    deletions: float
    insertions: float


class ValueMoved(Record, frozen=True):
    """An attribute's value whose share of the slice's words moved at the change, or whose WER moved unlike the rest's.

    wer_ratio   WER after / before, over the same of the dimension's other values; None with few speakers
    share_z, wer_z   of share and ratio, speakers as clusters
    """

    slice: str
    """`device=scanner-b`."""
    share_before: float
    share_after: float
    share_z: float
    wer_before: float | None
    wer_after: float | None
    wer_ratio: float | None
    wer_z: float | None


class ModelMoved(Record, frozen=True):
    """A model label that came, went or came back at a change: shares of the customer's transcripts."""

    model: str
    share_before: float
    share_after: float
    seen_earlier: bool
    """More than a day before the change: one that came is a rollback."""


class Changed(Record, frozen=True):
    """What changed with a slice's WER: leads for whoever is woken, no causes.

    since_low, since_high   event times between which it began (95 %)
    kinds          shares of all errors, and z of their changes; None where kinds are not known
    rest           everybody else: WER before, and its shift since (95 %); None for all traffic
    moved          the most certain first; empty: nothing beyond chance
    model_changed  whether a model label came, went or came back then; None if no traffic has a model label
    """

    since_low: float
    since_high: float
    kinds_before: KindShares | None = None
    kinds_after: KindShares | None = None
    kinds_z: KindShares | None = None
    rest_before: float | None = None
    rest_shift: float | None = None
    rest_shift_low: float | None = None
    rest_shift_high: float | None = None
    moved: tuple[ValueMoved, ...] = ()
    model_changed: bool | None = None
    models: tuple[ModelMoved, ...] = ()


class Transition(Record, frozen=True):
    """One line of incidents.jsonl: an incident fires, is explained anew, or resolves. No text, speaker or id."""

    incident: str
    at: float
    state: IncidentState
    level: Level
    kind: IncidentKind
    direction: Direction
    customer: str
    slices: tuple[str, ...]
    wer: float | None
    wer_before: float | None
    wer_rest: float | None
    gap: float | None
    gap_low: float | None
    gap_high: float | None
    pairs: int
    evidence: float
    """The e-value (mean evidence at the alarm), or 1/p for rules that give a p-value."""
    reason: str
    summary: str
    since: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    changed: Changed | None = None
    """Of `drift` and `overall`; None for other kinds and for what an earlier version told."""


# --------------------------------------------------------------------------------------------------- what people see
class SliceStanding(Record, frozen=True):
    """What DECIDE knows of one slice: read by the page, the metrics and slices.csv."""

    verdict: Verdict
    learning: bool
    gap: float | None
    gap_low: float | None
    gap_high: float | None
    evidence: float
    """Mean of the drift bets: 1 pages."""
    detectable_gap: float | None
    """The smallest WER gap that 80 % power could see with the labels so far."""
    words_missing: int
    """Labelled words still needed for a verdict; 0 when there is one."""
    budget_spent: float
    last_reference_at: float | None
    windows: tuple[tuple[str, float, float, int], ...] = ()
    """(window name, WER, standard error, units) over matured units, 6 h to 28 d."""
    history: tuple[tuple[float, float, float, float], ...] = ()
    """Per day: (day start, WER, low, high), for sparklines and plots."""
    rest_wer: float | None = None
    """WER of who it is compared with: the rest of the same strata, weighted like the slice."""
    learned_from: float | None = None
    """Event time from which, and `learned_until`, its baseline was learned; None without one, or one that says."""
    learned_until: float | None = None
    baseline_ratio: float | None = None
    """Errors over those that its baseline expected, since it was closed; None while nothing is known of that."""
    history_units: tuple[int, ...] = ()
    """How many units each of those days has."""


class SliceRow(Record, frozen=True):
    """One slice's totals with its standing: a row of slices.csv."""

    customer: str
    slice: str
    depth: int
    transcripts: int
    pairs: int
    counts: Counts
    wer: float | None
    wer_low: float | None
    wer_high: float | None
    clusters: int
    hallucinated_words: int
    strict_errors: int
    strict_words: int
    standing: SliceStanding | None = None
    last_reference_at: float | None = None
    missing: int = 0
    """Transcripts whose time for a correction ran out without one."""
    missing_by_age: tuple[tuple[str, int, int], ...] = ()
    """(age band, transcripts, those of them without a reference), the newest first, over the last 40 event days."""


class Money(Record, frozen=True):
    """A part of a budget, in expected false pages (or expected false improvements, which page nobody)."""

    granted: float
    spent: float

    @property
    def left(self) -> float:
        """Granted and not put into a bet."""
        return max(self.granted - self.spent, 0.0)


class Spender(Record, frozen=True):
    """Who spends: a slice, or a look at all of them (then `slice` is `all`)."""

    slice: str
    by: str
    """`drift`: the slice bets against its own past. Others are looks that have a share of their own."""
    worse: Money
    better: Money


class Account(Record, frozen=True):
    """One customer's budget of false pages: what time has granted, what is spent, by whom."""

    customer: str
    pages: float
    """Granted from now on in each `days`."""
    days: float
    since: float | None
    """Event time from which money is granted; None before the first unit has closed."""
    until: float
    worse: Money
    """The budget of false pages."""
    better: Money
    """Beside it: improvements, which re-open learning."""
    spenders: tuple[Spender, ...] = ()


class BlockRatio(Record, frozen=True):
    """Variance of the sums of blocks of units over that of units: 1 if units are independent.

    block   `speaker_day`, `speaker` (all their units), `hour` or `day` (everybody's of one stratum)
    blocks  how many there are of two units or more
    """

    block: str
    ratio: float
    z: float
    blocks: int


class UnitFit(Record, frozen=True):
    """Whether a customer's betting units are independent enough to be counted as they are.

    inflation  variance of units over that of as many independent words
    at         event time of the look; ratios: of blocks that there are enough of
    longer     the unit to take instead: `speaker_day`, `hour` (a conversation) or `day`; None: the present one will do
    """

    customer: str
    at: float
    units: int
    inflation: float
    ratios: tuple[BlockRatio, ...]
    longer: str | None


class ModelSeries(Record, frozen=True):
    """From `since` (event time) on, nearly all transcripts of a customer came from this model."""

    customer: str
    model: str
    since: float


class View(Record, frozen=True):
    """An immutable picture of the whole agent, swapped by assignment for the threads that serve it."""

    at: float
    """Event-time watermark."""
    started_at: float
    dimensions: tuple[str, ...]
    slices: tuple[SliceRow, ...] = ()
    incidents: tuple[Transition, ...] = ()
    """Every transition so far (bounded), oldest first."""
    counters: dict[str, int] = {}
    """Pipeline counters: `name{label="value"}` -> count (see catalog.py)."""
    gauges: dict[str, float] = {}
    budget: tuple[Account, ...] = ()
    """Each customer's."""
    unit_fits: tuple[UnitFit, ...] = ()
    """Each customer's, once there are enough units."""
    series: tuple[ModelSeries, ...] = ()
    """Each customer's, oldest first."""
    decides: bool = True
    """Whether slices and incidents are of this process; else it only reads and scores for one that decides."""
    config_sha256: str = ""
