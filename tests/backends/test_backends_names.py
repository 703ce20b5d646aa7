"""Names under which a model answers: which mean the one that was asked for."""

from __future__ import annotations

import pytest
from pointsman.backends import registry


@pytest.mark.parametrize(
    ("backend", "asked", "answered"),
    [
        ("openai", "gpt-5.4-mini", "gpt-5.4-mini-2026-03-17"),
        ("openai", "gpt-4-turbo-preview", "gpt-4-0125-preview"),
        ("openai", "my-azure-deployment", "gpt-5.4-mini-2026-03-17"),
        ("anthropic", "claude-opus-4-0", "claude-opus-4-20250514"),
        ("anthropic", "claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219"),
        ("google", "gemini-flash-latest", "gemini-3.5-flash"),
        ("google", "gemini-pro-latest", "gemini-3.1-pro-preview"),
        ("google", "gemini-3.1-pro-preview", "gemini-3.1-pro"),
        ("openai_compatible", "anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet-20250929"),
        ("openai_compatible", "openrouter/auto", "anthropic/claude-sonnet-4.5"),
        ("openai_compatible", "meta-llama/llama-3.3-70b-instruct:free", "meta-llama/llama-3.3-70b-instruct"),
        ("openai_compatible", "openai/gpt-5.4-mini:online", "openai/gpt-5.4-mini-2026-03-17"),
        ("openai_compatible", "llama-3.2-3b", "/models/Llama-3.2-3B-Instruct-Q4_K_M.gguf"),
        ("openai_compatible", "llama3.2", "llama-3.2"),
        ("openai_compatible", "glm-4.5", "accounts/fireworks/models/glm-4p5"),
        ("openai_compatible", "deepseek-chat", "deepseek-v4-flash"),
        ("openai_compatible", "grok-4-fast", "grok-4-fast-reasoning"),
        ("openai_compatible", "kimi-latest", "kimi-k2-0905-preview"),
        ("openai_compatible", "qwen-plus-latest", "qwen-plus-2025-07-28"),
        ("openai_compatible", "Qwen/Qwen3-235B-A22B-Instruct-2507", "qwen3-235b-a22b-instruct-2507"),
    ],
)
def test_a_slug_a_suffix_an_alias_or_a_file_is_the_same_model(backend: str, asked: str, answered: str) -> None:
    assert registry.get(backend).same_model(asked, answered)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-5.4", "gpt-4.5"),
        ("gpt-4o", "gpt-4"),
        ("gpt-5-chat-latest", "gpt-5"),
        ("gpt-3.5-turbo", "gpt-3.5-turbo-instruct"),
        ("claude-sonnet-4.5", "claude-4.5-opus-20250929"),
        ("claude-3-7-sonnet-latest", "claude-3-5-sonnet-20241022"),
        ("gemini-flash-latest", "gemini-3.5-flash-lite"),
        ("llama-3.3-70b-instruct:free", "llama-3.3-8b-instruct"),
        ("llama-3.2-3b", "/models/Llama-3.2-1B-Instruct-Q4_K_M.gguf"),
        ("qwen3:8b", "qwen3:4b"),
        ("deepseek-r1", "deepseek-r1-distill-llama-70b"),
        ("deepseek-chat", "gpt-4o-mini"),
        ("grok-4-fast", "grok-4"),
        ("mistral-large-latest", "mistral-small-2506"),
        ("gpt-5.5-2026-04-23", "gpt-5.5-2026-08-01"),
        ("smart", ""),
    ],
)
def test_another_version_size_or_word_is_another_model(asked: str, answered: str) -> None:
    for backend in ("openai", "openai_compatible", "google", "anthropic"):
        assert not registry.get(backend).same_model(asked, answered), backend
