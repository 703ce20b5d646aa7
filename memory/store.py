"""Shared memory for agents: LangGraph's store interface over Chroma, with provenance on every item."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from langgraph.store.base import (
    BaseStore,
    InvalidNamespaceError,
    Op,
    PutOp,
    Result,
    SearchOp,
    TTLConfig,
    get_text_at_path,
    validate_op_namespace,
)

from ..configs.closing import Closing
from ..configs.errors import ConfigError
from ..configs.redact import redact, redacted
from ..configs.words import Trust
from . import table
from .base import Embedder, Note, Provenance, Recalled
from .chroma import Engine
from .finder import Finder
from .items import (
    Row,
    check_value,
    expiry,
    noted,
    rewritten,
    row_id,
    twin_of,
    written,
)
from .vectors import Vectors

__all__ = ["ChromaStore"]

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
    """Keep agents' memory in Chroma; give it to any LangGraph graph as ``compile(store=...)``.

    `remember`, `recall` and `forget` carry provenance; `put`, `get` and `search` are LangGraph's own. A plain `put`
    vouches for nothing: its item is untrusted and its author unknown. Expired items are never returned. Secrets are
    taken out of texts, values and sources before they are kept; keys and namespaces are kept as they are.

    Args:
        path: Folder to keep it in, made with mode 0700; None keeps it in memory, for this object alone.
        embedder: Makes the vectors. A folder opens only with the embedder it was filled with.
        tenant: Whose memory; nothing crosses from one tenant to another.
        host: A Chroma server (``chroma run``) instead of a folder. It has no access control: bind it to loopback.
        port: The server's port.
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
        ttl: TTLConfig | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.ttl_config = ttl
        self._vectors = Vectors(embedder)
        self._tenant = tenant
        self._clock = clock
        self._next_sweep = 0.0
        self._engine = Engine(
            path,
            host,
            port,
            name=f"memory-{row_id(tenant, (), '')}",
            metadata={"embedder": embedder.model_id, "dimensions": embedder.dimensions, "tenant": repr(tenant)},
        )
        self._finder = Finder(self._engine, self._vectors, tenant, clock)

    def close(self) -> None:
        """Let go of Chroma; what was kept in memory is gone."""
        self._engine.close()

    # LangGraph's interface

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations: reads see what was there before, then writes are applied, the last one a key.

        Raises:
            InvalidNamespaceError: If a namespace has an empty label, or one with a period.
            TypeError: If a value is not JSON.
            ValueError: If a filter uses an operator LangGraph does not document.
        """
        listed = list(ops)
        results, touched = self._finder.answers(listed)
        self._refresh(touched)
        puts = {(op.namespace, op.key): op for op in listed if isinstance(op, PutOp)}
        if puts:
            self._put(list(puts.values()))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations off the event loop; see `batch`."""
        return await asyncio.to_thread(self.batch, list(ops))

    def sweep(self) -> int:
        """Delete what has expired and return how many items that were; writes do it every few minutes anyhow."""
        interval = (self.ttl_config or {}).get("sweep_interval_minutes") or _SWEEP_MINUTES
        self._next_sweep = self._clock() + 60 * interval
        with self._engine.writing() as chroma:
            rows = table.expired(chroma, self._clock())
            table.delete(chroma, rows)
        return len(rows)

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
        them all, and its time to live starts anew (never shortened).

        Args:
            namespace: Where to keep them.
            notes: The texts. A note with a key replaces what lies there.
            ttl: Minutes after their last use in which they expire; None for never.

        Raises:
            InvalidNamespaceError: If LangGraph would refuse the namespace.
            ValueError: If a note is blank or its metadata has a field ``text``.
        """
        _check_namespace(namespace)
        notes = [_clean(note) for note in _checked(notes)]
        vectors = self._vectors.of([note.text for note in notes])
        twins = [twin_of(namespace, note.text) for note in notes]
        slots = [
            self._id(namespace, twin if note.key is None else note.key) for note, twin in zip(notes, twins, strict=True)
        ]
        with self._engine.writing() as chroma:
            now = self._clock()
            held = _slots_and_twins(chroma, slots, twins)
            kept = _merged(namespace, zip(notes, twins, slots, strict=True), held.values(), ttl, now)
            final = {row.id: (row, [vector]) for row, vector in zip(kept, vectors, strict=True)}
            table.put(chroma, list(final.values()), held, self._vectors.dimensions)
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
    ) -> list[Recalled]:
        """Find what answers a question, best first, at or below a namespace.

        Meaning and words count together (`pointsman.memory.retrieval`), so an exact code in the question is found.

        Args:
            namespace: Where to look; ``()`` is everywhere in the tenant.
            query: The question.
            limit: How many items at most.
            min_score: Leave out what scores less (0..1).
            min_trust: Leave out what is trusted less.
        """
        validate_op_namespace(SearchOp(namespace))
        if not query.strip() or limit < 1:
            return []

        def wanted(row: Row) -> bool:
            return min_trust is None or row.trust >= min_trust

        ranked = self._finder.ranked(namespace, query, wanted, limit)
        best = [(row, score) for row, score in ranked if min_score is None or score >= min_score][:limit]
        self._refresh({row.id: row for row, _ in best})
        return [row.recalled(score) for row, score in best]

    def item(self, item_id: str) -> Recalled | None:
        """Return an item by the id that `remember` or a lineage names, or None if it is gone."""
        row = self._finder.fetch([item_id]).get(item_id)
        return row.recalled(None) if row else None

    def forget(
        self, *, source: str | None = None, run: str | None = None, namespace: tuple[str, ...] | None = None
    ) -> int:
        """Delete every item that anyone wrote from a source or in a run, and return how many that were.

        An item with several writers goes as soon as one of them fits. Given together, the arguments narrow.

        Args:
            source: The source to forget.
            run: The run to forget.
            namespace: Only at or below this namespace; alone, all of it.

        Raises:
            ConfigError: If nothing is named, since that would delete the tenant's whole memory.
        """
        if not (source or run or namespace):
            raise ConfigError("forget needs a source, a run or a namespace: name what to forget")
        validate_op_namespace(SearchOp(namespace or ()))

        def fits(writer: Provenance) -> bool:
            return (not source or writer.source == redact(source)) and (not run or writer.run == run)

        with self._engine.writing() as chroma:
            doomed = [row for row in table.scan(chroma, namespace or ()) if any(map(fits, row.writers))]
            table.delete(chroma, doomed)
        return len(doomed)

    aremember = _in_thread(remember)
    aremember_all = _in_thread(remember_all)
    arecall = _in_thread(recall)
    aforget = _in_thread(forget)
    aitem = _in_thread(item)

    def _id(self, namespace: Sequence[str], key: str) -> str:
        return row_id(self._tenant, namespace, key)

    # Writing

    def _put(self, ops: list[PutOp]) -> None:
        ops = [_without_secrets(op) for op in ops]
        texts = [_texts(op) for op in ops]
        vectors = iter(self._vectors.of([text for listed in texts for text in listed]))
        with self._engine.writing() as chroma:
            now = self._clock()
            held = table.get(chroma, [self._id(op.namespace, op.key) for op in ops])
            fresh: list[tuple[Row, list[list[float]]]] = []
            gone: list[Row] = []
            for op, listed in zip(ops, texts, strict=True):
                item_id = self._id(op.namespace, op.key)
                old = held.get(item_id)
                if op.value is None:
                    gone += [old] if old else []
                    continue
                row = written(item_id, op, old, len(listed), now)
                fresh.append((row, list(islice(vectors, len(listed)))))
            table.delete(chroma, gone)
            table.put(chroma, fresh, held, self._vectors.dimensions)
        self._sweep_if_due()

    def _refresh(self, rows: dict[str, Row]) -> None:
        """Start the time to live of items anew because they were read."""
        if all(row.ttl is None for row in rows.values()):
            return
        with self._engine.writing() as chroma:
            now = self._clock()
            # Read again: since it was found, another writer may have replaced an item or lifted its time limit.
            still = [row for row in table.get(chroma, rows).values() if row.ttl is not None and row.live(now)]
            table.refresh(chroma, {row.id: expiry(now, row.ttl) for row in still})

    def _sweep_if_due(self) -> None:
        if self._clock() >= self._next_sweep:
            self.sweep()


def _merged(
    namespace: tuple[str, ...],
    notes: Iterable[tuple[Note, str, str]],
    held: Iterable[Row],
    ttl: float | None,
    now: float,
) -> list[Row]:
    """The row that each note ends in: one of its own, or the one that holds the same text already.

    Args:
        namespace: Where they are kept.
        notes: Each with the digest of its text and the id it would have.
        held: What has one of these digests or ids now.
        ttl: As `ChromaStore.remember_all` takes it.
        now: Seconds since 1970.
    """
    by_id = {row.id: row for row in held if row.live(now)}
    by_twin = {row.twin: row for row in by_id.values() if row.twin}
    kept: list[Row] = []
    for note, twin, slot in notes:
        there, same = by_id.get(slot), by_twin.get(twin)
        if there and there.twin == twin:
            row = rewritten(there, note, ttl, now)
        elif same and not there:
            row = rewritten(same, note, ttl, now)
        else:
            row = noted(slot, namespace, twin, note, ttl, now)
            if there:
                row.created = there.created
                if by_twin.get(there.twin) is there:
                    del by_twin[there.twin]
        by_id[row.id] = by_twin[twin] = row
        kept.append(row)
    return kept


def _check_namespace(namespace: tuple[str, ...]) -> None:
    """Apply to `remember` what LangGraph's `put` asks of a namespace."""
    if not namespace or namespace[0] == "langgraph":
        raise InvalidNamespaceError(f"Namespace must not be empty nor begin with 'langgraph'. Got: {namespace}")
    validate_op_namespace(SearchOp(namespace))


