"""`Finder`: finds a store's items by id, namespace, filter, meaning, and the words of a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

from ...configs.errors import ConfigError
from ..base import Parts, Ranking, Reranker
from ..items import Row, row_id
from ..storage import table
from ..storage.chroma import ChromaIndex
from ..storage.database import Database
from ..vectors import Vectors
from .arrays import Mask
from .filters import check_filter, fits_namespace
from .mirror import Mirror
from .retrieval import AVERAGED, CONTEXTUAL, Ranked, diverse, ranked, rarity
from .words import is_content, strings_in, term, terms, words

__all__ = ["Finder"]

_EXACT = 250_000  # up to this many items all are scanned, in about 15 ms; above it, Chroma finds a tenant's nearest
_NEAREST = 200  # how many to ask Chroma for: of 10 asked for it finds 9; with 200, nearly all of the best ones
_TO_CHOOSE_FROM = 4  # a diverse choice is made from this many times the number wanted
_NONE = np.empty(0, np.int64)


class Finder:
    """Finds items that have not expired.

    Args:
        database: Where they are stored.
        mirror: The same items as arrays.
        index: Chroma's index of their vectors, if there is one.
        vectors: Makes the query's vector.
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
        """Return the results of LangGraph's read operations, with None in the place of each write operation.

        Args:
            ops: All operations of a batch.

        Returns:
            One result per operation, and the items whose TTL is to be restarted.

        Raises:
            InvalidNamespaceError: If a namespace has an empty label, or one with a period.
            ValueError: If a filter uses an operator LangGraph does not document, or an operation has an unknown type.
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

    def fetch(self, ids: Sequence[str], *, former: bool = False) -> dict[str, Row]:
        """Return the items with these ids that have not expired, by id.

        Args:
            ids: Their ids.
            former: Also those that were superseded.
        """
        now = self._clock()
        with self._database.reading() as db:
            rows = table.get(db, self._tenant, ids)
        return {i: row for i, row in rows.items() if row.live(now) or (former and row.replaced is not None)}

    def recall(
        self,
        query: str,
        limit: int,
        asked: Callable[[Mirror], Mask],
        ranking: Ranking,
        *,
        min_score: float | None,
        explain: bool,
    ) -> list[tuple[Row, float, Parts | None]]:
        """Rank the items that answer a question, best first, by meaning and words together.

        Args:
            query: The question.
            limit: The maximum number of items.
            asked: Returns the mask of items that may be found.
            ranking: What else to rank by.
            min_score: Leave out items with a lower score.
            explain: Whether to return why each item was found.

        Returns:
            Each item with its score, 0 to 1.
        """
        wide = max(limit, ranking.rerank if ranking.reranker else 0)
        self._note_use()
        with self._mirror.current() as mirror:
            mask = asked(mirror)
            held = mirror.postings.under(mask)
            vector = self._vectors.of_question(query, rarity(held, query))
            found = ranked(
                mirror,
                query,
                mask,
                held,
                wide,
                lambda also: self._cosines(mirror, vector, mask, 2 * wide, also),
                ranking,
                self._vectors.near,
                AVERAGED if self._vectors.average_words else CONTEXTUAL,
            )
            if min_score is not None:
                found = found.at(found.scores >= min_score)
            if ranking.diversity and len(found.slots):
                found = found.at(np.arange(min(len(found.slots), _TO_CHOOSE_FROM * wide)))
                found = diverse(found, mirror.vectors(found.slots), wide, ranking.diversity)
            found = found.at(np.arange(min(len(found.slots), wide)))
            rows = self._rows(mirror, found.slots, range(len(found.slots)))
        marks: dict[int, float] = {}
        if ranking.reranker and rows:
            rows, marks = _reranked(ranking.reranker, query, rows, ranking.rerank)
        return [
            (row, float(found.scores[i]), _parts(row, found, i, query, marks.get(i)) if explain else None)
            for row, i in rows[:limit]
        ]

    def _search(self, op: SearchOp) -> list[tuple[Row, SearchItem]]:
        """Search as LangGraph does: by the filter, and by meaning if there is a query."""
        check_filter(op.filter)
        prefix, stop = tuple(op.namespace_prefix), op.offset + op.limit
        if op.limit < 1:
            return []
        vector = self._vectors.of_query(op.query) if op.query else None
        self._note_use()
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
                # Items without a vector come last and have no score, as in LangGraph's own stores.
                rest = mirror.mask(prefix, op.filter, indexed=None if vector is None else False)
                slots = np.concatenate([slots, mirror.oldest(rest, stop - len(slots))])
                scores += [None] * (len(slots) - len(scores))
            found = self._rows(mirror, slots[op.offset : stop], scores[op.offset : stop])
        return [(row, row.found(score)) for row, score in found]

    def _note_use(self) -> None:
        if self._index is not None:
            self._index.used()

    def _cosines(
        self, mirror: Mirror, vector: Any, mask: Any, count: int, also: NDArray[np.int64] = _NONE
    ) -> NDArray[np.float32]:
        """Return the cosines of all slots; in a large memory, only of those Chroma finds nearest and of ``also``."""
        kept = int(np.count_nonzero(mask))
        if self._index is None or kept <= _EXACT or kept < np.count_nonzero(mirror.mask((), indexed=True)):
            return mirror.cosines(vector, mask)
        near = self._index.nearest(self._tenant, vector, max(_NEAREST, count))
        if near is None:
            return mirror.cosines(vector, mask)
        slots = mirror.slots_of([*near, *self._index.waiting(self._tenant)])
        return mirror.cosines(vector, mask, np.union1d(slots, also))

    def _rows(self, mirror: Mirror, slots: Any, scores: Sequence[Any]) -> list[tuple[Row, Any]]:
        """Read the items of slots; an item that another process has deleted in the meantime is left out."""
        numbers = mirror.numbers(slots)
        with self._database.reading() as db:
            rows = table.by_seq(db, numbers)
        return [(rows[seq], score) for seq, score in zip(numbers, scores, strict=True) if seq in rows]

    def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        """Return the namespaces that hold items, as LangGraph lists them."""
        with self._mirror.current() as mirror:
            every = mirror.namespaces()
        fitting = (n for n in every if all(fits_namespace(n, c) for c in op.match_conditions or ()))
        return sorted({n[: op.max_depth] for n in fitting})[op.offset : op.offset + op.limit]


def _reranked(
    reranker: Reranker, query: str, rows: list[tuple[Row, int]], most: int
) -> tuple[list[tuple[Row, int]], dict[int, float]]:
    """Return the items with the first ``most`` sorted by a reranker, and its scores by their previous places."""
    first = rows[:most]
    scores = reranker.score(query, [row.text for row, _ in first])
    if len(scores) != len(first):
        raise ConfigError(f"the reranker gave {len(scores)} scores for {len(first)} texts: mend or replace it")
    marks = {i: float(score) for (_, i), score in zip(first, scores, strict=True)}
    return sorted(first, key=lambda each: -marks[each[1]]) + rows[most:], marks


def _parts(row: Row, found: Ranked, place: int, query: str, reranked: float | None) -> Parts:
    there = set(terms("\n".join(strings_in(row.value))))
    matched = tuple(word for word in dict.fromkeys(words(query)) if is_content(word) and term(word) in there)
    part = {name: float(values[place]) for name, values in found.parts.items()}
    return Parts(**{"recency": 0.0, "importance": 0.0, **part}, matched=matched, reranked=reranked)
