"""`Texts`: the texts that calls and handoffs quote, and their removal from the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from ..configs.errors import ConfigError
from .storage.access import Access
from .storage.chain import erase, texts
from .storage.writer import Writer

__all__ = ["Texts"]


class Texts:
    """The free texts of a ledger, which can be erased without breaking its hash chain.

    Args:
        path: The ledger's file; None for one in memory.
        writer: Writes the file.
        reader: Reads the file.
    """

    def __init__(self, path: Path | None, writer: Writer, reader: Access) -> None:
        self._path, self._writer, self._reader = path, writer, reader

    def erase(self, met: Callable[[Sequence[str]], Sequence[bool]], *, kept: Collection[str] = ()) -> int:
        """Erase texts from the file and its log, and return how many rows they were erased from.

        Args:
            met: Returns, for each of the texts it is given, whether to erase it.
            kept: Runs whose rows stay as they are.

        Raises:
            ConfigError: Rows could not be written, or another process is reading the log.
        """
        self._writer.settle()
        with self._reader.reading() as connection:
            said = texts(connection)
        going = [text for text, gone in zip(said, met(said), strict=True) if gone]
        with self._writer.access.changing(durable=True) as connection:
            count = erase(connection, going, kept=kept)
            connection.execute("COMMIT")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy and self._path is not None:
            raise ConfigError(
                f"the ledger {self._path}: what was forgotten is erased but still stands in the file's log, because "
                "another process reads it: forget again when it is done"
            )
        return count
