"""The usage formats, as data: the meaning of each number in a provider's usage, and the pages that document it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

__all__ = ["CHAT", "FORMS", "GEMINI", "MESSAGES", "RESPONSES", "Form"]


@dataclass(frozen=True, slots=True)
class Form:
    """The usage in one wire format.

    Attributes:
        name: The format's name.
        names: Meaning -> the names under which providers of this format report it; ``list[KIND]`` is the entry of a
            list by modality. A meaning is a field of `Usage`, ``total``, or a part that ``beside`` adds to one.
        beside: Meaning -> the parts that its own number does not include.
        required: Meanings without which the usage counts as not reported yet.
        told_in_pieces: Whether a stream reports different numbers in different events, so that later ones add to the
            earlier; otherwise each report replaces the one before.
        sources: The pages that document it.
    """

    name: str
    names: Mapping[str, tuple[str, ...]]
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    required: tuple[str, ...] = ("input", "output")
    told_in_pieces: bool = False
    sources: tuple[str, ...] = ()


MESSAGES: Final = Form(
    name="messages",
    names=MappingProxyType(
        {
            # "input_tokens: the number of input tokens which were used", with cache tokens counted separately.
            "input": ("input_tokens",),
            # It includes thinking and tool calls.
            "output": ("output_tokens",),
            "cache_read": ("cache_read_input_tokens",),
            "cache_write": ("cache_creation_input_tokens",),
            "cache_write_5m": ("cache_creation.ephemeral_5m_input_tokens",),
            "cache_write_1h": ("cache_creation.ephemeral_1h_input_tokens",),
            "reasoning": ("output_tokens_details.thinking_tokens",),
            "searches": ("server_tool_use.web_search_requests",),
        }
    ),
    beside=MappingProxyType({"input": ("cache_read", "cache_write")}),
    # message_start reports the input, each message_delta the output so far.
    told_in_pieces=True,
    sources=(
        "platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance",
        "platform.claude.com/docs/en/build-with-claude/streaming#event-types",
        "platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool#usage-and-pricing",
        "platform.claude.com/docs/en/api/service-tiers",
    ),
)

CHAT: Final = Form(
    name="chat completions",
    names=MappingProxyType(
        {
            "input": ("prompt_tokens",),
            # It includes the tokens of a prediction, accepted or rejected.
            "output": ("completion_tokens",),
            "cache_read": (
                "prompt_tokens_details.cached_tokens",
                "prompt_cache_hit_tokens",
                "cached_tokens",
                "cache_read_input_tokens",
            ),
            "cache_miss": ("prompt_cache_miss_tokens",),
            "cache_write": (
                "prompt_tokens_details.cache_write_tokens",
                "prompt_tokens_details.cache_creation_tokens",
                "cache_creation_input_tokens",
            ),
            "audio": ("prompt_tokens_details.audio_tokens",),
            "output_audio": ("completion_tokens_details.audio_tokens",),
            # Included in the output or not: the total shows which.
            "reasoning": ("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
            "total": ("total_tokens",),
            "cost": ("cost",),
            "upstream_cost": ("cost_details.upstream_inference_cost",),
        }
    ),
    sources=(
        "developers.openai.com/api/reference/resources/chat",
        "developers.openai.com/api/docs/guides/prompt-caching",
        "api-docs.deepseek.com/guides/kv_cache (prompt_cache_hit_tokens, prompt_cache_miss_tokens)",
        "platform.moonshot.ai/docs/api/chat (cached_tokens; usage inside choices of a stream)",
        "docs.x.ai/docs/guides/reasoning (reasoning_tokens beside completion_tokens)",
        "ai.google.dev/gemini-api/docs/openai (thoughts in total_tokens alone)",
        "openrouter.ai/docs/use-cases/usage-accounting (cost)",
        "console.groq.com/docs/api-reference (x_groq.usage)",
        "docs.vllm.ai/en/latest/api/vllm/entrypoints/openai/protocol.html (continuous_usage_stats)",
        "docs.ollama.com/openai",
    ),
)

RESPONSES: Final = Form(
    name="responses",
    names=MappingProxyType(
        {
            "input": ("input_tokens",),
            "output": ("output_tokens",),
            "cache_read": ("input_tokens_details.cached_tokens",),
            "cache_write": ("input_tokens_details.cache_write_tokens",),
            "reasoning": ("output_tokens_details.reasoning_tokens",),
            "total": ("total_tokens",),
        }
    ),
    sources=("developers.openai.com/api/reference/resources/responses",),
)

GEMINI: Final = Form(
    name="gemini",
    names=MappingProxyType(
        {
            # "When cachedContent is set, this is still the total effective prompt size".
            "input": ("promptTokenCount",),
            "tool_prompt": ("toolUsePromptTokenCount",),
            "output": ("candidatesTokenCount",),
            "reasoning": ("thoughtsTokenCount",),
            "cache_read": ("cachedContentTokenCount",),
            "audio": ("promptTokensDetails[AUDIO]",),
            "tool_audio": ("toolUsePromptTokensDetails[AUDIO]",),
            "cache_audio": ("cacheTokensDetails[AUDIO]",),
            "output_audio": ("candidatesTokensDetails[AUDIO]",),
            "output_image": ("candidatesTokensDetails[IMAGE]",),
            "total": ("totalTokenCount",),
        }
    ),
    beside=MappingProxyType({"input": ("tool_prompt",), "output": ("reasoning",), "audio": ("tool_audio",)}),
    # A prompt that was blocked has no candidates.
    required=("input",),
    sources=(
        "ai.google.dev/api/generate-content#UsageMetadata",
        "ai.google.dev/gemini-api/docs/thinking#pricing",
    ),
)

FORMS: Final = (MESSAGES, CHAT, RESPONSES, GEMINI)
