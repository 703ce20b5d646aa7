"""Fences: whoever was overtaken on a run writes nothing more of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...configs.errors import PointsmanError
from ...ledger.storage.connection import Connection
from .file import in_use
from .tables import file_of

__all__ = ["Fenced", "check_fences", "raise_fence"]

_RAISE = """INSERT INTO fences VALUES (?, ?)
    ON CONFLICT (run) DO UPDATE SET token = max(token, excluded.token) RETURNING token"""


class Fenced(PointsmanError):
    """Somebody else has taken the run over since."""

    def __init__(self, run: str) -> None:
        super().__init__(f"run {run} was taken over by somebody else; nothing more of it is written here")
        self.run = run


async def raise_fence(state: Path, run: str, token: int) -> int:
    """Refuse, from now on, what is written of a run with a lower token.

    Args:
        state: The project's state folder.
        run: Id of the run, under which LangGraph keeps its thread.
        token: The higher, the later the run was taken over. A fence is never lowered.

    Returns:
        The fence that holds now: above the token where somebody with a higher one came first.

    Raises:
        ConfigError: The checkpoints cannot be written.
    """

    def raised(connection: Connection) -> int:
        fence: int = connection.execute(_RAISE, (run, token)).fetchone()[0]
        return fence

    with in_use(file_of(state)) as file:
        return await file.call(raised, writes=True)


def check_fences(connection: Connection, threads: Iterable[str], token: int | None) -> None:
    """Refuse to write where a fence stands above a token.

    Args:
        connection: In the transaction of the write.
        threads: Whose checkpoints are to be written.
        token: None may write everywhere.

    Raises:
        Fenced: It does.
    """
    if token is None:
        return
    for thread in threads:
        if connection.execute("SELECT 1 FROM fences WHERE run = ? AND token > ?", (thread, token)).fetchone():
            raise Fenced(thread)
