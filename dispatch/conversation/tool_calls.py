"""Tool calls paired with their results, under unique ids."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage

__all__ = ["Turn", "fresh_id", "turns_of"]

_ALPHABET: Final = string.ascii_letters + string.digits
_LENGTH: Final = 9


@dataclass(slots=True)
class Call:
    """One call with its result and the result's position."""

    call: ToolCall
    result: ToolMessage | None = None
    at: int = 0


@dataclass(slots=True)
class Turn:
    """One message; an assistant's message also has all its calls and results.

    Attributes:
        message: The message; None if it was lost and only its results are left.
        calls: Its calls, including those inferred from results.
        repaired: Whether the calls differ from the message's own.
    """

    message: BaseMessage | None
    calls: list[Call] = field(default_factory=list)
    repaired: bool = False

    @property
    def answered(self) -> list[Call]:
        """The calls in the order of their results; calls without a result come last."""
        return sorted(self.calls, key=lambda call: (call.result is None, call.at))


def turns_of(messages: Sequence[BaseMessage]) -> list[Turn]:
    """Group messages into turns, with every tool result under the call it answers.

    A result belongs to a call with its id in the latest message before it that has one. A result without a call is
    taken as proof of a call whose message was lost; a call without a result keeps none.
    """
    turns: list[Turn] = []
    waiting: dict[str, list[Call]] = {}
    names: dict[str, str] = {}
    for at, message in enumerate(messages):
        if message.type in ("tool", "function"):
            result = _tool_message(message)
            queue = waiting.get(result.tool_call_id)
            if queue:
                call = queue.pop(0)
                call.result, call.at = result, at
                continue
            if not turns or (turns[-1].message is not None and turns[-1].message.type not in _ASSISTANT):
                turns.append(Turn(None))
            name = result.name or names.get(result.tool_call_id) or "tool"
            turns[-1].calls.append(Call(_call(name, {}, result.tool_call_id), result, at))
            turns[-1].repaired = True
            continue
        turn = Turn(message)
        turns.append(turn)
        if message.type in _ASSISTANT:
            _take_calls(turn, message, messages, at)  # type: ignore[arg-type]
            waiting.update({call.call["id"] or "": [] for call in turn.calls})
            for call in turn.calls:
                waiting[call.call["id"] or ""].append(call)
                names[call.call["id"] or ""] = call.call["name"]
    return turns


def fresh_id(seed: str, used: set[str]) -> str:
    """Make an id of nine letters and digits, which every vendor accepts; the same seed gives the same id.

    Args:
        seed: What the id is made from.
        used: Ids already in use.
    """
    for attempt in range(len(used) + 1):
        digest = hashlib.sha256(f"{attempt}:{seed}".encode()).digest()
        made = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:_LENGTH])
        if made not in used:
            break
    return made


_ASSISTANT: Final = ("ai", "AIMessageChunk")


def _call(name: str, args: dict[str, Any], identity: str | None) -> ToolCall:
    return {"name": name, "args": args, "id": identity, "type": "tool_call"}


def _take_calls(turn: Turn, message: AIMessage, messages: Sequence[BaseMessage], at: int) -> None:
    turn.calls = [Call(call) for call in message.tool_calls]
    for broken in message.invalid_tool_calls:
        # A call that could not be parsed was never executed, but some agents answer it with an error.
        turn.repaired = True
        if any(getattr(result, "tool_call_id", None) == broken.get("id") for result in messages[at + 1 :]):
            call = _call(broken.get("name") or "tool", _arguments(broken.get("args")), broken.get("id"))
            turn.calls.append(Call(call))
    legacy = message.additional_kwargs.get("function_call")
    if not turn.calls and not turn.repaired and isinstance(legacy, Mapping) and legacy.get("name"):
        name = str(legacy["name"])
        turn.calls.append(Call(_call(name, _arguments(legacy.get("arguments")), _legacy_id(name))))
        turn.repaired = True


def _arguments(text: Any) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (TypeError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _legacy_id(name: str) -> str:
    return f"function_{name}"


def _tool_message(message: BaseMessage) -> ToolMessage:
    """Return the message itself, or OpenAI's legacy function message converted to a tool message."""
    if isinstance(message, ToolMessage):
        return message
    name = message.name or "tool"
    return ToolMessage(content=message.content, name=name, tool_call_id=_legacy_id(name))
