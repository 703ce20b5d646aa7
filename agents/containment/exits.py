"""``sys.exit`` in the user's code: it ends the run that the code belongs to, not the program.

asyncio lets SystemExit propagate out of the event loop that every other run shares, past whoever awaits the task that
raised it. So it is caught where that task calls the user's code.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables import Runnable, RunnableConfig, RunnableSequence

from ...tools.exits import by_signal, interrupt_of
from ..errors import Exited

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["caught", "exits", "without_exits"]

_MEANT: Final = (KeyboardInterrupt, asyncio.CancelledError, GeneratorExit)
"""Exceptions from outside that are meant to end more than the code they interrupt."""


@contextmanager
def exits(what: str) -> Iterator[None]:
    """Raise `Exited` if code inside the block calls ``sys.exit`` or raises anything else that is no `Exception`.

    A signal handler that does so, Ctrl-C and cancellation end what they are meant to end. If the tasks of a task group
    wait for a person, a single LangGraph interrupt leaves the block.

    Args:
        what: What is run, for the message.

    Raises:
        Exited: The code did so.
    """
    try:
        yield
    except ExceptionGroup as group:
        if (stop := interrupt_of(group)) is not None:
            raise stop from group
        raise
    except (Exception, *_MEANT):
        raise
    except BaseException as error:
        if by_signal(error):
            raise
        raise Exited(what, error) from error


def without_exits(graph: CompiledStateGraph[Any, Any, Any, Any]) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return a copy of a graph whose nodes and edges, and those of its subgraphs, fail with `Exited` on ``sys.exit``.

    Args:
        graph: The graph, which is not changed.
    """
    twin = copy.copy(graph)
    twin.nodes = {}
    for name, node in graph.nodes.items():
        where = f"the node {name!r}"
        bound = _contained(node.bound, where)
        inner = [bound if one is node.bound else one for one in node.subgraphs]
        writers = [_routed(writer, where) for writer in node.writers]
        twin.nodes[name] = node.copy({"bound": bound, "subgraphs": inner, "writers": writers})
    return twin


def _contained(code: Runnable[Any, Any], where: str) -> Runnable[Any, Any]:
    """Return a view of a node's code in which the functions that run as separate tasks are contained."""
    from langgraph.graph.state import CompiledStateGraph

    if isinstance(code, CompiledStateGraph):
        return without_exits(code)
    if isinstance(code, RunnableSequence):
        return RunnableSequence(*(_contained(step, where) for step in code.steps), name=code.name)
    functions = _functions(code)
    if not functions:
        return _Contained(code, where)
    return _calling(code, {form: caught(function, where) for form, function in functions.items()})


def _routed(writer: Runnable[Any, Any], where: str) -> Runnable[Any, Any]:
    """Return the same writer of a node; one that follows a conditional edge calls its function contained."""
    from langgraph.graph._branch import BranchSpec

    contained = {}
    for form, function in _functions(writer).items():
        branch = getattr(function, "__self__", None)
        if not isinstance(branch, BranchSpec):
            return writer
        safe = branch._replace(path=_contained(branch.path, f"the edge after {where}"))
        contained[form] = getattr(safe, function.__name__)
    return _calling(writer, contained) if contained else writer


def _functions(code: Runnable[Any, Any]) -> dict[str, Any]:
    """Return the functions that a LangGraph or LangChain runnable calls in separate tasks."""
    found = {form: getattr(code, form, None) for form in ("func", "afunc")}
    return {form: function for form, function in found.items() if callable(function)}


def _calling(code: Runnable[Any, Any], functions: dict[str, Any]) -> Runnable[Any, Any]:
    twin = copy.copy(code)
    for form, function in functions.items():
        setattr(twin, form, function)
    return twin


def caught(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    """Return a function of the same kind and signature that fails with `Exited` if it calls ``sys.exit``.

    Args:
        function: A function, a coroutine function, or one that yields.
        where: What it is, for the message.
    """
    if inspect.isgeneratorfunction(function):
        return functools.wraps(function)(_yielding(function, where))
    if inspect.isasyncgenfunction(function):
        return functools.wraps(function)(_yielding_async(function, where))
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with exits(where):
                return await function(*args, **kwargs)

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with exits(where):
            return function(*args, **kwargs)

    return called


def _yielding(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    def given(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with exits(where):
            yield from function(*args, **kwargs)

    return given


def _yielding_async(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    async def given(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with exits(where):
            async for item in function(*args, **kwargs):
                yield item

    return given


class _Contained(Runnable[Any, Any]):
    """Any other runnable, such as an agent or one of a user's class."""

    def __init__(self, inner: Runnable[Any, Any], where: str) -> None:
        self._inner, self._where = inner, where
        self.name = inner.get_name()

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        with exits(self._where):
            return self._inner.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        with exits(self._where):
            return await self._inner.ainvoke(input, config, **kwargs)
