"""Checks whether a reply is usable: which model ran, how it ended, and the arguments it gave."""

from __future__ import annotations

from fnmatch import fnmatchcase

from langchain_core.messages import AIMessage

from ...backends.base import Backend
from ...backends.replies.bounds import MOST_CALLS
from ...backends.replies.read import calls_in_text
from ...backends.replies.reply import Reply
from ...configs.catalog import ModelCard
from ...configs.words import FailureKind
from ..request import ModelRequest, one_line
from .arguments import misfit
from .options import choice_of
from .structured_output import judged

__all__ = ["fault"]


def fault(
    ask: ModelRequest, card: ModelCard, backend: Backend, message: AIMessage, reply: Reply
) -> tuple[FailureKind, str] | None:
    """Return what is wrong with a complete reply, or None if it can be used.

    Args:
        ask: The request.
        card: The model that was asked.
        backend: Its backend, which knows names that mean the same model.
        message: The reply.
        reply: What the backend read from it.
    """
    if reply.failure is not None:
        return reply.failure, one_line(message.response_metadata.get("reason") or _end_of(message, reply))
    if reply.model not in (None, card.name) and not _is_asked(card, backend, reply.model):
        return FailureKind.WRONG_MODEL, one_line(f"asked {card.name}, answered by {reply.model}")
    return _bad_arguments(ask, message)


def _end_of(message: AIMessage, reply: Reply) -> str:
    calls = [*message.invalid_tool_calls, *message.tool_calls]
    if reply.failure is FailureKind.INVALID_OUTPUT and calls:
        return f"the arguments of {one_line(calls[0]['name'] or 'a tool', 60)} are not JSON"
    return f"finish reason {reply.finish!r}" if reply.finish else "it ended without a finish reason"


def _is_asked(card: ModelCard, backend: Backend, answered: str) -> bool:
    return backend.same_model(card.name, answered) or any(
        fnmatchcase(answered.lower(), name.lower()) or backend.same_model(name, answered) for name in card.answers_as
    )


def _bad_arguments(ask: ModelRequest, message: AIMessage) -> tuple[FailureKind, str] | None:
    if message.invalid_tool_calls:
        bad = message.invalid_tool_calls[0]
        return FailureKind.INVALID_OUTPUT, one_line(f"arguments of {bad.get('name')} are not JSON")
    if len(message.tool_calls) > MOST_CALLS:
        return FailureKind.INVALID_OUTPUT, f"the reply calls more than {MOST_CALLS} tools at once"
    schemas = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in ask.tools}
    for call in message.tool_calls:
        if call["name"] not in schemas:
            return FailureKind.INVALID_OUTPUT, f"called {one_line(call['name'], 60)!r}, which is not bound"
        if call["name"] == ask.output and ask.answer is not None:
            # The class checks more than its schema: its validators, and which values its types accept as equal.
            problem = judged(ask.answer, call["args"])
        else:
            problem = misfit(schemas[call["name"]], call["args"])
        if problem:
            return FailureKind.INVALID_OUTPUT, one_line(f"{call['name']}: {problem}")
    if not message.tool_calls and schemas:
        if calls_in_text(message.text):
            return FailureKind.INVALID_OUTPUT, "the call of a tool came as text"
        choice = choice_of(ask.tool_choice, schemas)
        forced = choice is not None and choice.forced
        if ask.output is not None and (ask.acting_tools == 0 or forced):
            return FailureKind.INVALID_OUTPUT, f"no {ask.output} in the answer"
        if forced:
            return FailureKind.INVALID_OUTPUT, "no tool was called, although one had to be"
    return None
