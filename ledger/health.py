"""Open circuit breakers, stored in the ledger's file for all its processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ..configs.errors import ConfigError
from ..configs.process.forks import reset_in_children
from .storage.access import Access
from .worker import Worker

__all__ = ["HealthBook", "HealthRow"]

_FORGOTTEN_SECONDS = 86_400.0
"""How long a breaker that was not closed is kept after its ``until``."""


@dataclass(frozen=True, slots=True)
class HealthRow:
    """A breaker that is open.

    Attributes:
        provider: With ``model`` and ``region``, what the breaker is for.
        until: When a probe may pass, in seconds since the epoch.
        reason: Why it opened.
        cause: Kind of reason, in the writer's terms.
        trips: How often it opened in a row.
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
    """Stores and reads open breakers; only `load` makes its caller wait for the file.

    Health can be learned again from calls, so file errors are ignored here; the ledger reports them.

    Args:
        path: The ledger's file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # One thread, so that changes are written before the next `look`; the process waits for it when it ends.
        self._worker = Worker("pointsman-health")
        self.reset_after_fork()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Reset in a forked child: the parent writes what waits to be written."""
        self._changes: dict[_Key, HealthRow | None] = {}
        self._guard = threading.RLock()

    def load(self) -> tuple[HealthRow, ...]:
        """Return the stored breakers; empty if the file cannot be read."""
        with suppress(ConfigError), closing(Access(self._path, reading=True)) as file:
            found = file.read(f"SELECT {_NAMES} FROM health ORDER BY provider, model, region")  # noqa: S608 - our own names
            return tuple(HealthRow(*values) for values in found)
        return ()

    def look(self, then: Callable[[tuple[HealthRow, ...]], None]) -> None:
        """Read the stored breakers in a thread, and pass them to ``then`` there."""
        self._worker.submit(lambda: then(self.load()))

    def put(self, row: HealthRow) -> None:
        """Store a breaker, replacing its previous state."""
        self._change((row.provider, row.model, row.region), row)

    def drop(self, provider: str, model: str, region: str) -> None:
        """Delete a breaker, because it has closed."""
        self._change((provider, model, region), None)

    def _change(self, key: _Key, row: HealthRow | None) -> None:
        with self._guard:
            waiting = bool(self._changes)
            self._changes[key] = row
        if not waiting:
            self._worker.submit(self._write)

    def _write(self) -> None:
        with self._guard:
            changes, self._changes = self._changes, {}
        rows = [astuple(row) for row in changes.values() if row is not None]
        closed = [key for key, row in changes.items() if row is None]
        with suppress(ConfigError), closing(Access(self._path)) as file, file.changing() as connection:
            connection.executemany(f"REPLACE INTO health ({_NAMES}) VALUES ({_MARKS})", rows)  # noqa: S608 - our own names
            connection.executemany("DELETE FROM health WHERE provider = ? AND model = ? AND region = ?", closed)
            connection.execute("DELETE FROM health WHERE until < ?", (time.time() - _FORGOTTEN_SECONDS,))
