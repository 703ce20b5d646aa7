"""One collection in Chroma, opened so that threads, stores and processes can share a folder without losing vectors.

Chroma keeps a collection's vector index in the memory of each process that opened it. A second process's vectors stay
unseen by queries there, and when two such processes both write, whichever saves its index last drops vectors of the
other for good (measured: a quarter of them). So one file lock a folder lets one writer in at a time, and a counter a
collection tells the others to open it anew before they use its index.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from chromadb.api import ServerAPI
from chromadb.api.models.Collection import Collection
from chromadb.config import Settings, System
from chromadb.errors import ChromaError, NotFoundError
from chromadb.telemetry.product import ProductTelemetryClient

from ..configs.errors import ConfigError

__all__ = ["Engine"]

_DATABASE = "chroma.sqlite3"
_LOCK = "writer.lock"
# Chroma's HTTP client waits for ever by itself; its slowest call here, 5,000 vectors, takes some 10 s.
_SERVER_TIMEOUT = 60.0


class _Session:
    """One opening of the collection, closed when the last reader has left it."""

    def __init__(self, settings: Settings, name: str, metadata: dict[str, Any]) -> None:
        # A System of our own rather than a Client: clients share one System a path and all in-memory ones share data.
        self.system = System(settings)
        parts: tuple[Any, Any] = (ProductTelemetryClient, ServerAPI)  # abstract names that Chroma maps to its classes
        api: Any = [self.system.instance(part) for part in parts][1]
        # Chroma offers no way to set the time-out of its HTTP client, nor to close it.
        self._http: httpx.Client | None = None if settings.chroma_server_host is None else api._session
        if self._http:
            self._http.timeout = httpx.Timeout(_SERVER_TIMEOUT)
        self.system.start()
        self.users = 0
        self.retired = False
        try:
            model = self._model(api, name, metadata)
        except BaseException:
            self.close()
            raise
        # No embedding function: Chroma's default one would download a model at first use.
        self.collection = Collection(client=api, model=model, embedding_function=None, data_loader=None)

    def _model(self, api: Any, name: str, metadata: dict[str, Any]) -> Any:
        try:
            return api.get_collection(name)
        except NotFoundError:
            space: Any = {"hnsw": {"space": "cosine"}}
            return api.create_collection(name, metadata=metadata, configuration=space, get_or_create=True)

    def close(self) -> None:
        """Let go of Chroma's memory, files and connections."""
        self.system.stop()
        if self._http:
            self._http.close()


