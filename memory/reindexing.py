"""Re-embed a folder's memory with another embedder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from sqlite3 import Connection

from langgraph.store.base import get_text_at_path

from ..configs.errors import ConfigError
from .base import Embedder
from .storage import table
from .storage.database import FILE
from .storage.folder import Folder
from .vectors import Vectors

__all__ = ["reindex"]

_BATCH = 500  # items whose texts are embedded at once


def reindex(path: Path, embed: Embedder, tenant: str) -> int:
    """Recompute the vectors of a tenant's items; see `ChromaStore.reindex`."""
    if not (path / FILE).exists():
        raise ConfigError("there is no memory in this folder", file=path)
    vectors = Vectors(embed)
    folder = Folder.opened(path)
    try:
        # One transaction: if the process is killed half-way, all old vectors remain.
        with folder.database.writing() as db:
            count = _embed(db, table.encoded(tenant), vectors)
            table.remark(db, table.encoded(tenant), vectors.model_id, vectors.dimensions)
            db.execute("UPDATE state SET purge = 1")
        folder.purge()
    finally:
        folder.close()
    return count


def _embed(db: Connection, tenant: str, vectors: Vectors) -> int:
    now = table.next_version(db)
    found = db.execute(
        "SELECT seq, twin, value, paths FROM items LEFT JOIN indexed USING (seq) WHERE tenant = ? AND vectors > 0",
        (tenant,),
    ).fetchall()
    for some in table.slices(found, _BATCH):
        texts = [_texts(*values) for _, *values in some]
        matrix = vectors.of([text for listed in texts for text in listed])
        first = 0
        for (seq, *_), listed in zip(some, texts, strict=True):
            rows = matrix[first : first + len(listed)]
            first += len(listed)
            db.execute("UPDATE entries SET matrix = ? WHERE seq = ?", (rows.tobytes(), seq))
            db.execute(
                "UPDATE items SET vectors = ?, version = ?, content = ? WHERE seq = ?", (len(listed), now, now, seq)
            )
    return len(found)


def _texts(twin: str, value: str, paths: str | None) -> Sequence[str]:
    """Return the texts that are embedded for an item, as when it was written."""
    fields = json.loads(value)
    if twin:
        return [fields["text"]]
    return [text for path in json.loads(paths or '["$"]') for text in get_text_at_path(fields, path)]
