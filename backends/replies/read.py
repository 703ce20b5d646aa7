"""Read the model, finish reason, failure and token usage from a complete reply.

The reply may have come whole or be merged from chunks; merging concatenates the strings of the metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...configs.catalog import Usage
from ...configs.words import FailureKind
from ..usage.counting import believed
from .reply import Reply

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

__all__ = ["calls_in_text", "read_reply"]

_MODEL = ("model_name", "model", "model_version", "model_id")
_FINISH = ("finish_reason", "stop_reason", "stopReason", "done_reason", "status")
# Blocks that do not count as an answer by themselves: text is judged by its characters, calls by the message's list.
_WORDLESS = frozenset({"text", "reasoning", "reasoning_content", "thinking", "redacted_thinking", "refusal", "tool_use",
                       "tool_call", "tool_call_chunk", "function_call", "input_json_delta"})  # fmt: skip

# How models write tool calls before a server parses them from the text: the markers of DeepSeek, Qwen, Hermes, Kimi,
# Mistral, Llama, gpt-oss and Claude.
_MARKS: Final = re.compile(
    r"^\s*(?:<[|｜‖]{1,2}\s*DSML|<[|｜]tool[_▁]calls?[_▁](?:section[_▁])?begin|<tool_call>|\[TOOL_CALLS\]|<function=|"
    r"<\|python_tag\|>|<\|channel\|>commentary to=|<(?:antml:)?(?:function_calls>|invoke name=))",
    re.MULTILINE,
)


def calls_in_text(text: str) -> bool:
    """Return whether a text is, or ends in, a tool call that the server failed to parse.

    A text that only mentions such markers continues after them, or ends in words or a code fence.
    """
    return text.rstrip().endswith((">", "}", "]")) and _MARKS.search(text) is not None


def read_reply(
    message: AIMessage, finishes: Mapping[str, FailureKind | None], *, any_end: bool = False, no_end: bool = False
) -> Reply:
    """Read the metadata of a reply.

    Args:
        message: A complete reply, or the sum of all chunks of a stream.
        finishes: Vendor's finish reason -> the failure it means, None for a normal end; a name in lower
            case matches every case.
        any_end: Whether a reason that is not in the table is a normal end if there is an answer.
        no_end: Whether a missing reason is too, if the answer was not streamed: a stream without one broke off.
    """
    metadata = message.response_metadata
    finish = _finish(metadata, finishes)
    model, failure = _first(metadata, _MODEL), _failure(message, finish, finishes, any_end, no_end)
    usage, doubt = _usage(message, finish)
    return Reply(model, finish, failure, usage, doubt)


def _failure(
    message: AIMessage, finish: str | None, finishes: Mapping[str, FailureKind | None], any_end: bool, no_end: bool
) -> FailureKind | None:
    if _refused(message):
        return FailureKind.REFUSAL
    if finish is None:
        whole = no_end and not _is_streamed(message) and not _empty(message) and not message.invalid_tool_calls
        return None if whole else FailureKind.MALFORMED
    word = finish if finish in finishes else finish.lower()
    if word not in finishes and (not any_end or (_empty(message) and not message.invalid_tool_calls)):
        return FailureKind.MALFORMED
    if (meant := finishes.get(word)) is not None:
        return meant
    if message.invalid_tool_calls or not _arguments_are_json(message):
        return FailureKind.INVALID_OUTPUT
    return FailureKind.EMPTY if _empty(message) else None


def _is_streamed(message: AIMessage) -> bool:
    return hasattr(message, "chunk_position")


def _arguments_are_json(message: AIMessage) -> bool:
    # Merging chunks repairs truncated arguments, so a call that the model never finished can look complete.
    for chunk in vars(message).get("tool_call_chunks", ()):
        try:
            json.loads(chunk["args"] or "{}", strict=False)
        except json.JSONDecodeError:
            return False
    return True


def _refused(message: AIMessage) -> bool:
    return (
        bool(message.additional_kwargs.get("refusal"))
        or any(block.get("type") == "refusal" for block in _blocks(message))
        or _block_reason(message.response_metadata) is not None
    )


def _empty(message: AIMessage) -> bool:
    if message.tool_calls or message.text.strip() or message.additional_kwargs.get("audio"):
        return False
    return all(block.get("type") in _WORDLESS for block in _blocks(message))


def _blocks(message: AIMessage) -> Iterator[Mapping[str, Any]]:
    if isinstance(message.content, list):
        yield from (block for block in message.content if isinstance(block, Mapping))


def _finish(metadata: Mapping[str, Any], finishes: Mapping[str, FailureKind | None]) -> str | None:
    if reason := _block_reason(metadata):
        return f"blocked: {reason}"
    incomplete = metadata.get("incomplete_details")
    if isinstance(incomplete, Mapping) and isinstance(incomplete.get("reason"), str):
        return _once(incomplete["reason"])
    found = _first(metadata, _FINISH)
    if found is not None and found not in finishes:
        # A status that changes during a stream is concatenated into one string, and the last status counts.
        return next((name for name in finishes if found == "in_progress" + name), found)
    return found


def _block_reason(metadata: Mapping[str, Any]) -> str | None:
    feedback = metadata.get("prompt_feedback")
    reason = feedback.get("block_reason") if isinstance(feedback, Mapping) else None
    return str(getattr(reason, "name", reason)) if reason else None


def _first(metadata: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((_once(value) for key in keys if isinstance(value := metadata.get(key), str) and value), None)


def _once(text: str) -> str:
    """Undo the repetition of a value that every merged chunk carried."""
    # A string is a repetition exactly if it occurs in its double at a position other than both ends.
    period = (text + text).find(text, 1)
    return text[:period]


def _usage(message: AIMessage, finish: str | None) -> tuple[Usage | None, str]:
    if finish is None and _is_streamed(message):
        # Usage reported during a stream does not cover the whole; `StreamUsage` counts the part that was seen.
        return None, "usage not told: the stream broke off"
    usage, doubt = believed(message)
    if usage is not None and not usage.output and not _empty(message):
        return None, "usage not believable: output 0 for an answer"
    return usage, doubt
