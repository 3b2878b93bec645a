"""Decides which utterances form one betting unit, when the unit is closed, and what was known of it by then.

A unit is a declared session, else a speaker's burst without a pause, else the utterance itself. It closes `maturity`
after its last utterance, with the references given by then; whatever comes later changes estimates, not decisions.
Everything is buffered by (utterance, event time) and looked at in event-time order, so the order of arrival leaves no
trace: neither in what closes, nor in a document. Only what comes after its look depends on arrival: it joins the unit
that it continues, or is refused for good.

Only what was corrected is remembered by utterance: of the others a unit keeps how many there were, by labels. A month
of uncorrected traffic then costs what its sessions cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from monitor.core.changes import Change
from monitor.core.open_units import OpenUnit, UnitDocument, UnitRow, document_of, identity_of, owner_of
from monitor.core.records import Labels, Observation, Outcome, Record
from monitor.core.slicing import Slicing
from monitor.core.slots import Seen, SharedSeen, Slot, SlotKey, seen_of, slot_key, slot_name

HOUR = 3600.0
DAY = 86400.0


class UnitSettings(Record, frozen=True):
    """How utterances are put together.

    pause_seconds   a speaker's burst ends after this pause: at half, a consultation falls apart into dependent
                    units; at double, two visits become one and count once
    span_seconds    no unit is longer: a constant session id would else never close and blind the detector
    slots_max       corrected utterances, and those of the last hours, buffered until their unit closes (about 600
                    bytes each), and as many open units; at half, 4 days of maturity hold 19,000 labelled utterances
                    a day; what comes above it is not decided upon, and counted
    """

    pause_seconds: float = 1800.0
    span_seconds: float = DAY
    slots_max: int = 150_000


class Units:
    """Buffers one customer's observations and versions, and closes units in event-time order."""

    def __init__(self, settings: UnitSettings, slicing: Slicing) -> None:
        self.settings = settings
        self._slicing = slicing
        self._slots: dict[SlotKey, Slot] = {}
        self._waiting: set[SlotKey] = set()
        """Slots that no look has taken in."""
        self._units: dict[str, OpenUnit] = {}
        self._by_owner: dict[str, list[str]] = {}
        """Open units of a session or speaker, oldest first: usually one."""
        self._earliest_end: float | None = None
        self._dirty: set[SlotKey] = set()
        """Slots whose document is to be written, or deleted if they are gone."""
        self._unwritten: set[SlotKey] = set()
        """Slots without a document: one that comes and goes between two checkpoints never gets one."""
        self._dirty_units: set[str] = set()
        self._unwritten_units: set[str] = set()
        self._shared = SharedSeen()
        self.taken_until = float("-inf")
        """Event time up to which observations were taken in: what comes for earlier times is late."""
        self.maturity: float | None = None
        """What the last look closed units by; None while that is unknown."""
        self.counters: dict[str, int] = {}

    # ---------------------------------------------------------------------------------------------------- buffering
    def observe(self, observation: Observation) -> bool:
        """Buffer an observation, or withdraw it; whether it came late and was taken in at once."""
        key, seen = (int(observation.utterance), observation.event_at), seen_of(observation)
        if key[1] <= self.taken_until:
            return self._observe_late(key, seen, observation.counts)
        slot = self._slots.get(key) or self._new_slot(key)
        if slot is None:
            return False
        self._dirty.add(key)
        if not slot.seen and observation.counts == 1:
            slot.seen = self._shared.once(seen)
        else:
            slot.note(seen, observation.counts)
        return False

    def _observe_late(self, key: SlotKey, seen: Seen, count: int) -> bool:
        slot = self._slots.get(key)
        if slot is None and count > 0:
            return self._take_late(key, seen)
        if slot is None:
            slot = self._slot_of_taken(key, seen, "withdrawals_late")
        if slot is None:
            return False
        before = slot.present()
        slot.note(seen, count)
        after = slot.present()
        self._dirty.add(key)
        if before != after:  # one that was taken in is withdrawn, or one that was withdrawn comes back
            unit = self._units[slot.unit]
            if before is not None:
                unit.remove(self._slicing.fold(before.labels), before.weight)
            if after is not None:
                unit.add(self._slicing.fold(after.labels), after.weight)
            self._dirty_units.add(unit.identity)
        return False

    def _take_late(self, key: SlotKey, seen: Seen) -> bool:
        """Take an utterance into the open unit that it continues, or refuse it for good."""
        owner, event_at = owner_of(seen), key[1]
        siblings = (self._units[identity] for identity in reversed(self._by_owner.get(owner, ())))
        unit = next((unit for unit in siblings if unit.first_at <= event_at), None)
        if unit is None or not self._continues(unit, event_at, self.maturity):
            if unit is not None:
                unit.sealed_at = event_at if unit.sealed_at is None else min(event_at, unit.sealed_at)
                self._dirty_units.add(unit.identity)
            self._count("observations_late")
            return False
        unit.ended_at = max(event_at, unit.ended_at)
        unit.add(self._slicing.fold(seen.labels), seen.weight)
        self._dirty_units.add(unit.identity)
        self._count("observations_late_taken")
        return True

    def score(self, outcome: Outcome) -> None:
        """Buffer a version of a reference, or void it."""
        key = (int(outcome.utterance), outcome.event_at)
        slot = self._slots.get(key)
        if slot is None and key[1] <= self.taken_until:
            late = "versions_late" if outcome.holds and outcome.counts >= 0 else "withdrawals_late"
            slot = self._slot_of_taken(key, seen_of(outcome), late)
        elif slot is None:
            slot = self._new_slot(key)
        if slot is not None:
            slot.add(outcome)
            self._dirty.add(key)

    def _slot_of_taken(self, key: SlotKey, seen: Seen, else_count: str) -> Slot | None:
        """A slot for an utterance that an open unit took in without one; None if none did, or if there is no room."""
        unit = self._unit_at(seen, key)
        weight = None if unit is None else unit.added_weight(self._slicing.fold(seen.labels), seen.weight)
        if unit is None or weight is None:
            self._count(else_count)
            return None
        slot = self._new_slot(key)
        if slot is not None:
            slot.seen = self._shared.once(seen if weight == seen.weight else replace(seen, weight=weight))
            self._join(unit, key, slot)
        return slot

    def _new_slot(self, key: SlotKey) -> Slot | None:
        """A slot for an utterance, waiting for a look if none has passed it; None if there is no room."""
        if len(self._slots) >= self.settings.slots_max:
            self._count("slots_dropped")
            return None
        slot = self._slots[key] = Slot()
        if key[1] > self.taken_until:
            self._waiting.add(key)
        if key not in self._dirty:  # else the document of one that went is still to be deleted
            self._unwritten.add(key)
        return slot

    def _unit_at(self, seen: Seen, key: SlotKey) -> OpenUnit | None:
        """The open unit that took an utterance in."""
        owner = owner_of(seen)
        if not owner:
            return self._units.get(identity_of("", key))
        units = (self._units[identity] for identity in reversed(self._by_owner.get(owner, ())))
        return next((unit for unit in units if unit.first_at <= key[1] <= unit.ended_at), None)

    def _join(self, unit: OpenUnit, key: SlotKey, slot: Slot) -> None:
        slot.unit = unit.identity
        unit.join(key)

    def _count(self, name: str, amount: int = 1) -> None:
        if amount:
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
        self.maturity = maturity
        due = sorted((key[1], key[0]) for key in self._waiting if key[1] <= now)
        taken: list[tuple[float, str, Seen]] = []
        for event_at, utterance in due:
            key = (utterance, event_at)
            self._waiting.discard(key)
            slot = self._slots[key]
            seen = slot.present()
            if seen is None:
                self._count("withdrawn" if slot.seen else "versions_unmatched")
                self._drop(key)
                continue
            unit = self._assign(key, seen, maturity)
            if unit is None:
                self._drop(key)
                continue
            unit.add(self._slicing.fold(seen.labels), seen.weight)
            self._dirty_units.add(unit.identity)
            if slot.versions or slot.void or len(slot.seen) > 1:
                self._join(unit, key, slot)
                self._dirty.add(key)
            else:
                self._drop(key)
            taken.append((event_at, unit.identity, seen))
        self.taken_until = max(now, self.taken_until)
        return taken

    def _assign(self, key: SlotKey, seen: Seen, maturity: float | None) -> OpenUnit | None:
        owner, event_at = owner_of(seen), key[1]
        known = self._units.get(self._by_owner.get(owner, [""])[-1]) if owner else None
        if known is not None and self._continues(known, event_at, maturity):
            known.ended_at = event_at
            return known
        if len(self._units) >= self.settings.slots_max:
            self._count("units_dropped")
            return None
        unit = OpenUnit(identity_of(owner, key), owner, event_at, event_at)
        self._unwritten_units.add(unit.identity)
        self._open(unit)
        return unit

    def _continues(self, unit: OpenUnit, event_at: float, maturity: float | None) -> bool:
        pause = self.settings.pause_seconds if unit.owner.startswith("p:") else self.settings.span_seconds
        if maturity is not None:
            # A unit that could be closed by now must not grow: closing then depends on times only, not on looks.
            pause = min(pause, maturity)
        if unit.sealed_at is not None and event_at >= unit.sealed_at:
            return False
        return event_at - unit.ended_at <= pause and event_at - unit.first_at <= self.settings.span_seconds

    def _open(self, unit: OpenUnit) -> None:
        self._units[unit.identity] = unit
        if unit.owner:
            self._by_owner.setdefault(unit.owner, []).append(unit.identity)
        if self._earliest_end is None or unit.ended_at < self._earliest_end:
            self._earliest_end = unit.ended_at

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
        if unit.owner:
            siblings = self._by_owner[unit.owner]
            siblings.remove(unit.identity)
            if not siblings:
                del self._by_owner[unit.owner]
        _let_go(unit.identity, self._dirty_units, self._unwritten_units)
        for key in unit.members or ():
            self._drop(key)

    def _drop(self, key: SlotKey) -> None:
        del self._slots[key]
        _let_go(key, self._dirty, self._unwritten)

    def _rows(self, unit: OpenUnit, deadline: float) -> Iterator[UnitRow]:
        sums: dict[Labels, list[int]] = {}
        speakers: dict[Labels, set[str]] = {}
        for labels, weight, number in unit.traffic():
            total = sums.setdefault(labels, [0] * 9)
            total[0] += number
            total[1] += number * weight
        for key in unit.members or ():
            slot = self._slots[key]
            seen = slot.present()
            if seen is None:
                self._count("withdrawn")
                continue
            # Those that come after closing are counted when they come: the sum does not depend on which it was.
            self._count("versions_late", sum(version.reference_at > deadline for version in slot.versions))
            folded = self._slicing.fold(seen.labels)
            _add(sums.setdefault(folded, [0] * 9), slot, deadline)
            speakers.setdefault(folded, set()).add(seen.speaker)
        for labels, total in sums.items():
            speaker, *others = speakers.get(labels, {""})
            of_unit = (unit.ended_at, unit.identity, labels, unit.first_at, unit.person)
            seen_, traffic, scored, labelled, *errors, words, plain_words = total
            counted = (seen_, traffic, scored, labelled, errors[0], errors[1], errors[2], words, plain_words)
            yield UnitRow(*of_unit, *counted, "" if others else speaker)

    # ----------------------------------------------------------------------------------------------------- maturity
    def reference_delays(self, before: float, now: float) -> list[float]:
        """Seconds to the first sampled reference given by `now`, of utterances from before `before`."""
        delays = []
        for (_, event_at), slot in self._slots.items():
            at = slot.first_reference_at()
            if slot.unit and event_at < before and at is not None and at <= now:
                delays.append(at - event_at)
        return delays

    def traffic(self) -> Iterable[tuple[OpenUnit, list[tuple[Labels, int, int]]]]:
        """Open units, in the order of identities, with (folded labels, utterances, weight)."""
        for identity in sorted(self._units):
            unit = self._units[identity]
            yield unit, [(labels, number, number * weight) for labels, weight, number in unit.traffic()]

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def open_units(self) -> int:
        return len(self._units)

    # -------------------------------------------------------------------------------------------------------- state
    def changes(self) -> list[Change]:
        """Slots and units that changed since the last call."""
        written = []
        for key in sorted(self._dirty):
            slot = self._slots.get(key)
            written.append(Change("slots", slot_name(key), None if slot is None else msgspec.msgpack.encode(slot)))
        for identity in sorted(self._dirty_units):
            unit = self._units.get(identity)
            written.append(Change("units", identity, None if unit is None else document_of(unit)))
        for names in (self._dirty, self._unwritten, self._dirty_units, self._unwritten_units):
            names.clear()
        return written

    def restore(self, table: str, key: str, value: bytes) -> None:
        """Take back one document; slots come before units."""
        if table == "units":
            stored = msgspec.msgpack.decode(value, type=UnitDocument)
            members = self._units.pop(key).members if key in self._units else None
            unit = OpenUnit(key, stored.owner, stored.first_at, stored.ended_at)
            unit.members, unit.sealed_at = members, stored.sealed_at
            if stored.traffic:
                unit.labels, unit.weight, unit.number = stored.traffic[0]
                unit.others = {(labels, weight): number for labels, weight, number in stored.traffic[1:]} or None
            self._open(unit)
            if unit.owner:
                self._by_owner[unit.owner].sort(key=lambda identity: self._units[identity].first_at)
            return
        found = slot_key(key)
        slot = self._slots[found] = msgspec.msgpack.decode(value, type=Slot)
        if len(slot.seen) == 1 and slot.seen[0][1] == 1:
            slot.seen = self._shared.once(slot.seen[0][0])
        if not slot.unit:
            self._waiting.add(found)
            return
        self._units.setdefault(slot.unit, OpenUnit(slot.unit, "", 0.0, 0.0)).join(found)


Name = TypeVar("Name", str, SlotKey)


def _let_go(name: Name, dirty: set[Name], unwritten: set[Name]) -> None:
    """Something is gone: its document is to be deleted, if it has one."""
    if name in unwritten:
        unwritten.discard(name)
        dirty.discard(name)
    else:
        dirty.add(name)


def _add(total: list[int], slot: Slot, deadline: float) -> None:
    """Add one corrected utterance to sums in the order of UnitRow's fields from `seen` on."""
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
