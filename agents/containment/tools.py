"""Containment: any tool blocks only its own thread and ends only itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial, wraps
from types import new_class
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, Tool

from ...configs.plain import plain, plain_content
from ...configs.process.variables import set_to
from ...dispatch.context import current, entered
from ...tools.base import ToolFailed, declaration_of
from ...tools.exits import Exits
from ...tools.limits import limited, within_thread
from ...tools.results import TellingTool, as_read
from ...tools.threads import in_thread
from ..approval.taint import SEEN, View
from ..around import AsyncToolHandler, ToolAnswer, ToolHandler
from ..together import began

if TYPE_CHECKING:
    from langchain.agents.middleware import ToolCallRequest
    from langchain_core.messages import BaseMessage

__all__ = ["ContainmentMiddleware"]


class ContainmentMiddleware(AgentMiddleware[Any, Any]):
    """Do for any tool what `pointsman.tool` does for its own.

    A tool without async code runs in its own thread: LangChain would take one of the event loop's few, and tools that
    wait for other tools would wait forever. An exit that would end more than the tool is reported to the model, objects
    are passed to it as JSON, and a tool's output contains nothing that a terminal would interpret. What a tool asks of
    other agents is trusted no further than what this one has in view.

    Args:
        view: Returns what a conversation of the agent shows.
    """

    def __init__(self, view: Callable[[Sequence[BaseMessage]], View]) -> None:
        super().__init__()
        self._view = view

    @contextmanager
    def _seeing(self, request: ToolCallRequest) -> Iterator[None]:
        """Let the tool know the conversation, and whatever it starts how far that is trusted."""
        messages = request.state["messages"]
        trust = self._view(messages).trust
        with set_to(SEEN, messages), entered(trust=min(current().trust, trust), by_user=False):
            yield

    def wrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolAnswer:
        """Run the tool in the caller's thread, or in a thread of its own if it has a time limit."""
        if request.tool is not None:
            began()
            request = request.override(tool=_contained(request.tool, sync=True))
        name, seconds = request.tool_call["name"], _seconds(request.tool)
        try:
            with Exits(name), self._seeing(request):
                return _plain(
                    handler(request) if seconds is None else within_thread(partial(handler, request), name, seconds)
                )
        except ToolFailed as failure:
            return _told(request, failure)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncToolHandler) -> ToolAnswer:
        """Run the tool, in a thread of its own if it may block."""
        if request.tool is not None:
            began()
            request = request.override(tool=_contained(request.tool))
        name = request.tool_call["name"]

        async def call() -> ToolAnswer:
            with Exits(name), self._seeing(request):
                return _plain(await handler(request))

        try:
            return await limited(call, name, _seconds(request.tool))
        except ToolFailed as failure:
            return _told(request, failure)


def _seconds(tool: BaseTool | None) -> float | None:
    """Return the seconds that a call may take; None if it has no limit, or the tool enforces it itself."""
    declared = None if isinstance(tool, TellingTool) else declaration_of(tool)
    return None if declared is None else declared.timeout


def _contained(tool: BaseTool, *, sync: bool = False) -> BaseTool:
    """Return a view of a tool that shares its state, returns what a model reads, and has a contained async form."""
    look = object.__new__(_kind(type(tool), getattr(tool, "coroutine", None) is not None, sync))
    for slot in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(look, slot, getattr(tool, slot))
    return look


@lru_cache(maxsize=256)
def _kind(kind: type[BaseTool], has_coroutine: bool, sync: bool) -> type[BaseTool]:
    derived = kind._arun is BaseTool._arun
    if kind._arun in (StructuredTool._arun, Tool._arun):
        derived = not has_coroutine

    async def ainvoke(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        return await in_thread(self.invoke, *args, **kwargs)

    @wraps(kind._run)
    def _run(self: BaseTool, /, *args: Any, **kwargs: Any) -> Any:
        return as_read(kind._run(self, *args, **kwargs), self)

    # LangChain runs it in a separate task, from which some exits would end the event loop.
    @wraps(kind._arun)
    async def _arun(self: BaseTool, /, *args: Any, **kwargs: Any) -> Any:
        with Exits(self.name):
            return as_read(await kind._arun(self, *args, **kwargs), self)

    # Override only what LangChain calls: one form of a tool may call the other, and expects the object.
    own: dict[str, Any] = {"_arun": _arun}
    if sync:
        own = {"_run": _run}
    elif derived and kind.ainvoke in (BaseTool.ainvoke, StructuredTool.ainvoke, Tool.ainvoke):
        own = {"_run": _run, "ainvoke": ainvoke}
    made: type[BaseTool] = new_class(kind.__name__, (kind,), exec_body=lambda space: space.update(own))
    return made


def _plain(answer: ToolAnswer) -> ToolAnswer:
    if isinstance(answer, ToolMessage):
        content = plain_content(answer.content)
        return answer if content is answer.content else answer.model_copy(update={"content": content})
    update = answer.update
    if isinstance(update, dict) and isinstance(messages := update.get("messages"), list):
        said = [_plain(message) if isinstance(message, ToolMessage) else message for message in messages]
        return replace(answer, update={**update, "messages": said})
    return answer


def _told(request: ToolCallRequest, failure: ToolFailed) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(plain(str(failure)), name=call["name"], tool_call_id=call["id"], status="error")
