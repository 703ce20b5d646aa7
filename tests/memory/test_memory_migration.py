"""A folder of version 0.1, in which Chroma held everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import chromadb
import pytest
from chromadb.config import Settings
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, HashingEmbedder, Provenance
from pointsman.memory.items import row_id, twin_of

BY_ANN = Provenance("cards.md", "ann", "run-1", Trust.TOOL, ("parent",))


def old_folder(path: Path) -> None:
    """Make a folder as version 0.1 did: a collection a tenant, an item's further vectors in rows of their own."""
    client = chromadb.PersistentClient(path, Settings(anonymized_telemetry=False))
    embedder = HashingEmbedder()
    metadata = {"embedder": embedder.model_id, "dimensions": embedder.dimensions, "tenant": repr("default")}
    space: Any = {"hnsw": {"space": "cosine"}}
    name = f"memory-{row_id('default', (), '')}"
    collection = client.create_collection(name, metadata=metadata, configuration=space, embedding_function=None)

    def row(namespace: tuple[str, ...], key: str, value: dict[str, Any], vectors: list[str], twin: str = "") -> None:
        writer = [BY_ANN.source, BY_ANN.author, BY_ANN.run, BY_ANN.trust.value, list(BY_ANN.lineage)]
        about = {"ns": namespace, "key": key, "created": 1.5, "updated": 2.5, "ttl": None, "writers": [writer]}
        item_id = row_id("default", namespace, key)
        first: Any = embedder.embed_documents(vectors) or [[0.0] * embedder.dimensions]
        meta = {"about": json.dumps(about), "expires": 0.0, "twin": twin, "vectors": len(vectors)}
        collection.upsert([item_id], [first[0]], [meta], [json.dumps(value)])
        for part, vector in enumerate(first[1:], 1):
            collection.upsert([f"{item_id}:{part}"], [vector], [{"of": item_id}], [""])

    text = "A lost card is blocked at once."
    row(("kb",), "cards", {"text": text}, [text], twin_of(("kb",), text))
    row(("kb", "b"), "parts", {"parts": ["whales", "tea"]}, ["whales", "tea"])
    row(("kb",), "plain", {"text": "hidden"}, [])
    client.close()
    (path / f"{name}.count").write_text("3")
    (path / "writer.lock").touch()


def test_a_folder_of_version_0_1_is_taken_over_when_it_is_opened(tmp_path: Path) -> None:
    old_folder(tmp_path)
    for _ in range(2):
        with ChromaStore(tmp_path, HashingEmbedder()) as store:
            (found,) = store.recall(("kb",), "lost card", limit=1)
            assert (found.key, found.trust, found.writers) == ("cards", Trust.TOOL, (BY_ANN,))
            assert store.remember(("kb",), found.text, provenance=BY_ANN) == found.id
            assert store.search((), query="tea", limit=1)[0].key == "parts"
            assert store.get(("kb",), "plain").created_at.timestamp() == 1.5  # type: ignore[union-attr]
            assert len(store.search((), limit=10)) == 3
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {"memory.db", "chroma", "chroma.lock", "writer.lock"}


def test_a_folder_of_version_0_1_that_is_damaged_is_left_as_it_is(tmp_path: Path) -> None:
    old_folder(tmp_path)
    file = tmp_path / "chroma.sqlite3"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match=r"version 0\.1 and cannot be opened"):
        ChromaStore(tmp_path, HashingEmbedder())
    assert file.read_bytes() == b"not a database" * 100


def test_the_embedder_of_a_folder_of_version_0_1_still_counts(tmp_path: Path) -> None:
    old_folder(tmp_path)
    with pytest.raises(ConfigError, match="'hashing-64' with 64 dimensions, not 'hashing-32'"):
        ChromaStore(tmp_path, HashingEmbedder(32))
