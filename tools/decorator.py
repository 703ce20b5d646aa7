"""``@tool`` and `declare`: create a LangChain tool with a declared effect."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar, Unpack, overload

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import ValidationError

from ..configs.arguments import UnknownArgument, refused
from ..configs.errors import ConfigError
from ..configs.loading.layers import suggest
from ..configs.words import Effect, EffectName, Trust, TrustName
from .base import DECLARED, Declaration, EffectRule, PreviewRule, ToolFailed
from .exits import Exits
from .limits import limited, within, within_thread
from .results import TellingTool, as_told
from .secrets import with_secrets
from .threads import THREADS, in_thread

__all__ = ["declare", "tool"]

Function = Callable[..., Any]
AnyTool = TypeVar("AnyTool", bound=BaseTool)
AnyEffect = EffectName | Effect | EffectRule


class Declared(TypedDict, total=False):
    """The arguments of `tool` and `declare` besides the effect; see the attributes of `Declaration`.

    Attributes:
        target_args: One name or several.
        target: The same for a single name.
    """

    target_args: str | Sequence[str]
    target: str | None
    reversible: bool
    only_reads: bool
    confined: bool
    idempotent: bool
    timeout: float | None
    secrets: Mapping[str, str]
    trust: Trust | TrustName
    evidence: bool
    preview: PreviewRule | None
    sandbox: str
    risk_of: EffectRule | None


class Described(Declared, total=False):
    """The arguments of `tool` besides the effect; name and description default to those of the function.

    Attributes:
        name: What the model calls it.
        description: What the model reads.
    """

    name: str | None
    description: str | None


@overload
def tool(function: Function, /, *, effect: AnyEffect, **declared: Unpack[Described]) -> StructuredTool: ...


@overload
def tool(*, effect: AnyEffect, **declared: Unpack[Described]) -> Callable[[Function], StructuredTool]: ...


def tool(
    function: Function | None = None, /, *, effect: AnyEffect, **declared: Unpack[Described]
) -> StructuredTool | Callable[[Function], StructuredTool]:
    """Make a LangChain tool of a typed function, sync or async, and declare what it does.

    The docstring tells the model what the tool is for; an ``Args:`` section in Google style describes the arguments,
    which pydantic validates. `ToolFailed`, a timeout, and exceptions that would end more than the tool (``sys.exit``,
    KeyboardInterrupt, StopIteration) are reported to the model; every other exception propagates. If the result is a
    pydantic model or dataclass, the model reads its JSON; for bytes it reads only their number, and for a very long
    text the beginning and the end.

    Under ``ainvoke`` a sync function runs in its own thread, so it may block, and may call agents with ``invoke``. An
    async function runs on the event loop and stops all other runs while it blocks: use await, or make it sync. It can
    also be called with ``invoke``. After a timeout, a sync function continues in its thread, and its result is dropped.

    Args:
        function: The function; absent when used as ``@tool(effect=...)``.
        effect: ``read``, ``write``, ``external`` or ``destructive``, the worst it does, which a step is planned by; or
            a function that returns the effect of one call from its validated arguments, with or without reasons.
        declared: ``name`` and ``description`` for the model, if not the function's own; ``target_args``,
            ``reversible``, ``only_reads``, ``confined``, ``idempotent``, ``timeout``, ``secrets``, ``trust``,
            ``evidence``, ``preview``, ``sandbox`` and ``risk_of``, as in `Declaration`. A secret is passed to the
            function under the argument's name, never to the model; if the result contains it, the model reads a mark
            instead.

    Raises:
        ConfigError: If the effect is not one of the four, a target or secret is not an argument, the tool has no
            description, the timeout is not a number of seconds, or ``only_reads`` is set on a tool that is not
            ``external``.
    """
    if function is None:
        return lambda decorated: tool(decorated, effect=effect, **declared)
    others: dict[str, Any] = {**declared}
    name, description = others.pop("name", None) or function.__name__, others.pop("description", None)
    if not (description or inspect.getdoc(function)):
        raise ConfigError(f"the tool {function.__name__!r} needs a docstring: it is what the model reads")
    said = _declaration(name, effect, **others)
    if said.secrets:
        function = with_secrets(function, name, said.secrets)
    is_async = inspect.iscoroutinefunction(function)
    coroutine = _told_async(function, name, said.timeout) if is_async else _in_thread(function, name, said.timeout)
    made = TellingTool.from_function(
        func=_driven(coroutine) if is_async else _told(function, name, said.timeout),
        coroutine=coroutine,
        name=name,
        description=description,
        parse_docstring=True,
        handle_tool_error=True,
    )
    return _declaring(made, said)


def declare(tool: AnyTool, /, *, effect: AnyEffect, **declared: Unpack[Declared]) -> AnyTool:
    """Return a copy of a LangChain tool with a declaration; the arguments are those of `tool`.

    A ``timeout`` applies when an agent calls the tool. ``secrets`` work only for functions under ``@tool``.

    Raises:
        ConfigError: If it is not a LangChain tool, or as for `tool`.
    """
    if not isinstance(tool, BaseTool):
        shown = getattr(tool, "__name__", type(tool).__name__)
        raise ConfigError(f'{shown} is not a LangChain tool: a function becomes one by @tool(effect="…") above it')
    if declared.get("secrets"):
        raise ConfigError(f"the tool {tool.name!r}: only a function under @tool can be handed secrets")
    return _declaring(tool, _declaration(tool.name, effect, **declared))


def _declaring(tool: AnyTool, declaration: Declaration) -> AnyTool:
    unknown = next((name for name in declaration.target_args if name not in tool.args), None)
    if unknown is not None:
        raise ConfigError(
            f"the tool {tool.name!r} has no argument {unknown!r} to name its target; "
            f"it has {', '.join(tool.args) or 'none'}"
        )
    return tool.model_copy(update={"metadata": {**(tool.metadata or {}), DECLARED: declaration}})


def _declaration(name: str, effect: AnyEffect, target: str | None = None, **declared: Any) -> Declaration:
    unknown = next((key for key in declared if key not in Declared.__annotations__), None)
    if unknown is not None:
        raise UnknownArgument(f"the declaration of the tool {name!r}", unknown, ["effect", *Declared.__annotations__])
    if callable(effect):
        if declared.get("risk_of") is not None:
            raise ConfigError(f"the tool {name!r}: its effect is a function already; leave risk_of out")
        declared["risk_of"] = effect
    worst = Effect.DESTRUCTIVE if callable(effect) else _effect_named(effect, name)
    if declared.get("only_reads") and worst is not Effect.EXTERNAL:
        raise ConfigError(f"the tool {name!r}: only_reads goes with the effect 'external'; leave it out")
    if declared.get("only_reads") and declared.get("risk_of") is not None:
        raise ConfigError(f"the tool {name!r}: what only reads needs no risk_of; leave one of them out")
    timeout = declared.get("timeout")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0):
        raise ConfigError(f"the tool {name!r}: timeout is {timeout!r}: give a number of seconds above 0")
    targets = declared.pop("target_args", ()) if target is None else target
    target_args = (targets,) if isinstance(targets, str) else tuple(targets)
    try:
        return Declaration(effect=worst, target_args=target_args, **declared)
    except ValidationError as error:
        raise ConfigError(f"the tool {name!r}: {refused(error, name, list(Declared.__annotations__))}") from None


def _effect_named(name: str, tool_name: str) -> Effect:
    try:
        return Effect(name)
    except ValueError:
        wrong = f"the tool {tool_name!r} declares the effect {name!r}, which is not one of {', '.join(Effect)}"
        raise ConfigError(wrong + suggest(str(name), Effect)) from None


def _told(function: Function, name: str, timeout: float | None) -> Function:
    """Convert `ToolFailed` to a ToolException, which LangChain reports to the model."""

    @functools.wraps(function)
    def told(*args: Any, **kwargs: Any) -> Any:
        def call() -> Any:
            with Exits(name):
                return as_told(function(*args, **kwargs))

        try:
            return call() if timeout is None else within_thread(call, name, timeout)
        except ToolFailed as failure:
            raise ToolException(str(failure)) from failure

    return told


def _told_async(function: Function, name: str, timeout: float | None) -> Function:
    @functools.wraps(function)
    async def told(*args: Any, **kwargs: Any) -> Any:
        async def call() -> Any:
            with Exits(name):
                return as_told(await function(*args, **kwargs))

        try:
            return await limited(call, name, timeout)
        except ToolFailed as failure:
            raise ToolException(str(failure)) from failure

    return told


def _in_thread(function: Function, name: str, timeout: float | None) -> Function:
    """Derive the async form; LangChain's own would wait for one of the event loop's few threads."""
    told = _told(function, name, None)

    @functools.wraps(function)
    async def threaded(*args: Any, **kwargs: Any) -> Any:
        try:
            async with within(name, timeout):
                return await in_thread(told, *args, **kwargs)
        except ToolFailed as failure:
            raise ToolException(str(failure)) from failure

    return threaded


def _driven(coroutine: Function) -> Function:
    """Derive the sync form, which LangChain does not provide."""

    @functools.wraps(coroutine)
    def driven(*args: Any, **kwargs: Any) -> Any:
        def drive() -> Any:
            return asyncio.run(coroutine(*args, **kwargs))

        if asyncio._get_running_loop() is None:
            return drive()
        # An event loop is already running in this thread, and a second one is not possible.
        return THREADS.submit(contextvars.copy_context().run, drive).result()

    return driven
