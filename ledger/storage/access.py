"""`Access`: a SQLite connection that survives forks and waits for other processes without blocking readers."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ...configs.errors import ConfigError
from ...configs.process.forks import Lock, close_before_forks, keep_for_good, lock_of, watch_exit
from .connection import BUSY_SECONDS, LEDGER, Connection, Kind, connect, explain, is_busy

__all__ = ["Access", "identity"]

_POLL_SECONDS = 0.005
"""How long a thread that waits for another process sleeps between attempts, so that other threads here can run."""

_unusable: set[str] = set()
"""Files this process must not open, because it was forked while they were in use."""


class Access:
    """A connection that belongs to this process, used by one thread at a time.

    It is closed before the process forks, and opened again when next needed, in the parent and in the child.

    Args:
        path: The file; None for one in memory, which only this connection sees.
        reading: Only read, in parallel with writers in this process and without waiting for them.
        kind: What the file holds.

    Attributes:
        lock: Held while the connection is used; shared by all writers of the file in this process unless only reading.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path | None, *, reading: bool = False, kind: Kind = LEDGER) -> None:
        self.lock = Lock() if reading else lock_of(path)
        self._path = path
        self._kind = kind
        self._name = "" if path is None else os.path.realpath(path)
        self._reading = reading
        self._connection: Connection | None = None
        self._file: tuple[int, int] | None = None
        # Whether SQLite has the file open, or is opening it.
        self._at_work = False
        self._uses = 0
        self._durable = False
        self._closed = False
        close_before_forks(self, self.lock)
        with self.lock:
            self._ready()

    @property
    def replaced(self) -> bool:
        """Whether its file is no longer the one at its path."""
        return self._path is not None and self._file is not None and self._file != identity(self._path)

    def reading(self) -> AbstractContextManager[Connection]:
        """Open a read transaction: the block sees one snapshot of the file throughout.

        Raises:
            ConfigError: The file cannot be read, or is closed.
        """
        return self._transaction("BEGIN")

    def changing(self, *, durable: bool = False, patience: float | None = None) -> AbstractContextManager[Connection]:
        """Open a write transaction: all changes of the block are kept or none; the block may commit them itself.

        Args:
            durable: The changes are on disk at the end, with everything written before. Otherwise they survive the end
                of the process, but a crash of the machine only once SQLite has moved them out of its log.
            patience: Seconds to wait for another process that holds the file; ten if None.

        Raises:
            ConfigError: The file cannot be written, another process held it for too long, or it is closed.
        """
        return self._transaction("BEGIN IMMEDIATE", durable=durable, patience=patience)

    def read(self, query: str, *values: str | None) -> list[Any]:
        """Return the rows of a query."""
        with self.reading() as connection:
            return connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the connection for good."""
        with self.lock:
            self._closed = True
            self._shut()

    def close_for_fork(self) -> None:
        """Close the file before a fork; it is opened again at its next use. Called with ``lock`` held."""
        # A connection that the forking thread itself is using must stay open.
        if not self._uses and self._path is not None:
            with suppress(sqlite3.Error):
                self._shut()

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        self.lock.reset_after_fork()
        if self._path is not None and self._at_work:
            keep_for_good(self._connection)
            _unusable.add(self._name)
            self._connection, self._at_work = None, False
        self._uses = 0

    @contextmanager
    def _transaction(self, begin: str, *, durable: bool = False, patience: float | None = None) -> Iterator[Connection]:
        deadline = time.monotonic() + (BUSY_SECONDS if patience is None else patience)
        while (connection := self._begun(begin, deadline, durable=durable)) is None:
            # Sleep without the lock, so that neither other threads nor a fork wait for another process.
            time.sleep(_POLL_SECONDS)
        self._uses += 1
        try:
            yield connection
            if connection.in_transaction:
                connection.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise explain(self._path, error, self._kind) from error
        finally:
            self._uses -= 1
            try:
                connection.rollback()
            finally:
                self.lock.release()

    def _begun(self, begin: str, deadline: float, *, durable: bool) -> Connection | None:
        """Take the lock and begin; return None, with the lock released, while another process holds the file."""
        with self.lock:
            connection = self._ready()
            try:
                if durable != self._durable:
                    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                    self._durable = durable
                connection.execute(begin)
                if begin == "BEGIN":
                    # A read transaction starts only with the first read.
                    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            except sqlite3.Error as error:
                connection.rollback()
                if is_busy(error) and time.monotonic() < deadline:
                    return None
                raise explain(self._path, error, self._kind) from error
            # Taken a second time, to hold it after this block.
            self.lock.__enter__()
            return connection

    def _ready(self) -> Connection:
        if self._closed:
            raise ConfigError(f"{self._kind.name} {self._path or 'in memory'} is closed: open it again")
        if self.replaced:
            raise ConfigError(
                f"{self._kind.name} {self._path} was moved, deleted or replaced while in use: put it back, or start "
                "again"
            )
        if self._connection is None:
            if self._name in _unusable:
                raise ConfigError(
                    f"{self._kind.name} {self._path} was in use when this process was forked, which SQLite does not "
                    "survive: fork while nobody reads it, or start processes by spawn"
                )
            watch_exit()
            self._at_work = True
            try:
                self._connection, self._durable = connect(self._path, self._kind), False
            except BaseException:
                self._at_work = False
                raise
            if self._path is not None:
                self._file = identity(self._path)
                if self._reading:
                    self._connection.execute("PRAGMA query_only = ON")
        return self._connection

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._at_work = False


def identity(path: Path) -> tuple[int, int] | None:
    """Return which file is at a path, by device and inode; None if there is none.

    Args:
        path: The path.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
