"""Shared vector memory: LangGraph's store interface over Chroma, with provenance on every item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .base import Embedder, Note, Parts, Provenance, Ranking, Recalled, Reranker, Version
    from .documents.chunking import Chunk, load_folder, split_document
    from .hashing import HashingEmbedder
    from .search.times import window_in
    from .store import ChromaStore

__all__ = [
    "ChromaStore",
    "Chunk",
    "Embedder",
    "HashingEmbedder",
    "Note",
    "Parts",
    "Provenance",
    "Ranking",
    "Recalled",
    "Reranker",
    "Version",
    "load_folder",
    "split_document",
    "window_in",
]

_NAMES = {
    "base": ("Embedder", "Note", "Parts", "Provenance", "Ranking", "Recalled", "Reranker", "Version"),
    "documents.chunking": ("Chunk", "load_folder", "split_document"),
    "hashing": ("HashingEmbedder",),
    "search.times": ("window_in",),
    "store": ("ChromaStore",),
}

# Chroma and LangGraph cost over a second to import, so nothing is loaded before it is named.
__getattr__, __dir__ = lazily(__name__, _NAMES)
