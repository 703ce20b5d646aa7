"""`ChromaIndex`: the vectors of a memory folder in Chroma, fed from the database's outbox.

Chroma holds only ids and vectors. One process at a time uses it: the one that holds its lock feeds it with the writes
of all processes and, in a large memory, uses it to find the nearest vectors; the others scan. It can always be rebuilt
from the database, which happens when vectors are forgotten or its files are damaged.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import ConfigError
from ...configs.process.forks import keep_for_good, reset_in_children
from ..items import row_id
from . import table
from .database import Database

__all__ = ["ChromaIndex", "collection_name", "settings", "started"]

_log = logging.getLogger(__name__)

_FILES = "chroma"
_LOCK = "chroma.lock"
_WRITING = "chroma.writing"
_BATCH = 1000
_QUIET = 2.0  # seconds without a write or a search before Chroma is fed; a batch of a thousand takes half a second
_MOST_WAITING = 50_000  # waiting rows at which it is fed anyway; scanning this many beside it takes milliseconds
_AT_CLOSE = 2000  # the most rows fed when a memory is closed, about two seconds; the rest waits until reopening


def collection_name(tenant: str) -> str:
    """Return the name of a tenant's collection."""
    return f"memory-{row_id(tenant, (), '')}"


class ChromaIndex:
    """Feed and query Chroma, if no other process does.

    Args:
        folder: The memory's folder; Chroma's files are in a subfolder of it.
        database: The database it is fed from.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder, self._database = folder, database
        self._stopping = threading.Event()
        self._uses = 0
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._kept: _Chroma | None = None
        reset_in_children(self)

    def wake(self) -> None:
        """Start a thread, if a batch is waiting, that feeds Chroma once the memory has been idle for a moment."""
        self.used()
        running = self._thread and self._thread.is_alive()
        if running or self._stopping.is_set() or self._waiting_up_to(_BATCH) < _BATCH:
            return
        self._thread = threading.Thread(target=self._feed_when_quiet, name="memory index", daemon=True)
        self._thread.start()

    def used(self) -> None:
        """Record that the memory is in use, which delays feeding."""
        self._uses += 1

    def _feed_when_quiet(self) -> None:
        # Importing and feeding Chroma takes CPU time away from writes and searches.
        seen = -1
        while seen != self._uses and self._waiting_up_to(_MOST_WAITING) < _MOST_WAITING:
            seen = self._uses
            if self._stopping.wait(_QUIET):
                return
        self.feed()

    def _waiting_up_to(self, most: int) -> int:
        with self._database.reading() as db:
            waiting: int = db.execute("SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?)", (most,)).fetchone()[0]
        return waiting

    def feed(self, most: int | None = None) -> None:
        """Apply waiting changes to Chroma; if another process has it open, that process does so instead.

        Args:
            most: About how many changes at most; None for all, until the memory is closed.
        """
        from chromadb.errors import ChromaError

        fed, renewed = 0, False
        with self._lock, self._chroma() as chroma:
            while chroma:
                try:
                    done = self._feed_some(chroma)
                except ChromaError as error:
                    if renewed:
                        # For example, on a full disk. Searches do not depend on it, and the changes are fed later.
                        _log.warning("%s: Chroma's index cannot be written now: %s", self._folder, error)
                        return
                    # If the process is killed during a write, Chroma's files may open but cannot be added to.
                    self._make_anew(chroma)
                    renewed = True
                    continue
                fed += done
                if not done or (fed >= most if most is not None else self._stopping.is_set()):
                    return

    def nearest(self, tenant: str, vector: NDArray[np.float32], count: int) -> list[int] | None:
        """Return the numbers of the items whose vectors are (approximately) nearest to a vector.

        Deleted items may be among them, and items that have changed since Chroma was fed are missing.

        Args:
            tenant: Whose items.
            vector: The query.
            count: The number of vectors.

        Returns:
            The numbers, or None if another process has Chroma open or it is being fed.
        """
        if not self._lock.acquire(blocking=False):
            return None
        from chromadb.errors import ChromaError

        try:
            if self._kept is None:
                self._kept = _Chroma.opened(self._folder)
            if self._kept is None or self._kept.torn:
                return None
            collection = self._kept.collection(collection_name(tenant))
            got: Any = collection.query(query_embeddings=vector[None], n_results=count, include=[])
        except ChromaError:
            # The next process that feeds it rebuilds it.
            with self._database.writing() as db:
                db.execute("UPDATE state SET purge = 1")
            return None
        finally:
            self._lock.release()
        return [int(found.partition(":")[0]) for found in got["ids"][0]]

    def waiting(self, tenant: str) -> list[int]:
        """Return the numbers of a tenant's items whose current state is not in Chroma yet."""
        with self._database.reading() as db:
            found = db.execute("SELECT DISTINCT seq FROM outbox WHERE tenant = ?", (table.encoded(tenant),))
            return [seq for (seq,) in found]

    def purge(self) -> None:
        """Delete Chroma's files if anything was forgotten since they were made; they are rebuilt from the outbox."""
        with self._lock, self._chroma():
            pass

    def stop(self) -> None:
        """Stop feeding after the current batch."""
        self._stopping.set()
        if self._thread and self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Stop feeding, and close Chroma; changes not fed yet stay in the outbox."""
        self.stop()
        # A memory that can no longer be read, or that a newer version has upgraded, is closed all the same.
        with suppress(ConfigError):
            with self._database.reading() as db:
                waits = db.execute("SELECT 1 FROM outbox LIMIT 1").fetchone() is not None
            if waits:
                self.feed(most=_AT_CLOSE)
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def reset_after_fork(self) -> None:
        """Reset in a forked child, where Chroma's threads do not run; the parent feeds the child's writes."""
        if self._kept is not None:
            keep_for_good(self._kept)
        self._lock, self._thread, self._kept = threading.RLock(), None, None
        self._stopping = threading.Event()

    @contextmanager
    def _chroma(self) -> Iterator[_Chroma | None]:
        """Yield Chroma, with forgotten items purged; None if this process cannot open it."""
        chroma = self._kept or _Chroma.opened(self._folder)
        try:
            if chroma is not None:
                self._purge_if_due(chroma)
            yield chroma
        finally:
            if chroma is not None and chroma is not self._kept:
                chroma.close()

    def _purge_if_due(self, chroma: _Chroma) -> None:
        with self._database.reading() as db:
            (due,) = db.execute("SELECT purge FROM state").fetchone()
        if due or chroma.damaged:
            self._make_anew(chroma)

    def _make_anew(self, chroma: _Chroma) -> None:
        if chroma.reset():
            with self._database.writing() as db:
                db.execute("DELETE FROM outbox")
                db.execute("INSERT INTO outbox (tenant, seq, id, vectors) SELECT tenant, seq, id, vectors FROM items")
        with self._database.writing() as db:
            db.execute("UPDATE state SET purge = 0")

    def _feed_some(self, chroma: _Chroma) -> int:
        with self._database.reading() as db:
            changes = db.execute(
                "SELECT place, tenant, seq, vectors FROM outbox ORDER BY place LIMIT ?", (_BATCH,)
            ).fetchall()
            changed = [seq for _, _, seq, _ in changes]
            matrices = dict(table.each(db, "SELECT seq, matrix FROM entries WHERE seq IN (??)", changed))
            dimensions = dict(db.execute("SELECT tenant, dimensions FROM tenants"))
        by_tenant: dict[str, dict[int, int]] = {}
        for _, tenant, seq, vectors in changes:
            most = by_tenant.setdefault(tenant, {})
            most[seq] = max(most.get(seq, 0), vectors)
        for tenant, most in by_tenant.items():
            if tenant in dimensions:
                with chroma.writing():
                    collection = chroma.collection(collection_name(json.loads(tenant)))
                    self._feed_tenant(collection, most, matrices, dimensions[tenant])
        if changes:
            with self._database.writing() as db:
                db.execute("DELETE FROM outbox WHERE place <= ?", (changes[-1][0],))
        return len(changes)

    def _feed_tenant(self, collection: Any, most: dict[int, int], matrices: dict[int, bytes], dimensions: int) -> None:
        ids: list[str] = []
        gone: list[str] = []
        rows: list[NDArray[np.float32]] = []
        for seq, count in most.items():
            matrix = np.frombuffer(matrices.get(seq, b""), np.float32).reshape(-1, dimensions)
            for part in range(max(count, len(matrix))):
                # A zero vector is near nothing, and in Chroma's search it hides vectors that are near.
                if part < len(matrix) and matrix[part].any():
                    ids.append(f"{seq}:{part}")
                    rows.append(matrix[part])
                else:
                    gone.append(f"{seq}:{part}")
        for some in table.slices(range(len(ids)), _BATCH):
            collection.upsert(ids=[ids[i] for i in some], embeddings=np.array([rows[i] for i in some]))
        for listed in table.slices(gone, _BATCH):
            collection.delete(ids=list(listed))


class _Chroma:
    """Chroma in a folder, which one process can have open at a time.

    Args:
        folder: The memory's folder.
        descriptor: Descriptor of its lock file; the lock is held.
    """

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._files, self._descriptor = folder / _FILES, descriptor
        self._mark = folder / _WRITING
        self._system: Any = None
        self._api: Any = None
        self._collections: dict[str, Any] = {}

    @classmethod
    def opened(cls, folder: Path) -> _Chroma | None:
        """Lock and open the folder; return None if another process has it or Chroma cannot run in this process."""
        if _opened_by not in (None, os.getpid()):
            return None
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(folder, descriptor)

    @property
    def torn(self) -> bool:
        """Whether a process ended during a write: reading such files can make Chroma crash this process too."""
        return self._mark.exists()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Leave a mark file while files are being written; it stays if the block does not end normally."""
        self._mark.touch(mode=0o600)
        yield
        self._mark.unlink(missing_ok=True)

    @property
    def damaged(self) -> bool:
        """Whether its files may be incomplete or cannot be read."""
        if self.torn or not self._files.exists():
            return self.torn
        from chromadb.errors import ChromaError

        try:
            self._start()
        except (ChromaError, ValueError, OSError):
            return True
        return False

    def collection(self, name: str) -> Any:
        """Return a collection, creating it if it is missing."""
        if name not in self._collections:
            from chromadb.api.models.Collection import Collection

            space: Any = {"hnsw": {"space": "cosine"}}
            api = self._start()
            model = api.create_collection(name, configuration=space, get_or_create=True)
            # No embedding function: Chroma's default one would download a model on first use.
            self._collections[name] = Collection(client=api, model=model, embedding_function=None, data_loader=None)
        return self._collections[name]

    def reset(self) -> bool:
        """Delete its files; return whether there were any."""
        self._stop()
        there = self._files.exists()
        if there:
            shutil.rmtree(self._files)
        self._mark.unlink(missing_ok=True)
        return there

    def close(self) -> None:
        """Release Chroma's memory and files, and unlock the folder."""
        self._stop()
        # Unlock explicitly: a child forked in the meantime has the descriptor open too, so closing alone would not
        # release the lock.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)

    def _start(self) -> Any:
        if self._system is None:
            self._files.mkdir(mode=0o700, exist_ok=True)
            self._system, self._api = started(settings(self._files))
        return self._api

    def _stop(self) -> None:
        if self._system is not None:
            self._system.stop()
            self._system, self._collections = None, {}
            _close_to_others(self._files)


