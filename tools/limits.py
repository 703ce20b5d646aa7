"""The time limit of a tool call, and the error that a model gets when it is exceeded."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from .base import ToolFailed
from .threads import THREADS

__all__ = ["limited", "within", "within_thread"]

_TIDY_SECONDS: Final = 2.0
"""How long a tool may clean up after its time is up; then it is no longer waited for."""

T = TypeVar("T")


@asynccontextmanager
async def within(name: str, seconds: float | None) -> AsyncIterator[None]:
    """Cancel what is awaited in the block when the time is up.

    Args:
        name: What the model calls the tool.
        seconds: The time limit; None for no limit.

    Raises:
        ToolFailed: If the time is up. A TimeoutError raised by the block itself is passed on.
    """
    try:
        async with asyncio.timeout(seconds) as clock:
            yield
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise _late(name, seconds) from error


async def limited(call: Callable[[], Coroutine[Any, Any, T]], name: str, seconds: float | None) -> T:
    """Make an asynchronous call in its own task, and stop waiting for it when its time is up.

    Args:
        call: What is called; some code swallows the cancellation and continues.
        name: What the model calls the tool.
        seconds: The time limit; None for no limit, and then it runs in the caller's task.

    Raises:
        ToolFailed: If the time is up. A TimeoutError raised by the call itself is passed on.
    """
    if seconds is None:
        return await call()
    task = asyncio.ensure_future(call())
    try:
        await asyncio.wait((task,), timeout=seconds)
        if task.done():
            return task.result()
    finally:
        if not task.done():
            task.cancel()
            _left.add(task)
            task.add_done_callback(_gone)
            await asyncio.wait((task,), timeout=_TIDY_SECONDS)
    raise _late(name, seconds)


# The event loop itself holds only weak references to tasks.
_left: set[asyncio.Future[Any]] = set()


def _gone(task: asyncio.Future[Any]) -> None:
    _left.discard(task)
    if not task.cancelled():
        # Retrieved, so that asyncio does not log it as never retrieved; nobody could act on that.
        task.exception()


def within_thread(call: Callable[[], T], name: str, seconds: float) -> T:
    """Make a blocking call in its own thread, and stop waiting for it when its time is up.

    Args:
        call: What is called, in the caller's context.
        name: What the model calls the tool.
        seconds: The time limit.

    Raises:
        ToolFailed: If the time is up; the thread continues, since it cannot be stopped from outside.
    """
    done: Future[T] = THREADS.submit(contextvars.copy_context().run, call)
    try:
        return done.result(seconds)
    except TimeoutError as error:
        if done.done():
            raise
        raise _late(name, seconds) from error


def _late(name: str, seconds: float | None) -> ToolFailed:
    return ToolFailed(f"the tool {name!r} took longer than {seconds:g} s, so it may have done some of its work or all")
