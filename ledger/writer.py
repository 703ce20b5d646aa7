"""The thread that puts rows into the file, many in one transaction."""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
import weakref
from collections import deque
from pathlib import Path

from ..configs.errors import ConfigError, PointsmanError
from .chain import Head, read_head, seal, write_head
from .coding import Table, Values
from .connection import connect, explain, lock_of, transaction
from .redact import redact
from .tables import CHAINED

__all__ = ["Writer"]

_GROUP_SECONDS = 0.05
"""How long rows wait for company before they are committed together, unless somebody wants to see them; the longer, the
fewer pages are written twice, and the more rows go with a process that is killed."""
_GROUP_ROWS = 256
"""Most rows of one transaction: other writers of the file wait for its end, about a hundredth of a second."""

_Item = tuple[Table, Values]


_running: weakref.WeakSet[Writer] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    errors: list[PointsmanError] = []
    for writer in list(_running):
        try:
            # What a forked child has of its parent's ledger is the parent's to write.
            if writer.pid == os.getpid():
                writer.close()
        except PointsmanError as error:
            errors.append(error)
    if errors:
        raise errors[0]


class Writer:
    """Writes rows in the order in which they were put, in a thread of its own.

    Args:
        path: The ledger; None for one in memory.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.pid = os.getpid()
        self.connection = connect(path)
        self.lock = lock_of(path)
        self._queue: deque[_Item | threading.Event] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._failure: str | None = None
        self._closing = False
        self._closed = False
        self._unsynced = False
        self._syncing = threading.Lock()
        # A daemon, so that a ledger nobody closed does not keep the process alive; it is closed at exit.
        self._thread = threading.Thread(target=self._work, name="pointsman-ledger", daemon=True)
        self._thread.start()
        _running.add(self)

    def put(self, table: Table, values: Values) -> None:
        """Take a row to be written soon.

        Raises:
            PointsmanError: Rows could not be written, now or earlier.
        """
        self.check()
        self._queue.append((table, values))
        if not self._wake.is_set():
            self._wake.set()

    def check(self) -> None:
        """Raise when rows could not be written.

        Raises:
            PointsmanError: Why, and how many were lost.
        """
        if self._failure is not None:
            raise ConfigError(self._failure)
        if self._closing:
            raise PointsmanError("the ledger is closed")
        # Threads do not survive a fork; rows put here would wait for ever.
        if self.pid != os.getpid():
            raise PointsmanError("the ledger was opened before this process was forked: open it again")

    def settle(self) -> None:
        """Wait until every row put so far is written, where other connections see it.

        Raises:
            PointsmanError: Rows could not be written.
        """
        self.check()
        written = threading.Event()
        self._queue.append(written)
        self._hurry.set()
        self._wake.set()
        # The thread may end, failing, between the check above and the append.
        while not written.wait(0.5):
            self.check()
        self.check()

    def sync(self) -> None:
        """Wait until every row put so far is on the disk.

        Raises:
            PointsmanError: Rows could not be written.
        """
        self.settle()
        self._sync_log()

    def stop(self) -> None:
        """Take no more rows, and let the thread end by itself once it has written what it has."""
        self._closing = True
        self._wake.set()
        self._hurry.set()

    def close(self) -> None:
        """Write what is left and end the thread; a second call does nothing.

        Raises:
            PointsmanError: Rows could not be written.
        """
        if self._closed:
            return
        self._closed = True
        self.stop()
        self._thread.join()
        if self._failure is None and self._queue:
            self._failure = f"the ledger: {len(self._queue)} rows came while it was closed and were not kept"
        self._sync_log()
        if self._failure is not None:
            raise ConfigError(self._failure)

    def _sync_log(self) -> None:
        with self._syncing:
            if self._path is None or not self._unsynced:
                return
            self._unsynced = False
            try:
                # Unlike the database itself, its log carries no locks that closing a descriptor would drop.
                log = os.open(f"{self._path}-wal", os.O_RDWR)
            except FileNotFoundError:
                # The last connection to close has put everything into the database and synced that.
                return
            try:
                os.fsync(log)
            except OSError as error:
                self._unsynced = True
                raise explain(self._path, error) from error
            finally:
                os.close(log)

    def _work(self) -> None:
        try:
            while self._failure is None and not (self._closing and not self._queue):
                self._wake.wait()
                self._hurry.wait(_GROUP_SECONDS)
                # Cleared before the queue is emptied: whoever puts a row after that wakes the thread again.
                self._wake.clear()
                self._hurry.clear()
                while self._queue and self._failure is None:
                    self._write(self._take())
        finally:
            self.connection.close()

    def _take(self) -> list[_Item | threading.Event]:
        batch: list[_Item | threading.Event] = []
        while self._queue and len(batch) < _GROUP_ROWS:
            batch.append(self._queue.popleft())
        return batch

    def _write(self, batch: list[_Item | threading.Event]) -> None:
        rows = [item for item in batch if not isinstance(item, threading.Event)]
        try:
            if rows:
                self._commit(rows)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever comes next must hear of it
            self._fail(error, batch)
        for item in batch:
            if isinstance(item, threading.Event):
                item.set()

    def _commit(self, items: list[_Item]) -> None:
        groups: dict[str, tuple[Table, list[Values]]] = {}
        for table, values in items:
            groups.setdefault(table.name, (table, []))[1].append(_clean(table, values))
        with self.lock, transaction(self.connection):
            for table, rows in groups.values():
                if table in CHAINED:
                    self._append(table, rows)
                else:
                    self._replace(table, rows)
        self._unsynced = True

    def _append(self, table: Table, rows: list[Values]) -> None:
        head = read_head(self.connection, table)
        seq, chain = head.rows, head.chain
        sealed: list[Values] = []
        for values in rows:
            seq += 1
            chain = seal(chain, seq, values)
            sealed.append((seq, *values, chain))
        marks = ", ".join("?" * (len(table.columns) + 2))
        self.connection.executemany(f"INSERT INTO {table.name} (seq, {table.names}, chain) VALUES ({marks})", sealed)  # noqa: S608 - our own names
        write_head(self.connection, table, Head(seq, chain))

    def _replace(self, table: Table, rows: list[Values]) -> None:
        marks = ", ".join("?" * len(table.columns))
        self.connection.executemany(f"REPLACE INTO {table.name} ({table.names}) VALUES ({marks})", rows)  # noqa: S608 - our own names

    def _fail(self, error: Exception, batch: list[_Item | threading.Event]) -> None:
        left = [*batch, *self._queue]
        lost = sum(not isinstance(item, threading.Event) for item in left)
        known = isinstance(error, sqlite3.Error | OSError)
        said = explain(self._path, error) if known else f"the ledger: {type(error).__name__}: {error}"
        self._failure = f"{said} ({lost} rows were not kept)"
        for item in left:
            if isinstance(item, threading.Event):
                item.set()


def _clean(table: Table, values: Values) -> Values:
    """The row with secrets taken out of its free text."""
    free = [index for index in table.free if values[index]]
    if not free:
        return values
    cleaned = list(values)
    for index in free:
        cleaned[index] = redact(str(values[index]))
    return tuple(cleaned)
