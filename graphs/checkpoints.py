"""The checkpoints of runs in SQLite: encrypted, one connection for all runs of an event loop."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..configs.errors import ConfigError
from ..dispatch.forks import keep_for_good
from ..dispatch.private import open_private
from ..dispatch.sealing import UNSEALED, user_seal
from ..ledger.forks import End, at_end, lock_of, rest_before_forks
from ..ledger.storage.access import identity

if TYPE_CHECKING:
    import aiosqlite
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["KEPT_DAYS", "checkpoints", "last_state", "prune", "resumable"]

KEPT_DAYS: Final = 30
"""How long the last state of a run that came to its end is kept, as long as a batch is."""

_BUSY_SECONDS: Final = 30.0
_LINGER_SECONDS: Final = 5.0
"""How long a connection stays open after its last run: opening one costs as much as a step does, closing it more."""
_PAUSE_SECONDS: Final = 2.0
"""How long a fork waits at most for a checkpoint that is being written."""


class _Shared:
    """A connection, open while any run uses it and a little longer: two in one event loop would lock each other out.

    While the process forks, the thread that uses the connection pauses between two transactions, so that the child can
    close what it inherits; it must, since an open file keeps SQLite there from taking locks of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.users = 0
        self.opening = asyncio.Lock()
        self.connection: aiosqlite.Connection | None = None
        self.lingering: asyncio.TimerHandle | None = None
        self.closing: asyncio.Task[None] | None = None
        self.lock = lock_of(path)
        self._raw: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._paused = threading.Event()
        self._hurry = False

    async def opened(self) -> aiosqlite.Connection:
        """The connection, opened at its first use, and again where its file is no more the one at its path."""
        import aiosqlite

        async with self.opening:
            if self.connection is not None and self._file != identity(self.path):
                if self.users > 1:
                    raise ConfigError(
                        f"the checkpoints {self.path} were moved, deleted or replaced while a run uses them: put them "
                        "back, or start again once it has ended"
                    )
                await self.close()
            if self.connection is None:
                rest_before_forks(self)
                self.connection = aiosqlite.Connection(self._open, iter_chunk_size=64)
                # It may linger when the process ends, which waits for every other thread.
                _thread_of(self.connection).daemon = True
                try:
                    await _to_its_end(self.connection)
                except Exception:
                    self.connection = None
                    raise
            return self.connection

    async def close(self) -> None:
        """Close the connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            # Side by side in the queue of its thread: what a cancelled task still writes there comes before or after.
            await _to_its_end(asyncio.gather(connection.commit(), connection.close()))
            self._raw = None

    def stop(self) -> None:
        """Close the connection from outside its event loop, which runs no more."""
        connection, self.connection = self.connection, None
        if connection is not None:
            if self._raw is not None:
                connection._tx.put_nowait((None, self._raw.commit))
            connection.stop()
            _thread_of(connection).join(_PAUSE_SECONDS)
            self._raw = None

    def _open(self) -> sqlite3.Connection:
        if self.path in _unusable:
            raise ConfigError(
                f"the checkpoints {self.path} were being written when this process was forked, which SQLite does not "
                "survive: fork between runs, or start processes by spawn"
            )
        self._raw = open_private(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
        self._file = identity(self.path)
        # What is pruned is not left in the file's free pages.
        self._raw.execute("PRAGMA secure_delete = ON")
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


def _thread_of(connection: Any) -> threading.Thread:
    # Before aiosqlite 0.22 a connection is a thread.
    thread: threading.Thread = getattr(connection, "_thread", connection)
    return thread


async def _to_its_end(work: Awaitable[Any]) -> None:
    """Await what opens or closes a connection, to its end when cancelled too: its thread tells the loop of it then."""

    async def awaited() -> None:
        await work

    task = asyncio.ensure_future(awaited())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


_shared: dict[tuple[asyncio.AbstractEventLoop, Path], _Shared] = {}
_unusable: set[Path] = set()
"""Files that a forked child must not open."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.clear)


