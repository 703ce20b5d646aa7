"""Rows in a Chroma collection: reading, nearest neighbours, writing, in slices that Chroma takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from chromadb.api.models.Collection import Collection

from .items import Row, part_ids, scope, under

__all__ = ["Hits", "decode", "delete", "expired", "get", "nearest", "put", "refresh", "scan", "slices"]

_T = TypeVar("_T")

_BATCH = 5000  # Chroma takes 5,461 rows at once
_PAGE = 1000
_ROW: Any = ["metadatas", "documents"]


class Hits(NamedTuple):
    """What a vector query brought.

    Attributes:
        found: Items with the cosine of their nearest vector, by id.
        rows: How many of Chroma's rows that took; fewer than asked for means there are no more.
    """

    found: dict[str, tuple[Row, float]]
    rows: int


def slices(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Cut a sequence into what Chroma takes at once."""
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def decode(got: Mapping[str, Any]) -> list[Row]:
    """Read the items of a ``get``; rows that only carry a further vector of an item are skipped."""
    triples = zip(got["ids"], got["documents"], got["metadatas"], strict=True)
    return [Row.decode(item_id, document, meta) for item_id, document, meta in triples if "of" not in meta]


def get(chroma: Collection, ids: Iterable[str]) -> dict[str, Row]:
    """Return the items that exist among some ids."""
    wanted = list(dict.fromkeys(ids))
    return {row.id: row for some in slices(wanted) for row in decode(chroma.get(ids=list(some), include=_ROW))}


def scan(chroma: Collection, prefix: tuple[str, ...], *, unindexed: bool = False) -> Iterator[Row]:
    """Walk through everything at or below a namespace in the order it was first written.

    Args:
        chroma: The collection.
        prefix: The namespace.
        unindexed: Only items without a vector.
    """
    where = under(prefix)
    if unindexed:
        bare: dict[str, Any] = {"vectors": {"$eq": 0}}
        where = {"$and": [where, bare]} if where else bare
    offset = 0
    while True:
        got: Any = chroma.get(where=where, limit=_PAGE, offset=offset, include=_ROW)
        yield from (row for row in decode(got) if row.namespace[: len(prefix)] == prefix)
        offset += _PAGE
        if len(got["ids"]) < _PAGE:
            return


def expired(chroma: Collection, now: float) -> list[Row]:
    """Return the items whose time limit has passed by ``now``, in seconds since 1970."""
    where: Any = {"$and": [{"expires": {"$gt": 0.0}}, {"expires": {"$lte": now}}]}
    return decode(chroma.get(where=where, include=_ROW))


def nearest(
    chroma: Collection,
    prefix: tuple[str, ...],
    vector: list[float],
    count: int,
    *,
    narrow: bool = False,
    ids: list[str] | None = None,
) -> Hits:
    """Return the items at or below a namespace whose vectors are among the ``count`` nearest to a vector.

    Args:
        chroma: The collection.
        prefix: The namespace.
        vector: The query.
        count: How many rows to ask for.
        narrow: Count only rows of the namespace among the nearest, which is slow where there are many.
        ids: Look only among these rows.
    """
    got: Any = chroma.query(
        query_embeddings=np.asarray([vector], dtype=np.float32),
        n_results=count,
        where=under(prefix) if narrow else None,
        ids=ids,
        include=["metadatas", "documents", "distances"],
    )
    cosines: dict[str, float] = {}
    rows: dict[str, Row] = {}
    columns = zip(got["ids"][0], got["documents"][0], got["metadatas"][0], got["distances"][0], strict=True)
    for row_id, document, meta, distance in columns:
        item_id = str(meta.get("of", row_id))
        cosines[item_id] = max(cosines.get(item_id, -1.0), 1.0 - float(distance))
        if item_id == row_id:
            rows[item_id] = Row.decode(item_id, document, meta)
    rows |= get(chroma, cosines.keys() - rows.keys())
    found = {
        item_id: (row, cosines[item_id])
        for item_id, row in rows.items()
        # The test that counts, whatever Chroma was told: no row of another namespace leaves this function.
        if row.vectors and row.namespace[: len(prefix)] == prefix
    }
    return Hits(found, len(got["ids"][0]))


def put(
    chroma: Collection,
    fresh: Sequence[tuple[Row, Sequence[Sequence[float]]]],
    held: Mapping[str, Row],
    dimensions: int,
) -> None:
    """Write items with their vectors in place of what is held.

    Args:
        chroma: The collection.
        fresh: The items, each id once, with as many vectors as the item says.
        held: What lies there now, by id.
        dimensions: Length of a vector.
    """
    replaced = [(row, held[row.id]) for row, _ in fresh if row.id in held]
    _delete_ids(chroma, [i for row, old in replaced for i in part_ids(row.id, max(row.vectors, 1), old.vectors)])
    lines: list[tuple[str, Sequence[float], str, dict[str, Any]]] = []
    for row, vectors in fresh:
        # Chroma has no row without a vector; the zero vector is at cosine 0 to everything, and is never reported.
        first = vectors[0] if vectors else [0.0] * dimensions
        lines.append((row.id, first, row.document, row.metadata))
        further = zip(part_ids(row.id, 1, len(vectors)), vectors[1:], strict=True)
        lines += [(part, vector, "", {**scope(row.namespace), "of": row.id}) for part, vector in further]
    for some in slices(lines):
        ids, vectors_, documents, metadatas = zip(*some, strict=True)
        embeddings: Any = np.asarray(vectors_, dtype=np.float32)
        chroma.upsert(ids=list(ids), embeddings=embeddings, documents=list(documents), metadatas=list(metadatas))


def refresh(chroma: Collection, expiries: Mapping[str, float]) -> None:
    """Set when items expire, in seconds since 1970."""
    for some in slices(list(expiries.items())):
        chroma.update(ids=[i for i, _ in some], metadatas=[{"expires": expires} for _, expires in some])


def delete(chroma: Collection, rows: Iterable[Row]) -> None:
    """Delete items with all their vectors."""
    _delete_ids(chroma, [i for row in rows for i in (row.id, *part_ids(row.id, 1, row.vectors))])


def _delete_ids(chroma: Collection, ids: Sequence[str]) -> None:
    for some in slices(ids):
        chroma.delete(ids=list(some))
