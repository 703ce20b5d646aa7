"""Fences: a process whose run was taken over writes no more of that run's checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...ledger.storage.connection import Connection
from ...ledger.storage.fences import Fenced
from .file import in_use
from .tables import file_of

__all__ = ["check_fences", "raise_fence"]

_RAISE = """INSERT INTO fences VALUES (?, ?)
    ON CONFLICT (run) DO UPDATE SET token = max(token, excluded.token) RETURNING token"""


async def raise_fence(state: Path, run: str, token: int) -> int:
    """Refuse, from now on, to write checkpoints of a run with a lower token.

    Args:
        state: The project's state folder.
        run: Id of the run, which is its thread id in LangGraph.
        token: Higher the later the run was taken over. A fence is never lowered.

    Returns:
        The fence that applies now: above the token if somebody with a higher one came first.

    Raises:
        ConfigError: The checkpoints cannot be written.
    """

    def raised(connection: Connection) -> int:
        fence: int = connection.execute(_RAISE, (run, token)).fetchone()[0]
        return fence

    with in_use(file_of(state)) as file:
        return await file.call(raised, writes=True)


def check_fences(connection: Connection, threads: Iterable[str], token: int | None) -> None:
    """Refuse to write if a fence is above a token.

    Args:
        connection: In the transaction of the write.
        threads: Threads whose checkpoints are to be written.
        token: The writer's token; None may write everywhere.

    Raises:
        Fenced: A fence is above the token.
    """
    if token is None:
        return
    for thread in threads:
        if connection.execute("SELECT 1 FROM fences WHERE run = ? AND token > ?", (thread, token)).fetchone():
            raise Fenced(thread)
