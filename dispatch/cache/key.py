"""Cache keys: what makes two requests the same for the response cache."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.messages import BaseMessage

from ...configs.words import Effect, StepKind

__all__ = ["CacheRequest", "cacheable", "request_digest"]

# Parts that decide an answer although they hardly change a sentence's embedding: anything with a digit, quoted text,
# paths and addresses, and negation.
_PINNED: Final = re.compile(
    r"""\S*\d\S*|"[^"]*"|`[^`]*`|\S+[/@\\]\S+|\b(?:no|not|never|none|without|except|unless|cannot|\w+n['’]t)\b""",
    re.IGNORECASE,
)


def cacheable(effects: Iterable[Effect], kind: StepKind | None, sensitivity: str) -> bool:
    """Return whether the answer to a step may be cached: not if the step acts or is secret.

    Args:
        effects: Effects of the bound tools.
        kind: What the step is for, if declared; otherwise only the effects count.
        sensitivity: As the step declares it.
    """
    return kind is not StepKind.ACT and sensitivity != "secret" and all(effect is Effect.READ for effect in effects)


@dataclass(frozen=True, slots=True)
class CacheRequest:
    """The cache's description of one request.

    Attributes:
        key: Hash of the whole request.
        scope: Hash of everything but the wording of the user's last message; parts of it that must match are included.
        text: That wording; empty if the last message is not plain text of the user.
    """

    key: str
    scope: str
    text: str

    @classmethod
    def of(
        cls,
        messages: Sequence[BaseMessage],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> CacheRequest | None:
        """Describe a request; return None if part of it has no JSON form.

        Ids of messages and tool calls do not count, since every run makes new ones.

        Args:
            messages: The conversation.
            tools: Tools in OpenAI's format.
            options: Everything else that is passed on to the model.
            facts: What else the answer may depend on: tier, task, policy, and the user who must not share answers.
        """
        numbers: dict[str, str] = {}
        told = [_told(message, numbers) for message in messages]
        text = messages[-1].content if messages and messages[-1].type == "human" else ""
        text = text if isinstance(text, str) else ""
        # The model sees the order of the tools, so it counts.
        rest = [list(tools), dict(options or {}), dict(facts or {})]
        try:
            key = _hash([told, rest])
            scope = _hash([told[:-1], rest, sorted(_PINNED.findall(text.lower()))]) if text else ""
        except (TypeError, ValueError):
            return None
        return cls(key, scope, text)


def request_digest(
    messages: Sequence[BaseMessage],
    *,
    tools: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> str | None:
    """Hash a request as `CacheRequest.of` does; return None if part of it has no JSON form."""
    numbers: dict[str, str] = {}
    try:
        return _hash([[_told(message, numbers) for message in messages], [list(tools), dict(options), dict(facts)]])
    except (TypeError, ValueError):
        return None


def _told(message: BaseMessage, numbers: dict[str, str]) -> dict[str, Any]:
    """Return what a message tells the model, with its ids replaced by their order."""
    calls = vars(message).get("tool_calls") or ()
    broken = vars(message).get("invalid_tool_calls") or ()
    for call in (*calls, *broken):
        if call["id"]:
            numbers.setdefault(call["id"], f"call {len(numbers)}")
    answered = vars(message).get("tool_call_id")
    return {
        "type": "ai" if message.type == "AIMessageChunk" else message.type,
        "role": vars(message).get("role"),
        "name": message.name,
        "content": _content(message.content, numbers),
        "calls": [[call["name"], call["args"], numbers.get(call["id"] or "")] for call in calls],
        "broken": [[call["name"], call["args"], numbers.get(call["id"] or "")] for call in broken],
        # Clients send parts of these: a vendor-specific role, a call in the vendor's format.
        "further": {key: _content(value, numbers) for key, value in message.additional_kwargs.items() if value},
        "answers": numbers.get(answered, answered) if answered else None,
        "status": vars(message).get("status"),
    }


def _content(value: Any, numbers: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_content(item, numbers) for item in value]
    if isinstance(value, dict):
        return {key: _known(key, item, numbers) for key, item in value.items() if not _is_drawn(key, item)}
    return value


def _known(key: str, value: Any, numbers: Mapping[str, str]) -> Any:
    if key in ("id", "call_id", "tool_use_id", "tool_call_id") and isinstance(value, str):
        return numbers.get(value, value)
    return _content(value, numbers)


def _is_drawn(key: str, value: Any) -> bool:
    # LangChain's helpers give the blocks they make generated ids.
    return key == "id" and isinstance(value, str) and value.startswith("lc_")


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
