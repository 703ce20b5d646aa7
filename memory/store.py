"""Shared memory for agents: LangGraph's store interface over SQLite and Chroma, with provenance on every item."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from langgraph.store.base import BaseStore, Op, PutOp, Result, SearchOp, TTLConfig, validate_op_namespace

from ..configs.closing import Closing
from ..configs.errors import ConfigError
from ..configs.redact import redact
from ..configs.words import Trust
from .base import Embedder, Note, Provenance, Ranking, Recalled
from .coalesce import Coalescer
from .items import row_id
from .notes import check_namespace, cleaned
from .search.arrays import Mask
from .search.filters import check_filter
from .search.finder import Finder
from .search.mirror import Mirror
from .search.times import window_in
from .storage import table
from .storage.folder import Folder
from .storage.lineage import ancestry
from .storage.server import ServerIndex
from .vectors import Vectors, default_embedder
from .writer import Writer

__all__ = ["ChromaStore"]

_BY_DEFAULT = Ranking()
_S = TypeVar("_S")
_T = TypeVar("_T")
_P = ParamSpec("_P")

_SWEEP_MINUTES = 5.0  # LangGraph's SqliteStore sweeps as often


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

    A write is kept when it returns, even if the process is killed, and found by the next search in any process.

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
        self._mirror = Mirror(self._database, tenant, embedder.dimensions, clock)
        self._finder = Finder(self._database, self._mirror, folder.index, self._vectors, tenant, clock)
        every = (ttl or {}).get("sweep_interval_minutes") or _SWEEP_MINUTES
        self._writer = Writer(self._database, self._vectors, tenant, fields, clock, every, self._shared.changed)
        self._coalescer = Coalescer(self._writer.put)

    @classmethod
    def open(cls, path: str | Path, *, tenant: str = "default") -> Self:
        """Open a memory with the default embedder, which works offline.

        Args:
            path: Folder to keep it in.
            tenant: Whose memory.
        """
        return cls(Path(path), default_embedder(), tenant=tenant)

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
        self._shared.pull()
        return self._writer.remember(namespace, notes, ttl)

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
        since: datetime | None = None,
        until: datetime | None = None,
        when: str | None = None,
        ranking: Ranking = _BY_DEFAULT,
        explain: bool = False,
    ) -> list[Recalled]:
        """Find what answers a question, best first, at or below a namespace.

        Meaning and words count together, and what stands beside a good answer counts a little
        (`pointsman.memory.search.retrieval`), so the best need not have the highest score of its own.

        Args:
            namespace: Where to look; ``()`` is everywhere in the tenant.
            query: The question.
            limit: How many items at most.
            min_score: Leave out what scores less (0..1).
            min_trust: Leave out what is trusted less.
            filter: Conditions on values, as `search` takes them.
            sources: Only what was first read from one of these.
            authors: Only what one of these wrote first.
            since: Only what was last written then or later; a time without a zone is this machine's.
            until: Only what was last written before then.
            when: The same in words, such as ``last week`` or ``in March`` (`pointsman.memory.window_in`).
            ranking: What else counts.
            explain: Whether each item says why it was found.

        Raises:
            ValueError: If a filter uses an operator LangGraph does not document, or ``when`` has no words of time.
        """
        validate_op_namespace(SearchOp(namespace))
        check_filter(filter)
        first, last = _window(since, until, when, self._clock())
        if not query.strip() or limit < 1:
            return []
        self._shared.pull()

        def asked(mirror: Mirror) -> Mask:
            return mirror.mask(
                namespace,
                filter,
                indexed=True,
                min_trust=min_trust,
                sources=sources,
                authors=authors,
                since=first,
                until=last,
            )

        best = self._finder.recall(query, limit, asked, ranking, min_score=min_score, explain=explain)
        self._writer.refresh([row for row, *_ in best])
        return [row.recalled(score, parts) for row, score, parts in best]

    def id_of(self, namespace: tuple[str, ...], key: str) -> str:
        """Return the id that an item has, or would have, under a key: what a lineage names."""
        return row_id(self._tenant, namespace, key)

    def item(self, item_id: str) -> Recalled | None:
        """Return an item by the id that `remember` or a lineage names, or None if it is gone."""
        self._shared.pull()
        row = self._finder.fetch([item_id]).get(item_id)
        return row.recalled(None) if row else None

    def why(self, item_id: str) -> list[tuple[int, str, Recalled | None]]:
        """Return the fewest steps to, the id of, and each item that one comes from, itself first; None if not kept."""
        self._shared.pull()
        with self._database.reading() as db:
            steps = ancestry(db, table.encoded(self._tenant), item_id)
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
        self._shared.pull()
        writer = {"source": redact(source or ""), "author": author, "run": run}
        asked = {name: text for name, text in writer.items() if text}
        count = self._writer.forget(namespace or (), ids, asked)
        self._shared.purge()
        return count

    aremember = _in_thread(remember)
    aremember_all = _in_thread(remember_all)
    arecall = _in_thread(recall)
    aforget = _in_thread(forget)
    aitem = _in_thread(item)


def _window(
    since: datetime | None, until: datetime | None, when: str | None, now: float
) -> tuple[float | None, float | None]:
    """Return the first second that counts and the first that does not any more, in seconds since 1970."""
    starts, ends = [], []
    if when is not None:
        window = window_in(when, datetime.fromtimestamp(now, UTC).astimezone())
        if window is None:
            raise ValueError(f"no words of time in {when!r}: write such as 'last week', 'in March' or '3 days ago'")
        starts.append(window[0].timestamp())
        ends.append(window[1].timestamp())
    starts += [since.timestamp()] if since else []
    ends += [until.timestamp()] if until else []
    return max(starts, default=None), min(ends, default=None)
