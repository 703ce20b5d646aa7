"""Convert the parts of LangGraph's stream into a run's events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import ToolMessage

from ..agents.approval.answers import pending_of
from ..agents.result import StepRecord
from ..dispatch.calls.retraction import retracts
from .events import Began, Event, Noted, Retracted, Stepped, Token, Used, Using, Waiting

__all__ = ["INNER", "happened"]

_INSIDE: Final = ("model", "tools")
"""Nodes of LangChain's agents, which are not steps of a workflow."""


INNER: Final = {"pointsman_inner": True}
"""Metadata of the supervisor's own nodes, which are not steps of the plan."""


def happened(run: str, namespace: Sequence[str], mode: str, part: Any, earlier: Mapping[str, bool]) -> Iterator[Event]:
    """Yield the events that one part of the stream reports.

    Args:
        run: Id of the run.
        namespace: The nodes that lead to the graph it comes from, each with the id of its task.
        mode: ``updates``, ``messages`` or ``tasks``.
        part: What that mode yields.
        earlier: The tasks that were begun in an earlier part of the run -> whether each ended there. LangGraph reports
            them again.
    """
    path = tuple(place.partition(":")[0] for place in namespace)
    if mode == "messages":
        yield from _said(path, *part)
    elif mode == "tasks":
        yield from _begun(path, part, earlier.get(part["id"]))
    else:
        yield from _updated(run, path, part)


def _said(path: tuple[str, ...], message: Any, facts: Mapping[str, Any]) -> Iterator[Event]:
    agent = str(facts.get("lc_agent_name") or facts.get("langgraph_node", ""))
    if retracts(message):
        yield Retracted(agent)
    elif message.type == "AIMessageChunk" and (text := str(message.text)):
        yield Token(agent, text, path)


def _begun(path: tuple[str, ...], task: Mapping[str, Any], ended: bool | None) -> Iterator[Event]:
    given = task.get("input")
    facts = task.get("metadata") or {}
    if "input" not in task:
        yield from _ended(path, task)
        return
    if ended or (not path and facts.get("pointsman_inner")):
        return  # it does not begin now, or is not a step of the plan
    if task["name"] == "tools" and (calls := _calls(given)):
        if ended is not None:
            return  # its `Using` event was emitted before a person was asked
        agent = str(facts.get("lc_agent_name") or (path[-1] if path else ""))
        yield from (Using(agent, str(call["name"]), call["args"], path) for call in calls)
    elif isinstance(given, Mapping) and isinstance(step := given.get("step"), Mapping):
        yield Began(str(step["id"]), str(step["agent"]), path)
    elif "." not in task["name"] and not (path and task["name"] in _INSIDE):
        yield Began(str(task["name"]), str(task["name"]), path)


def _ended(path: tuple[str, ...], task: Mapping[str, Any]) -> Iterator[Event]:
    """Yield the results of tools, if the node that ended is theirs."""
    result = task.get("result") if task["name"] == "tools" else None
    for one in result if isinstance(result, list) else [result]:
        update = one.get("messages") if isinstance(one, Mapping) else None
        for message in update if isinstance(update, list) else ():
            if isinstance(message, ToolMessage):
                yield Used(message.name or "", str(message.text), message.status == "error", path)


def _calls(given: Any) -> list[Mapping[str, Any]]:
    """Return the tool calls that LangGraph's tool node is given, in either of its forms."""
    found = [given.get("tool_call")] if isinstance(given, Mapping) else given if isinstance(given, list) else []
    return [call for call in found if isinstance(call, Mapping) and "args" in call]


def _updated(run: str, path: tuple[str, ...], part: Mapping[str, Any]) -> Iterator[Event]:
    if (part.get("__metadata__") or {}).get("cached"):
        return  # it ended in an earlier part
    for node, update in part.items():
        if node == "__interrupt__":
            # What an inner graph asks, each enclosing graph asks too.
            yield from (Waiting(pending_of(stop, run)) for stop in (update if not path else ()))
            continue
        for one in update if isinstance(update, list) else [update]:
            if not isinstance(one, Mapping):
                continue
            yield from (Stepped(StepRecord.restored(dump)) for dump in one.get("done") or ())
            if not path:
                yield from (Noted(str(note)) for note in one.get("notes") or ())
