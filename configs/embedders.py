"""The embedders that are known by name, each loaded at its first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from .errors import ConfigError

__all__ = ["DEFAULT_EMBEDDER", "embedder"]

DEFAULT_EMBEDDER: Final = "wordllama"
"""Works offline, without a key and without a download."""

_HOMES: Final = {"wordllama": "pointsman.backends.ondevice:WordLlamaEmbeddings"}


def embedder(name: str = DEFAULT_EMBEDDER) -> Any:
    """Make an embedder.

    Args:
        name: The name it is known by.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in _HOMES:
        raise ConfigError(f"unknown embedder {name!r}: use one of {', '.join(sorted(_HOMES))}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)()
