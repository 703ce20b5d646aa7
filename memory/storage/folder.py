"""`Folder`: an open memory folder, opened once per process and shared by all stores that use it."""

from __future__ import annotations

import atexit
import os
from pathlib import Path

from ...configs.errors import ConfigError
from ...configs.process.forks import Lock, reset_in_children
from ..vectors import Vectors, mismatch
from . import table
from .chroma import ChromaIndex
from .database import FILE, Database
from .migration import OLD_FILE, import_old

__all__ = ["Folder"]

_MARKS = {FILE, OLD_FILE}
_OURS = (FILE, "chroma", "writer.lock", "memory-")


class Folder:
    """The database of a folder and Chroma's index of it.

    Attributes:
        database: The stored items.
        index: Their vectors in Chroma; None for a memory held only in this process.

    Args:
        path: The folder; None to keep the data in this process.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._users = 1
        self.index: ChromaIndex | None = None
        if path is None:
            self.database = Database(None)
            return
        _claim(path)
        self.database = Database(path / FILE)
        try:
            import_old(path, self.database)
        except BaseException:
            self.database.close()
            raise
        self.index = ChromaIndex(path, self.database)
        self.index.wake()

    @classmethod
    def opened(cls, path: Path | None) -> Folder:
        """Open a folder, or return it if this process has it open; each caller must `close` it once.

        Raises:
            ConfigError: If it is not a memory folder, or cannot be used.
        """
        if path is None:
            return cls(None)
        path = Path(os.path.realpath(path))
        with _guard:
            folder = _opened.get(path)
            if folder is None:
                folder = _opened[path] = cls(path)
            else:
                folder._users += 1
            return folder

    def check(self, tenant: str, vectors: Vectors) -> None:
        """Record which embedder a tenant's memory is filled with.

        Raises:
            ConfigError: If it was filled with another embedder.
        """
        with self.database.reading() as db:
            known = table.marked(db, tenant)
        if known is not None:
            vectors.suppose(known)
        wanted = (vectors.model_id, vectors.dimensions)
        with self.database.writing() as db:
            found = table.mark(db, tenant, *wanted)
        if found != wanted:
            raise mismatch(str(self._path), found, wanted)

    def changed(self) -> None:
        """Schedule the feeding of new writes to Chroma."""
        if self.index is not None:
            self.index.wake()
            return
        with self.database.writing() as db:
            db.execute("DELETE FROM outbox")

    def purge(self) -> None:
        """Make Chroma drop forgotten items."""
        if self.index is not None:
            self.index.purge()

    def sizes(self) -> dict[str, int]:
        """Return the disk space of the database and of Chroma's files, in bytes."""
        if self._path is None:
            return {"database": 0, "chroma": 0}
        files = [file for file in self._path.rglob("*") if file.is_file()]
        chroma = [file for file in files if "chroma" in file.relative_to(self._path).parts]
        return {
            "database": sum(file.stat().st_size for file in set(files).difference(chroma)),
            "chroma": sum(file.stat().st_size for file in chroma),
        }

    def close(self) -> None:
        """Release the folder; the last user closes its files."""
        with _guard:
            self._users -= 1
            if self._users:
                return
            if self._path is not None:
                del _opened[self._path]
            if self.index is not None:
                self.index.close()
            self.database.close()


_opened: dict[Path, Folder] = {}
_guard = Lock()
reset_in_children(_guard)


def _claim(path: Path) -> None:
    """Create the folder, or check that it is a memory folder, and remove other users' access to it."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = {entry.name for entry in path.iterdir()}
        if not names & _MARKS and any(not name.startswith(_OURS) for name in names):
            raise ConfigError(f"{path} holds other files: give memory a new or empty folder")
        path.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"memory folder {path} cannot be used: {error.strerror}; give another path, or set POINTSMAN_STATE"
        ) from error


@atexit.register
def _stop() -> None:
    """Stop feeding Chroma before the interpreter ends its threads; unfed changes stay in the outbox."""
    for folder in list(_opened.values()):
        if folder.index is not None:
            folder.index.stop()
