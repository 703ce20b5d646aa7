"""A tenant's items as arrays in this process: what every search is answered from, exactly, in milliseconds.

It is made from the database and caught up by version numbers before each search, so that what any process has written
is seen at once. An item that is written anew gets a new slot; its old one is dead, and all are made anew when most are.
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

from ..configs.words import Trust
from . import table
from .columns import Column
from .database import Database
from .filters import field_of
from .forks import renewed_in_children
from .postings import Postings

__all__ = ["Mirror"]

Mask = NDArray[np.bool_]
Slots = NDArray[np.int64]

_UNNAMED = table.encoded("")
_MANY = 2000  # rows from which on making the arrays anew is faster than adding to them
_RARE = 16  # a mask that leaves one row of so many is gathered; otherwise scanning all is faster
_TYPES: dict[str, type[np.generic]] = {
    "seq": np.int64,
    "space": np.int32,
    "source": np.int32,
    "author": np.int32,
    "trust": np.int8,
    "vectors": np.int32,
    "expires": np.float64,
    "updated": np.float64,
    "dead": np.bool_,
    "before": np.int32,
    "after": np.int32,
}
_COLUMNS = "seq, namespace, source, author, trust, vectors, expires, updated, content"


class Mirror:
    """Arrays with a slot an item.

    Args:
        database: What they are made from.
        tenant: Whose items.
        dimensions: Length of a vector.
        clock: Seconds since 1970.
    """

    def __init__(self, database: Database, tenant: str, dimensions: int, clock: Callable[[], float]) -> None:
        self._database, self._tenant = database, table.encoded(tenant)
        self._dimensions, self._clock = dimensions, clock
        self._lock = threading.RLock()
        self._seen = -1
        self._clear(0)
        renewed_in_children(self)

    @contextmanager
    def current(self) -> Iterator[Mirror]:
        """Lend the arrays as the database is now; no other thread uses them meanwhile."""
        with self._lock:
            with self._database.reading() as db:
                self._catch_up(db)
            yield self

    def anew(self) -> None:
        """Begin anew in a forked child."""
        self._lock, self._seen = threading.RLock(), -1

    def mask(
        self,
        prefix: tuple[str, ...],
        condition: Mapping[str, Any] | None = None,
        *,
        indexed: bool | None = None,
        min_trust: Trust | None = None,
        sources: Sequence[str] = (),
        authors: Sequence[str] = (),
    ) -> Mask:
        """Return which slots hold an item that exists now and is asked for.

        Args:
            prefix: At or below this namespace.
            condition: A filter on its value.
            indexed: Whether it has a vector; None for all.
            min_trust: Trusted at least so far.
            sources: From one of these; empty for all.
            authors: By one of these; empty for all.
        """
        rows = {name: values[: self.count] for name, values in self._rows.items()}
        mask = ~rows["dead"]
        expires = rows["expires"]
        mask &= (expires == 0) | (expires > self._clock())
        if prefix:
            under = [space[: len(prefix)] == prefix for space in self._spaces]
            mask &= np.array(under, np.bool_)[rows["space"]] if under else False
        if indexed is not None:
            mask &= (rows["vectors"] > 0) == indexed
        if min_trust is not None:
            mask &= rows["trust"] >= sorted(Trust).index(min_trust)
        for wanted, field, codes in ((sources, "source", self._sources), (authors, "author", self._authors)):
            if wanted:
                mask &= np.isin(rows[field], [codes.get(table.encoded(name), -1) for name in wanted])
        for name, wants in (condition or {}).items():
            mask &= self._column(name).matching(wants, self.count)
        return mask

    def cosines(self, vector: NDArray[np.float32], mask: Mask, slots: Slots | None = None) -> NDArray[np.float32]:
        """Return the cosine of each slot's nearest vector to a unit vector; -1 outside the mask.

        Args:
            vector: The unit vector.
            mask: Which slots count.
            slots: Look at these alone.
        """
        scores = np.full(self.count, -1.0, np.float32)
        if slots is None and int(np.count_nonzero(mask)) * _RARE < self.count:
            slots = np.flatnonzero(mask)
        if slots is not None:
            scores[slots] = self._vectors[slots] @ vector
        else:
            np.matmul(self._vectors[: self.count], vector, out=scores)
        if self._more_slots:
            np.maximum.at(scores, np.asarray(self._more_slots), np.asarray(self._more) @ vector)
        scores[~mask] = -1.0
        return scores

    def slots_of(self, numbers: Iterable[int]) -> Slots:
        """Return the slots of those among some numbers that are here."""
        found = {self._slots[number] for number in numbers if number in self._slots}
        return np.array(sorted(found), np.int64)

    def numbers(self, slots: Slots) -> list[int]:
        """Return the numbers of items."""
        numbers: list[int] = self._rows["seq"][slots].tolist()
        return numbers

    def oldest(self, mask: Mask, stop: int) -> Slots:
        """Return the first ``stop`` slots of a mask in the order in which their items were first written."""
        slots = np.flatnonzero(mask)
        numbers = self._rows["seq"][slots]
        if stop < len(slots):
            slots = slots[np.argpartition(numbers, stop)[:stop]]
            numbers = self._rows["seq"][slots]
        return slots[np.argsort(numbers)]

    def namespaces(self) -> set[tuple[str, ...]]:
        """Return the namespaces that hold something now."""
        present = np.unique(self._rows["space"][: self.count][self.mask(())])
        return {self._spaces[code] for code in present.tolist()}

    def beside(self, slots: Slots, reach: int, mask: Mask) -> NDArray[np.int64]:
        """Return the slots of what was written before and after items, in the same namespace from the same source.

        Args:
            slots: The items.
            reach: How far to look on each side.
            mask: Which slots count.

        Returns:
            ``2 * reach`` slots an item, the nearest first; -1 where there is none.
        """
        found = np.empty((len(slots), 2 * reach), np.int64)
        for side, name in enumerate(("before", "after")):
            links, here = self._rows[name], slots
            for step in range(reach):
                here = np.where(here < 0, -1, links[here])
                found[:, 2 * step + side] = here
        found[(found >= 0) & ~mask[found]] = -1
        return found

    # Catching up

    def _catch_up(self, db: Connection) -> None:
        now = table.version(db)
        if now == self._seen:
            return
        changed = "FROM items WHERE tenant = ? AND version > ?"
        (many,) = db.execute(f"SELECT count(*) {changed}", (self._tenant, self._seen)).fetchone()
        if self._seen < 0 or many > max(_MANY, self.count // 2) or self._dead > max(_MANY, self.count // 2):
            self._load(db)
        else:
            for (seq,) in db.execute(
                "SELECT seq FROM gone WHERE tenant = ? AND version > ?", (self._tenant, self._seen)
            ):
                self._bury(seq)
            rows = db.execute(f"SELECT {_COLUMNS} {changed}", (self._tenant, self._seen)).fetchall()
            for values in rows:
                self._take(db, values)
        self._seen = now

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
        self._last: dict[tuple[int, int], int] = {}
        self._columns: dict[str, Column] = {}
        self.postings = Postings()

    def _load(self, db: Connection) -> None:
        (count,) = db.execute("SELECT count(*) FROM items WHERE tenant = ?", (self._tenant,)).fetchone()
        self._clear(count + count // 8)
        words: list[bytes] = []
        found = db.execute(
            f"SELECT {_COLUMNS}, words, matrix FROM items JOIN entries USING (seq) WHERE tenant = ? ORDER BY seq",  # noqa: S608
            (self._tenant,),
        )
        while some := found.fetchmany(4096):
            first = self.count
            self._append(some)
            *_, listed, blobs = zip(*some, strict=True)
            words += listed
            self._embed(first, blobs)
        counts = np.frombuffer(b"".join(words), np.uint32).reshape(-1, 2)
        self.postings.load(np.repeat(np.arange(len(words)), [len(blob) // 8 for blob in words]), counts)

    def _take(self, db: Connection, values: Sequence[Any]) -> None:
        """Take a changed item: into its old slot if only what is known about it changed, else into a new one."""
        seq, content = values[0], values[8]
        slot = self._slots.get(seq)
        if slot is not None and content <= self._seen:
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
        """Give new slots to items, of which ``_COLUMNS`` are the first values."""
        first, self.count = self.count, self.count + len(rows)
        if self.count > len(self._vectors):
            grow = max(len(self._vectors), len(rows))
            self._rows = {name: np.append(old, np.zeros(grow, old.dtype)) for name, old in self._rows.items()}
            self._vectors = np.concatenate([self._vectors, np.zeros((grow, self._dimensions), np.float32)])
        seqs, namespaces, sources, authors, *plain = list(zip(*rows, strict=True))[:8]
        for namespace in namespaces:
            if namespace not in self._space_codes:
                self._space_codes[namespace] = len(self._spaces)
                self._spaces.append(tuple(json.loads(namespace)))
        spaces = [self._space_codes[namespace] for namespace in namespaces]
        coded = [self._sources.setdefault(source, len(self._sources)) for source in sources]
        signed = [self._authors.setdefault(author, len(self._authors)) for author in authors]
        for name, values in zip(_TYPES, (seqs, spaces, coded, signed, *plain), strict=False):
            self._rows[name][first : self.count] = values
        self._slots.update(zip(seqs, range(first, self.count), strict=True))
        before, after = self._rows["before"], self._rows["after"]
        before[first : self.count] = after[first : self.count] = -1
        unnamed = self._sources.get(_UNNAMED)
        for slot, key in enumerate(zip(spaces, coded, strict=True), first):
            if key[1] != unnamed:
                last = before[slot] = self._last.get(key, -1)
                if last >= 0:
                    after[last] = slot
                self._last[key] = slot

    def _embed(self, first: int, blobs: Sequence[bytes]) -> None:
        """Keep the vectors of items in slots from ``first`` on; those after an item's first lie apart."""
        whole = 4 * self._dimensions
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
