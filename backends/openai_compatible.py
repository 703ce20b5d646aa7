"""Servers that speak OpenAI's Chat Completions: DeepSeek, OpenRouter, Ollama, vLLM and many more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ..configs.errors import ConfigError
from .base import Endpoint
from .meter import CHAT, Meter
from .openai import OpenAIBackend, build
from .profiles import profile

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["OpenAICompatibleBackend"]

_NO_KEY = "no-key-needed"

# A router's prefix -> the package that knows the vendor's models.
_PACKAGES = {"anthropic": "langchain_anthropic", "google": "langchain_google_genai", "openai": "langchain_openai"}


class OpenAICompatibleBackend(OpenAIBackend):
    """Builds LangChain's `BaseChatOpenAI`; the endpoint's options are its keyword arguments.

    The base class is used because `ChatOpenAI` renames ``max_tokens`` to a name that other servers overlook.
    """

    meter: ClassVar[Meter] = CHAT

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request a call, with a placeholder where no key is needed.

        Raises:
            ConfigError: There is no base URL.
        """
        from langchain_openai.chat_models.base import BaseChatOpenAI
        from pydantic import SecretStr

        if not endpoint.base_url:
            raise ConfigError(f"{endpoint.model}: a provider of backend 'openai_compatible' needs a `base_url:`")
        key = endpoint.key or SecretStr(_NO_KEY)
        return build(BaseChatOpenAI, endpoint, endpoint.base_url, key, use_responses_api=False)

    def profile(self, model: str) -> Mapping[str, Any]:
        """Look up a router's ``vendor/model`` among that vendor's profiles; empty for any other name."""
        vendor, slash, name = model.partition("/")
        return profile(_PACKAGES[vendor], name) if slash and vendor in _PACKAGES else {}
