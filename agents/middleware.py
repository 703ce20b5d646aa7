"""What a user's middleware may do to an agent, and how Pointsman's own is placed around it.

Of the hooks around a tool call, the user's are outside and Pointsman's inside. So whatever the user's hooks do with a
call, change it or repeat it, a person and a verifier judge the exact call that would happen, and the ledger has it
first.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import OmitFromInput
from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import AnyMessage, BaseMessage, ToolMessage

from ..configs.errors import ConfigError
from ..configs.words import Effect, Trust
from ..dispatch.model import RoutedChatModel
from ..tools.base import declaration_of
from ..tools.decorator import declare
from ..tools.threads import in_thread
from .approval.acts import acts
from .around import AsyncToolHandler, ToolAnswer, ToolHandler, TurnMiddleware
from .containment.exits import caught
from .together import begun

if TYPE_CHECKING:
    from langchain.agents.middleware import ModelRequest, ToolCallRequest
    from langchain_core.tools import BaseTool

__all__ = ["KEPT", "KeepMiddleware", "OnceMiddleware", "RoutedMiddleware", "hooks", "middleware_of"]

KEPT: Final = "pointsman_kept"
"""The field of an agent's state that holds what its middleware may since have removed from the conversation."""

_TRUSTS: Final[Mapping[str, Mapping[str, Trust]]] = {
    "langchain.agents.middleware.todo": {"write_todos": Trust.TOOL},
    "langchain.agents.middleware.file_search": {"glob_search": Trust.UNTRUSTED, "grep_search": Trust.UNTRUSTED},
}
"""Module -> trust of the tools that LangChain's own middleware of that module adds, which only read: a to-do list
exists only in the state of the graph, and repeats what the model itself wrote. A tool that is not listed here declares
its effect or counts as destructive."""

_NODES: Final = ("before_model", "after_model")
"""The hooks that take a separate superstep in each turn."""


def middleware_of(agent: str, given: Any) -> tuple[AgentMiddleware[Any, Any], ...]:
    """Check the middleware given to an agent, and declare the effects of LangChain's own tools.

    Args:
        agent: Its name, for the message.
        given: What was given.

    Raises:
        ConfigError: It is not a list of middleware, two share a name, or one has its own model, which nothing would
            route, bound or record.
    """
    if isinstance(given, AgentMiddleware) or not isinstance(given, Iterable):
        raise ConfigError(f"agent {agent!r}: middleware must be a list, such as middleware=[TodoListMiddleware()]")
    made: tuple[Any, ...] = tuple(given)
    for one in made:
        if not isinstance(one, AgentMiddleware):
            shown = getattr(one, "__name__", type(one).__name__)
            raise ConfigError(f"agent {agent!r}: {shown} is no middleware; give objects such as TodoListMiddleware()")
        if any(not isinstance(model, RoutedChatModel) for model in _models(one)):
            raise ConfigError(
                f"agent {agent!r}: {one.name} calls a model of its own, which would be neither routed nor bounded nor "
                "recorded: give it RoutedChatModel(task=…), and leave it out where it only chooses among models"
            )
    names = [one.name for one in made]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"agent {agent!r}: two of its middleware are called {twice!r}; leave one out")
    return tuple(_runnable(_declared(one)) for one in made)


def hooks(middleware: Sequence[AgentMiddleware[Any, Any]]) -> int:
    """Return the number of supersteps that middleware adds to each turn of an agent.

    Args:
        middleware: All of the agent's.
    """
    return sum(
        getattr(type(one), name) is not getattr(AgentMiddleware, name)
        or getattr(type(one), f"a{name}") is not getattr(AgentMiddleware, f"a{name}")
        for one in middleware
        for name in _NODES
    )


def _models(middleware: AgentMiddleware[Any, Any]) -> Iterator[BaseLanguageModel[Any]]:
    for value in vars(middleware).values():
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else (value,)
        yield from (one for one in inner if isinstance(one, BaseLanguageModel))


