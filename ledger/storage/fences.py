"""`Fences`: rows of a run that another process has taken over are not written."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ...configs.errors import PointsmanError
from .connection import Connection
from .tables import Table, Values

__all__ = ["Fenced", "Fences", "is_overtaken"]

_log = logging.getLogger(__name__)


class Fenced(PointsmanError):
    """Another process has taken the run over, so rows that are written about it here are refused.

    Args:
        run: Id of the run, also kept on the error.
    """

    def __init__(self, run: str) -> None:
        super().__init__(f"run {run} was taken over by somebody else; nothing more of it is written here")
        self.run = run


class Fences:
    """The runs that this process holds, each with its fencing token.

    A process that takes a run over stores a higher token for it in the file. Tokens are compared in the transaction
    that writes, so a holder that was suspended, for any length of time, writes nothing more once it continues.

    Attributes:
        lost: The runs that another process is known to have taken over.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, int] = {}
        self.lost: set[str] = set()

    def hold(self, run: str, token: int) -> None:
        """Let rows of a run pass as long as nobody has a higher token."""
        self.lost.discard(run)
        self._tokens[run] = token

    def let_go(self, run: str, token: int) -> None:
        """Stop holding a run; one that was lost stays refused."""
        if run not in self.lost and self._tokens.get(run) == token:
            del self._tokens[run]

    def check(self, run: str) -> None:
        """Raise if a run is known to be lost.

        Raises:
            Fenced: The run is lost.
        """
        if run in self.lost:
            raise Fenced(run)

    def refused(self, table: Table, values: Values) -> Fenced | None:
        """Return why a row was not written; None if it was."""
        run = _run_of(table, values)
        return Fenced(run) if run in self.lost else None

    def let_through(
        self, connection: Connection, rows: Sequence[tuple[Table, Values]]
    ) -> Sequence[tuple[Table, Values]]:
        """Return the rows that may be written; must run inside the transaction that writes them.

        Args:
            connection: The file.
            rows: Each row with its table.
        """
        held = {run for row in rows if (run := _run_of(*row)) in self._tokens} if self._tokens else set()
        for run in held - self.lost:
            if is_overtaken(connection, run, self._tokens[run]):
                self.lost.add(run)
                _log.warning("%s", Fenced(run))
        if self.lost.isdisjoint(held):
            return rows
        return [row for row in rows if _run_of(*row) not in self.lost]


def is_overtaken(connection: Connection, run: str, token: int) -> bool:
    """Whether somebody has taken a run over from a holder; must be called inside the transaction that depends on it.

    Args:
        connection: The file.
        run: The run.
        token: The holder's token.
    """
    found = connection.execute("SELECT token FROM leases WHERE run = ?", (run,)).fetchone()
    return found is not None and found[0] > token


def _run_of(table: Table, values: Values) -> str:
    """Return the run that a row belongs to."""
    return str(values[table.run])
