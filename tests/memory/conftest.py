"""What tests of the memory share."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import chromadb
import pytest
from chromadb.config import Settings
from pointsman.memory import ChromaStore
from pointsman.memory.serving.server import serve


@pytest.fixture
def in_chroma() -> Callable[[Path], list[str]]:
    """Read the ids that Chroma holds for a memory that is closed."""

    def read(folder: Path) -> list[str]:
        client = chromadb.PersistentClient(folder / "chroma", Settings(anonymized_telemetry=False))
        try:
            every = [client.get_collection(c.name, embedding_function=None) for c in client.list_collections()]
            return sorted(i for collection in every for i in collection.get(include=[])["ids"])
        finally:
            client.close()

    return read


@pytest.fixture
def of_before() -> Callable[[Path], None]:
    """Make a memory's file, which is closed, one of the first version of its tables."""

    def take_back(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "memory.db")) as db:
            db.executescript(
                "DROP TABLE forgotten; ALTER TABLE state DROP COLUMN salt; DROP TABLE history; DROP TABLE indexed;"
                "UPDATE items SET twin = 'as it was made then' WHERE twin <> ''; PRAGMA user_version = 1"
            )

    return take_back


@pytest.fixture
def served() -> Callable[[Mapping[str, ChromaStore]], AbstractContextManager[str]]:
    """Serve stores by their tokens, and give the URL, while the block lasts."""

    @contextmanager
    def serving(stores: Mapping[str, ChromaStore]) -> Iterator[str]:
        loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
        urls: list[str] = []

        def listens(url: str) -> None:
            urls.append(url)
            ready.set()

        def run() -> None:
            loop.run_until_complete(serve(stores, "127.0.0.1", 0, ready=listens, stop=stop))
            loop.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert ready.wait(60)
            yield urls[0]
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    return serving
