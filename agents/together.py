"""Let concurrent work finish before one failure ends all of it."""

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
"""Where LangGraph passes each task the futures of all tasks of its superstep (`langgraph.pregel._runner`)."""

_Futures = Mapping["asyncio.Future[Any]", "PregelExecutableTask | None"]


class Together:
    """The tasks of one superstep of a graph.

    LangGraph cancels the others when one raises. What they had done by then would be repeated when the graph is
    resumed, so the error is held back until LangGraph has recorded the end of every other task that had begun; no
    further task begins.

    Args:
        futures: Those of the superstep's tasks, referenced so that their ``id()`` is not reused.
    """

    def __init__(self, futures: _Futures | None = None) -> None:
        self._futures = futures
        self._begun: set[str] = set()
        self._failed: list[str] = []
        self._failing = asyncio.Event()

    @classmethod
    def of_superstep(cls) -> Together:
        """Return the tasks of the current superstep; each run and each invocation of a graph has its own."""
        _, futures = _superstep()
        return _supersteps.setdefault(id(futures), cls(futures))

    @asynccontextmanager
    async def task(self) -> AsyncIterator[None]:
        """Run the block as one of the tasks; its error is raised once the other tasks have ended."""
        if self._failed:
            # As an interrupted task it remains to be done, and does not hide the error.
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
        # If two fail, the second waits for the first and is cancelled by it.
        first = set(self._failed)
        self._failed.append(mine)
        # Wakes all current waiters, whether or not their wait has begun to run; later ones wait for the next event.
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
    """Return the current task and the futures of all tasks of its superstep, whose callbacks record their ends."""
    call = get_config()["configurable"].get(_SUPERSTEP)
    # A node with its own timeout has something else there, which is of no use here.
    if not isinstance(call, partial):
        return "", {}
    return call.args[0]().id, call.keywords["futures"]()


_supersteps: WeakValueDictionary[int, Together] = WeakValueDictionary()
_INVOCATION: ContextVar[Together | None] = ContextVar("pointsman_invocation", default=None)


def one_invocation() -> AbstractContextManager[None]:
    """Treat the tool calls made inside the block as those of one agent."""
    return set_to(_INVOCATION, Together())


_ATTEMPTS: ContextVar[list[None] | None] = ContextVar("pointsman_attempts", default=None)


def _one_call() -> AbstractContextManager[None]:
    return set_to(_ATTEMPTS, [])


def began() -> None:
    """Record that the current tool call reaches its tool now."""
    if (attempts := _ATTEMPTS.get()) is not None:
        attempts.append(None)


def begun() -> bool:
    """Return whether the current tool call reached its tool before and is now being repeated."""
    return bool(_ATTEMPTS.get())


class TogetherMiddleware(AgentMiddleware[Any, Any]):
    """Let the other tool calls of a turn end before one that raised ends the agent; it is the outermost middleware."""

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