def _checked(notes: Sequence[Note]) -> Sequence[Note]:
    for note in notes:
        if not note.text.strip() or "text" in note.metadata:
            raise ValueError("a note needs a text, and metadata must not have a field 'text'")
        check_value(note.metadata, f"metadata of {note.text[:40]!r}")
    return notes


def _clean(note: Note) -> Note:
    provenance = replace(note.provenance, source=redact(note.provenance.source))
    return replace(note, text=redact(note.text), metadata=redacted(note.metadata), provenance=provenance)


def _without_secrets(op: PutOp) -> PutOp:
    if op.value is None:
        return op
    check_value(op.value, f"{op.namespace} {op.key!r}")
    return op._replace(value=redacted(op.value))


def _texts(op: PutOp) -> list[str]:
    """Return what an item is to be found by: its whole value, or the fields that ``index`` names."""
    if op.value is None or op.index is False:
        return []
    paths = ["$"] if op.index is None else op.index
    return [text for path in paths for text in get_text_at_path(op.value, path)]


def _slots_and_twins(chroma: Any, slots: list[str], twins: list[str]) -> dict[str, Row]:
    held = table.get(chroma, slots)
    for some in table.slices(twins):
        got = chroma.get(where={"twin": {"$in": list(some)}}, include=["metadatas", "documents"])
        held |= {row.id: row for row in table.decode(got)}
    return held
