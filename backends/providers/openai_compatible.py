"""Servers that implement OpenAI's Chat Completions: DeepSeek, OpenRouter, Ollama, vLLM and many more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ...configs.errors import ConfigError
from ..base import Endpoint
from ..http.meter import CHAT, Meter
from ..options import Said, Vocabulary, Wanted, unforced
from ..profiles import profile
from ..reasoning import with_reasoning
from ..replies.read import read_reply
from .openai import VOCABULARY, OpenAIBackend, build

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

    from ..replies.reply import Reply

__all__ = ["OpenAICompatibleBackend"]

_NO_KEY = "no-key-needed"

# A router's prefix -> the package that has the profiles of the vendor's models.
_PACKAGES = {"anthropic": "langchain_anthropic", "google": "langchain_google_genai", "openai": "langchain_openai"}


# Servers disagree on the rest of the format; options that only OpenAI documents are left out. The limit of stop
# sequences differs by server. Only OpenAI's server promises to enforce tool schemas without a setting.
_VOCABULARY = replace(
    VOCABULARY,
    names={**VOCABULARY.names, "top_k": "top_k"},
    own=frozenset(
        {"chat_template_kwargs", "enable_thinking", "extra_body", "extra_headers", "extra_query", "logit_bias",
         "metadata", "min_p", "modalities", "models", "plugins", "provider", "reasoning", "repetition_penalty",
         "route", "safety_identifier", "thinking", "transforms", "verbosity"}
    ),
    stops=16,
    strict=False,
)  # fmt: skip

# These think unless told otherwise, and reject a forced tool while they think
# (api-docs.deepseek.com/guides/thinking_mode). With a vendor's prefix they run on another server, which has its own
# switch or none.
_THINKS_FIRST = re.compile(r"(?:^|/)deepseek-(?:v[4-9]|reasoner|r\d)")
# These reject an assistant message without its reasoning while they think (the second: platform.kimi.ai/docs).
_WANTS_REASONING = re.compile(r"(?:^|/)(?:deepseek-(?:v[4-9]|reasoner|r\d)|kimi-k\d)")
_SWITCH = {"thinking": {"type": "disabled"}}


class OpenAICompatibleBackend(OpenAIBackend):
    """Builds LangChain's `BaseChatOpenAI`; the endpoint's options are its keyword arguments.

    The base class is used because `ChatOpenAI` renames ``max_tokens`` to a name that other servers ignore.
    """

    meter: ClassVar[Meter] = CHAT
    vocabulary: ClassVar[Vocabulary | None] = _VOCABULARY

    def read(self, message: AIMessage) -> Reply:
        """Read a reply; these servers, and gateways before them, also send complete answers without a finish reason."""
        return read_reply(message, self.finishes, any_end=True, no_end=True)

    def missing(self, model: str, wanted: Wanted) -> Mapping[str, str]:
        """Return nothing: a router itself drops the options that its models do not accept."""
        return {}

    def said(self, model: str, wanted: Wanted) -> Said:
        """Translate a call's options; if a tool is forced, turn off the thinking of a model that thinks first."""
        said = super().said(model, wanted)
        if said.choice is None or not said.choice.forced or not _THINKS_FIRST.search(model):
            return said
        body = {**wanted.settings.get("extra_body", {}), **said.options.get("extra_body", {})}
        thinking = said.options.get("thinking") or body.get("thinking") or {}
        if thinking.get("type") == "disabled":
            return said
        if "/" not in model and not thinking and "reasoning_effort" not in said.options:
            options = {**said.options, "extra_body": {**body, **_SWITCH}}
            return replace(said, options=options, notes={**said.notes, "reasoning": "off, since a tool is forced"})
        return unforced(said, wanted)

    # api-docs.deepseek.com/quick_start/pricing, docs.x.ai/docs/models
    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            **OpenAIBackend.aliases,
            "deepseek-chat": ("deepseek-v*",),
            "deepseek-reasoner": ("deepseek-v*", "deepseek-r*"),
            "grok-4-fast": ("grok-4-fast-reasoning*",),
            "grok-4-1-fast": ("grok-4-1-fast-reasoning*",),
        }
    )

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request per call, with a placeholder key if none is configured.

        Raises:
            ConfigError: There is no base URL.
        """
        from langchain_openai.chat_models.base import BaseChatOpenAI
        from pydantic import SecretStr

        if not endpoint.base_url:
            raise ConfigError(f"{endpoint.model}: a provider of backend 'openai_compatible' needs a `base_url:`")
        key = endpoint.key or SecretStr(_NO_KEY)
        made = with_reasoning(BaseChatOpenAI)
        wants = _WANTS_REASONING.search(endpoint.model) is not None
        return build(made, endpoint, endpoint.base_url, key, use_responses_api=False, wants_reasoning=wants)

    def profile(self, model: str) -> Mapping[str, Any]:
        """Look up a router's ``vendor/model`` among that vendor's profiles; empty for any other name."""
        vendor, slash, name = model.partition("/")
        return profile(_PACKAGES[vendor], name) if slash and vendor in _PACKAGES else {}
