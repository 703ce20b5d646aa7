"""What tests of the memory share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import chromadb
import pytest
from chromadb.config import Settings


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
