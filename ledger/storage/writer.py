"""The thread that writes rows to the file, many in one transaction."""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ...configs.errors import ConfigError, PointsmanError
from ...configs.process.forks import ExitPhase, at_exit, reset_in_children, watch_exit
from ...configs.process.queues import next_within
from ...configs.redact import redact
from .access import Access
from .chain import append
from .connection import Connection
from .fences import Fences
from .reserved import Settled, end, settled_in
from .tables import CALLS, CHAINED, Table, Values

__all__ = ["Writer"]

_GROUP_SECONDS = 0.05
"""How long rows wait for others before they are committed together, unless somebody needs to read them; the longer, the
fewer pages are written twice, and the more rows are lost with a process that is killed."""
_GROUP_ROWS = 256
"""Maximum rows per transaction: other writers of the file wait for its end, about a hundredth of a second."""
_MOST_WAITING = 100_000
"""Maximum rows that wait in memory, a few kilobytes each, while the file cannot be written."""
_PAUSE_SECONDS = 1.0
"""Seconds between retries to write them."""

_log = logging.getLogger(__name__)

_Item = tuple[Table, Values]


@dataclass(eq=False, slots=True)
class _Asked:
    """A request to write everything put so far, together with a row of its own if there is one.

    Attributes:
        durable: Whether to sync it to disk too.
        row: The row, dropped if it cannot be written at once.
        written: Done when it is written; holds the error if it cannot be.
    """

    durable: bool
    row: _Item | None = None
    written: Future[None] = field(default_factory=Future)


