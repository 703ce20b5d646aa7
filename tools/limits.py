"""How long one call of a tool may take, and what a model is told when its time is up."""

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
"""How long a tool may tidy up once its time is up; after that nobody waits for it any more."""

T = TypeVar("T")


@asynccontextmanager
async def within(name: str, seconds: float | None) -> AsyncIterator[None]:
    """End what is awaited in the block when its time is up.

    Args:
        name: What the model calls the tool.
        seconds: The time; None for as long as it takes.

    Raises:
        ToolFailed: The time is up. A TimeoutError of the block's own stays what it is.
    """
    try:
        async with asyncio.timeout(seconds) as clock:
            yield
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise _late(name, seconds) from error


async def limited(call: Callable[[], Coroutine[Any, Any, T]], name: str, seconds: float | None) -> T:
    """Make an asynchronous call in a task of its own, and no longer wait for it when its time is up.

    Args:
        call: What is called; some code swallows the cancellation that it is sent, and goes on.
        name: What the model calls the tool.
        seconds: The time; None for as long as it takes, in the caller's task.

    Raises:
        ToolFailed: The time is up. A TimeoutError of the call's own stays what it is.
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


# The event loop itself holds tasks weakly.
_left: set[asyncio.Future[Any]] = set()


def _gone(task: asyncio.Future[Any]) -> None:
    _left.discard(task)
    if not task.cancelled():
        # Looked at, so that nobody is told of it who cannot do anything about it.
        task.exception()


def within_thread(call: Callable[[], T], name: str, seconds: float) -> T:
    """Make a blocking call in a thread of its own, and no longer wait for it when its time is up.

    Args:
        call: What is called, in the caller's context.
        name: What the model calls the tool.
        seconds: The time.

    Raises:
        ToolFailed: The time is up; the thread goes on, since it cannot be ended from outside.
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
