"""Documents that are added again: their new passages, and what becomes of those that are no longer in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from sqlite3 import Connection

from ..configs.words import Trust
from .base import Note, Provenance
from .items import Row
from .storage import table

__all__ = ["Documents", "out_of_order"]


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


def out_of_order(rows: Iterable[Row]) -> list[int]:
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
