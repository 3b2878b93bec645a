"""Decides which utterances are followed: a keyed hash of the id against a threshold that is known in advance.

Intuition     The coin of an utterance is a keyed hash of its id, so both inputs toss the same coin without talking to
              each other, and lowering a threshold later leaves a uniform sample. The probability is fixed by the
              utterance's event hour and stratum, never by when it arrives or what was recognised, so
              1 / probability weighs it without bias.
Guarantee     P(kept) equals the recorded inclusion probability (Horvitz and Thompson 1952), also after the storage
              ceiling was lowered: a pair scored later carries the smaller probability.
Not covered   An id that the customer uses again; corrections that a customer chooses with a probability of its own.
Source        Duffield, Lund and Thorup, "Priority sampling", J. ACM 2007 (threshold form).

The coin covers the id alone, not (deployment, id): a reference does not name its deployment, and both inputs must
agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import ceil

import msgspec

from monitor.core.changes import Change
from monitor.core.records import Record, UtteranceKey

COINS = 1 << 64
"""Number of values of the coin."""
HOUR = 3600.0
TRAFFIC_HOURS = 24
"""Event hours of traffic that a plan looks back on: one day, so that a night does not set the day's rates."""
WIDTH_ORDINARY = 0.1
"""Standard error of a slice's WER, relative to it, at which a stratum needs an ordinary share of labels: what about 300
labels of ordinary speech give."""
NEED_LEAST, NEED_MOST = 0.5, 2.0
"""However narrow or wide an interval, its stratum gets half to twice its share: beyond that, a few noisy slices would
take labels from where change would be seen."""
HALF_WAY_EVIDENCE = 0.1
"""Mean evidence from which a slice is looked at more closely: half-way evidence buys labels, not pages."""

FIRST_PROBABILITY = 0.1
"""Rate before any hour of traffic is known: at 1.0 the first hour could cost a month of labels."""

Stratum = tuple[str, ...]


class SamplingSettings(Record, frozen=True):
    """Either a fixed probability, or a budget of labels spread over strata (then `probability` is not used).

    probability      chance of every utterance, in (0, 1]
    labels_per_day   corrections the customer can afford in 24 hours; None: fixed probability
    per_stratum_min  corrections a day that every stratum gets first, traffic permitting
    strata           dimensions whose combinations share the budget
    pending_max      utterances and references held at most; above it the threshold is halved
    """

    probability: float = 1.0
    labels_per_day: float | None = None
    per_stratum_min: float = 20.0
    strata: tuple[str, ...] = ("accent",)
    pending_max: int = 1_000_000
    strata_max: int = 1_000
    """Strata with a rate of their own; more share the rate of what is new. A month of plans for so many is 70 MB."""


class Plan(msgspec.Struct, frozen=True):
    """Probabilities of one event hour."""

    by_stratum: dict[Stratum, float]
    other: float
    """Of a stratum that had no traffic when the plan was made."""


