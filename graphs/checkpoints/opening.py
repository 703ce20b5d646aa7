"""The checkpoints of a project, opened for a run or looked into."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...dispatch.state.sealing import user_seal
from ...ledger.storage.connection import explain
from .file import in_use
from .tables import CHECKPOINTS, file_of

if TYPE_CHECKING:
    from .saver import Checkpoints

__all__ = ["checkpoints", "last_value", "resumable"]

_LOOK_SECONDS: Final = 10.0
"""Seconds that a reader waits for a process that holds the file."""


@asynccontextmanager
async def checkpoints(
    state: Path, types: Sequence[tuple[str, str]], *, token: int | None = None
) -> AsyncIterator[Checkpoints]:
    """Open the checkpoints for one run, which hold all that it saw, encrypted under the user's key.

    Only the named types may be deserialized from a checkpoint file: LangGraph's default would import and call whatever
    a crafted file names.

    Args:
        state: The project's state folder.
        types: Module and name of each type a checkpoint may hold besides LangChain's own.
        token: Token whose writes are refused with `Fenced` once `raise_fence` has set a higher one; None checks
            nothing.

    Raises:
        ConfigError: The file was moved while others use it, or there is no folder for the key. On use: the file cannot
            be used, its key is lost or has changed, or what is read is not encrypted.
    """
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    from .saver import Checkpoints
    from .sealed import Sealed

    sealed = Sealed(user_seal(), JsonPlusSerializer(allowed_msgpack_modules=list(types)), state)
    with in_use(file_of(state)) as file:
        try:
            yield Checkpoints(file, sealed, token=token)
        finally:
            # An interrupted graph may have submitted writes that are not done yet.
            await file.settle()


async def last_value(state: Path, run: str, channel: str) -> Any:
    """Return the value of a channel when the graph of a run last ended a step; None if it has none.

    Args:
        state: The project's state folder.
        run: Id of the run.
        channel: The channel.
    """
    async with checkpoints(state, ()) as saver:
        parts = await saver.apart(run, [channel], limit=1)
    return parts[0].values.get(channel) if parts else None


def resumable(state: Path, runs: Sequence[str]) -> frozenset[str]:
    """Return those of these runs that have begun their graph.

    Args:
        state: The project's state folder.
        runs: Their ids.

    Raises:
        ConfigError: The file cannot be read.
    """
    path = file_of(state)
    if not path.exists():
        return frozenset()
    try:
        with closing(sqlite3.connect(path, timeout=_LOOK_SECONDS)) as connection:
            # Without the tables nothing has begun.
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'").fetchone():
                return frozenset()
            known = "SELECT 1 FROM checkpoints WHERE thread_id = ? LIMIT 1"
            return frozenset(run for run in runs if connection.execute(known, (run,)).fetchone())
    except sqlite3.Error as error:
        raise explain(path, error, CHECKPOINTS) from error
