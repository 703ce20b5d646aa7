"""What goes on at the same time ends, before one that failed ends all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from langchain.agents.middleware import AgentMiddleware
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from ..configs.process.variables import set_to
from .around import AsyncToolHandler, ToolAnswer, ToolHandler

if TYPE_CHECKING:
    from langchain.agents.middleware import ToolCallRequest
    from langgraph.types import PregelExecutableTask

__all__ = ["Together", "TogetherMiddleware", "began", "begun", "one_invocation"]

_SUPERSTEP = "__pregel_call"
"""Where LangGraph hands each task the futures of all tasks of its superstep (`langgraph.pregel._runner`)."""

_Futures = Mapping["asyncio.Future[Any]", "PregelExecutableTask | None"]


class Together:
    """The tasks of one superstep of a graph.

    LangGraph cancels the others when one raises. What they had done by then would be done again when the graph is taken
    up, so the error is held back until LangGraph has noted the end of every other task that had begun; no further task
    begins.

    Args:
        futures: Those of the superstep's tasks, kept so that their id stays theirs.
    """

    def __init__(self, futures: _Futures | None = None) -> None:
        self._futures = futures
        self._begun: set[str] = set()
        self._failed: list[str] = []
        self._failing = asyncio.Event()

    @classmethod
    def of_superstep(cls) -> Together:
        """The tasks of the superstep that this code runs in; each run and each invocation of a graph has its own."""
        _, futures = _superstep()
        return _supersteps.setdefault(id(futures), cls(futures))

    @asynccontextmanager
    async def task(self) -> AsyncIterator[None]:
        """One of the tasks; an error of the block is raised once the other tasks have ended."""
        if self._failed:
            # As a task that is interrupted it stays to be done, and does not hide the error.
            raise GraphInterrupt
        mine, futures = _superstep()
        self._begun.add(mine)
        try:
            yield
        except GraphBubbleUp:
            raise
        except Exception:
            await self._others(mine, futures)
            raise

    async def _others(self, mine: str, futures: _Futures) -> None:
        # Of two that fail the second waits for the first, and is cancelled by it.
        first = set(self._failed)
        self._failed.append(mine)
        # Whoever waits already is woken, whether that wait has begun to run or not; whoever comes waits for the next.
        self._failing.set()
        self._failing = asyncio.Event()
        while True:
            others = self._begun.difference(self._failed) | first
            running = [future for future, task in futures.items() if task and task.id in others and not future.done()]
            if not running:
                return
            failing = asyncio.ensure_future(self._failing.wait())
            try:
                await asyncio.wait([*running, failing], return_when=asyncio.FIRST_COMPLETED)
            finally:
                failing.cancel()


def _superstep() -> tuple[str, _Futures]:
    """The task this runs in, and the futures of all tasks of its superstep, whose callbacks note their ends."""
    call = get_config()["configurable"].get(_SUPERSTEP)
    # A node with a time-out of its own has something else there, which tells nothing.
    if not isinstance(call, partial):
        return "", {}
    return call.args[0]().id, call.keywords["futures"]()


_supersteps: WeakValueDictionary[int, Together] = WeakValueDictionary()
_INVOCATION: ContextVar[Together | None] = ContextVar("pointsman_invocation", default=None)


def one_invocation() -> AbstractContextManager[None]:
    """Take the tool calls made inside the block for those of one agent."""
    return set_to(_INVOCATION, Together())


_ATTEMPTS: ContextVar[list[None] | None] = ContextVar("pointsman_attempts", default=None)


def _one_call() -> AbstractContextManager[None]:
    return set_to(_ATTEMPTS, [])


def began() -> None:
    """Note that the tool call which is being made gets to its tool now."""
    if (attempts := _ATTEMPTS.get()) is not None:
        attempts.append(None)


def begun() -> bool:
    """Whether the tool call which is being made got to its tool before, and somebody now makes it again."""
    return bool(_ATTEMPTS.get())


class TogetherMiddleware(AgentMiddleware[Any, Any]):
    """Let the other tool calls of a turn end before one that raised ends the agent; it stands outside all others."""

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncToolHandler) -> ToolAnswer:
        """Make the call as one of its turn."""
        invocation = _INVOCATION.get()
        with _one_call():
            if invocation is None:
                return await handler(request)
            async with invocation.task():
                return await handler(request)

    def wrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolAnswer:
        """Make the call; in synchronous code nothing is cancelled."""
        with _one_call():
            return handler(request)
