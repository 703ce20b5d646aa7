"""`ServerIndex`: a memory that several machines share through a Chroma server.

The server holds every item whole, and each store a copy of them in memory, from which it reads. A store writes to the
server before it acknowledges, and marks the collection with a stamp of its own before and after; one that finds another
stamp than it knows compares what there is and fetches what differs.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import httpx
import numpy as np

from ...configs.errors import ConfigError
from ...configs.words import Trust
from ..base import Provenance
from ..items import Row
from ..vectors import mismatch
from . import table
from .chroma import collection_name, settings, started
from .folder import Folder

__all__ = ["ServerIndex"]

_STAMP = "stamp"
_PAGE = 1000


class ServerIndex:
    """Exchange a tenant's items with a server.

    Args:
        folder: The copy of them, in memory; closed with this.
        tenant: Whose items.
        host: The server.
        port: Its port.
        embedder: Name of the embedder.
        dimensions: Length of a vector.

    Raises:
        ConfigError: The server does not answer, or its vectors were made by another embedder.
    """

    def __init__(self, folder: Folder, tenant: str, host: str, port: int, embedder: str, dimensions: int) -> None:
        from chromadb.errors import ChromaError

        self._folder, self._database = folder, folder.database
        self._tenant, self._dimensions = tenant, dimensions
        self._where = f"Chroma server {host}:{port}"
        self._lock = threading.RLock()
        self._seen = ""
        self._stamps: dict[str, str] = {}
        try:
            self._system, self._api = started(settings(None, host, port))
            self._collection = self._opened(embedder, dimensions)
        except (OSError, ValueError, ChromaError, httpx.HTTPError) as error:
            raise ConfigError(f"{self._where} cannot be opened: {error}; check that it is there and running") from error
        self.pull()

    def pull(self) -> None:
        """Fetch what others have written."""
        with self._lock:
            stamp = self._stamp()
            if stamp != self._seen:
                there = dict(self._listed())
                gone = [item_id for item_id in self._stamps if item_id not in there]
                fresh = [item_id for item_id, mark in there.items() if self._stamps.get(item_id) != mark]
                self._take(fresh, gone)
                self._seen, self._stamps = stamp, there

    def changed(self) -> None:
        """Send what was written here."""
        with self._lock:
            with self._database.reading() as db:
                changes = db.execute("SELECT place, id, vectors FROM outbox ORDER BY place").fetchall()
            if not changes:
                return
            most: dict[str, int] = {}
            for _, item_id, vectors in changes:
                most[item_id] = max(most.get(item_id, 0), vectors)
            with self._database.reading() as db:
                rows = table.get(db, self._tenant, most)
                entries = table.entries(db, [row.seq for row in rows.values()], self._dimensions)
            stamp = uuid4().hex
            # Before, so that others look again even if this process dies half-way; after, for who looked meanwhile.
            self._mark()
            self._send(stamp, [(row, entries[row.seq]) for row in rows.values()], most)
            self._mark()
            self._stamps = {i: mark for i, mark in self._stamps.items() if i not in most} | dict.fromkeys(rows, stamp)
            with self._database.writing() as db:
                db.execute("DELETE FROM outbox WHERE place <= ?", (changes[-1][0],))

    def close(self) -> None:
        """Let go of the connections, and of the copy."""
        self._system.stop()
        self._api._session.close()
        self._folder.close()

    def purge(self) -> None:
        """Leave it to the server: what was deleted there may stay in its files until it is vacuumed."""

    def _opened(self, embedder: str, dimensions: int) -> Any:
        from chromadb.api.models.Collection import Collection
        from chromadb.errors import NotFoundError

        name = collection_name(self._tenant)
        marks = {"embedder": embedder, "dimensions": dimensions, "tenant": repr(self._tenant)}
        try:
            model = self._api.get_collection(name)
        except NotFoundError:
            space: Any = {"hnsw": {"space": "cosine"}}
            model = self._api.create_collection(name, metadata=marks, configuration=space, get_or_create=True)
        found = model.metadata or {}
        if (found.get("embedder"), found.get("dimensions")) != (embedder, dimensions):
            raise mismatch(self._where, (found.get("embedder"), found.get("dimensions")), (embedder, dimensions))
        return Collection(client=self._api, model=model, embedding_function=None, data_loader=None)

    def _stamp(self) -> str:
        got: Any = self._collection.get(ids=[_STAMP], include=["documents"])
        return str(got["documents"][0]) if got["ids"] else ""

    def _mark(self) -> None:
        zero: Any = np.zeros((1, self._dimensions), np.float32)
        self._collection.upsert(ids=[_STAMP], embeddings=zero, documents=[uuid4().hex])

    def _listed(self) -> Iterator[tuple[str, str]]:
        offset = 0
        while True:
            got: Any = self._collection.get(limit=_PAGE, offset=offset, include=["metadatas"])
            for item_id, meta in zip(got["ids"], got["metadatas"], strict=True):
                if meta and "vectors" in meta:
                    yield item_id, str(meta["stamp"])
            offset += _PAGE
            if len(got["ids"]) < _PAGE:
                return

    def _take(self, fresh: list[str], gone: list[str]) -> None:
        items: list[tuple[Row, table.Entry]] = []
        for some in table.slices(fresh):
            got: Any = self._collection.get(ids=list(some), include=["documents", "embeddings"])
            matrices = {i: [vector] for i, vector in zip(got["ids"], got["embeddings"], strict=True)}
            documents = {i: json.loads(text) for i, text in zip(got["ids"], got["documents"], strict=True)}
            further = [p for i, about in documents.items() for p in _parts(i, 1, about["vectors"])]
            for ids in table.slices(further):
                more: Any = self._collection.get(ids=list(ids), include=["embeddings"])
                found = dict(zip(more["ids"], more["embeddings"], strict=True))
                for part in (part for part in ids if part in found):
                    matrices[part.partition(":")[0]].append(found[part])
            items += [_decoded(item_id, about, matrices[item_id]) for item_id, about in documents.items()]
        with self._database.writing() as db:
            table.put(db, self._tenant, items)
            table.delete(db, self._tenant, [row.seq for row in table.get(db, self._tenant, gone).values()])
            db.execute("DELETE FROM outbox")

    def _send(self, stamp: str, items: list[tuple[Row, table.Entry]], most: dict[str, int]) -> None:
        lines: list[tuple[str, Any, str, dict[str, Any]]] = []
        for row, entry in items:
            # Chroma has no row without a vector; the zero vector is at cosine 0 to everything.
            first = entry.vectors[0] if row.vectors else np.zeros(self._dimensions, np.float32)
            lines.append((row.id, first, _encoded(row, entry), {"stamp": stamp, "vectors": row.vectors}))
            parts = zip(_parts(row.id, 1, row.vectors), entry.vectors[1:], strict=True)
            lines += [(part, vector, "", {"of": row.id}) for part, vector in parts]
        for some in table.slices(lines, _PAGE):
            ids, vectors, documents, metadatas = zip(*some, strict=True)
            embeddings: Any = np.array(vectors)
            self._collection.upsert(
                ids=list(ids), embeddings=embeddings, documents=list(documents), metadatas=list(metadatas)
            )
        kept = {row.id: max(row.vectors, 1) for row, _ in items}
        gone = [p for i, count in most.items() for p in _parts(i, kept.get(i, 0), max(count, 1))]
        for listed in table.slices(gone, _PAGE):
            self._collection.delete(ids=list(listed))


def _parts(item_id: str, start: int, stop: int) -> list[str]:
    """Return the ids of an item's vectors; the first lies in the item's own row."""
    return [f"{item_id}:{n}" if n else item_id for n in range(start, stop)]


def _encoded(row: Row, entry: table.Entry) -> str:
    return json.dumps(
        {
            "namespace": row.namespace,
            "key": row.key,
            "value": row.value,
            "created": row.created,
            "updated": row.updated,
            "ttl": row.ttl,
            "expires": row.expires,
            "twin": row.twin,
            "vectors": row.vectors,
            "trust": row.trust.value,
            "words": entry.words.tolist(),
            "writers": [asdict(writer) for writer in row.writers],
        }
    )


def _decoded(item_id: str, about: dict[str, Any], vectors: list[Any]) -> tuple[Row, table.Entry]:
    writers = tuple(
        Provenance(
            **{
                **writer,
                "trust": Trust(writer["trust"]),
                "lineage": tuple(writer["lineage"]),
                "span": tuple(writer["span"]) if writer["span"] else None,
            }
        )
        for writer in about.pop("writers")
    )
    words = np.array(about.pop("words"), np.uint32).reshape(-1, 2)
    about |= {"namespace": tuple(about["namespace"]), "trust": Trust(about["trust"])}
    row = Row(id=item_id, writers=writers, **about)
    matrix = np.array(vectors, np.float32)[: row.vectors]
    return row, table.Entry(words, matrix)
