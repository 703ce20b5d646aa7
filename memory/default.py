"""The default embedder of a memory: it works offline, without a key and without a download."""

from __future__ import annotations

from .base import Embedder

__all__ = ["default_embedder"]


def default_embedder() -> Embedder:
    """Create it. Elsewhere embedders are passed in; the import rules list this one import from the backends."""
    from ..backends.ondevice import WordLlamaEmbeddings

    return WordLlamaEmbeddings()