class Engine:
    """Hand out a collection for reading, searching and writing.

    Args:
        path: Chroma's folder, made with mode 0700, its files 0600; None keeps everything in this object's memory.
        host: A Chroma server instead of a folder.
        port: The server's port.
        name: The collection.
        metadata: What a new collection is marked with; ``embedder`` and ``dimensions`` must match an existing one.

    Raises:
        ConfigError: If the folder is not a memory folder, the server does not answer, or the collection was made by
            another embedder.
    """

    def __init__(self, path: Path | None, host: str | None, port: int, *, name: str, metadata: dict[str, Any]) -> None:
        if path is not None and host is not None:
            raise ConfigError("memory is either a folder or a server: give path or host, not both")
        self._path, self._name, self._metadata = path, name, metadata
        self._settings = _settings(path, host, port)
        self._where = "memory in this process" if path is None else str(path)
        if host is not None:
            self._where = f"Chroma server {host}:{port}"
        self._guard = threading.Lock()  # over _session, _seen and users; held for moments only
        self._write_lock = threading.Lock()
        self._session: _Session | None = None
        self._seen = 0
        if path is not None:
            _claim(path)
        with self._flock(fcntl.LOCK_EX):
            self._catch_up()
            self._close_to_others()
        _engines.add(self)

    @contextmanager
    def reading(self) -> Iterator[Collection]:
        """Lend the collection for ids, metadata and documents, which Chroma always reads afresh."""
        if self._session is None:
            with self._flock(fcntl.LOCK_SH):
                self._catch_up()
        with self._guard:
            session = self._session
            assert session is not None  # noqa: S101 - opened above, and never taken away but by a fork
            session.users += 1
        try:
            yield session.collection
        finally:
            with self._guard:
                session.users -= 1
                self._release(session)

    @contextmanager
    def searching(self) -> Iterator[Collection]:
        """Lend the collection for vector queries, opened anew if another process or store has written since."""
        if self._session is None or self._count() != self._seen:
            # Shared with other readers but not with a writer, who may be saving the index files now.
            with self._flock(fcntl.LOCK_SH):
                self._catch_up()
        with self.reading() as collection:
            yield collection

    @contextmanager
    def writing(self) -> Iterator[Collection]:
        """Lend the collection to one writer at a time, over all processes on the folder."""
        with self._write_lock, self._flock(fcntl.LOCK_EX):
            self._catch_up()
            if self._path is not None:
                with self._guard:
                    self._seen += 1
                # Before the write, so that others look again even if this process dies half-way.
                self._counter.write_text(str(self._seen))
            try:
                with self.reading() as collection:
                    yield collection
            finally:
                self._close_to_others()

    def close(self) -> None:
        """Let go of Chroma as soon as nobody uses it; idempotent."""
        with self._guard:
            if self._session is not None:
                self._retire(self._session)

    def reset_after_fork(self) -> None:
        """Reset in a forked child, in which none of Chroma's threads run."""
        if self._session is not None:
            # The parent's: not even the end of the process may close it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
            self._session = None
        self._guard, self._write_lock = threading.Lock(), threading.Lock()

    @property
    def _counter(self) -> Path:
        assert self._path is not None  # noqa: S101 - callers have checked; mypy has not seen it
        return self._path / f"{self._name}.count"

    def _count(self) -> int:
        if self._path is None:
            return 0
        try:
            return int(self._counter.read_text() or 0)
        except FileNotFoundError:
            return 0

    def _catch_up(self) -> None:
        """Open the collection anew if somebody else has written; call with the file lock held."""
        with self._guard:
            count = self._count()
            stale = self._session
            if stale is not None and count == self._seen:
                return
            self._session, self._seen = self._open(), count
            if stale is not None:
                self._retire(stale)

    def _open(self) -> _Session:
        if self._settings.chroma_server_host is None:
            _check_process(self._where)
        try:
            session = _Session(self._settings, self._name, self._metadata)
        except (OSError, ValueError, ChromaError, httpx.HTTPError) as error:
            raise ConfigError(f"{self._where} cannot be opened: {error}; check that it is there and running") from error
        found = session.collection.metadata or {}
        wanted = self._metadata
        if any(found.get(key) != wanted[key] for key in ("embedder", "dimensions")):
            session.close()
            raise ConfigError(
                f"{self._where} holds vectors of embedder {found.get('embedder')!r} with {found.get('dimensions')} "
                f"dimensions, not {wanted['embedder']!r} with {wanted['dimensions']}: use that embedder, or give "
                f"another path or tenant and load the knowledge again"
            )
        # The first query reads the index files, and must do so while the file lock keeps writers away.
        session.collection.query(
            query_embeddings=np.zeros((1, wanted["dimensions"]), np.float32), n_results=1, include=[]
        )
        return session

    def _close_to_others(self) -> None:
        """Let nobody else read the files, which Chroma makes with the mode of the process."""
        if self._path is None:
            return
        for folder, _, names in os.walk(self._path):
            for name in names:
                file = Path(folder, name)
                # Chroma may be done with one meanwhile; one of somebody else's keeps the mode they gave it.
                with suppress(FileNotFoundError, PermissionError):
                    if file.stat().st_mode & 0o077:
                        file.chmod(0o600)
            if _INDEX_HEADER in names:
                _blank_unused(Path(folder))

    def _retire(self, session: _Session) -> None:
        session.retired = True
        self._release(session)

    def _release(self, session: _Session) -> None:
        if session.retired and not session.users:
            session.retired = False
            session.close()

    @contextmanager
    def _flock(self, how: int) -> Iterator[None]:
        if self._path is None:
            yield
            return
        # A descriptor of its own each time: flock excludes descriptors, not threads or processes.
        descriptor = os.open(self._path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            # Said, not left to the closing: a child forked meanwhile has it open too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_opened_by: int | None = None


def _check_process(where: str) -> None:
    """Refuse what would never end: Chroma's threads, which load its index, are made once and do not survive a fork."""
    global _opened_by
    if _opened_by not in (None, os.getpid()):
        raise ConfigError(
            f"{where} cannot be used here: this process was forked from one that had opened a memory folder, which "
            "Chroma does not survive; open it only after the fork, start processes by spawn, or use a Chroma server"
        )
    _opened_by = os.getpid()


def _after_fork() -> None:
    for engine in list(_engines):
        engine.reset_after_fork()


os.register_at_fork(after_in_child=_after_fork)


_INDEX_HEADER = "header.bin"
_HEADER = struct.Struct("<iQQQQ")
_LENGTH_BYTES = 4


def _blank_unused(index: Path) -> None:
    """Zero what is not used of a new index's files.

    hnswlib writes its arrays as they were allocated, so that whatever the process had in that memory lies in the file:
    prompts, keys. Only the places of its first hundred elements are ever written so.
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


def _claim(path: Path) -> None:
    """Make the folder, or check that it is Chroma's, and close it to other users."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = {entry.name for entry in path.iterdir()}
        if names - {_LOCK} and _DATABASE not in names:
            raise ConfigError(f"{path} holds other files: give memory a new or empty folder")
        path.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"memory folder {path} cannot be used: {error.strerror}; give another path, or set POINTSMAN_STATE"
        ) from error


def _settings(path: Path | None, host: str | None, port: int) -> Settings:
    """Spell out every setting that decides where data goes.

    Chroma would otherwise take them from the environment and from a ``.env`` in the working folder, which an agent
    may be able to write.
    """
    return Settings(
        _env_file=None,
        chroma_api_impl="chromadb.api.rust.RustBindingsAPI" if host is None else "chromadb.api.fastapi.FastAPI",
        is_persistent=path is not None,
        persist_directory="" if path is None else str(path.resolve()),
        chroma_server_host=host,
        chroma_server_http_port=None if host is None else port,
        chroma_server_headers=None,
        chroma_server_ssl_enabled=False,
        chroma_client_auth_provider=None,
        allow_reset=False,
        migrations="apply",
        anonymized_telemetry=False,
        chroma_product_telemetry_impl="chromadb.telemetry.product.posthog.Posthog",
        chroma_otel_collection_endpoint="",
    )
