"""What a reply says of its own making."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types as google_types
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from pointsman.backends import registry
from pointsman.backends.providers.google import FINISHES as GOOGLE
from pointsman.backends.replies.read import read_reply
from pointsman.configs.catalog import Usage
from pointsman.configs.words import FailureKind

_FINISHES = {"stop": None, "tool_calls": None, "length": FailureKind.TRUNCATED}


def _read(content: Any = "Hi.", **fields: Any) -> Any:
    metadata = fields.pop("response_metadata", {"finish_reason": "stop", "model_name": "m-1"})
    return read_reply(AIMessage(content, response_metadata=metadata, **fields), _FINISHES)


def test_an_answer_is_usable_when_its_end_is_normal() -> None:
    reply = _read()
    assert (reply.model, reply.finish, reply.failure, reply.usage) == ("m-1", "stop", None, None)


@pytest.mark.parametrize("metadata", [{}, {"finish_reason": None}, {"finish_reason": "tired"}, {"finish_reason": 3}])
def test_an_end_that_is_unknown_or_absent_is_malformed(metadata: dict[str, Any]) -> None:
    assert _read(response_metadata=metadata).failure is FailureKind.MALFORMED


@pytest.mark.parametrize(
    "content", ["", "  \n", [], [{"type": "text", "text": ""}], [{"type": "reasoning", "reasoning": "Hm."}]]
)
def test_an_answer_without_words_or_calls_is_empty(content: Any) -> None:
    assert _read(content).failure is FailureKind.EMPTY


@pytest.mark.parametrize(
    ("content", "calls"),
    [
        ("", [{"name": "look", "args": {}, "id": "1"}]),
        ([{"type": "image", "base64": "aGk=", "mime_type": "image/png"}], []),
    ],
)
def test_a_call_or_a_picture_is_an_answer(content: Any, calls: Any) -> None:
    assert _read(content, tool_calls=calls).failure is None


def test_a_truncated_answer_is_truncated_even_when_it_is_empty_or_its_call_is_broken() -> None:
    metadata = {"finish_reason": "length"}
    broken = [{"name": "look", "args": '{"a', "id": "1", "error": "eof"}]
    assert _read("", response_metadata=metadata).failure is FailureKind.TRUNCATED
    assert _read("", response_metadata=metadata, invalid_tool_calls=broken).failure is FailureKind.TRUNCATED
    assert _read("", invalid_tool_calls=broken).failure is FailureKind.INVALID_OUTPUT


@pytest.mark.parametrize(
    "fields",
    [
        {"additional_kwargs": {"refusal": "No."}},
        {"content": [{"type": "refusal", "refusal": "No."}]},
        {"response_metadata": {"prompt_feedback": {"block_reason": google_types.BlockedReason.SAFETY}}},
        {"response_metadata": {"prompt_feedback": {"block_reason": "OTHER"}}},
    ],
)
def test_a_refusal_is_a_refusal_wherever_it_is_told(fields: dict[str, Any]) -> None:
    assert _read(**{"content": "", **fields}).failure is FailureKind.REFUSAL


def test_feedback_that_blocks_nothing_is_no_refusal() -> None:
    metadata = {"finish_reason": "stop", "prompt_feedback": {"block_reason": None, "safety_ratings": []}}
    assert _read(response_metadata=metadata).failure is None


def test_arguments_that_merging_mended_are_still_invalid() -> None:
    def merged(*pieces: str) -> AIMessageChunk:
        chunks = [
            AIMessageChunk("", tool_call_chunks=[{"name": None, "args": piece, "id": None, "index": 0}])
            for piece in pieces
        ]
        last = AIMessageChunk("", response_metadata={"finish_reason": "tool_calls"})
        whole = AIMessageChunk("", tool_call_chunks=[{"name": "f", "args": "", "id": "1", "index": 0}])
        for chunk in (*chunks, last):
            whole = whole + chunk
        return whole

    assert merged('{"a":', " 1,").tool_calls[0]["args"] == {"a": 1}
    assert read_reply(merged('{"a":', " 1,"), _FINISHES).failure is FailureKind.INVALID_OUTPUT
    assert read_reply(merged('{"a":', " 1}"), _FINISHES).failure is None
    assert read_reply(merged(), _FINISHES).failure is None


_NAMES = st.sampled_from(
    ["claude-haiku-4-5", "gpt-5.5-2026-04-23", "models/gemini-3.5-flash", "llama3.2:latest", "aab"]
)


@given(_NAMES, st.integers(1, 5))
def test_what_every_chunk_repeats_is_read_once(name: str, times: int) -> None:
    whole: Any = AIMessageChunk("Hi.", response_metadata={"model_name": name, "finish_reason": "stop"})
    for _ in range(times - 1):
        whole += AIMessageChunk("", response_metadata={"model_name": name, "finish_reason": "stop"})
    assert whole.response_metadata["model_name"] == name * times
    reply = read_reply(whole, _FINISHES)
    assert (reply.model, reply.finish, reply.failure) == (name, "stop", None)


@pytest.mark.parametrize(
    ("details", "usage"),
    [
        ({}, Usage(20, 3)),
        ({"cache_read": 5, "cache_creation": 2, "audio": 1}, Usage(20, 3, 5, 2, audio=1)),
        (
            {"cache_creation": 0, "ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
            Usage(20, 3, 0, 7, cache_write_1h=3),
        ),
        ({"priority": 10, "priority_cache_read": 6, "flex_cache_creation": 2}, Usage(20, 3, 6, 2)),
        ({"cache_read": None}, Usage(20, 3)),
    ],
)
def test_cached_tokens_are_found_under_every_name(details: dict[str, Any], usage: Usage) -> None:
    told: Any = {"input_tokens": 20, "output_tokens": 3, "total_tokens": 23, "input_token_details": details}
    message = AIMessage("Hi.", response_metadata={"finish_reason": "stop"})
    message.usage_metadata = told
    assert read_reply(message, _FINISHES).usage == usage


def test_every_way_google_can_end_is_in_its_table() -> None:
    assert {reason.name for reason in google_types.FinishReason} == set(GOOGLE)


def test_every_way_anthropic_can_end_is_in_its_table() -> None:
    from typing import get_args

    from anthropic.types import StopReason

    assert set(get_args(StopReason)) <= set(registry.get("anthropic").finishes)


def test_every_way_openai_can_end_is_in_its_table() -> None:
    from typing import get_args

    from openai.types.chat.chat_completion import Choice

    reasons = get_args(Choice.model_fields["finish_reason"].annotation)
    assert set(reasons) <= set(registry.get("openai").finishes)
