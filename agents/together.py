"""What goes on at the same time ends, before one that failed ends all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage
from langgraph.errors import GraphBubbleUp

if TYPE_CHECKING:
    from langchain.agents.middleware import ToolCallRequest
    from langgraph.types import Command

__all__ = ["Together", "TogetherMiddleware", "one_invocation"]

_TURNS = 50
"""Turns of the event loop within which LangGraph surely has noted that a task ended: it takes about five."""


class Together:
    """The tasks of one superstep of a graph.

    LangGraph cancels the others when one raises. What they had done by then would be done again when the graph is taken
    up, so the error is held back until they have ended, and been noted.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Future[None]] = set()

    @asynccontextmanager
    async def task(self) -> AsyncIterator[None]:
        """One of the tasks; an error of the block is raised once the other tasks have ended."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running.add(ended)
        try:
            yield
        except GraphBubbleUp:
            raise
        except Exception:
            # Two that fail must not wait for each other.
            self._end(ended)
            await self._others()
            raise
        finally:
            self._end(ended)

    def _end(self, task: asyncio.Future[None]) -> None:
        self._running.discard(task)
        if not task.done():
            task.set_result(None)

    async def _others(self) -> None:
        while self._running:
            await asyncio.wait(self._running)
        for _ in range(_TURNS):
            await asyncio.sleep(0)


_INVOCATION: ContextVar[Together | None] = ContextVar("pointsman_invocation", default=None)


@contextmanager
def one_invocation() -> Iterator[None]:
    """Take the tool calls made inside the block for those of one agent."""
    token = _INVOCATION.set(Together())
    try:
        yield
    finally:
        _INVOCATION.reset(token)


class TogetherMiddleware(AgentMiddleware[Any, Any]):
    """Let the other tool calls of a turn end before one that raised ends the agent."""

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Make the call as one of its turn."""
        invocation = _INVOCATION.get()
        if invocation is None:
            return await handler(request)
        async with invocation.task():
            return await handler(request)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Make the call; in synchronous code nothing is cancelled."""
        return handler(request)
