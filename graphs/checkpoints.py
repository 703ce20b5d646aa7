"""The checkpoints of runs in SQLite: private to their owner, one connection for all runs of an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..configs.errors import ConfigError
from ..dispatch.forks import keep_for_good
from ..dispatch.private import open_private
from ..ledger.forks import lock_of, rest_before_forks

if TYPE_CHECKING:
    import sqlite3

    import aiosqlite
    from langgraph.checkpoint.base import BaseCheckpointSaver

__all__ = ["checkpoints", "last_state"]

_BUSY_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 2.0
"""How long a fork waits at most for a checkpoint that is being written."""


class _Shared:
    """A connection, open while any run uses it: two in one event loop would only lock each other out.

    While the process forks, the thread that uses the connection pauses between two transactions, so that the child can
    close what it inherits; it must, since an open file keeps SQLite there from taking locks of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.users = 0
        self.opening = asyncio.Lock()
        self.connection: aiosqlite.Connection | None = None
        self.lock = lock_of(path)
        self._raw: sqlite3.Connection | None = None
        self._paused = threading.Event()
        self._hurry = False

    async def opened(self) -> aiosqlite.Connection:
        """The connection, opened at its first use."""
        import aiosqlite

        async with self.opening:
            if self.connection is None:
                rest_before_forks(self)
                self.connection = aiosqlite.Connection(self._open, iter_chunk_size=64)
                try:
                    await self.connection
                except BaseException:
                    self.connection = None
                    raise
            return self.connection

    async def close(self) -> None:
        """Close the connection; one left open would keep the process alive."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close()
            self._raw = None

    def _open(self) -> sqlite3.Connection:
        if self.path in _unusable:
            raise ConfigError(
                f"the checkpoints {self.path} were being written when this process was forked, which SQLite does not "
                "survive: fork between runs, or start processes by spawn"
            )
        self._raw = open_private(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
        return self._raw

    def rest(self) -> None:
        """Have the thread that uses the connection pause until the fork is over."""
        self._hurry = False
        if self.connection is None or self._raw is None or self._paused.is_set():
            return
        self.connection._tx.put_nowait((None, self._pause))
        self._hurry = not self._paused.wait(_PAUSE_SECONDS)

    def _pause(self) -> None:
        if self.connection is None or self._raw is None or self._hurry:
            return
        if self._raw.in_transaction:
            # What commits it stands further back in the queue.
            self._paused.wait(0.001)
            self.connection._tx.put_nowait((None, self._pause))
            return
        self._paused.set()
        with self.lock:
            self._paused.clear()

    def anew(self) -> None:
        """Close, in a forked child, the file it inherited."""
        self.lock.anew()
        keep_for_good(self)
        if self._raw is None:
            return
        if self._paused.is_set():
            self._raw.close()
        else:
            _unusable.add(self.path)


_shared: dict[tuple[asyncio.AbstractEventLoop, Path], _Shared] = {}
_unusable: set[Path] = set()
"""Files that a forked child must not open."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.clear)


@asynccontextmanager
async def checkpoints(state: Path, types: Sequence[tuple[str, str]]) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Open the checkpoints for one run.

    Only the types named may be built from a checkpoint file: LangGraph's default would import and call whatever a
    crafted file names.

    Args:
        state: The project's state folder.
        types: Module and name of each type a checkpoint may hold besides LangChain's own.

    Raises:
        ConfigError: This process was forked while the file was being written.
    """
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with _connection(state / "checkpoints.db") as connection:
        yield AsyncSqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=list(types)))


async def last_state(state: Path, run: str) -> dict[str, Any]:
    """What the graph of a run had in its state when it last ended a step; empty where it never did.

    Args:
        state: The project's state folder.
        run: Id of the run.
    """
    async with checkpoints(state, ()) as saver:
        found = await saver.aget_tuple({"configurable": {"thread_id": run}})
    return {} if found is None else dict(found.checkpoint["channel_values"])


@asynccontextmanager
async def _connection(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    key = (asyncio.get_running_loop(), path)
    shared = _shared.setdefault(key, _Shared(path))
    shared.users += 1
    try:
        yield await shared.opened()
    finally:
        shared.users -= 1
        if shared.users == 0:
            _shared.pop(key, None)
            await shared.close()
