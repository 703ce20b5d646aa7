"""`Kept`: replies and results that an interrupted run needs again, kept until the run has ended."""

from __future__ import annotations

from .rows import KeptRow
from .storage.access import Access
from .storage.fences import Fenced, is_overtaken
from .storage.tables import KEPT
from .storage.writer import Writer

__all__ = ["Kept"]


class Kept:
    """The replies and results in a ledger's file, encrypted; each method waits for the file.

    They are written by `Ledger.record`.

    Args:
        writer: Writes the ledger's rows.
        reader: Reads them.
    """

    def __init__(self, writer: Writer, reader: Access) -> None:
        self._writer = writer
        self._reader = reader

    def names(self, run: str) -> frozenset[str]:
        """Return the names of everything a run has kept."""
        self._writer.settle()
        return frozenset(name for (name,) in self._reader.read("SELECT name FROM kept WHERE run = ?", run))

    def get(self, run: str, name: str) -> KeptRow | None:
        """Return what a run has kept under a name, or None."""
        self._writer.settle()
        query = f"SELECT {KEPT.names} FROM kept WHERE run = ? AND name = ?"  # noqa: S608 - our own words
        return next((KEPT.decode(found) for found in self._reader.read(query, run, name)), None)

    def every(self) -> list[KeptRow]:
        """Return everything that runs have kept."""
        self._writer.settle()
        return [KEPT.decode(found) for found in self._reader.read(f"SELECT {KEPT.names} FROM kept")]  # noqa: S608 - our own words

    def forget(self, run: str, names: str = "", *, token: int | None = None) -> None:
        """Delete what a run has kept and no longer needs.

        Args:
            run: The run.
            names: Only what is kept under names with this prefix.
            token: The caller's fencing token for the run; None deletes whoever holds the run.

        Raises:
            Fenced: Another process has taken the run over, and may need it.
            ConfigError: The file cannot be written.
        """
        self._writer.settle()
        with self._writer.access.changing() as connection:
            if token is not None and is_overtaken(connection, run, token):
                raise Fenced(run)
            connection.execute("DELETE FROM kept WHERE run = ? AND substr(name, 1, ?) = ?", (run, len(names), names))