_opened_by: int | None = None
"""Id of the process that started Chroma's threads: they are started once and do not survive a fork."""

_INDEX_HEADER = "header.bin"
_HEADER = struct.Struct("<iQQQQ")
_LENGTH_BYTES = 4


def started(chosen: Any) -> tuple[Any, Any]:
    """Open Chroma with our settings; return its system, which the caller must stop, and its API."""
    from chromadb.api import ServerAPI
    from chromadb.config import System
    from chromadb.telemetry.product import ProductTelemetryClient

    global _opened_by
    _opened_by = os.getpid()
    # Our own System rather than a Client, because clients share one System per path.
    system = System(chosen)
    parts: tuple[Any, Any] = (ProductTelemetryClient, ServerAPI)  # abstract names that Chroma maps to its classes
    api = [system.instance(part) for part in parts][1]
    system.start()
    return system, api


def _close_to_others(files: Path) -> None:
    """Remove other users' access to the files, which Chroma creates with the umask of the process."""
    for folder, _, names in os.walk(files):
        for name in names:
            file = Path(folder, name)
            # A file that belongs to another user keeps its mode.
            with suppress(FileNotFoundError, PermissionError):
                if file.stat().st_mode & 0o077:
                    file.chmod(0o600)
        if _INDEX_HEADER in names:
            _blank_unused(Path(folder))


