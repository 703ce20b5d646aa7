"""Shared vector memory: LangGraph's store interface over Chroma, with provenance on every item."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Embedder, Note, Provenance, Recalled
    from .chunks import Chunk, load_folder, split_document
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
    "Chunk": ".chunks",
    "load_folder": ".chunks",
    "split_document": ".chunks",
    "HashingEmbedder": ".hashing",
    "ChromaStore": ".store",
}


def __getattr__(name: str) -> Any:
    # Chroma and LangGraph cost over a second to import, so nothing is loaded before it is named.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
