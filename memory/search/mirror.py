"""A tenant's items as arrays in this process, from which searches are answered exactly, in milliseconds.

They are built from the database and brought up to date by version numbers before each search, so a write by any process
is visible at once. An item that is rewritten gets a new slot and its old slot is marked dead. The arrays are rebuilt
once most slots are dead.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...configs.process.forks import reset_in_children
from ...configs.words import Trust
from ..storage import table
from ..storage.database import Database
from ..vectors import Vectors
from .arrays import COLUMNS, Arrays, Kind, Mask, Slots
from .columns import Column
from .filters import field_of
from .words import names

__all__ = ["Mirror"]

_MANY = 2000  # from this many changed rows on, rebuilding the arrays is faster than adding to them
_RARE = 16  # if a mask keeps fewer than one row in this many, those rows are gathered; otherwise scanning all is faster


class Mirror(Arrays):
    """The queries on the arrays.

    Args:
        database: What they are built from.
        tenant: Whose items.
        vectors: The embedder's vectors, to check that the stored ones match.
        clock: Seconds since 1970.
    """

    def __init__(self, database: Database, tenant: str, vectors: Vectors, clock: Callable[[], float]) -> None:
        self._database, self._tenant = database, table.encoded(tenant)
        self._clock = clock
        self._lock = threading.RLock()
        self._made_by = vectors
        super().__init__(vectors.dimensions)
        reset_in_children(self)

    @contextmanager
    def current(self) -> Iterator[Mirror]:
        """Yield the arrays, up to date with the database; no other thread can use them inside the block."""
        with self._lock:
            with self._database.reading() as db:
                self._catch_up(db)
            yield self

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        self._lock, self.seen = threading.RLock(), -1

    def mask(
        self,
        prefix: tuple[str, ...],
        condition: Mapping[str, Any] | None = None,
        *,
        indexed: bool | None = None,
        min_trust: Trust | None = None,
        sources: Sequence[str] = (),
        authors: Sequence[str] = (),
        since: float | None = None,
        until: float | None = None,
    ) -> Mask:
        """Return a mask of the slots whose item exists, has not expired, and meets all conditions.

        Args:
            prefix: Only items at or below this namespace.
            condition: A filter on the item's value.
            indexed: Whether the item must have a vector or must have none; None for all.
            min_trust: Only items with at least this trust.
            sources: Only items from one of these, or from a section of one; empty for all.
            authors: Only items by one of these; empty for all.
            since: Only items last written then or later, in seconds since 1970.
            until: Only items last written before then.
        """
        rows = {name: values[: self.count] for name, values in self._rows.items()}
        mask = ~rows["dead"]
        expires = rows["expires"]
        mask &= (expires == 0) | (expires > self._clock())
        if prefix:
            under = [space[: len(prefix)] == prefix for space in self._spaces]
            if not all(under):
                mask &= np.array(under, np.bool_)[rows["space"]]
        if indexed is not None:
            mask &= rows["vectors"] > 0 if indexed else rows["vectors"] == 0
        if min_trust is not None:
            mask &= rows["trust"] >= sorted(Trust).index(min_trust)
        if since is not None:
            mask &= rows["updated"] >= since
        if until is not None:
            mask &= rows["updated"] < until
        if authors:
            mask &= np.isin(rows["author"], [self._authors.get(table.encoded(name), -1) for name in authors])
        if sources:
            asked = {table.encoded(name)[:-1] for name in sources}
            parts = [(source[:-1], code) for source, code in self._sources.items()]
            found = [code for source, code in parts if source in asked or source.partition("#")[0] in asked]
            mask &= np.isin(rows["source"], found)
        for name, wants in (condition or {}).items():
            mask &= self._column(name).matching(wants, self.count)
        return mask

    def cosines(self, vector: NDArray[np.float32], mask: Mask, slots: Slots | None = None) -> NDArray[np.float32]:
        """Return the cosine of each slot's nearest vector to a unit vector; -1 outside the mask.

        Args:
            vector: The unit vector.
            mask: Which slots count.
            slots: Compute only these; None for all.
        """
        kept = int(np.count_nonzero(mask))
        if slots is None and kept * _RARE < self.count:
            slots = np.flatnonzero(mask)
        scores = np.full(self.count, -1.0, np.float32) if slots is not None else np.empty(self.count, np.float32)
        if slots is not None:
            scores[slots] = self._vectors[slots] @ vector
        else:
            np.matmul(self._vectors[: self.count], vector, out=scores)
        if self._more_slots:
            np.maximum.at(scores, np.asarray(self._more_slots), np.asarray(self._more) @ vector)
        if kept < self.count:
            scores[~mask] = -1.0
        return scores

    def vectors(self, slots: Slots) -> NDArray[np.float32]:
        """Return the first vector of each item."""
        return self._vectors[slots]

    def ages(self, slots: Slots) -> NDArray[np.float64]:
        """Return how long ago items were last written, in seconds; 0 if that is in the future by the clock."""
        return np.maximum(self._clock() - self._rows["updated"][slots], 0)

    def numbers_in(self, name: str, slots: Slots) -> NDArray[np.float64]:
        """Return a field of items' values; 0 where it is not a number."""
        return np.nan_to_num(self._column(name).numbers(slots))

    def by_named(self, text: str, slots: Slots) -> Mask:
        """Return which items were first written by somebody whose name occurs in a text."""
        codes = [code for name in names(text) for code in self._named.get(name, ())]
        return np.isin(self._rows["author"][slots], codes) if codes else np.zeros(len(slots), np.bool_)

    def slots_of(self, numbers: Iterable[int]) -> Slots:
        """Return the slots of the items with these numbers, skipping numbers that have no slot."""
        found = {self._slots[number] for number in numbers if number in self._slots}
        return np.array(sorted(found), np.int64)

    def numbers(self, slots: Slots) -> list[int]:
        """Return the numbers of the items in slots."""
        numbers: list[int] = self._rows["seq"][slots].tolist()
        return numbers

    def oldest(self, mask: Mask, stop: int) -> Slots:
        """Return the first ``stop`` slots of a mask, in the order their items were first written."""
        slots = np.flatnonzero(mask)
        numbers = self._rows["seq"][slots]
        if stop < len(slots):
            slots = slots[np.argpartition(numbers, stop)[:stop]]
            numbers = self._rows["seq"][slots]
        return slots[np.argsort(numbers)]

    def namespaces(self) -> set[tuple[str, ...]]:
        """Return the namespaces that hold items now."""
        present = np.unique(self._rows["space"][: self.count][self.mask(())])
        return {self._spaces[code] for code in present.tolist()}

    def beside(self, slots: Slots, reach: int, mask: Mask) -> NDArray[np.int64]:
        """Return the slots of the items written before and after each item, in the same namespace from the same source.

        Args:
            slots: The items.
            reach: How far to look on each side.
            mask: Which slots count.

        Returns:
            ``2 * reach`` slots per item, the nearest first; -1 where there is none.
        """
        found = np.empty((len(slots), 2 * reach), np.int64)
        for side, name in enumerate(("before", "after")):
            links, here = self._rows[name], slots
            for step in range(reach):
                here = np.where(here < 0, -1, links[here])
                found[:, 2 * step + side] = here
        found[(found >= 0) & ~mask[found]] = -1
        return found

    def documents(self, slots: Slots) -> Slots:
        """Return the document of each item, its source up to a ``#``; an item without a source is its own document."""
        codes = self._rows["document"][slots].astype(np.int64)
        return np.where(codes < 0, -1 - np.arange(len(slots)), codes)

    def kinds(self, slots: Slots) -> Slots:
        """Return the `Kind` of each item's document; ``WHOLE`` for an item without a source."""
        kinds, whole = self._kinds, Kind.WHOLE.value
        listed = [kinds[code] if code >= 0 else whole for code in self._rows["document"][slots].tolist()]
        return np.array(listed, np.int64)

    # Catching up

    def _catch_up(self, db: Connection) -> None:
        now = table.version(db)
        if now == self.seen:
            return
        self._made_by.check(self._database.path, table.made_by(db, self._tenant))
        changed = "FROM items WHERE tenant = ? AND version > ?"
        many = 0
        if self.seen >= 0:
            (many,) = db.execute(f"SELECT count(*) {changed}", (self._tenant, self.seen)).fetchone()
        if self.seen < 0 or many > max(_MANY, self.count // 2) or self._dead > max(_MANY, self.count // 2):
            self._load(db, self._tenant)
        else:
            for (seq,) in db.execute(
                "SELECT seq FROM gone WHERE tenant = ? AND version > ?", (self._tenant, self.seen)
            ):
                self._bury(seq)
            rows = db.execute(f"SELECT {COLUMNS} {changed}", (self._tenant, self.seen)).fetchall()
            for values in rows:
                self._take(db, values)
        self.seen = now

    def _column(self, name: str) -> Column:
        column = self._columns.get(name)
        if column is None:
            column = Column(self.count)
            with self._database.reading() as db:
                for seq, value in db.execute("SELECT seq, value FROM items WHERE tenant = ?", (self._tenant,)):
                    if seq in self._slots:
                        column.set(self._slots[seq], field_of(json.loads(value), name))
            self._columns[name] = column
        return column
