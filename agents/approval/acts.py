"""The outcome of each call that a step wanted to make, stored in its messages so that it survives a restart."""

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
    """Return what the dispatcher recorded about the model call behind a message; empty if there was none."""
    found: Mapping[str, Any] = message.response_metadata.get("pointsman") or {}
    return found


def acting(effect: Effect | None) -> bool:
    """Whether a call with this effect does more than read."""
    return effect is not None and effect is not Effect.READ


def acts(tool: BaseTool, arguments: Mapping[str, Any]) -> bool:
    """Return whether a call does more than read; a tool that declares it only reads does not, even off the machine."""
    declared = declaration_of(tool)
    return acting(call_facts(tool, arguments).effect) and not (declared is not None and declared.only_reads)


def not_done(call: Mapping[str, Any], outcome: Outcome, reason: str, told: str) -> ToolMessage:
    """Return the answer to a call that is not made.

    Args:
        call: The call.
        outcome: What happened to it.
        reason: Why, for the record of the step.
        told: What the model is told.
    """
    answer = ToolMessage(content=told, name=call["name"], tool_call_id=call["id"], status="error")
    return marked(answer, outcome, reason)


def marked(answer: ToolMessage, outcome: Outcome, reason: str) -> ToolMessage:
    """Return the answer to a call, marked with the call's outcome for the record of the step."""
    mark = {"outcome": outcome.value, "reason": reason}
    return answer.model_copy(update={"response_metadata": {**answer.response_metadata, _MARK: mark}})


def acts_of(messages: Sequence[BaseMessage], tools: Sequence[BaseTool]) -> tuple[Act, ...]:
    """Return every call in ``messages`` that does more than read, in order, with its outcome.

    Args:
        messages: What a step added.
        tools: What it could call.
    """
    return tuple(act for _, act in _placed(messages, {tool.name: tool for tool in tools}))


def open_acts(messages: Sequence[BaseMessage], tools: Sequence[BaseTool]) -> tuple[Act, ...]:
    """Return the calls that were stopped and that no later call of the same tool replaces."""
    placed = _placed(messages, {tool.name: tool for tool in tools})
    last = {act.tool: place for place, act in placed if act.outcome is Outcome.DONE}
    return tuple(act for place, act in placed if act.outcome in _STOPPED and last.get(act.tool, -1) <= place)


def doubts(messages: Sequence[BaseMessage]) -> int:
    """Return the number of turns in which a call was doubted."""
    turns, doubted = 0, set[int]()
    for message in messages:
        turns += isinstance(message, AIMessage)
        if _mark(message).get("outcome") == Outcome.DOUBTED:
            doubted.add(turns)
    return len(doubted)


def stopped(answer: ToolMessage) -> bool:
    """Return whether this replaces a result because the call was not made."""
    return _mark(answer).get("outcome") in _STOPPED


def _placed(messages: Sequence[BaseMessage], tools: Mapping[str, BaseTool]) -> list[tuple[int, Act]]:
    """Return each act with the index of the message that requested it."""
    placed: list[tuple[int, Act]] = []
    for place, message in enumerate(messages):
        if not isinstance(message, AIMessage):
            continue
        answers = _answers(messages[place + 1 :])
        for call in message.tool_calls:
            # Providers reuse ids in later turns, and sometimes within one turn.
            waiting = answers.get(str(call["id"]), [])
            answer = waiting.pop(0) if waiting else None
            if acting(_effect(message, call, tools)):
                placed.append((place, _act(call, answer)))
    return placed


def _effect(message: AIMessage, call: Mapping[str, Any], tools: Mapping[str, BaseTool]) -> Effect | None:
    """Return a call's effect; for a tool added for that turn only, it is read from the account of the model call."""
    if (tool := tools.get(call["name"])) is not None:
        return call_facts(tool, call["args"]).effect
    told = (account_of(message).get("effects") or {}).get(call["name"])
    return None if told is None else Effect(told)


def _answers(messages: Sequence[BaseMessage]) -> dict[str, list[ToolMessage]]:
    """Return the answers to one turn's calls (up to the model's next message) by call id, in order."""
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