def _blank_unused(index: Path) -> None:
    """Zero the unused parts of a new index's files.

    hnswlib writes its arrays as allocated, so the file contains whatever the process had in that memory before, such as
    prompts or keys. This affects only the space of the first hundred elements.
    """
    with suppress(FileNotFoundError, PermissionError):
        header = (index / _INDEX_HEADER).read_bytes()
        if len(header) < _HEADER.size:
            return
        version, offset, most, count, size = _HEADER.unpack_from(header)
        if version != 1 or offset or not count <= most or not size:
            return
        for name, each in (("data_level0.bin", size), ("length.bin", _LENGTH_BYTES)):
            used, whole = count * each, (index / name).stat().st_size
            if used < whole <= most * each:
                with (index / name).open("r+b") as file:
                    file.seek(used)
                    file.write(bytes(whole - used))


def settings(path: Path) -> Any:
    """Set every setting that decides where data goes.

    Otherwise Chroma would read them from the environment and from a ``.env`` in the working directory, which an agent
    may be able to write.

    Args:
        path: Chroma's own folder.
    """
    # A copy, because Chroma looks up each of a hundred fields in three places, which takes longer than opening it.
    return _settings_of_ours().model_copy(update={"persist_directory": str(path.resolve())})


@cache
def _settings_of_ours() -> Any:
    from chromadb.config import Settings

    return Settings(
        _env_file=None,
        chroma_api_impl="chromadb.api.rust.RustBindingsAPI",
        is_persistent=True,
        chroma_server_host=None,
        chroma_server_http_port=None,
        chroma_server_headers=None,
        chroma_server_ssl_enabled=False,
        chroma_client_auth_provider=None,
        allow_reset=False,
        migrations="apply",
        anonymized_telemetry=False,
        chroma_product_telemetry_impl="chromadb.telemetry.product.posthog.Posthog",
        chroma_otel_collection_endpoint="",
    )
