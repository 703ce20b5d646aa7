"""Approval: an act whose risk is critical waits for a person, who sees exactly what would happen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage

from ..configs.words import Effect, Risk
from ..tools.facts import call_facts
from .acts import not_done
from .result import Outcome

if TYPE_CHECKING:
    from langchain.agents.middleware import ToolCallRequest
    from langgraph.types import Command

__all__ = ["ApprovalMiddleware", "digest", "person_allowed"]

_ALLOWED: ContextVar[str | None] = ContextVar("pointsman_allowed_call", default=None)


def digest(tool: str, arguments: Mapping[str, Any]) -> str:
    """Name an act: the first 16 hex digits of the SHA-256 of its tool and canonical arguments."""
    text = json.dumps([tool, arguments], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def person_allowed(call: Mapping[str, Any]) -> bool:
    """Whether a person has just approved, or edited, this very call."""
    return call["id"] is not None and _ALLOWED.get() == call["id"]


class ApprovalMiddleware(AgentMiddleware[Any, Any]):
    """Stop before a critical call and go on as the person says.

    The answer is a mapping with ``digest`` and ``decision``: ``approve``, ``reject`` (with an optional ``reason``), or
    ``edit`` with the ``arguments`` to use instead. An answer to another digest is refused, so that an approval never
    covers arguments its giver did not see.

    Args:
        risks: Gives effect -> risk of a call with that effect, as it is when the call is made.
    """

    def __init__(self, risks: Callable[[], Mapping[Effect, Risk]]) -> None:
        super().__init__()
        self._risks = risks

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Ask before a critical call; hand anything else straight on."""
        asked = self._asked(request)
        if asked is None:
            return handler(request)
        verdict = _verdict(request, asked)
        if isinstance(verdict, ToolMessage):
            return verdict
        with _allowed(verdict):
            return handler(verdict)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Ask before a critical call; hand anything else straight on."""
        asked = self._asked(request)
        if asked is None:
            return await handler(request)
        verdict = _verdict(request, asked)
        if isinstance(verdict, ToolMessage):
            return verdict
        with _allowed(verdict):
            return await handler(verdict)

    def _asked(self, request: ToolCallRequest) -> Mapping[str, Any] | None:
        """What a person is asked, or None where the call may be made without."""
        call, tool = request.tool_call, request.tool
        if tool is None:
            return None
        facts = call_facts(tool, call["args"])
        risk = Risk.LOW if facts.effect is None else self._risks()[facts.effect]
        if risk < Risk.CRITICAL:
            return None
        return {
            "tool": call["name"],
            "arguments": call["args"],
            "risk": risk.value,
            "reason": f"{call['name']} is {facts.effect} with these arguments",
            "digest": digest(call["name"], call["args"]),
        }


def _verdict(request: ToolCallRequest, asked: Mapping[str, Any]) -> ToolCallRequest | ToolMessage:
    from langgraph.types import interrupt

    call = request.tool_call
    answer = interrupt(asked)
    decision = answer.get("decision") if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or answer.get("digest") != asked["digest"]:
        return _refused(call, "the approval was for other arguments", "so nothing was done")
    if decision == "approve":
        return request
    if decision == "edit" and isinstance(answer.get("arguments"), Mapping):
        return request.override(tool_call={**call, "args": dict(answer["arguments"])})
    return _refused(call, f"a person refused this call: {answer.get('reason') or 'no reason given'}")


def _refused(call: Mapping[str, Any], reason: str, *more: str) -> ToolMessage:
    return not_done(call, Outcome.REJECTED, reason, ", ".join((reason, *more)))


@contextmanager
def _allowed(request: ToolCallRequest) -> Iterator[None]:
    token = _ALLOWED.set(request.tool_call["id"])
    try:
        yield
    finally:
        _ALLOWED.reset(token)
