"""The model providers behind one port: build a chat model, translate its errors, say what its models can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .base import Backend, BackendError, Endpoint
    from .errors.translate import ErrorTable, translate
    from .registry import BACKENDS, get
    from .replies.read import read_reply
    from .replies.reply import Reply
    from .scripted import ScriptedBackend, ScriptedChatModel

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendError",
    "Endpoint",
    "ErrorTable",
    "Reply",
    "ScriptedBackend",
    "ScriptedChatModel",
    "get",
    "read_reply",
    "translate",
]

_NAMES = {
    "base": ("Backend", "BackendError", "Endpoint"),
    "errors.translate": ("ErrorTable", "translate"),
    "registry": ("BACKENDS", "get"),
    "replies.read": ("read_reply",),
    "replies.reply": ("Reply",),
    "scripted": ("ScriptedBackend", "ScriptedChatModel"),
}

# LangChain costs a fifth of a second to import, the SDKs a whole one, so nothing is loaded before it is named.
__getattr__, __dir__ = lazily(__name__, _NAMES)
