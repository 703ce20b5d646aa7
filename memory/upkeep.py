"""`Upkeep`: what a memory does about all its items: forgetting, exporting, counting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langgraph.store.base import SearchOp, validate_op_namespace

from ..configs.errors import ConfigError
from ..configs.redact import redact
from . import transfer
from .calls import in_thread, served
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
    "former_texts": "count(*) FROM history",
    "waiting_for_chroma": "count(DISTINCT seq) FROM outbox",
    "forgotten": "count(*) FROM forgotten",
}


class Upkeep:
    """The part of a `ChromaStore` that looks after it; see there."""

    _server: Connection | None = None
    _folder: Folder
    _database: Database
    _vectors: Vectors
    _writer: Writer
    _tenant: str
    _clock: Callable[[], float]

    @property
    def tenant(self) -> str:
        """Whose memory it is."""
        return self._tenant

    @served
    def sweep_ttl(self) -> int:
        """Delete what has expired and return how many items that was; writes do it every few minutes anyhow."""
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
        """Delete what was written from a source, by an author or in a run, and return of how many items that was.

        An item with several writers goes as soon as one of them fits, with its `history`; one that has said something
        else since stays, and only what fits leaves its history. What runs and plain puts have written since that holds
        a text of what is forgotten, of four words or more, goes too. Given together, the arguments narrow. When this
        returns, no text of theirs is left in the memory's files, nor what its embedder keeps of texts in this process;
        their vectors are gone too unless another process is using Chroma, which then drops them with its next batch. A
        digest of each text stays, so that no run keeps it again (`remember_all`). `pointsman.graphs.forgetting` reaches
        runs and conversations that were told, too.

        Args:
            ids: Only these items.
            source: The source to forget; a document goes with all its sections (``cards.md`` for ``cards.md#fees``).
            author: The author to forget.
            run: The run to forget.
            namespace: Only at or below this namespace; alone, all of it.
            tenant: Everything of this tenant.

        Raises:
            ConfigError: If nothing is named, since that would delete the tenant's whole memory, or a text for a list.
        """
        if isinstance(ids, str):
            raise ConfigError("forget takes a list of ids: ids=[...]")
        if not (ids or source or author or run or namespace or tenant):
            raise ConfigError(
                "forget needs a source, a run or a namespace (or ids, an author, tenant=True): name what to forget"
            )
        validate_op_namespace(SearchOp(namespace or ()))
        writer = {"source": redact(source or ""), "author": author, "run": run}
        asked = {name: text for name, text in writer.items() if text}
        count = self._writer.forget(namespace or (), ids, asked)
        self._folder.purge()
        return count

    @served
    def was_forgotten(self, texts: Sequence[str]) -> list[bool]:
        """Return of each text whether it is one that `forget` deleted, or, from four words on, holds one.

        Letter case, punctuation and white space do not count.
        """
        with self._database.reading() as db:
            return forgotten.met(db, self._tenant, texts)

    @served
    def exported(self, after: int = 0, limit: int = 500) -> list[dict[str, Any]]:
        """Return the next items with their history, as JSON objects that lose nothing, oldest first.

        Args:
            after: ``seq`` of the last item before; 0 to begin.
            limit: How many at most; fewer than that are the last.
        """
        with self._database.reading() as db:
            self._vectors.check(self._database.path, table.made_by(db, table.encoded(self._tenant)))
            return transfer.page(db, self._tenant, self._vectors.dimensions, self._clock(), after, limit)

    @served
    def restore(
        self, items: Sequence[Mapping[str, Any]], *, embedder: str = "", trusted: bool = False
    ) -> dict[str, int]:
        """Take in items that `exported` gave; taking them in again changes nothing.

        One that is here keeps what it is if it was written later than the one that comes, and never gains trust; one
        that is trusted further is replaced by none of somebody else's that says something else. What was forgotten here
        stays so, and of a history only the rest is taken in.

        Args:
            items: The items.
            embedder: Name of the embedder that made their vectors; by another one they are made anew.
            trusted: They are as this memory's user exported them. Otherwise they are untrusted, whatever they say.

        Returns:
            How many were ``added``, ``replaced``, and left out as ``unchanged``, ``newer`` here, ``less_trusted`` than
            here, ``expired`` or ``forgotten``; and of how many the vectors were ``embedded``.

        Raises:
            ConfigError: One is no such item, another tenant's, or would be made from itself; none is taken in.
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
        """Return what the memory holds: counts by trust, namespaces, vectors, former texts, bytes on disk and more."""
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
