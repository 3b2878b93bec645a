"""Decides what survives the process: one partition's pairs, documents, outbox and input positions, in one transaction.

Guarantee: what `commit` acknowledged is there after any crash, whole and at one commit's border. A damaged file is
noticed when it is opened, and the previous generation takes its place, whose older input positions make the caller
read the rest again; or it is refused by name. Never a silent difference.

Erasure: `erase`, expiry and `drop_above` remove rows at once. Pages of SQLite keep remnants of rows that were moved
between them, whatever `secure_delete` does, and the previous generation keeps the rows themselves; `rotate` rewrites
both, after which no byte of the removed text is in any file. `needs_rotation` says that it is due, `erasure_due` that
someone asked for it.

Files, locks and moves are in store_files.py, opening and recovery in store_opening.py, verification in store_scan.py,
the bytes of a row in store_rows.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from monitor.adapters import store_rows as rows
from monitor.adapters import store_scan as scan
from monitor.adapters.store_files import RotationFailed, StateFiles, StateRefused, StorageFailed, UnusableFile
from monitor.adapters.store_opening import open_current
from monitor.adapters.store_tables import Database, Table
from monitor.core.changes import Change
from monitor.core.pairing_port import HeldReference, HeldTranscript

__all__ = ["RotationFailed", "StateRefused", "StorageFailed", "Store"]

PROFILES_MAX = 16_384
"""Shared profiles held in memory, about 10 MB. Beyond, as under ten million made-up accents, rows carry their own."""

STREAMS = frozenset({"incidents", "notifications", "outcomes", "reviews", "rejected"})
_OFFSETS = "store.offsets"


class Store:
    """One partition's state file; implements `PairTable`. One thread owns it; make it by `Store.open`."""

    def __init__(
        self, files: StateFiles, loaded: scan.Loaded, connection: sqlite3.Connection, recovered: str | None
    ) -> None:
        self._files = files
        self.recovered = recovered
        """What the state was recovered from, if it was damaged."""
        self._meta = loaded.meta
        self._database = Database(files.current, connection)
        tables = {name: Table(self._database, name, loaded.meta.tables[name]) for name in scan.TABLES}
        self._tables = tuple(tables.values())
        self._profile_rows = tables[scan.PROFILES]
        self._transcript_rows = tables[scan.TRANSCRIPTS]
        self._reference_rows = tables[scan.REFERENCES]
        self._document_rows = tables[scan.DOCUMENTS]
        self._outbox_rows = tables[scan.OUTBOX]
        self._profiles = loaded.profiles
        self._profile_numbers = {profile: number for number, profile in loaded.profiles.items()}
        self._profile_uses = loaded.profile_uses
        self._transcripts = loaded.transcripts
        self._transcript_times = loaded.transcript_times
        self._references = loaded.references
        self._waiting_times = loaded.waiting_times
        self._pending = loaded.pending
        self._held_bytes = loaded.held_bytes
        self._documents = loaded.documents
        self._offsets = {
            source: int.from_bytes(self._document(table, source), "little")
            for table, source in sorted(self._documents)
            if table == _OFFSETS
        }
        self._outbox_committed = self._outbox_rows.totals.next_number - 1
        self._profiles_free = sorted(set(range(1, self._profile_rows.totals.next_number)) - set(self._profiles))
        self._dirty = False

    @classmethod
    def open(cls, path: Path, *, config_sha256: str) -> Store:
        """Open, verify and if need be recover the state at `path` (`partition-0.db`), or begin a new one.

        `config_sha256` is a hash of the settings that may not change under a state. Raises StateRefused when the state
        cannot be used and StorageFailed when the disk cannot.
        """
        files = StateFiles(path)
        files.lock()
        try:
            loaded, connection, recovered = open_current(files, config_sha256)
        except OSError as error:
            files.unlock()
            raise StorageFailed(f"state {path}: {error.strerror}") from None
        except (StateRefused, StorageFailed):
            files.unlock()
            raise
        store = cls(files, loaded, connection, recovered)
        try:
            if not files.previous.exists():
                store.rotate()
            files.write_commit(loaded.meta.commit)
        except StorageFailed:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Release the files; what was not committed is dropped."""
        self._database.broken = self._database.broken or f"state {self._files.current}: closed"
        self._database.connection.close()
        self._files.unlock()

    # -------------------------------------------------------------------------------------------------- transaction
    @property
    def commits(self) -> int:
        """Number of the last commit that the state holds."""
        return self._meta.commit

    @property
    def needs_rotation(self) -> bool:
        """Removed text still lies in the older generation, and perhaps in loose bytes of this one."""
        return self._meta.removed or self._meta.erased

    @property
    def erasure_due(self) -> bool:
        """As `needs_rotation`, for an erasure that was asked for: rotate after the next commit."""
        return self._meta.erased

    def commit(self) -> None:
        """End the transaction: state, outbox and input positions become durable together, or not at all.

        Raises StorageFailed, after which it is not known which: drop what is in memory, close, and open again.
        """
        if not self._dirty and not self._database.in_transaction:
            return
        for table in self._tables:
            table.flush()
        self._meta.commit += 1
        self._database.commit(self._meta)
        self._dirty = False
        self._outbox_committed = self._outbox_rows.totals.next_number - 1
        self._files.write_commit(self._meta.commit)

    def rotate(self) -> None:
        """Write this state as the previous generation, compact and verified, and empty the write-ahead log.

        If text was removed since the last time, this generation is rewritten too. Takes about 4 s a million rows and
        disk for a third copy. Call it right after `commit`. Raises RotationFailed if the older generation could not
        be renewed (the store goes on as before), StorageFailed if the file could not be opened again.
        """
        assert not self._dirty, "rotate follows commit"
        files, database = self._files, self._database
        try:
            files.arriving.unlink(missing_ok=True)
            database.connection.execute("VACUUM INTO ?", (str(files.arriving),))
            scan.check_copy(files.arriving, self._meta)
            files.arrive(files.previous)
            database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except UnusableFile as damage:
            files.arriving.unlink(missing_ok=True)
            raise database.failed(damage) from None
        except StorageFailed as failure:
            raise RotationFailed(str(failure)) from None
        except (sqlite3.Error, OSError) as error:
            files.arriving.unlink(missing_ok=True)
            raise RotationFailed(f"state {files.previous}: {_cause(error)}") from None
        if self.needs_rotation:
            self._rewrite_current()

    def _rewrite_current(self) -> None:
        """Replace this generation by a copy of the compact one: nothing else removes remnants from within its pages."""
        files, database = self._files, self._database
        database.connection.close()
        failure: OSError | None = None
        try:
            files.copy_previous()
        except OSError as error:
            failure = error
            files.arriving.unlink(missing_ok=True)
        try:
            database.connection = scan.connect(files.current)
        except (*scan.UNREADABLE, UnusableFile) as error:
            raise database.failed(error) from None
        if failure is not None:
            raise RotationFailed(f"state {files.current}: {_cause(failure)}")
        self._meta.removed = self._meta.erased = False
        database.commit(self._meta)  # under the number it has: nothing that a caller sees has changed

    # ---------------------------------------------------------------------------------- documents, offsets and outbox
    def documents(self) -> Iterator[tuple[str, str, bytes]]:
        """Every (table, key, value) for `Restorable.restore`, ordered by table and key."""
        for table, key in sorted(self._documents):
            if table != _OFFSETS:
                yield table, key, self._document(table, key)

    def apply(self, changes: Iterable[Change]) -> None:
        """Write the documents of a stage that changed."""
        for change in changes:
            assert change.table != _OFFSETS, "this table is the store's own"
            self._write_document(change.table, change.key, change.value)

    def offsets(self) -> dict[str, int]:
        """Next position to read of each source."""
        return dict(self._offsets)

    def set_offset(self, source: str, position: int) -> None:
        self._offsets[source] = position
        self._write_document(_OFFSETS, source, position.to_bytes(8, "little"))

    def add_outbox(self, stream: str, payload: bytes) -> None:
        """Something to publish once it is committed."""
        assert stream in STREAMS, "an unknown stream"
        self._outbox_rows.put(self._outbox_rows.next_number(), rows.encode_entry(stream, payload))
        self._dirty = True

    def outbox(self, after: int = 0, limit: int = 1000) -> list[tuple[int, str, bytes]]:
        """Committed entries (sequence, stream, payload) with a greater sequence than `after`, in order."""
        return [
            (sequence, *rows.decode_entry(payload))
            for sequence, payload in self._outbox_rows.range(after, self._outbox_committed, limit)
        ]

    def forget_outbox(self, upto: int) -> None:
        """Delete entries up to this sequence: they have been published."""
        if self._outbox_rows.delete_through(min(upto, self._outbox_committed)):
            self._dirty = True

    def _document(self, table: str, key: str) -> bytes:
        number = self._documents[table, key]
        row = self._document_rows.get(number)
        return rows.decode_document(row[rows.CHECKSUM_BYTES :])[2]

    def _write_document(self, table: str, key: str, value: bytes | None) -> None:
        number = self._documents.get((table, key))
        replaced = None if number is None else self._document_rows.get(number)
        if value is None:
            if number is not None and replaced is not None:
                self._document_rows.delete(number, replaced)
                del self._documents[table, key]
                self._dirty = True
            return
        if number is None:
            number = self._documents[table, key] = self._document_rows.next_number()
        self._document_rows.put(number, rows.encode_document(table, key, value), replaced)
        self._dirty = True

    # -------------------------------------------------------------------------------------------------------- pairs
    def transcript(self, key: int) -> HeldTranscript | None:
        number = self._transcripts.last(key)
        if number is None:
            return None
        return self._decoded(self._transcript_rows.get(number))

    def put_transcript(self, held: HeldTranscript) -> None:
        key, event_at = held.key, held.event_at
        profile = self._profile_number(held)
        if profile is not None:
            self._profile_uses[profile] += 1
        number = self._transcripts.last(key)
        replaced: bytes | None = None
        if number is None:
            number = self._transcript_rows.next_number()
            self._transcripts.add(key, number)
            self._transcript_times.add(event_at, key)
            self._transcript_came(key)
        else:
            replaced = self._transcript_rows.get(number)
            _, event_at_before = rows.key_and_time(replaced)
            if event_at_before != event_at:
                self._transcript_times.remove(event_at_before, key)
                self._transcript_times.add(event_at, key)
        row = self._transcript_rows.put(number, rows.encode_transcript(held, profile), replaced)
        self._held_bytes += len(row) + scan.ROW_OVERHEAD_BYTES
        if replaced is not None:
            self._release(replaced)
            self._meta.removed = True  # the text that was there, as when a conflict seals it
        self._dirty = True

    def mark_referenced(self, key: int) -> None:
        number = self._transcripts.last(key)
        if number is None:
            return
        row = self._transcript_rows.get(number)
        self._transcript_rows.put(number, rows.as_referenced(row[rows.CHECKSUM_BYTES :]), row)
        self._dirty = True

    def references(self, key: int) -> list[HeldReference]:
        numbers = self._references.all(key)
        if not numbers:
            return []
        found = [self._decoded_reference(self._reference_rows.get(number)) for number in numbers]
        found.sort(key=lambda held: held.rank)
        return found

    def put_reference(self, held: HeldReference) -> None:
        numbers = self._references.all(held.key)
        for number in numbers:
            row = self._reference_rows.get(number)
            if self._decoded_reference(row, with_text=False).rank == held.rank:
                self._held_bytes -= len(row) + scan.ROW_OVERHEAD_BYTES
                break
        else:
            number, row = self._reference_rows.next_number(), None
            self._references.add(held.key, number)
            if self._transcripts.last(held.key) is None:
                self._waiting_times.add(held.event_at, held.key)
            elif not numbers:
                self._pending -= 1
        written = self._reference_rows.put(number, rows.encode_reference(held), row)
        self._held_bytes += len(written) + scan.ROW_OVERHEAD_BYTES
        self._dirty = True

    def drop_reference(self, held: HeldReference) -> None:
        for number in self._references.all(held.key):
            if self._decoded_reference(self._reference_rows.get(number), with_text=False).rank == held.rank:
                self._remove_reference(held.key, number)

    def erase(self, key: int) -> None:
        number = self._transcripts.last(key)
        numbers = self._references.all(key)
        if number is not None:
            self._remove_transcript(key, number)
        for reference in numbers:
            self._remove_reference(key, reference)
        if number is not None or numbers:
            self._meta.erased = self._dirty = True

    def expire_transcripts(self, before: float, limit: int) -> list[HeldTranscript]:
        expired: list[HeldTranscript] = []
        for _, key in self._transcript_times.below(before, limit):
            number = self._transcripts.last(key)
            assert number is not None, "an index lost a row"
            expired.append(self._decoded(self._transcript_rows.get(number), with_text=False))
            for reference in self._references.all(key):
                self._remove_reference(key, reference)
            self._remove_transcript(key, number)
        return expired

    def expire_references(self, before: float, limit: int) -> list[HeldReference]:
        found: list[tuple[float, int, int, bytes, int, HeldReference]] = []
        # A key may occur as often as it has versions: take each once, with all of its versions of that time.
        for event_at, key in dict.fromkeys(self._waiting_times.below(before, limit)):
            for number in self._references.all(key):
                held = self._decoded_reference(self._reference_rows.get(number), with_text=False)
                if held.event_at == event_at:
                    found.append((event_at, key, held.revision, held.digest, number, held))
        found.sort(key=lambda entry: entry[:4])
        for _, key, _, _, number, _ in found[:limit]:
            self._remove_reference(key, number)
        return [entry[-1] for entry in found[:limit]]

    def drop_above(self, threshold: int) -> int:
        dropped = self._transcripts.from_(threshold)
        for key, number in dropped:
            self._remove_transcript(int(key), number)
        for key, number in self._references.from_(threshold):
            self._remove_reference(int(key), number)
        return len(dropped)

    def pending(self) -> int:
        return self._pending

    def waiting(self) -> int:
        return len(self._waiting_times)

    def held(self) -> int:
        return len(self._transcripts) + len(self._references)

    def held_bytes(self) -> int:
        return self._held_bytes

    # ------------------------------------------------------------------------------------------- what follows from it
    def _decoded(self, row: bytes, with_text: bool = True) -> HeldTranscript:
        try:
            return rows.decode_transcript(row[rows.CHECKSUM_BYTES :], self._profiles, with_text)
        except rows.Damaged as damage:
            raise self._database.failed(damage) from None

    def _decoded_reference(self, row: bytes, with_text: bool = True) -> HeldReference:
        try:
            return rows.decode_reference(row[rows.CHECKSUM_BYTES :], with_text)
        except rows.Damaged as damage:
            raise self._database.failed(damage) from None

    def _transcript_came(self, key: int) -> None:
        """References of `key` no longer wait."""
        if self._references.last(key) is None:
            self._pending += 1
            return
        for number in self._references.all(key):
            self._waiting_times.remove(rows.key_and_time(self._reference_rows.get(number))[1], key)

    def _remove_transcript(self, key: int, number: int) -> None:
        """Delete the row; its references wait from now on."""
        row = self._transcript_rows.get(number)
        self._transcripts.remove(key, number)
        self._transcript_times.remove(rows.key_and_time(row)[1], key)
        numbers = self._references.all(key)
        if not numbers:
            self._pending -= 1
        for reference in numbers:
            self._waiting_times.add(rows.key_and_time(self._reference_rows.get(reference))[1], key)
        self._transcript_rows.delete(number, row)
        self._release(row)
        self._meta.removed = self._dirty = True

    def _remove_reference(self, key: int, number: int) -> None:
        row = self._reference_rows.get(number)
        self._references.remove(key, number)
        if self._transcripts.last(key) is None:
            self._waiting_times.remove(rows.key_and_time(row)[1], key)
        elif self._references.last(key) is None:
            self._pending += 1
        self._reference_rows.delete(number, row)
        self._held_bytes -= len(row) + scan.ROW_OVERHEAD_BYTES
        self._meta.removed = self._dirty = True

    def _release(self, row: bytes) -> None:
        """Take a transcript's row that goes or is replaced out of the counts: its bytes, and the use of its profile."""
        self._held_bytes -= len(row) + scan.ROW_OVERHEAD_BYTES
        profile = rows.profile_of_row(row)
        if profile is None:
            return
        self._profile_uses[profile] -= 1
        if self._profile_uses[profile] == 0:
            del self._profile_uses[profile], self._profile_numbers[self._profiles.pop(profile)]
            self._profile_rows.delete(profile, self._profile_rows.get(profile))
            self._profiles_free.append(profile)

    def _profile_number(self, held: HeldTranscript) -> int | None:
        """Number of the shared profile, a new one if there is room, or None."""
        profile = (held.customer, held.deployment, held.labels, held.model, held.language)
        number = self._profile_numbers.get(profile)
        if number is None and len(self._profiles) < PROFILES_MAX:
            # Numbers are used again: a row has two bytes for one.
            number = self._profiles_free.pop() if self._profiles_free else self._profile_rows.next_number()
            self._profile_rows.put(number, rows.encode_profile(profile))
            self._profiles[number] = profile
            self._profile_numbers[profile] = number
            self._profile_uses[number] = 0
        return number


def _cause(error: sqlite3.Error | OSError) -> str:
    return str(getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", None) or type(error).__name__)
