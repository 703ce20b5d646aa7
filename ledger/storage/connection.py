"""Open the ledger's SQLite file: its mode, its version, and its troubles in words that say what to do."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...configs.errors import ConfigError
from ..forks import lock_of
from .tables import SCHEMA_VERSION, VERSIONS

__all__ = ["BUSY_SECONDS", "Connection", "connect", "explain", "is_busy", "transaction"]

Connection = sqlite3.Connection

_APPLICATION_ID = 0x506F696E
"""``Poin`` in ASCII: tells a ledger from any other SQLite file."""
BUSY_SECONDS = 10.0
"""How long anybody waits for another process that holds the file."""
_SLICE_SECONDS = 0.1
"""How long SQLite itself waits for it at a time, once the file is open: a fork waits for the end of that."""
_DENIED = "it may not be written: check its owner and mode, and the folder's, or set POINTSMAN_STATE to another folder"
_WORDS = (
    ("disk is full", "the disk is full: free some space"),
    ("readonly", _DENIED),
    ("permission denied", _DENIED),
    ("read-only", _DENIED),
    ("unable to open", "it cannot be opened: check that the folder exists and may be written"),
    ("not a database", "it is not a SQLite file: move it away, or choose another"),
    ("malformed", "it is damaged: move it away; sqlite3's .recover may save its rows"),
    ("locked", f"another process has held it for over {BUSY_SECONDS:.0f} seconds: end that process, then try again"),
    ("disk i/o", "the disk reports an error: check it, its free space and your quota"),
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


def is_busy(error: sqlite3.Error) -> bool:
    """Whether it says that another connection holds the file, so that it is worth while to wait."""
    # The low byte is the primary code: https://www.sqlite.org/rescode.html
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def connect(path: Path | None) -> Connection:
    """Open a ledger for reading and writing, making it where it is missing.

    The connection commits each statement by itself unless a transaction is open.

    Args:
        path: The file; None for one in memory, which this connection alone sees.

    Raises:
        ConfigError: The file cannot be used, is no ledger, or was written by a newer version.
    """
    # One thread at a time: a descriptor closed while another thread opens the new file would drop SQLite's locks on it.
    with lock_of(path):
        try:
            if path is not None:
                _make_private(path)
            connection = sqlite3.connect(
                ":memory:" if path is None else path,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        except (OSError, sqlite3.Error) as error:
            raise explain(path, error) from error
        try:
            _check(connection, path)
            _set_up(connection, path)
            connection.execute(f"PRAGMA busy_timeout = {_SLICE_SECONDS * 1000:.0f}")
        except (OSError, sqlite3.Error) as error:
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


def _make_private(path: Path) -> None:
    """Make the folder and the file for their owner alone; a folder that is there already is left as it is."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only ever a new file, by one thread at a time: closing a descriptor of one in use would drop SQLite's locks on it.
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
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            # The mode is kept in the file, so only the first to open it switches.
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite does not wait here by itself while another process switches.
            if not is_busy(error) or time.monotonic() > deadline:
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
