"""Shared memory for agents: LangGraph's store interface over SQLite and Chroma, with provenance on every item."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from langgraph.store.base import BaseStore, Op, PutOp, Result, SearchOp, TTLConfig, validate_op_namespace

from ..configs.closing import Closing
from ..configs.errors import ConfigError
from ..configs.redact import redact
from .base import Embedder, Note, Provenance
from .coalesce import Coalescer
from .items import row_id
from .notes import check_namespace, cleaned
from .recalling import Recalling, in_thread
from .reindexing import reindex
from .search.finder import Finder
from .search.mirror import Mirror
from .storage.folder import Folder
from .storage.server import ServerIndex
from .vectors import Vectors, default_embedder
from .writer import Writer

__all__ = ["ChromaStore"]

_SWEEP_MINUTES = 5.0  # LangGraph's SqliteStore sweeps as often


class ChromaStore(Recalling, Closing, BaseStore):
    """Keep agents' memory; give it to any LangGraph graph as ``compile(store=...)``.

    `remember`, `recall` and `forget` carry provenance; `put`, `get` and `search` are LangGraph's own. A plain `put`
    vouches for nothing: its item is untrusted and its author unknown. Expired items are never returned. Secrets are
    taken out of texts, values and sources before they are kept; keys and namespaces are kept as they are.

    A write is kept when it returns, even if the process is killed, and found by the next search in any process.

    Args:
        path: Folder to keep it in, made with mode 0700; None keeps it in memory, for this object alone.
        embedder: Makes the vectors. A folder opens only with the embedder it was filled with.
        tenant: Whose memory; nothing crosses from one tenant to another.
        host: A Chroma server (``chroma run``) instead of a folder. It has no access control: bind it to loopback.
        port: The server's port.
        fields: Which parts of a value are embedded unless a `put` says otherwise, as LangGraph's ``index`` names them.
        ttl: LangGraph's defaults for time to live, in minutes.
        most: How many items to keep; a write beyond that deletes the least trusted, and of those the oldest.
        clock: Seconds since 1970.

    Raises:
        ConfigError: If the folder, the server or the embedder does not fit.
    """

    supports_ttl = True

    def __init__(
        self,
        path: Path | None,
        embedder: Embedder,
        *,
        tenant: str = "default",
        host: str | None = None,
        port: int = 8000,
        fields: Sequence[str] = ("$",),
        ttl: TTLConfig | None = None,
        most: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if most is not None and most < 1:
            raise ConfigError(f"a memory keeps at least one item: most={most}")
        if path is not None and host is not None:
            raise ConfigError("memory is either a folder or a server: give path or host, not both")
        self.ttl_config = ttl
        self._vectors = Vectors(embedder)
        self._tenant = tenant
        self._clock = clock
        self._closed = False
        folder = Folder.opened(path)
        self._shared: Folder | ServerIndex = folder
        wanted = (embedder.model_id, embedder.dimensions)
        try:
            folder.check(tenant, *wanted)
            if host is not None:
                self._shared = ServerIndex(folder, tenant, host, port, *wanted)
        except BaseException:
            folder.close()
            raise
        self._database = folder.database
        self._mirror = Mirror(self._database, tenant, self._vectors, clock)
        self._finder = Finder(self._database, self._mirror, folder.index, self._vectors, tenant, clock)
        every = (ttl or {}).get("sweep_interval_minutes") or _SWEEP_MINUTES
        self._writer = Writer(self._database, self._vectors, tenant, fields, clock, every, most, self._shared.changed)
        self._coalescer = Coalescer(self._writer.put)

    @classmethod
    def open(cls, path: str | Path, *, tenant: str = "default") -> Self:
        """Open a memory with the default embedder, which works offline.

        Args:
            path: Folder to keep it in.
            tenant: Whose memory.
        """
        return cls(Path(path), default_embedder(), tenant=tenant)

    @classmethod
    def reindex(cls, path: str | Path, embed: Embedder, *, tenant: str = "default") -> int:
        """Embed what a folder holds with another embedder, and return how many items have vectors.

        It is one transaction: whoever writes waits, whoever reads finds the old vectors, and stores that are open with
        the old embedder are refused from then on.

        Args:
            path: The folder.
            embed: Makes the new vectors.
            tenant: Whose memory.

        Raises:
            ConfigError: If there is no memory, or the embedder does not keep to its own dimensions.
        """
        return reindex(Path(path), embed, tenant)

    def close(self) -> None:
        """Let go of the files; what was kept in memory is gone. Idempotent."""
        if not self._closed:
            self._closed = True
            self._shared.close()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations: reads see what was there before, then writes are applied, the last one a key.

        Raises:
            InvalidNamespaceError: If a namespace has an empty label, or one with a period.
            TypeError: If a value is not JSON.
            ValueError: If a filter uses an operator LangGraph does not document.
        """
        listed = list(ops)
        self._shared.pull()
        results, touched = self._finder.answers(listed)
        self._writer.refresh(touched)
        self._writer.put([op for op in listed if isinstance(op, PutOp)])
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations off the event loop; see `batch`. Writes that many tasks await at once are one batch."""
        listed = list(ops)
        puts = [op for op in listed if isinstance(op, PutOp)]
        if len(puts) < len(listed):
            return await asyncio.to_thread(self.batch, listed)
        for op in puts:
            validate_op_namespace(op)
        await self._coalescer.put(puts)
        return [None] * len(listed)

    def sweep_ttl(self) -> int:
        """Delete what has expired and return how many items that were; writes do it every few minutes anyhow."""
        return self._writer.sweep()

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
        """Keep a text and return its id; see `remember_all`."""
        return self.remember_all(namespace, [Note(text, provenance, key, metadata or {})], ttl=ttl)[0]

    def remember_all(self, namespace: tuple[str, ...], notes: Sequence[Note], *, ttl: float | None = None) -> list[str]:
        """Keep texts and return their ids, which stay the same as long as an item exists.

        A text that the namespace already holds, but for its form (`pointsman.memory.items.twin_of`), is not added
        again: its row gains a writer, takes the lowest trust of them all, and its time to live starts anew (never
        shortened). A note on the same attribute of the same subject supersedes the one before, of which `history`
        tells, unless that one is trusted further: then both stay. Notes of one source that are kept one after the
        other count as standing beside each other when they are recalled.

        Args:
            namespace: Where to keep them.
            notes: The texts. A note with a key replaces what lies there.
            ttl: Minutes after their last use in which they expire; None for never.

        Raises:
            InvalidNamespaceError: If LangGraph would refuse the namespace.
            ValueError: If a note is blank, its metadata has a field ``text``, or it would be made from itself.
        """
        check_namespace(namespace)
        notes = cleaned(notes)
        self._shared.pull()
        return self._writer.remember(namespace, notes, ttl)

    def id_of(self, namespace: tuple[str, ...], key: str) -> str:
        """Return the id that an item has, or would have, under a key: what a lineage names."""
        return row_id(self._tenant, namespace, key)

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
        """Delete what was written from a source, by an author or in a run, and return how many items that were.

        An item with several writers goes as soon as one of them fits. Given together, the arguments narrow. When this
        returns, no text of theirs is left in the memory's files; their vectors are gone too unless another process is
        using Chroma, which then drops them with its next batch.

        Args:
            ids: Only these items.
            source: The source to forget.
            author: The author to forget.
            run: The run to forget.
            namespace: Only at or below this namespace; alone, all of it.
            tenant: Everything of this tenant.

        Raises:
            ConfigError: If nothing is named, since that would delete the tenant's whole memory.
        """
        if not (ids or source or author or run or namespace or tenant):
            raise ConfigError(
                "forget needs a source, a run or a namespace (or ids, an author, tenant=True): name what to forget"
            )
        validate_op_namespace(SearchOp(namespace or ()))
        self._shared.pull()
        writer = {"source": redact(source or ""), "author": author, "run": run}
        asked = {name: text for name, text in writer.items() if text}
        count = self._writer.forget(namespace or (), ids, asked)
        self._shared.purge()
        return count

    aremember = in_thread(remember)
    aremember_all = in_thread(remember_all)
    aforget = in_thread(forget)
