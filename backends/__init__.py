"""The model providers behind one port: build a chat model, translate its errors, say what its models can do."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Backend, BackendError, Endpoint, Reply
    from .failures import ErrorTable, translate
    from .registry import BACKENDS, get
    from .replies import read_reply
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

_HOME = {
    "BACKENDS": ".registry",
    "Backend": ".base",
    "BackendError": ".base",
    "Endpoint": ".base",
    "ErrorTable": ".failures",
    "Reply": ".base",
    "ScriptedBackend": ".scripted",
    "ScriptedChatModel": ".scripted",
    "get": ".registry",
    "read_reply": ".replies",
    "translate": ".failures",
}


def __getattr__(name: str) -> Any:
    # LangChain costs a fifth of a second to import, the SDKs a whole one, so nothing is loaded before it is named.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
