"""`Finder`: reads items of a store: by id, by namespace, by filter, by meaning and by the words of a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from langgraph.store.base import (
    GetOp,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    validate_op_namespace,
)
from numpy.typing import NDArray

from ...configs.words import Trust
from ..items import Row, row_id
from ..storage import table
from ..storage.chroma import ChromaIndex
from ..storage.database import Database
from ..vectors import Vectors
from .filters import check_filter, fits_namespace
from .mirror import Mirror
from .retrieval import ranked, rarity

__all__ = ["Finder"]

_EXACT = 250_000  # items up to which all are looked at, in some 15 ms; beyond, Chroma finds the nearest of a tenant's
_NEAREST = 200  # how many it is asked for: of ten it finds nine, of the best of so many nearly all
_NONE = np.empty(0, np.int64)


class Finder:
    """Finds items that have not expired.

    Args:
        database: Where they are kept.
        mirror: The same as arrays.
        index: Chroma's index of their vectors, if there is one.
        vectors: What they are found by.
        tenant: Whose items.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        mirror: Mirror,
        index: ChromaIndex | None,
        vectors: Vectors,
        tenant: str,
        clock: Callable[[], float],
    ) -> None:
        self._index = index
        self._database = database
        self._mirror = mirror
        self._vectors = vectors
        self._tenant = tenant
        self._clock = clock

    def answers(self, ops: Sequence[Op]) -> tuple[list[Result], list[Row]]:
        """What LangGraph's reading operations find; a place is left as None for each writing one.

        Args:
            ops: All operations of a batch.

        Returns:
            A result for each, and the items whose time to live starts again.

        Raises:
            InvalidNamespaceError: If a namespace has an empty label, or one with a period.
            ValueError: If a filter uses an operator LangGraph does not document, or an operation is none.
        """
        results: list[Result] = [None] * len(ops)
        gets: dict[int, GetOp] = {}
        touched: list[Row] = []
        for index, op in enumerate(ops):
            validate_op_namespace(op)
            if isinstance(op, GetOp):
                gets[index] = op
            elif isinstance(op, SearchOp):
                found = self._search(op)
                results[index] = [item for _, item in found]
                if op.refresh_ttl:
                    touched += [row for row, _ in found]
            elif isinstance(op, ListNamespacesOp):
                results[index] = list(self._namespaces(op))
            elif not isinstance(op, PutOp):
                raise ValueError(f"Unknown operation type: {type(op)}")
        ids = {index: row_id(self._tenant, op.namespace, op.key) for index, op in gets.items()}
        rows = self.fetch(list(ids.values())) if ids else {}
        for index, op in gets.items():
            row = rows.get(ids[index])
            results[index] = row.item() if row else None
            if row and op.refresh_ttl:
                touched.append(row)
        return results, touched

    def fetch(self, ids: Sequence[str]) -> dict[str, Row]:
        """The items of some ids that have not expired, by id."""
        now = self._clock()
        with self._database.reading() as db:
            return {item_id: row for item_id, row in table.get(db, self._tenant, ids).items() if row.live(now)}

    def recall(
        self,
        namespace: tuple[str, ...],
        query: str,
        limit: int,
        *,
        min_score: float | None,
        min_trust: Trust | None,
        condition: Mapping[str, Any] | None,
        sources: Sequence[str],
        authors: Sequence[str],
    ) -> list[tuple[Row, float]]:
        """Rank what answers a question, best first, by meaning and words together.

        Args:
            namespace: Only at or below it.
            query: The question.
            limit: How many at most.
            min_score: Leave out what scores less.
            min_trust: Leave out what is trusted less.
            condition: A filter on values.
            sources: Only from one of these; empty for all.
            authors: Only by one of these; empty for all.

        Returns:
            Each item with its score, 0 to 1.
        """
        check_filter(condition)
        with self._mirror.current() as mirror:
            mask = mirror.mask(
                namespace, condition, indexed=True, min_trust=min_trust, sources=sources, authors=authors
            )
            vector = self._vectors.of_question(query, rarity(mirror, mask))
            slots, scores = ranked(
                mirror, query, mask, limit, lambda also: self._cosines(mirror, vector, mask, 2 * limit, also)
            )
            if min_score is not None:
                slots, scores = slots[scores >= min_score], scores[scores >= min_score]
            return self._rows(mirror, slots[:limit], scores[:limit].tolist())

    def _search(self, op: SearchOp) -> list[tuple[Row, SearchItem]]:
        """Search as LangGraph does: by meaning where there is a question, and by its filter."""
        check_filter(op.filter)
        prefix, stop = tuple(op.namespace_prefix), op.offset + op.limit
        if op.limit < 1:
            return []
        vector = self._vectors.of_query(op.query) if op.query else None
        with self._mirror.current() as mirror:
            slots, scores = np.empty(0, np.int64), list[float | None]()
            if vector is not None:
                mask = mirror.mask(prefix, op.filter, indexed=True)
                cosines = self._cosines(mirror, vector, mask, stop)
                slots = np.flatnonzero(mask)
                if stop < len(slots):
                    slots = slots[np.argpartition(-cosines[slots], stop)[:stop]]
                slots = slots[np.argsort(-cosines[slots], kind="stable")]
                scores += cosines[slots].tolist()
            if len(slots) < stop:
                # Items without a vector come last, without a score, as in LangGraph's own stores.
                rest = mirror.mask(prefix, op.filter, indexed=None if vector is None else False)
                slots = np.concatenate([slots, mirror.oldest(rest, stop - len(slots))])
                scores += [None] * (len(slots) - len(scores))
            found = self._rows(mirror, slots[op.offset : stop], scores[op.offset : stop])
        return [(row, row.found(score)) for row, score in found]

    def _cosines(
        self, mirror: Mirror, vector: Any, mask: Any, count: int, also: NDArray[np.int64] = _NONE
    ) -> NDArray[np.float32]:
        """Return the cosine of every slot, or in a large memory of those that Chroma finds nearest, and of ``also``."""
        kept = int(np.count_nonzero(mask))
        if self._index is None or kept <= _EXACT or kept < np.count_nonzero(mirror.mask((), indexed=True)):
            return mirror.cosines(vector, mask)
        near = self._index.nearest(self._tenant, vector, max(_NEAREST, count))
        if near is None:
            return mirror.cosines(vector, mask)
        slots = mirror.slots_of([*near, *self._index.waiting(self._tenant)])
        return mirror.cosines(vector, mask, np.union1d(slots, also))

    def _rows(self, mirror: Mirror, slots: Any, scores: Sequence[Any]) -> list[tuple[Row, Any]]:
        """Read the items of slots; one that another process has deleted meanwhile is left out."""
        numbers = mirror.numbers(slots)
        with self._database.reading() as db:
            rows = table.by_seq(db, numbers)
        return [(rows[seq], score) for seq, score in zip(numbers, scores, strict=True) if seq in rows]

    def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        """The namespaces that hold something, as LangGraph lists them."""
        with self._mirror.current() as mirror:
            every = mirror.namespaces()
        fitting = (n for n in every if all(fits_namespace(n, c) for c in op.match_conditions or ()))
        return sorted({n[: op.max_depth] for n in fitting})[op.offset : op.offset + op.limit]
