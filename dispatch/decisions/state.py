"""The state a question is about, as the one text that a decision model reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from ..conversation.blocks import kind_of

__all__ = ["text_of"]


def text_of(state: Any) -> str:
    """Convert a state to text: a text or a message to its own text, anything else to JSON.

    Images and other files are mentioned but not included, since not every decision model accepts them.

    Args:
        state: As LangChain's decision models take it.

    Raises:
        TypeError: Part of it cannot be expressed in JSON.
    """
    if isinstance(state, str):
        return state
    if isinstance(state, BaseMessage):
        return _said(state)
    return json.dumps(_plain(state), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseMessage):
        calls = [{"name": call["name"], "args": call["args"]} for call in getattr(value, "tool_calls", ())]
        return {"role": value.type, "content": _said(value), **({"tool_calls": calls} if calls else {})}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value


def _said(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    parts = []
    for block in message.content:
        if isinstance(block, str):
            parts.append(block)
        elif (kind := kind_of(block)) == "text":
            parts.append(str(block.get("text", "")))
        else:
            parts.append(f"[{kind} left out]")
    return "\n".join(parts)
