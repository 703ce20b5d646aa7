"""Approval: an act whose risk is critical waits for a person, who sees exactly what would happen."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage
from pydantic import BaseModel, ValidationError

from ...configs.errors import ConfigError
from ...configs.words import Effect, Risk
from ...tools.base import declaration_of
from ...tools.facts import call_facts
from ..journal.places import begun_before
from ..result import Outcome
from .acts import not_done
from .answers import answer_form, decided

if TYPE_CHECKING:
    from langchain.agents.middleware import ToolCallRequest
    from langchain.agents.middleware.human_in_the_loop import DecisionType, HITLRequest
    from langchain_core.tools import BaseTool
    from langgraph.types import Command

__all__ = ["ApprovalMiddleware", "person_allowed"]

_ALLOWED: ContextVar[str | None] = ContextVar("pointsman_allowed_call", default=None)


def person_allowed(call: Mapping[str, Any]) -> bool:
    """Whether a person has just approved, or edited, this very call."""
    return call["id"] is not None and _ALLOWED.get() == call["id"]


class ApprovalMiddleware(AgentMiddleware[Any, Any]):
    """Stop before a critical call and go on as the person says.

    Each call is an interrupt of its own, whose value is LangChain's ``HITLRequest`` with that one action, so that
    inboxes for LangChain's agents show and answer it. `pointsman.agents.approval.answers.decided` says what is
    understood; for anything else the call is not made, and the person is asked again and told why. An answer that
    names a digest holds for that act alone. A person may answer in the place of a tool that only reads. What they
    edit is judged again, and they are asked once more where that does more than what they were asked about. Of an act
    that the step began already, in a part of the run that was cut off, a person is asked whatever its risk: it may
    have happened.

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
        verdict = self._verdict(request, asked)
        if isinstance(verdict, ToolMessage):
            return verdict
        with _allowed(verdict):
            return _noticed(handler(verdict), request, verdict)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Ask before a critical call; hand anything else straight on."""
        asked = self._asked(request)
        if asked is None:
            return await handler(request)
        verdict = self._verdict(request, asked)
        if isinstance(verdict, ToolMessage):
            return verdict
        with _allowed(verdict):
            return _noticed(await handler(verdict), request, verdict)

    def _asked(self, request: ToolCallRequest) -> _Asked | None:
        """What a person is asked, or None where the call may be made without."""
        tool = request.tool
        if tool is None:
            return None
        effect = call_facts(tool, request.tool_call["args"]).effect
        if effect is None:
            return None
        if self._risks()[effect] < Risk.CRITICAL and not _answered() and not begun_before(tool):
            return None
        return _Asked(tool, request.tool_call, effect)

    def _verdict(self, request: ToolCallRequest, asked: _Asked) -> ToolCallRequest | ToolMessage:
        """The call to make, or the message in its place; this stops the graph until a person has answered."""
        from langgraph.types import interrupt

        problem = begun_before(asked.tool)
        while True:
            shown = asked.request(problem)
            try:
                decision = decided(interrupt(shown), shown)
                if decision["type"] == "approve":
                    return request.override(tool_call=asked.call)
                if decision["type"] == "edit":
                    edited = asked.edited(decision["edited_action"]["args"])
                    if edited.effect <= asked.effect:
                        return request.override(tool_call=edited.call)
                    asked, problem = edited, f"with these arguments of yours it is {edited.effect}"
                    continue
            except ConfigError as error:
                problem = str(error)
                continue
            return _in_its_place(asked.call, decision)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call that waits for a person, and its effect with these very arguments."""

    tool: BaseTool
    call: Any
    effect: Effect

    def request(self, problem: str) -> HITLRequest:
        """The request in LangChain's form.

        Args:
            problem: Why the last answer did not settle it; empty at first.
        """
        name = self.call["name"]
        allowed: list[DecisionType] = ["approve", "edit", "reject"]
        if self.effect is Effect.READ or ((said := declaration_of(self.tool)) is not None and said.only_reads):
            allowed.append("respond")
        reason = f"{name} is {self.effect} with these arguments"
        if declaration_of(self.tool) is None:
            reason = f"{name} declares no effect, so it counts as {self.effect} (pointsman.declare gives it one)"
        told = f"{reason}; {problem}" if problem else reason
        description = f"{told}\n{answer_form(name, allowed)}"
        return {
            "action_requests": [{"name": name, "args": self.call["args"], "description": description}],
            "review_configs": [
                {
                    "action_name": name,
                    "allowed_decisions": allowed,
                    "args_schema": _json_schema(self.tool),
                }
            ],
        }

    def edited(self, arguments: Mapping[str, Any]) -> _Asked:
        """The same call with a person's arguments.

        Raises:
            ConfigError: The tool does not take them.
        """
        schema = self.tool.tool_call_schema
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            try:
                schema.model_validate(dict(arguments))
            except ValidationError as error:
                said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
                raise ConfigError(f"{self.call['name']} does not take these arguments ({said})") from error
        effect = call_facts(self.tool, arguments).effect
        return _Asked(self.tool, {**self.call, "args": dict(arguments)}, effect or Effect.DESTRUCTIVE)


def _answered() -> bool:
    """Whether a person was asked about this call before it was begun again, and answered: that holds, whatever the
    policy has become since."""
    from langgraph.config import get_config

    try:
        pad = get_config()["configurable"].get("__pregel_scratchpad")
    except RuntimeError:
        return False
    return bool(getattr(pad, "resume", None))


def _json_schema(tool: BaseTool) -> dict[str, Any]:
    schema = tool.tool_call_schema
    if isinstance(schema, dict):
        return schema
    if issubclass(schema, BaseModel):
        return schema.model_json_schema()
    return {"type": "object", "properties": tool.args}  # pydantic v1


def _in_its_place(call: Mapping[str, Any], decision: Mapping[str, Any]) -> ToolMessage:
    """What the model is told of a call that is not made."""
    message = decision.get("message")
    if decision["type"] == "respond":
        return ToolMessage(message, name=call["name"], tool_call_id=call["id"])
    reason = f"a person refused this call: {message or 'no reason given'}"
    return not_done(call, Outcome.REJECTED, reason, reason)


def _noticed(
    answer: ToolMessage | Command[Any], asked: ToolCallRequest, made: ToolCallRequest
) -> ToolMessage | Command[Any]:
    """The answer of a call, telling the model where a person has changed its arguments."""
    if made.tool_call["args"] == asked.tool_call["args"] or not isinstance(answer, ToolMessage):
        return answer
    arguments = json.dumps(made.tool_call["args"], ensure_ascii=False, default=str)
    notice = f"A person changed the arguments of this call to {arguments} before it was made. Do not repeat your own."
    if isinstance(answer.content, str):
        return answer.model_copy(update={"content": f"{notice}\n\n{answer.content}"})
    return answer.model_copy(update={"content": [{"type": "text", "text": notice}, *answer.content]})


@contextmanager
def _allowed(request: ToolCallRequest) -> Iterator[None]:
    token = _ALLOWED.set(request.tool_call["id"])
    try:
        yield
    finally:
        _ALLOWED.reset(token)
