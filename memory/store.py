"""Shared memory for agents: LangGraph's store interface over SQLite and Chroma, with provenance on every item."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from langgraph.store.base import BaseStore, Op, PutOp, Result, TTLConfig, validate_op_namespace

from ..configs.errors import ConfigError
from ..configs.process.closing import Closing
from ..configs.redact import redact
from .base import Embedder, Note, Provenance
from .calls import in_thread
from .coalesce import Coalescer
from .default import default_embedder
from .items import row_id
from .notes import check_namespace, cleaned, in_run, marked
from .recalling import Recalling
from .reindexing import reindex
from .search.finder import Finder
from .search.mirror import Mirror
from .serving.connection import Connection
from .storage.folder import Folder
from .upkeep import Upkeep
from .vectors import Vectors
from .writer import Writer

__all__ = ["ChromaStore"]

_SWEEP_MINUTES = 5.0  # LangGraph's SqliteStore sweeps as often


class ChromaStore(Recalling, Upkeep, Closing, BaseStore):
    """Store agents' memory; pass it to any LangGraph graph as ``compile(store=...)``.

    `remember`, `recall` and `forget` carry provenance; `put`, `get` and `search` are LangGraph's own. A plain `put`
    vouches for nothing: its item is untrusted and its author unknown. A `put` inside a graph, a tool or a chain is
    skipped if it contains forgotten text; anywhere else it brings that text back. Expired items are never returned.
    Secrets are removed from texts, values and sources before they are stored; keys and namespaces are stored as they
    are.

    When a write returns, it is stored, even if the process is killed, and the next search in any process finds it.

    Args:
        path: Folder to store it in, created with mode 0700; None keeps it in RAM, for this object only. `open` also
            accepts the address of a memory that another process serves.
        embedder: Makes the vectors. A folder can be opened only with the embedder it was filled with.
        tenant: Whose memory; tenants share nothing.
        fields: Which parts of a value are embedded unless a `put` says otherwise, in the form of LangGraph's ``index``.
        ttl: LangGraph's default TTL settings, in minutes.
        most: The maximum number of items; a write beyond that deletes the least trusted and, among these, the oldest.
        clock: Seconds since 1970.

    Raises:
        ConfigError: If the folder or the embedder does not fit.
    """

    supports_ttl = True

    def __init__(
        self,
        path: Path | None,
        embedder: Embedder,
        *,
        tenant: str = "default",
        fields: Sequence[str] = ("$",),
        ttl: TTLConfig | None = None,
        most: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if most is not None and most < 1:
            raise ConfigError(f"a memory keeps at least one item: most={most}")
        self.ttl_config = ttl
        self._vectors, self._clock = Vectors(embedder), clock
        self._tenant, self._closed = tenant, False
        self._folder = folder = Folder.opened(path)
        try:
            folder.check(tenant, self._vectors)
        except BaseException:
            folder.close()
            raise
        self._database = folder.database
        self._mirror = Mirror(self._database, tenant, self._vectors, clock)
        self._finder = Finder(self._database, self._mirror, folder.index, self._vectors, tenant, clock)
        every = 60 * ((ttl or {}).get("sweep_interval_minutes") or _SWEEP_MINUTES)
        self._writer = Writer(self._database, self._vectors, tenant, tuple(fields), clock, every, most, folder.changed)
        self._coalescer = Coalescer(self._writer.put)

    @classmethod
    def open(cls, path: str | Path, *, tenant: str = "default", token: str = "") -> Self:
        """Open a memory with the default embedder, which works offline, or a memory that another process serves.

        Args:
            path: Folder to store it in, or the address of ``pointsman memory serve``, beginning with ``http``.
            tenant: Whose memory.
            token: The server's token.

        Raises:
            ConfigError: As for the class; also if the server cannot be reached or refuses the token.
        """
        if not str(path).startswith(("http://", "https://")):
            return cls(Path(path), default_embedder(), tenant=tenant)
        store = cls.__new__(cls)
        store._server, store._tenant, store._closed = Connection(str(path), token, tenant), tenant, False
        store._coalescer = Coalescer(lambda ops: store._carry_out(list(ops)))
        return store

    @classmethod
    def reindex(cls, path: str | Path, embed: Embedder, *, tenant: str = "default") -> int:
        """Re-embed a folder's items with another embedder, and return how many items have vectors.

        This is one transaction: writers wait, readers see the old vectors until it commits, and afterwards stores that
        are open with the old embedder raise an error.

        Args:
            path: The folder.
            embed: Makes the new vectors.
            tenant: Whose memory.

        Raises:
            ConfigError: If there is no memory, or the embedder's vectors do not have its declared dimensions.
        """
        return reindex(Path(path), embed, tenant)

    def close(self) -> None:
        """Close the files; a memory held in RAM is lost. Idempotent."""
        if not self._closed:
            self._closed = True
            (self._server or self._folder).close()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations: all reads first, then the writes; of several writes to a key only the last is applied.

        Raises:
            InvalidNamespaceError: If a namespace has an empty label, or one with a period.
            TypeError: If a value is not JSON.
            ValueError: If a filter uses an operator LangGraph does not document.
        """
        return self._carry_out(marked(ops))

    def _carry_out(self, listed: list[Op]) -> list[Result]:
        if self._server is not None:
            answers: list[Result] = self._server.call("batch", {"ops": listed})
            return answers
        results, touched = self._finder.answers(listed)
        self._writer.refresh(touched)
        self._writer.put([op for op in listed if isinstance(op, PutOp)])
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations off the event loop; see `batch`. Writes that many tasks await at once become one batch."""
        listed = marked(ops)
        puts = [op for op in listed if isinstance(op, PutOp)]
        if len(puts) < len(listed):
            return await asyncio.to_thread(self._carry_out, listed)
        for op in puts:
            validate_op_namespace(op)
        await self._coalescer.put(puts)
        return [None] * len(listed)

    def remember(
        self,
        namespace: tuple[str, ...],
        text: str,
        *,
        provenance: Provenance,
        key: str | None = None,
        metadata: dict[str, Any] | None = None,
        ttl: float | None = None,
    ) -> str:
        """Store a text and return its id; see `remember_all`."""
        return self.remember_all(namespace, [Note(text, provenance, key, metadata or {})], ttl=ttl)[0]

    def remember_all(
        self, namespace: tuple[str, ...], notes: Sequence[Note], *, ttl: float | None = None, captured: bool = False
    ) -> list[str]:
        """Store texts and return their ids, which stay the same as long as the items exist.

        A text that the namespace already holds, apart from its form (`pointsman.memory.items.twin_of`), is not added
        again: its row gains a writer, takes the lowest trust of all its writers, and its TTL restarts (and is never
        shortened). A note with a key is always stored under that key. A note on the same attribute of the same subject
        supersedes the earlier note, which moves to `history`; if the earlier one is trusted further, both stay. Notes
        of one source stored one after another are neighbours in a recall. A note written in a run (by its provenance,
        or because a graph, a tool or a chain is running the code) that contains a forgotten text is not stored; the id
        returned for it belongs to no item. A note written outside a run brings the text back.

        Args:
            namespace: Where to store them.
            notes: The texts. A note with a key replaces the item stored under it.
            ttl: Minutes after their last use when they expire; None for never.
            captured: Treat them as written in a run, whatever their provenance says.

        Raises:
            InvalidNamespaceError: If LangGraph would refuse the namespace.
            ValueError: If a note is blank, its metadata has a field ``text``, or it would be made from itself.
        """
        captured = captured or in_run()
        if self._server is not None:
            given = {"namespace": namespace, "notes": list(notes), "ttl": ttl, "captured": captured}
            ids: list[str] = self._server.call("remember_all", given)
            return ids
        check_namespace(namespace)
        return self._writer.remember(namespace, cleaned(notes), ttl, captured=captured)

    def remember_documents(
        self, namespace: tuple[str, ...], notes: Sequence[Note], *, paths: Sequence[str], captured: bool = False
    ) -> int:
        """Store all that documents say now, and supersede what they said before and no longer say.

        A recall then finds what it would find if only these versions had ever been stored. What was superseded is kept
        with its writers, for `item`, `why` and `history`. A text that is still there keeps its item and is not embedded
        again. A text that others wrote too stays theirs; so does a text of the documents that is trusted further than
        the notes. This is one transaction.

        Args:
            namespace: Where to store them; the same documents in other namespaces are left alone.
            notes: Their passages in order, each with the absolute path of its file as ``document``.
            paths: Absolute paths of the files, or of folders that hold them: of a folder, the files that are no longer
                there are superseded too.
            captured: As for `remember_all`.

        Returns:
            How many passages were superseded.

        Raises:
            InvalidNamespaceError: As for `remember_all`; so is ``ValueError``.
        """
        captured = captured or in_run()
        if self._server is not None:
            given = {"namespace": namespace, "notes": list(notes), "paths": list(paths), "captured": captured}
            superseded: int = self._server.call("remember_documents", given)
            return superseded
        check_namespace(namespace)
        listed = [redact(path) for path in paths]
        return self._writer.remember_documents(namespace, cleaned(notes), listed, captured=captured)

    def id_of(self, namespace: tuple[str, ...], key: str) -> str:
        """Return the id that an item has, or would have, under a key, for use in a lineage."""
        return row_id(self._tenant, namespace, key)

    aremember = in_thread(remember)
    aremember_all = in_thread(remember_all)
