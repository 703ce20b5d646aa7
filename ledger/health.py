"""The breakers that are open, kept in the ledger's file for every process that uses it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ..configs.errors import ConfigError
from .connection import connect, lock_of, transaction

__all__ = ["HealthBook", "HealthRow"]

_FORGOTTEN_SECONDS = 86_400.0
"""How long after its end a breaker is kept that nobody closed."""


@dataclass(frozen=True, slots=True)
class HealthRow:
    """A breaker that is open.

    Attributes:
        provider: With ``model`` and ``region``, whose it is.
        until: When a probe may pass, in seconds since the epoch.
        reason: Why it opened.
        cause: What kind of reason that is, in the words of whoever wrote it.
        trips: Times it opened in a row.
    """

    provider: str
    model: str
    region: str
    until: float
    reason: str
    cause: str
    trips: int


_COLUMNS = tuple(field.name for field in fields(HealthRow))
_NAMES = ", ".join(_COLUMNS)
_MARKS = ", ".join("?" * len(_COLUMNS))

_Key = tuple[str, str, str]


class HealthBook:
    """Keeps and reads open breakers; only `load` makes its caller wait for the file.

    Health can be learned anew, so trouble with the file is left for the ledger itself to tell.

    Args:
        path: The ledger's file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changes: dict[_Key, HealthRow | None] = {}
        self._guard = threading.Lock()
        # One thread, so that what was put is written before the next look; the process waits for it at its end.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pointsman-health")

    def load(self) -> tuple[HealthRow, ...]:
        """Read what is kept."""
        with suppress(ConfigError, sqlite3.Error), closing(connect(self._path)) as connection:
            found = connection.execute(f"SELECT {_NAMES} FROM health ORDER BY provider, model, region")  # noqa: S608 - our own names
            return tuple(HealthRow(*values) for values in found)
        return ()

    def look(self, then: Callable[[tuple[HealthRow, ...]], None]) -> None:
        """Read what is kept in a thread, and hand it to ``then`` there."""
        self._soon(lambda: then(self.load()))

    def put(self, row: HealthRow) -> None:
        """Keep a breaker, in place of what was kept of it before."""
        self._change((row.provider, row.model, row.region), row)

    def drop(self, provider: str, model: str, region: str) -> None:
        """Keep a breaker no longer, since it has closed."""
        self._change((provider, model, region), None)

    def _change(self, key: _Key, row: HealthRow | None) -> None:
        with self._guard:
            waiting = bool(self._changes)
            self._changes[key] = row
        if not waiting:
            self._soon(self._write)

    def _soon(self, job: Callable[[], None]) -> None:
        # At the end of the interpreter nobody is left to work for.
        with suppress(RuntimeError):
            self._worker.submit(job)

    def _write(self) -> None:
        with self._guard:
            changes, self._changes = self._changes, {}
        rows = [astuple(row) for row in changes.values() if row is not None]
        closed = [key for key, row in changes.items() if row is None]
        with (
            suppress(ConfigError, sqlite3.Error),
            closing(connect(self._path)) as connection,
            lock_of(self._path),
            transaction(connection),
        ):
            connection.executemany(f"REPLACE INTO health ({_NAMES}) VALUES ({_MARKS})", rows)  # noqa: S608 - our own names
            connection.executemany("DELETE FROM health WHERE provider = ? AND model = ? AND region = ?", closed)
            connection.execute("DELETE FROM health WHERE until < ?", (time.time() - _FORGOTTEN_SECONDS,))
