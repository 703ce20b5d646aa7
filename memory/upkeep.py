"""`Upkeep`: a memory's maintenance operations: forgetting, exporting, restoring, counting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..configs.errors import ConfigError
from ..configs.redact import redact
from . import transfer
from .calls import in_thread, served
from .notes import check_prefix
from .serving.connection import Connection
from .storage import forgotten, table
from .storage.database import Database
from .storage.folder import Folder
from .vectors import Vectors
from .writer import Writer

__all__ = ["Upkeep"]

_COUNTED = {
    "namespaces": "count(DISTINCT namespace) FROM items",
    "vectors": "coalesce(sum(vectors), 0) FROM items",
    "former_texts": "count(*) FROM (SELECT tenant FROM history UNION ALL SELECT tenant FROM items WHERE expires < 0)",
    "waiting_for_chroma": "count(DISTINCT seq) FROM outbox",
    "forgotten": "count(*) FROM forgotten",
}


class Upkeep:
    """The maintenance operations of `ChromaStore`; see there."""

    _server: Connection | None = None
    _folder: Folder
    _database: Database
    _vectors: Vectors
    _writer: Writer
    _tenant: str
    _clock: Callable[[], float]

    @property
    def tenant(self) -> str:
        """The tenant whose memory it is."""
        return self._tenant

    @served
    def sweep_ttl(self) -> int:
        """Delete expired items and return how many; writes do this every few minutes anyway."""
        return self._writer.sweep()

    @served
    def forget(
        self,
        *,
        ids: Sequence[str] = (),
        source: str | None = None,
        author: str | None = None,
        run: str | None = None,
        namespace: tuple[str, ...] | None = None,
        tenant: bool = False,
    ) -> int:
        """Delete what was written from a source, by an author or in a run; return the number of items affected.

        An item with several writers is deleted, with its `history`, as soon as one of them matches. If the item has
        since been replaced by another text, it stays and only the matching versions leave its history. Later writes of
        runs and plain puts that contain a forgotten text of four words or more are deleted too. If several arguments
        are given, all must match. When this returns, no forgotten text is left in the memory's files, nor in the
        embedder's cache in this process. The vectors are gone too, unless another process is using Chroma; that process
        drops them with its next batch. A digest of each text is kept, so that no run stores it again (`remember_all`).
        `pointsman.graphs.forgetting` also covers runs and conversations that read the text.

        Args:
            ids: Only these items.
            source: The source to forget; a document includes all its sections (``cards.md`` covers ``cards.md#fees``).
            author: The author to forget.
            run: The run to forget.
            namespace: Only at or below this namespace; if given alone, everything there.
            tenant: Everything of this tenant.

        Raises:
            ConfigError: If no argument is given, since that would delete the tenant's whole memory, or if ``ids`` is a
                string.
        """
        if isinstance(ids, str):
            raise ConfigError("forget takes a list of ids: ids=[...]")
        if not (ids or source or author or run or namespace or tenant):
            raise ConfigError(
                "forget needs a source, a run or a namespace (or ids, an author, tenant=True): name what to forget"
            )
        check_prefix(namespace or ())
        writer = {"source": redact(source or ""), "author": author, "run": run}
        asked = {name: text for name, text in writer.items() if text}
        count = self._writer.forget(namespace or (), ids, asked)
        self._folder.purge()
        return count

    @served
    def was_forgotten(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether `forget` deleted it, or deleted a text of four words or more that it contains.

        Letter case, punctuation and white space are ignored.
        """
        with self._database.reading() as db:
            return forgotten.met(db, self._tenant, texts)

    @served
    def exported(self, after: int = 0, limit: int = 500) -> list[dict[str, Any]]:
        """Return the next items with their history as lossless JSON objects, oldest first.

        Args:
            after: ``seq`` of the last item of the previous page; 0 to begin.
            limit: The maximum number of items; a shorter page is the last one.
        """
        with self._database.reading() as db:
            self._vectors.check(self._database.path, table.made_by(db, table.encoded(self._tenant)))
            return transfer.page(db, self._tenant, self._vectors.dimensions, self._clock(), after, limit)

    @served
    def restore(
        self, items: Sequence[Mapping[str, Any]], *, embedder: str = "", trusted: bool = False
    ) -> dict[str, int]:
        """Import items that `exported` returned; importing them again changes nothing.

        One that is here keeps what it is if it was written later than the one that comes, and never gains trust; one
        that is trusted further is replaced by none of somebody else's that says something else. What was forgotten here
        stays so, and of a history only the rest is taken in.

        Args:
            items: The items.
            embedder: Name of the embedder that made their vectors; if it is not this memory's, they are recomputed.
            trusted: Whether they are this user's own export. If not, they are untrusted, whatever they claim.

        Returns:
            How many were ``added``, ``replaced``, and left out as ``unchanged``, ``newer`` here, ``less_trusted`` than
            here, ``expired`` or ``forgotten``; and of how many the vectors were ``embedded``.

        Raises:
            ConfigError: If one is not such an item, belongs to another tenant, or would be made from itself; then none
                is imported.
        """
        dimensions = self._vectors.dimensions if embedder == self._vectors.model_id else None
        listed = [transfer.read(item, self._tenant, dimensions, trusted=trusted) for item in items]
        made = transfer.embedded(listed, self._vectors)
        try:
            count = self._writer.restore(listed, trusted=trusted)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return {**count, "embedded": made}

    @served
    def stats(self) -> dict[str, Any]:
        """Return statistics: counts by trust, of namespaces, vectors and former texts, bytes on disk and more."""
        number = table.encoded(self._tenant)
        with self._database.reading() as db:
            trusts = table.by_trust(db, self._tenant, self._clock())
            counts = {
                name: db.execute(f"SELECT {what} WHERE tenant = ?", (number,)).fetchone()[0]
                for name, what in _COUNTED.items()
            }
        return {
            "tenant": self._tenant,
            "items": sum(trusts.values()),
            "trust": trusts,
            **counts,
            "embedder": self._vectors.model_id,
            "dimensions": self._vectors.dimensions,
            "bytes": self._folder.sizes(),
        }

    aforget = in_thread(forget)