def _declared(middleware: AgentMiddleware[Any, Any]) -> AgentMiddleware[Any, Any]:
    known = _TRUSTS.get(type(middleware).__module__, {})
    tools: list[BaseTool] = list(getattr(middleware, "tools", ()))
    if not any(tool.name in known and declaration_of(tool) is None for tool in tools):
        return middleware
    twin = copy.copy(middleware)
    twin.tools = [
        declare(tool, effect=Effect.READ, trust=known[tool.name])
        if tool.name in known and declaration_of(tool) is None
        else tool
        for tool in tools
    ]
    return twin


_WRAPS: Final = ("wrap_model_call", "wrap_tool_call")
_HOOKS: Final = ("before_agent", *_NODES, "after_agent", *_WRAPS)


def _runnable(middleware: AgentMiddleware[Any, Any]) -> AgentMiddleware[Any, Any]:
    """Return middleware as an agent's graph can run it: each hook contained, as LangChain runs it in a separate task.

    Runs are asynchronous throughout, so a hook around calls that has only the synchronous form gets an asynchronous
    one, which runs it in its own thread.
    """
    kind = type(middleware)
    own = {
        form: getattr(kind, form)
        for name in _HOOKS
        for form in (name, f"a{name}")
        if getattr(kind, form) is not getattr(AgentMiddleware, form)
    }
    own.update({f"a{name}": _derived(name) for name in _WRAPS if name in own and f"a{name}" not in own})
    if not own:
        return middleware
    where = f"the middleware {middleware.name!r}"
    twin = copy.copy(middleware)
    # A middleware is identified by the name of its class.
    hooks = {form: caught(hook, f"{where} ({form})") for form, hook in own.items()}
    twin.__class__ = type(kind.__name__, (kind,), {**hooks, "__module__": kind.__module__})
    return twin


def _derived(name: str) -> Callable[..., Awaitable[Any]]:
    async def hook(self: Any, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        loop = asyncio.get_running_loop()

        async def handled(inner: Any) -> Any:
            return await handler(inner)

        def call(inner: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(handled(inner), loop).result()

        return await in_thread(getattr(self, name), request, call)

    return hook


class RoutedMiddleware(TurnMiddleware):
    """Refuse a model call that another middleware gave to a model that Pointsman does not route.

    Args:
        agent: Name of the agent.
    """

    def __init__(self, agent: str) -> None:
        super().__init__()
        self._agent = agent

    def seen(self, request: ModelRequest) -> ModelRequest:
        """Return the call if its model is routed; raise otherwise."""
        if not isinstance(request.model, RoutedChatModel):
            raise ConfigError(
                f"agent {self._agent!r}: a middleware gave this turn to {type(request.model).__name__}, which would be "
                "neither routed nor bounded nor recorded: choose among models by tier=, model= and routing.yaml"
            )
        return request


class OnceMiddleware(AgentMiddleware[Any, Any]):
    """Refuse to repeat a call that does more than read if its first attempt began and raised.

    Middleware that retries is outside this one, and it is unknown what the first attempt did before it failed.
    """

    def wrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> ToolAnswer:
        """Make the call, unless it was begun before."""
        return _again(request) or handler(request)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncToolHandler) -> ToolAnswer:
        """Make the call, unless it was begun before."""
        return _again(request) or await handler(request)


def _again(request: ToolCallRequest) -> ToolMessage | None:
    tool, call = request.tool, request.tool_call
    if tool is None or not begun() or not acts(tool, call["args"]):
        return None
    said = (
        f"{call['name']} was not called again: its first attempt failed, and may have done something before it did. "
        "Look at what has happened before you go on."
    )
    return ToolMessage(said, name=call["name"], tool_call_id=call["id"], status="error")


def _joined(left: list[BaseMessage], right: list[BaseMessage]) -> list[BaseMessage]:
    return list({message.id: message for message in (*left, *right)}.values())


class _KeepState(AgentState[Any]):
    pointsman_kept: NotRequired[Annotated[list[AnyMessage], _joined, OmitFromInput]]


class KeepMiddleware(AgentMiddleware[Any, Any]):
    """Keep what an agent has said and done before other middleware removes it from the conversation.

    It comes before all others. A step is recognized by its messages: without them its acts would be forgotten.
    """

    state_schema = _KeepState

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any]:
        """Keep the messages so far."""
        return {KEPT: list(state["messages"])}

    async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any]:
        """Keep the messages so far."""
        return self.before_model(state, runtime)
