"""The memory's SQLite file: the items, their writers, and the changes Chroma has not been fed yet.

It is the source of truth: each write is one transaction, and everything else (the arrays that answer searches, Chroma's
index) is derived from it and brought up to date by its version numbers.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...configs.errors import ConfigError
from ...configs.process.forks import Lock, close_before_forks, keep_for_good
from ..items import twin_of
from .forgotten import SCHEMA as FORGOTTEN
from .history import SCHEMA as HISTORY

__all__ = ["FILE", "Database"]

FILE = "memory.db"
_GATE = "writer.lock"
_BUSY_SECONDS = 60.0

# Strings that callers choose (tenant, namespace, key, source, author, run) are stored as ASCII JSON, because SQLite
# rejects lone surrogates. `entries` holds an item's words and vectors in a table of their own, so that the arrays load
# without reading the text.
_SCHEMA = """
CREATE TABLE state (version INTEGER NOT NULL, next_seq INTEGER NOT NULL, purge INTEGER NOT NULL);
INSERT INTO state VALUES (0, 1, 0);
CREATE TABLE tenants (
    tenant TEXT PRIMARY KEY, embedder TEXT NOT NULL, dimensions INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE items (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, namespace TEXT NOT NULL,
    version INTEGER NOT NULL, content INTEGER NOT NULL, expires REAL NOT NULL, ttl REAL,
    created REAL NOT NULL, updated REAL NOT NULL, twin TEXT NOT NULL, vectors INTEGER NOT NULL,
    trust INTEGER NOT NULL, source TEXT NOT NULL, author TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL
);
CREATE INDEX items_by_version ON items (tenant, version);
CREATE INDEX items_by_twin ON items (twin) WHERE twin <> '';
CREATE INDEX items_by_expiry ON items (expires) WHERE expires > 0;
CREATE TABLE entries (seq INTEGER PRIMARY KEY, words BLOB NOT NULL, matrix BLOB NOT NULL);
CREATE TABLE writers (
    seq INTEGER NOT NULL, place INTEGER NOT NULL, source TEXT NOT NULL, author TEXT NOT NULL, run TEXT NOT NULL,
    trust INTEGER NOT NULL, lineage TEXT NOT NULL, further TEXT NOT NULL, PRIMARY KEY (seq, place)
) WITHOUT ROWID;
CREATE INDEX writers_by_source ON writers (source);
CREATE INDEX writers_by_author ON writers (author);
CREATE INDEX writers_by_run ON writers (run);
CREATE TABLE lineage (
    tenant TEXT NOT NULL, child TEXT NOT NULL, parent TEXT NOT NULL, PRIMARY KEY (tenant, child, parent)
) WITHOUT ROWID;
CREATE INDEX lineage_by_parent ON lineage (tenant, parent);
CREATE TABLE gone (seq INTEGER PRIMARY KEY, tenant TEXT NOT NULL, version INTEGER NOT NULL);
CREATE INDEX gone_by_version ON gone (tenant, version);
CREATE TABLE outbox (
    place INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL,
    vectors INTEGER NOT NULL
);
"""

# The tables are the same, but earlier versions can read neither a writer's document nor a superseded item.
_DOCUMENTS = ""

# The statements at index n - 1 upgrade the tables from version n - 1 to version n.
_VERSIONS = (_SCHEMA, FORGOTTEN, HISTORY, _DOCUMENTS)


class Database:
    """Provide one connection for reading and one for writing, each used by one thread at a time.

    Reading is possible while another process writes. A forked child gets its own connections.

    Args:
        path: The file, created with mode 0600; None keeps the data in this object's memory.

    Raises:
        ConfigError: If the file cannot be used, is damaged, or is from a newer version.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._forked = False
        self._gate: int | None = None
        self._closed = False
        self._uses = 0
        self._write_lock = Lock()
        # A thread that holds the write lock may take the read lock, never the reverse. In memory there is only one
        # connection, and its unfinished transactions must not be read.
        self._read_lock = self._write_lock if path is None else Lock(shared=True)
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        with self.writing():
            pass
        close_before_forks(self, self._write_lock, self._read_lock)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection whose statements all see the same snapshot, taken at the first one."""
        with self._read_lock, self._explained():
            if self._reader is None:
                self._reader = self._lasting() if self.path is None else self._connect()
            connection = self._reader
            # In memory this is also the writing connection, and a nested read is already in a transaction.
            began = not connection.in_transaction
            if began:
                connection.execute("BEGIN")
            self._uses += 1
            try:
                _refuse_newer(connection, self.path)
                yield connection
            finally:
                if began and connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._uses -= 1

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside a transaction; either all its changes are kept or none."""
        with self._write_lock, self._turn(), self._explained():
            connection = self._lasting()
            connection.execute("BEGIN IMMEDIATE")
            self._uses += 1
            try:
                _refuse_newer(connection, self.path)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # After some errors, such as a full disk, SQLite has already rolled back.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._uses -= 1

    def truncate_log(self) -> None:
        """Remove deleted text from the write-ahead log as well; in the main file SQLite has already overwritten it."""
        if self.path is None:
            return
        # SQLite waits for readers, but not for another process that is checkpointing too.
        with self._write_lock, self._turn(), self._explained():
            busy, *_ = self._lasting().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise ConfigError(
                f"{self.path}: what was forgotten is deleted but still stands in the file's log, because another "
                "process has been reading for a minute: forget again when it is done"
            )

    def close(self) -> None:
        """Close the connections; idempotent."""
        with self._write_lock, self._read_lock:
            self._closed = True
            self._let_go()

    def close_for_fork(self) -> None:
        """Close the file before a fork; it is reopened on its next use. Called with both locks held."""
        # A connection that the forking thread itself is using must stay open.
        if self.path is not None and not self._uses:
            self._let_go()

    def _let_go(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                keep_for_good(connection)
        self._forked = True
        # The child shares the parent's descriptors, and with them its locks.
        self._reader = self._writer = self._gate = None
        self._uses = 0
        self._write_lock.reset_after_fork()
        self._read_lock.reset_after_fork()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for other writing processes in order of arrival, which SQLite itself does not guarantee."""
        if self.path is None:
            yield
            return
        with self._explained():
            gate = self._gate
            if gate is None:
                file = self.path.with_name(_GATE)
                gate = self._gate = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(gate, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(gate, fcntl.LOCK_UN)

    def _lasting(self) -> sqlite3.Connection:
        """Return the connection for writing, opening it if necessary."""
        if self._writer is None:
            if self.path is None and self._forked:
                raise ConfigError("memory that is kept in a process does not survive a fork: give it a folder")
            connection = self._connect()
            try:
                _set_up(connection, self.path)
            except BaseException:
                connection.close()
                raise
            self._writer = connection
        return self._writer

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise ConfigError("the memory is closed: open it again")
        if self.path is not None:
            # Only for a new file: closing a descriptor of a file in use would drop SQLite's locks on it.
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            with suppress(PermissionError):
                if self.path.stat().st_mode & 0o077:
                    self.path.chmod(0o600)
        connection = sqlite3.connect(
            ":memory:" if self.path is None else self.path,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as error:
            where = f"memory {self.path}" if self.path else "memory in this process"
            raise ConfigError(f"{where} cannot be used: {_advice(str(error))}") from error


def _refuse_newer(connection: sqlite3.Connection, path: Path | None) -> None:
    """Refuse tables of a newer version, which may also have upgraded them since they were opened."""
    if _version(connection) > len(_VERSIONS):
        raise ConfigError(f"memory {path} was written by a newer version of pointsman: upgrade, or give another path")


def _set_up(connection: sqlite3.Connection, path: Path | None) -> None:
    _refuse_newer(connection, path)
    if path is not None:
        connection.execute("PRAGMA journal_mode = WAL")
    if _version(connection) == len(_VERSIONS):
        return
    connection.create_function("twin_of", 2, _twin, deterministic=True)
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have created the tables while this one waited.
    for statements in _VERSIONS[_version(connection) :]:
        for statement in statements.split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(_VERSIONS)}")
    connection.execute("COMMIT")


def _twin(namespace: str, value: str) -> str:
    return twin_of(json.loads(namespace), json.loads(value)["text"])


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _advice(said: str) -> str:
    for sign, advice in (
        ("malformed", "the file is damaged: restore it from a copy, or move it away to begin anew"),
        ("not a database", "the file is damaged: restore it from a copy, or move it away to begin anew"),
        ("full", "the disk is full: make room and try again"),
        ("disk I/O", "the disk reports an error: check it, its free space and your quota"),
        ("readonly", "it may not be written: check the mode of the folder and its files, or set POINTSMAN_STATE"),
        ("locked", "another process has been writing for a minute: try again when it is done"),
        ("unable to open", "it cannot be opened: check that the folder is there and may be written"),
    ):
        if sign in said:
            return advice
    return said
