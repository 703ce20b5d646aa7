"""`Finder`: reads items of a store: by id, by namespace, by filter, by meaning and by the words of a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

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

from . import table
from .chroma import Engine
from .items import Row, check_filter, fits_namespace, matches, part_ids, row_id, under
from .retrieval import code_terms, fuse
from .vectors import Vectors

__all__ = ["Finder"]

_POOL = 32  # candidates that words and meaning are fused over, at least
_NAMING = 100  # items holding a code of the question, at most


class Finder:
    """Finds items that have not expired.

    Args:
        engine: Where they are kept.
        vectors: What they are found by.
        tenant: Whose items.
        clock: Seconds since 1970.
    """

    def __init__(self, engine: Engine, vectors: Vectors, tenant: str, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._vectors = vectors
        self._tenant = tenant
        self._clock = clock

    def answers(self, ops: Sequence[Op]) -> tuple[list[Result], dict[str, Row]]:
        """What LangGraph's reading operations find; a place is left as None for each writing one.

        Args:
            ops: All operations of a batch.

        Returns:
            A result for each, and by id the items whose time to live begins anew.

        Raises:
            InvalidNamespaceError: If a namespace has an empty label, or one with a period.
            ValueError: If a filter uses an operator LangGraph does not document, or an operation is none.
        """
        results: list[Result] = [None] * len(ops)
        gets: dict[int, GetOp] = {}
        touched: dict[str, Row] = {}
        for index, op in enumerate(ops):
            validate_op_namespace(op)
            if isinstance(op, GetOp):
                gets[index] = op
            elif isinstance(op, SearchOp):
                found = self._search(op)
                results[index] = [item for _, item in found]
                if op.refresh_ttl:
                    touched.update({row.id: row for row, _ in found})
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
                touched[row.id] = row
        return results, touched

    def fetch(self, ids: list[str]) -> dict[str, Row]:
        """The items of some ids that have not expired, by id."""
        now = self._clock()
        with self._engine.reading() as chroma:
            return {item_id: row for item_id, row in table.get(chroma, ids).items() if row.live(now)}

    def _search(self, op: SearchOp) -> list[tuple[Row, SearchItem]]:
        """Search as LangGraph does: by meaning where there is a question, and by its filter."""
        check_filter(op.filter)
        prefix, stop = tuple(op.namespace_prefix), op.offset + op.limit
        if op.limit < 1:
            return []

        def wanted(row: Row) -> bool:
            return not op.filter or matches(row.value, op.filter)

        found: list[tuple[Row, float | None]] = []
        if op.query:
            near = self._nearest(prefix, self._vectors.of_query(op.query), wanted, stop)
            found.extend(near[i] for i in sorted(near, key=lambda i: near[i][1], reverse=True))
        if len(found) < stop:
            # Items without a vector come last, without a score, as in LangGraph's own stores.
            now = self._clock()
            with self._engine.reading() as chroma:
                rows = table.scan(chroma, prefix, unindexed=bool(op.query))
                rest = (row for row in rows if row.live(now) and wanted(row))
                found += [(row, None) for row in islice(rest, stop - len(found))]
        return [(row, row.found(score)) for row, score in found[op.offset : stop]]

    def ranked(
        self, namespace: tuple[str, ...], query: str, wanted: Callable[[Row], bool], limit: int
    ) -> list[tuple[Row, float]]:
        """Rank what answers a question, best first, by meaning and words together.

        Args:
            namespace: Only at or below it.
            query: The question.
            wanted: What may be found.
            limit: How many the caller wants; as many are among these, if there are.

        Returns:
            Each item with its score, 0 to 1.
        """
        vector = self._vectors.of_query(query)
        pool = self._nearest(namespace, vector, wanted, max(_POOL, 4 * limit))
        pool |= self._naming(namespace, query, vector, wanted, pool)
        scores = fuse(query, [(row.text, cosine) for row, cosine in pool.values()])
        pairs = sorted(zip(scores, pool.values(), strict=True), key=lambda pair: -pair[0])
        return [(row, score) for score, (row, _) in pairs]

    def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        """The namespaces that hold something, as LangGraph lists them."""
        now = self._clock()
        with self._engine.reading() as chroma:
            every = {row.namespace for row in table.scan(chroma, ()) if row.live(now)}
        fitting = (n for n in every if all(fits_namespace(n, c) for c in op.match_conditions or ()))
        return sorted({n[: op.max_depth] for n in fitting})[op.offset : op.offset + op.limit]

    def _nearest(
        self, prefix: tuple[str, ...], vector: list[float], wanted: Callable[[Row], bool], need: int
    ) -> dict[str, tuple[Row, float]]:
        """Return at least ``need`` items nearest to a vector with their cosines, or all there are.

        Chroma's own condition on the namespace costs 40 ms over 10,000 rows, so the whole tenant is asked first (2 ms)
        and what lies elsewhere is dropped here; only where too little is left is Chroma told the namespace. Filters
        run here as well, so it is asked for more until enough have passed.
        """
        now, ask, narrow = self._clock(), max(2 * need, _POOL), False
        while True:
            with self._engine.searching() as chroma:
                hits = table.nearest(chroma, prefix, vector, ask, narrow=narrow)
            found = {i: pair for i, pair in hits.found.items() if pair[0].live(now) and wanted(pair[0])}
            if len(found) >= need or hits.rows < ask:
                return found
            ask, narrow = (4 * ask if narrow or not prefix else ask), True

    def _naming(
        self,
        prefix: tuple[str, ...],
        query: str,
        vector: list[float],
        wanted: Callable[[Row], bool],
        known: dict[str, tuple[Row, float]],
    ) -> dict[str, tuple[Row, float]]:
        """Return items that hold a code of the question and that the vectors alone did not bring up."""
        spellings = [s for code in code_terms(query) for s in dict.fromkeys((code, code.upper(), code.lower()))]
        if not spellings:
            return {}
        tests: list[Any] = [{"$contains": spelling} for spelling in spellings]
        now = self._clock()
        with self._engine.searching() as chroma:
            got: Any = chroma.get(
                where=under(prefix),
                where_document=tests[0] if len(tests) == 1 else {"$or": tests},
                limit=_NAMING,
                include=["metadatas", "documents"],
            )
            rows = [r for r in table.decode(got) if r.id not in known and r.vectors and r.live(now) and wanted(r)]
            ids = [i for row in rows for i in (row.id, *part_ids(row.id, 1, row.vectors))]
            return table.nearest(chroma, prefix, vector, len(ids), ids=ids).found if ids else {}
