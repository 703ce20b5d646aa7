"""Files that only their owner may read: SQLite files, opened without dropping others' locks, and small files."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...configs.process.atomic import replace_file
from ...configs.process.forks import lock_of
from ...ledger.storage.connection import make_private, use_wal

__all__ = ["open_private", "replace_private"]


def open_private(path: Path, **options: Any) -> sqlite3.Connection:
    """Open a file with SQLite in WAL mode; create it and its folder, for their owner alone, if they are missing.

    An existing file is never opened in any other way: closing any descriptor of it would drop the locks that SQLite
    holds on it for the whole process (https://www.sqlite.org/howtocorrupt.html, 2.2).

    Args:
        path: The file.
        options: As `sqlite3.connect` takes them.

    Raises:
        OSError: The folder or the file cannot be made.
        sqlite3.Error: The file cannot be opened.
    """
    # One thread at a time: closing a descriptor while another thread opens the new file would drop its locks.
    with lock_of(path):
        make_private(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            # A file that belongs to another user keeps its mode.
            with suppress(PermissionError):
                path.chmod(0o600)
        connection: sqlite3.Connection = sqlite3.connect(path, **options)
        try:
            use_wal(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def replace_private(path: Path, content: bytes) -> None:
    """Write a file for its owner alone, as `replace_file` does; its folder is created if it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, content, mode=0o600)
