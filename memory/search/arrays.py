"""A tenant's items as arrays, one slot per item, filled from the database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import IntEnum
from sqlite3 import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..storage import table
from .columns import Column
from .filters import field_of
from .postings import Postings
from .words import names

__all__ = ["COLUMNS", "Arrays", "Kind", "Mask", "Slots"]

Mask = NDArray[np.bool_]
Slots = NDArray[np.int64]

_UNNAMED = table.encoded("")
_TYPES: dict[str, type[np.generic]] = {
    "seq": np.int64,
    "space": np.int32,
    "source": np.int32,
    "author": np.int32,
    "document": np.int32,
    "trust": np.int8,
    "vectors": np.int32,
    "expires": np.float64,
    "updated": np.float64,
    "dead": np.bool_,
    "before": np.int32,
    "after": np.int32,
}
COLUMNS = "seq, namespace, source, author, trust, vectors, expires, updated, content"


class Kind(IntEnum):
    """What the items of a document are, by its source and its authors."""

    WHOLE = 0  # one source, one author
    SECTIONS = 1  # a source for each section, named after a "#"
    CONVERSATION = 2  # several authors


class Arrays:
    """Slots of items, in the order they were last written.

    Attributes:
        count: How many slots are in use.
        seen: The number of the change they are up to date with; -1 before they are filled.
        postings: The words of every slot.

    Args:
        dimensions: Length of a vector.
    """

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self.seen = -1
        self._clear(0)

    def _clear(self, room: int) -> None:
        room = max(room, 64)
        self.count, self._dead = 0, 0
        self._rows: dict[str, NDArray[Any]] = {name: np.zeros(room, kind) for name, kind in _TYPES.items()}
        self._vectors = np.zeros((room, self._dimensions), np.float32)
        self._more_slots: list[int] = []
        self._more: list[NDArray[np.float32]] = []
        self._slots: dict[int, int] = {}
        self._spaces: list[tuple[str, ...]] = []
        self._space_codes: dict[str, int] = {}
        self._sources: dict[str, int] = {}
        self._authors: dict[str, int] = {}
        self._documents: dict[tuple[int, str], int] = {}
        self._voices: list[int] = []
        self._kinds: list[int] = []  # plain numbers: an array made of members of an enum takes four times as long
        self._named: dict[str, list[int]] = {}
        self._last: dict[tuple[int, int], int] = {}
        self._columns: dict[str, Column] = {}
        self.postings = Postings()

    def _load(self, db: Connection, tenant: str) -> None:
        found = db.execute("SELECT seq FROM items WHERE tenant = ? AND expires >= 0 ORDER BY seq", (tenant,))
        numbers = [number for (number,) in found]
        self._clear(len(numbers) + len(numbers) // 8)
        words: list[bytes] = []
        # Selected by number, because otherwise SQLite would first sort all rows together with their vectors.
        for some in table.slices(numbers):
            rows = db.execute(
                f"SELECT {COLUMNS}, words, matrix FROM items JOIN entries USING (seq) "  # noqa: S608
                f"WHERE seq IN ({', '.join('?' * len(some))}) ORDER BY seq",
                some,
            ).fetchall()
            first = self.count
            self._append(rows)
            *_, listed, blobs = zip(*rows, strict=True)
            words += listed
            self._embed(first, blobs)
        counts = np.frombuffer(b"".join(words), np.uint32).reshape(-1, 2)
        each = np.fromiter(map(len, words), np.int64, len(words)) // (2 * counts.itemsize)
        self.postings.load(np.repeat(np.arange(len(words)), each), counts)

    def _take(self, db: Connection, values: Sequence[Any]) -> None:
        """Load a changed item: into its old slot if its content is the same, else into a new slot."""
        seq, expires, content = values[0], values[6], values[8]
        if expires < 0:
            self._bury(seq)
            return
        slot = self._slots.get(seq)
        if slot is not None and content <= self.seen:
            for name, field in zip(("trust", "vectors", "expires", "updated"), values[4:8], strict=True):
                self._rows[name][slot] = field
            return
        self._bury(seq)
        slot = self.count
        self._append([values])
        words, matrix, value = db.execute(
            "SELECT words, matrix, value FROM entries JOIN items USING (seq) WHERE seq = ?", (seq,)
        ).fetchone()
        self.postings.add(slot, np.frombuffer(words, np.uint32).reshape(-1, 2))
        self._embed(slot, [matrix])
        if self._columns:
            fields = json.loads(value)
            for name, column in self._columns.items():
                column.set(slot, field_of(fields, name))

    def _append(self, rows: Sequence[Sequence[Any]]) -> None:
        """Assign new slots to items; the first values of each row are ``COLUMNS``."""
        first, self.count = self.count, self.count + len(rows)
        if self.count > len(self._vectors):
            grow = max(len(self._vectors), len(rows))
            self._rows = {name: np.append(old, np.zeros(grow, old.dtype)) for name, old in self._rows.items()}
            self._vectors = np.concatenate([self._vectors, np.zeros((grow, self._dimensions), np.float32)])
        seqs, namespaces, sources, authors, *plain = list(zip(*rows, strict=True))[:8]
        about = list(zip(namespaces, sources, authors, strict=True))
        # Many items share the same values here, so each distinct combination is looked up once.
        codes = {each: self._codes(*each) for each in dict.fromkeys(about)}
        coded = np.array([codes[each] for each in about], np.int64).reshape(-1, 4).T
        for name, values in zip(_TYPES, (seqs, *coded, *plain), strict=False):
            self._rows[name][first : self.count] = values
        self._slots.update(zip(seqs, range(first, self.count), strict=True))
        self._link(first, *coded[:2])

    def _link(self, first: int, spaces: Slots, sources: Slots) -> None:
        """Record the neighbours of the items in slots from ``first`` on."""
        before, after = self._rows["before"], self._rows["after"]
        before[first : self.count] = after[first : self.count] = -1
        for place in np.flatnonzero(sources != self._sources.get(_UNNAMED, -1)).tolist():
            slot, key = first + place, (int(spaces[place]), int(sources[place]))
            last = before[slot] = self._last.get(key, -1)
            if last >= 0:
                after[last] = slot
            self._last[key] = slot

    def _codes(self, namespace: str, source: str, author: str) -> tuple[int, int, int, int]:
        """Return the codes of a namespace, source, author and document, adding any that are new."""
        if namespace not in self._space_codes:
            self._space_codes[namespace] = len(self._spaces)
            self._spaces.append(tuple(json.loads(namespace)))
        space, signed = self._space_codes[namespace], self._author(author)
        code = self._sources.setdefault(source, len(self._sources))
        return space, code, signed, self._document(space, source, signed)

    def _document(self, space: int, source: str, author: int) -> int:
        """Return the code of the document or conversation that a source belongs to; -1 without a source."""
        if source == _UNNAMED:
            return -1
        whole, section, _ = source.partition("#")
        code = self._documents.setdefault((space, whole.rstrip('"')), len(self._kinds))
        if code == len(self._kinds):
            self._kinds.append(Kind.WHOLE.value)
            self._voices.append(author)
        if author != self._voices[code]:
            self._kinds[code] = Kind.CONVERSATION.value
        elif section:
            self._kinds[code] = max(self._kinds[code], Kind.SECTIONS.value)
        return code

    def _author(self, encoded: str) -> int:
        """Return the code of an author, adding it if it is new."""
        code = self._authors.get(encoded)
        if code is None:
            code = self._authors[encoded] = len(self._authors)
            for name in names(json.loads(encoded)):
                self._named.setdefault(name, []).append(code)
        return code

    def _embed(self, first: int, blobs: Sequence[bytes]) -> None:
        """Store the vectors of the items in slots from ``first`` on; an item's second and later ones go elsewhere."""
        whole = 4 * self._dimensions
        if set(map(len, blobs)) == {whole}:
            rows = np.frombuffer(b"".join(blobs), np.float32).reshape(-1, self._dimensions)
            self._vectors[first : first + len(blobs)] = rows
            return
        holders = [slot for slot, blob in enumerate(blobs, first) if blob]
        plain = b"".join([blob[:whole] for blob in blobs])
        self._vectors[holders] = np.frombuffer(plain, np.float32).reshape(-1, self._dimensions)
        for slot, blob in enumerate(blobs, first):
            if len(blob) > whole:
                rows = np.frombuffer(blob, np.float32).reshape(-1, self._dimensions)[1:]
                self._more_slots += [slot] * len(rows)
                self._more += list(rows)

    def _bury(self, seq: int) -> None:
        slot = self._slots.pop(seq, None)
        if slot is not None:
            self._rows["dead"][slot] = True
            self._dead += 1
