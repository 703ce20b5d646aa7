"""Types for the calls that an agent's middleware wraps, and a base class that inspects each model call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command

__all__ = [
    "AsyncModelHandler",
    "AsyncToolHandler",
    "ModelAnswer",
    "ModelHandler",
    "ToolAnswer",
    "ToolHandler",
    "TurnMiddleware",
]

ToolAnswer: TypeAlias = ToolMessage | Command[Any]
ToolHandler: TypeAlias = Callable[[ToolCallRequest], ToolAnswer]
AsyncToolHandler: TypeAlias = Callable[[ToolCallRequest], Awaitable[ToolAnswer]]
ModelAnswer: TypeAlias = ModelResponse | AIMessage
ModelHandler: TypeAlias = Callable[[ModelRequest], ModelResponse]
AsyncModelHandler: TypeAlias = Callable[[ModelRequest], Awaitable[ModelResponse]]


class TurnMiddleware(AgentMiddleware[Any, Any]):
    """Inspect each call of an agent's model before it is made."""

    def wrap_model_call(self, request: ModelRequest, handler: ModelHandler) -> ModelAnswer:
        """Inspect the call, then make it."""
        return handler(self.seen(request))

    async def awrap_model_call(self, request: ModelRequest, handler: AsyncModelHandler) -> ModelAnswer:
        """Inspect the call, then make it."""
        return await handler(self.seen(request))

    @abstractmethod
    def seen(self, request: ModelRequest) -> ModelRequest:
        """Return the call to make instead; raise if none is to be made."""
