"""Documents that are added again: their new passages, and what becomes of those that are no longer in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from sqlite3 import Connection

import numpy as np

from ...configs.words import Trust
from ..base import Note, Provenance
from ..items import Row, twin_of
from ..storage import table
from ..storage.database import Database
from ..vectors import Matrix, Vectors

__all__ = ["Documents", "vectors_of"]


@dataclass(frozen=True, slots=True)
class Documents:
    """Files, or folders of them, that are read into a namespace anew.

    Attributes:
        paths: Their absolute paths.
        trust: How far their passages are trusted now; passages that are trusted further are left alone.
    """

    paths: tuple[str, ...]
    trust: Trust

    @classmethod
    def of(cls, paths: Sequence[str], notes: Sequence[Note]) -> Documents:
        """Return them, trusted as the least trusted of their notes."""
        return cls(tuple(paths), min((note.provenance.trust for note in notes), default=Trust.UNTRUSTED))

    def wrote(self, writer: Provenance) -> bool:
        """Whether a text was written as a passage of one of them."""
        file = writer.document
        inside = any(file == path or file.startswith(path.rstrip("/") + "/") for path in self.paths)
        return inside and bool(file) and writer.trust <= self.trust

    def held(self, db: Connection, tenant: str, namespace: Sequence[str], now: float) -> dict[str, Row]:
        """Return by id the items that were passages of them so far.

        Args:
            db: A connection.
            tenant: Whose items.
            namespace: Their namespace.
            now: Seconds since 1970.
        """
        found = table.of_documents(db, tenant, namespace, self.paths) if self.paths else []
        return {row.id: row for row in found if row.live(now) and any(map(self.wrote, row.writers))}

    def without(self, rows: Mapping[str, Row], passages: Collection[str]) -> dict[str, Row]:
        """Return the items as they are without these documents: without those that nobody else wrote.

        Args:
            rows: The items by id.
            passages: Ids of the passages.
        """
        left = {row.id: self.others(row) if row.id in passages else row.writers for row in rows.values()}
        return {item_id: replace(rows[item_id], writers=writers) for item_id, writers in left.items() if writers}

    def others(self, row: Row) -> tuple[Provenance, ...]:
        """Return those who wrote an item's text elsewhere than in these documents."""
        return tuple(writer for writer in row.writers if not self.wrote(writer))

    def kept(self, row: Row, old: Row) -> Row:
        """Return a passage that is still there, with its writers in the order they have been in.

        Args:
            row: The item as written now, the others who wrote it first.
            old: As it was before.
        """
        others = len(self.others(old))
        place = next(n for n, writer in enumerate(old.writers) if self.wrote(writer))
        writers = (*row.writers[:place], *row.writers[others:], *row.writers[place:others])
        trust = min(row.trust, old.trust)
        return replace(row, seq=old.seq, created=old.created, trust=trust, writers=writers)

    def drop(self, db: Connection, tenant: str, gone: Mapping[str, Row], dimensions: int, now: float) -> int:
        """Supersede passages that are no longer in the documents, and return how many; what others wrote too stays.

        Args:
            db: A connection inside a transaction.
            tenant: Whose they are.
            gone: The passages by id.
            dimensions: Length of a vector.
            now: Seconds since 1970.
        """
        left = {row.seq: replace(row, writers=others) for row in gone.values() if (others := self.others(row))}
        if left:
            entries = table.entries(db, list(left), dimensions)
            table.put(db, tenant, [(row, entries[seq]) for seq, row in left.items()])
        over = [row.seq for row in gone.values() if row.seq not in left]
        if over:
            table.supersede(db, tenant, over, now)
        return len(over)

    def order(self, db: Connection, tenant: str, rows: Sequence[Row], held: Mapping[str, Row]) -> None:
        """Free the numbers of passages that are to get new ones, by which a recall knows what stands beside what.

        Args:
            db: A connection inside a transaction, in which the passages are written next.
            tenant: Whose they are.
            rows: The passages in the order of their documents.
            held: What is stored under their ids, and more, by id.
        """
        if self.paths:
            # A passage that comes back is numbered like a new one.
            back = [held[row.id].seq for row in rows if not row.seq and row.id in held]
            table.unnumber(db, tenant, [*back, *_out_of_order(rows)])


def vectors_of(
    database: Database, vectors: Vectors, tenant: str, namespace: Sequence[str], texts: Sequence[str]
) -> Matrix:
    """Return the vectors of passages; those of texts that are stored already are not computed again.

    Args:
        database: Where they are stored.
        vectors: Computes the others.
        tenant: Whose they are.
        namespace: Where they belong.
        texts: The passages.
    """
    with database.reading() as db:
        vectors.check(database.path, table.made_by(db, table.encoded(tenant)))
        found = table.twins(db, tenant, [twin_of(namespace, text) for text in texts])
        rows = {row.text: row.seq for row in found.values() if row.vectors}
        entries = table.entries(db, list(rows.values()), vectors.dimensions)
    known = {text: entries[seq].vectors[0] for text, seq in rows.items()}
    fresh = [text for text in texts if text not in known]
    known.update(zip(fresh, vectors.of(fresh), strict=True))
    return np.array([known[text] for text in texts], np.float32).reshape(-1, vectors.dimensions)


def _out_of_order(rows: Iterable[Row]) -> list[int]:
    """Return the numbers of passages that are smaller than that of one before them in the same section.

    Neighbours in a recall are found by their numbers, so these have to be numbered anew.

    Args:
        rows: Passages in the order of their documents; a new one has no number and will get one above all others.
    """
    moved: list[int] = []
    last: dict[str, float] = {}
    for row in rows:
        source, place = row.writers[0].source, row.seq or inf
        if place < last.get(source, 0):
            moved.append(row.seq)
            place = inf
        last[source] = place
    return moved
