"""Forgetting: delete from the memory, and from what is stored of runs and conversations that were told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import ormsgpack

from ..agents.conversations import forget_threads
from ..agents.result import Status
from ..agents.runs import status_of
from ..agents.runtime import Runtime
from ..dispatch.cache.responses import ResponseCache
from ..dispatch.state.sealing import user_seal
from .checkpoints import forking
from .keeping import give_up

__all__ = ["Forgotten", "forget"]

_UNDER_WAY = (Status.RUNNING, Status.PENDING)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was deleted, and what could not be.

    Attributes:
        items: Number of memory items that were deleted, or lost their earlier versions.
        runs: The runs whose stored data was deleted, since they had been told: they cannot be resumed.
        threads: Names of the conversation files that were deleted, likewise.
        waiting: Runs that were told and are running or wait for a person.
        busy: Conversations that a run is using, so that they were not checked.
        rows: Number of calls and handoffs in the ledger that no longer quote what was forgotten.
    """

    items: int
    runs: Sequence[str]
    threads: Sequence[str]
    waiting: Sequence[str]
    busy: Sequence[str]
    rows: int = 0


async def forget(
    runtime: Runtime,
    *,
    ids: Sequence[str] = (),
    source: str | None = None,
    author: str | None = None,
    run: str | None = None,
    namespace: tuple[str, ...] | None = None,
    tenant: bool = False,
) -> Forgotten:
    """Delete from the memory as `ChromaStore.forget` does, and from the stored data of runs that were told it.

    Runs and conversations that hold a text which the memory was ever made to forget are deleted entirely, except for
    runs that are running or waiting; all cached model answers are deleted; calls and handoffs in the ledger lose such
    texts. Calling this again deletes what it had to leave. A text of fewer than four words is looked for only in the
    memory, and what a model has said about it in its own words stays.

    Args:
        runtime: Runtime whose memory and state are used.
        ids: As `ChromaStore.forget` takes them; likewise the other arguments.

    Raises:
        ConfigError: As `ChromaStore.forget`; also if a file of the state cannot be read, written or decrypted.
    """
    items = await runtime.store.aforget(
        ids=ids, source=source, author=author, run=run, namespace=namespace, tenant=tenant
    )
    state = runtime.settings.state

    heard: dict[str, bool] = {}

    def told(kept: bytes) -> bool:
        texts = list(dict.fromkeys(_texts(kept)))
        fresh = [text for text in texts if text not in heard]
        heard.update(zip(fresh, runtime.store.was_forgotten(fresh), strict=True))
        return any(heard[text] for text in texts)

    holding = set(await forking.holding(state, told))
    holding |= await asyncio.to_thread(_unfinished, runtime, told)
    waiting = await asyncio.to_thread(_under_way, runtime, holding)
    over = sorted(holding.difference(waiting))
    await give_up(runtime, over)
    threads, busy = await asyncio.to_thread(forget_threads, state, told)
    await asyncio.to_thread(_clear, state / "responses.db")
    rows = await asyncio.to_thread(runtime.ledger.texts.erase, runtime.store.was_forgotten, kept=waiting)
    return Forgotten(items, over, threads, waiting, busy, rows)


def _under_way(runtime: Runtime, runs: Iterable[str]) -> list[str]:
    """Return those of some runs that are running or wait for a person."""
    rows = {row.id: row for row in runtime.ledger.runs()}
    return sorted(r for r in runs if r in rows and status_of(runtime, rows[r]) in _UNDER_WAY)


def _unfinished(runtime: Runtime, told: Callable[[bytes], bool]) -> set[str]:
    """Return the runs for which a reply or a result that holds something forgotten is stored until they end."""
    seal = user_seal()
    return {
        row.run for row in runtime.ledger.kept.every() if told(seal.open(row.sealed).encode("utf-8", "surrogatepass"))
    }


def _clear(answers: Path) -> None:
    # All of them: they are stored under digests of the requests, so it is unknown which were told.
    if answers.exists():
        with closing(ResponseCache(answers)) as cache:
            cache.clear()


def _texts(kept: bytes) -> Iterator[str]:
    """Yield the texts in data from LangGraph's serializer."""
    try:
        value = ormsgpack.unpackb(kept, ext_hook=lambda _, data: data, option=ormsgpack.OPT_NON_STR_KEYS)
    except ormsgpack.MsgpackDecodeError:
        value = None
    # A value that is not a text or a container was not encoded with msgpack.
    left = [value if isinstance(value, str | bytes | Mapping | list | tuple) else kept.decode("utf-8", "replace")]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, bytes):
            yield from _texts(one)
        elif isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            left += one
