"""Import a memory folder of version 0.1, in which Chroma held everything."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np

from ...configs.errors import ConfigError
from ...configs.words import Trust
from ..base import Provenance
from ..items import Row, twin_of
from ..search.words import counted, strings_in
from . import table
from .chroma import settings, started
from .database import Database

__all__ = ["OLD_FILE", "import_old"]

OLD_FILE = "chroma.sqlite3"
_PAGE = 1000


def import_old(folder: Path, database: Database) -> None:
    """Move the data of version 0.1 from a folder into the database, once, and delete the old files.

    Args:
        folder: The memory's folder.
        database: The database to import into.

    Raises:
        ConfigError: If the old files cannot be read; they are left unchanged.
    """
    if not (folder / OLD_FILE).exists():
        return
    # Processes of the old version write under the same lock that this holds.
    with database.writing() as db:
        # Another process may have done it while this one waited; a tenant is recorded in the transaction that imports
        # it.
        if (folder / OLD_FILE).exists() and db.execute("SELECT 1 FROM tenants").fetchone() is None:
            _import(folder, db)
    with database.writing():
        _delete(folder)


def _import(folder: Path, db: Connection) -> None:
    from chromadb.errors import ChromaError

    try:
        system, api = started(settings(folder))
        try:
            for model in api.list_collections():
                marks = model.metadata or {}
                tenant = ast.literal_eval(marks["tenant"])
                table.mark(db, tenant, marks["embedder"], marks["dimensions"])
                table.put(db, tenant, list(_items(api, model)))
        finally:
            system.stop()
    except (ChromaError, KeyError, ValueError, OSError) as error:
        raise ConfigError(
            f"{folder} was made by version 0.1 and cannot be opened: {error}; restore it from a copy, or move it away "
            "to begin anew"
        ) from error


def _items(api: Any, model: Any) -> Iterator[tuple[Row, table.Entry]]:
    from chromadb.api.models.Collection import Collection

    collection = Collection(client=api, model=model, embedding_function=None, data_loader=None)
    rows: dict[str, Row] = {}
    parts: dict[str, dict[int, Any]] = {}
    offset = 0
    while True:
        got: Any = collection.get(limit=_PAGE, offset=offset, include=["metadatas", "documents", "embeddings"])
        for item_id, document, meta, vector in zip(
            got["ids"], got["documents"], got["metadatas"], got["embeddings"], strict=True
        ):
            owner, _, part = item_id.partition(":")
            parts.setdefault(owner, {})[int(part or 0)] = vector
            if not part:
                rows[item_id] = _row(item_id, document, meta)
        offset += _PAGE
        if len(got["ids"]) < _PAGE:
            break
    for item_id, row in rows.items():
        held = [np.asarray(parts[item_id][n], np.float32) for n in range(row.vectors) if n in parts[item_id]]
        matrix = np.array([vector / (np.linalg.norm(vector) or 1) for vector in held], np.float32)
        row.vectors = len(held)
        words = counted("\n".join(strings_in(row.value)) if held else "")
        yield row, table.Entry(words, matrix)


def _row(item_id: str, document: str, metadata: Mapping[str, Any]) -> Row:
    about = json.loads(metadata["about"])
    return Row(
        id=item_id,
        namespace=tuple(about["ns"]),
        key=about["key"],
        value=json.loads(document),
        created=about["created"],
        updated=about["updated"],
        writers=tuple(Provenance(s, a, r, Trust(t), tuple(ids)) for s, a, r, t, ids in about["writers"]),
        ttl=about["ttl"],
        expires=metadata["expires"],
        twin=twin_of(about["ns"], json.loads(document)["text"]) if metadata["twin"] else "",
        vectors=metadata["vectors"],
    )


def _delete(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and (entry / "header.bin").exists():
            shutil.rmtree(entry)
        elif entry.suffix == ".count":
            entry.unlink()
    # Last, because this file marks that there is something to import.
    (folder / OLD_FILE).unlink(missing_ok=True)
