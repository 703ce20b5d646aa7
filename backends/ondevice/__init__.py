"""The tier without a model server: embedding, classification, extraction, summary and quoted answers on this machine.

Names load on first use, so that importing the package costs nothing. Each algorithm behind the chat model has its own
module: `classify`, `extract`, `quote`, `summarise`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...configs.process.lazy import lazily

if TYPE_CHECKING:
    from .backend import OnDeviceBackend
    from .embedder import Embedder, WordLlamaEmbeddings
    from .model import OnDeviceChatModel

__all__ = ["Embedder", "OnDeviceBackend", "OnDeviceChatModel", "WordLlamaEmbeddings"]

_NAMES = {
    "backend": ("OnDeviceBackend",),
    "embedder": ("Embedder", "WordLlamaEmbeddings"),
    "model": ("OnDeviceChatModel",),
}

__getattr__, __dir__ = lazily(__name__, _NAMES)
