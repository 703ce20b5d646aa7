"""`Writer`: all changes to a memory, each as one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice
from sqlite3 import Connection
from typing import Any

import numpy as np
from langgraph.store.base import PutOp

from .base import Note, Provenance
from .documents.passages import Documents, vectors_of
from .items import Row, expiry, keyed, row_id, twin_of, written
from .notes import CapturedPut, least_trusts, merged, texts_of, without_secrets, words_of
from .search.words import each_counted, strings_in
from .storage import forgetting, forgotten, history, table
from .storage.database import Database
from .storage.lineage import comes_from
from .transfer import Incoming, restored
from .vectors import Matrix, Vectors

__all__ = ["Writer"]

_log = logging.getLogger(__name__)

_NO_VECTORS = np.empty((0, 0), np.float32)


@dataclass(eq=False, repr=False)
class Writer:
    """Writes a tenant's items.

    Attributes:
        database: Where they are stored.
        vectors: Makes their vectors.
        tenant: Whose items.
        fields: Which parts of a value are embedded unless a `put` says otherwise.
        clock: Seconds since 1970.
        sweep_seconds: How often writes delete expired items.
        most: The maximum number of items; None for no limit.
        kept: Called after each change.
    """

    database: Database
    vectors: Vectors
    tenant: str
    fields: tuple[str, ...]
    clock: Callable[[], float]
    sweep_seconds: float
    most: int | None
    kept: Callable[[], None]
    _last_sweep: float | None = None

    def put(self, ops: Sequence[PutOp]) -> None:
        """Apply LangGraph's writes; of several writes to a key only the last one."""
        # Filtered first, so that a skipped write does not displace another write to the same key.
        last = {(tuple(op.namespace), op.key): op for op in self._unforgotten(ops)}
        if not last:
            return
        ops = [without_secrets(op) for op in last.values()]
        texts = [texts_of(op, self.fields) for op in ops]
        vectors = iter(self.vectors.of([text for listed in texts for text in listed]))
        words = each_counted([words_of(op, listed, self.fields) for op, listed in zip(ops, texts, strict=True)])
        ids = [row_id(self.tenant, op.namespace, op.key) for op in ops]
        with self.database.writing() as db:
            self._check(db)
            now = self.clock()
            held = table.get(db, self.tenant, ids)
            meant = self._meant(db, [op.value or {} for op in ops], [isinstance(op, CapturedPut) for op in ops])
            fresh: list[tuple[Row, table.Entry]] = []
            gone: list[int] = []
            for item_id, op, listed, counts, kept in zip(ids, ops, texts, words, meant, strict=True):
                old, matrix = held.get(item_id), list(islice(vectors, len(listed)))
                if not kept:
                    continue
                if op.value is not None:
                    entry = table.Entry(counts, np.array(matrix) if matrix else _NO_VECTORS)
                    paths = op.index or self.fields
                    fresh.append((written(item_id, op, old, len(listed), paths, now), entry))
                elif old:
                    gone.append(old.seq)
            if gone:
                table.delete(db, self.tenant, gone)
            if fresh:
                table.put(db, self.tenant, fresh)
                self._trim(db)
        self.kept()
        self._sweep_if_due()

    def remember(
        self, namespace: tuple[str, ...], notes: Sequence[Note], ttl: float | None, *, captured: bool = False
    ) -> list[str]:
        """Store cleaned notes, and return their ids; see `ChromaStore.remember_all`."""
        vectors = self.vectors.of([note.text for note in notes])
        ids, _ = self._remember(namespace, notes, vectors, ttl, Documents.of((), notes), captured=captured)
        return ids

    def remember_documents(
        self, namespace: tuple[str, ...], notes: Sequence[Note], paths: Sequence[str], *, captured: bool
    ) -> int:
        """Store cleaned notes as all passages of documents; see `ChromaStore.remember_documents`."""
        vectors = vectors_of(self.database, self.vectors, self.tenant, namespace, [note.text for note in notes])
        _, superseded = self._remember(namespace, notes, vectors, None, Documents.of(paths, notes), captured=captured)
        return superseded

    def _remember(
        self,
        namespace: tuple[str, ...],
        notes: Sequence[Note],
        vectors: Matrix,
        ttl: float | None,
        documents: Documents,
        *,
        captured: bool,
    ) -> tuple[list[str], int]:
        """Store notes with their vectors; return their ids, and how many passages of the documents were superseded."""
        twins = [twin_of(namespace, note.text) for note in notes]
        with self.database.writing() as db:
            self._check(db)
            now = self.clock()
            passages = documents.held(db, self.tenant, namespace, now)
            fresh = self._not_forgotten(db, notes, captured=captured)
            same = table.twins(db, self.tenant, twins)
            # A note that is left out supersedes nothing.
            facts = iter(self._superseding(db, namespace, list(compress(notes, fresh)), same.values(), now))
            notes = [next(facts) if there else note for note, there in zip(notes, fresh, strict=True)]
            slots = [
                row_id(self.tenant, namespace, twin if note.key is None or not there else note.key)
                for note, twin, there in zip(notes, twins, fresh, strict=True)
            ]
            held = table.get(db, self.tenant, slots) | same
            taken = compress(zip(notes, twins, slots, strict=True), fresh)
            kept = merged(namespace, taken, documents.without(held, passages).values(), ttl, now)
            kept = [documents.kept(row, passages[row.id]) if row.id in passages else row for row in kept]
            for row in kept:
                if row.seq:
                    row.writers = tuple(self._repeating(db, row.id, writer) for writer in row.writers)
            history.keep(db, self.tenant, held, kept, now)
            final = {row.id: (row, vector) for row, vector in zip(kept, vectors[fresh], strict=True)}
            words = each_counted(["\n".join(strings_in(row.value)) for row, _ in final.values()])
            entries = [
                (row, table.Entry(counts, vector[None]))
                for (row, vector), counts in zip(final.values(), words, strict=True)
            ]
            gone = {item_id: row for item_id, row in passages.items() if item_id not in final}
            superseded = documents.drop(db, self.tenant, gone, self.vectors.dimensions, now)
            documents.order(db, self.tenant, [row for row, _ in final.values()], held)
            table.put(db, self.tenant, entries)
            self._trim(db)
        self.kept()
        self._sweep_if_due()
        ids = iter(kept)
        return [next(ids).id if there else slot for there, slot in zip(fresh, slots, strict=True)], superseded

    def restore(self, items: Sequence[Incoming], *, trusted: bool) -> dict[str, int]:
        """Take in items that another memory told; see `ChromaStore.restore`."""
        with self.database.writing() as db:
            self._check(db)
            count = restored(db, self.tenant, items, self.clock(), trusted=trusted)
            self._trim(db)
        self.kept()
        return count

    def forget(self, namespace: tuple[str, ...], ids: Sequence[str], writer: Mapping[str, str]) -> int:
        """Delete what a writer wrote, and every trace of it in the database files; see `ChromaStore.forget`."""
        with self.database.writing() as db:
            gone = forgetting.forget(db, self.tenant, namespace, ids, writer)
            if gone:
                db.execute("UPDATE state SET purge = 1")
        self.database.truncate_log()
        self.vectors.clear()
        self.kept()
        return len(gone)

    def sweep(self) -> int:
        """Delete expired items, and return how many there were."""
        now = self.clock()
        self._last_sweep = now
        with self.database.writing() as db:
            numbers = table.expired(db, self.tenant, now)
            if numbers:
                table.delete(db, self.tenant, numbers)
        if numbers:
            self.kept()
        return len(numbers)

    def refresh(self, rows: Iterable[Row]) -> None:
        """Restart the TTL of items because they were read."""
        limited = [row.id for row in rows if row.ttl is not None]
        if not limited:
            return
        with self.database.writing() as db:
            now = self.clock()
            # Read them again: since the search, another writer may have replaced an item or removed its TTL.
            held = table.get(db, self.tenant, limited).values()
            still = [row for row in held if row.ttl is not None and row.live(now)]
            table.refresh(db, self.tenant, {row.seq: expiry(now, row.ttl) for row in still})
        self.kept()

    def _unforgotten(self, ops: Sequence[PutOp]) -> list[PutOp]:
        """Return the operations without the writes of runs that contain forgotten text."""
        captured = [op for op in ops if isinstance(op, CapturedPut)]
        if not captured:
            return list(ops)
        with self.database.reading() as db:
            again = forgotten.repeats(db, self.tenant, [op.value or {} for op in captured])
        gone = {id(op) for op, met in zip(captured, again, strict=True) if met}
        if gone:
            _log.warning("%d writes of a run were left out: a person had what they say forgotten", len(gone))
        return [op for op in ops if id(op) not in gone]

    def _not_forgotten(self, db: Connection, notes: Sequence[Note], *, captured: bool) -> list[bool]:
        """Return which notes to store: all but those in which a run repeats forgotten text."""
        values = [{**note.metadata, "text": note.text} for note in notes]
        return self._meant(db, values, [captured or bool(note.provenance.run) for note in notes])

    def _meant(self, db: Connection, values: Sequence[Mapping[str, Any]], in_run: Sequence[bool]) -> list[bool]:
        """Return which values to store; texts written outside a run are no longer treated as forgotten."""
        # A write outside a run is made on purpose.
        forgotten.lift(db, self.tenant, [value for value, run in zip(values, in_run, strict=True) if not run])
        again = forgotten.repeats(
            db, self.tenant, [value if run else {} for value, run in zip(values, in_run, strict=True)]
        )
        return [not met for met in again]

    def _check(self, db: Connection) -> None:
        """Raise if the stored vectors are now another embedder's; another process may have re-embedded them."""
        found = table.mark(db, self.tenant, self.vectors.model_id, self.vectors.dimensions)
        self.vectors.check(self.database.path, found)

    def _trim(self, db: Connection) -> None:
        """Delete the items beyond the maximum number."""
        numbers = [] if self.most is None else table.beyond(db, self.tenant, self.most)
        if numbers:
            table.delete(db, self.tenant, numbers)

    def _superseding(
        self, db: Connection, namespace: tuple[str, ...], notes: Sequence[Note], same: Iterable[Row], now: float
    ) -> list[Note]:
        """Give notes on an attribute of a subject their shared key, unless that would replace an item trusted further.

        Args:
            db: A connection inside a transaction.
            namespace: Where they are stored.
            notes: The notes.
            same: Stored items with the same text as one of them.
            now: Seconds since 1970.
        """
        shared = [keyed(note) for note in notes]
        if all(fact is note for fact, note in zip(shared, notes, strict=True)):
            return shared
        slots = [row_id(self.tenant, namespace, note.key or "") for note in shared]
        held = table.get(db, self.tenant, [*slots, *(i for note in notes for i in note.provenance.lineage)])
        trusts = {row.id: row.trust for row in held.values() if row.live(now)}
        repeated = least_trusts(row for row in same if row.live(now))
        chosen = []
        for note, fact, slot in zip(notes, shared, slots, strict=True):
            parents = [trusts[i] for i in note.provenance.lineage if i in trusts]
            said = repeated.get(twin_of(namespace, note.text), note.provenance.trust)
            trust = min([note.provenance.trust, said, *parents])
            if fact is note or trust >= trusts.get(slot, trust):
                trusts[slot] = trust
                chosen.append(fact)
            else:
                chosen.append(note)
        return chosen

    def _repeating(self, db: Connection, item_id: str, writer: Provenance) -> Provenance:
        """Drop from a writer's lineage the items made from the text it repeats; they still lower its trust."""
        back = [parent for parent in writer.lineage if comes_from(db, table.encoded(self.tenant), parent, item_id)]
        if not back:
            return writer
        trust = min([writer.trust, *(row.trust for row in table.get(db, self.tenant, back).values())])
        return replace(writer, trust=trust, lineage=tuple(i for i in writer.lineage if i not in back))

    def _sweep_if_due(self) -> None:
        # Also if the clock was set back.
        if self._last_sweep is None or not 0 <= self.clock() - self._last_sweep < self.sweep_seconds:
            self.sweep()