class Writer:
    """Writes rows in the order in which they were put, in a thread of its own.

    If rows cannot be written because the disk is full or another process holds the file, they wait in memory and are
    retried every second, so that what has happened is not lost. Callers of `ask` get the error in the meantime.

    Args:
        path: The ledger; None for one in memory.

    Attributes:
        access: The file.
        fences: Refuse rows of runs that another process has taken over.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.fences = Fences()
        self.access = Access(path)
        self._settled = settled_in(path)
        self._closing = self._closed = False
        self._empty()
        reset_in_children(self)
        _running.add(self)

    def _empty(self) -> None:
        # Unlike other queues, it may be used from within the garbage collector.
        self._queue: queue.SimpleQueue[_Item | _Asked | None] = queue.SimpleQueue()
        # Rows taken from the queue that have not been written yet.
        self._waiting: deque[_Item] = deque()
        self._asked: list[_Asked] = []
        self._unsynced = False
        # Number of rows that were put and are not written yet.
        self._left = 0
        self._guard = threading.RLock()
        self._hurry = threading.Event()
        self._trouble: ConfigError | None = None
        self._thread: threading.Thread | None = None

    def reset_after_fork(self) -> None:
        """Reset in a forked child: the parent writes what waits to be written."""
        self._empty()

    def put(self, table: Table, values: Values) -> None:
        """Accept a row to be written soon.

        Raises:
            ConfigError: The ledger is closed, or the maximum number of rows waits in memory already.
        """
        if self._trouble is not None and self._left >= _MOST_WAITING:
            raise ConfigError(f"{self._trouble} ({_MOST_WAITING} rows wait in memory, this one was not kept)")
        self._enter((table, values))

    def check(self) -> None:
        """Raise while rows cannot be written.

        Raises:
            ConfigError: Says why, and how many rows wait; or that the ledger is closed.
        """
        trouble = self._trouble
        if trouble is not None:
            raise ConfigError(f"{trouble} ({self._left} rows wait in memory)")
        self._refuse_if_closed()

    def ask(self, *, durable: bool, row: _Item | None = None) -> Future[None]:
        """Have everything put so far written now.

        Args:
            durable: Also sync it to disk, so that it survives a crash of the machine.
            row: A row to be written with it, or not at all.

        Returns:
            A future that is done when it is written; it holds a `ConfigError` that says why it cannot be, or a `Fenced`
            if the row was refused.

        Raises:
            ConfigError: The ledger is closed.
        """
        asked = _Asked(durable, row)
        self._enter(asked)
        self._hurry.set()
        return asked.written

    def settle(self) -> None:
        """Wait until every row put so far is written and visible to other connections.

        Raises:
            ConfigError: Rows could not be written.
        """
        self.ask(durable=False).result()

    def stop(self) -> None:
        """Accept no more rows, and let the thread end by itself once it has written those it has."""
        with self._guard:
            self._closing = True
            self._queue.put(None)
            self._start()
        self._hurry.set()

    def close(self) -> None:
        """Write the remaining rows and end the thread; a second call does nothing.

        Raises:
            ConfigError: Rows could not be written.
        """
        with self._guard:
            if self._closed:
                return
            self._closed = True
        self.stop()
        if self._thread is not None:
            self._thread.join()
        else:
            self._work()
        if self._trouble is not None and (self._left or self._unsynced):
            raise ConfigError(f"{self._trouble} ({self._left} rows were not kept)")

    def _refuse_if_closed(self) -> None:
        if self._closing:
            raise ConfigError(f"the ledger {self._path or 'in memory'} is closed: open it again")

    def _enter(self, item: _Item | _Asked) -> None:
        with self._guard:
            self._refuse_if_closed()
            self._left += not isinstance(item, _Asked)
            self._queue.put(item)
            self._start()

    def _start(self) -> None:
        if self._thread is None:
            watch_exit()
            # A daemon, so that a ledger left open does not keep the process alive; it is closed at exit.
            thread = threading.Thread(target=self._work, name="pointsman-ledger", daemon=True)
            # At the end of the process no thread can start any more; remaining rows are written on closing.
            with suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def _work(self) -> None:
        try:
            while True:
                self._gather()
                self._write()
                # No row comes after closing; `close` reports what could not be written.
                if self._closing and self._queue.empty():
                    return
        finally:
            self.access.close()

    def _gather(self) -> None:
        """Wait for something to write, and a little longer for more."""
        taken: list[_Item | _Asked | None] = []
        with suppress(queue.Empty):
            taken.append(next_within(self._queue, _PAUSE_SECONDS) if self._trouble else self._queue.get())
        if taken and not isinstance(taken[0], _Asked):
            self._hurry.wait(_PAUSE_SECONDS if self._trouble else _GROUP_SECONDS)
        # Cleared before the queue is emptied, so that a later `ask` hurries the next round.
        self._hurry.clear()
        with suppress(queue.Empty):
            while True:
                taken.append(self._queue.get_nowait())
        for item in taken:
            if isinstance(item, _Asked):
                # If the caller was cancelled in the meantime, its row is withdrawn.
                if item.written.set_running_or_notify_cancel():
                    self._asked.append(item)
            elif item is not None:
                self._waiting.append(item)

    def _write(self) -> None:
        """Write all waiting rows, up to `_GROUP_ROWS` at a time, and last the rows that came with `ask`."""
        try:
            while len(self._waiting) > _GROUP_ROWS:
                self._commit(_GROUP_ROWS, ())
            self._commit(len(self._waiting), self._asked)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again, and whoever comes is told
            self._fail(error)
            return
        if self._trouble is not None:
            _log.warning("the ledger %s is written again", self._path)
            self._trouble = None
        for one in self._asked:
            fenced = None if one.row is None else self.fences.refused(*one.row)
            if fenced is None:
                one.written.set_result(None)
            else:
                one.written.set_exception(fenced)
        self._asked = []

    def _commit(self, count: int, asked: Sequence[_Asked]) -> None:
        """Write the first waiting rows, and those that came with `ask`, in one transaction."""
        rows = [*islice(self._waiting, count), *(one.row for one in asked if one.row is not None)]
        durable = self._closing or any(one.durable for one in asked)
        # After a failure, write something in any case, to see whether writing works again.
        if rows or (durable and self._unsynced) or self._trouble is not None:
            with self.access.changing(durable=durable) as connection:
                through = self.fences.let_through(connection, rows)
                ended = _add(connection, through, self._settled)
                if len(through) < len(rows):
                    ended += _paid(connection, rows, self._settled)
            for one in ended:
                self._settled.costs.pop(one, None)
            self._unsynced = not durable
        for _ in range(count):
            self._waiting.popleft()
        with self._guard:
            self._left -= count

    def _fail(self, error: Exception) -> None:
        if self._trouble is None:
            _log.warning("%s; rows wait in memory until it is written again", error)
        known = isinstance(error, ConfigError)
        self._trouble = ConfigError(str(error) if known else f"the ledger: {type(error).__name__}: {error}")
        for one in self._asked:
            one.written.set_exception(ConfigError(f"{self._trouble} ({self._left} rows wait in memory)"))
        self._asked = []


_running: weakref.WeakSet[Writer] = weakref.WeakSet()


@at_exit(ExitPhase.WRITE)
def _close_all() -> None:
    for writer in list(_running):
        try:
            writer.close()
        except PointsmanError as error:
            # There is no caller left to catch it.
            _log.error("%s", error)


def _add(connection: Connection, items: Sequence[_Item], settled: Settled) -> list[str]:
    """Add rows, end the reservations of the calls among them, and return the ids of these calls."""
    groups: dict[str, tuple[Table, list[Values]]] = {}
    for table, values in items:
        groups.setdefault(table.name, (table, []))[1].append(_clean(table, values))
    ended: list[str] = []
    for table, rows in groups.values():
        if table is CALLS and settled.costs:
            ended = [str(values[0]) for values in rows if values[0] in settled.costs]
            again = {one for one in ended if _was_lost(connection, one, settled.costs[one])}
            append(connection, table, [values for values in rows if values[0] not in again])
        elif table in CHAINED:
            append(connection, table, rows)
        else:
            connection.executemany(table.replacing, rows)
    if not items:
        # Something must be written so that the log grows and is synced.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version}")
    return ended


def _paid(connection: Connection, items: Sequence[_Item], settled: Settled) -> list[str]:
    """End the reservations of calls whose rows were refused, as they were paid for anyway; return the calls' ids."""
    calls = [str(values[0]) for table, values in items if table is CALLS and values[0] in settled.costs]
    return [call for call in calls if end(connection, call, settled.costs[call]) is not None]


def _was_lost(connection: Connection, reservation: str, cost: int) -> bool:
    """End the reservation of a call; return whether another process took this one for dead and recorded the call."""
    if end(connection, reservation, cost) is not None:
        return False
    return connection.execute("SELECT 1 FROM calls WHERE id = ?", (reservation,)).fetchone() is not None


def _clean(table: Table, values: Values) -> Values:
    """Return the row with secrets redacted from its free texts."""
    free = [index for index in table.free if values[index]]
    if not free:
        return values
    cleaned = list(values)
    for index in free:
        cleaned[index] = redact(str(values[index]))
    return tuple(cleaned)