class Sampler:
    """Tosses the coins and keeps the plans; restored from its documents it goes on with the same plans."""

    def __init__(
        self, settings: SamplingSettings, key: bytes, retention_seconds: float, lateness_seconds: float = HOUR
    ) -> None:
        """`retention_seconds`: how long utterances are held; `lateness_seconds`: how late records of an hour may be."""
        self.settings = settings
        self._key = key
        self._keyed = blake2b(key=key, digest_size=8)
        self._retention_hours = int(retention_seconds // HOUR) + 1
        self._open_hours = max(1, ceil(lateness_seconds / HOUR))
        """The youngest hours before a plan's own are left out: their records may still be arriving."""
        self._widest = 1.0 if settings.labels_per_day is not None else settings.probability
        """The greatest probability that a held utterance may have been kept with."""
        self._narrowed_at: float | None = None
        """Event time since when the configured probability is smaller than that."""
        self._ceiling = COINS
        self._ceiling_since = 0.0
        self._traffic: dict[int, dict[Stratum, int]] = {}
        self._plans: dict[int, Plan] = {}
        self._needs: Mapping[tuple[str, str], float] = {}
        self._dirty: set[str] = set()
        self._widest_written = False

    def coin(self, utterance_id: str) -> UtteranceKey:
        """The utterance's coin, uniform on 0 .. 2^64 - 1; also its key in state."""
        hasher = self._keyed.copy()  # half the time of keying a new one
        hasher.update(utterance_id.encode())
        return UtteranceKey(int.from_bytes(hasher.digest(), "big"))

    def pseudonym(self, *parts: str) -> str:
        """Keyed hash (16 hex digits) that stands for a speaker or session in everything after routing."""
        return blake2b("\x1f".join(parts).encode(), key=self._key, digest_size=8, person=b"who").hexdigest()

    def write_widest(self) -> None:
        """Remember the configured probability: under a smaller one, what it kept is still held for a while."""
        if not self._widest_written:
            self._widest_written = True
            self._dirty.add("widest")

    @property
    def keeps_all(self) -> bool:
        """Whether no coin is too high to be kept, as far as is known before a stratum is."""
        return self._widest >= 1.0 and self._ceiling == COINS

    @property
    def limit(self) -> int:
        """The first coin that cannot be kept, whatever its stratum."""
        return min(self._ceiling, int(self._widest * COINS))

    def may_be_kept(self, coin: UtteranceKey) -> bool:
        """Whether a reference with this coin can belong to a kept utterance, whatever its stratum."""
        return coin < self.limit

    def probability(self, stratum: Stratum, event_at: float) -> float:
        """Inclusion probability of an utterance of this stratum and event time; counts it as traffic."""
        self.write_widest()
        if self.settings.labels_per_day is None:
            planned = self.settings.probability
            if self._widest > planned and self._narrowed_at is None:
                self._narrowed_at = event_at
                self._dirty.add("widest")
        else:
            hour = int(event_at // HOUR)
            self._count(stratum, hour)
            plan = self._plan(hour)
            planned = plan.by_stratum.get(stratum, plan.other)
        return self.effective(planned)

    def effective(self, probability: float) -> float:
        """The probability under the storage ceiling as it is now: what a pair scored now must be weighed with."""
        return probability if self._ceiling == COINS else min(probability, self._ceiling / COINS)

    def kept(self, coin: UtteranceKey, probability: float) -> bool:
        return coin < probability * COINS

    # ------------------------------------------------------------------------------------------------ storage budget
    def lower_ceiling(self, stream_time: float) -> UtteranceKey:
        """Halve what is kept; rows with a coin at or above the answer are to be deleted."""
        self._ceiling = min(self._ceiling, int(self._widest * COINS)) // 2
        self._ceiling_since = stream_time
        self._dirty.add("ceiling")
        return UtteranceKey(self._ceiling)

    def lift_ceiling(self, stream_time: float) -> None:
        """Keep everything again once no utterance from before the last lowering can be held."""
        if self._ceiling < COINS and stream_time - self._ceiling_since > self._retention_hours * HOUR:
            self._ceiling = COINS
            self._dirty.add("ceiling")
        if self._narrowed_at is not None and stream_time - self._narrowed_at > self._retention_hours * HOUR:
            self._widest, self._narrowed_at = self.settings.probability, None
            self._dirty.add("widest")

    @property
    def ceiling(self) -> float:
        """Share of all coins that storage leaves room for, in (0, 1]."""
        return self._ceiling / COINS

    # -------------------------------------------------------------------------------------------------- label budget
    def set_needs(self, need_of: Mapping[tuple[str, str], float]) -> None:
        """Relative need for labels by (dimension, value), 1 ordinary; enters plans made from now on.

        A stratum needs what the neediest of its values needs.
        """
        self._needs = dict(need_of)
        self._dirty.add("needs")

    def _count(self, stratum: Stratum, hour: int) -> None:
        traffic = self._traffic.setdefault(hour, {})
        if stratum in traffic or len(traffic) < self.settings.strata_max:
            traffic[stratum] = traffic.get(stratum, 0) + 1
            self._dirty.add(f"traffic/{hour}")

    def _plan(self, hour: int) -> Plan:
        plan = self._plans.get(hour)
        if plan is None:
            plan = self._plans[hour] = self._make_plan(hour)
            self._dirty.add(f"plan/{hour}")
            self._forget(hour)
        return plan

    def _make_plan(self, hour: int) -> Plan:
        """Labels of a day over its traffic: a floor for each stratum, the rest in proportion to traffic times need."""
        assert self.settings.labels_per_day is not None
        daily: dict[Stratum, float] = {}
        last = hour - self._open_hours
        hours = [h for h in self._traffic if last - TRAFFIC_HOURS <= h < last]
        for past in sorted(hours):
            for stratum, utterances in self._traffic[past].items():
                daily[stratum] = daily.get(stratum, 0.0) + utterances
        if not daily:
            return Plan({}, FIRST_PROBABILITY)
        observed = max(1, last - min(hours))
        daily = {stratum: seen * TRAFFIC_HOURS / observed for stratum, seen in daily.items()}
        needs = {stratum: self._need(stratum) for stratum in daily}
        return allocate(daily, self.settings.labels_per_day, self.settings.per_stratum_min, needs)

    def _need(self, stratum: Stratum) -> float:
        return need_of(self.settings.strata, stratum, self._needs)

    def _forget(self, hour: int) -> None:
        for past in [h for h in self._plans if h < hour - self._retention_hours]:
            del self._plans[past]
            self._dirty.add(f"plan/{past}")
        for past in [h for h in self._traffic if h < hour - 2 * self._open_hours - TRAFFIC_HOURS]:
            del self._traffic[past]
            self._dirty.add(f"traffic/{past}")

    # --------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        """Plans, traffic and ceiling that changed since the last call."""
        written = [Change("sampling", key, self._document(key)) for key in sorted(self._dirty)]
        self._dirty.clear()
        return written

    def restore(self, table: str, key: str, value: bytes) -> None:
        """Take back one document."""
        assert table == "sampling"
        kind, _, hour = key.partition("/")
        if kind == "ceiling":
            ceiling, self._ceiling_since = msgspec.msgpack.decode(value, type=tuple[str, float])
            self._ceiling = int(ceiling)
        elif kind == "widest":
            widest, narrowed_at = msgspec.msgpack.decode(value, type=tuple[float, float | None])
            if widest > self._widest:
                self._widest, self._narrowed_at = widest, narrowed_at
        elif kind == "needs":
            self._needs = dict(msgspec.msgpack.decode(value, type=list[tuple[tuple[str, str], float]]))
        elif kind == "plan":
            rows, other = msgspec.msgpack.decode(value, type=tuple[list[tuple[Stratum, float]], float])
            self._plans[int(hour)] = Plan(dict(rows), other)
        else:
            self._traffic[int(hour)] = dict(msgspec.msgpack.decode(value, type=list[tuple[Stratum, int]]))

    def _document(self, key: str) -> bytes | None:
        kind, _, hour = key.partition("/")
        if kind == "ceiling":
            return msgspec.msgpack.encode((str(self._ceiling), self._ceiling_since))
        if kind == "widest":
            return msgspec.msgpack.encode((self._widest, self._narrowed_at))
        if kind == "needs":
            return msgspec.msgpack.encode(sorted(self._needs.items()))
        if kind == "plan":
            plan = self._plans.get(int(hour))
            return msgspec.msgpack.encode((sorted(plan.by_stratum.items()), plan.other)) if plan else None
        traffic = self._traffic.get(int(hour))
        return msgspec.msgpack.encode(sorted(traffic.items())) if traffic else None


def need_of(names: Sequence[str], stratum: Sequence[str], needs: Mapping[tuple[str, str], float]) -> float:
    """What the neediest of a stratum's values needs, 1 where nothing is known."""
    return max((needs.get(pair, 1.0) for pair in zip(names, stratum, strict=True)), default=1.0)


def need_for_labels(wer: float, standard_error: float, evidence: float) -> float:
    """How many times its ordinary share of labels a slice needs, from its WER's error and its evidence of drift.

    >>> need_for_labels(0.1, 0.01, evidence=0.0), need_for_labels(0.1, 0.01, evidence=0.3)
    (1.0, 2.0)
    """
    need = NEED_MOST
    if wer > 0.0 and standard_error > 0.0:
        width = standard_error / wer / WIDTH_ORDINARY
        need = min(NEED_MOST, max(NEED_LEAST, round(width, 6)))
    return need * (2.0 if evidence > HALF_WAY_EVIDENCE else 1.0)


def allocate(
    daily: Mapping[Stratum, float], labels_per_day: float, per_stratum_min: float, needs: Mapping[Stratum, float]
) -> Plan:
    """Spread a day's labels over strata: the floor first, the rest by traffic x need, never above the traffic.

    daily: utterances a day by stratum. Returns probabilities; their expected labels never exceed `labels_per_day`.

    >>> plan = allocate({("us",): 900.0, ("yoruba",): 10.0}, 100, 5, {})
    >>> round(plan.by_stratum[("yoruba",)], 3), round(plan.by_stratum[("us",)], 3)
    (0.599, 0.104)
    """
    floors = {stratum: min(traffic, per_stratum_min) for stratum, traffic in daily.items()}
    scale = min(1.0, labels_per_day / max(sum(floors.values()), 1e-9))
    labels = {stratum: floor * scale for stratum, floor in floors.items()}
    rest = labels_per_day - sum(labels.values())
    open_strata = {stratum for stratum in daily if labels[stratum] < daily[stratum]}
    while rest > 1e-9 and open_strata:  # each round fills at least one stratum or spends all: at most len(daily) rounds
        shares = {stratum: daily[stratum] * needs.get(stratum, 1.0) for stratum in sorted(open_strata)}
        total = sum(shares.values())
        spent = 0.0
        for stratum, share in shares.items():
            given = min(rest * share / total, daily[stratum] - labels[stratum])
            labels[stratum] += given
            spent += given
            if labels[stratum] >= daily[stratum] - 1e-9:
                open_strata.discard(stratum)
        if spent <= 1e-9:
            break
        rest -= spent
    probabilities = {stratum: min(1.0, labels[stratum] / traffic) for stratum, traffic in daily.items()}
    return Plan(probabilities, min(1.0, labels_per_day / max(sum(daily.values()), 1.0)))
