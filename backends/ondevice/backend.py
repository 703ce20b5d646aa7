"""The on-device backend, which needs no key, no network and no download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ...configs.errors import ConfigError
from ...configs.words import FailureKind
from ..base import Backend, BackendError, Endpoint
from ..options import Vocabulary, unrenamed

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["OnDeviceBackend"]


class OnDeviceBackend(Backend):
    """Builds `OnDeviceChatModel`; it accepts the endpoint options ``cache_folder`` and ``min_confidence``."""

    finishes: ClassVar[Mapping[str, FailureKind | None]] = MappingProxyType(
        {"stop": None, "tool_calls": None, "declined": FailureKind.DECLINED}
    )

    output_limit: ClassVar[str | None] = None
    gives_probabilities: ClassVar[bool] = True
    # Its answers are computed, not sampled, and always fit the schema.
    vocabulary: ClassVar[Vocabulary | None] = Vocabulary(
        names=unrenamed("stop"),
        own=frozenset({"examples", "min_confidence", "probabilities", "sentences"}),
        stops=1000,
        strict=True,
    )

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build the model; nothing is loaded before its first call.

        Raises:
            ConfigError: The model or an option is unknown.
        """
        from .model import MODEL_NAME, OnDeviceChatModel

        if endpoint.model != MODEL_NAME:
            raise ConfigError(f"on this device there is {MODEL_NAME}, not {endpoint.model!r}")
        unknown = set(endpoint.options) - {"cache_folder", "min_confidence"}
        if unknown:
            raise ConfigError(f"unknown option for the on-device model: {', '.join(sorted(unknown))}")
        folder = endpoint.options.get("cache_folder", endpoint.cache)
        return OnDeviceChatModel(
            cache_folder=None if folder is None else Path(folder).expanduser(),
            min_confidence=endpoint.options.get("min_confidence"),
        )

    def failure(self, error: BaseException) -> BackendError | None:
        """Return None: there is no provider, so every exception is the user's error or our own."""
        return None

    def profile(self, model: str) -> Mapping[str, Any]:
        """Return the profile of the only model; empty for any other name."""
        from .model import MODEL_NAME, PROFILE

        return dict(PROFILE) if model == MODEL_NAME else {}
