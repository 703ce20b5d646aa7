"""Checking: a call that does more than read is judged by another author's model before it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from ...configs.process.variables import set_to
from ...dispatch import sync
from ...dispatch.request import one_line
from ...tools.facts import call_facts
from ..approval.acts import account_of, acting, doubts, marked, not_done
from ..approval.interrupts import person_allowed
from ..around import AsyncModelHandler, AsyncToolHandler, ModelAnswer, ModelHandler, ToolAnswer, ToolHandler
from ..result import Outcome
from .verifier import Judgement, Verifier, needs_check

if TYPE_CHECKING:
    from langchain.agents.middleware import ModelRequest, ToolCallRequest

__all__ = ["Check", "CheckMiddleware", "checked"]

_MOST_DOUBTS = 2
"""Turns with a doubted call that stop a step: the model is told once, and may propose something else once."""
_STOPPED = "The step was stopped: its calls were doubted again, so a person must go on."


@dataclass(frozen=True, slots=True)
class Check:
    """The instruction to have the calls of one step checked.

    Attributes:
        agent: Name of the agent that does the step; agents inside its tools are not included.
        verifier: Who judges.
        task: What was asked, and what the step was given.
        step: Id of the step.
    """

    agent: str
    verifier: Verifier
    task: str
    step: str


_CHECK: ContextVar[Check | None] = ContextVar("pointsman_check", default=None)


def checked(check: Check) -> AbstractContextManager[None]:
    """Have the calls of the step inside the block checked."""
    return set_to(_CHECK, check)


class CheckMiddleware(AgentMiddleware[Any, Any]):
    """Let a verifier judge each call that does more than read, if the step is of medium risk or above.

    A doubted call is not made, and the model is told why. After the second turn with a doubted call the step ends.
    What a person has allowed is not judged again. If no verifier is available, the call is made and that is recorded.

    Args:
        agent: Name of the agent.
    """

    def __init__(self, agent: str) -> None:
        super().__init__()
        self._agent = agent

    def wrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolAnswer:
        """Have the call judged, and make it unless it is doubted."""
        judged = sync.run(self._judged(request))
        if judged is not None and judged.ok is False:
            return _doubted(request.tool_call, judged)
        return _made(handler(request), judged)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncToolHandler) -> ToolAnswer:
        """Have the call judged, and make it unless it is doubted."""
        judged = await self._judged(request)
        if judged is not None and judged.ok is False:
            return _doubted(request.tool_call, judged)
        return _made(await handler(request), judged)

    def wrap_model_call(self, request: ModelRequest, handler: ModelHandler) -> ModelAnswer:
        """Ask the model for its next turn, unless the step has been doubted too often."""
        return handler(request) if doubts(request.messages) < _MOST_DOUBTS else AIMessage(_STOPPED)

    async def awrap_model_call(self, request: ModelRequest, handler: AsyncModelHandler) -> ModelAnswer:
        """Ask the model for its next turn, unless the step has been doubted too often."""
        return await handler(request) if doubts(request.messages) < _MOST_DOUBTS else AIMessage(_STOPPED)

    async def _judged(self, request: ToolCallRequest) -> Judgement | None:
        """Return the verifier's judgement of a call, or None if it need not be asked."""
        check, call, tool = _CHECK.get(), request.tool_call, request.tool
        if check is None or check.agent != self._agent or tool is None or person_allowed(call):
            return None
        if not acting(call_facts(tool, call["args"]).effect):
            return None
        account = _proposed(request.state["messages"], call)
        if not needs_check(account.get("risk", "")):
            return None
        return await check.verifier.call(
            check.task, call, step=check.step, risk=account["risk"], author=account.get("model")
        )


def _doubted(call: Mapping[str, Any], judged: Judgement) -> ToolMessage:
    told = (
        f"This call was not carried out: a verifier doubts it ({judged.reason}). "
        "Propose a call that meets this, or say that it cannot be done."
    )
    return not_done(call, Outcome.DOUBTED, judged.reason, told)


def _made(answer: ToolAnswer, judged: Judgement | None) -> ToolAnswer:
    if judged is None or judged.ok or not isinstance(answer, ToolMessage):
        return answer
    return marked(answer, Outcome.DONE, one_line(judged.reason))


def _proposed(messages: Sequence[BaseMessage], call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the account of the model call that proposed a tool call."""
    for message in reversed(messages):
        if isinstance(message, AIMessage) and any(one["id"] == call["id"] for one in message.tool_calls):
            return account_of(message)
    return {}
