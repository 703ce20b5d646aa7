"""``@tool`` and `declare`: a LangChain tool together with the effect it has."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar, overload

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from ..configs.errors import ConfigError
from ..configs.words import Effect, EffectName
from .base import DECLARED, Declaration, EffectRule, PreviewRule, ToolFailed
from .exits import Exits
from .results import TellingTool, as_told
from .threads import THREADS, in_thread

__all__ = ["declare", "tool"]

Function = Callable[..., Any]
AnyTool = TypeVar("AnyTool", bound=BaseTool)


@overload
def tool(
    function: Function,
    /,
    *,
    effect: EffectName | Effect | EffectRule,
    target: str | None = None,
    reversible: bool = False,
    only_reads: bool = False,
    preview: PreviewRule | None = None,
    name: str | None = None,
    description: str | None = None,
) -> StructuredTool: ...


@overload
def tool(
    *,
    effect: EffectName | Effect | EffectRule,
    target: str | None = None,
    reversible: bool = False,
    only_reads: bool = False,
    preview: PreviewRule | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Callable[[Function], StructuredTool]: ...


def tool(
    function: Function | None = None,
    /,
    *,
    effect: EffectName | Effect | EffectRule,
    target: str | None = None,
    reversible: bool = False,
    only_reads: bool = False,
    preview: PreviewRule | None = None,
    name: str | None = None,
    description: str | None = None,
) -> StructuredTool | Callable[[Function], StructuredTool]:
    """Make a LangChain tool of a typed function, sync or async, and declare what it does.

    The docstring tells the model what the tool is for; an ``Args:`` section in Google's style describes the
    arguments, which pydantic validates. `ToolFailed` is told to the model, and so is what would end more than the
    tool (``sys.exit``, KeyboardInterrupt, StopIteration); every other exception propagates. Of a pydantic model or
    dataclass the model reads the JSON, of bytes only how many there are. Under ``ainvoke`` a sync function runs in a
    thread of its own, so it may block, and may call agents with ``invoke``. An async function, which ``invoke`` calls
    too, runs on the event loop and stops all other runs while it blocks.

    Args:
        function: The function; absent when used as ``@tool(effect=...)``.
        effect: ``read``, ``write``, ``external``, ``destructive``, or a function that tells it of validated arguments.
        target: The argument that names what a call acts on.
        reversible: What the tool does can be undone.
        only_reads: It changes nothing anywhere, although it leaves the machine; with ``external`` alone.
        preview: A function that tells, from its validated arguments, what a call would change, to be shown before it.
        name: What the model calls it; the function's name when absent.
        description: What the model reads; the docstring when absent.

    Raises:
        ConfigError: When the effect is not one of the four, the target is no argument, nothing describes the tool, or a
            tool that is not ``external`` is said to read only.
    """
    if function is None:
        return functools.partial(
            tool,
            effect=effect,
            target=target,
            reversible=reversible,
            only_reads=only_reads,
            preview=preview,
            name=name,
            description=description,
        )
    if not (description or inspect.getdoc(function)):
        raise ConfigError(f"the tool {function.__name__!r} needs a docstring: it is what the model reads")
    name = name or function.__name__
    is_async = inspect.iscoroutinefunction(function)
    coroutine = _told_async(function, name) if is_async else _in_thread(_told(function, name))
    made = TellingTool.from_function(
        func=_driven(coroutine) if is_async else _told(function, name),
        coroutine=coroutine,
        name=name,
        description=description,
        parse_docstring=True,
        handle_tool_error=True,
    )
    return declare(made, effect=effect, target=target, reversible=reversible, only_reads=only_reads, preview=preview)


def declare(
    tool: AnyTool,
    /,
    *,
    effect: EffectName | Effect | EffectRule,
    target: str | None = None,
    reversible: bool = False,
    only_reads: bool = False,
    preview: PreviewRule | None = None,
) -> AnyTool:
    """Return a copy of any LangChain tool that declares what it does; the arguments are those of `tool`.

    Raises:
        ConfigError: When it is not a LangChain tool, the effect is not one of the four, the target is no argument of
            the tool, or a tool that is not ``external`` is said to read only.
    """
    if not isinstance(tool, BaseTool):
        shown = getattr(tool, "__name__", type(tool).__name__)
        raise ConfigError(f'{shown} is not a LangChain tool: a function becomes one by @tool(effect="…") above it')
    if target is not None and target not in tool.args:
        raise ConfigError(
            f"the tool {tool.name!r} has no argument {target!r} to name its target; "
            f"it has {', '.join(tool.args) or 'none'}"
        )
    rule = effect if callable(effect) else None
    worst = Effect.DESTRUCTIVE if callable(effect) else _effect_named(effect, tool.name)
    if only_reads and worst is not Effect.EXTERNAL:
        raise ConfigError(f"the tool {tool.name!r}: only_reads goes with the effect 'external'; leave it out")
    declaration = Declaration(
        effect=worst, rule=rule, target=target, reversible=reversible, only_reads=only_reads, preview=preview
    )
    return tool.model_copy(update={"metadata": {**(tool.metadata or {}), DECLARED: declaration}})


def _effect_named(name: str, tool_name: str) -> Effect:
    try:
        return Effect(name)
    except ValueError:
        choices = [effect.value for effect in Effect]
        near = get_close_matches(str(name), choices, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"the tool {tool_name!r} declares the effect {name!r}, which is not one of {', '.join(choices)}{meant}"
        ) from None


def _told(function: Function, name: str) -> Function:
    """Have `ToolFailed` reach the model: LangChain tells it a ToolException."""

    @functools.wraps(function)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            with Exits(name):
                return as_told(function(*args, **kwargs))
        except ToolFailed as failure:
            raise ToolException(str(failure)) from failure

    return told


def _told_async(function: Function, name: str) -> Function:
    @functools.wraps(function)
    async def told(*args: Any, **kwargs: Any) -> Any:
        try:
            with Exits(name):
                return as_told(await function(*args, **kwargs))
        except ToolFailed as failure:
            raise ToolException(str(failure)) from failure

    return told


def _in_thread(function: Function) -> Function:
    """Derive the async form: LangChain's own waits for one of the event loop's few threads."""

    @functools.wraps(function)
    async def threaded(*args: Any, **kwargs: Any) -> Any:
        return await in_thread(function, *args, **kwargs)

    return threaded


def _driven(coroutine: Function) -> Function:
    """Derive the sync form, which LangChain does not."""

    @functools.wraps(coroutine)
    def driven(*args: Any, **kwargs: Any) -> Any:
        def drive() -> Any:
            return asyncio.run(coroutine(*args, **kwargs))

        if asyncio._get_running_loop() is None:
            return drive()
        # A loop is running in this thread, and there can be no second one.
        return THREADS.submit(contextvars.copy_context().run, drive).result()

    return driven
