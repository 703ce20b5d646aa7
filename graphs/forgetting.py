"""Forgetting: out of the memory, and out of what is kept of runs and conversations that were told."""

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
from ..dispatch.sealing import user_seal
from .checkpoints import forking
from .keeping import give_up

__all__ = ["Forgotten", "forget"]

_UNDER_WAY = (Status.RUNNING, Status.PENDING)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was deleted, and what could not be.

    Attributes:
        items: How many items of the memory went, or lost what they had said before.
        runs: The runs of which nothing is kept any more, since they had been told: they cannot be resumed.
        threads: Names of the files of conversations, likewise.
        waiting: Runs that were told and are under way or wait for a person.
        busy: Conversations that a run has in use, so that nobody looked into them.
        rows: How many calls and handoffs in the ledger no longer quote what was forgotten.
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
    """Delete from the memory as `ChromaStore.forget` does, and from all that is kept of who was told it.

    Runs and conversations that hold a text which the memory has ever been made to forget are deleted whole, apart from
    runs under way, and kept answers of models all; calls and handoffs of the ledger lose such texts. Done again, this
    deletes what it had to leave. A text of fewer than four words is looked for in the memory alone, and what a model
    has said of it in words of its own stays.

    Args:
        runtime: Whose memory and state.
        ids: As `ChromaStore.forget` takes them, and so are the others.

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
    """Those of some runs that work or wait for a person."""
    rows = {row.id: row for row in runtime.ledger.runs()}
    return sorted(r for r in runs if r in rows and status_of(runtime, rows[r]) in _UNDER_WAY)


def _unfinished(runtime: Runtime, told: Callable[[bytes], bool]) -> set[str]:
    """The runs of which a reply or a result that holds something forgotten is kept until they end."""
    seal = user_seal()
    return {
        row.run for row in runtime.ledger.kept.every() if told(seal.open(row.sealed).encode("utf-8", "surrogatepass"))
    }


def _clear(answers: Path) -> None:
    # All: they are kept under digests of what was asked, so nobody can tell which were told.
    if answers.exists():
        with closing(ResponseCache(answers)) as cache:
            cache.clear()


def _texts(kept: bytes) -> Iterator[str]:
    """Yield the texts in what LangGraph's serializer made."""
    try:
        value = ormsgpack.unpackb(kept, ext_hook=lambda _, data: data, option=ormsgpack.OPT_NON_STR_KEYS)
    except ormsgpack.MsgpackDecodeError:
        value = None
    # What is no text, nor has any, was not made by msgpack.
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
