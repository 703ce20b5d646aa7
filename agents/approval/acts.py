"""What became of the calls a step wanted to make, kept in its messages so that it outlives a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from ...configs.words import Effect
from ...tools.base import declaration_of
from ...tools.facts import call_facts
from ..result import Act, Outcome

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["account_of", "acting", "acts", "acts_of", "doubts", "marked", "not_done", "open_acts", "stopped"]

_MARK = "pointsman_act"
_STOPPED = (Outcome.DOUBTED, Outcome.REJECTED)


def account_of(message: BaseMessage) -> Mapping[str, Any]:
    """What the dispatcher noted of the model call behind a message; empty where there was none."""
    found: Mapping[str, Any] = message.response_metadata.get("pointsman") or {}
    return found


def acting(effect: Effect | None) -> bool:
    """Whether a call with this effect does more than read."""
    return effect is not None and effect is not Effect.READ


def acts(tool: BaseTool, arguments: Mapping[str, Any]) -> bool:
    """Whether a call does more than read, also where its tool leaves the machine and declares that it only reads."""
    declared = declaration_of(tool)
    return acting(call_facts(tool, arguments).effect) and not (declared is not None and declared.only_reads)


def not_done(call: Mapping[str, Any], outcome: Outcome, reason: str, told: str) -> ToolMessage:
    """The answer to a call that is not carried out.

    Args:
        call: The call.
        outcome: What became of it.
        reason: Why, for the record of the step.
        told: What the model is told.
    """
    answer = ToolMessage(content=told, name=call["name"], tool_call_id=call["id"], status="error")
    return marked(answer, outcome, reason)


def marked(answer: ToolMessage, outcome: Outcome, reason: str) -> ToolMessage:
    """The answer to a call with what became of that, for the record of the step."""
    mark = {"outcome": outcome.value, "reason": reason}
    return answer.model_copy(update={"response_metadata": {**answer.response_metadata, _MARK: mark}})


def acts_of(messages: Sequence[BaseMessage], tools: Sequence[BaseTool]) -> tuple[Act, ...]:
    """Every call in ``messages`` of a tool that does more than read, in order, with what became of it.

    Args:
        messages: What a step added.
        tools: What it could call.
    """
    return tuple(act for _, act in _placed(messages, {tool.name: tool for tool in tools}))


def open_acts(messages: Sequence[BaseMessage], tools: Sequence[BaseTool]) -> tuple[Act, ...]:
    """The calls that were not let happen and that no later call of the same tool stands in for."""
    placed = _placed(messages, {tool.name: tool for tool in tools})
    last = {act.tool: place for place, act in placed if act.outcome is Outcome.DONE}
    return tuple(act for place, act in placed if act.outcome in _STOPPED and last.get(act.tool, -1) <= place)


def doubts(messages: Sequence[BaseMessage]) -> int:
    """In how many turns a call was doubted."""
    turns, doubted = 0, set[int]()
    for message in messages:
        turns += isinstance(message, AIMessage)
        if _mark(message).get("outcome") == Outcome.DOUBTED:
            doubted.add(turns)
    return len(doubted)


def stopped(answer: ToolMessage) -> bool:
    """Whether this stands in the place of a result, since the call was not made."""
    return _mark(answer).get("outcome") in _STOPPED


def _placed(messages: Sequence[BaseMessage], tools: Mapping[str, BaseTool]) -> list[tuple[int, Act]]:
    """Each act with the place of the message that asked for it."""
    placed: list[tuple[int, Act]] = []
    for place, message in enumerate(messages):
        if not isinstance(message, AIMessage):
            continue
        answers = _answers(messages[place + 1 :])
        for call in message.tool_calls:
            # Providers give an id again in a later turn, and sometimes twice in one.
            waiting = answers.get(str(call["id"]), [])
            answer = waiting.pop(0) if waiting else None
            if acting(_effect(message, call, tools)):
                placed.append((place, _act(call, answer)))
    return placed


def _effect(message: AIMessage, call: Mapping[str, Any], tools: Mapping[str, BaseTool]) -> Effect | None:
    """What a call does; of a tool that was brought in for that turn alone the account of the model call tells."""
    if (tool := tools.get(call["name"])) is not None:
        return call_facts(tool, call["args"]).effect
    told = (account_of(message).get("effects") or {}).get(call["name"])
    return None if told is None else Effect(told)


def _answers(messages: Sequence[BaseMessage]) -> dict[str, list[ToolMessage]]:
    """The answers to the calls of one turn: those before the model speaks again, by the id they name, in order."""
    found: dict[str, list[ToolMessage]] = {}
    for message in messages:
        if isinstance(message, AIMessage):
            break
        if isinstance(message, ToolMessage):
            found.setdefault(message.tool_call_id, []).append(message)
    return found


def _act(call: Mapping[str, Any], answer: ToolMessage | None) -> Act:
    mark = _mark(answer)
    outcome = Outcome(mark.get("outcome", Outcome.DONE))
    if outcome is Outcome.DONE and answer is not None and answer.status == "error":
        outcome = Outcome.FAILED
    return Act(call["name"], call["args"], outcome, mark.get("reason", ""))


def _mark(message: BaseMessage | None) -> Mapping[str, str]:
    found: Mapping[str, str] = {} if message is None else message.response_metadata.get(_MARK, {})
    return found
