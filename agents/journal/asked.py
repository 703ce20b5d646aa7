"""Where an agent that is called by a node or a tool keeps its state: found by what it is asked, not by when.

LangGraph numbers the graphs that a task runs inside it in the order in which they begin. If the task is repeated in
another order, or asks for less, each graph would find the state of another one and return its answer.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from ...configs.process.variables import set_to
from ...dispatch.cache.key import request_digest
from ...dispatch.context import current
from ...dispatch.journal import attempt_of
from ..approval.digests import hashed
from ..spec.declared import declared_by

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

    from ..spec.described import Described

__all__ = ["in_its_place", "only_one"]

_COORDINATES: Final = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
"""A configuration with one of these has its own thread, and LangGraph ignores the enclosing one."""
_PAD: Final = "__pregel_scratchpad"
_READ: Final = "__pregel_read"
_SAVER: Final = "__pregel_checkpointer"
"""What LangGraph passes to a task (`langgraph._internal._constants`); it recreates the second for each task."""
_MODEL_ALONE: Final = frozenset({"__start__", "model"})

_turns: MutableMapping[object, Counter[tuple[int, str]]] = WeakKeyDictionary()
"""For each running task, how often it has asked for what, by attempt."""
_ONLY: ContextVar[object] = ContextVar("pointsman_only", default=None)


def only_one(agent: object) -> AbstractContextManager[None]:
    """Declare that the task asks only this agent, even if it words that differently when it is repeated.

    Args:
        agent: The agent.
    """
    return set_to(_ONLY, agent)


def in_its_place(
    agent: Described,
    graph: CompiledStateGraph[Any, Any, Any, Any],
    asked: tuple[Any, Mapping[str, Any]],
    config: RunnableConfig | None,
) -> tuple[RunnableConfig, str | None, bool]:
    """Return the configuration with which an agent's graph finds its state again.

    An agent without tools is asked again in each attempt at the node, since its answer may be why the previous attempt
    failed. Any other agent continues, so that no act is repeated.

    Args:
        agent: The agent.
        graph: Its graph.
        asked: What the graph is given, and further arguments.
        config: As it was given.

    Returns:
        The configuration; the name of the place, None outside any task; and whether the graph finds its state there,
        which is false if that is stored elsewhere or nowhere.
    """
    own: Mapping[str, Any] = (config or {}).get("configurable") or {}
    around: Mapping[str, Any] = (var_child_runnable_config.get() or {}).get("configurable") or {}
    merged = own if any(own.get(key) for key in _COORDINATES) else {**around, **own}
    task = merged if _PAD in merged else around
    place = task.get("checkpoint_ns")
    if not place or _READ not in task or graph.checkpointer is True:
        return {**(config or {})}, None, False
    attempt = attempt_of(task)
    turns = _turns.setdefault(task[_READ], Counter())
    if agent is _ONLY.get() and not current().agent:
        number = _turn(turns, attempt, "")
    else:
        what = _digest(agent.name, *asked, attempt if frozenset(graph.nodes) <= _MODEL_ALONE else 1)
        named = hashlib.sha256(f"{what} {_turn(turns, attempt, what)}".encode()).hexdigest()
        # LangGraph accepts only digits as a number, and counts its own graphs from 0.
        number = 1 << 60 | int(named[:15], 16)
    name = f"{place}|{number}"
    if task is not merged or not merged.get(_SAVER) or graph.checkpointer is False:
        return {**(config or {})}, name, False
    pad = replace(merged[_PAD], subgraph_counter=lambda: number)
    saver = _making(merged[_SAVER], declared_by([graph.builder.state_schema, agent.output]))
    return {**(config or {}), "configurable": {**own, _PAD: pad, _SAVER: saver}}, name, True


def _making(saver: Any, types: frozenset[tuple[str, ...]]) -> Any:
    """Return the checkpointer of the task, which may also deserialize these types.

    The enclosing graph does not know the agents that code calls, nor their types.
    """
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    # LangGraph logs a warning of any other serializer.
    known = isinstance(getattr(saver, "serde", None), EncryptedSerializer | JsonPlusSerializer)
    return saver.with_allowlist(types) if known else saver


def _turn(turns: Counter[tuple[int, str]], attempt: int, what: str) -> int:
    turns[attempt, what] += 1
    return turns[attempt, what] - 1


def _digest(name: str, given: Any, more: Mapping[str, Any], attempt: int) -> str:
    """Return a digest of what is asked, without message ids and unhashable values, such as an open connection."""
    fields = {**given} if isinstance(given, Mapping) else {"given": given}
    messages = fields.pop("messages", ())
    told = {key: known for key, value in {**fields, **more}.items() if (known := hashed(value)) == hashed(value)}
    facts = {"agent": name, "attempt": attempt, **told}
    return request_digest(messages, tools=(), options={}, facts=facts) or hashed(facts)
