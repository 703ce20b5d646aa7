"""Open a SQLite file of Pointsman: set its mode, check its version, and explain its errors with what to do."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...configs.errors import ConfigError
from ...configs.process.forks import lock_of
from .tables import VERSIONS

__all__ = ["BUSY_SECONDS", "LEDGER", "Connection", "Kind", "connect", "explain", "is_busy", "make_private", "use_wal"]

Connection = sqlite3.Connection


@dataclass(frozen=True, slots=True)
class Kind:
    """What a SQLite file holds.

    Attributes:
        name: What messages call it.
        application_id: Distinguishes it from any other SQLite file; 0 for a kind of file that never stored one.
        versions: The statements at n - 1 turn version n - 1 of its tables into version n.
        settings: Statements that every connection to it runs first.
    """

    name: str
    application_id: int
    versions: Sequence[Sequence[str]]
    settings: Sequence[str] = ()


LEDGER = Kind("the ledger", 0x506F696E, VERSIONS, ("PRAGMA secure_delete = ON",))
"""Its id is ``Poin`` in ASCII."""

BUSY_SECONDS = 10.0
"""How long to wait for another process that holds the file."""
_SLICE_SECONDS = 0.1
"""How long SQLite itself waits at a time once the file is open; a fork waits until that time is over."""
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
_CODES = {
    sqlite3.SQLITE_IOERR_GETTEMPPATH: "SQLite finds no folder for temporary files: set SQLITE_TMPDIR to one",
}
"""Advice by extended code (https://www.sqlite.org/rescode.html), for messages that do not name the cause."""


def explain(path: Path | None, error: Exception, kind: Kind = LEDGER) -> ConfigError:
    """Turn an error of the file into one line that says what to do.

    Args:
        path: The file; None in memory.
        error: What SQLite or the system raised.
        kind: What the file holds.
    """
    said = str(error)
    advice = _CODES.get(getattr(error, "sqlite_errorcode", 0))
    advice = advice or next((advice for sign, advice in _WORDS if sign in said.lower()), said)
    return ConfigError(f"{kind.name} {path or 'in memory'}: {advice}")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether an error says that another connection holds the file, so that waiting is worthwhile."""
    # The low byte is the primary code: https://www.sqlite.org/rescode.html
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def connect(path: Path | None, kind: Kind = LEDGER) -> Connection:
    """Open a file for reading and writing, and create it if it is missing.

    The connection commits each statement by itself unless a transaction is open.

    Args:
        path: The file; None for one in memory, which only this connection sees.
        kind: What the file holds.

    Raises:
        ConfigError: The file cannot be used, holds something else, or was written by a newer version.
    """
    # One thread at a time: a descriptor closed while another thread opens the new file would drop SQLite's locks on it.
    with lock_of(path):
        try:
            if path is not None:
                make_private(path)
            connection = sqlite3.connect(
                ":memory:" if path is None else path,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        except (OSError, sqlite3.Error) as error:
            raise explain(path, error, kind) from error
        try:
            _check(connection, path, kind)
            _set_up(connection, path, kind)
            connection.execute(f"PRAGMA busy_timeout = {_SLICE_SECONDS * 1000:.0f}")
        except (OSError, sqlite3.Error) as error:
            connection.close()
            raise explain(path, error, kind) from error
        except BaseException:
            connection.close()
            raise
        return connection


def make_private(path: Path) -> None:
    """Create the folder and the file accessible only to their owner; what exists already is left as it is."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only a new file, and one thread at a time: closing a descriptor of a file in use would drop SQLite's locks on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _check(connection: Connection, path: Path | None, kind: Kind) -> None:
    """Refuse a file that holds something else or is newer, before anything is changed."""
    connection.execute("BEGIN")
    try:
        _checked_version(connection, path, kind)
    finally:
        connection.rollback()


def _set_up(connection: Connection, path: Path | None, kind: Kind) -> None:
    if path is not None:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            # A file that belongs to another user keeps its mode.
            with suppress(PermissionError):
                path.chmod(0o600)
        use_wal(connection)
    # A crash of the process loses nothing; `Ledger.flush` syncs the file against a crash of the machine.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    for statement in kind.settings:
        connection.execute(statement)
    newest = len(kind.versions)
    if connection.execute("PRAGMA user_version").fetchone()[0] == newest:
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        # Another process may have made the tables while this one waited.
        version = _checked_version(connection, path, kind)
        if version < newest:
            is_new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            for statements in [_at_once(tuple(map(tuple, kind.versions)))] if is_new else kind.versions[version:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {kind.application_id}")
            connection.execute(f"PRAGMA user_version = {newest}")


@lru_cache
def _at_once(versions: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Return statements that create the same tables as all versions in turn, in a fifth of the time."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        for statements in versions:
            for statement in statements:
                made.execute(statement)
        # SQLite creates the other entries itself: https://www.sqlite.org/fileformat2.html#intschema
        told = made.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
        return tuple(sql for (sql,) in told)


def use_wal(connection: Connection) -> None:
    """Switch to the write-ahead log, in which readers never wait for the writer."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            # The mode is stored in the file, so only the first process to open it switches.
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite itself does not wait here while another process switches.
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _checked_version(connection: Connection, path: Path | None, kind: Kind) -> int:
    """Return the version of the tables, 0 for an empty file; must run inside a transaction, to see one snapshot."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if (version or tables or owner) and owner != kind.application_id:
        raise ConfigError(
            f"{kind.name} {path}: it is some other program's SQLite file: move it away, or choose another"
        )
    if version > len(kind.versions):
        raise ConfigError(
            f"{kind.name} {path}: it was written by a newer Pointsman (version {version} of its tables, this one knows "
            f"{len(kind.versions)}): upgrade Pointsman, or move the file away"
        )
    return version
