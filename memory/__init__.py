"""Shared vector memory: LangGraph's store interface over Chroma, with provenance on every item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .base import Embedder, Note, Provenance, Recalled
    from .chunking import Chunk, load_folder, split_document
    from .hashing import HashingEmbedder
    from .store import ChromaStore

__all__ = [
    "ChromaStore",
    "Chunk",
    "Embedder",
    "HashingEmbedder",
    "Note",
    "Provenance",
    "Recalled",
    "load_folder",
    "split_document",
]

_HOME = {
    "Embedder": ".base",
    "Note": ".base",
    "Provenance": ".base",
    "Recalled": ".base",
    "Chunk": ".chunking",
    "load_folder": ".chunking",
    "split_document": ".chunking",
    "HashingEmbedder": ".hashing",
    "ChromaStore": ".store",
}

# Chroma and LangGraph cost over a second to import, so nothing is loaded before it is named.
__getattr__, __dir__ = lazily(__name__, _HOME)