@asynccontextmanager
async def checkpoints(state: Path, types: Sequence[tuple[str, str]]) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Open the checkpoints for one run, which hold all that it saw, encrypted under the user's key.

    Only the types named may be built from a checkpoint file: LangGraph's default would import and call whatever a
    crafted file names.

    Args:
        state: The project's state folder.
        types: Module and name of each type a checkpoint may hold besides LangChain's own.

    Raises:
        ConfigError: This process was forked while the file was being written, or there is no place for the key; when
            a checkpoint is read, its key is lost or another one, or nobody encrypted it.
    """
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    class Sealed(EncryptedSerializer):
        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            # LangGraph's own reads what is not encrypted too: answers that nobody gave, in a file that came with a
            # folder.
            if "+" not in data[0]:
                raise ConfigError(UNSEALED, file=state)
            return super().loads_typed(data)

    async with _connection(state / "checkpoints.db") as connection:
        plain = JsonPlusSerializer(allowed_msgpack_modules=list(types))
        saver = AsyncSqliteSaver(connection, serde=Sealed(user_seal(), plain))
        try:
            yield saver
        finally:
            # A graph that was broken off leaves what it was writing to be written.
            async with saver.lock:
                pass


async def prune(graph: CompiledStateGraph[Any, Any, Any, Any], run: str, *, now: float | None = None) -> None:
    """Keep of a run that came to its end the last state alone, and nothing of runs that did so `KEPT_DAYS` ago.

    That state is all that ``runs`` and ``resume`` need of it. A run that waits, failed or was interrupted keeps
    everything: it can be taken up.

    Args:
        graph: What ran, over `checkpoints`.
        run: Its id.
        now: Seconds since the epoch.
    """
    from langgraph.channels import DeltaChannel

    saver: Any = graph.checkpointer
    now = time.time() if now is None else now
    # What a delta channel holds is put together from the checkpoints before.
    whole = not any(isinstance(channel, DeltaChannel) for channel in graph.channels.values())
    # The run is done: what cannot be pruned now must not make it fail.
    with suppress(sqlite3.Error):
        async with saver.lock:
            try:
                for statement, values in _pruning(run, now, whole=whole):
                    await saver.conn.execute(statement, values)
            finally:
                # Never rolled back: other runs write by the same connection, and each statement is good by itself.
                await saver.conn.commit()


def _pruning(run: str, now: float, *, whole: bool) -> Iterator[tuple[str, tuple[object, ...]]]:
    yield "CREATE TABLE IF NOT EXISTS ended (thread_id TEXT PRIMARY KEY NOT NULL, at REAL NOT NULL) WITHOUT ROWID", ()
    yield "REPLACE INTO ended VALUES (?, ?)", (run, now)
    inner = "thread_id = ? AND checkpoint_ns <> ''"
    yield f"DELETE FROM checkpoints WHERE {inner}", (run,)  # noqa: S608 - our own words, here and below
    yield f"DELETE FROM writes WHERE {inner}", (run,)  # noqa: S608
    if whole:
        last = "(SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = '')"
        for table in ("checkpoints", "writes"):
            yield f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id <> {last}", (run, run)  # noqa: S608
    over = "thread_id IN (SELECT thread_id FROM ended WHERE at < ?)"
    for table in ("checkpoints", "writes", "ended"):
        yield f"DELETE FROM {table} WHERE {over}", (now - KEPT_DAYS * 86_400,)  # noqa: S608


async def last_state(state: Path, run: str) -> dict[str, Any]:
    """What the graph of a run had in its state when it last ended a step; empty where it never did.

    Args:
        state: The project's state folder.
        run: Id of the run.
    """
    async with checkpoints(state, ()) as saver:
        found = await saver.aget_tuple({"configurable": {"thread_id": run}})
    return {} if found is None else dict(found.checkpoint["channel_values"])


def resumable(state: Path, runs: Sequence[str]) -> frozenset[str]:
    """Those of these runs that have begun their graph, and can be taken up.

    Args:
        state: The project's state folder.
        runs: Their ids.
    """
    path = state / "checkpoints.db"
    if not path.exists():
        return frozenset()
    # Without its tables nothing has begun.
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection, suppress(sqlite3.OperationalError):
        known = "SELECT 1 FROM checkpoints WHERE thread_id = ? LIMIT 1"
        return frozenset(run for run in runs if connection.execute(known, (run,)).fetchone())
    return frozenset()


@asynccontextmanager
async def _connection(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    if over := [key for key in list(_shared) if key[0].is_closed()]:
        await asyncio.to_thread(_stop, over)
    loop = asyncio.get_running_loop()
    shared = _shared.setdefault((loop, path), _Shared(path))
    if shared.lingering is not None:
        shared.lingering.cancel()
    shared.users += 1
    try:
        yield await shared.opened()
    finally:
        try:
            if shared.connection is not None:
                # What was cancelled before its commit would keep the file locked, beyond the closing too: the error
                # that ended the run holds the statement. Each is good by itself.
                await _to_its_end(shared.connection.commit())
        finally:
            shared.users -= 1
            if shared.users == 0:
                shared.lingering = loop.call_later(_LINGER_SECONDS, _close, (loop, path))


def _close(key: tuple[asyncio.AbstractEventLoop, Path]) -> None:
    """Close, in its event loop, a connection that no run has used for a while."""
    shared = _shared.pop(key)
    # Who closes it is kept until it is closed.
    shared.closing = key[0].create_task(shared.close())


def _stop(keys: Sequence[tuple[asyncio.AbstractEventLoop, Path]]) -> None:
    """Close connections whose event loops run no more."""
    for key in keys:
        if shared := _shared.pop(key, None):
            shared.stop()


@at_end(End.CLOSE)
def _stop_all() -> None:
    _stop(list(_shared))
