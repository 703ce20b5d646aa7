"""The embedder of a memory that is opened without one: it works offline, without a key and without a download."""

from __future__ import annotations

from .base import Embedder

__all__ = ["default_embedder"]


def default_embedder() -> Embedder:
    """Make it. Everywhere else embedders are handed in; this one arrow to the backends is named in the import rules."""
    from ..backends.ondevice import WordLlamaEmbeddings

    return WordLlamaEmbeddings()
