"""Open the ledger's SQLite file: its mode, its version, and its troubles in words that say what to do."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..configs.errors import ConfigError, PointsmanError
from .tables import SCHEMA_VERSION, VERSIONS

__all__ = ["Access", "Connection", "Lock", "connect", "explain", "lock_of", "transaction"]

Connection = sqlite3.Connection

_APPLICATION_ID = 0x506F696E
"""``Poin`` in ASCII: tells a ledger from any other SQLite file."""
_BUSY_SECONDS = 30.0
_OPEN_SECONDS = 10.0
_WORDS = (
    ("disk is full", "the disk is full: free some space"),
    ("readonly", "it may not be written: check its owner and mode, and the folder's"),
    ("unable to open", "it cannot be opened: check that the folder exists and may be written"),
    ("not a database", "it is not a SQLite file: move it away, or choose another"),
    ("malformed", "it is damaged: move it away; sqlite3's .recover may save its rows"),
    ("locked", f"another process has held it for over {_BUSY_SECONDS:.0f} seconds: end that process, then try again"),
    ("disk i/o", "the disk reports an error: check it"),
)


def explain(path: Path | None, error: Exception) -> ConfigError:
    """Put an error of the file into one line that says what to do.

    Args:
        path: The ledger; None in memory.
        error: What SQLite or the system raised.
    """
    said = str(error)
    advice = next((advice for sign, advice in _WORDS if sign in said.lower()), said)
    return ConfigError(f"the ledger {path or 'in memory'}: {advice}")


def connect(path: Path | None) -> Connection:
    """Open a ledger for reading and writing, making it where it is missing.

    The connection commits each statement by itself unless a `transaction` is open.

    Args:
        path: The file; None for one in memory, which this connection alone sees.

    Raises:
        ConfigError: The file cannot be used, is no ledger, or was written by a newer version.
    """
    try:
        if path is not None:
            _make_private(path)
        connection = sqlite3.connect(
            ":memory:" if path is None else path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        raise explain(path, error) from error
    try:
        with lock_of(path):
            _check(connection, path)
            _set_up(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise explain(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Hold the file's write lock from the first statement on, and keep all of the block's changes or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors, a full disk among them.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


_locks: weakref.WeakValueDictionary[str, Lock] = weakref.WeakValueDictionary()
_locks_guard = threading.Lock()


class Lock:
    """A lock that a weak dictionary can hold."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def lock_of(path: Path | None) -> Lock:
    """The lock that the writers of one file take first in this process.

    SQLite's own lock is waited for by polling, 1 to 100 ms at a time; among threads a lock that wakes the next is
    faster.

    Args:
        path: The file; None gives a lock of its own.
    """
    if path is None:
        return Lock()
    name = os.path.realpath(path)
    with _locks_guard:
        lock = _locks.get(name)
        if lock is None:
            lock = _locks[name] = Lock()
        return lock


class Access:
    """A connection of this process's own, used by one thread at a time.

    Args:
        path: The ledger.
        what: What is kept there, for messages.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._pid = os.getpid()
        self._lock = lock_of(path)
        self._connection = connect(path)

    @property
    def forked(self) -> bool:
        """Whether this is a process forked from the one that opened the file."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Refuse to work in a process forked from the one that opened the file.

        Raises:
            PointsmanError: This is such a process.
        """
        if self.forked:
            raise PointsmanError(f"the {self._what} were opened before this process was forked: open them again")

    def read(self, query: str, *values: str | None) -> list[Any]:
        """Give the rows of a query."""
        with self._held() as connection:
            return connection.execute(query, values).fetchall()

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """Hold a transaction in the file."""
        with self._held() as connection, transaction(connection):
            yield connection

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _held(self) -> Iterator[Connection]:
        self.check()
        try:
            with self._lock:
                yield self._connection
        except sqlite3.Error as error:
            raise explain(self._path, error) from error


def _make_private(path: Path) -> None:
    """Make the folder and the file for their owner alone; a folder that is there already is left as it is."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only ever a new file: closing a descriptor of one in use would drop SQLite's locks on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _check(connection: Connection, path: Path | None) -> None:
    """Refuse, before anything is changed, what is no ledger or a newer one."""
    connection.execute("BEGIN")
    try:
        _checked_version(connection, path)
    finally:
        connection.execute("ROLLBACK")


def _set_up(connection: Connection, path: Path | None) -> None:
    if path is not None:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            # A file of somebody else's keeps the mode they gave it.
            with suppress(PermissionError):
                path.chmod(0o600)
        _use_wal(connection)
    # A crash of the process loses nothing; against a crash of the machine `Ledger.flush` syncs the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
        return
    with transaction(connection):
        # Another process may have made the tables while this one waited.
        version = _checked_version(connection, path)
        if version < SCHEMA_VERSION:
            for statements in VERSIONS[version:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _use_wal(connection: Connection) -> None:
    """Switch to the write-ahead log, in which readers never wait for the writer."""
    deadline = time.monotonic() + _OPEN_SECONDS
    while True:
        try:
            # The mode is kept in the file, so only the first to open it switches.
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite does not wait here by itself while another process switches.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _checked_version(connection: Connection, path: Path | None) -> int:
    """The version of the tables, 0 for an empty file; must run inside a transaction, to see one state of the file."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if (version or tables or owner) and owner != _APPLICATION_ID:
        raise ConfigError(f"the ledger {path}: it is some other program's SQLite file: move it away, or choose another")
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"the ledger {path}: it was written by a newer Pointsman (version {version} of its tables, this one knows "
            f"{SCHEMA_VERSION}): upgrade Pointsman, or move the file away"
        )
    return version
