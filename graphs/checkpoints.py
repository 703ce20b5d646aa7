"""The checkpoints of runs in SQLite: private to their owner, one connection for all runs of an event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiosqlite
    from langgraph.checkpoint.base import BaseCheckpointSaver

__all__ = ["checkpoints"]

_BUSY_SECONDS = 30.0


@dataclass
class _Shared:
    """A connection, open while any run uses it: two in one process would only lock each other out."""

    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: aiosqlite.Connection | None = None
    users: int = 0


_shared: dict[tuple[asyncio.AbstractEventLoop, Path], _Shared] = {}


@asynccontextmanager
async def checkpoints(state: Path, types: Sequence[tuple[str, str]]) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Open the checkpoints for one run.

    Only the types named may be built from a checkpoint file: LangGraph's default would import and call whatever a
    crafted file names.

    Args:
        state: The project's state folder.
        types: Module and name of each type a checkpoint may hold besides LangChain's own.
    """
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with _connection(state / "checkpoints.db") as connection:
        yield AsyncSqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=list(types)))


@asynccontextmanager
async def _connection(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    import aiosqlite

    key = (asyncio.get_running_loop(), path)
    shared = _shared.setdefault(key, _Shared())
    shared.users += 1
    try:
        async with shared.opening:
            if shared.connection is None:
                shared.connection = await aiosqlite.connect(_private(path), timeout=_BUSY_SECONDS)
        yield shared.connection
    finally:
        shared.users -= 1
        if shared.users == 0:
            # A connection left open would keep the process alive.
            _shared.pop(key, None)
            if shared.connection is not None:
                await shared.connection.close()


def _private(path: Path) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    return path
