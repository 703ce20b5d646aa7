"""Shared memory for agents: LangGraph's store interface over SQLite and Chroma, with provenance on every item."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import numpy as np
from langgraph.store.base import BaseStore, Op, PutOp, Result, SearchOp, TTLConfig, validate_op_namespace

from ..configs.closing import Closing
from ..configs.embedders import embedder as known_embedder
from ..configs.errors import ConfigError
from ..configs.redact import redact
from ..configs.words import Trust
from . import table
from .base import Embedder, Note, Provenance, Recalled
from .coalesce import Coalescer
from .finder import Finder
from .folder import Folder
from .items import Row, expiry, row_id, twin_of, written
from .lineage import ancestry
from .mirror import Mirror
from .notes import check_namespace, cleaned, merged, texts_of, without_secrets, words_of
from .server import ServerIndex
from .vectors import Vectors, mismatch
from .words import counted, strings_in

__all__ = ["ChromaStore"]

_S = TypeVar("_S")
_T = TypeVar("_T")
_P = ParamSpec("_P")

_SWEEP_MINUTES = 5.0  # LangGraph's SqliteStore sweeps as often
_NO_VECTORS = np.empty((0, 0), np.float32)


def _in_thread(
    method: Callable[Concatenate[_S, _P], _T],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _T]]:
    """Derive the async form of a blocking method."""

    async def run(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await asyncio.to_thread(method, self, *args, **kwargs)

    run.__doc__ = f"Run `{method.__name__}` off the event loop."
    return run


class ChromaStore(Closing, BaseStore):
    """Keep agents' memory; give it to any LangGraph graph as ``compile(store=...)``.

    `remember`, `recall` and `forget` carry provenance; `put`, `get` and `search` are LangGraph's own. A plain `put`
    vouches for nothing: its item is untrusted and its author unknown. Expired items are never returned. Secrets are
    taken out of texts, values and sources before they are kept; keys and namespaces are kept as they are.

    A write is kept when it returns, whatever becomes of the process, and found by the next search in any process.

    Args:
        path: Folder to keep it in, made with mode 0700; None keeps it in memory, for this object alone.
        embedder: Makes the vectors. A folder opens only with the embedder it was filled with.
        tenant: Whose memory; nothing crosses from one tenant to another.
        host: A Chroma server (``chroma run``) instead of a folder. It has no access control: bind it to loopback.
        port: The server's port.
        fields: Which parts of a value are embedded unless a `put` says otherwise, as LangGraph's ``index`` names them.
        ttl: LangGraph's defaults for time to live, in minutes.
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        if path is not None and host is not None:
            raise ConfigError("memory is either a folder or a server: give path or host, not both")
        self.ttl_config = ttl
        self._vectors = Vectors(embedder)
        self._tenant, self._fields, self._clock = tenant, tuple(fields), clock
        self._next_sweep = 0.0
        self._closed = False
        self._folder = Folder.opened(path)
        self._server: ServerIndex | None = None
        try:
            self._database = self._folder.database
            with self._database.writing() as db:
                wanted = (embedder.model_id, embedder.dimensions)
                found = table.mark(db, tenant, *wanted)
            if found != wanted:
                raise mismatch(str(path), found, wanted)
            if host is not None:
                self._server = ServerIndex(self._database, tenant, host, port, *wanted)
        except BaseException:
            self._folder.close()
            raise
        self._mirror = Mirror(self._database, tenant, embedder.dimensions, clock)
        self._finder = Finder(self._database, self._mirror, self._folder.index, self._vectors, tenant, clock)
        self._coalescer = Coalescer(self._write)

    @classmethod
    def open(cls, path: str | Path, *, tenant: str = "default") -> Self:
        """Open a memory with the default embedder, which works offline.

        Args:
            path: Folder to keep it in.
            tenant: Whose memory.
        """
        return cls(Path(path), known_embedder(), tenant=tenant)

    def close(self) -> None:
        """Let go of the files; what was kept in memory is gone. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._server is not None:
            self._server.close()
        self._folder.close()

    # LangGraph's interface

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations: reads see what was there before, then writes are applied, the last one a key.

        Raises:
            InvalidNamespaceError: If a namespace has an empty label, or one with a period.
            TypeError: If a value is not JSON.
            ValueError: If a filter uses an operator LangGraph does not document.
        """
        listed = list(ops)
        self._pull()
        results, touched = self._finder.answers(listed)
        self._refresh(touched)
        self._write([op for op in listed if isinstance(op, PutOp)])
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

    def sweep(self) -> int:
        """Delete what has expired and return how many items that were; writes do it every few minutes anyhow."""
        interval = (self.ttl_config or {}).get("sweep_interval_minutes") or _SWEEP_MINUTES
        self._next_sweep = self._clock() + 60 * interval
        with self._database.writing() as db:
            numbers = table.expired(db, self._tenant, self._clock())
            if numbers:
                table.delete(db, self._tenant, numbers)
        if numbers:
            self._push()
        return len(numbers)

    # Memory with provenance

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

        A text that the namespace already holds is not added again: its row gains a writer, takes the lowest trust of
        them all, and its time to live starts anew (never shortened). Notes of one source that are kept one after the
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
        vectors = self._vectors.of([note.text for note in notes])
        twins = [twin_of(namespace, note.text) for note in notes]
        slots = [
            row_id(self._tenant, namespace, twin if note.key is None else note.key)
            for note, twin in zip(notes, twins, strict=True)
        ]
        self._pull()
        with self._database.writing() as db:
            now = self._clock()
            held = table.get(db, slots) | table.twins(db, self._tenant, twins)
            kept = merged(namespace, zip(notes, twins, slots, strict=True), held.values(), ttl, now)
            final = {row.id: (row, vector) for row, vector in zip(kept, vectors, strict=True)}
            table.put(db, self._tenant, [(row, _entry(row, vector[None])) for row, vector in final.values()])
        self._push()
        self._sweep_if_due()
        return [row.id for row in kept]

    def recall(
        self,
        namespace: tuple[str, ...],
        query: str,
        *,
        limit: int = 5,
        min_score: float | None = None,
        min_trust: Trust | None = None,
        filter: Mapping[str, Any] | None = None,
        sources: Sequence[str] = (),
        authors: Sequence[str] = (),
    ) -> list[Recalled]:
        """Find what answers a question, best first, at or below a namespace.

        Meaning and words count together, and what stands beside a good answer counts a little
        (`pointsman.memory.retrieval`), so the best need not have the highest score of its own.

        Args:
            namespace: Where to look; ``()`` is everywhere in the tenant.
            query: The question.
            limit: How many items at most.
            min_score: Leave out what scores less (0..1).
            min_trust: Leave out what is trusted less.
            filter: Conditions on values, as `search` takes them.
            sources: Only what was first read from one of these.
            authors: Only what one of these wrote first.

        Raises:
            ValueError: If a filter uses an operator LangGraph does not document.
        """
        validate_op_namespace(SearchOp(namespace))
        if not query.strip() or limit < 1:
            return []
        self._pull()
        best = self._finder.recall(
            namespace,
            query,
            limit,
            min_score=min_score,
            min_trust=min_trust,
            condition=filter,
            sources=sources,
            authors=authors,
        )
        self._refresh([row for row, _ in best])
        return [row.recalled(score) for row, score in best]

    def item(self, item_id: str) -> Recalled | None:
        """Return an item by the id that `remember` or a lineage names, or None if it is gone."""
        self._pull()
        row = self._finder.fetch([item_id]).get(item_id)
        return row.recalled(None) if row else None

    def why(self, item_id: str) -> list[tuple[int, str, Recalled | None]]:
        """Return what an item comes from: itself first, then each ancestor with the fewest steps to it.

        Returns:
            Steps, id, and the item; None for one that is not kept, or no longer.
        """
        self._pull()
        with self._database.reading() as db:
            steps = ancestry(db, item_id)
        rows = self._finder.fetch([ancestor for ancestor, _ in steps])
        return [(depth, i, rows[i].recalled(None) if i in rows else None) for i, depth in steps]

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
        self._pull()
        writer = {"source": redact(source or ""), "author": author, "run": run}
        asked = {name: text for name, text in writer.items() if text}
        with self._database.writing() as db:
            numbers = table.chosen(db, self._tenant, namespace or (), ids, asked)
            if numbers:
                table.delete(db, self._tenant, numbers)
                db.execute("UPDATE state SET purge = 1")
        self._database.truncate_log()
        self._push()
        if self._folder.index is not None:
            self._folder.index.purge()
        return len(numbers)

    aremember = _in_thread(remember)
    aremember_all = _in_thread(remember_all)
    arecall = _in_thread(recall)
    aforget = _in_thread(forget)
    aitem = _in_thread(item)

    # Writing

    def _write(self, ops: Sequence[PutOp]) -> None:
        last = {(tuple(op.namespace), op.key): op for op in ops}
        if not last:
            return
        ops = [without_secrets(op) for op in last.values()]
        texts = [texts_of(op, self._fields) for op in ops]
        vectors = iter(self._vectors.of([text for listed in texts for text in listed]))
        words = [counted(words_of(op, listed, self._fields)) for op, listed in zip(ops, texts, strict=True)]
        ids = [row_id(self._tenant, op.namespace, op.key) for op in ops]
        with self._database.writing() as db:
            now = self._clock()
            held = table.get(db, ids)
            fresh: list[tuple[Row, table.Entry]] = []
            gone: list[int] = []
            for item_id, op, listed, counts in zip(ids, ops, texts, words, strict=True):
                old, matrix = held.get(item_id), list(islice(vectors, len(listed)))
                if op.value is not None:
                    entry = table.Entry(counts, np.array(matrix) if matrix else _NO_VECTORS)
                    fresh.append((written(item_id, op, old, len(listed), now), entry))
                elif old:
                    gone.append(old.seq)
            if gone:
                table.delete(db, self._tenant, gone)
            if fresh:
                table.put(db, self._tenant, fresh)
        self._push()
        self._sweep_if_due()

    def _refresh(self, rows: Iterable[Row]) -> None:
        """Start the time to live of items anew because they were read."""
        limited = [row.id for row in rows if row.ttl is not None]
        if not limited:
            return
        with self._database.writing() as db:
            now = self._clock()
            # Read again: since it was found, another writer may have replaced an item or lifted its time limit.
            still = [row for row in table.get(db, limited).values() if row.ttl is not None and row.live(now)]
            table.refresh(db, {row.seq: expiry(now, row.ttl) for row in still})
        self._push()

    def _pull(self) -> None:
        if self._server is not None:
            self._server.pull()

    def _push(self) -> None:
        if self._server is not None:
            self._server.push()
        if self._folder.index is not None:
            self._folder.index.wake()

    def _sweep_if_due(self) -> None:
        if self._clock() >= self._next_sweep:
            self.sweep()


def _entry(row: Row, vectors: Any) -> table.Entry:
    return table.Entry(counted("\n".join(strings_in(row.value))), vectors)
