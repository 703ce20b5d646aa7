"""The backends by name; each is imported on first use."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..configs.errors import ConfigError
from .base import Backend

if TYPE_CHECKING:
    from .batch.base import BatchApi

__all__ = ["BACKENDS", "BATCHES", "batches", "get"]

BACKENDS = MappingProxyType(
    {
        "anthropic": "pointsman.backends.providers.anthropic:AnthropicBackend",
        "bedrock": "pointsman.backends.providers.bedrock:BedrockBackend",
        "google": "pointsman.backends.providers.google:GoogleBackend",
        "ondevice": "pointsman.backends.ondevice.backend:OnDeviceBackend",
        "openai": "pointsman.backends.providers.openai:OpenAIBackend",
        "openai_compatible": "pointsman.backends.providers.openai_compatible:OpenAICompatibleBackend",
        "openai_decisions": "pointsman.backends.decisions.backend:DecisionsBackend",
        "scripted": "pointsman.backends.scripted:ScriptedBackend",
        "systemone": "pointsman.backends.decisions.backend:SystemOneBackend",
        "vertex": "pointsman.backends.providers.vertex:VertexBackend",
    }
)
"""Name in the settings -> ``module:Class``."""

BATCHES = MappingProxyType(
    {
        "anthropic": "pointsman.backends.batch.anthropic:AnthropicBatches",
        "google": "pointsman.backends.batch.google:GoogleBatches",
        "openai": "pointsman.backends.batch.openai:OpenAIBatches",
    }
)
"""Name of a backend whose provider has a batch API -> ``module:Class``."""


@cache
def get(name: str) -> Backend:
    """Return the backend with a name, always the same instance.

    Raises:
        ConfigError: There is no such backend.
    """
    if name not in BACKENDS:
        near = get_close_matches(name, BACKENDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(BACKENDS)}"
        raise ConfigError(f"unknown backend {name!r}: {hint}")
    backend: Backend = _made(BACKENDS[name])
    return backend


@cache
def batches(name: str) -> BatchApi | None:
    """Return the batch API of a backend, always the same instance; None if its provider has none."""
    return _made(BATCHES[name]) if name in BATCHES else None


def _made(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)()
