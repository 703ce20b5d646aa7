"""The tier without a model server: embedding, classification, extraction, summary and quoted answers on this machine.

Names load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...configs.lazy import lazily

if TYPE_CHECKING:
    from .backend import OnDeviceBackend
    from .classify import Head, HeadReport, HeadShelf, Verdict, ZeroShot, load_head, read_examples
    from .embedder import Embedder, WordLlamaEmbeddings
    from .extract import Extraction, extract
    from .model import OnDeviceChatModel
    from .quote import Quote, quote_answer
    from .summarise import Summary, summarise

__all__ = [
    "Embedder",
    "Extraction",
    "Head",
    "HeadReport",
    "HeadShelf",
    "OnDeviceBackend",
    "OnDeviceChatModel",
    "Quote",
    "Summary",
    "Verdict",
    "WordLlamaEmbeddings",
    "ZeroShot",
    "extract",
    "load_head",
    "quote_answer",
    "read_examples",
    "summarise",
]

_HOMES = {
    "Embedder": "embedder",
    "Extraction": "extract",
    "Head": "classify",
    "HeadReport": "classify",
    "HeadShelf": "classify",
    "OnDeviceBackend": "backend",
    "OnDeviceChatModel": "model",
    "Quote": "quote",
    "Summary": "summarise",
    "Verdict": "classify",
    "WordLlamaEmbeddings": "embedder",
    "ZeroShot": "classify",
    "extract": "extract",
    "load_head": "classify",
    "quote_answer": "quote",
    "read_examples": "classify",
    "summarise": "summarise",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
