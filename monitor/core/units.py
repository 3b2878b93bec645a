"""Decides which utterances form one betting unit, when the unit is closed, and what was known of it by then.

A unit is a declared session, else a speaker's burst without a pause, else the utterance itself. It closes `maturity`
after its last utterance, with the references given by then; whatever comes later changes estimates, not decisions.
Everything is buffered by (utterance, event time) and looked at in event-time order, so the order of arrival leaves no
trace: neither in what closes, nor in a document.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator

import msgspec

from monitor.core.changes import Change
from monitor.core.estimators import weight_of
from monitor.core.records import Labels, Observation, Outcome, Record, Source
from monitor.core.slicing import Slicing

HOUR = 3600.0
DAY = 86400.0


class UnitSettings(Record, frozen=True):
    """How utterances are put together.

    pause_seconds   a speaker's burst ends after this pause: at half, a consultation falls apart into dependent
                    units; at double, two visits become one and count once
    span_seconds    no unit is longer: a constant session id would else never close and blind the detector
    slots_max       utterances buffered until their unit closes (about 1 kB each); at half, 4 days of maturity hold
                    19,000 labelled utterances a day; what comes above it is not decided upon, and counted
    """

    pause_seconds: float = 1800.0
    span_seconds: float = DAY
    slots_max: int = 150_000


class Seen(msgspec.Struct, array_like=True, frozen=True, order=True):
    """What an observation said."""

    labels: Labels
    model: str
    session: str
    speaker: str
    weight: int


class Version(msgspec.Struct, array_like=True, frozen=True, order=True):
    """One scored version of a reference. Sorts by rank."""

    revision: int
    reference_at: float
    digest: bytes
    sampled: bool
    weight: int
    substitutions: int
    deletions: int
    insertions: int
    words: int
    empty: bool


class Slot(msgspec.Struct, array_like=True):
    """One utterance (of one event time) until its unit closes. Lists are sorted: bytes do not tell the order.

    seen   (what, how often it was seen less how often withdrawn)
    void   versions that no longer hold; a version stays void whatever comes after
    unit   the unit it was put into, "" before a look took it in
    """

    seen: list[tuple[Seen, int]]
    versions: list[Version]
    void: list[Version]
    unit: str = ""

    def present(self) -> Seen | None:
        """The observation that holds, or None if it was withdrawn."""
        return max((seen for seen, count in self.seen if count > 0), default=None)

    def first_reference_at(self) -> float | None:
        """When the first sampled reference was given, whatever became of it later."""
        return min((version.reference_at for version in self.versions if version.sampled), default=None)

    def best(self, deadline: float) -> Version | None:
        """The sampled version that won as of the deadline. An empty reference has no WER, but wins all the same."""
        known = (v for v in self.versions if v.sampled and v.reference_at <= deadline and v not in self.void)
        return max(known, default=None)

    def scored(self, deadline: float) -> bool:
        """Whether anybody corrected it by the deadline, sampled or not."""
        return any(version.reference_at <= deadline for version in self.versions)


SlotKey = tuple[int, float]
"""(utterance, event time): another version of a transcript is another slot."""


class OpenUnit(msgspec.Struct):
    """A unit that may still grow or get references. Derived from its slots, never stored."""

    identity: str
    owner: str
    first_at: float
    ended_at: float
    members: list[SlotKey]


class UnitRow(msgspec.Struct, array_like=True, frozen=True):
    """A closed unit's utterances with one combination of labels. Sums are weighted integers (units of WEIGHT_ONE).

    person       the speaker if the whole unit has one speaker and no declared session, else the unit
    seen         utterances, corrected or not; traffic: their weight
    labelled     utterances with a sampled, non-empty reference at maturity; the sums are over these
    scored       utterances that anybody corrected by then
    """

    ended_at: float
    unit: str
    labels: Labels
    first_at: float
    person: str
    seen: int
    traffic: int
    scored: int
    labelled: int
    substitutions: int
    deletions: int
    insertions: int
    words: int
    plain_words: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


class Units:
    """Buffers one customer's observations and versions, and closes units in event-time order."""

    def __init__(self, settings: UnitSettings, slicing: Slicing) -> None:
        self.settings = settings
        self._slicing = slicing
        self._slots: dict[SlotKey, Slot] = {}
        self._waiting: set[SlotKey] = set()
        self._units: dict[str, OpenUnit] = {}
        self._current: dict[str, str] = {}
        self._earliest_end: float | None = None
        self._dirty: set[SlotKey] = set()
        self._stored: set[SlotKey] = set()
        """Slots that have a document: one that came and went between two checkpoints never gets one."""
        self.taken_until = float("-inf")
        """Event time up to which observations were taken in: what comes for earlier times is late."""
        self.counters: dict[str, int] = {}

    # ---------------------------------------------------------------------------------------------------- buffering
    def observe(self, observation: Observation) -> None:
        """Buffer an observation, or withdraw it."""
        key = (int(observation.utterance), observation.event_at)
        slot = self._slot(key, "observations_late" if observation.counts > 0 else "withdrawals_late")
        if slot is None:
            return
        seen = Seen(
            observation.labels,
            observation.model,
            observation.session or "",
            observation.speaker or "",
            weight_of(observation.inclusion_probability),
        )
        count = observation.counts + sum(count for known, count in slot.seen if known == seen)
        slot.seen = sorted([*(pair for pair in slot.seen if pair[0] != seen), (seen, count)])

    def score(self, outcome: Outcome) -> None:
        """Buffer a version of a reference, or void it."""
        key = (int(outcome.utterance), outcome.event_at)
        slot = self._slot(key, "versions_late" if outcome.holds and outcome.counts >= 0 else "withdrawals_late")
        if slot is None:
            return
        counts = outcome.score.counts
        version = Version(
            outcome.revision,
            outcome.reference_at,
            outcome.reference_digest,
            outcome.source == Source.SAMPLED,
            weight_of(outcome.inclusion_probability),
            counts.substitutions,
            counts.deletions,
            counts.insertions,
            counts.reference_words,
            outcome.score.empty_reference or counts.reference_words == 0,
        )
        kept = slot.versions if outcome.holds else slot.void
        if version not in kept:
            insort(kept, version)

    def _slot(self, key: SlotKey, late: str) -> Slot | None:
        slot = self._slots.get(key)
        if slot is None:
            if key[1] <= self.taken_until:
                self._count(late)
                return None
            if len(self._slots) >= self.settings.slots_max:
                self._count("slots_dropped")
                return None
            slot = self._slots[key] = Slot([], [], [])
            self._waiting.add(key)
        self._dirty.add(key)
        return slot

    def _count(self, name: str, amount: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + amount

    def first_waiting(self) -> float | None:
        """Earliest event time that no look has taken in."""
        return min((key[1] for key in self._waiting), default=None)

    def last_waiting(self) -> float | None:
        """Latest event time that no look has taken in."""
        return max((key[1] for key in self._waiting), default=None)

    # ---------------------------------------------------------------------------------------------------- taking in
    def take_in(self, now: float, maturity: float | None) -> list[tuple[float, str, Seen]]:
        """Assign everything observed up to `now` to units: (event time, unit, what was seen), in event-time order."""
        due = sorted((key[1], key[0]) for key in self._waiting if key[1] <= now)
        taken: list[tuple[float, str, Seen]] = []
        for event_at, utterance in due:
            key = (utterance, event_at)
            self._waiting.discard(key)
            self._dirty.add(key)
            slot = self._slots[key]
            seen = slot.present()
            if seen is None:
                self._count("withdrawn" if slot.seen else "versions_unmatched")
                del self._slots[key]
                continue
            slot.unit = self._assign(key, seen, maturity)
            taken.append((event_at, slot.unit, seen))
        self.taken_until = max(now, self.taken_until)
        return taken

    def _assign(self, key: SlotKey, seen: Seen, maturity: float | None) -> str:
        utterance, event_at = key
        owner = f"s:{seen.session}" if seen.session else f"p:{seen.speaker}" if seen.speaker else ""
        known = self._units.get(self._current.get(owner, "")) if owner else None
        if known is not None and self._continues(known, event_at, maturity):
            known.ended_at = event_at
            known.members.append(key)
            return known.identity
        identity = f"{owner}@{event_at!r}" if owner else f"u:{utterance:016x}@{event_at!r}"
        self._open(identity, owner, key)
        return identity

    def _continues(self, unit: OpenUnit, event_at: float, maturity: float | None) -> bool:
        pause = self.settings.pause_seconds if unit.owner.startswith("p:") else self.settings.span_seconds
        if maturity is not None:
            # A unit that could be closed by now must not grow: closing then depends on times only, not on looks.
            pause = min(pause, maturity)
        return event_at - unit.ended_at <= pause and event_at - unit.first_at <= self.settings.span_seconds

    def _open(self, identity: str, owner: str, key: SlotKey) -> None:
        self._units[identity] = OpenUnit(identity, owner, key[1], key[1], [key])
        if owner:
            self._current[owner] = identity
        if self._earliest_end is None or key[1] < self._earliest_end:
            self._earliest_end = key[1]

    # ------------------------------------------------------------------------------------------------------ closing
    def close(self, now: float, maturity: float) -> list[UnitRow]:
        """Close every unit that ended by now - maturity; its rows in the order of (end, unit, labels)."""
        if self._earliest_end is None or self._earliest_end + maturity > now:
            return []
        due = [unit for unit in self._units.values() if unit.ended_at + maturity <= now]
        rows: list[UnitRow] = []
        for unit in due:
            rows.extend(self._rows(unit, unit.ended_at + maturity))
            self._forget(unit)
        self._earliest_end = min((unit.ended_at for unit in self._units.values()), default=None)
        rows.sort(key=lambda row: (row.ended_at, row.unit, row.labels))
        return rows

    def _forget(self, unit: OpenUnit) -> None:
        del self._units[unit.identity]
        if self._current.get(unit.owner) == unit.identity:
            del self._current[unit.owner]
        for key in unit.members:
            del self._slots[key]
            self._dirty.add(key)

    def _rows(self, unit: OpenUnit, deadline: float) -> Iterator[UnitRow]:
        sums: dict[Labels, list[int]] = {}
        speakers: set[str] = set()
        for key in unit.members:
            slot = self._slots[key]
            seen = slot.present()
            if seen is None:
                self._count("withdrawn")
                continue
            speakers.add(seen.speaker)
            # Those that come after closing are counted when they come: the sum does not depend on which it was.
            self._count("versions_late", sum(version.reference_at > deadline for version in slot.versions))
            total = sums.setdefault(self._slicing.fold(seen.labels), [0] * 9)
            _add(total, seen.weight, slot, deadline)
        speaker = speakers.pop() if len(speakers) == 1 else ""
        person = f"p:{speaker}" if speaker and not unit.owner.startswith("s:") else unit.identity
        for labels, total in sums.items():
            yield UnitRow(unit.ended_at, unit.identity, labels, unit.first_at, person, *total)

    # ----------------------------------------------------------------------------------------------------- maturity
    def reference_delays(self, before: float, now: float) -> list[float]:
        """Seconds to the first sampled reference given by `now`, of utterances from before `before`."""
        delays = []
        for (_, event_at), slot in self._slots.items():
            at = slot.first_reference_at()
            if slot.unit and event_at < before and at is not None and at <= now:
                delays.append(at - event_at)
        return delays

    def traffic(self) -> Iterable[tuple[OpenUnit, list[tuple[Labels, int]]]]:
        """Open units, in the order of identities, with weight and labels of each utterance that holds."""
        for identity in sorted(self._units):
            unit = self._units[identity]
            present = (self._slots[key].present() for key in unit.members)
            yield unit, [(self._slicing.fold(seen.labels), seen.weight) for seen in present if seen is not None]

    def __len__(self) -> int:
        return len(self._slots)

    # -------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        """Slots that changed since the last call."""
        written = []
        for key in sorted(self._dirty):
            slot = self._slots.get(key)
            name = f"{key[0]:016x}@{key[1]!r}"
            if slot is not None:
                written.append(Change("slots", name, msgspec.msgpack.encode(slot)))
                self._stored.add(key)
            elif key in self._stored:
                written.append(Change("slots", name, None))
                self._stored.discard(key)
        self._dirty.clear()
        return written

    def restore(self, key: str, value: bytes) -> None:
        """Take back one slot, in any order; units are put together again from their slots."""
        utterance, _, at = key.partition("@")
        slot_key = (int(utterance, 16), float(at))
        self._stored.add(slot_key)
        slot = self._slots[slot_key] = msgspec.msgpack.decode(value, type=Slot)
        if not slot.unit:
            self._waiting.add(slot_key)
            return
        self.restore_member(slot.unit, slot_key)

    def restore_member(self, identity: str, key: SlotKey) -> None:
        """Put a slot back into its unit."""
        owner = "" if identity.startswith("u:") else identity.rpartition("@")[0]
        unit = self._units.get(identity)
        if unit is None:
            first_at = float(identity.rpartition("@")[2])
            unit = self._units[identity] = OpenUnit(identity, owner, first_at, first_at, [])
            current = self._units.get(self._current.get(owner, ""))
            if owner and (current is None or current.first_at < first_at):
                self._current[owner] = identity
        insort(unit.members, key, key=lambda member: (member[1], member[0]))
        unit.ended_at = max(unit.ended_at, key[1])
        if self._earliest_end is None or key[1] < self._earliest_end:
            self._earliest_end = key[1]


def _add(total: list[int], traffic: int, slot: Slot, deadline: float) -> None:
    """Add one utterance to sums in the order of UnitRow's fields from `seen` on."""
    total[0] += 1
    total[1] += traffic
    total[2] += slot.scored(deadline)
    version = slot.best(deadline)
    if version is None or version.empty:
        return
    total[3] += 1
    total[4] += version.weight * version.substitutions
    total[5] += version.weight * version.deletions
    total[6] += version.weight * version.insertions
    total[7] += version.weight * version.words
    total[8] += version.words
